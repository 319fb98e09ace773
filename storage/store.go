package storage

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mangrove-db/mangrove/storage/kv"
	"github.com/mangrove-db/mangrove/storage/kv/badgerkv"
)

// Options of a Store.
type Options struct {
	// Path is the data folder. It is created if need be.
	Path string
	// Memory is a budget in bytes for what is being written; 0 means 64 MiB.
	Memory int64
	// Reserve is the room in bytes below which writes are refused with ErrNoSpace; 0 means 128 MiB.
	Reserve int64
	// Logger takes messages of the store and its engine; nil discards them.
	Logger *slog.Logger
	// ReadOnly opens what is there and changes nothing that is stored: neither is the start noted, nor are deleted
	// databases removed or writes taken, which get ErrReadOnly. The engine may still write down in its own form what
	// the last run has left in its logs. A folder without data is refused with ErrNotFound.
	ReadOnly bool
}

// Store holds the databases of a node. All methods may be called by any goroutine.
type Store struct {
	engine kv.Engine
	log    *slog.Logger
	identity

	syncer  *syncer
	updates *updates
	tasks   tasks
	nodes   nodeCache

	buildMemory int // bytes that a build of an index keeps before it saves them

	counters counters

	background context.Context // ends when the store closes
	stop       context.CancelFunc
	working    sync.WaitGroup

	readOnly bool
	unopened atomic.Bool // the start was not noted, because the disk was full or the store is only read
	opening  sync.Mutex  // held while that is made good

	dropping sync.Mutex // held while dropped databases are removed

	// adopting is held for reading while stored content is given its record, and for writing while content that
	// nothing refers to is removed.
	adopting sync.RWMutex

	mu struct {
		sync.Mutex
		open   map[uint32]*DB
		closed bool
	}
}

// Open opens or creates the store in o.Path. It returns ErrLocked if another process has it open, and ErrFormat if
// the data is of a version that this program does not know.
func Open(o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	engine, err := badgerkv.Open(badgerkv.Options{Dir: o.Path, Memory: o.Memory, Reserve: o.Reserve, Logger: o.Logger, Existing: o.ReadOnly})
	if err != nil {
		return nil, outer(err)
	}
	open := newStore
	if o.ReadOnly {
		open = newReader
	}
	s, err := open(engine, o.Logger)
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	if o.Memory != 0 {
		s.buildMemory = int(max(o.Memory/4, leastBuildMemory))
	}
	return s, nil
}

// newReader returns a store that changes nothing.
func newReader(engine kv.Engine, log *slog.Logger) (*Store, error) {
	s := &Store{engine: engine, log: log, readOnly: true}
	s.mu.open = map[uint32]*DB{}
	s.unopened.Store(true)
	var err error
	if s.identity, err = readIdentity(engine); err != nil {
		return nil, outer(err)
	}
	s.background, s.stop = context.WithCancel(context.Background())
	s.updates = newUpdates(s)
	s.syncer = newSyncer(engine, &s.counters.syncs)
	return s, nil
}

func newStore(engine kv.Engine, log *slog.Logger) (*Store, error) {
	s := &Store{engine: engine, log: log, buildMemory: defaultBuildMemory}
	s.background, s.stop = context.WithCancel(context.Background())
	s.mu.open = map[uint32]*DB{}
	var err error
	s.identity, err = openFormat(s.background, engine)
	if errors.Is(err, kv.ErrNoSpace) {
		log.Warn("the disk is full: the node opens for reading", "error", err)
		s.identity, err = readIdentity(engine)
		s.unopened.Store(true)
	}
	if err == nil {
		s.updates, err = openUpdates(s)
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	s.syncer = newSyncer(engine, &s.counters.syncs)
	s.work(s.updates.run)
	s.work(s.removeDropped)
	s.work(s.maintain)
	return s, nil
}

// work runs f in the background until the store closes.
func (s *Store) work(f func(context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.closed {
		s.working.Go(func() { f(s.background) })
	}
}

// Close ends all waiting and background work, lets writes that were taken finish, and flushes. It waits until all
// snapshots have been closed.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return nil
	}
	s.mu.closed = true
	dbs := make([]*DB, 0, len(s.mu.open))
	for _, db := range s.mu.open {
		dbs = append(dbs, db)
	}
	s.mu.Unlock()
	s.stop()
	for _, db := range dbs {
		db.close(ErrClosed)
	}
	s.working.Wait()
	s.syncer.close()
	err := s.syncer.failure()
	if err == nil && !s.unopened.Load() {
		if err = markClean(s.engine); errors.Is(err, kv.ErrNoSpace) {
			err = nil // the next start counts as one after a crash, which loses nothing
		}
	}
	return errors.Join(err, s.engine.Close())
}

// UUID returns the identity of the node, 32 hex digits. It never changes.
func (s *Store) UUID() string { return s.uuid }

// entry is what the catalogue says of a database. Its value: version, id, creation, flags, q, n as uvarints, then
// the incarnation.
type entry struct {
	ID          uint32
	Incarnation incarnation
	Created     int64 // Unix microseconds
	DBOptions
}

const entryVersion = 1

func (e *entry) append(b []byte) []byte {
	b = binary.AppendUvarint(append(b, entryVersion), uint64(e.ID))
	b = binary.AppendUvarint(b, uint64(e.Created))
	var flags uint64
	if e.Partitioned {
		flags = 1
	}
	b = binary.AppendUvarint(b, flags)
	b = binary.AppendUvarint(b, uint64(e.Q))
	b = binary.AppendUvarint(b, uint64(e.N))
	return append(b, e.Incarnation[:]...)
}

func parseEntry(b []byte) (e entry, err error) {
	if len(b) == 0 || b[0] != entryVersion {
		return e, corrupt("catalogue entry", nil)
	}
	c := cursor{b: b[1:]}
	e.ID, e.Created = uint32(c.uvarint()), int64(c.uvarint())
	e.Partitioned = c.uvarint()&1 != 0
	e.Q, e.N = int(c.uvarint()), int(c.uvarint())
	if c.bad || len(c.b) != len(e.Incarnation) {
		return e, corrupt("catalogue entry", nil)
	}
	copy(e.Incarnation[:], c.b)
	return e, nil
}

// DBOptions are given when a database is created.
type DBOptions struct {
	// Partitioned asks that the ids of all documents have the form partition:key.
	Partitioned bool
	// Q and N are kept for clients that ask for CouchDB's shards and replicas; they change nothing.
	Q, N int
}

// CreateDB creates a database. The caller has checked the name. It returns ErrExists if there is one of that name.
func (s *Store) CreateDB(ctx context.Context, name string, o DBOptions) (*DB, error) {
	if err := s.writable(); err != nil {
		return nil, err
	}
	e := entry{Created: time.Now().UnixMicro(), DBOptions: o}
	if _, err := rand.Read(e.Incarnation[:]); err != nil {
		return nil, err
	}
	err := s.engine.Update(ctx, func(tx kv.Tx) error {
		if _, err := tx.Get(catalogueKey(name)); err == nil {
			return ErrExists
		} else if !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		var err error
		if e.ID, err = nextID(tx); err != nil {
			return err
		}
		first := state{epoch: s.epoch}
		return errors.Join(
			tx.Set(catalogueKey(name), e.append(nil)),
			tx.Set(newKeyspace(e.ID).meta(metaState), first.append(nil)),
		)
	})
	if err == nil {
		err = s.syncer.sync()
	}
	if err != nil {
		return nil, outer(err)
	}
	s.updates.note(name, UpdateCreated)
	return s.attach(name, e)
}

// DB returns the database of that name, or ErrNoDatabase.
func (s *Store) DB(name string) (*DB, error) {
	e, err := s.find(name)
	if err != nil {
		return nil, err
	}
	return s.attach(name, e)
}

func (s *Store) find(name string) (entry, error) {
	snap, err := s.engine.Snapshot()
	if err != nil {
		return entry{}, outer(err)
	}
	defer snap.Close()
	return lookup(snap, name)
}

func lookup(r kv.Reader, name string) (e entry, err error) {
	value, err := r.Get(catalogueKey(name))
	if errors.Is(err, kv.ErrNotFound) {
		return e, ErrNoDatabase
	}
	if err != nil {
		return e, outer(err)
	}
	return parseEntry(value)
}

// Snapshot opens a snapshot of the database of that name, or returns ErrNoDatabase.
func (s *Store) Snapshot(name string) (*DB, *Snapshot, error) {
	snap, err := s.engine.Snapshot()
	if err != nil {
		return nil, nil, outer(err)
	}
	e, err := lookup(snap, name)
	if err != nil {
		snap.Close()
		return nil, nil, err
	}
	db, err := s.attach(name, e)
	if err == nil {
		err = db.gone()
	}
	if err != nil {
		snap.Close()
		return nil, nil, err
	}
	view, err := db.view(snap)
	return db, view, err
}

// attach returns the one DB that stands for the entry in this process.
func (s *Store) attach(name string, e entry) (*DB, error) {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	db := s.mu.open[e.ID]
	if db != nil {
		s.mu.Unlock()
		return db, nil
	}
	db = newDB(s, name, e)
	s.mu.open[e.ID] = db
	s.mu.Unlock()
	// Whoever deleted the database since the entry was read has either seen this DB, or is seen here.
	if now, err := s.find(name); err != nil || now.ID != e.ID {
		if err == nil {
			err = ErrNoDatabase
		}
		s.detach(e.ID, err)
		return nil, err
	}
	return db, nil
}

// detach ends the DB of that id, if there is one.
func (s *Store) detach(id uint32, why error) {
	s.mu.Lock()
	db := s.mu.open[id]
	s.mu.Unlock()
	if db == nil {
		return
	}
	// It stays known until it takes no more writes, so that Close does not overlook it.
	db.close(why)
	s.mu.Lock()
	delete(s.mu.open, id)
	s.mu.Unlock()
}

// DeleteDB deletes a database. Its keys and blobs are removed in the background. It returns ErrNoDatabase if there
// is none of that name.
func (s *Store) DeleteDB(ctx context.Context, name string) error {
	if err := s.changeable(); err != nil {
		return err
	}
	var e entry
	err := s.engine.Update(ctx, func(tx kv.Tx) error {
		var err error
		if e, err = lookup(tx, name); err != nil {
			return err
		}
		if err := dropIndexes(tx, newKeyspace(e.ID)); err != nil {
			return err
		}
		return errors.Join(tx.Delete(catalogueKey(name)), tx.Set(droppedKey(e.ID), []byte(name)))
	})
	if err == nil {
		err = s.syncer.sync()
	}
	if err != nil {
		return outer(err)
	}
	s.detach(e.ID, ErrNoDatabase)
	s.updates.note(name, UpdateDeleted)
	s.work(s.removeDropped)
	return nil
}

// NameRange bounds a listing of names by their bytes. Limit is the greatest number of names, or negative.
type NameRange struct {
	Start, End   string
	HasEnd       bool
	ExclusiveEnd bool
	Descending   bool
	Skip, Limit  int
}

// Names yields the names of databases in order. All are of one moment.
func (s *Store) Names(r NameRange) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		snap, err := s.engine.Snapshot()
		if err != nil {
			yield("", outer(err))
			return
		}
		defer snap.Close()
		b := bounds{prefix: []byte{familyCatalogue}, start: r.Start, hasStart: r.Start != "", end: r.End, hasEnd: r.HasEnd, exclusiveEnd: r.ExclusiveEnd, descending: r.Descending}
		it := snap.Iterate(b.kv())
		defer it.Close()
		for n := 0; it.Next(); n++ {
			if n < r.Skip {
				continue
			}
			if r.Limit >= 0 && n-r.Skip >= r.Limit {
				return
			}
			if !yield(string(it.Key()[1:]), nil) {
				return
			}
		}
		if err := it.Err(); err != nil {
			yield("", outer(err))
		}
	}
}

// bounds is a range of keys below a prefix by the rest of the key.
type bounds struct {
	prefix       []byte
	start, end   string
	hasStart     bool
	hasEnd       bool
	exclusiveEnd bool
	descending   bool
}

// kv turns bounds in the direction of travel into a half-open range upwards.
func (b bounds) kv() kv.Range {
	key := func(s, behind string) []byte {
		return append(append(append([]byte(nil), b.prefix...), s...), behind...)
	}
	const after = "\x00" // the first key behind a given one
	r := kv.Range{Prefix: b.prefix, Reverse: b.descending}
	if !b.descending {
		r.Start = key(b.start, "")
		if b.hasEnd && b.exclusiveEnd {
			r.End = key(b.end, "")
		} else if b.hasEnd {
			r.End = key(b.end, after)
		}
		return r
	}
	if b.hasStart {
		r.End = key(b.start, after)
	}
	if b.hasEnd && b.exclusiveEnd {
		r.Start = key(b.end, after)
	} else if b.hasEnd {
		r.Start = key(b.end, "")
	}
	return r
}

// writable returns why no write can be taken now, if so.
func (s *Store) writable() error {
	if err := s.changeable(); err != nil {
		return err
	}
	return s.engine.Room()
}

// roomy returns why nothing can be written now that can be made again: before the disk is too full for documents, it is
// too full for indexes.
func (s *Store) roomy() error {
	if err := s.writable(); err != nil {
		return err
	}
	if free, reserve := s.engine.Space(); free > 0 && free < reserve+reserve/4 {
		return fmt.Errorf("%w for indexes: %d MiB are free, %d MiB must be", ErrNoSpace, free>>20, (reserve+reserve/4)>>20)
	}
	return nil
}

// changeable returns why not even something can be removed now, if so.
func (s *Store) changeable() error {
	if s.readOnly {
		return ErrReadOnly
	}
	if err := s.syncer.failure(); err != nil {
		return err
	}
	if !s.unopened.Load() {
		return nil
	}
	s.opening.Lock()
	defer s.opening.Unlock()
	if !s.unopened.Load() {
		return nil
	}
	if _, err := openFormat(s.background, s.engine); err != nil {
		return err
	}
	s.unopened.Store(false)
	return nil
}

// One transaction removes so many keys, or so many bytes of keys, whatever is less.
const (
	removeBatch = 1000
	removeBytes = 256 << 10
)

// removeDropped removes the keys and blobs of dropped databases, a batch at a time, so that others go on writing.
func (s *Store) removeDropped(ctx context.Context) {
	s.dropping.Lock()
	defer s.dropping.Unlock()
	for {
		id, ok, err := s.nextDropped()
		if err == nil && ok {
			err = s.removeDatabase(ctx, id)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("removing a deleted database failed; it is tried again at the next start or deletion", "error", err)
		}
		if !ok || err != nil {
			return
		}
	}
}

func (s *Store) nextDropped() (id uint32, ok bool, err error) {
	snap, err := s.engine.Snapshot()
	if err != nil {
		return 0, false, err
	}
	defer snap.Close()
	it := snap.Iterate(kv.Range{Prefix: []byte{familyDropped}})
	defer it.Close()
	if !it.Next() {
		return 0, false, it.Err()
	}
	key := it.Key()
	if len(key) != 5 {
		return 0, false, corrupt("dropped database", nil)
	}
	return uint32(key[1])<<24 | uint32(key[2])<<16 | uint32(key[3])<<8 | uint32(key[4]), true, nil
}

func (s *Store) removeDatabase(ctx context.Context, id uint32) error {
	err := s.batches(kv.Range{Prefix: databasePrefix(id)}, func(keys [][]byte) error {
		err := s.engine.Update(ctx, func(tx kv.Tx) error {
			for _, k := range keys {
				if err := tx.Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		return cmp.Or(err, ctx.Err())
	})
	if err != nil {
		return err
	}
	if err := s.engine.Blobs().Drop(id); err != nil {
		return err
	}
	return s.engine.Update(ctx, func(tx kv.Tx) error { return tx.Delete(droppedKey(id)) })
}

// batches calls remove for all keys of a range, as many at a time as are removed in one transaction. It goes on behind
// what it has seen: what was removed is dear to pass over again.
func (s *Store) batches(rg kv.Range, remove func(keys [][]byte) error) error {
	for {
		keys, err := s.someKeys(rg)
		if err != nil || len(keys) == 0 {
			return outer(err)
		}
		if err := remove(keys); err != nil {
			return err
		}
		rg.Start = append(keys[len(keys)-1], 0)
	}
}

// someKeys returns the first keys of a range, as many as are removed in one transaction.
func (s *Store) someKeys(rg kv.Range) (keys [][]byte, err error) {
	snap, err := s.engine.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	it := snap.Iterate(rg)
	defer it.Close()
	for size := 0; len(keys) < removeBatch && size < removeBytes && it.Next(); {
		keys = append(keys, append([]byte(nil), it.Key()...))
		size += len(it.Key())
	}
	return keys, it.Err()
}

// Sync makes everything durable that has been written, also what was written without waiting.
func (s *Store) Sync() error { return outer(s.syncer.sync()) }
