// Package badgerkv is the embedded engine behind storage/kv: BadgerDB for keys and values, plain files for blobs.
//
// Badger runs without its own syncing, because it would sync once per transaction: the store commits groups and
// calls Sync once for all of them. Badger's Sync flushes only the memtable log and value log that are being
// written; see sync.go for what else a durable commit needs. Values are not compressed here: the store hands in
// what it has compressed itself, and uncompressed tables need no block cache.
package badgerkv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// Options of the engine.
type Options struct {
	// Dir is the folder for keys, values and blobs. It is created if need be.
	Dir string
	// Memory is the budget in bytes for tables that are being written; 0 means 64 MiB. At least 16 MiB are used.
	Memory int64
	// Reserve is the room in bytes that must be free on the disk for writes to be taken; 0 means DefaultReserve.
	Reserve int64
	// Logger takes the engine's messages; nil discards them.
	Logger *slog.Logger
	// Existing refuses a folder that has no data in it with kv.ErrNotFound, instead of laying it out, and one whose tables
	// would not all be kept.
	Existing bool
}

// DefaultReserve is the free room below which writes are refused: enough for the tables in memory to be flushed
// and merged, so that a full disk never meets the engine in the middle of its own work.
const DefaultReserve = 128 << 20

// valueLogSize is the size in bytes at which Badger begins another value-log file.
const valueLogSize = 128 << 20

// openingRoom is what the engine needs besides the tables that it writes.
const openingRoom = 4 << 20

type engine struct {
	db    *badger.DB
	dir   string
	blobs *blobs
	space *space

	threshold int64 // size from which values lie in Badger's value log

	syncing sync.Mutex // held while syncing; guards logs
	logs    logFiles

	syncFile func(name string) error // replaced by tests

	// Badger's files are unmapped when it closes: nobody may be reading them then.
	using sync.WaitGroup
	mu    struct {
		sync.Mutex
		closed bool
	}
}

// enter keeps the engine open until leave is called, or returns kv.ErrClosed.
func (e *engine) enter() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.closed {
		return kv.ErrClosed
	}
	e.using.Add(1)
	return nil
}

func (e *engine) leave() { e.using.Done() }

var _ kv.Engine = (*engine)(nil)

// openBadger is badger.Open with its panics as errors: Badger takes what it reads from tables at the start for granted.
func openBadger(o badger.Options) (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the data is damaged: %v", p)
		}
	}()
	return badger.Open(o)
}

// memtableSize returns the size in bytes of a table that is being written, of which several are in memory. Badger
// addresses what is in it with 32 bits.
func memtableSize(memory int64) int64 { return min(max(memory/4, 8<<20), 1<<30) }

// Open opens or creates the engine in o.Dir. It returns kv.ErrLocked if another process has it open.
func Open(o Options) (kv.Engine, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Memory == 0 {
		o.Memory = 64 << 20
	}
	if o.Reserve == 0 {
		o.Reserve = DefaultReserve
	}
	keys := filepath.Join(o.Dir, "keys")
	if _, err := os.Stat(keys); errors.Is(err, fs.ErrNotExist) && o.Existing {
		return nil, kv.ErrNotFound
	}
	if err := os.MkdirAll(keys, 0o700); err != nil {
		return nil, err
	}
	// What a killed process left in the page cache only is about to be read as if it were durable: make it so.
	if err := syncLogs(keys); err != nil {
		return nil, fmt.Errorf("sync the logs of the last run: %w", err)
	}
	memtable := memtableSize(o.Memory)
	bo := badger.DefaultOptions(keys).
		WithLogger(badgerLogger{o.Logger}).
		WithMemTableSize(memtable).
		WithNumMemtables(3).
		WithNumLevelZeroTables(6).
		WithNumLevelZeroTablesStall(14).
		// Badger keeps buffers for several tables that it builds.
		WithBaseTableSize(min(memtable, 2<<20)).
		// Badger's iterators take a block whose checksum is wrong for the end of its table, in reads and in merges
		// alike: what lies behind it would be lost without a word. Unverified, damage stops the process instead.
		WithChecksumVerificationMode(options.NoVerification).
		WithNumCompactors(2).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithValueThreshold(min(1<<20, memtable/8)).
		WithValueLogFileSize(valueLogSize).
		WithNumVersionsToKeep(1).
		WithMetricsEnabled(false).
		WithDetectConflicts(true)
	room := newSpace(o.Dir, o.Reserve, o.Logger)
	// Opening writes down what the logs of the last run hold.
	logged, err := logsSize(keys)
	if err == nil {
		err = room.make(logged + openingRoom)
	}
	if err != nil {
		return nil, fmt.Errorf("open the key-value engine in %s: %w", keys, err)
	}
	err = checkManifest(bo)
	if torn := (*tornManifest)(nil); errors.As(err, &torn) && !o.Existing {
		o.Logger.Warn("engine: " + torn.Error())
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the key-value engine in %s: %w", keys, err)
	}
	db, err := openBadger(bo)
	if err != nil {
		if strings.Contains(err.Error(), "Cannot acquire directory lock") {
			return nil, fmt.Errorf("%w: %s", kv.ErrLocked, o.Dir)
		}
		return nil, fmt.Errorf("open the key-value engine in %s: %w", keys, err)
	}
	e := &engine{db: db, dir: keys, threshold: bo.ValueThreshold, space: room, syncFile: syncFile}
	if e.blobs, err = openBlobs(filepath.Join(o.Dir, "blobs"), e.space); err == nil {
		e.logs, _, err = findLogs(keys)
	}
	if err == nil {
		err = syncDir(o.Dir)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return e, nil
}

func (e *engine) Blobs() kv.Blobs { return e.blobs }

func (e *engine) Room() error { return e.space.check() }

func (e *engine) Space() (free, reserve uint64) {
	free, err := e.space.lately()
	if err != nil {
		return 0, e.space.reserve
	}
	return free, e.space.reserve
}

func (e *engine) Snapshot() (kv.Snapshot, error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	return &txn{e: e, t: e.db.NewTransaction(false)}, nil
}

func (e *engine) Update(ctx context.Context, fn func(kv.Tx) error) error {
	for try := 0; ; try++ {
		err := e.transact(fn)
		if !errors.Is(err, badger.ErrConflict) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		// Whoever won the conflict has committed, so progress is made; a short random pause lets losers part.
		time.Sleep(time.Duration(rand.Int64N(int64(min(try+1, 10)) * int64(100*time.Microsecond))))
	}
}

// transact runs fn in one transaction. It returns badger.ErrConflict if that lost against another.
func (e *engine) transact(fn func(kv.Tx) error) error {
	if err := e.enter(); err != nil {
		return err
	}
	t := &txn{e: e, t: e.db.NewTransaction(true)}
	defer t.Close()
	if err := e.space.checkFloor(); err != nil {
		return err
	}
	if err := fn(t); err != nil {
		return err
	}
	return translate(t.t.Commit())
}

func (e *engine) Usage(prefix []byte) uint64 {
	if e.enter() != nil {
		return 0
	}
	defer e.leave()
	size, inLog := e.db.EstimateSize(prefix)
	return size + inLog
}

func (e *engine) Verify() (err error) {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the data is damaged: %v", p)
		}
	}()
	if err := e.db.VerifyChecksum(); err != nil {
		return fmt.Errorf("the data is damaged: %w", err)
	}
	return nil
}

// Maintain rewrites value-log files of which at least half is garbage. Only values above the value threshold
// (very large documents) live there.
func (e *engine) Maintain(ctx context.Context) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	for ctx.Err() == nil && e.Room() == nil {
		if err := e.db.RunValueLogGC(0.5); err != nil {
			if errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrRejected) {
				return nil
			}
			return fmt.Errorf("collect the value log: %w", err)
		}
	}
	return nil
}

func (e *engine) Close() error {
	e.mu.Lock()
	closed := e.mu.closed
	e.mu.closed = true
	e.mu.Unlock()
	if closed {
		return nil
	}
	e.using.Wait()
	// Closing writes down what is in memory. Where there is no room for it, it stays in the logs.
	logged, err := logsSize(e.dir)
	if err == nil {
		err = e.space.make(logged + openingRoom)
	}
	if err != nil {
		return errors.Join(err, e.sync())
	}
	return errors.Join(e.sync(), e.db.Close())
}

// translate gives Badger's sentinels the seam's names. Badger wraps with %+v, so only bare sentinels are met here.
func translate(err error) error {
	switch {
	case err == nil, errors.Is(err, badger.ErrConflict):
		return err
	case errors.Is(err, badger.ErrKeyNotFound):
		return kv.ErrNotFound
	case errors.Is(err, badger.ErrTxnTooBig):
		return kv.ErrTooBig
	case errors.Is(err, badger.ErrDBClosed), errors.Is(err, badger.ErrBlockedWrites):
		return kv.ErrClosed
	}
	return err
}

// badgerLogger sends Badger's messages to slog; what Badger calls information is of use to its developers only.
type badgerLogger struct{ log *slog.Logger }

func (l badgerLogger) Errorf(f string, a ...any)   { l.log.Error(line(f, a)) }
func (l badgerLogger) Warningf(f string, a ...any) { l.log.Warn(line(f, a)) }
func (l badgerLogger) Infof(f string, a ...any)    { l.log.Debug(line(f, a)) }
func (l badgerLogger) Debugf(string, ...any)       {}

func line(f string, a []any) string { return "engine: " + strings.TrimSpace(fmt.Sprintf(f, a...)) }
