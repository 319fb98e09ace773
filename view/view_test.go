package view

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/storage"
)

const shops = `{"_id":"_design/d","language":"go","views":{` +
	`"k":{"map":"k"},"sum":{"map":"k","reduce":"_sum"},"count":{"map":"k","reduce":"_count"},"stats":{"map":"k","reduce":"_stats"},` +
	`"raw":{"map":"k","options":{"collation":"raw"}}}}`

func TestRowsAndGroups(t *testing.T) {
	n := newNode(t)
	n.put(shops)
	for _, text := range []string{
		`{"_id":"s1","k":["e",2023,1],"n":4}`, `{"_id":"s2","k":["w",2023,1],"n":6}`, `{"_id":"s3","k":["e",2023,2],"n":1}`,
		`{"_id":"s4","k":["w",2024,1],"n":9}`, `{"_id":"s5","k":"x","n":2}`, `{"_id":"s6","k":"x","n":3}`, `{"_id":"s7","n":8}`,
	} {
		n.put(text)
	}
	for _, tc := range []struct {
		name, view string
		q          Query
		want       string
	}{
		{"all", "k", all, `"x" 2 s5,"x" 3 s6,["e",2023,1] 4 s1,["e",2023,2] 1 s3,["w",2023,1] 6 s2,["w",2024,1] 9 s4`},
		{"raw", "raw", all, `["e",2023,1] 4 s1,["e",2023,2] 1 s3,["w",2023,1] 6 s2,["w",2024,1] 9 s4,"x" 2 s5,"x" 3 s6`},
		{"descending", "k", Query{Limit: 3, Descending: true}, `["w",2024,1] 9 s4,["w",2023,1] 6 s2,["e",2023,2] 1 s3`},
		{"range", "k", Query{StartKey: []byte(`["e"]`), EndKey: []byte(`["e",{}]`), Limit: NoLimit}, `["e",2023,1] 4 s1,["e",2023,2] 1 s3`},
		{"exclusive end", "k", Query{EndKey: []byte(`["e",2023,2]`), ExclusiveEnd: true, Limit: NoLimit}, `"x" 2 s5,"x" 3 s6,["e",2023,1] 4 s1`},
		{"ids", "k", Query{StartKey: []byte(`"x"`), StartID: "s6", EndKey: []byte(`"x"`), Limit: NoLimit}, `"x" 3 s6`},
		{"end id", "k", Query{StartKey: []byte(`"x"`), EndKey: []byte(`"x"`), EndID: "s5", Limit: NoLimit}, `"x" 2 s5`},
		{"end id, exclusive", "k", Query{StartKey: []byte(`"x"`), EndKey: []byte(`"x"`), EndID: "s6", ExclusiveEnd: true, Limit: NoLimit}, `"x" 2 s5`},
		{"descending ids", "k", Query{StartKey: []byte(`"x"`), StartID: "s5", Descending: true, Limit: NoLimit}, `"x" 2 s5`},
		{"skip", "k", Query{Skip: 4, Limit: NoLimit}, `["w",2023,1] 6 s2,["w",2024,1] 9 s4`},
		{"skip descending", "k", Query{Skip: 4, Limit: NoLimit, Descending: true}, `"x" 3 s6,"x" 2 s5`},
		{"skip all", "k", Query{Skip: 400, Limit: NoLimit}, ``},
		{"limit 0", "k", Query{}, ``},
		{"crossed", "k", Query{StartKey: []byte(`2`), EndKey: []byte(`1`), Limit: NoLimit}, ``},
		{
			"keys", "k",
			Query{HasKeys: true, Keys: [][]byte{[]byte(`["w",2024,1]`), []byte(`0`), []byte(`"x"`)}, Limit: NoLimit},
			`["w",2024,1] 9 s4,"x" 2 s5,"x" 3 s6`,
		},
		{
			"keys, skip", "k",
			Query{HasKeys: true, Keys: [][]byte{[]byte(`["w",2024,1]`), []byte(`0`), []byte(`"x"`)}, Skip: 2, Limit: NoLimit},
			`"x" 3 s6`,
		},
		{
			"keys descending", "k",
			Query{HasKeys: true, Descending: true, Keys: [][]byte{[]byte(`"x"`), []byte(`["w",2024,1]`)}, Skip: 1, Limit: NoLimit},
			`"x" 3 s6,"x" 2 s5`,
		},
		{"no keys", "k", Query{HasKeys: true, Limit: NoLimit}, ``},
	} {
		if got := strings.ReplaceAll(strings.TrimSpace(n.rows("d", tc.view, tc.q)), "\n", ","); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
	}
	for _, tc := range []struct {
		name, view string
		q          Query
		want       string
	}{
		{"sum", "sum", all, `- 25`},
		{"count", "count", all, `- 6`},
		{"range", "sum", Query{StartKey: []byte(`["e"]`), EndKey: []byte(`["e",{}]`), Limit: NoLimit}, `- 5`},
		{"nothing", "sum", Query{StartKey: []byte(`["f"]`), EndKey: []byte(`["g"]`), Limit: NoLimit}, ``},
		{"exact", "sum", Query{Group: GroupExact, Limit: NoLimit}, `"x" 5,["e",2023,1] 4,["e",2023,2] 1,["w",2023,1] 6,["w",2024,1] 9`},
		{"level 1", "count", Query{Group: 1, Limit: NoLimit}, `"x" 2,["e"] 2,["w"] 2`},
		{"level 2", "sum", Query{Group: 2, Limit: NoLimit}, `"x" 5,["e",2023] 5,["w",2023] 6,["w",2024] 9`},
		{"level 9", "count", Query{Group: 9, Limit: NoLimit}, `"x" 2,["e",2023,1] 1,["e",2023,2] 1,["w",2023,1] 1,["w",2024,1] 1`},
		{"level 1 backwards", "sum", Query{Group: 1, Limit: NoLimit, Descending: true}, `["w"] 15,["e"] 5,"x" 5`},
		{"skip and limit", "sum", Query{Group: 2, Skip: 1, Limit: 2}, `["e",2023] 5,["w",2023] 6`},
		{
			"keys", "sum",
			Query{Group: GroupExact, HasKeys: true, Keys: [][]byte{[]byte(`["w",2023,1]`), []byte(`1`), []byte(`"x"`)}, Limit: NoLimit},
			`["w",2023,1] 6,"x" 5`,
		},
		{"keys together", "sum", Query{HasKeys: true, Keys: [][]byte{[]byte(`["w",2023,1]`), []byte(`"x"`)}, Limit: NoLimit}, `- 11`},
		{"stats", "stats", all, `- {"sum":25,"count":6,"min":1,"max":9,"sumsqr":147}`},
		{"skip the only one", "stats", Query{Skip: 1, Limit: NoLimit}, ``},
	} {
		if got := strings.ReplaceAll(strings.TrimSpace(n.groups("d", tc.view, tc.q)), "\n", ","); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
	}
}

func TestOffset(t *testing.T) {
	n := newNode(t)
	n.put(shops)
	for i := range 10 {
		n.put(fmt.Sprintf(`{"_id":"%d","k":%d}`, i, i))
	}
	r := n.reader("d", "k", UpdateTrue)
	defer r.Close()
	if total, err := r.Total(); total != 10 || err != nil {
		t.Error(total, err)
	}
	for _, tc := range []struct {
		q    Query
		want uint64
	}{
		{Query{}, 0},
		{Query{Skip: 3}, 3},
		{Query{Skip: 30}, 10},
		{Query{Skip: 3, Descending: true}, 3},
		{Query{StartKey: []byte("4")}, 4},
		{Query{StartKey: []byte("4"), Skip: 2}, 6},
		{Query{StartKey: []byte("4"), Descending: true}, 5},
		{Query{StartKey: []byte("4"), Descending: true, Skip: 1}, 6},
		{Query{StartKey: []byte("4"), EndKey: []byte("5"), Skip: 100}, 6},
		{Query{HasKeys: true, Keys: [][]byte{[]byte("4"), []byte("1")}}, 4},
	} {
		tc.q.Limit = NoLimit
		rows, err := r.Rows(context.Background(), tc.q)
		if err != nil || rows.Offset != tc.want {
			t.Errorf("%+v: offset %d, want %d (%v)", tc.q, rows.Offset, tc.want, err)
		}
	}
}

// TestEqualKeys checks the order of what one document emits with equal keys.
func TestEqualKeys(t *testing.T) {
	n := newNode(t)
	n.put(`{"_id":"_design/d","language":"go","views":{"t":{"map":"tags"}}}`)
	n.put(`{"_id":"a","tags":["s","s","t","s"]}`)
	want := `"s" 0 a` + "\n" + `"s" 1 a` + "\n" + `"s" 2 a` + "\n" + `"t" 4 a` + "\n"
	if got := n.rows("d", "t", all); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestPartitions(t *testing.T) {
	n := newPartitionedNode(t)
	n.put(`{"_id":"_design/d","language":"go","views":{"k":{"map":"k"},"sum":{"map":"k","reduce":"_sum"}}}`)
	n.put(`{"_id":"_design/g","language":"go","options":{"partitioned":false},"views":{"k":{"map":"k"}}}`)
	n.put(`{"_id":"a:1","k":[1,1],"n":1}`)
	n.put(`{"_id":"a:2","k":[1,2],"n":2}`)
	n.put(`{"_id":"ab:1","k":[1,1],"n":4}`)
	if got := n.rows("d", "k", Query{Partition: "a", Limit: NoLimit, Descending: true}); got != "[1,2] 2 a:2\n[1,1] 1 a:1\n" {
		t.Error(got)
	}
	if got := n.rows("d", "k", Query{Partition: "a", StartKey: []byte("[1,2]"), Limit: NoLimit}); got != "[1,2] 2 a:2\n" {
		t.Error(got)
	}
	if got := n.groups("d", "sum", Query{Partition: "a", Group: 1, Limit: NoLimit}); got != "[1] 3\n" {
		t.Error(got)
	}
	if got := n.groups("d", "sum", Query{Partition: "ab", Limit: NoLimit}); got != "- 4\n" {
		t.Error(got)
	}
	if got := n.rows("g", "k", all); got != "[1,1] 1 a:1\n[1,1] 4 ab:1\n[1,2] 2 a:2\n" {
		t.Error(got)
	}
	for design, q := range map[string]Query{"d": all, "g": {Partition: "a", Limit: NoLimit}} {
		r := n.reader(design, "k", UpdateTrue)
		if _, err := r.Rows(context.Background(), q); err == nil {
			t.Error(design, "no error")
		}
		r.Close()
	}
}

func TestWhatMapFunctionsSee(t *testing.T) {
	n := newNode(t)
	n.put(`{"_id":"_design/d","language":"go","options":{"local_seq":true,"include_design":true},"views":{"c":{"map":"conflicts"},"s":{"map":"seq"},"r":{"map":"rev"}}}`)
	n.put(`{"_id":"_design/e","language":"go","views":{"r":{"map":"rev"},"s":{"map":"seq"}}}`)
	n.write(storage.Replicate, `{"_id":"a","_rev":"1-b"}`)
	n.write(storage.Replicate, `{"_id":"a","_rev":"1-a"}`)
	n.write(storage.Replicate, `{"_id":"a","_rev":"2-c","_deleted":true,"_revisions":{"start":2,"ids":["c","d"]}}`)
	if got := n.rows("d", "c", Query{StartKey: []byte("[]"), Limit: NoLimit}); got != `["1-a"] ["2-c"] a`+"\n" {
		t.Error(got)
	}
	if got := n.rows("d", "s", all); got != "1 1 _design/d\n2 1 _design/e\n5 1 a\n" {
		t.Error(got)
	}
	if got := n.rows("e", "r", all); got != `"a" "1-b" a`+"\n" {
		t.Error(got)
	}
	if got := n.rows("e", "s", all); got != `null 1 a`+"\n" {
		t.Error(got)
	}
}

func TestOpenErrors(t *testing.T) {
	n := newNode(t)
	n.put(`{"_id":"_design/d","language":"cobol","views":{"v":{"map":"x"}}}`)
	n.put(`{"_id":"_design/e","views":{"v":{"map":"function (doc) {"},"w":5,"x":{"reduce":"_sum"}}}`)
	open := func(design, view string) error {
		r, err := n.x.Open(context.Background(), n.db, n.design(design), view, UpdateTrue)
		if err == nil {
			r.Close()
		}
		return err
	}
	for _, tc := range []struct{ design, view, want string }{
		{"d", "v", "unknown_query_language: cobol"},
		{"d", "w", "not_found: missing_named_view"},
		{"e", "w", "not_found: missing_named_view"},
		{"e", "x", "not_found: missing_named_view"},
		{"e", "v", "compilation_error"},
	} {
		if err := open(tc.design, tc.view); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s/%s: %v, want %s", tc.design, tc.view, err, tc.want)
		}
	}
	s, err := n.db.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := n.x.Design(s, "_design/none"); !errors.Is(err, storage.ErrNotFound) {
		t.Error(err)
	}
}

func TestSignature(t *testing.T) {
	n := newNode(t)
	n.put(`{"_id":"_design/a","language":"go","views":{"x":{"map":"k"},"y":{"map":"tags","reduce":"_sum"}}}`)
	n.put(`{"_id":"_design/b","language":"go","more":1,"views":{"p":{"map":"tags","reduce":"_sum"},"q":{"map":"k"},"r":{"map":"k"}}}`)
	n.put(`{"_id":"_design/c","language":"go","views":{"x":{"map":"k"},"y":{"map":"tags","reduce":"_count"}}}`)
	n.put(`{"_id":"_design/e","language":"go","options":{"local_seq":true},"views":{"x":{"map":"k"},"y":{"map":"tags","reduce":"_sum"}}}`)
	a, b := n.design("a"), n.design("b")
	if a.Signature != b.Signature || len(a.Signature) != 32 || len(b.Spaces) != 2 {
		t.Error(a.Signature, b.Signature, len(b.Spaces))
	}
	for _, other := range []string{"c", "e"} {
		if n.design(other).Signature == a.Signature {
			t.Error(other, "has the same signature")
		}
	}
	if n.design("a") != a {
		t.Error("not cached")
	}
}
