package script

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/dop251/goja"
)

var (
	byTag    = `function(doc){ if(doc.type==='post'){ for(var i=0;i<doc.tags.length;i++) emit([doc.tags[i], doc.created], doc.votes); } }`
	byAuthor = `function(doc){ if(doc.author) emit(doc.author.name, 1); }`
)

// posts are documents of about 600 bytes, as a content management system stores
// them.
func posts(n int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("community garden minutes decision proposal budget vote member organisation workflow form role article revision network harvest water energy school market season river bridge meeting agenda archived")
	word := func() string { return words[r.IntN(len(words))] }
	docs := make([][]byte, n)
	for i := range docs {
		var body strings.Builder
		for body.Len() < 320 {
			body.WriteString(word() + " ")
		}
		docs[i], _ = json.Marshal(struct {
			ID        string            `json:"_id"`
			Rev       string            `json:"_rev"`
			Author    map[string]string `json:"author"`
			Body      string            `json:"body"`
			Created   string            `json:"created"`
			Published bool              `json:"published"`
			Score     float64           `json:"score"`
			Tags      []string          `json:"tags"`
			Title     string            `json:"title"`
			Type      string            `json:"type"`
			Votes     int               `json:"votes"`
		}{
			fmt.Sprintf("post-%08d", i), fmt.Sprintf("1-%032x", r.Uint64()),
			map[string]string{"name": fmt.Sprintf("user%d", r.IntN(200)), "role": word()},
			body.String(), fmt.Sprintf("2026-%02d-%02dT%02d:00:00Z", 1+r.IntN(12), 1+r.IntN(28), r.IntN(24)),
			r.IntN(2) == 0, r.Float64() * 10,
			[]string{word(), word(), word()},
			word() + " " + word(), "post", r.IntN(1000),
		})
	}
	return docs
}

// BenchmarkMap feeds documents to the two map functions of a design document.
func BenchmarkMap(b *testing.B) {
	docs := posts(1000)
	m, err := New(Options{}).NewMapper(nil, []string{byTag, byAuthor})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	rows := 0
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		err := m.Map(b.Context(), docs[i%len(docs)], func(int, []byte, []byte) error { rows++; return nil })
		if err != nil {
			b.Fatal(err)
		}
	}
	if rows != 4*b.N {
		b.Fatal(rows)
	}
}

// BenchmarkFloor does the same with a bare runtime: JSON.parse of the document's
// text, and an emit that keeps JSON texts.
func BenchmarkFloor(b *testing.B) {
	docs := posts(1000)
	vm := goja.New()
	v, err := vm.RunString(`var rows; function emit(k, v) { rows.push(JSON.stringify(k), JSON.stringify(v)); }
		(function (text) { rows = []; var doc = JSON.parse(text); maps[0](doc); maps[1](doc); return rows; });
		var maps = [(` + byTag + `), (` + byAuthor + `)];
		(function (text) { rows = []; var doc = JSON.parse(text); maps[0](doc); maps[1](doc); return rows.length; })`)
	if err != nil {
		b.Fatal(err)
	}
	f, _ := goja.AssertFunction(v)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n, err := f(goja.Undefined(), vm.ToValue(string(docs[i%len(docs)])))
		if err != nil || n.ToInteger() != 8 {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkReduce(b *testing.B) {
	r, err := New(Options{}).NewReducer(nil, `function (keys, values) { return sum(values); }`)
	if err != nil {
		b.Fatal(err)
	}
	var keys, values [][]byte
	for i := range 100 {
		keys = append(keys, fmt.Appendf(nil, `[["tag%d","2026-01-01"],"post-%08d"]`, i, i))
		values = append(values, fmt.Append(nil, i))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Reduce(b.Context(), keys, values); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewMachine(b *testing.B) {
	u := &unit{engine: New(Options{}), root: "{}"}
	b.ReportAllocs()
	for b.Loop() {
		newMachine(u)
	}
}
