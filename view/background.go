package view

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mangrove-db/mangrove/storage"
)

const (
	// backgroundPause is how long database updates are gathered before indexes follow them.
	backgroundPause = time.Second
	// orphanPause is how long an index is kept that no design document names and nobody uses: perhaps the design
	// document is about to come back, or a replaced one's readers have not noticed yet.
	orphanPause = 10 * time.Minute
	// backgroundBuilds is how many databases are looked after at once, so that a large one does not keep all others
	// waiting.
	backgroundBuilds = 2
)

// Serve builds indexes in the background, as CouchDB's ken does: at first those of all databases that are behind, then
// of each database that changes. Indexes that no design document names any more are removed some time after those that
// are named have been built. It returns when ctx ends.
func (x *Indexer) Serve(ctx context.Context) {
	q := &queue{known: map[string]bool{}, wake: make(chan struct{}, 1), length: &x.counters.queued}
	var workers sync.WaitGroup
	for range backgroundBuilds {
		workers.Go(func() { q.work(ctx, func(name string) { x.refresh(ctx, name) }) })
	}
	defer workers.Wait()
	since := x.store.UpdateSeq()
	for name, err := range x.store.Names(storage.NameRange{Limit: -1}) {
		if err != nil {
			x.log.Warn("listing databases failed", "error", err)
			break
		}
		q.add(name)
	}
	for ctx.Err() == nil {
		since = x.follow(ctx, q, since)
	}
}

// follow waits for database updates after since and queues the databases.
func (x *Indexer) follow(ctx context.Context, q *queue, since uint64) uint64 {
	wait, cancel := ctx, func() {}
	if x.hasOrphans() {
		wait, cancel = context.WithTimeout(ctx, orphanPause/2)
	}
	err := x.store.WaitUpdate(wait, since)
	cancel()
	x.dropOrphans(ctx)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
			pause(ctx, backgroundPause) // the store is closing
		}
		return since
	}
	for u, err := range x.store.Updates(since, false) {
		if err != nil {
			x.log.Warn("reading database updates failed", "error", err)
			break
		}
		since = u.Seq
		if u.Kind != storage.UpdateDeleted {
			q.add(u.Name)
		}
	}
	pause(ctx, backgroundPause)
	return since
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// refresh brings the indexes of a database up to date.
func (x *Indexer) refresh(ctx context.Context, name string) {
	db, err := x.store.DB(name)
	if err != nil {
		return
	}
	snap, err := db.Snapshot()
	if err != nil {
		return
	}
	designs, _, err := x.designsOf(ctx, snap)
	snap.Close()
	for _, d := range designs {
		if ctx.Err() != nil {
			return
		}
		if !d.Autoupdate {
			continue
		}
		// What fails is logged by the build, and heard of by those who query.
		if _, err := d.program(); err == nil {
			_ = x.update(ctx, db, d)
		}
	}
	if err != nil {
		return
	}
	signatures, err := x.unnamed(ctx, db)
	if err != nil || len(signatures) == 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range signatures {
		t := target{db, s}
		if _, ok := x.orphans[t]; !ok {
			x.orphans[t] = time.Now()
		}
	}
}

func (x *Indexer) hasOrphans() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.orphans) > 0
}

// dropOrphans removes the indexes that nobody has named or used for a while.
func (x *Indexer) dropOrphans(ctx context.Context) {
	var due []target
	x.mu.Lock()
	for t, since := range x.orphans {
		if time.Since(since) > orphanPause {
			due = append(due, t)
			delete(x.orphans, t)
		}
	}
	x.mu.Unlock()
	for _, t := range due {
		signatures, err := x.unnamed(ctx, t.db)
		if err != nil {
			continue // the database is gone, or will be looked at again when it changes
		}
		for _, s := range signatures {
			if s != t.signature {
				continue
			}
			if err := x.drop(ctx, t); err != nil {
				x.log.Warn("removing an index failed", "database", t.db.Name(), "signature", s, "error", err)
			}
		}
	}
}

// queue is names of databases that wait to be looked after, each once.
type queue struct {
	mu     sync.Mutex
	names  []string
	known  map[string]bool
	wake   chan struct{}
	length *atomic.Int64 // of names, for others to see
}

func (q *queue) add(name string) {
	q.mu.Lock()
	if !q.known[name] {
		q.known[name] = true
		q.names = append(q.names, name)
		q.length.Add(1)
	}
	q.mu.Unlock()
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next takes a name off the queue; more tells whether others wait.
func (q *queue) next() (name string, more, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.names) == 0 {
		q.names = nil
		return "", false, false
	}
	name = q.names[0]
	q.names = q.names[1:]
	delete(q.known, name)
	q.length.Add(-1)
	return name, len(q.names) > 0, true
}

// work calls f with each name until ctx ends.
func (q *queue) work(ctx context.Context, f func(name string)) {
	for {
		select {
		case <-q.wake:
		case <-ctx.Done():
			return
		}
		for ctx.Err() == nil {
			name, more, ok := q.next()
			if !ok {
				break
			}
			if more {
				q.signal()
			}
			f(name)
		}
	}
}
