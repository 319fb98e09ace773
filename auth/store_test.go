package auth

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mangrove-db/mangrove/config"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// place is an Authenticator over a store with a database of accounts.
type place struct {
	testing.TB
	*Authenticator
	config *config.Config
	store  *storage.Store
	users  *storage.DB
}

func newPlace(t testing.TB, text string) *place {
	t.Helper()
	store, err := storage.Open(storage.Options{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	users, err := store.CreateDB(t.Context(), "_users", storage.DBOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := newConfig(t, text)
	if err := PrepareSecret(cfg); err != nil {
		t.Fatal(err)
	}
	p := &place{TB: t, Authenticator: New(Options{Config: cfg, Store: store}), config: cfg, store: store, users: users}
	t.Cleanup(func() {
		p.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// put writes the document of a user as it is, over the one that is there.
func (p *place) put(name, body string) {
	p.Helper()
	d := &document.Document{ID: UserPrefix + name, Body: []byte(body)}
	if old := p.read(name); old != nil {
		d.Rev = old.Rev
	}
	p.apply(d)
}

// user writes a user with a password, as a client does.
func (p *place) user(name, password string, roles string) {
	p.Helper()
	d := &document.Document{ID: UserPrefix + name, Body: fmt.Appendf(nil, `{"name":%q,"type":"user","roles":%s,"password":%q}`, name, roles, password)}
	if old := p.read(name); old != nil {
		d.Rev = old.Rev
	}
	if err := p.PrepareUser(p.Context(), d, Principal{}, true); err != nil {
		p.Fatal(err)
	}
	p.apply(d)
}

func (p *place) drop(name string) {
	p.Helper()
	p.apply(&document.Document{ID: UserPrefix + name, Rev: p.read(name).Rev, Deleted: true, Body: []byte("{}")})
}

func (p *place) apply(d *document.Document) {
	p.Helper()
	results, err := p.users.Apply(p.Context(), storage.Write{Docs: []*document.Document{d}})
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		p.Fatal(err)
	}
}

// read returns a user's document, nil if there is none.
func (p *place) read(name string) *document.Document {
	p.Helper()
	snap, err := p.users.Snapshot()
	if err != nil {
		p.Fatal(err)
	}
	defer snap.Close()
	row, err := snap.Lookup(UserPrefix + name)
	if errors.Is(err, storage.ErrNotFound) || err == nil && row.Deleted {
		return nil
	}
	if err != nil {
		p.Fatal(err)
	}
	d, err := row.Document()
	if err != nil {
		p.Fatal(err)
	}
	return d
}

// set changes the configuration.
func (p *place) set(section, key, value string) {
	p.Helper()
	if _, err := p.config.Set(section, key, value, false); err != nil {
		p.Fatal(err)
	}
}

// signIn checks what becomes of an attempt.
func (p *place) attempt(name, password string, want error) Principal {
	p.Helper()
	who, err := p.Basic(p.Context(), "peer", name, password)
	if !errors.Is(err, want) {
		p.Errorf("%s:%s: %v, want %v", name, password, err, want)
	}
	return who
}
