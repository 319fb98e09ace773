package server

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/config"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// family is accounts and their databases.
type family struct {
	testing.TB
	*perUser
}

func newFamily(t *testing.T) *family {
	t.Helper()
	cfg, err := config.Load(config.Options{Data: t.TempDir(), Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	store, err := storage.Open(storage.Options{Path: filepath.Join(t.TempDir(), "data")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if _, err := store.CreateDB(t.Context(), "_users", storage.DBOptions{}); err != nil {
		t.Fatal(err)
	}
	f := &family{t, &perUser{config: cfg, store: store, log: slog.New(slog.DiscardHandler)}}
	f.set("enable", "true")
	return f
}

func (f *family) set(key, value string) {
	f.Helper()
	if _, err := f.config.Set("couch_peruser", key, value, false); err != nil {
		f.Fatal(err)
	}
}

// account writes or deletes an account.
func (f *family) account(name string, deleted bool) {
	f.Helper()
	db, snap, err := f.store.Snapshot("_users")
	if err != nil {
		f.Fatal(err)
	}
	d := &document.Document{ID: "org.couchdb.user:" + name, Deleted: deleted, Body: []byte("{}")}
	if row, err := snap.Lookup(d.ID); err == nil && !row.Deleted {
		d.Rev = row.Rev
	}
	snap.Close()
	if results, err := db.Apply(f.Context(), storage.Write{Docs: []*document.Document{d}}); err != nil || results[0].Err != nil {
		f.Fatal(err, results)
	}
}

// round looks at what has changed, and does not wait.
func (f *family) look() {
	f.Helper()
	db, snap, err := f.store.Snapshot("_users")
	if err != nil {
		f.Fatal(err)
	}
	defer snap.Close()
	if err := f.perUser.look(f.Context(), f.config.Snapshot().PerUser, db, snap); err != nil {
		f.Fatal(err)
	}
}

// named tells whether a database is there, and who is named in its security object.
func (f *family) named(database string) (there bool, admins, members []string) {
	f.Helper()
	db, err := f.store.DB(database)
	if err != nil {
		return false, nil, nil
	}
	object, err := db.Security()
	if err != nil {
		f.Fatal(err)
	}
	var s struct{ Admins, Members struct{ Names []string } }
	if object != nil {
		if err := json.Unmarshal(object, &s); err != nil {
			f.Fatal(err)
		}
	}
	return true, s.Admins.Names, s.Members.Names
}

func (f *family) want(database string, there bool, names ...string) {
	f.Helper()
	is, admins, members := f.named(database)
	if is != there || !slices.Equal(admins, names) || !slices.Equal(members, names) {
		f.Errorf("%s: %v, admins %q, members %q; want %v %q", database, is, admins, members, there, names)
	}
}

func TestPerUser(t *testing.T) {
	f := newFamily(t)
	f.account("ann", false)
	f.account("Zoë", false)
	f.look()
	f.want("userdb-616e6e", true, "ann")
	f.want("userdb-5a6fc3ab", true, "Zoë")
	f.account("ann", true)
	f.look()
	f.want("userdb-616e6e", true)
	f.account("ann", false)
	f.look()
	f.want("userdb-616e6e", true, "ann")

	// Whose name would be the same in hex but for zeros in front has another database.
	f.account("\x06\x16\x0e\x06\x0e", false)
	f.look()
	f.want("userdb-616e6e", true, "ann")

	f.set("delete_dbs", "true")
	f.account("ann", true)
	f.look()
	f.want("userdb-616e6e", false)
	f.look()
	f.want("userdb-616e6e", false)

	f.set("database_prefix", "home-")
	f.set("q", "2")
	f.look() // other settings: all accounts anew
	f.want("home-5a6fc3ab", true, "Zoë")
	db, err := f.store.DB("home-5a6fc3ab")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := db.Info(); err != nil || info.DBOptions.Q != 2 {
		t.Errorf("%+v, %v", info.DBOptions, err)
	}
}

// TestPerUserGoesOn: what was done is not done again after a restart, and what others have put into a security object stays.
func TestPerUserGoesOn(t *testing.T) {
	f := newFamily(t)
	f.account("ann", false)
	f.look()
	if err := f.store.DeleteDB(t.Context(), "userdb-616e6e"); err != nil {
		t.Fatal(err)
	}
	f.perUser = &perUser{config: f.config, store: f.store, log: f.log} // as after a restart
	f.account("bob", false)
	f.look()
	f.want("userdb-616e6e", false) // not looked at again
	f.want("userdb-626f62", true, "bob")
	db, err := f.store.DB("userdb-626f62")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.SetSecurity(t.Context(), []byte(`{"members":{"names":["eve"],"roles":["r"]},"own":1}`)); err != nil {
		t.Fatal(err)
	}
	f.account("bob", false)
	f.look()
	object, err := db.Security()
	if err != nil || string(object) != `{"admins":{"names":["bob"]},"members":{"names":["bob","eve"],"roles":["r"]},"own":1}` {
		t.Errorf("%s, %v", object, err)
	}
	long := string(make([]byte, 300))
	f.account(long, false)
	f.look() // a name that no database can have is passed over
}

func TestPerUserServes(t *testing.T) {
	f := newFamily(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); f.serve(ctx) }()
	f.account("ann", false)
	deadline := time.After(10 * time.Second)
	for there := false; !there; there, _, _ = f.named("userdb-616e6e") {
		select {
		case <-deadline:
			t.Fatal("no database was made")
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	<-ended
}
