package storage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// benchKey is a key like that of a tag and a time.
func benchKey(r *rand.Rand) []byte {
	return fmt.Appendf(nil, "tag%02d 2026-%02d-%02dT%02d:%02d\x00", r.IntN(36), r.IntN(12), r.IntN(28), r.IntN(24), r.IntN(60))
}

func benchDocs(r *rand.Rand, from, n int) []IndexDoc {
	docs := make([]IndexDoc, n)
	for i := range docs {
		d := &docs[i]
		d.ID, d.Spaces = fmt.Sprintf("post-%08d", from+i), make([][]IndexRow, 3)
		for range 3 {
			d.Spaces[0] = append(d.Spaces[0], IndexRow{Key: benchKey(r), Value: bytes.Repeat([]byte("v"), 40)})
		}
		d.Spaces[2] = []IndexRow{{Key: benchKey(r)[:6], Value: []byte("1")}}
	}
	return docs
}

func benchIndex(b *testing.B, spec IndexSpec, docs int) (*DB, *Index) {
	b.Helper()
	fullShape.use(b)
	db := benchStore(b)
	db.store.buildMemory = defaultBuildMemory
	ix := db.Index(spec)
	r := rand.New(rand.NewPCG(1, 1))
	build, err := ix.Build(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for from := 0; from < docs; from += 2000 {
		if err := build.Add(b.Context(), build.Part(benchDocs(r, from, 2000)), 0, 0); err != nil {
			b.Fatal(err)
		}
	}
	if err := build.Finish(b.Context(), 0, 0); err != nil {
		b.Fatal(err)
	}
	return db, ix
}

// BenchmarkIndexBuild builds an index of four rows for each document from nothing.
func BenchmarkIndexBuild(b *testing.B) {
	for b.Loop() {
		benchIndex(b, testSpec, 100_000)
	}
	b.ReportMetric(float64(b.N)*100_000/b.Elapsed().Seconds(), "docs/s")
}

// BenchmarkIndexUpdate changes a hundred documents of an index that is there.
func BenchmarkIndexUpdate(b *testing.B) {
	counted := testSpec
	counted.Spaces = []IndexSpace{{Reducers: []IndexReducer{countReducer{}}}, {}, {Reducers: []IndexReducer{countReducer{}}}}
	_, ix := benchIndex(b, counted, 200_000)
	r := rand.New(rand.NewPCG(2, 2))
	for b.Loop() {
		if err := ix.Commit(b.Context(), IndexUpdate{Docs: benchDocs(r, r.IntN(99_000), 100)}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIndexReduce reduces ranges of indexes of different sizes.
func BenchmarkIndexReduce(b *testing.B) {
	for _, docs := range []int{66_000, 660_000} {
		b.Run(fmt.Sprintf("rows=%d", docs*3), func(b *testing.B) {
			db, ix := benchIndex(b, testSpec, docs)
			r := rand.New(rand.NewPCG(3, 3))
			for b.Loop() {
				s, err := db.Snapshot()
				if err != nil {
					b.Fatal(err)
				}
				ir, err := s.Index(ix)
				if err != nil {
					b.Fatal(err)
				}
				key := benchKey(r)
				_, _, err = ir.Reduce(b.Context(), 0, 0, IndexRange{Start: key, End: append([]byte("tag36"), 0)})
				s.Close()
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
