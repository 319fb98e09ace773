package replicator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/document"
	scripts "github.com/mangrove-db/mangrove/script" // a test's type has its name
	"github.com/mangrove-db/mangrove/storage"
)

// newDB makes a database with documents, each written as replication does: the text needs _id and _rev.
func newDB(t *testing.T, docs ...string) *storage.DB {
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
	db, err := store.CreateDB(t.Context(), "db", storage.DBOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range docs {
		write(t, db, text)
	}
	return db
}

func write(t *testing.T, db *storage.DB, text string) {
	t.Helper()
	d, err := document.Decode([]byte(text))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for i, a := range d.Attachments {
		stored, err := db.StoreAttachment(t.Context(), io.NewSectionReader(a.Data, 0, a.Data.Size()), storage.Coding{})
		if err != nil {
			t.Fatal(err)
		}
		stored.Name, stored.ContentType = a.Name, a.ContentType
		d.Attachments[i] = stored
	}
	results, err := db.Apply(t.Context(), storage.Write{Docs: []*document.Document{d}, Mode: storage.Replicate})
	if err != nil || results[0].Err != nil {
		t.Fatalf("%s: %v, %v", text, err, results)
	}
}

func snapshot(t *testing.T, db *storage.DB) *storage.Snapshot {
	t.Helper()
	s, err := db.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// passed returns what passes a filter, as "id rev rev …".
func passed(t *testing.T, s *storage.Snapshot, spec FilterSpec, o storage.ChangesOptions) []string {
	t.Helper()
	f, err := NewFilter(s, spec)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for c, err := range f.Changes(t.Context(), s, o) {
		if err != nil {
			t.Fatal(err)
		}
		pass, err := f.Match(t.Context(), s, &c)
		if err != nil {
			t.Fatal(err)
		}
		if !pass {
			continue
		}
		line := c.ID
		for _, rev := range c.Revs {
			line += " " + rev.String()
		}
		out = append(out, line)
	}
	return out
}

var zoo = []string{
	`{"_id":"ant","_rev":"1-a","legs":6}`,
	`{"_id":"bee","_rev":"1-a","legs":6,"wings":4}`,
	`{"_id":"cat","_rev":"2-c","_revisions":{"start":2,"ids":["c","a"]},"legs":4}`,
	`{"_id":"cat","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"legs":3}`,
	`{"_id":"dodo","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"_deleted":true,"legs":2}`,
	`{"_id":"_design/d","_rev":"1-a","views":{"v":{"map":"function(doc) {}"}},"filters":{"f":"function() {}"}}`,
	`{"_id":"_design/old","_rev":"1-a","_deleted":true}`,
	`{"_id":"eel","_rev":"1-a","_attachments":{"photo":{"content_type":"image/png","data":""}}}`,
}

func TestFilter(t *testing.T) {
	tests := []struct {
		name string
		spec FilterSpec
		o    storage.ChangesOptions
		want string // lines joined by commas
	}{
		{"none", FilterSpec{}, storage.ChangesOptions{Since: 5}, "_design/d 1-a,_design/old 1-a,eel 1-a"},
		{"none but slashes", FilterSpec{Name: "/"}, storage.ChangesOptions{Since: 7}, "eel 1-a"},
		{"all leaves", FilterSpec{AllLeaves: true}, storage.ChangesOptions{Since: 3, Descending: true}, "eel 1-a,_design/old 1-a,_design/d 1-a,dodo 2-b,cat 2-c 2-b"},
		{"ids", FilterSpec{Name: "_doc_ids", DocIDs: []string{"dodo", "ant", "none", "cat", "ant"}}, storage.ChangesOptions{}, "ant 1-a,cat 2-c,dodo 2-b"},
		{"ids with leaves", FilterSpec{Name: "_doc_ids", DocIDs: []string{"cat"}, AllLeaves: true}, storage.ChangesOptions{}, "cat 2-c 2-b"},
		{"no ids", FilterSpec{Name: "_doc_ids"}, storage.ChangesOptions{}, ""},
		{"design", FilterSpec{Name: "_design"}, storage.ChangesOptions{}, "_design/d 1-a,_design/old 1-a"},
		{"selector", FilterSpec{Name: "_selector", Selector: []byte(`{"legs":6}`)}, storage.ChangesOptions{}, "ant 1-a,bee 1-a"},
		{"selector of tombstones", FilterSpec{Name: "_selector", Selector: []byte(`{"_deleted":true}`)}, storage.ChangesOptions{}, "dodo 2-b,_design/old 1-a"},
		{"selector and the winner", FilterSpec{Name: "_selector", Selector: []byte(`{"legs":3}`)}, storage.ChangesOptions{}, ""},
		{"selector and leaves", FilterSpec{Name: "_selector", Selector: []byte(`{"legs":3}`), AllLeaves: true}, storage.ChangesOptions{}, "cat 2-b"},
		{"selector and all leaves", FilterSpec{Name: "_selector", Selector: []byte(`{"legs":{"$lt":6}}`), AllLeaves: true}, storage.ChangesOptions{}, "cat 2-c 2-b,dodo 2-b"},
		{"selector of revisions", FilterSpec{Name: "_selector", Selector: []byte(`{"_rev":"2-c"}`)}, storage.ChangesOptions{}, "cat 2-c"},
		{"selector of attachments", FilterSpec{Name: "_selector", Selector: []byte(`{"_attachments.photo.stub":true}`)}, storage.ChangesOptions{}, "eel 1-a"},
		{"empty selector", FilterSpec{Name: "_selector", Selector: []byte(`{}`)}, storage.ChangesOptions{Since: 6}, "_design/old 1-a,eel 1-a"},
	}
	s := snapshot(t, newDB(t, zoo...))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := strings.Join(passed(t, s, test.spec, test.o), ","); got != test.want {
				t.Errorf("passed %q, want %q", got, test.want)
			}
		})
	}
}

func TestFilterErrors(t *testing.T) {
	const (
		filterUsage = "`filter` must be of the form `designname/filtername`"
		viewUsage   = "`view` must be of the form `designname/viewname`"
	)
	tests := []struct {
		spec   FilterSpec
		fault  FilterFault
		reason string
	}{
		{FilterSpec{Name: "_nosuch"}, FaultMalformed, "unknown builtin filter name"},
		{FilterSpec{Name: "f"}, FaultMalformed, filterUsage},
		{FilterSpec{Name: "d/f/g"}, FaultMalformed, filterUsage},
		{FilterSpec{Name: "%64/g%2Fh"}, FaultMissing, "missing json key: g/h"},
		{FilterSpec{Name: "d/g"}, FaultMissing, "missing json key: g"},
		{FilterSpec{Name: "_view"}, FaultMalformed, "`view` filter parameter is not provided."},
		{FilterSpec{Name: "_view", View: "v"}, FaultMalformed, viewUsage},
		{FilterSpec{Name: "_view", View: "d/w"}, FaultMissing, "missing json key: w"},
		{FilterSpec{Name: "_selector"}, FaultMalformed, "Selector error: expected a JSON object"},
		{FilterSpec{Name: "_selector", Selector: []byte(`"x"`)}, FaultMalformed, "Selector error: expected a JSON object"},
		{FilterSpec{Name: "_selector", Selector: []byte(`{"a":{"$nonsense":1}}`)}, FaultMalformed, "Invalid operator: $nonsense"},
	}
	s := snapshot(t, newDB(t, zoo...))
	designs := newDesigns(scripts.Options{})
	for _, test := range tests {
		test.spec.Designs = designs
		_, err := NewFilter(s, test.spec)
		var e *FilterError
		if !errors.As(err, &e) || e.Fault != test.fault || e.Reason != test.reason {
			t.Errorf("%+v: %v", test.spec, err)
		}
	}
	if _, err := NewFilter(s, FilterSpec{Name: "nosuch/f", Designs: designs}); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("no design document: %v", err)
	}
	if _, err := NewFilter(s, FilterSpec{Name: "old/f", Designs: designs}); !errors.Is(err, storage.ErrDeleted) {
		t.Errorf("deleted design document: %v", err)
	}
}

// What is looked up is what would be found by walking past all changes.
func TestFilterLookups(t *testing.T) {
	db := newDB(t, zoo...)
	for i := range 300 {
		write(t, db, fmt.Sprintf(`{"_id":"other%d","_rev":"1-a"}`, i))
	}
	write(t, db, `{"_id":"bee","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]}}`)
	s := snapshot(t, db)
	for _, spec := range []FilterSpec{
		{Name: "_doc_ids", DocIDs: []string{"none", "bee", "dodo", "other7", "cat"}, AllLeaves: true},
		{Name: "_doc_ids", DocIDs: []string{"cat"}},
		{Name: "_design"},
	} {
		f, err := NewFilter(s, spec)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []storage.ChangesOptions{{}, {Since: 4}, {Descending: true}} {
			n, err := s.Pending(o.Since)
			if err != nil {
				t.Fatal(err)
			}
			if !f.passes.(finder).cheaper(n) {
				t.Errorf("%+v is not looked up", spec)
			}
			var want []string
			for c, err := range s.Changes(t.Context(), o) {
				if err != nil {
					t.Fatal(err)
				}
				if pass, err := f.Match(t.Context(), s, &c); err != nil {
					t.Fatal(err)
				} else if pass {
					line := c.ID
					for _, rev := range c.Revs {
						line += " " + rev.String()
					}
					want = append(want, line)
				}
			}
			if got := passed(t, s, spec, o); !slices.Equal(got, want) || len(want) == 0 && o.Since == 0 {
				t.Errorf("%+v %+v: passed %q, want %q", spec, o, got, want)
			}
		}
	}
	f, err := NewFilter(s, FilterSpec{Name: "_doc_ids", DocIDs: []string{"cat"}})
	if err != nil {
		t.Fatal(err)
	}
	for range f.Changes(t.Context(), s, storage.ChangesOptions{}) {
		break // an early end is heeded
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range f.Changes(ctx, s, storage.ChangesOptions{}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	}
}

func BenchmarkSelector(b *testing.B) {
	store, err := storage.Open(storage.Options{Path: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	db, err := store.CreateDB(b.Context(), "db", storage.DBOptions{})
	if err != nil {
		b.Fatal(err)
	}
	const docs = 10_000
	batch := make([]*document.Document, docs)
	for i := range batch {
		if batch[i], err = document.Decode(fmt.Appendf(nil, `{"_id":"doc%05d","type":"person","age":%d,"name":{"first":"A","last":"B"}}`, i, i%100)); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := db.Apply(b.Context(), storage.Write{Docs: batch}); err != nil {
		b.Fatal(err)
	}
	s, err := db.Snapshot()
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	f, err := NewFilter(s, FilterSpec{Name: "_selector", Selector: []byte(`{"type":"person","age":{"$lt":10}}`)})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for c, err := range f.Changes(b.Context(), s, storage.ChangesOptions{}) {
			if err != nil {
				b.Fatal(err)
			}
			if pass, err := f.Match(b.Context(), s, &c); err != nil {
				b.Fatal(err)
			} else if pass {
				n++
			}
		}
		if n != docs/10 {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*docs), "ns/change")
}
