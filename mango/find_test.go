package mango

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/collate"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/script"
	"github.com/mangrove-db/mangrove/storage"
	"github.com/mangrove-db/mangrove/view"
)

// world is a store with what queries need, and one database.
type world struct {
	rapid.TB
	store  *storage.Store
	finder *Finder
	db     *storage.DB
	made   int
}

func newWorld(t testing.TB) *world {
	t.Helper()
	store, err := storage.Open(storage.Options{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	views := view.New(view.Options{
		Store: store, Engine: script.New(script.Options{}), Languages: map[string]view.Language{"query": Language{}},
	})
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{TB: t, store: store, finder: NewFinder(views)}
	w.create(storage.DBOptions{})
	return w
}

// create makes another database the one.
func (w *world) create(o storage.DBOptions) {
	w.Helper()
	var err error
	w.made++
	if w.db, err = w.store.CreateDB(context.Background(), fmt.Sprintf("db%d", w.made), o); err != nil {
		w.Fatal(err)
	}
}

// write stores documents; those that are there are edited, or deleted if the
// body is empty.
func (w *world) write(bodies map[string]string) {
	w.Helper()
	snap, err := w.db.Snapshot()
	if err != nil {
		w.Fatal(err)
	}
	defer snap.Close()
	var docs []*document.Document
	for _, id := range slices.Sorted(maps.Keys(bodies)) {
		d := &document.Document{ID: id, Body: []byte(bodies[id])}
		row, err := snap.Lookup(id)
		if err == nil && !row.Deleted {
			d.Rev = row.Rev
		}
		if bodies[id] == "" {
			if d.Rev.IsZero() {
				continue
			}
			d.Body, d.Deleted = []byte("{}"), true
		}
		docs = append(docs, d)
	}
	results, err := w.db.Apply(context.Background(), storage.Write{Docs: docs})
	if err != nil {
		w.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			w.Fatal(r.ID, r.Err)
		}
	}
}

// index makes an index as _index does.
func (w *world) index(definition string) {
	w.Helper()
	d, err := ParseDefinition([]byte(definition))
	if err != nil {
		w.Fatal(definition, err)
	}
	body, _, err := d.AddTo(nil)
	if err != nil {
		w.Fatal(definition, err)
	}
	w.write(map[string]string{d.Design(): string(body)})
}

// found is the answer of a query.
type found struct {
	Docs     []json.RawMessage
	Bookmark string
	Warning  string
	Stats    struct {
		Keys    int `json:"total_keys_examined"`
		Docs    int `json:"total_docs_examined"`
		Quorum  int `json:"total_quorum_docs_examined"`
		Results int `json:"results_returned"`
	} `json:"execution_stats"`
}

func (f *found) ids(t rapid.TB) (ids []string) {
	for _, text := range f.Docs {
		var d struct {
			ID string `json:"_id"`
		}
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, d.ID)
	}
	return ids
}

func (w *world) try(query string) (*found, error) {
	w.Helper()
	var text []byte
	err := w.finder.Find(context.Background(), w.db, parseQuery(w, query), func(b []byte) error {
		text = append(text, b...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	f := &found{}
	if err := json.Unmarshal(text, f); err != nil {
		w.Fatalf("%s: %v", text, err)
	}
	return f, nil
}

func (w *world) find(query string) *found {
	w.Helper()
	f, err := w.try(query)
	if err != nil {
		w.Fatal(query, err)
	}
	return f
}

var (
	docIDs       = rapid.SampledFrom([]string{"a", "B", "b", "A", "é", "e\u0301", "z1", "Z2", "p:1", "p:2", "q:1", `"`})
	indexColumns = rapid.SampledFrom([]string{"a", "a", "b", "b", "a.b", "a.0", "_id", "_rev", "é", "0"})
)

// drawCell draws one of few values, so that ranges of them hold some and not others.
func drawCell(t *rapid.T) any {
	return rapid.SampledFrom([]any{
		nil, false, json.Number("0"), json.Number("1"), json.Number("1.0"), json.Number("2"), "a", "ab", "B", "é",
		[]any{},
		[]any{json.Number("1")},
		map[string]any{},
		map[string]any{"b": json.Number("1")},
	}).Draw(t, "cell")
}

// drawRow draws a document that has most of the columns.
func drawRow(t *rapid.T) map[string]any {
	row := map[string]any{}
	for _, name := range []string{"a", "b", "é", "0"} {
		switch rapid.IntRange(0, 7).Draw(t, "column") {
		case 0:
		case 1:
			row[name] = map[string]any{"b": drawCell(t)}
		case 2:
			row[name] = []any{drawCell(t)}
		default:
			row[name] = drawCell(t)
		}
	}
	return row
}

// drawIndexed draws a selector that often requires columns of an index.
func drawIndexed(t *rapid.T, columns []string) map[string]any {
	selector := map[string]any{}
	if rapid.IntRange(0, 3).Draw(t, "more") == 0 {
		selector = drawSelector(t, 2)
	}
	for _, c := range columns {
		cell := drawCell
		if c == "_id" {
			cell = func(t *rapid.T) any { return docIDs.Draw(t, "id") }
		}
		low := rapid.SampledFrom([]string{"$gt", "$gte"}).Draw(t, "low")
		high := rapid.SampledFrom([]string{"$lt", "$lte"}).Draw(t, "high")
		var condition any
		switch rapid.IntRange(0, 7).Draw(t, "condition") {
		case 0:
			condition = drawCondition(t, 1)
		case 1, 2:
			condition = map[string]any{low: cell(t), high: cell(t), "$ne": cell(t)}
		case 3:
			condition = map[string]any{low: cell(t)}
		case 4:
			condition = map[string]any{high: cell(t)}
		case 5:
			condition = map[string]any{"$beginsWith": words.Draw(t, "prefix"), low: cell(t)}
		case 6:
			condition = map[string]any{"$exists": true}
		default:
			condition = map[string]any{"$eq": cell(t)}
		}
		selector[c] = condition
	}
	return selector
}

// TestFindByIndex finds the same documents through an index as the selector
// finds among all: with edits and deletions between, in the order of the sort,
// and page by page.
func TestFindByIndex(t *testing.T) {
	shared := newWorld(t)
	used, covered := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		shared.create(storage.DBOptions{})
		w := &world{TB: t, store: shared.store, finder: shared.finder, db: shared.db}
		columns := rapid.SliceOfNDistinct(indexColumns, 0, 3, rapid.ID[string]).Draw(t, "columns")
		definition := map[string]any{"fields": columns}
		if rapid.IntRange(0, 3).Draw(t, "partial") == 0 {
			definition["partial_filter_selector"] = drawSelector(t, 1)
		}
		body := encode(map[string]any{"index": definition, "ddoc": "i", "name": "i"})
		w.index(string(body))
		for range rapid.IntRange(1, 3).Draw(t, "rounds") {
			changes := map[string]string{}
			for range rapid.IntRange(1, 12).Draw(t, "changes") {
				object := drawRow(t)
				if rapid.IntRange(0, 3).Draw(t, "other") == 0 {
					object = drawObject(t, 2)
				}
				id := docIDs.Draw(t, "id")
				changes[id] = string(canonical(t, encode(object)))
				if rapid.IntRange(0, 5).Draw(t, "delete") == 0 {
					changes[id] = ""
				}
			}
			w.write(changes)
			for range 4 {
				u, c := checkFind(t, w, columns, definition["partial_filter_selector"])
				used, covered = used+u, covered+c
			}
		}
	})
	if !t.Failed() && !testing.Short() && (used < 100 || covered < 20) {
		t.Errorf("the index was used %d times, and covered %d queries", used, covered)
	}
}

func canonical(t rapid.TB, text []byte) []byte {
	c, err := document.Canonical(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// checkFind draws a query and checks what it finds through the index. It tells
// how often the index was used and covered the query.
func checkFind(t *rapid.T, w *world, columns []string, partial any) (used, covered int) {
	drawn := drawIndexed(t, columns)
	query := map[string]any{"selector": drawn, "use_index": "i", "limit": 1000, "execution_stats": true}
	direction := ""
	if rapid.Bool().Draw(t, "sorted") && len(columns) > 0 {
		direction = rapid.SampledFrom([]string{"asc", "desc"}).Draw(t, "direction")
		var sort []any
		for _, c := range columns {
			sort = append(sort, map[string]any{c: direction})
		}
		query["sort"] = sort
	}
	all := w.find(string(encode(map[string]any{"selector": map[string]any{}, "limit": 1000})))
	if rapid.Bool().Draw(t, "narrow") {
		query["fields"] = append([]string{"_id"}, columns...)
	}
	text := string(encode(query))
	got, err := w.try(text)
	if err != nil {
		var e *Error
		if !errors.As(err, &e) || e.Name != "no_usable_index" {
			t.Fatal(text, err)
		}
		return 0, 0
	}
	if strings.Contains(got.Warning, "was not used") {
		return 0, 0
	}
	selector := compile(t, string(encode(drawn)))
	if selector.impossible() {
		return 0, 0
	}
	var filter *Selector
	if partial != nil {
		filter = compile(t, string(encode(partial)))
	}
	var want []string
	for _, doc := range all.Docs {
		d := readDoc(t, doc)
		if selector.Match(d) && (filter == nil || filter.Match(d)) && hasAll(d, columns) {
			want = append(want, d.ID)
		}
	}
	ids := got.ids(t)
	if !slices.Equal(slices.Sorted(slices.Values(ids)), slices.Sorted(slices.Values(want))) {
		t.Fatalf("%s\nfound %q\nwant  %q\nof %s", text, ids, want, all.Docs)
	}
	// What all documents have that can be found, the index must have.
	if filter == nil && direction == "" {
		count := 0
		for _, doc := range all.Docs {
			if selector.Match(readDoc(t, doc)) {
				count++
			}
		}
		if count != len(ids) {
			t.Fatalf("%s: the index gives %d of %d documents", text, len(ids), count)
		}
	}
	if len(got.Docs) != got.Stats.Results || got.Stats.Keys < got.Stats.Results {
		t.Fatalf("%s: stats %+v of %d documents", text, got.Stats, len(got.Docs))
	}
	if direction != "" {
		checkOrder(t, w, got, columns, direction)
	}
	checkPages(t, w, query, ids)
	if got.Stats.Docs == 0 && len(ids) > 0 {
		covered++
	}
	return 1, covered
}

func hasAll(d Doc, columns []string) bool {
	for _, c := range columns {
		exists, err := Compile(encode(map[string]any{c: map[string]any{"$exists": true}}))
		if err != nil || !exists.Match(d) {
			return false
		}
	}
	return true
}

// checkOrder checks that documents are in the order of views of their columns.
func checkOrder(t *rapid.T, w *world, got *found, columns []string, direction string) {
	var before []byte
	for _, id := range got.ids(t) {
		full := w.find(string(encode(map[string]any{"selector": map[string]any{"_id": id}})))
		fields, err := ParseFields(encode(columns))
		if err != nil {
			t.Fatal(err)
		}
		key := []byte{'['}
		doc := readDoc(t, full.Docs[0])
		m := &machine{doc: doc}
		m.collectDocument(&fields.scope)
		for _, c := range columns {
			parts, _ := parsePath(c)
			if len(key) > 1 {
				key = append(key, ',')
			}
			key = append(key, m.slots[fields.scope.slotOf(parts)].value...)
		}
		key = append(key, ']')
		if c := collate.Compare(before, key); before != nil && (direction == "asc" && c > 0 || direction == "desc" && c < 0) {
			t.Fatalf("%s before %s, %s", before, key, direction)
		}
		before = key
	}
}

// slotOf finds the slot of a path that may be among the special ones.
func (sc *scope) slotOf(parts []string) int {
	for _, t := range append(slices.Clone(sc.paths.kids), sc.special...) {
		if t.name == parts[0] {
			for _, p := range parts[1:] {
				t = t.find(p)
			}
			return t.slot
		}
	}
	return -1
}

// checkPages finds the same documents again, some at a time.
func checkPages(t *rapid.T, w *world, query map[string]any, want []string) {
	query = maps.Clone(query)
	query["limit"] = rapid.IntRange(1, 3).Draw(t, "page")
	var ids []string
	for range len(want) + 1 {
		page := w.find(string(encode(query)))
		ids = append(ids, page.ids(t)...)
		if len(page.Docs) == 0 {
			break
		}
		query["bookmark"] = page.Bookmark
	}
	if !slices.Equal(ids, want) {
		t.Fatalf("%s: in pages %q, want %q", encode(query), ids, want)
	}
}
