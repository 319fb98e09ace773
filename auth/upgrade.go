package auth

import (
	"context"
	"errors"
	"sync"

	"github.com/mangrove-db/mangrove/config"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/internal/dbname"
	"github.com/mangrove-db/mangrove/storage"
)

// upgrades are keys that are being derived anew, because the settings ask for
// more than they did when the password was set. It is done when somebody signs
// in: only then the password is known.
type upgrades struct {
	ctx  context.Context
	stop func()

	mu      sync.Mutex // guards the rest
	working sync.WaitGroup
	names   map[string]bool
	stopped bool
}

// maxUpgrades bounds those that go on or wait at once. Others have theirs when
// they sign in next.
const maxUpgrades = 64

func (u *upgrades) start() {
	ctx, cancel := context.WithCancel(context.Background())
	u.ctx, u.names = ctx, map[string]bool{}
	u.stop = func() {
		u.mu.Lock()
		u.stopped = true
		u.mu.Unlock()
		cancel()
		u.working.Wait()
	}
}

// begin reports whether a name's upgrade may begin; it must call done then.
func (u *upgrades) begin(name string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stopped || u.names[name] || len(u.names) >= maxUpgrades {
		return false
	}
	u.names[name] = true
	u.working.Add(1)
	return true
}

func (u *upgrades) done(name string) {
	u.mu.Lock()
	delete(u.names, name)
	u.mu.Unlock()
	u.working.Done()
}

// upgrade derives a user's key anew, in the background, if the settings have
// changed. The password has just been found to be the right one.
func (a *Authenticator) upgrade(c *config.Snapshot, acc *account, password string) {
	if !acc.user || !weaker(&acc.hash, c) || !c.Auth.UpgradeHashes || !a.upgrades.begin(acc.name) {
		return
	}
	go func() {
		defer a.upgrades.done(acc.name)
		if err := a.rehash(a.upgrades.ctx, c, acc, password); err != nil && a.upgrades.ctx.Err() == nil {
			a.log.Warn("a password's key could not be derived anew", "name", acc.name, "error", err)
		}
	}()
}

// weaker reports whether a key was derived with less work than the settings ask
// for. Unlike in CouchDB one with more is left alone: nodes that share accounts
// and have other settings would undo each other's work.
func weaker(h *storedHash, c *config.Snapshot) bool {
	return h.iterations < c.PasswordIterations || h.wrapped ||
		h.iterations == c.PasswordIterations && h.hash().Size() < pseudorandom[c.PasswordPRF]().Size()
}

// rehash writes a user's new key, unless the document has changed meanwhile.
func (a *Authenticator) rehash(ctx context.Context, c *config.Snapshot, acc *account, password string) error {
	db, snap, err := a.accounts.store.Snapshot(dbname.Users)
	if err != nil {
		return err
	}
	d, err := readUser(snap, acc.name)
	snap.Close()
	if err != nil {
		return err
	}
	if parseUser(acc.name, d.Body).stored != acc.stored {
		return nil // somebody has set another password
	}
	members, err := readMembers(d.Body)
	if err != nil {
		return err
	}
	// With the same salt cookies stay good.
	if members, err = a.hashed(ctx, c, members, password, string(acc.hash.salt)); err != nil {
		return err
	}
	next := &document.Document{ID: d.ID, Rev: d.Rev, Body: members.append(nil), Attachments: d.Attachments}
	for i := range next.Attachments {
		next.Attachments[i].Stub = true
	}
	// What is handed to the writer is the writer's until it is written.
	results, err := db.Apply(context.WithoutCancel(ctx), storage.Write{Docs: []*document.Document{next}, Mode: storage.Edit})
	if err != nil {
		return err
	}
	if err := results[0].Err; err != nil && !errors.Is(err, storage.ErrConflict) {
		return err
	}
	return nil
}

func readUser(snap *storage.Snapshot, name string) (*document.Document, error) {
	row, err := snap.Lookup(UserPrefix + name)
	if err != nil {
		return nil, err
	}
	if row.Deleted {
		return nil, storage.ErrDeleted
	}
	return row.Document()
}
