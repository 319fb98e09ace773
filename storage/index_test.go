package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestIndexLargeDocument replaces documents that have more rows than fit a transaction.
func TestIndexLargeDocument(t *testing.T) {
	db := newTestDB(t)
	ix := db.Index(testSpec)
	r := rand.New(rand.NewPCG(1, 2))
	m := indexModel{}
	commit := func(docs ...IndexDoc) {
		t.Helper()
		for _, d := range docs {
			m[d.ID] = d.Spaces
		}
		if err := ix.Commit(t.Context(), IndexUpdate{Docs: docs}); err != nil {
			t.Fatal(err)
		}
		if st, err := ix.State(); err != nil || st.Torn {
			t.Fatalf("state %+v, %v", st, err)
		}
		checkIndex(t, db, m, r)
		if found := problems(t, db.store); len(found) > 0 {
			t.Fatal(found)
		}
	}
	many := func(id string, n int) IndexDoc {
		d := IndexDoc{ID: id, Spaces: make([][]IndexRow, 3)}
		for i := range n {
			d.Spaces[i%3] = append(d.Spaces[i%3], IndexRow{Key: testKey(r, 40_000), Value: bytes.Repeat([]byte("x"), r.IntN(200))})
		}
		return d
	}
	commit(randomDoc(r, "a", 50), many("b", 30_000), randomDoc(r, "c", 50))
	commit(many("b", 10_000))
	commit(randomDoc(r, "a", 50), IndexDoc{ID: "b"}, randomDoc(r, "d", 50))
	commit(many("b", 9_000), many("a", 7_000))
	commit(randomDoc(r, "b", 50), randomDoc(r, "a", 50))
}

// TestIndexScatteredDocument replaces a document each of whose rows lies in a leaf of its own: too many for a transaction,
// although the rows themselves are few.
func TestIndexScatteredDocument(t *testing.T) {
	fullShape.use(t)
	db := newTestDB(t)
	ix := db.Index(testSpec)
	build, err := ix.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(7, 7))
	value := func() []byte { return fmt.Appendf(nil, "%016x%016x%016x", r.Uint64(), r.Uint64(), r.Uint64()) }
	key := func(i int) []byte { return append(fmt.Appendf(nil, "%08d", i), 0) }
	var docs []IndexDoc
	for i := range 4000 {
		d := IndexDoc{ID: fmt.Sprint("doc", i), Spaces: make([][]IndexRow, 3)}
		for j := range 20 {
			d.Spaces[0] = append(d.Spaces[0], IndexRow{Key: key(i*20 + j), Value: value()})
		}
		docs = append(docs, d)
	}
	if err := build.Add(t.Context(), build.Part(docs), 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := build.Finish(t.Context(), 0, 0); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		d := IndexDoc{ID: "scattered", Spaces: make([][]IndexRow, 3)}
		for i := range pieceRows - 100*round {
			d.Spaces[0] = append(d.Spaces[0], IndexRow{Key: key(i*40 + round), Value: value()})
		}
		if err := ix.Commit(t.Context(), IndexUpdate{Docs: []IndexDoc{d, docs[round]}}); err != nil {
			t.Fatal(err)
		}
		snap := view(t, db)
		ir, err := snap.Index(ix)
		if err != nil || ir.State().Torn || ir.Count(0) != uint64(80_000+len(d.Spaces[0])) {
			t.Fatalf("%+v, %d rows, %v", ir.State(), ir.Count(0), err)
		}
		snap.Close()
		if found := problems(t, db.store); len(found) > 0 {
			t.Fatal(found)
		}
	}
}

// TestIndexLongKeys indexes keys that are longer than the engine takes.
func TestIndexLongKeys(t *testing.T) {
	db := newTestDB(t)
	ix := db.Index(testSpec)
	long := bytes.Repeat([]byte("k"), 200_000)
	keys := [][]byte{append(slices.Clone(long), 'a', 0), append(slices.Clone(long), 'b', 0), append(slices.Clone(long), 'a', 0), {'l', 0}}
	var d IndexDoc
	d.ID = "nul\x00in\x00id"
	d.Spaces = make([][]IndexRow, 3)
	for i, k := range keys {
		d.Spaces[0] = append(d.Spaces[0], IndexRow{Key: k, Value: []byte{byte('0' + i)}})
	}
	for range 2 {
		if err := ix.Commit(t.Context(), IndexUpdate{Docs: []IndexDoc{d}}); err != nil {
			t.Fatal(err)
		}
		snap, err := db.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		ir, err := snap.Index(ix)
		if err != nil {
			t.Fatal(err)
		}
		rows := collectIndexRows(t, ir, 0, IndexRange{Start: IndexStart(keys[0]), End: IndexEnd(keys[0])})
		if len(rows) != 2 || string(rows[0].Value) != "0" || string(rows[1].Value) != "2" || rows[0].ID != d.ID {
			t.Errorf("rows of a long key: %d", len(rows))
		}
		rows = collectIndexRows(t, ir, 0, IndexRange{})
		if len(rows) != 4 || string(rows[3].Value) != "3" {
			t.Errorf("%d rows", len(rows))
		}
		snap.Close()
	}
}

// TestIndexFailingReducer keeps rows whose reduction fails, and gives the error to who asks for the reduction.
func TestIndexFailingReducer(t *testing.T) {
	db := newTestDB(t)
	ix := db.Index(testSpec)
	put := func(value string) {
		t.Helper()
		d := IndexDoc{ID: "bad", Spaces: [][]IndexRow{{{Key: []byte{5, 0}, Value: []byte(value)}}, nil, nil}}
		if err := ix.Commit(t.Context(), IndexUpdate{Docs: []IndexDoc{d}}); err != nil {
			t.Fatal(err)
		}
	}
	var u IndexUpdate
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 500 {
		u.Docs = append(u.Docs, IndexDoc{ID: fmt.Sprint(i), Spaces: [][]IndexRow{{{Key: testKey(r, 2000)}}, nil, nil}})
	}
	if err := ix.Commit(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	reduce := func(which int, rg IndexRange) error {
		snap, err := db.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		defer snap.Close()
		ir, err := snap.Index(ix)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = ir.Reduce(t.Context(), 0, which, rg)
		return err
	}
	put("fail")
	if reduce(1, IndexRange{}) == nil {
		t.Error("the failing row was reduced")
	}
	if err := reduce(1, IndexRange{Start: []byte{6}}); err != nil {
		t.Errorf("rows beside the failing one: %v", err)
	}
	if err := reduce(0, IndexRange{}); err != nil {
		t.Errorf("the other reducer: %v", err)
	}
	put("good")
	if err := reduce(1, IndexRange{}); err != nil {
		t.Errorf("after the row was mended: %v", err)
	}
}

// TestIndexLife makes, drops and resets indexes, beside a deletion of their database.
func TestIndexLife(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(testOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	db := createDB(t, s, "db")
	ix := db.Index(testSpec)
	if st, err := ix.State(); err != nil || st.Exists {
		t.Fatalf("%+v, %v", st, err)
	}
	r := rand.New(rand.NewPCG(5, 6))
	build, err := ix.Build(t.Context())
	if err == nil {
		err = build.Add(t.Context(), build.Part([]IndexDoc{randomDoc(r, "a", 9)}), 0, 0)
	}
	if err == nil {
		err = build.Save(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	if db, err = s.DB("db"); err != nil {
		t.Fatal(err)
	}
	ix = db.Index(testSpec)
	infos, err := db.Indexes()
	if err != nil || len(infos) != 1 || infos[0].Signature != testSpec.Signature || !infos[0].State.Unfinished {
		t.Fatalf("%+v, %v", infos, err)
	}
	if build, err = ix.Build(t.Context()); err == nil {
		err = build.Finish(t.Context(), 0, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := ix.Commit(t.Context(), IndexUpdate{Seq: 99}); err != nil {
		t.Fatal(err)
	}
	if st, err := ix.State(); err != nil || !st.Stale {
		t.Fatalf("an index that is ahead of its database: %+v, %v", st, err)
	}
	if err := ix.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st, err := ix.State(); err != nil || st.Exists {
		t.Fatalf("%+v, %v", st, err)
	}
	if err := db.DropIndex(t.Context(), testSpec.Signature); !errors.Is(err, ErrNotFound) {
		t.Fatalf("dropped twice: %v", err)
	}
	if err := ix.Commit(t.Context(), IndexUpdate{}); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteDB(t.Context(), "db"); err != nil {
		t.Fatal(err)
	}
	if err := ix.Commit(t.Context(), IndexUpdate{}); !errors.Is(err, ErrNoDatabase) {
		t.Fatalf("commit to an index of a deleted database: %v", err)
	}
}

// TestIndexTorn stops while a document's many rows are being written: the index says so until they all are there.
func TestIndexTorn(t *testing.T) {
	db := newTestDB(t)
	ix := db.Index(testSpec)
	r := rand.New(rand.NewPCG(9, 9))
	big := IndexDoc{ID: "big", Spaces: make([][]IndexRow, 3)}
	for range 30_000 {
		big.Spaces[0] = append(big.Spaces[0], IndexRow{Key: testKey(r, 40_000), Value: []byte("v")})
	}
	if err := ix.Commit(t.Context(), IndexUpdate{Docs: []IndexDoc{big}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := db.Index(stoppedSpec(20, cancel)).Commit(ctx, IndexUpdate{Docs: []IndexDoc{{ID: "big"}}}); !errors.Is(err, context.Canceled) {
		t.Fatalf("the commit was not stopped: %v", err)
	}
	torn := func() bool {
		t.Helper()
		st, err := ix.State()
		if err != nil {
			t.Fatal(err)
		}
		return st.Torn
	}
	if !torn() {
		t.Fatal("nothing is torn; stop it later")
	}
	if err := ix.Commit(t.Context(), IndexUpdate{Docs: []IndexDoc{randomDoc(r, "other", 50)}}); err != nil {
		t.Fatal(err)
	}
	if !torn() {
		t.Error("another document's rows have mended it")
	}
	small := IndexDoc{ID: "big", Spaces: [][]IndexRow{{{Key: []byte{1, 0}}}, nil, nil}}
	if err := ix.Commit(t.Context(), IndexUpdate{Docs: []IndexDoc{small}}); err != nil {
		t.Fatal(err)
	}
	if torn() {
		t.Error("it is torn although all rows are there")
	}
	if found := problems(t, db.store); len(found) > 0 {
		t.Error(found)
	}
}

// stoppedSpec is testSpec with a reducer that cancels what it works for after so many calls.
func stoppedSpec(after int, cancel func()) IndexSpec {
	spec := testSpec
	spec.Spaces = slices.Clone(testSpec.Spaces)
	spec.Spaces[0].Reducers = []IndexReducer{&cancelingReducer{after: after, cancel: cancel}, orderReducer{}}
	return spec
}

// cancelingReducer counts, and cancels what it works for after so many calls.
type cancelingReducer struct {
	countReducer
	after  int
	cancel func()
}

func (c *cancelingReducer) Rereduce(ctx context.Context, parts [][]byte) ([]byte, error) {
	if c.after--; c.after == 0 {
		c.cancel()
	}
	return c.countReducer.Rereduce(ctx, parts)
}

// TestIndexJoinedLeaves edits rows of which some are empty and some nearly fill a leaf, so that leaves are split by their
// bytes and joined again.
func TestIndexJoinedLeaves(t *testing.T) {
	fullShape.use(t)
	db := newTestDB(t)
	ix := db.Index(testSpec)
	r := rand.New(rand.NewPCG(1, 9))
	m := indexModel{}
	for range 25 {
		var u IndexUpdate
		for _, i := range r.Perm(20_000)[:500] {
			d := IndexDoc{ID: fmt.Sprint("doc", i)}
			if r.IntN(2) == 0 {
				var value []byte
				if r.IntN(2) == 0 {
					value = make([]byte, 800+r.IntN(800))
					for j := range value {
						value[j] = byte(r.Uint32())
					}
				}
				d.Spaces = [][]IndexRow{{{Key: testKey(r, 40_000), Value: value}}, nil, nil}
			}
			u.Docs = append(u.Docs, d)
		}
		if err := ix.Commit(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		m.take(u.Docs)
	}
	checkIndex(t, db, m, r)
	if found := problems(t, db.store); len(found) > 0 {
		t.Error(found)
	}
}

// TestIndexTwoTorn is cut off in the midst of one large document and goes on with another: the first stays torn.
func TestIndexTwoTorn(t *testing.T) {
	db := newTestDB(t)
	ix := db.Index(testSpec)
	r := rand.New(rand.NewPCG(2, 9))
	large := func(id string) IndexDoc {
		d := IndexDoc{ID: id, Spaces: make([][]IndexRow, 3)}
		for range 20_000 {
			d.Spaces[0] = append(d.Spaces[0], IndexRow{Key: testKey(r, 40_000), Value: []byte("v")})
		}
		return d
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := db.Index(stoppedSpec(20, cancel)).Commit(ctx, IndexUpdate{Docs: []IndexDoc{large("a")}}); !errors.Is(err, context.Canceled) {
		t.Fatalf("the commit was not stopped: %v", err)
	}
	for _, step := range []struct {
		doc  string
		torn bool
	}{{"b", true}, {"a", false}} {
		if err := ix.Commit(t.Context(), IndexUpdate{Docs: []IndexDoc{large(step.doc)}}); err != nil {
			t.Fatal(err)
		}
		if st, err := ix.State(); err != nil || st.Torn != step.torn {
			t.Errorf("after %s: %+v, %v", step.doc, st, err)
		}
		if found := problems(t, db.store); len(found) > 0 {
			t.Error(found)
		}
	}
}
