package storage

import (
	"errors"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// HeldSnapshot opens a snapshot of the database of that name whose attachments stay readable too, whatever happens to
// the documents meanwhile: while it is open, nothing that documents no longer have is swept. It is for whoever reads
// the whole database, for as long as that takes. It returns ErrNoDatabase if there is none of that name.
func (s *Store) HeldSnapshot(name string) (*DB, *Snapshot, error) {
	db, err := s.DB(name)
	if err != nil {
		return nil, nil, err
	}
	db.hold()
	snap, err := db.Snapshot()
	if err != nil {
		db.release()
		return nil, nil, err
	}
	snap.held = true
	return db, snap, nil
}

// hold keeps attachments from being swept. A sweep that is removing one goes first, so that a snapshot that is opened
// afterwards does not show it.
func (db *DB) hold() {
	db.store.adopting.RLock()
	defer db.store.adopting.RUnlock()
	db.mu.Lock()
	defer db.mu.Unlock()
	db.mu.holds++
}

// release undoes hold. What was to be swept meanwhile is swept when nobody holds it any more.
func (db *DB) release() {
	db.mu.Lock()
	db.mu.holds--
	sweep := db.mu.holds == 0 && db.mu.unswept
	if sweep {
		db.mu.unswept = false
	}
	db.mu.Unlock()
	if sweep {
		// Only a database that is going away refuses, and it needs no compaction.
		_ = db.Compact()
	}
}

// held tells whether attachments must stay, and notes that there are some to be swept. The caller holds adopting.
func (db *DB) held() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.mu.unswept = db.mu.unswept || db.mu.holds > 0
	return db.mu.holds > 0
}

// Settings are what a database has beside documents, and its figures, at the moment of a snapshot.
type Settings struct {
	Security         []byte // the security object as it was stored, or nil if none was
	RevsLimit        int
	PurgedInfosLimit int
	Docs, Deleted    uint64
	External         uint64 // bytes, as in Info
	DBOptions        DBOptions
}

// Settings returns the settings and figures of the database.
func (s *Snapshot) Settings() (Settings, error) {
	security, err := s.kv.Get(s.db.keys.meta(metaSecurity))
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return Settings{}, outer(err)
	}
	purges := int(s.state.purgedInfosLimit)
	if purges == 0 {
		purges = DefaultPurgedInfosLimit
	}
	return Settings{
		Security: security, RevsLimit: s.state.limit(), PurgedInfosLimit: purges,
		Docs: s.state.docs, Deleted: s.state.deleted, External: s.state.external, DBOptions: s.db.DBOptions,
	}, nil
}
