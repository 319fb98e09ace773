package storage

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// countReducer counts rows.
type countReducer struct{}

func (countReducer) Reduce(_ context.Context, rows []IndexRow) ([]byte, error) {
	return binary.AppendUvarint(nil, uint64(len(rows))), nil
}

func (countReducer) Rereduce(_ context.Context, parts [][]byte) ([]byte, error) {
	var n uint64
	for _, p := range parts {
		m, _ := binary.Uvarint(p)
		n += m
	}
	return binary.AppendUvarint(nil, n), nil
}

// orderReducer reduces rows to a number that depends on all of them and on their order. It fails on rows with the
// value "fail".
type orderReducer struct{}

const orderBase = 1_000_003

func orderPart(hash, factor uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, hash), factor)
}

func (orderReducer) Reduce(_ context.Context, rows []IndexRow) ([]byte, error) {
	var h, f uint64 = 0, 1
	for _, r := range rows {
		if string(r.Value) == "fail" {
			return nil, errors.New("asked to fail")
		}
		h = h*orderBase + hashBytes([]byte(fmt.Sprintf("%q %q %q", r.Key, r.ID, r.Value)))
		f *= orderBase
	}
	return orderPart(h, f), nil
}

func (orderReducer) Rereduce(_ context.Context, parts [][]byte) ([]byte, error) {
	var h, f uint64 = 0, 1
	for _, p := range parts {
		h = h*binary.LittleEndian.Uint64(p[8:]) + binary.LittleEndian.Uint64(p)
		f *= binary.LittleEndian.Uint64(p[8:])
	}
	return orderPart(h, f), nil
}

var testSpec = IndexSpec{
	Signature: "0123456789abcdef0123456789abcdef", Design: "_design/test",
	Spaces: []IndexSpace{{Reducers: []IndexReducer{countReducer{}, orderReducer{}}}, {}, {Reducers: []IndexReducer{countReducer{}}}},
}

// indexModel is what an index should hold.
type indexModel map[string][][]IndexRow

func (m indexModel) rows(space int) (rows []IndexRow) {
	for id, spaces := range m {
		if spaces == nil {
			continue
		}
		for _, r := range spaces[space] {
			r.ID = id
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, func(a, b IndexRow) int {
		return cmp.Or(bytes.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID))
	})
	return rows
}

// testKey is a key of two bytes and an end, so that none is a prefix of another.
func testKey(r *rand.Rand, spread int) []byte {
	n := r.IntN(spread)
	return []byte{byte(1 + n/200), byte(1 + n%200), 0}
}

func randomDoc(r *rand.Rand, id string, spread int) IndexDoc {
	d := IndexDoc{ID: id}
	if r.IntN(5) == 0 {
		return d
	}
	for range testSpec.Spaces {
		var rows []IndexRow
		for range r.IntN(4) {
			rows = append(rows, IndexRow{Key: testKey(r, spread), Value: fmt.Appendf(nil, "v%d", r.IntN(3))})
		}
		d.Spaces = append(d.Spaces, rows)
	}
	return d
}

func checkIndex(t interface {
	Helper()
	Fatalf(string, ...any)
}, db *DB, m indexModel, r *rand.Rand,
) {
	t.Helper()
	ctx := context.Background()
	s, err := db.Snapshot()
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer s.Close()
	ir, err := s.Index(db.Index(testSpec))
	if err != nil {
		t.Fatalf("%v", err)
	}
	for space := range testSpec.Spaces {
		want := m.rows(space)
		if got := ir.Count(space); got != uint64(len(want)) {
			t.Fatalf("space %d has %d rows, want %d", space, got, len(want))
		}
		compareRows(t, collectIndexRows(t, ir, space, IndexRange{}), want)
		for range 6 {
			a, b := testKey(r, 600), testKey(r, 600)
			if bytes.Compare(a, b) > 0 {
				a, b = b, a
			}
			rg := IndexRange{Start: IndexStart(a), End: IndexEnd(b), Descending: r.IntN(2) == 0}
			in := func(row IndexRow) bool { return bytes.Compare(row.Key, a) >= 0 && bytes.Compare(row.Key, b) <= 0 }
			var part []IndexRow
			first := -1
			for i, row := range want {
				if in(row) {
					part = append(part, row)
					if first < 0 {
						first = i
					}
				}
			}
			up := slices.Clone(part)
			if rg.Descending {
				slices.Reverse(part)
			}
			compareRows(t, collectIndexRows(t, ir, space, rg), part)
			if first >= 0 {
				n, err := ir.Rank(ctx, space, rg.Start)
				if err != nil || n != uint64(first) {
					t.Fatalf("rank of %q is %d, %v; want %d", rg.Start, n, err, first)
				}
				pos, ok, err := ir.Nth(ctx, space, uint64(first))
				if err != nil || !ok || !bytes.HasPrefix(pos, want[first].Key) {
					t.Fatalf("row %d is at %q, %v, %v; want %q", first, pos, ok, err, want[first].Key)
				}
			}
			for which, reducer := range testSpec.Spaces[space].Reducers {
				checkReduce(t, ir, space, which, reducer, rg, up)
			}
		}
		if _, ok, err := ir.Nth(ctx, space, uint64(len(want))); ok || err != nil {
			t.Fatalf("there is a row behind the last: %v", err)
		}
	}
}

func checkReduce(t interface {
	Helper()
	Fatalf(string, ...any)
}, ir *IndexReader, space, which int, reducer IndexReducer, rg IndexRange, rows []IndexRow,
) {
	t.Helper()
	ctx := context.Background()
	got, n, err := ir.Reduce(ctx, space, which, rg)
	if err != nil || n != uint64(len(rows)) {
		t.Fatalf("reduced %d rows of %d: %v", n, len(rows), err)
	}
	if len(rows) == 0 {
		return
	}
	if want, _ := reducer.Reduce(ctx, rows); !bytes.Equal(got, want) {
		t.Fatalf("reducer %d of space %d: %x, want %x", which, space, got, want)
	}
	for _, size := range []int{1, 2} { // coarse and exact groups
		prefix := func(key []byte) []byte {
			if size == 1 {
				return key[:1]
			}
			return key
		}
		var groups [][]IndexRow
		for _, row := range rows {
			if l := len(groups); l > 0 && bytes.Equal(prefix(groups[l-1][0].Key), prefix(row.Key)) {
				groups[l-1] = append(groups[l-1], row)
			} else {
				groups = append(groups, []IndexRow{row})
			}
		}
		if rg.Descending {
			slices.Reverse(groups)
		}
		i := 0
		for g, err := range ir.Groups(ctx, space, which, rg, prefix) {
			if err != nil || i == len(groups) {
				t.Fatalf("group %d of %d: %v", i, len(groups), err)
			}
			want, _ := reducer.Reduce(ctx, groups[i])
			if !bytes.Equal(g.Reduction, want) || g.Rows != uint64(len(groups[i])) {
				t.Fatalf("group %d reduces %d rows to %x; want %d, %x", i, g.Rows, g.Reduction, len(groups[i]), want)
			}
			i++
		}
		if i != len(groups) {
			t.Fatalf("%d groups, want %d", i, len(groups))
		}
	}
}

func collectIndexRows(t interface {
	Helper()
	Fatalf(string, ...any)
}, ir *IndexReader, space int, rg IndexRange,
) (rows []IndexRow) {
	t.Helper()
	for row, err := range ir.Rows(context.Background(), space, rg) {
		if err != nil {
			t.Fatalf("%v", err)
		}
		rows = append(rows, IndexRow{bytes.Clone(row.Key), row.ID, bytes.Clone(row.Value)})
	}
	return rows
}

func compareRows(t interface {
	Helper()
	Fatalf(string, ...any)
}, got, want []IndexRow,
) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
	for i := range got {
		if !bytes.Equal(got[i].Key, want[i].Key) || got[i].ID != want[i].ID || !bytes.Equal(got[i].Value, want[i].Value) {
			t.Fatalf("row %d is %q, want %q", i, got[i], want[i])
		}
	}
}

// TestIndexModel changes the rows of random documents, by commits and by builds that are cut off, and compares everything
// that can be asked with a model.
func TestIndexModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		docs := rapid.SampledFrom([]int{5, 60, 900}).Draw(rt, "documents")
		spread := rapid.SampledFrom([]int{3, 600, 40_000}).Draw(rt, "keys")
		s, err := Open(testOptions(t.TempDir()))
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		s.buildMemory = rapid.SampledFrom([]int{1, 1 << 20}).Draw(rt, "memory")
		db := createDB(t, s, "db")
		m := indexModel{}
		for step := range 12 {
			some := func() (list []IndexDoc) {
				for _, i := range r.Perm(docs)[:1+r.IntN(docs)] {
					d := randomDoc(r, fmt.Sprintf("doc%d", i), spread)
					if step > 8 {
						d.Spaces = nil // towards the end most go
					}
					list = append(list, d)
				}
				return list
			}
			if step > 0 && r.IntN(3) > 0 {
				u := IndexUpdate{Docs: some()}
				if err := db.Index(testSpec).Commit(t.Context(), u); err != nil {
					rt.Fatal(err)
				}
				m.take(u.Docs)
			} else {
				randomBuild(rt, r, db, m, some)
			}
			checkIndex(rt, db, m, r)
		}
		if found := problems(rt, s); len(found) > 0 {
			rt.Fatal(found)
		}
		checkLeftovers(rt, db)
	})
}

func (m indexModel) take(docs []IndexDoc) {
	for _, d := range docs {
		m[d.ID] = d.Spaces
	}
}

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
	fullShape(t)
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
	stopped := testSpec
	stopped.Spaces = slices.Clone(testSpec.Spaces)
	stopped.Spaces[0].Reducers = []IndexReducer{&cancelingReducer{after: 20, cancel: cancel}, orderReducer{}}
	if err := db.Index(stopped).Commit(ctx, IndexUpdate{Docs: []IndexDoc{{ID: "big"}}}); !errors.Is(err, context.Canceled) {
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
