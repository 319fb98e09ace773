package design

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/script"
	"github.com/mangrove-db/mangrove/storage"
)

func newStore(t testing.TB) *storage.Store {
	t.Helper()
	store, err := storage.Open(storage.Options{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func createDB(t testing.TB, store *storage.Store, name string) *storage.DB {
	t.Helper()
	db, err := store.CreateDB(t.Context(), name, storage.DBOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// put writes a document and returns its revision, or why it was refused.
func put(t testing.TB, db *storage.DB, v storage.Validator, text string) (revtree.ID, error) {
	t.Helper()
	d, err := document.Decode([]byte(text))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	results, err := db.Apply(t.Context(), storage.Write{Docs: []*document.Document{d}, Validator: v})
	if err != nil {
		t.Fatal(err)
	}
	return results[0].Rev, results[0].Err
}

func open(t testing.TB, c *Cache, db *storage.DB, id string) (*Design, error) {
	t.Helper()
	s, err := db.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return c.Design(s, id)
}

func TestDesign(t *testing.T) {
	db := createDB(t, newStore(t), "db")
	c := NewCache(script.New(script.Options{}), nil)
	if _, err := open(t, c, db, "_design/d"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("no such document: %v", err)
	}
	rev, err := put(t, db, nil, `{"_id":"_design/d","shows":{"s":"function () { return 'one'; }"},"lists":5}`)
	if err != nil {
		t.Fatal(err)
	}
	d, err := open(t, c, db, "_design/d")
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := open(t, c, db, "_design/d"); again != d {
		t.Error("made anew")
	}
	for _, test := range []struct{ kind, name, want string }{
		{Shows, "s", ""}, {Shows, "x", "missing json key: x"}, {Updates, "s", "missing json key: updates"}, {Lists, "s", "missing json key: s"},
	} {
		got := ""
		if err := d.Find(test.kind, test.name); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s %s: %q, want %q", test.kind, test.name, got, test.want)
		}
	}
	rev, err = put(t, db, nil, `{"_id":"_design/d","_rev":"`+rev.String()+`","language":"erlang","shows":{"s":"fun"}}`)
	if err != nil {
		t.Fatal(err)
	}
	if d, err = open(t, c, db, "_design/d"); err != nil {
		t.Fatal(err)
	}
	var e *script.Error
	if err := d.Find(Shows, "s"); !errors.As(err, &e) || e.Name != "unknown_query_language" {
		t.Errorf("another language: %v", err)
	}
	if _, err := put(t, db, nil, `{"_id":"_design/d","_rev":"`+rev.String()+`","_deleted":true}`); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, c, db, "_design/d"); !errors.Is(err, storage.ErrDeleted) {
		t.Errorf("deleted: %v", err)
	}
}

// A database that was deleted and made again has design documents of its own, even with the same revisions.
func TestDesignOfNewDatabase(t *testing.T) {
	store := newStore(t)
	c := NewCache(script.New(script.Options{}), nil)
	const text = `{"_id":"_design/d","validate_doc_update":"function () { throw({forbidden: 'no'}); }"}`
	v := c.Validator(context.Background(), Subject{})
	db := createDB(t, store, "db")
	for round := range 3 {
		if _, err := put(t, db, v, text); err != nil {
			t.Fatal(err)
		}
		if _, err := put(t, db, v, `{"_id":"x"}`); err == nil {
			t.Errorf("round %d: not refused", round)
		}
		if err := store.DeleteDB(t.Context(), "db"); err != nil {
			t.Fatal(err)
		}
		db = createDB(t, store, "db")
		if _, err := put(t, db, v, `{"_id":"x"}`); err != nil {
			t.Errorf("round %d: refused by a rule of the database that was deleted: %v", round, err)
		}
	}
}

func TestLRU(t *testing.T) {
	l := lru[string, int]{most: 10}
	for i := range 20 {
		l.put(fmt.Sprint(i), i, 3)
		if _, ok := l.get("0"); !ok {
			t.Fatal("what is used is dropped")
		}
		if l.weight > 10 || l.order.Len() != len(l.byKey) {
			t.Fatalf("%d entries of weight %d, %d known", l.order.Len(), l.weight, len(l.byKey))
		}
	}
	if v, ok := l.get("19"); !ok || v != 19 {
		t.Error("the newest is not there")
	}
	l.put("19", 5, 4)
	if v, _ := l.get("19"); v != 5 || l.weight != 10 {
		t.Errorf("%d, weight %d", v, l.weight)
	}
	l.put("19", 6, 11)
	if _, ok := l.get("19"); ok {
		t.Error("too heavy, and kept")
	}
}
