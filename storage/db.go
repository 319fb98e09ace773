package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// DB is one database. All methods may be called by any goroutine. After the database has been deleted they return
// ErrNoDatabase, after the store has been closed ErrClosed.
type DB struct {
	store *Store
	name  string
	entry
	incarnation incarnation
	keys        keyspace
	writer      *writer
	ranks       [2]rankCache
	indexIDs    sync.Map // string to uint32: ids of indexes by signature, as they were when they were last looked up

	// designs is a generation of the design documents that this process has seen; the writer knows the present one.
	// unruled is a generation that has no rules, plus one. See validate.go.
	designs, unruled atomic.Uint64

	// turn is held by transactions that read and write the state. They would all conflict with each other, so that
	// long ones would never get through beside short ones. Other processes are not kept out by it.
	turn sync.Mutex

	ended chan struct{} // closed when the database goes away; why is set before

	mu struct {
		sync.Mutex
		why        error
		committed  Seq           // the newest durable sequence of this process
		news       chan struct{} // closed when committed moves; nil if nobody waits
		compacting bool
		holds      int  // who keeps attachments from being swept
		unswept    bool // there are some to be swept when nobody does
	}
}

func newDB(s *Store, name string, e entry) *DB {
	db := &DB{store: s, name: name, entry: e, incarnation: e.Incarnation, keys: newKeyspace(e.ID), ended: make(chan struct{})}
	db.ranks[rankDocs].space, db.ranks[rankSeqs].space = spaceDoc, spaceSeq
	db.writer = &writer{db: db, slots: make(chan struct{}, 2)}
	return db
}

// Name returns the name of the database.
func (db *DB) Name() string { return db.name }

// Partitioned tells whether all ids must have the form partition:key.
func (db *DB) Partitioned() bool { return db.entry.Partitioned }

// Created returns when the database was created; it tells it from others that had its name before.
func (db *DB) Created() time.Time { return time.UnixMicro(db.entry.Created) }

// close makes everybody who waits on the database return why.
func (db *DB) close(why error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.mu.why == nil {
		db.mu.why = why
		close(db.ended)
		db.writer.close(why)
	}
}

// gone returns why the database cannot be used any more, or nil.
func (db *DB) gone() error {
	select {
	case <-db.ended:
		return db.mu.why // written before ended was closed
	default:
		return nil
	}
}

// Ended is closed when the database is deleted or the store closes.
func (db *DB) Ended() <-chan struct{} { return db.ended }

// advance announces that everything up to seq is durable.
func (db *DB) advance(seq Seq) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if seq <= db.mu.committed {
		return
	}
	db.mu.committed = seq
	if db.mu.news != nil {
		close(db.mu.news)
		db.mu.news = nil
	}
}

// Wait returns nil once something newer than after has been committed. It carries no data: the caller reads what is
// new from a fresh snapshot, and so cannot miss anything.
func (db *DB) Wait(ctx context.Context, after Seq) error {
	for {
		if err := db.gone(); err != nil {
			return err
		}
		// Whoever commits after this channel was made closes it, so that nothing between reading and waiting is lost.
		news, committed := db.watch()
		if committed == 0 {
			// Nothing was written by this process: what the one before has left can be seen in a snapshot only.
			snap, err := db.Snapshot()
			if err != nil {
				return err
			}
			committed = snap.Seq()
			snap.Close()
		}
		if committed > after {
			return nil
		}
		select {
		case <-news:
		case <-db.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// watch returns a channel that is closed when something is committed, and the newest sequence that this process has
// committed until now.
func (db *DB) watch() (news <-chan struct{}, committed Seq) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.mu.news == nil {
		db.mu.news = make(chan struct{})
	}
	return db.mu.news, db.mu.committed
}

// Info describes a database at one moment. Sizes are in bytes.
type Info struct {
	Name          string
	Seq           Seq
	PurgeSeq      uint64
	Docs, Deleted uint64
	File          uint64 // on disk, with what compaction would free
	External      uint64 // leaves and their attachments as clients sent them
	Active        uint64 // what the leaves, their trees and attachments take up
	Compacting    bool
	DBOptions     DBOptions
	Created       time.Time
	UpdateSeqText string // for clients
	PurgeSeqText  string
}

// Info returns the database's figures.
func (db *DB) Info() (Info, error) {
	snap, err := db.Snapshot()
	if err != nil {
		return Info{}, err
	}
	defer snap.Close()
	st := snap.state
	db.mu.Lock()
	compacting := db.mu.compacting
	db.mu.Unlock()
	return Info{
		Name: db.name, Seq: st.seq, PurgeSeq: st.purgeSeq, Docs: st.docs, Deleted: st.deleted,
		File: max(st.active+st.stale, db.store.engine.Usage(db.keys[:])), External: st.external, Active: st.active,
		Compacting: compacting, DBOptions: db.entry.DBOptions, Created: db.Created(),
		UpdateSeqText: snap.FormatSeq(st.seq),
		PurgeSeqText:  snap.FormatSeq(Seq(st.purgeSeq)),
	}, nil
}

// Security returns the security object as it was stored, or nil if none was.
func (db *DB) Security() ([]byte, error) {
	snap, err := db.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	value, err := snap.kv.Get(db.keys.meta(metaSecurity))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	return value, outer(err)
}

// SetSecurity replaces the security object, a JSON text that the caller has checked.
func (db *DB) SetSecurity(ctx context.Context, object []byte) error {
	return db.update(ctx, func(tx kv.Tx, _ *state) error { return tx.Set(db.keys.meta(metaSecurity), object) })
}

// RevsLimit returns how many revisions of a branch are remembered.
func (db *DB) RevsLimit() (int, error) {
	snap, err := db.Snapshot()
	if err != nil {
		return 0, err
	}
	defer snap.Close()
	return snap.state.limit(), nil
}

// SetRevsLimit sets how many revisions of a branch are remembered. Documents are stemmed when they are next written.
func (db *DB) SetRevsLimit(ctx context.Context, n int) error {
	if n < 1 {
		return fmt.Errorf("revs limit %d is not positive", n)
	}
	return db.update(ctx, func(_ kv.Tx, st *state) error { st.revsLimit = uint64(n); return nil })
}

// PurgedInfosLimit returns how many purges are remembered.
func (db *DB) PurgedInfosLimit() (int, error) {
	snap, err := db.Snapshot()
	if err != nil {
		return 0, err
	}
	defer snap.Close()
	if snap.state.purgedInfosLimit == 0 {
		return DefaultPurgedInfosLimit, nil
	}
	return int(snap.state.purgedInfosLimit), nil
}

// SetPurgedInfosLimit sets how many purges are remembered. Older ones are forgotten by compaction.
func (db *DB) SetPurgedInfosLimit(ctx context.Context, n int) error {
	if n < 1 {
		return fmt.Errorf("purged infos limit %d is not positive", n)
	}
	return db.update(ctx, func(_ kv.Tx, st *state) error { st.purgedInfosLimit = uint64(n); return nil })
}

// update runs a transaction on the state of the database beside the writer, and makes it durable.
func (db *DB) update(ctx context.Context, fn func(tx kv.Tx, st *state) error) error {
	if err := db.transact(ctx, fn); err != nil {
		return err
	}
	return db.store.Sync()
}

// transact is update without the sync.
func (db *DB) transact(ctx context.Context, fn func(tx kv.Tx, st *state) error) error {
	if err := db.gone(); err != nil {
		return err
	}
	if err := db.store.changeable(); err != nil {
		return err
	}
	db.turn.Lock()
	defer db.turn.Unlock()
	return outer(db.store.engine.Update(ctx, func(tx kv.Tx) error {
		// A database that was deleted meanwhile must not get new keys.
		if err := db.alive(tx); err != nil {
			return err
		}
		st, err := db.readState(tx)
		if err != nil {
			return err
		}
		before := st
		if err := fn(tx, &st); err != nil {
			return err
		}
		if st == before {
			return nil
		}
		return tx.Set(db.keys.meta(metaState), st.append(nil))
	}))
}

// alive returns ErrNoDatabase unless the catalogue still names this database. Reading it within an update makes the
// update conflict with a deletion.
func (db *DB) alive(tx kv.Reader) error {
	e, err := lookup(tx, db.name)
	if err == nil && e.ID != db.ID {
		err = ErrNoDatabase
	}
	return err
}

// Commit waits until everything that was written before, also by ApplyLater, is durable.
func (db *DB) Commit(ctx context.Context) error {
	// An item without a document is done when those before it are.
	r := &request{done: make(chan struct{})}
	r.pending.Store(1)
	if err := db.writer.add([]item{{request: r}}); err != nil {
		return err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
