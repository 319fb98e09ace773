package replicator

import (
	"errors"
	"testing"

	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/document"
	scripts "github.com/mangrove-db/mangrove/script"
	"github.com/mangrove-db/mangrove/storage"
)

// TestLocalPermissions: a peer may do what its subject may do, whichever method is called.
func TestLocalPermissions(t *testing.T) {
	store, err := storage.Open(storage.Options{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	for name, security := range map[string]string{"db": `{"members":{"names":["joe"]},"admins":{"roles":["chief"]}}`, "closed": "", "_users": `{}`} {
		db, err := store.CreateDB(t.Context(), name, storage.DBOptions{})
		if err == nil && security != "" {
			err = db.SetSecurity(t.Context(), []byte(security))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	designs := newDesigns(scripts.Options{})
	// calls has the methods that touch the database.
	calls := func(l *Local) map[string]error {
		errs := map[string]error{}
		_, errs["Info"] = l.Info(t.Context())
		for _, err := range l.Changes(t.Context(), ChangesRequest{}) {
			errs["Changes"] = err
		}
		_, errs["Pending"] = l.Pending(t.Context(), "")
		_, errs["RevsDiff"] = l.RevsDiff(t.Context(), nil)
		errs["Fetch"] = l.Fetch(t.Context(), nil, nil)
		_, errs["Store"] = l.Store(t.Context(), nil)
		_, errs["Commit"] = l.Commit(t.Context())
		return errs
	}
	joe, chief, nobody, boss := design.Subject{Name: "joe"}, design.Subject{Name: "x", Roles: []string{"chief"}}, design.Subject{}, design.Subject{Roles: []string{"_admin"}}
	for _, tt := range []struct {
		database string
		subject  design.Subject
		may      bool
	}{
		{"db", joe, true},
		{"db", chief, true},
		{"db", boss, true},
		{"db", nobody, false},
		{"db", design.Subject{Name: "ann"}, false},
		{"closed", joe, false},
		{"closed", boss, true},
		{"_users", joe, false},
		{"_users", boss, true},
	} {
		for method, err := range calls(NewLocal(store, tt.database).As(tt.subject, designs)) {
			if tt.may && err != nil || !tt.may && !errors.Is(err, ErrUnauthorized) {
				t.Errorf("%s of %s by %+v: %v", method, tt.database, tt.subject, err)
			}
		}
	}
	ddoc := []Revision{{Doc: mustDoc(t, `{"_id":"_design/d","_rev":"1-a"}`)}}
	for _, tt := range []struct {
		subject design.Subject
		refused int
	}{{joe, 1}, {chief, 0}, {boss, 0}} {
		refusals, err := NewLocal(store, "db").As(tt.subject, designs).Store(t.Context(), ddoc)
		if err != nil || len(refusals) != tt.refused {
			t.Errorf("a design document by %+v: %v, %v", tt.subject, refusals, err)
		}
	}
	if err := NewLocal(store, "made").As(joe, designs).Create(t.Context(), CreateParams{}); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("joe makes a database: %v", err)
	}
	if err := NewLocal(store, "made").As(boss, designs).Create(t.Context(), CreateParams{}); err != nil {
		t.Error(err)
	}
}

func mustDoc(t *testing.T, text string) *document.Document {
	t.Helper()
	d, err := document.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConceal(t *testing.T) {
	for _, tt := range []struct{ body, reader, want string }{
		{`{"source":"http://joe:pw@h/a?x","target":"b","owner":"joe","n":1}`, "joe", `{"source":"http://joe:pw@h/a?x","target":"b","owner":"joe","n":1}`},
		{`{"source":"http://joe:pw@h/a?x","target":"b","owner":"joe","n":1}`, "ann", `{"source":"http://h/a?x","target":"b","owner":"joe","n":1}`},
		{`{"source":"http://joe:pw@h/a","owner":""}`, "", `{"source":"http://h/a","owner":""}`},
		{`{"source":{"url":"https://j:pw@h/","headers":{"Authorization":"pw"},"auth":{"basic":{}}},"source_proxy":"http://j:pw@p"}`, "ann", `{"source":{"url":"https://h/"},"source_proxy":"http://p"}`},
		{`{"source":{"headers":{"Authorization":"pw"}},"target":5}`, "ann", `{"source":{},"target":null}`},
		{`{"source":"http://j:pw%@h:x/"}`, "ann", `{"source":null}`},
	} {
		d := &document.Document{ID: "r", Body: []byte(tt.body)}
		if err := Conceal(d, tt.reader); err != nil || string(d.Body) != tt.want {
			t.Errorf("%s for %q: %s, %v", tt.body, tt.reader, d.Body, err)
		}
	}
	s, err := ParseSpec([]byte(`{"source":"a","target":"b","user_ctx":{"name":"joe","roles":[],"Roles":["_admin"],"Name":"boss"}}`))
	if err != nil || s.User != "joe" || len(s.Roles) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}
