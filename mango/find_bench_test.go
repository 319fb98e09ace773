package mango

import (
	"context"
	"fmt"
	"testing"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// benchDocs is how many documents of 600 bytes the benchmarks search among.
const benchDocs = 50_000

// newBenchWorld returns a world with documents whose votes are their numbers,
// and an index of these.
func newBenchWorld(b *testing.B) *world {
	w := newWorld(b)
	for i := 0; i < benchDocs; i += 1000 {
		docs := make([]*document.Document, 1000)
		for j := range docs {
			docs[j] = &document.Document{ID: fmt.Sprintf("doc%08d", i+j), Body: benchDoc(i+j, "waterfalls of the north").Body}
		}
		if _, err := w.db.Apply(context.Background(), storage.Write{Docs: docs}); err != nil {
			b.Fatal(err)
		}
	}
	w.index(`{"index":{"fields":["votes","title"]},"ddoc":"v","name":"v"}`)
	w.find(`{"selector":{"votes":1,"title":{"$gt":null}}}`)
	return w
}

// benchmarkFind answers queries whose %d is another document's number each.
func benchmarkFind(b *testing.B, w *world, format string, want int) {
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 7919) % (benchDocs - 100)
		found := 0
		q := parseQuery(b, fmt.Sprintf(format, i))
		if err := w.finder.Find(context.Background(), w.db, q, func([]byte) error { found++; return nil }); err != nil {
			b.Fatal(err)
		}
		if found-2 != want { // the beginning and the end are pieces too
			b.Fatalf("%d documents, want %d", found-2, want)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
}

func BenchmarkFind(b *testing.B) {
	w := newBenchWorld(b)
	b.Run("Scan", func(b *testing.B) {
		benchmarkFind(b, w, `{"selector":{"rating":{"$lt":%d},"title":{"$regex":"^fire"}}}`, 0)
		b.ReportMetric(float64(b.N)*benchDocs/b.Elapsed().Seconds(), "docs/s")
	})
	b.Run("Row", func(b *testing.B) {
		benchmarkFind(b, w, `{"selector":{"votes":%d,"title":{"$gt":null}}}`, 1)
	})
	b.Run("Rows", func(b *testing.B) {
		benchmarkFind(b, w, `{"selector":{"votes":{"$gte":%d},"title":{"$gt":null}},"limit":100}`, 100)
	})
	b.Run("Covered", func(b *testing.B) {
		benchmarkFind(b, w, `{"selector":{"votes":{"$gte":%d},"title":{"$gt":null}},"fields":["_id","votes"],"limit":100}`, 100)
	})
	b.Run("ByID", func(b *testing.B) {
		benchmarkFind(b, w, `{"selector":{"_id":"doc%08d"}}`, 1)
	})
}
