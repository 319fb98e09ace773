package view

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/collate"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/script"
	"github.com/mangrove-db/mangrove/storage"
)

// tb is what tests, benchmarks and rapid's tests have in common.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

// node is a store and an indexer over it.
type node struct {
	tb
	path  string
	store *storage.Store
	x     *Indexer
	db    *storage.DB
	fail  func(id string) error // of the language "go"
}

func newNode(t testing.TB) *node {
	t.Helper()
	n := &node{tb: t, path: t.TempDir()}
	n.open(storage.DBOptions{})
	t.Cleanup(n.close)
	return n
}

func newPartitionedNode(t testing.TB) *node {
	t.Helper()
	n := &node{tb: t, path: t.TempDir()}
	n.open(storage.DBOptions{Partitioned: true})
	t.Cleanup(n.close)
	return n
}

func (n *node) open(o storage.DBOptions) {
	n.Helper()
	var err error
	if n.store, err = storage.Open(storage.Options{Path: n.path, Memory: 16 << 20}); err != nil {
		n.Fatal(err)
	}
	if n.db, err = n.store.DB("db"); errors.Is(err, storage.ErrNoDatabase) {
		n.db, err = n.store.CreateDB(context.Background(), "db", o)
	}
	if err != nil {
		n.Fatal(err)
	}
	n.x = New(Options{
		Store: n.store, Engine: script.New(script.Options{}),
		Languages: map[string]Language{"go": goLanguage{n}},
	})
}

// use goes on with another database, which it makes if it is not there.
func (n *node) use(name string) {
	n.Helper()
	var err error
	if n.db, err = n.store.DB(name); errors.Is(err, storage.ErrNoDatabase) {
		n.db, err = n.store.CreateDB(context.Background(), name, storage.DBOptions{})
	}
	if err != nil {
		n.Fatal(err)
	}
}

func (n *node) close() {
	if err := n.store.Close(); err != nil {
		n.Fatal(err)
	}
}

// put writes a document as a client does, and returns its revision.
func (n *node) put(text string) revtree.ID {
	n.Helper()
	return n.write(storage.Edit, text)
}

func (n *node) write(mode storage.Mode, text string) revtree.ID {
	n.Helper()
	d, err := document.Decode([]byte(text))
	if err != nil {
		n.Fatal(err)
	}
	results, err := n.db.Apply(context.Background(), storage.Write{Docs: []*document.Document{d}, Mode: mode})
	if err != nil || results[0].Err != nil {
		n.Fatalf("writing %s: %v, %v", text, err, results)
	}
	return results[0].Rev
}

func (n *node) bulk(texts []string) {
	n.Helper()
	docs := make([]*document.Document, len(texts))
	for i, text := range texts {
		var err error
		if docs[i], err = document.Decode([]byte(text)); err != nil {
			n.Fatal(err)
		}
	}
	for docs := range slices.Chunk(docs, 1000) {
		if _, err := n.db.Apply(context.Background(), storage.Write{Docs: docs}); err != nil {
			n.Fatal(err)
		}
	}
}

func (n *node) design(id string) *Design {
	n.Helper()
	s, err := n.db.Snapshot()
	if err != nil {
		n.Fatal(err)
	}
	defer s.Close()
	d, err := n.x.Design(s, "_design/"+id)
	if err != nil {
		n.Fatal(err)
	}
	return d
}

func (n *node) reader(design, view string, u Update) *Reader {
	n.Helper()
	r, err := n.x.Open(context.Background(), n.db, n.design(design), view, u)
	if err != nil {
		n.Fatal(err)
	}
	return r
}

// rows returns the rows of an answer: key, value and id, one a line.
func (n *node) rows(design, view string, q Query) string {
	n.Helper()
	r := n.reader(design, view, UpdateTrue)
	defer r.Close()
	text, err := readRows(r, q)
	if err != nil {
		n.Fatal(err)
	}
	return text
}

func readRows(r *Reader, q Query) (string, error) {
	var b strings.Builder
	rows, err := r.Rows(context.Background(), q)
	if err != nil {
		return "", err
	}
	for row, err := range rows.Each() {
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s %s %s\n", row.Key, row.Value, row.ID)
	}
	return b.String(), nil
}

// groups returns the groups of an answer: key and value, one a line.
func (n *node) groups(design, view string, q Query) string {
	n.Helper()
	r := n.reader(design, view, UpdateTrue)
	defer r.Close()
	text, err := readGroups(r, q)
	if err != nil {
		n.Fatal(err)
	}
	return text
}

func readGroups(r *Reader, q Query) (string, error) {
	var b strings.Builder
	for g, err := range r.Reduce(context.Background(), q) {
		if err != nil {
			return b.String(), err
		}
		key := g.Key
		if key == nil {
			key = []byte("-")
		}
		if g.Error != "" {
			fmt.Fprintf(&b, "%s %s\n", key, g.Error)
			continue
		}
		fmt.Fprintf(&b, "%s %s\n", key, g.Value)
	}
	return b.String(), nil
}

// all is the query of all rows.
var all = Query{Limit: NoLimit}

// goLanguage is a language whose map functions are written here: a map names one of goMaps.
type goLanguage struct{ n *node }

func (l goLanguage) Compile(d *Design) (Program, error) {
	p := goProgram{n: l.n}
	for _, s := range d.Spaces {
		name, _ := text(s.Map)
		f, ok := goMaps[name]
		if !ok {
			return nil, &Error{Kind: Fault, Name: "compilation_error", Reason: name}
		}
		p.maps = append(p.maps, f)
	}
	return p, nil
}

type goProgram struct {
	n    *node
	maps []goMap
}

func (p goProgram) NewMapper() (Mapper, error) { return p, nil }
func (p goProgram) Close()                     {}

func (p goProgram) Map(_ context.Context, d *document.Document, text []byte, emit Emit) error {
	if p.n.fail != nil {
		if err := p.n.fail(d.ID); err != nil {
			return err
		}
	}
	for space, f := range p.maps {
		var err error
		f(text, func(key, value string) {
			if e := emit(space, []byte(key), []byte(value)); e != nil {
				err = e
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// goMap emits rows of a document's text.
type goMap func(doc []byte, emit func(key, value string))

func member1(doc []byte, name string) string {
	m, _ := object(doc)
	return string(m[name])
}

var goMaps = map[string]goMap{
	// k: the member k, with the member n.
	"k": func(doc []byte, emit func(key, value string)) {
		if k := member1(doc, "k"); k != "" {
			emit(k, cmpOr(member1(doc, "n"), "null"))
		}
	},
	// tags: each of the member tags, with n.
	"tags": func(doc []byte, emit func(key, value string)) {
		var tags []json.RawMessage
		_ = json.Unmarshal([]byte(cmpOr(member1(doc, "tags"), "[]")), &tags)
		for i, t := range tags {
			emit(string(t), fmt.Sprintf("%d", i*7%5))
		}
	},
	"rev": func(doc []byte, emit func(key, value string)) { emit(member1(doc, "_id"), member1(doc, "_rev")) },
	"conflicts": func(doc []byte, emit func(key, value string)) {
		emit(cmpOr(member1(doc, "_conflicts"), "null"), cmpOr(member1(doc, "_deleted_conflicts"), "null"))
	},
	"seq": func(doc []byte, emit func(key, value string)) { emit(cmpOr(member1(doc, "_local_seq"), "null"), "1") },
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// expected is a row that a map function must have made.
type expected struct {
	key, value []byte
	id         string
}

// expect maps all winners, and orders the rows as CouchDB does.
func (n *node) expect(name string) []expected {
	n.Helper()
	s, err := n.db.Snapshot()
	if err != nil {
		n.Fatal(err)
	}
	defer s.Close()
	var list []expected
	for row, err := range s.Documents(context.Background(), storage.Range{}) {
		if err != nil {
			n.Fatal(err)
		}
		d, err := row.Document()
		if err != nil {
			n.Fatal(err)
		}
		if document.IsDesign(d.ID) {
			continue
		}
		goMaps[name](document.AppendJSON(nil, d, document.Members{}), func(key, value string) {
			list = append(list, expected{[]byte(key), []byte(value), d.ID})
		})
	}
	slices.SortStableFunc(list, func(a, b expected) int {
		if d := collate.Compare(a.key, b.key); d != 0 {
			return d
		}
		if d := strings.Compare(a.id, b.id); d != 0 {
			return d
		}
		if d := collate.CompareRaw(a.key, b.key); d != 0 {
			return d
		}
		return collate.CompareRaw(a.value, b.value)
	})
	return list
}

func linesOf(list []expected) string {
	var b bytes.Buffer
	for _, e := range list {
		fmt.Fprintf(&b, "%s %s %s\n", e.key, e.value, e.id)
	}
	return b.String()
}
