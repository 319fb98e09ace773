package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// sink is a client that takes everything.
type sink struct {
	header http.Header
	bytes  int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Flush()                      {}
func (s *sink) Write(p []byte) (int, error) { s.bytes += len(p); return len(p), nil }

// BenchmarkChanges answers feeds of a database of many small documents.
func BenchmarkChanges(b *testing.B) {
	const docs = 100_000
	n := newNode(b)
	db, err := n.store.CreateDB(b.Context(), "db", storage.DBOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for start := 0; start < docs; start += 1000 {
		batch := make([]*document.Document, 1000)
		for i := range batch {
			// Ids are not in the order of sequences, as those of real documents are not.
			text := fmt.Appendf(nil, `{"_id":"doc%07d","type":"person","n":%d,"name":{"first":"Ada","last":"Lovelace"},"tags":["a","b"]}`, (start+i)*7919%docs, start+i)
			if batch[i], err = document.Decode(text); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := db.Apply(b.Context(), storage.Write{Docs: batch}); err != nil {
			b.Fatal(err)
		}
	}
	for _, feed := range []struct{ name, query string }{
		{"normal", ""},
		{"include_docs", "include_docs=true"},
		{"continuous", "feed=continuous&timeout=0"},
		{"design", "filter=_design"},
		{"doc_ids", "filter=_doc_ids&doc_ids=[%22doc0000007%22]"},
	} {
		b.Run(feed.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/db/_changes?"+feed.query, nil)
				r.SetBasicAuth(adminName, adminPassword)
				s := &sink{header: http.Header{}}
				n.api.ServeHTTP(s, r)
				b.SetBytes(int64(s.bytes))
			}
			b.ReportMetric(float64(b.N)*docs/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkChangesLatency measures how long it takes from sending a document until a continuous feed has it, beside
// other feeds that wait for the same.
func BenchmarkChangesLatency(b *testing.B) {
	for _, others := range []int{0, 1000} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			n := newNode(b)
			n.must(http.MethodPut, "/db", nil)
			ctx, cancel := context.WithCancel(b.Context())
			var served sync.WaitGroup
			defer served.Wait()
			defer cancel()
			for range others {
				r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/db/_changes?feed=continuous&heartbeat=60000", nil)
				r.SetBasicAuth(adminName, adminPassword)
				served.Go(func() { n.api.ServeHTTP(&sink{header: http.Header{}}, r) })
			}
			feed := n.listen(ctx, "/db/_changes?feed=continuous&heartbeat=60000")
			var took []time.Duration
			for i := 0; b.Loop(); i++ {
				began := time.Now()
				answered := make(chan struct{})
				go func() {
					defer close(answered)
					n.must(http.MethodPut, fmt.Sprintf("/db/doc%d", i), `{}`)
				}()
				feed.next()
				took = append(took, time.Since(began))
				<-answered
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}
