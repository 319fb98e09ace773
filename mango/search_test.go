package mango

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

const (
	noIndexWarning = "No matching index found, create an index to optimize query time."
	scanWarning    = "The number of documents examined is high in proportion to the number of results returned. Consider adding a more specific index to improve this."
)

// numbers are documents n00 and so on, with their number in n, the rest of it by
// two in k, and one more member.
func numbers(n int) map[string]string {
	docs := map[string]string{}
	for i := range n {
		docs[fmt.Sprintf("n%02d", i)] = fmt.Sprintf(`{"n":%d,"k":%d,"x":{"y":[%d]}}`, i, i%2, i)
	}
	return docs
}

func TestSearch(t *testing.T) {
	w := newWorld(t)
	w.write(numbers(24))
	w.index(`{"index":{"fields":["n"]},"ddoc":"n","name":"n"}`)
	w.index(`{"index":{"fields":["k","n"]},"ddoc":"kn","name":"kn"}`)
	for _, tc := range []struct {
		query               string
		want                string // the numbers
		keys, docs, quorums int
		warning             string
	}{
		{`"selector":{"n":3}`, "3", 1, 1, 0, ""},
		{`"selector":{"n":3},"fields":["_id","n"]`, "3", 1, 0, 0, ""},
		{`"selector":{"n":3},"fields":["_id"],"r":3`, "3", 1, 0, 0, ""},
		{`"selector":{"n":3},"r":3`, "3", 1, 0, 1, ""},
		{`"selector":{"n":{"$gt":1,"$lt":5}}`, "2 3 4", 5, 5, 0, ""},
		{`"selector":{"n":{"$lt":5}},"sort":[{"n":"desc"}],"limit":2,"skip":1`, "3 2", 4, 4, 0, ""},
		{`"selector":{"k":1,"n":{"$mod":[5,2]}}`, "7 17", 12, 12, 0, ""},
		{`"selector":{"k":1,"n":{"$mod":[25,7]}},"use_index":"kn"`, "7", 12, 12, 0, scanWarning},
		{`"selector":{"k":1,"n":{"$gt":15}},"fields":["_id","k"]`, "17 19 21 23", 5, 0, 0, ""},
		{`"selector":{"x.y.0":3}`, "3", 24, 24, 0, noIndexWarning + "\n" + scanWarning},
		{
			`"selector":{"x.y.0":3},"use_index":"n"`, "3", 24, 24, 0,
			"_design/n was not used because it does not contain a valid index for this query.\n" + noIndexWarning + "\n" + scanWarning,
		},
		{`"selector":{"_id":{"$gt":"n03","$lte":"n05"}}`, "4 5", 3, 3, 0, noIndexWarning},
		{`"selector":{"_id":{"$gt":"n03","$lte":"n05"}},"sort":[{"_id":"desc"}]`, "5 4", 3, 3, 0, noIndexWarning},
		{`"selector":{"_id":{"$beginsWith":"n1"}},"limit":2`, "10 11", 2, 2, 0, noIndexWarning},
		{`"selector":{"_id":{"$lt":5}}`, "", 0, 0, 0, noIndexWarning},
		{`"selector":{"_id":{"$gt":5}},"limit":1`, "0", 1, 1, 0, noIndexWarning},
		{`"selector":{},"limit":0`, "", 0, 0, 0, noIndexWarning},
	} {
		f := w.find(`{` + tc.query + `,"execution_stats":true}`)
		var ids []string
		for _, id := range f.ids(t) {
			n, _ := strconv.Atoi(id[1:])
			ids = append(ids, strconv.Itoa(n))
		}
		if got := strings.Join(ids, " "); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.query, got, tc.want)
		}
		if s := f.Stats; s.Keys != tc.keys || s.Docs != tc.docs || s.Quorum != tc.quorums || s.Results != len(ids) {
			t.Errorf("%s: %+v", tc.query, s)
		}
		if f.Warning != tc.warning {
			t.Errorf("%s: warning %q, want %q", tc.query, f.Warning, tc.warning)
		}
	}
}

func TestSearchForNothing(t *testing.T) {
	w := newWorld(t)
	w.write(numbers(3))
	for _, selector := range []string{`{"$and":[]}`, `{"$or":[]}`, `{"$nor":[]}`, `{"_id":{"$gt":"b","$lt":"a"}}`} {
		if f := w.find(`{"selector":` + selector + `,"execution_stats":true}`); len(f.Docs) > 0 || f.Bookmark != "" || f.Warning != "" {
			t.Errorf("%s: %+v", selector, f)
		}
	}
	if f := w.find(`{"selector":{"$and":[{"$or":[]},{"$and":[]}]}}`); len(f.Docs) != 3 {
		t.Errorf("empty lists below: %+v", f)
	}
}

func TestSearchErrors(t *testing.T) {
	w := newWorld(t)
	w.index(`{"index":{"fields":["a","b"]},"ddoc":"ab","name":"ab"}`)
	for query, reason := range map[string]string{
		`{"selector":{"b":1},"sort":["b"]}`:                                             "No index exists for this sort, try indexing by the sort fields.",
		`{"selector":{"b":1},"bookmark":"nil"}`:                                         `Invalid bookmark value: "nil"`,
		`{"selector":{"b":1},"partition":"p"}`:                                          errNotPartitioned.Reason,
		`{"selector":{"a":1,"b":1},"bookmark":"` + (&position{id: "x"}).encode() + `"}`: `Invalid bookmark value: "` + (&position{id: "x"}).encode() + `"`,
	} {
		_, err := w.try(query)
		var e *Error
		if !errors.As(err, &e) || e.Reason != reason {
			t.Errorf("%s: %v, want %s", query, err, reason)
		}
	}
	gone := errors.New("gone")
	w.write(numbers(3))
	sent := 0
	err := w.finder.Find(context.Background(), w.db, parseQuery(t, `{"selector":{}}`), func([]byte) error {
		if sent++; sent == 2 {
			return gone
		}
		return nil
	})
	if err != gone || sent != 2 {
		t.Errorf("after %d pieces: %v", sent, err)
	}
}

// TestHostileSelectors ends each in a clear error, or soon.
func TestHostileSelectors(t *testing.T) {
	w := newWorld(t)
	w.write(map[string]string{"a": `{"s":"` + strings.Repeat("a", 100_000) + `","n":1}`})
	many := make([]string, 200_000)
	for i := range many {
		many[i] = fmt.Sprintf(`"%d"`, i)
	}
	began := time.Now()
	for name, selector := range map[string]string{
		"deep":         strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000),
		"deep lists":   strings.Repeat(`{"$not":`, 9_000) + "{}" + strings.Repeat("}", 9_000),
		"repetitions":  `{"s":{"$regex":"(((a{100}){100}){100}){100}"}}`,
		"long pattern": `{"s":{"$regex":"` + strings.Repeat("a?", 10_000) + `"}}`,
	} {
		body, err := document.Canonical([]byte(`{"selector":` + selector + `}`))
		if err == nil {
			_, err = ParseQuery(body, "", Limits{})
		}
		var e *Error
		var d *document.Error
		if !errors.As(err, &e) && !errors.As(err, &d) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, selector := range []string{
		`{"s":{"$regex":"^(a+)+$"}}`, `{"s":{"$regex":"(a|aa)*b"}}`,
		`{"n":{"$nin":[` + strings.Join(many, ",") + `]}}`,
	} {
		w.find(`{"selector":` + selector + `}`)
	}
	_, err := w.try(`{"selector":{"s":{"$regex":"(a?b?c?d?e?f?){999}(a?){999}$"}}}`)
	wantError(t, "a costly match", err, "not_supported", "An argument for operator $regex is too complex for a string in the document a, which is very long.")
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestSearchConflicts(t *testing.T) {
	w := newWorld(t)
	write := func(rev, body string) {
		t.Helper()
		id, err := revtree.ParseID(rev)
		if err != nil {
			t.Fatal(err)
		}
		d := &document.Document{ID: "x", Rev: id, Body: []byte(body), Revisions: revtree.Path{Start: 1, Hashes: []string{id.Hash}}}
		if _, err := w.db.Apply(context.Background(), storage.Write{Docs: []*document.Document{d}, Mode: storage.Replicate}); err != nil {
			t.Fatal(err)
		}
	}
	write("1-"+strings.Repeat("a", 32), `{"v":1}`)
	write("1-"+strings.Repeat("b", 32), `{"v":2}`)
	w.write(map[string]string{"y": `{"v":2}`})
	w.index(`{"index":{"fields":["_conflicts"]},"ddoc":"c","name":"c"}`)
	const with = `{"_id":"x","_conflicts":["1-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]}`
	for query, want := range map[string]string{
		`{"selector":{"_conflicts":{"$exists":true}},"conflicts":true,"fields":["_id","_conflicts"]}`:                 with,
		`{"selector":{"_conflicts":{"$exists":true}},"conflicts":true,"fields":["_id","_conflicts"],"use_index":"c"}`: with,
		`{"selector":{"_conflicts.0":{"$type":"string"}},"conflicts":true,"fields":["_id","_conflicts"]}`:             with,
		`{"selector":{"_conflicts":{"$exists":true}},"fields":["_id","_conflicts"]}`:                                  "",
		`{"selector":{"v":1},"conflicts":true}`:                                                                       "",
		`{"selector":{"v":2},"conflicts":true,"fields":["_id","_conflicts"],"limit":1}`:                               with,
		`{"selector":{"v":2,"_id":"x"},"conflicts":true}`:                                                             `{"_id":"x","_rev":"1-bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","v":2,"_conflicts":["1-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]}`,
	} {
		f := w.find(query)
		var got []string
		for _, d := range f.Docs {
			got = append(got, string(d))
		}
		if strings.Join(got, "") != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

func TestSearchPartition(t *testing.T) {
	w := newWorld(t)
	w.create(storage.DBOptions{Partitioned: true})
	w.write(map[string]string{"p:1": `{"a":1}`, "p:2": `{"a":2}`, "p:3": `{"a":0}`, "q:1": `{"a":1}`, "pp:1": `{"a":1}`})
	find := func(query, want string) {
		t.Helper()
		if got := strings.Join(w.find(query).ids(t), " "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	find(`{"selector":{"a":{"$gt":0}}}`, "p:1 p:2 pp:1 q:1")
	find(`{"selector":{"a":{"$gt":0}},"partition":"p"}`, "p:1 p:2")
	find(`{"selector":{"_id":{"$gt":"p:1"}},"partition":"p"}`, "p:2 p:3")
	find(`{"selector":{"_id":{"$gt":"a","$lt":"z"}},"partition":"p","sort":[{"_id":"desc"}]}`, "p:3 p:2 p:1")
	w.index(`{"index":{"fields":["a"]},"ddoc":"local","name":"a"}`)
	w.index(`{"index":{"fields":["a"]},"ddoc":"global","name":"a","partitioned":false}`)
	find(`{"selector":{"a":{"$gt":0}},"partition":"p","sort":["a"]}`, "p:1 p:2")
	find(`{"selector":{"a":{"$gte":0}},"partition":"p","sort":[{"a":"desc"}],"limit":2}`, "p:2 p:1")
	find(`{"selector":{"a":2},"sort":["a"],"fields":["_id"]}`, "p:2")
	page := w.find(`{"selector":{"a":{"$gte":0}},"partition":"p","limit":2}`)
	find(`{"selector":{"a":{"$gte":0}},"partition":"p","limit":2,"bookmark":"`+page.Bookmark+`"}`, "p:2")
	for query, kind := range map[string]string{
		`{"selector":{"b":1},"sort":["b"]}`: "global ", `{"selector":{"b":1},"sort":["b"],"partition":"p"}`: "partitioned ",
	} {
		_, err := w.try(query)
		wantError(t, query, err, "no_usable_index", "No "+kind+"index exists for this sort, try indexing by the sort fields.")
	}
}

// TestStaleSearch answers by the index as it is, and by documents as they are.
func TestStaleSearch(t *testing.T) {
	w := newWorld(t)
	w.index(`{"index":{"fields":["n"]},"ddoc":"n","name":"n"}`)
	w.write(numbers(4))
	query := func(more string) []string { return w.find(`{"selector":{"n":{"$gt":0}}` + more + `}`).ids(t) }
	if got := query(`,"update":false`); len(got) > 0 {
		t.Errorf("before the index was built: %q", got)
	}
	if got := query(""); len(got) != 3 {
		t.Errorf("built: %q", got)
	}
	w.write(map[string]string{"n01": "", "n02": `{"n":-1}`, "n09": `{"n":9}`})
	if got := query(`,"stale":"ok"`); !slices.Equal(got, []string{"n03"}) {
		t.Errorf("stale: %q", got)
	}
	if got := query(`,"update":true`); !slices.Equal(got, []string{"n03", "n09"}) {
		t.Errorf("up to date: %q", got)
	}
}

// TestBookmarkOfGone goes on behind a document that is no longer there.
func TestBookmarkOfGone(t *testing.T) {
	for _, indexed := range []bool{false, true} {
		w := newWorld(t)
		w.write(numbers(6))
		if indexed {
			w.index(`{"index":{"fields":["n"]},"ddoc":"n","name":"n"}`)
		}
		const query = `{"selector":{"n":{"$gte":0}},"limit":3`
		page := w.find(query + `}`)
		w.write(map[string]string{"n02": ""})
		if got := w.find(query + `,"bookmark":"` + page.Bookmark + `"}`).ids(t); !slices.Equal(got, []string{"n03", "n04", "n05"}) {
			t.Errorf("index %v: %q", indexed, got)
		}
	}
}

// TestVeiledSearch finds documents by what may be seen of them.
func TestVeiledSearch(t *testing.T) {
	w := newWorld(t)
	w.write(map[string]string{"a": `{"n":1,"secret":1}`, "b": `{"n":2,"secret":1}`, "c": `{"n":3}`})
	w.index(`{"index":{"fields":["n"]},"ddoc":"n","name":"n"}`)
	w.index(`{"index":{"fields":["secret"]},"ddoc":"s","name":"s"}`)
	visible := func(d *document.Document) error {
		if d.ID == "b" || document.IsDesign(d.ID) {
			return storage.ErrNotFound
		}
		d.Body = []byte(strings.Replace(string(d.Body), `,"secret":1`, "", 1))
		return nil
	}
	for query, want := range map[string]string{
		`{"selector":{"n":{"$gt":0}},"fields":["_id","n"]}`:     `{"_id":"a","n":1}{"_id":"c","n":3}`,
		`{"selector":{"secret":1},"fields":["_id","secret"]}`:   "",
		`{"selector":{"_id":{"$gt":null}},"fields":["secret"]}`: `{}{}`,
	} {
		q := parseQuery(t, strings.TrimSuffix(query, "}")+`,"execution_stats":true}`)
		q.Veil(visible)
		var text string
		err := w.finder.Find(context.Background(), w.db, q, func(b []byte) error { text += string(b); return nil })
		if err != nil {
			t.Fatal(query, err)
		}
		var f found
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			t.Fatal(text, err)
		}
		var docs string
		for _, d := range f.Docs {
			docs += string(d)
		}
		if docs != want || f.Stats.Keys != 2 || f.Stats.Docs != 2 {
			t.Errorf("%s: %s, %+v; want %s", query, docs, f.Stats, want)
		}
	}
}
