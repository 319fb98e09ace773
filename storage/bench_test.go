package storage

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mangrove-db/mangrove/document"
)

func benchStore(b *testing.B) *DB {
	b.Helper()
	s, err := Open(Options{Path: b.TempDir(), Reserve: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	full := rankFull
	rankFull = 2048
	b.Cleanup(func() { rankFull = full })
	return createDB(b, s, "bench")
}

// benchDocument decodes a document of about 600 bytes, as the API does.
func benchDocument(b *testing.B, id string) *document.Document {
	d, err := document.Decode(fmt.Appendf(nil, `{"_id":%q,"name":"%s","tags":["a","b","c"],"text":"%s","n":%d}`,
		id, id, strings.Repeat("Lorem ipsum dolor sit amet, "+id+". ", 12), len(id)))
	if err != nil {
		b.Fatal(err)
	}
	return d
}

func benchApply(b *testing.B, db *DB, docs ...*document.Document) {
	results, err := db.Apply(context.Background(), Write{Docs: docs})
	if err != nil {
		b.Error(err)
		return
	}
	for _, r := range results {
		if r.Err != nil {
			b.Error(r.Err)
		}
	}
}

func fill(b *testing.B, db *DB, n int) {
	for i := 0; i < n; i += 1000 {
		var docs []*document.Document
		for j := i; j < min(i+1000, n); j++ {
			docs = append(docs, benchDocument(b, fmt.Sprintf("doc-%07d", j)))
		}
		benchApply(b, db, docs...)
	}
}

func BenchmarkApply(b *testing.B) {
	db := benchStore(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		benchApply(b, db, benchDocument(b, fmt.Sprintf("doc-%07d", i)))
	}
}

func BenchmarkApply64(b *testing.B) {
	db := benchStore(b)
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				benchApply(b, db, benchDocument(b, fmt.Sprintf("doc-%07d", i)))
			}
		})
	}
	wg.Wait()
}

// BenchmarkUpdate64 is BenchmarkApply64 with new revisions of 1000 documents.
func BenchmarkUpdate64(b *testing.B) {
	db := benchStore(b)
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			d := benchDocument(b, fmt.Sprintf("doc-%07d", w))
			for next.Add(1) <= int64(b.N) {
				results, err := db.Apply(context.Background(), Write{Docs: []*document.Document{d}})
				if err != nil || results[0].Err != nil {
					b.Error(err, results)
					return
				}
				d.Rev = results[0].Rev
			}
		})
	}
	wg.Wait()
}

func BenchmarkApplyBulk(b *testing.B) {
	db := benchStore(b)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		b.StopTimer()
		docs := make([]*document.Document, 1000)
		for i := range docs {
			docs[i] = benchDocument(b, fmt.Sprintf("doc-%07d", n))
			n++
		}
		b.StartTimer()
		benchApply(b, db, docs...)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "docs/s")
}

func BenchmarkRead(b *testing.B) {
	db := benchStore(b)
	const n = 10_000
	fill(b, db, n)
	b.ReportAllocs()
	var d document.Document
	for i := 0; b.Loop(); i++ {
		s, err := db.Snapshot()
		if err != nil {
			b.Fatal(err)
		}
		row, err := s.Lookup(fmt.Sprintf("doc-%07d", i*7919%n))
		if err == nil {
			err = row.Read(&d)
		}
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}

func BenchmarkDocuments(b *testing.B) {
	db := benchStore(b)
	fill(b, db, 10_000)
	s := view(b, db)
	b.ReportAllocs()
	n := 0
	var d document.Document
	for b.Loop() {
		for row, err := range s.Documents(context.Background(), Range{}) {
			if err == nil {
				err = row.Read(&d)
			}
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/doc")
}

func BenchmarkChanges(b *testing.B) {
	db := benchStore(b)
	fill(b, db, 10_000)
	s := view(b, db)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for _, err := range s.Changes(context.Background(), ChangesOptions{}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/change")
}

func BenchmarkOffset(b *testing.B) {
	db := benchStore(b)
	fill(b, db, 10_000)
	s := view(b, db)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := s.Offset(fmt.Sprintf("doc-%07d", i*7919%10_000)); err != nil {
			b.Fatal(err)
		}
	}
}
