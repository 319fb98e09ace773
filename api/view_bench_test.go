package api

import (
	"bytes"
	"fmt"
	"testing"
)

// BenchmarkViews reads a view of 20,000 documents, whose index is up to date.
func BenchmarkViews(b *testing.B) {
	do := benchAPI(b)
	do(b, "PUT", "/db", nil)
	const docs = 20_000
	do(b, "POST", "/db/_bulk_docs", benchBulk(0, docs))
	do(b, "PUT", "/db/_design/d", []byte(`{"views":{"v":{"map":"function (doc) { emit([doc.n % 100, doc.n], doc.name); }","reduce":"_count"}}}`))
	do(b, "GET", "/db/_design/d/_view/v", nil) // builds the index
	var keys bytes.Buffer
	for i := range 10_000 {
		n := i * 7919 % docs
		fmt.Fprintf(&keys, `,[%d,%d]`, n%100, n)
	}
	for _, c := range []struct{ name, method, query, body string }{
		{"all", "GET", "reduce=false", ""},
		{"documents", "GET", "reduce=false&include_docs=true", ""},
		{"keys", "POST", "reduce=false", `{"keys":[` + keys.String()[1:] + `]}`},
		{"key", "GET", "reduce=false&key=[57,1057]", ""},
		{"range", "GET", "start_key=[20]&end_key=[70,5000]", ""},
		{"groups", "GET", "group_level=1", ""},
		{"skip", "GET", "reduce=false&skip=15000&limit=1", ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				do(b, c.method, "/db/_design/d/_view/v?"+c.query, []byte(c.body))
			}
		})
	}
}
