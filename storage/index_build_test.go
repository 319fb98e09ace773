package storage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// randomBuild builds an index in several passes, of which each but the last is cut off.
func randomBuild(t *rapid.T, r *rand.Rand, db *DB, m indexModel, some func() []IndexDoc) {
	ctx := context.Background()
	for pass := r.IntN(3); pass >= 0; pass-- {
		b, err := db.Index(testSpec).Build(ctx)
		if err != nil {
			t.Fatal(err)
		}
		list := some()
		m.take(list)
		for len(list) > 0 {
			n := 1 + r.IntN(len(list))
			p := b.Part(list[:n])
			list = list[n:]
			if err := b.Add(ctx, p, 0, 0); err != nil {
				t.Fatal(err)
			}
			if r.IntN(4) == 0 {
				if err := b.Save(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		if pass > 0 {
			err = b.Save(ctx)
		} else {
			err = b.Finish(ctx, 0, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		if st, err := db.Index(testSpec).State(); err != nil || st.Unfinished != (pass > 0) {
			t.Fatalf("%+v, %v", st, err)
		}
		if err := db.Index(testSpec).Commit(ctx, IndexUpdate{}); pass > 0 != errors.Is(err, ErrConflict) {
			t.Fatalf("a commit beside a build: %v", err)
		}
	}
}

// checkLeftovers looks for nodes of an index that no tree has, and for runs.
func checkLeftovers(t interface {
	Helper()
	Fatalf(string, ...any)
}, db *DB,
) {
	t.Helper()
	s, err := db.Snapshot()
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer s.Close()
	keys, h, err := db.Index(testSpec).lookup(s.kv)
	if err != nil {
		t.Fatalf("%v", err)
	}
	for info := range db.store.engine.Blobs().List(keys.id()) {
		t.Fatalf("run %s was left", info.Name)
	}
	used := 0
	var count func(id uint64, level, reducers int)
	count = func(id uint64, level, reducers int) {
		used++
		if level == 0 {
			return
		}
		value, err := getNode(s.kv, keys, id)
		if err != nil {
			t.Fatalf("%v", err)
		}
		n, err := parseNode(value, level, reducers)
		if err != nil {
			t.Fatalf("%v", err)
		}
		for _, e := range n.entries {
			count(e.child, level-1, reducers)
		}
	}
	for _, tree := range append(slices.Clone(h.spaces), h.notes) {
		if tree.height > 0 {
			count(tree.root, int(tree.height)-1, int(tree.reducers))
		}
	}
	stored := 0
	it := s.kv.Iterate(kv.Range{Prefix: keys.space(spaceNode, 0)})
	defer it.Close()
	for it.Next() {
		stored++
	}
	if stored != used {
		t.Fatalf("%d nodes are stored, %d are in use", stored, used)
	}
}

// savedBuild begins a build and saves a part of it.
func savedBuild(t *testing.T, ix *Index, docs []IndexDoc) *IndexBuild {
	t.Helper()
	b, err := ix.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Add(t.Context(), b.Part(docs), 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := b.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBuildDamagedRun damages a run that was saved: the build must say so, and begin anew the next time.
func TestBuildDamagedRun(t *testing.T) {
	damages := map[string]func(t *testing.T, path string){
		"changed": func(t *testing.T, path string) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text[len(text)/2] ^= 1
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"cut": func(t *testing.T, path string) {
			if err := os.Truncate(path, 100); err != nil {
				t.Fatal(err)
			}
		},
		"gone": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := createDB(t, openStore(t, dir), "db")
			ix := db.Index(testSpec)
			r := rand.New(rand.NewPCG(4, 4))
			var docs []IndexDoc
			for i := range 300 {
				docs = append(docs, randomDoc(r, fmt.Sprint("doc", i), 900))
			}
			b := savedBuild(t, ix, docs)
			files, err := filepath.Glob(filepath.Join(dir, "blobs", fmt.Sprint(b.keys.id()), "*", "*"))
			if err != nil || len(files) != 1 {
				t.Fatal(files, err)
			}
			damage(t, files[0])
			if b, err = ix.Build(t.Context()); err != nil {
				t.Fatal(err)
			}
			if name == "gone" {
				if len(b.runs()) > 0 { // it is noticed before anything is built
					t.Fatal("the run is taken for one that is there")
				}
			} else if err := b.Finish(t.Context(), 0, 0); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("finished with %v", err)
			}
			savedBuild(t, ix, docs)
			if b, err = ix.Build(t.Context()); err != nil || !b.Resumed() {
				t.Fatal(b, err)
			}
			if err := b.Finish(t.Context(), 0, 0); err != nil {
				t.Fatal(err)
			}
			m := indexModel{}
			m.take(docs)
			checkIndex(t, db, m, r)
			checkLeftovers(t, db)
		})
	}
}

// TestBuildDropped drops the index, or its database, while it is being built.
func TestBuildDropped(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for _, what := range []string{"index", "database"} {
		for _, then := range []string{"save", "finish"} {
			t.Run(what+" before "+then, func(t *testing.T) {
				db := newTestDB(t)
				b := savedBuild(t, db.Index(testSpec), []IndexDoc{randomDoc(r, "a", 50)})
				if err := b.Add(t.Context(), b.Part([]IndexDoc{randomDoc(r, "b", 50)}), 0, 0); err != nil {
					t.Fatal(err)
				}
				err := db.DropIndex(t.Context(), testSpec.Signature)
				if what == "database" {
					err = db.store.DeleteDB(t.Context(), "db")
				}
				if err != nil {
					t.Fatal(err)
				}
				db.store.removeDropped(t.Context())
				if then == "save" {
					err = b.Save(t.Context())
				} else {
					err = b.Finish(t.Context(), 0, 0)
				}
				if err == nil {
					t.Fatal("no error")
				}
				for info := range db.store.engine.Blobs().List(b.keys.id()) {
					t.Errorf("run %s is left", info.Name)
				}
				if keys, err := db.store.someKeys(kv.Range{Prefix: b.keys[:]}); err != nil || len(keys) > 0 {
					t.Errorf("%d keys are left, %v", len(keys), err)
				}
			})
		}
	}
}

// TestIndexOfOld opens an index of the version before, which is built anew.
func TestIndexOfOld(t *testing.T) {
	db := newTestDB(t)
	ix := db.Index(testSpec)
	if err := ix.Commit(t.Context(), IndexUpdate{}); err != nil {
		t.Fatal(err)
	}
	keys := newKeyspace(ix.id.Load())
	old := appendText(appendText([]byte{1, 0}, testSpec.Signature), testSpec.Design)
	err := db.store.engine.Update(t.Context(), func(tx kv.Tx) error {
		return errors.Join(tx.Set(keys.header(), append(old, 7, 7, 7)), tx.Set(keys.text('w', "row"), []byte("value")))
	})
	if err != nil {
		t.Fatal(err)
	}
	if found := problems(t, db.store); len(found) > 0 {
		t.Error(found)
	}
	if infos, err := db.Indexes(); err != nil || len(infos) != 1 || infos[0].Design != testSpec.Design || !infos[0].State.Stale {
		t.Errorf("%+v, %v", infos, err)
	}
	if st, err := ix.State(); err != nil || !st.Stale {
		t.Errorf("%+v, %v", st, err)
	}
	if _, err := ix.Build(t.Context()); !errors.Is(err, ErrConflict) {
		t.Errorf("a build over it: %v", err)
	}
	if err := ix.Commit(t.Context(), IndexUpdate{}); !errors.Is(err, ErrConflict) {
		t.Errorf("a commit to it: %v", err)
	}
	if err := ix.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	db.store.removeDropped(t.Context())
	if left, err := db.store.someKeys(kv.Range{Prefix: keys[:]}); err != nil || len(left) > 0 {
		t.Errorf("%d keys are left, %v", len(left), err)
	}
	if err := ix.Commit(t.Context(), IndexUpdate{}); err != nil {
		t.Error(err)
	}
}

// TestBuildBesideWriters lets others write to an index that is being built: the build must not touch what they have
// written.
func TestBuildBesideWriters(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	some := func(n int) (docs []IndexDoc) {
		for i := range n {
			docs = append(docs, randomDoc(r, fmt.Sprint("doc", i), 900))
		}
		return docs
	}
	others := map[string]func(ix *Index, docs []IndexDoc) error{
		"commit": func(ix *Index, docs []IndexDoc) error { return ix.Commit(t.Context(), IndexUpdate{Docs: docs}) },
		"build": func(ix *Index, docs []IndexDoc) error {
			b, err := ix.Build(t.Context())
			if err == nil {
				err = b.Add(t.Context(), b.Part(docs), 0, 0)
			}
			if err == nil {
				err = b.Finish(t.Context(), 0, 0)
			}
			return err
		},
	}
	for name, other := range others {
		t.Run(name, func(t *testing.T) {
			db := newTestDB(t)
			db.store.buildMemory = 1 << 30
			m := indexModel{}
			first := some(200)
			if err := db.Index(testSpec).Commit(t.Context(), IndexUpdate{Docs: first}); err != nil {
				t.Fatal(err)
			}
			m.take(first)
			b, err := db.Index(testSpec).Build(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			late := some(30_000) // more than one transaction
			if err := b.Add(t.Context(), b.Part(late), 0, 0); err != nil {
				t.Fatal(err)
			}
			docs := some(100)
			if err := other(db.Index(testSpec), docs); err != nil {
				t.Fatal(err)
			}
			m.take(docs)
			if err := b.Finish(t.Context(), 0, 0); !errors.Is(err, ErrConflict) {
				t.Errorf("the build that came late ended with %v", err)
			}
			checkIndex(t, db, m, r)
			if found := problems(t, db.store); len(found) > 0 {
				t.Error(found)
			}
		})
	}
}

// TestBuildGivesRoomBack stops a build while it writes its trees: nothing of them may stay.
func TestBuildGivesRoomBack(t *testing.T) {
	db := newTestDB(t)
	ix := db.Index(testSpec)
	r := rand.New(rand.NewPCG(7, 8))
	var docs []IndexDoc
	for i := range 30_000 {
		docs = append(docs, randomDoc(r, fmt.Sprint("doc", i), 40_000))
	}
	ctx, cancel := context.WithCancel(t.Context())
	b, err := db.Index(stoppedSpec(1000, cancel)).Build(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Add(ctx, b.Part(docs), 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := b.Finish(ctx, 0, 0); !errors.Is(err, context.Canceled) {
		t.Fatalf("the build was not stopped: %v", err)
	}
	if keys, err := db.store.someKeys(kv.Range{Prefix: b.keys.space(spaceNode, 0)}); err != nil || len(keys) == 0 {
		t.Fatalf("nothing was written yet; stop it later: %v", err)
	}
	if b, err = ix.Build(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Finish(t.Context(), 0, 0); err != nil {
		t.Fatal(err)
	}
	checkLeftovers(t, db)
}
