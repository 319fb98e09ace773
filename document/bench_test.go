package document_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/document"
)

// sixHundred is a document of about 600 bytes, as an application writes it.
const sixHundred = `{"_id":"order:2026-03-14:000417","_rev":"3-967a00dff5e02add41819138abb3284d","type":"order","status":"shipped",` +
	`"customer":{"id":"c-20391","name":"Zoë Müller","email":"zoe@example.org","address":{"street":"Hauptstraße 12","city":"Köln","zip":"50667","country":"DE"}},` +
	`"items":[{"sku":"A-1001","title":"Mango chutney","qty":2,"price":4.95},{"sku":"B-2210","title":"Basmati rice 5kg","qty":1,"price":12.5},` +
	`{"sku":"C-0007","title":"Cardamom \"green\"","qty":3,"price":3.2}],"total":32.0,"paid":true,"tags":["food","express"],"notes":null,"created":1773446400123,"version":7}`

func BenchmarkDecode(b *testing.B) {
	text := []byte(sixHundred)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := document.Decode(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeStream(b *testing.B) {
	r := strings.NewReader(sixHundred)
	b.SetBytes(int64(len(sixHundred)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(sixHundred)
		if _, err := document.DecodeStream(r, document.Limits{Document: 8_000_000}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNextRev(b *testing.B) {
	d, err := document.Decode([]byte(sixHundred))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.NextRev(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	d, err := document.Decode([]byte(sixHundred))
	if err != nil {
		b.Fatal(err)
	}
	var buf []byte
	b.SetBytes(int64(len(sixHundred)))
	b.ReportAllocs()
	for b.Loop() {
		buf = document.AppendJSON(buf[:0], d, document.Members{})
	}
}

func BenchmarkCanonicalLarge(b *testing.B) {
	for name, element := range map[string]string{
		"strings": `"the quick brown fox jumps over the lazy dog, twice"`,
		"mixed":   sixHundred,
		"ints":    `12345`,
		"floats":  `3.14159265`,
		"cjk":     `"日本語のテキストはここにあります"`,
	} {
		text := []byte("[" + strings.TrimSuffix(strings.Repeat(element+",", 1<<20/len(element)), ",") + "]")
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := document.Canonical(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkStreamBulkDocs(b *testing.B) {
	var body strings.Builder
	body.WriteString(`{"docs":[`)
	for i := range 1000 {
		if i > 0 {
			body.WriteByte(',')
		}
		body.WriteString(strings.Replace(sixHundred, "000417", fmt.Sprintf("%06d", i), 1))
	}
	body.WriteString(`],"new_edits":true}`)
	b.SetBytes(int64(body.Len()))
	b.ReportAllocs()
	for b.Loop() {
		s := document.NewStream(strings.NewReader(body.String()), document.Limits{Document: 8_000_000})
		for {
			name, err := s.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			if name == "docs" {
				for _, err := range s.Documents() {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		}
		s.Close()
	}
}

func BenchmarkStreamAttachment(b *testing.B) {
	const size = 16 << 20
	text := `{"_id":"a","_attachments":{"f":{"data":"` + base64.StdEncoding.EncodeToString(make([]byte, size)) + `"}}}`
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		d, err := document.DecodeStream(strings.NewReader(text), document.Limits{SpoolDir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		if n := d.Attachments[0].Length; n != size {
			b.Fatal(n)
		}
		d.Close()
	}
}
