package view

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/collate"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

const modelDesign = `{"_id":"_design/%s","language":"go","made":%d,"options":{"local_seq":%t},"views":{` +
	`"k":{"map":"k","reduce":"_sum"},"k2":{"map":"k","reduce":"_count"},"k3":{"map":"k","reduce":"_stats"},` +
	`"t":{"map":"tags","reduce":"_top_3"},"t2":{"map":"tags","reduce":"_first"},"t3":{"map":"tags","reduce":"_last"},` +
	`"t4":{"map":"tags","reduce":"_approx_count_distinct"},"t5":{"map":"tags","reduce":"_bottom_2"},` +
	`"t6":{"map":"tags","reduce":"function (k, v, r) { return r ? sum(v) : v.length; }"}}}`

// modelViews are the map functions of modelDesign's views.
var modelViews = map[string]string{
	"k": "k", "k2": "k", "k3": "k", "t": "tags", "t2": "tags", "t3": "tags", "t4": "tags", "t5": "tags",
}

// TestIncrementalEqualsRebuilt edits, deletes, conflicts and purges documents at random, and reopens the store, with
// queries in between: the index must always be what one built from nothing is, and what a walk over all rows gives.
func TestIncrementalEqualsRebuilt(t *testing.T) {
	n := newNode(t)
	cases := 0
	rapid.Check(t, func(t *rapid.T) {
		outer := n.tb
		n.tb = t
		defer func() { n.tb = outer }()
		cases++
		n.use(fmt.Sprintf("db%d", cases))
		n.put(fmt.Sprintf(modelDesign, "a", 0, false))
		builds := 0
		t.Repeat(map[string]func(*rapid.T){
			"edit":   func(t *rapid.T) { n.edit(t, storage.Edit) },
			"forge":  func(t *rapid.T) { n.edit(t, storage.Replicate) },
			"delete": n.remove,
			"purge":  n.purge,
			"many":   n.many,
			"restart": func(t *rapid.T) {
				if rapid.IntRange(0, 4).Draw(t, "really") == 0 {
					name := n.db.Name()
					n.close()
					n.open(storage.DBOptions{})
					n.use(name)
				}
			},
			"query": func(t *rapid.T) { n.compare(t, "a") },
			"rebuild": func(t *rapid.T) {
				builds++
				n.put(fmt.Sprintf(modelDesign, fmt.Sprintf("b%d", builds), builds, true))
				name := fmt.Sprintf("b%d", builds)
				n.compare(t, name)
				if err := n.x.Cleanup(context.Background(), n.db); err != nil {
					t.Fatal(err)
				}
			},
		})
		n.compare(t, "a")
	})
}

// text draws a document.
func (n *node) text(t *rapid.T, id string, rev revtree.ID, deleted bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"_id":%q`, id)
	if !rev.IsZero() {
		fmt.Fprintf(&b, `,"_rev":%q`, rev.String())
	}
	if deleted {
		b.WriteString(`,"_deleted":true}`)
		return b.String()
	}
	key := rapid.SampledFrom([]string{
		`null`, `1`, `1.0`, `-2.5`, `"a"`, `"A"`, `"é"`, `"e\u0301"`, `[]`, `[1]`, `[1,2]`, `[1,2,3]`, `[1,"x"]`, `["x",[1]]`, `{"a":1}`,
	})
	number := rapid.Map(rapid.IntRange(-5, 100), func(i int) string { return fmt.Sprint(i) })
	if rapid.Bool().Draw(t, "has k") {
		fmt.Fprintf(&b, `,"k":%s,"n":%s`, key.Draw(t, "k"), number.Draw(t, "n"))
	}
	tags := rapid.SliceOfN(key, 0, 5).Draw(t, "tags")
	fmt.Fprintf(&b, `,"tags":[%s]}`, strings.Join(tags, ","))
	return b.String()
}

func drawID(t *rapid.T) string {
	return fmt.Sprintf("doc%d", rapid.IntRange(0, 9).Draw(t, "id"))
}

// winner returns the winning revision of a document, zero if it is gone or deleted.
func (n *node) winner(id string) (rev revtree.ID, deleted bool) {
	s, err := n.db.Snapshot()
	if err != nil {
		n.Fatal(err)
	}
	defer s.Close()
	row, err := s.Lookup(id)
	if err != nil {
		return revtree.ID{}, true
	}
	return row.Rev, row.Deleted
}

func (n *node) edit(t *rapid.T, mode storage.Mode) {
	id := drawID(t)
	if mode == storage.Replicate {
		rev, err := revtree.ParseID(fmt.Sprintf("%d-%x", rapid.IntRange(1, 3).Draw(t, "gen"), rapid.IntRange(16, 40).Draw(t, "hash")))
		if err != nil {
			t.Fatal(err)
		}
		n.write(mode, n.text(t, id, rev, rapid.Bool().Draw(t, "deleted")))
		return
	}
	rev, deleted := n.winner(id)
	if deleted {
		rev = revtree.ID{}
	}
	n.write(mode, n.text(t, id, rev, false))
}

func (n *node) remove(t *rapid.T) {
	id := drawID(t)
	if rev, deleted := n.winner(id); !deleted {
		n.put(n.text(t, id, rev, true))
	}
}

func (n *node) purge(t *rapid.T) {
	id := drawID(t)
	rev, _ := n.winner(id)
	if rev.IsZero() {
		return
	}
	if _, err := n.db.Purge(context.Background(), []storage.Purge{{ID: id, Revs: []revtree.ID{rev}}}); err != nil {
		t.Fatal(err)
	}
}

// many writes enough for trees of rows to grow.
func (n *node) many(t *rapid.T) {
	var texts []string
	start := rapid.IntRange(0, 500).Draw(t, "start")
	for i := range rapid.IntRange(1, 400).Draw(t, "many") {
		id := fmt.Sprintf("many%d", start+i)
		rev, deleted := n.winner(id)
		if deleted {
			texts = append(texts, fmt.Sprintf(`{"_id":%q,"k":[%d,%d],"n":%d,"tags":[%d]}`, id, i%7, i%3, i, i%11))
		} else {
			texts = append(texts, fmt.Sprintf(`{"_id":%q,"_rev":%q,"k":%d,"n":%d,"tags":["a"]}`, id, rev.String(), i%5, i))
		}
	}
	n.bulk(texts)
}

// compare compares the views of a design document with what they must be.
func (n *node) compare(t *rapid.T, design string) {
	ctx := context.Background()
	for range 2 {
		view := rapid.SampledFrom(slices.Sorted(maps.Keys(modelViews))).Draw(t, "view")
		name := modelViews[view]
		n.compareView(ctx, t, design, view, n.expect(name))
	}
	// The function counts, as _count would.
	r := n.reader(design, "t6", UpdateTrue)
	defer r.Close()
	wantCount := ""
	if want := n.expect("tags"); len(want) > 0 {
		wantCount = fmt.Sprintf("- %d\n", len(want))
	}
	if got, err := readGroups(r, all); err != nil || got != wantCount {
		t.Fatalf("function: %v, got %s, want %s", err, got, wantCount)
	}
}

func (n *node) compareView(ctx context.Context, t *rapid.T, design, view string, want []expected) {
	r := n.reader(design, view, UpdateTrue)
	defer r.Close()
	got, err := readRows(r, all)
	if err != nil || got != linesOf(want) {
		t.Fatalf("%s/%s: %v, got\n%swant\n%s", design, view, err, got, linesOf(want))
	}
	if total, _ := r.Total(); total != uint64(len(want)) {
		t.Fatalf("%s/%s: total %d, want %d", design, view, total, len(want))
	}
	n.compareRange(ctx, t, r, want)
}

// compareRange compares a random range, and what it reduces to.
func (n *node) compareRange(ctx context.Context, t *rapid.T, r *Reader, want []expected) {
	q := Query{Limit: NoLimit}
	keys := []string{"", `1`, `"a"`, `[1]`, `[1,2]`, `[2,1]`, `[1,{}]`, `{}`}
	start := rapid.SampledFrom(keys).Draw(t, "start")
	end := rapid.SampledFrom(keys).Draw(t, "end")
	q.ExclusiveEnd = rapid.Bool().Draw(t, "exclusive")
	q.Descending = rapid.Bool().Draw(t, "descending")
	q.Skip = uint64(rapid.IntRange(0, 20).Draw(t, "skip"))
	sign := 1
	if q.Descending {
		sign = -1
	}
	if start != "" {
		q.StartKey = []byte(start)
	}
	if end != "" {
		q.EndKey = []byte(end)
	}
	var in []expected
	for _, e := range want {
		if start != "" && sign*collate.Compare(e.key, q.StartKey) < 0 {
			continue
		}
		if end != "" {
			if d := sign * collate.Compare(e.key, q.EndKey); d > 0 || d == 0 && q.ExclusiveEnd {
				continue
			}
		}
		in = append(in, e)
	}
	rows := in
	if q.Descending {
		rows = nil
		for i := len(in) - 1; i >= 0; i-- {
			rows = append(rows, in[i])
		}
	}
	rows = rows[min(int(q.Skip), len(rows)):]
	if got, err := readRows(r, q); err != nil || got != linesOf(rows) {
		t.Fatalf("rows of %+v: %v, got\n%swant\n%s", q, err, got, linesOf(rows))
	}
	q.Skip = 0
	for _, q.Group = range []int{GroupNone, GroupExact, 1, 2} {
		wantGroups := n.naive(ctx, t, r, in, q)
		if got, err := readGroups(r, q); err != nil || got != wantGroups {
			t.Fatalf("groups of %+v: %v, got\n%swant\n%s", q, err, got, wantGroups)
		}
	}
}

// naive groups rows by comparing their keys, and reduces each group at once.
func (n *node) naive(ctx context.Context, t *rapid.T, r *Reader, rows []expected, q Query) string {
	same := func(a, b expected) bool {
		if q.Group == GroupNone {
			return true
		}
		return collate.Compare(cutKey(a.key, q.Group), cutKey(b.key, q.Group)) == 0
	}
	var lines []string
	for len(rows) > 0 {
		size := 1
		for size < len(rows) && same(rows[0], rows[size]) {
			size++
		}
		stored := make([]storage.IndexRow, size)
		for i, e := range rows[:size] {
			stored[i] = storage.IndexRow{ID: e.id, Value: appendRow(nil, e.key, e.value)}
		}
		reduction, err := r.reducer.Reduce(ctx, stored)
		if err != nil {
			t.Fatal(err)
		}
		first := rows[0]
		if q.Descending {
			first = rows[size-1]
		}
		key := []byte("-")
		if q.Group != GroupNone {
			key = cutKey(first.key, q.Group)
		}
		lines = append(lines, fmt.Sprintf("%s %s\n", key, finish(r.reducer, reduction)))
		rows = rows[size:]
	}
	if q.Descending {
		for i, j := 0, len(lines)-1; i < j; i, j = i+1, j-1 {
			lines[i], lines[j] = lines[j], lines[i]
		}
	}
	return strings.Join(lines, "")
}

// cutKey is groupKey made another way.
func cutKey(key []byte, group int) []byte {
	var array []json.RawMessage
	if group == GroupExact || key[0] != '[' || json.Unmarshal(key, &array) != nil || len(array) <= group {
		return key
	}
	parts := make([][]byte, group)
	for i := range parts {
		parts[i] = array[i]
	}
	return append(append([]byte{'['}, bytes.Join(parts, []byte{','})...), ']')
}
