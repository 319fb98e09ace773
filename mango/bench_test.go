package mango

import (
	"fmt"
	"strings"
	"testing"
)

// benchDoc makes a document of some 600 bytes.
func benchDoc(votes int, title string) Doc {
	return Doc{
		ID: "doc00000042", Rev: "1-967a00dff5e02add41819138abb3284d",
		Body: fmt.Appendf(nil, `{"type":"article","title":%q,"author":{"name":"Jane Doe","mail":"jane@example.org",`+
			`"roles":["editor","writer"]},"created":"2024-11-03T12:30:00Z","updated":"2024-11-04T08:00:00Z",`+
			`"tags":["news","local","science","water"],"votes":%d,"rating":4.25,"published":true,`+
			`"location":{"lat":59.913,"lon":10.752,"city":"Oslo"},"text":%q}`,
			title, votes, strings.Repeat("The quick brown fox jumps over the lazy dog. ", 5)),
	}
}

func benchmarkMatch(b *testing.B, text string, doc Doc) {
	s := compile(b, text)
	b.SetBytes(int64(len(doc.Body)))
	b.ReportAllocs()
	for b.Loop() {
		s.Match(doc)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "docs/s")
}

const benchSelector = `{"votes":{"$gt":990},"title":{"$regex":"^water"}}`

func BenchmarkMatchFound(b *testing.B) {
	benchmarkMatch(b, benchSelector, benchDoc(995, "waterfalls of the north"))
}

func BenchmarkMatchNotFound(b *testing.B) {
	benchmarkMatch(b, benchSelector, benchDoc(12, "waterfalls of the north"))
}

// BenchmarkMatchLast has the fields at the end: nothing can be left unread.
func BenchmarkMatchLast(b *testing.B) {
	doc := benchDoc(12, "x")
	body := strings.Replace(string(doc.Body), `"votes":12,`, "", 1)
	body = strings.Replace(body, `"title":"x",`, "", 1)
	doc.Body = []byte(strings.TrimSuffix(body, "}") + `,"title":"waterfalls of the north","votes":995}`)
	benchmarkMatch(b, benchSelector, doc)
}

func BenchmarkMatchMissing(b *testing.B) {
	benchmarkMatch(b, `{"nothing":{"$gt":990}}`, benchDoc(12, "x"))
}

func BenchmarkMatchNested(b *testing.B) {
	benchmarkMatch(b, `{"location.city":"Oslo","author":{"roles":{"$elemMatch":{"$eq":"writer"}}}}`, benchDoc(12, "x"))
}

func BenchmarkMatchRegex(b *testing.B) {
	benchmarkMatch(b, `{"title":{"$regex":"(?i)falls.*north$"}}`, benchDoc(12, "Waterfalls of the north"))
}

func BenchmarkMatchID(b *testing.B) {
	benchmarkMatch(b, `{"_id":{"$gt":"doc00000041"}}`, benchDoc(12, "x"))
}

func BenchmarkMatchIn(b *testing.B) {
	benchmarkMatch(b, `{"location.city":{"$in":["a","b","c","d","e","f","g","h","i","Oslo"]}}`, benchDoc(12, "x"))
}

func BenchmarkCompile(b *testing.B) {
	text := []byte(benchSelector)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(text); err != nil {
			b.Fatal(err)
		}
	}
}
