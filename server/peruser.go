package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/config"
	"github.com/mangrove-db/mangrove/internal/dbname"
	"github.com/mangrove-db/mangrove/storage"
)

// perUser gives each account a database of its own, as CouchDB's couch_peruser
// does: it follows the accounts, makes the database and names the account in its
// security object; when an account is deleted, it deletes the database or takes
// the name out. How far it came is kept beside the accounts, so that a start
// need not look at all of them. What it does can be done twice.
type perUser struct {
	config *config.Config
	store  *storage.Store
	log    *slog.Logger
}

const (
	// perUserPause is how long it takes at most until changed settings are seen,
	// and how long to wait after a failure.
	perUserPause = 3 * time.Second
	// perUserStride is how many accounts are looked at between checkpoints.
	perUserStride = 1000
	// perUserCheckpoint is the local document that says how far it came.
	perUserCheckpoint = "_local/couch_peruser"
)

// serve works until ctx is done.
func (p *perUser) serve(ctx context.Context) {
	for ctx.Err() == nil {
		settings := p.config.Snapshot().PerUser
		if !settings.Enable {
			waitFor(ctx, perUserPause)
			continue
		}
		err := p.round(ctx, settings)
		if err != nil && ctx.Err() == nil {
			if !errors.Is(err, storage.ErrNoDatabase) {
				p.log.Error("databases of accounts could not be kept up to date", "error", err)
			}
			waitFor(ctx, perUserPause)
		}
	}
}

// waitFor waits for some time, or until ctx is done.
func waitFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// progress is what the checkpoint says. One that was made under other settings,
// or of another database, does not count.
type progress struct {
	Created   int64  `json:"created"`
	Prefix    string `json:"database_prefix"`
	DeleteDBs bool   `json:"delete_dbs"`
	Seq       string `json:"seq"`
}

// round looks at the accounts that have changed, and waits for more.
func (p *perUser) round(ctx context.Context, settings config.PerUser) error {
	db, snap, err := p.store.Snapshot(dbname.Users)
	if err != nil {
		return err
	}
	last := snap.Seq()
	err = p.look(ctx, settings, db, snap)
	snap.Close()
	if err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, perUserPause)
	defer cancel()
	if err := db.Wait(waiting, last); err != nil && waiting.Err() == nil {
		return err
	}
	return nil
}

// look looks at the accounts that have changed.
func (p *perUser) look(ctx context.Context, settings config.PerUser, db *storage.DB, snap *storage.Snapshot) error {
	done := progress{Created: db.Created().UnixMicro(), Prefix: settings.Prefix, DeleteDBs: settings.DeleteDBs}
	since := p.since(snap, done)
	count := 0
	for c, err := range snap.Changes(ctx, storage.ChangesOptions{Since: since}) {
		if err != nil {
			return err
		}
		if name := auth.UserName(c.ID); name != "" {
			if err := p.settle(ctx, settings, name, c.Deleted); err != nil {
				return fmt.Errorf("the database of the account %q: %w", name, err)
			}
		}
		if count++; count%perUserStride == 0 {
			if err := p.save(ctx, db, snap, done, c.Seq); err != nil {
				return err
			}
		}
	}
	if count == 0 {
		return nil
	}
	return p.save(ctx, db, snap, done, snap.Seq())
}

// since returns where to begin.
func (p *perUser) since(snap *storage.Snapshot, now progress) storage.Seq {
	local, err := snap.Local(perUserCheckpoint)
	if err != nil {
		return 0
	}
	var before progress
	if json.Unmarshal(local.Body, &before) != nil {
		return 0
	}
	seq, err := snap.ParseSeq(before.Seq)
	if before.Seq = ""; before != now || err != nil {
		return 0
	}
	return seq
}

func (p *perUser) save(ctx context.Context, db *storage.DB, snap *storage.Snapshot, done progress, seq storage.Seq) error {
	done.Seq = snap.FormatSeq(seq)
	body, err := json.Marshal(done)
	if err != nil {
		return err
	}
	_, err = db.PutLocal(ctx, storage.Local{ID: perUserCheckpoint, Body: body})
	return err
}

// perUserName is the name of an account's database: the prefix, and each byte
// of the account's name as hex, as in CouchDB. But that leaves out the zeros in
// front, by which an account could be made, of control characters, that shares
// the database of another.
func perUserName(prefix, account string) string {
	var b strings.Builder
	b.WriteString(prefix)
	for _, c := range []byte(account) {
		fmt.Fprintf(&b, "%02x", c)
	}
	return b.String()
}

// settle makes an account's database agree with the account.
func (p *perUser) settle(ctx context.Context, settings config.PerUser, account string, deleted bool) error {
	name := perUserName(settings.Prefix, account)
	if !dbname.Legal(name) || dbname.TooLong(name) {
		p.log.Warn("an account cannot have a database of its own: the database's name would not be allowed", "account", account)
		return nil
	}
	if deleted && settings.DeleteDBs {
		if err := p.store.DeleteDB(ctx, name); !errors.Is(err, storage.ErrNoDatabase) {
			return err
		}
		return nil
	}
	db, err := p.store.DB(name)
	if errors.Is(err, storage.ErrNoDatabase) {
		if deleted {
			return nil
		}
		if db, err = p.store.CreateDB(ctx, name, storage.DBOptions{Q: settings.Q}); errors.Is(err, storage.ErrExists) {
			db, err = p.store.DB(name)
		}
	}
	if err != nil {
		return err
	}
	object, err := db.Security()
	if err != nil {
		return err
	}
	if object == nil {
		object = []byte(auth.ClosedSecurity)
	}
	changed, err := withName(object, account, !deleted)
	if err != nil {
		p.log.Warn("an account's database has a security object that cannot be read", "account", account, "database", name, "error", err)
		return nil
	}
	if changed == nil {
		return nil
	}
	return db.SetSecurity(ctx, changed)
}

// withName returns a security object in which an account is named among admins
// and members, or is not; nil if that is so already.
func withName(object []byte, account string, named bool) ([]byte, error) {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(object, &parts); err != nil {
		return nil, err
	}
	if parts == nil {
		parts = map[string]json.RawMessage{}
	}
	changed := false
	for _, who := range []string{"admins", "members"} {
		lists := map[string]json.RawMessage{}
		var names []string
		if parts[who] != nil {
			if err := json.Unmarshal(parts[who], &lists); err != nil {
				return nil, err
			}
		}
		if lists == nil {
			lists = map[string]json.RawMessage{}
		}
		if lists["names"] != nil {
			if err := json.Unmarshal(lists["names"], &names); err != nil {
				return nil, err
			}
		}
		i := slices.Index(names, account)
		switch {
		case named && i < 0:
			names = append([]string{account}, names...)
		case !named && i >= 0:
			names = slices.Delete(names, i, i+1)
		default:
			continue
		}
		changed = true
		var err error
		if lists["names"], err = json.Marshal(names); err != nil {
			return nil, err
		}
		if parts[who], err = json.Marshal(lists); err != nil {
			return nil, err
		}
	}
	if !changed {
		return nil, nil
	}
	return json.Marshal(parts)
}
