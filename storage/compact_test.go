package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage/kv"
)

// TestCompactInPieces has more to remove of one document than a transaction takes.
func TestCompactInPieces(t *testing.T) {
	db := newTestDB(t)
	d := &document.Document{ID: strings.Repeat("x", document.MaxIDLength)}
	const n = 200
	for i := range n {
		d.Body = fmt.Appendf(nil, `{"i":%d}`, i)
		d.Rev = put(t, db, d)
	}
	if err := db.compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := view(t, db)
	row, err := s.Lookup(d.ID)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := row.Tree()
	if err != nil {
		t.Fatal(err)
	}
	for i := range tree.Len() {
		if _, err := row.Revision(tree, i); errors.Is(err, ErrNotFound) == tree.IsLeaf(i) {
			t.Errorf("revision %d: %v", i, err)
		}
	}
	if keys, err := db.store.someKeys(kv.Range{Prefix: db.keys.space(spaceBody, 0)}); err != nil || len(keys) > 0 {
		t.Errorf("%d bodies are left, %v", len(keys), err)
	}
}

// TestTooLarge writes a document that no transaction takes, among others that are fine.
func TestTooLarge(t *testing.T) {
	db := newTestDB(t)
	r := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, 65<<20)
	for i := range text { // at random, so that it does not pack
		text[i] = byte('a' + r.Uint32()%16)
	}
	copy(text, `{"x":"`)
	copy(text[len(text)-2:], `"}`)
	docs := []*document.Document{{ID: "a", Body: []byte("{}")}, {ID: "huge", Body: text}, {ID: "b", Body: []byte("{}")}}
	results, err := db.Apply(t.Context(), Write{Docs: docs})
	if err != nil {
		t.Fatal(err)
	}
	if results[0].Err != nil || !errors.Is(results[1].Err, ErrTooLarge) || results[2].Err != nil {
		t.Errorf("%+v", results)
	}
	checkCounters(t, db)
}

func TestMergeBaseStays(t *testing.T) {
	db := newTestDB(t)
	first := put(t, db, &document.Document{ID: "d", Body: []byte(`{"n":1}`)})
	base := put(t, db, &document.Document{ID: "d", Rev: first, Body: []byte(`{"n":2}`)})
	for _, hash := range []string{"x", "y"} {
		path := revtree.Path{Start: 3, Hashes: []string{hash, base.Hash, first.Hash}}
		d := &document.Document{ID: "d", Rev: path.Leaf(), Revisions: path, Body: []byte("{}")}
		if _, err := db.Apply(t.Context(), Write{Docs: []*document.Document{d}, Mode: Replicate}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Compact(); err != nil {
		t.Fatal(err)
	}
	for {
		info, err := db.Info()
		if err != nil {
			t.Fatal(err)
		}
		if !info.Compacting {
			break
		}
		for _, task := range db.store.Tasks() {
			if _, _, updated := task.Progress(); task.Database != "db" || time.Since(updated) > time.Minute {
				t.Errorf("task %+v", task)
			}
		}
	}
	if tasks := db.store.Tasks(); len(tasks) > 0 {
		t.Errorf("%d tasks are left", len(tasks))
	}
	row, err := view(t, db).Lookup("d")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := row.Tree()
	if err != nil {
		t.Fatal(err)
	}
	for rev, want := range map[revtree.ID]error{first: ErrNotFound, base: nil} {
		i, _ := tree.Find(rev)
		if _, err := row.Revision(tree, i); !errors.Is(err, want) {
			t.Errorf("revision %s: %v, want %v", rev, err, want)
		}
	}
}

// TestAutoCompact updates one document until what is superseded is more than what is live.
func TestAutoCompact(t *testing.T) {
	db := newTestDB(t)
	d := &document.Document{ID: "d"}
	text := strings.Repeat("0123456789", 200_000)
	for i := range 30 {
		d.Body = fmt.Appendf(nil, `{"i":%d,"text":%q}`, i, text)
		d.Rev = put(t, db, d)
	}
	db.store.stop() // ends what goes on in the background
	db.store.working.Wait()
	s := view(t, db)
	if s.state.stale > 30*uint64(len(text))/2 {
		t.Errorf("%d bytes are stale", s.state.stale)
	}
}
