package replicator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/document"
	scripts "github.com/mangrove-db/mangrove/script" // a test's type has its name
	"github.com/mangrove-db/mangrove/storage"
)

func newDesigns(o scripts.Options) *design.Cache { return design.NewCache(scripts.New(o), nil) }

// bestiary is a zoo whose design document has functions that do something.
var bestiary = append([]string{
	`{"_id":"_design/f","_rev":"1-a",
		"views":{"winged":{"map":"function (doc) { if (doc.wings) emit(doc._id, 1); }"},"all":{"map":"function (doc) { emit(1, 1); emit(2, 2); }"},"none":{"map":"function () {}"}},
		"filters":{
			"six":"function (doc) { return doc.legs === 6; }",
			"legs":"function (doc, req) { return doc.legs == req.query.legs; }",
			"gone":"function (doc) { return doc._deleted; }",
			"three":"function (doc) { return doc.legs === 3; }",
			"path":"function (doc) { return doc._revisions && doc._revisions.start > 1; }",
			"photo":"function (doc) { return !!doc._attachments; }",
			"fails":"function (doc) { return doc.x.y; }",
			"refuses":"function () { throw({forbidden: 'no'}); }",
			"runs":"function (doc) { if (doc._id === 'cat') for (;;); return true; }",
			"always":"function () { return true; }"}}`,
}, zoo...)

func TestFilterFunctions(t *testing.T) {
	tests := []struct {
		name string
		spec FilterSpec
		o    storage.ChangesOptions
		want string
	}{
		{"one", FilterSpec{Name: "f/six"}, storage.ChangesOptions{}, "ant 1-a,bee 1-a"},
		{"backwards", FilterSpec{Name: "f/six"}, storage.ChangesOptions{Descending: true}, "bee 1-a,ant 1-a"},
		{"from later", FilterSpec{Name: "f/six"}, storage.ChangesOptions{Since: 2}, "bee 1-a"},
		{"with a parameter", FilterSpec{Name: "f/legs", Request: []byte(`{"query":{"legs":"4"}}`)}, storage.ChangesOptions{}, "cat 2-c"},
		{"tombstones", FilterSpec{Name: "f/gone"}, storage.ChangesOptions{}, "dodo 2-b,_design/old 1-a"},
		{"winners alone", FilterSpec{Name: "f/three"}, storage.ChangesOptions{}, ""},
		{"all leaves", FilterSpec{Name: "f/three", AllLeaves: true}, storage.ChangesOptions{}, "cat 2-b"},
		{"histories", FilterSpec{Name: "f/path", AllLeaves: true}, storage.ChangesOptions{}, "cat 2-c 2-b,dodo 2-b"},
		{"attachments", FilterSpec{Name: "f/photo"}, storage.ChangesOptions{}, "eel 1-a"},
		{"a view", FilterSpec{Name: "_view", View: "f/winged"}, storage.ChangesOptions{}, "bee 1-a"},
		{"a view of all", FilterSpec{Name: "_view", View: "f/all"}, storage.ChangesOptions{Since: 6}, "_design/d 1-a,_design/old 1-a,eel 1-a"},
		{"a view of nothing", FilterSpec{Name: "_view", View: "f/none"}, storage.ChangesOptions{}, ""},
	}
	s := snapshot(t, newDB(t, bestiary...))
	designs := newDesigns(scripts.Options{})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.spec.Designs = designs
			if test.spec.Request == nil {
				test.spec.Request = []byte("{}")
			}
			if got := strings.Join(passed(t, s, test.spec, test.o), ","); got != test.want {
				t.Errorf("passed %q, want %q", got, test.want)
			}
		})
	}
}

// A filter gives its function many documents at once, and comes to the same as if it gave them one by one.
func TestFilterBatches(t *testing.T) {
	db := newDB(t, bestiary...)
	for i := range 40 {
		var docs []*document.Document
		for j := range 25 {
			docs = append(docs, &document.Document{ID: fmt.Sprintf("%d-%d", i, j), Body: fmt.Appendf(nil, `{"legs":%d}`, j%8)})
		}
		if _, err := db.Apply(t.Context(), storage.Write{Docs: docs}); err != nil {
			t.Fatal(err)
		}
	}
	s := snapshot(t, db)
	spec := FilterSpec{Name: "f/six", Designs: newDesigns(scripts.Options{}), Request: []byte("{}")}
	together := passed(t, s, spec, storage.ChangesOptions{})
	f, err := NewFilter(s, spec)
	if err != nil {
		t.Fatal(err)
	}
	var alone []string
	for c, err := range s.Changes(t.Context(), storage.ChangesOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		pass, err := f.Match(t.Context(), s, &c)
		if err != nil {
			t.Fatal(err)
		}
		if pass {
			alone = append(alone, c.ID+" "+c.Revs[0].String())
		}
	}
	if strings.Join(together, ",") != strings.Join(alone, ",") || len(alone) != 122 {
		t.Errorf("%d passed together, %d alone", len(together), len(alone))
	}
	if n := f.passes.(*functions).size; n < 1 || n > mostBatched {
		t.Errorf("batches of %d", n)
	}
}

// A function that fails or does not end ends the feed with an error; what comes before passes.
func TestFilterFailures(t *testing.T) {
	s := snapshot(t, newDB(t, bestiary...))
	designs := newDesigns(scripts.Options{Time: 200 * time.Millisecond})
	walk := func(ctx context.Context, name string) (passed int, err error) {
		f, err := NewFilter(s, FilterSpec{Name: name, Designs: designs, Request: []byte("{}")})
		if err != nil {
			t.Fatal(err)
		}
		f.passes.(*functions).size = 4
		for c, err := range f.Changes(ctx, s, storage.ChangesOptions{}) {
			if err != nil {
				return passed, err
			}
			if pass, err := f.Match(ctx, s, &c); err != nil {
				return passed, err
			} else if pass {
				passed++
			}
		}
		return passed, nil
	}
	for _, test := range []struct {
		name   string
		passed int
		kind   scripts.Kind
	}{
		{"f/fails", 0, scripts.Fault},
		{"f/refuses", 0, scripts.Fault},
		{"f/runs", 3, scripts.Timeout}, // in a batch with the one that does not end
	} {
		n, err := walk(t.Context(), test.name)
		var e *scripts.Error
		if !errors.As(err, &e) || e.Kind != test.kind || n != test.passed {
			t.Errorf("%s: %d passed, %v", test.name, n, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := walk(ctx, "f/always"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestLocalUser: what is written locally is validated, on behalf of whoever the job is of.
func TestLocalUser(t *testing.T) {
	store, err := storage.Open(storage.Options{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"a", "b"} {
		db, err := store.CreateDB(t.Context(), name, storage.DBOptions{})
		if err == nil {
			err = db.SetSecurity(t.Context(), []byte("{}")) // for everybody
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	a, _ := store.DB("a")
	b, _ := store.DB("b")
	for _, db := range []*storage.DB{a, b} {
		if err := db.SetSecurity(t.Context(), []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, b, `{"_id":"_design/v","_rev":"1-a","validate_doc_update":"function (doc, old, user, sec) { if (doc.owner !== user.name || user.db !== 'b') throw({forbidden: 'not yours'}); }"}`)
	for _, text := range []string{`{"_id":"1","_rev":"1-a","owner":"joe"}`, `{"_id":"2","_rev":"1-a","owner":"ann"}`, `{"_id":"_design/x","_rev":"1-a"}`} {
		write(t, a, text)
	}
	designs := newDesigns(scripts.Options{})
	run := func(s design.Subject) Stats {
		t.Helper()
		out, err := Run(t.Context(), NewLocal(store, "a").As(s, designs), NewLocal(store, "b").As(s, designs), Options{ID: s.Name + "x", NoCheckpoints: true})
		if err != nil {
			t.Fatal(err)
		}
		return out.Stats
	}
	if got := run(design.Subject{Name: "joe"}); got.Written != 1 || got.Failed != 2 {
		t.Errorf("joe: %+v", got)
	}
	if got := run(design.Subject{Name: "ann", Roles: []string{"_admin"}}); got.Written != 2 || got.Failed != 0 {
		t.Errorf("ann: %+v", got)
	}
}
