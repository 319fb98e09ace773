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

// shape is how large the parts of trees are.
type shape struct{ nodeEntries, nodeFew, leafRows, leafBytes, leafFew int }

// Trees have few rows in a leaf in tests, so that those of few rows are high; fullShape is that of elsewhere.
var (
	fullShape = shape{nodeEntries, nodeFew, leafRows, leafBytes, leafFew}
	testShape = shape{6, 2, 8, 400, 3}
)

func (s shape) set() {
	nodeEntries, nodeFew, leafRows, leafBytes, leafFew = s.nodeEntries, s.nodeFew, s.leafRows, s.leafBytes, s.leafFew
}

// use sets the shape for a test.
func (s shape) use(t testing.TB) {
	s.set()
	t.Cleanup(testShape.set)
}

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

func randomDoc(r *rand.Rand, id string, spread int) IndexDoc { return randomDocOf(r, id, spread, 0) }

// randomDocOf returns a document of which some values have up to large bytes.
func randomDocOf(r *rand.Rand, id string, spread, large int) IndexDoc {
	d := IndexDoc{ID: id}
	if r.IntN(5) == 0 {
		return d
	}
	for range testSpec.Spaces {
		var rows []IndexRow
		for range r.IntN(4) {
			value := fmt.Appendf(nil, "v%d", r.IntN(3))
			if large > 0 && r.IntN(4) == 0 {
				value = make([]byte, r.IntN(large))
				for i := range value {
					value[i] = byte(r.Uint32())
				}
			}
			rows = append(rows, IndexRow{Key: testKey(r, spread), Value: value})
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
		docs := rapid.SampledFrom([]int{5, 60, 700}).Draw(rt, "documents")
		spread := rapid.SampledFrom([]int{3, 600, 40_000}).Draw(rt, "keys")
		s, err := Open(testOptions(t.TempDir()))
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		shape := rapid.SampledFrom([]shape{testShape, {7, 3, 10, 3000, 5}, fullShape}).Draw(rt, "shape")
		shape.set()
		defer testShape.set()
		large := rapid.SampledFrom([]int{0, 0, 1000, 12_000}).Draw(rt, "values")
		s.buildMemory = rapid.SampledFrom([]int{1, 1 << 20}).Draw(rt, "memory")
		db := createDB(t, s, "db")
		m := indexModel{}
		for step := range 12 {
			some := func() (list []IndexDoc) {
				for _, i := range r.Perm(docs)[:1+r.IntN(docs)] {
					d := randomDocOf(r, fmt.Sprintf("doc%d", i), spread, large)
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
