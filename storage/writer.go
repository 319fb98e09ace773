package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mangrove-db/mangrove/internal/histogram"
	"github.com/mangrove-db/mangrove/storage/kv"
)

// request is the writes of one caller. Its results are the caller's when done is closed.
type request struct {
	results []Result
	err     error
	pending atomic.Int64 // documents that are not durable yet
	done    chan struct{}

	failing sync.Mutex // guards err until done is closed
}

// finish takes n documents off what is pending.
func (r *request) finish(n int, err error) {
	if err != nil {
		r.failing.Lock()
		if r.err == nil {
			r.err = err
		}
		r.failing.Unlock()
	}
	if r.pending.Add(-int64(n)) == 0 {
		close(r.done)
	}
}

// writer commits the edits of one database, whoever sends them, a group at a time: everything that waits when the
// one before has been handed on. It has a goroutine only while there is work. Up to two groups may be committed and
// not yet synced, so that the next transaction is made while the disk is busy with the last one.
type writer struct {
	db    *DB
	slots chan struct{}

	mu struct {
		sync.Mutex
		queue   []item
		running bool
		why     error // set when the database goes away
	}
}

// A group holds about this much at most: well below what the engine commits at once, and small enough that the
// first caller does not wait for long.
const (
	groupDocs  = 2000
	groupBytes = 1 << 20
)

// add queues items, or returns why the database takes none any more.
func (w *writer) add(items []item) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.why != nil {
		return w.mu.why
	}
	w.mu.queue = append(w.mu.queue, items...)
	if !w.mu.running {
		w.mu.running = true
		w.db.store.working.Go(w.run)
	}
	return nil
}

// close makes add return why.
func (w *writer) close(why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.why = why
}

func (w *writer) run() {
	for {
		w.slots <- struct{}{}
		group := w.take()
		if group == nil {
			<-w.slots
			return
		}
		w.commit(group)
	}
}

// take removes the next group from the queue, or ends the run of the writer.
func (w *writer) take() []item {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, bytes := 0, 0
	for n < len(w.mu.queue) && n < groupDocs && (n == 0 || bytes < groupBytes) {
		bytes += w.mu.queue[n].size()
		n++
	}
	if n == 0 {
		w.mu.queue, w.mu.running = nil, false
		return nil
	}
	group := w.mu.queue[:n:n]
	w.mu.queue = w.mu.queue[n:]
	return group
}

// commit writes a group, and hands it on to be synced. It gives back the slot itself if that fails.
func (w *writer) commit(group []item) {
	seq, err := w.transact(group)
	if errors.Is(err, kv.ErrTooBig) && len(group) > 1 {
		half := len(group) / 2
		w.commit(group[:half])
		w.slots <- struct{}{}
		w.commit(group[half:])
		return
	}
	if errors.Is(err, kv.ErrTooBig) {
		*group[0].result = Result{ID: group[0].doc.ID, Err: ErrTooLarge}
		err = nil
	}
	if err != nil {
		finish(group, outer(err))
		<-w.slots
		return
	}
	w.db.store.counters.groups.Observe(uint64(len(group)))
	w.db.store.syncer.add(func(err error) {
		if err == nil {
			w.db.advance(seq)
		}
		finish(group, err)
		<-w.slots
	})
}

func finish(group []item, err error) {
	for len(group) > 0 {
		r, n := group[0].request, 1
		for n < len(group) && group[n].request == r {
			n++
		}
		r.finish(n, err)
		group = group[n:]
	}
}

// transact writes a group in one transaction and returns the update sequence behind it.
func (w *writer) transact(group []item) (Seq, error) {
	db := w.db
	// When the store closes, what it has taken is still written.
	if err := db.gone(); err != nil && !errors.Is(err, ErrClosed) {
		return 0, err
	}
	if err := db.store.changeable(); err != nil {
		return 0, err
	}
	db.turn.Lock()
	defer db.turn.Unlock()
	var b batch
	var changed bool
	err := db.store.engine.Update(context.Background(), func(tx kv.Tx) error {
		if err := db.alive(tx); err != nil {
			return err
		}
		st, err := db.readState(tx)
		if err != nil {
			return err
		}
		b = batch{db: db, tx: tx, state: st}
		if err := b.enterEpoch(); err != nil {
			return err
		}
		for i := range group {
			if group[i].doc == nil {
				continue // somebody waits for those before
			}
			if err := b.put(&group[i]); err != nil {
				return err
			}
		}
		if changed = b.state != st; !changed {
			return nil
		}
		if err := db.applyRanks(tx, &b.ranks); err != nil {
			return err
		}
		return tx.Set(db.keys.meta(metaState), b.state.append(nil))
	})
	if err != nil {
		return 0, err
	}
	if b.generation.read { // what was validated against older ones comes again
		raise(&db.designs, b.generation.number)
	}
	if changed {
		db.store.updates.note(db.name, UpdateChanged)
		if err := db.cutRanks(); err != nil {
			// Counting goes on in ranges that are too large, only more slowly; the next commit tries again.
			db.store.log.Warn("cutting counted ranges failed", "db", db.name, "error", err)
		}
		db.autoCompact(&b.state)
	}
	return b.state.seq, nil
}

// enterEpoch notes the first write after an unclean start.
func (b *batch) enterEpoch() error {
	now := b.db.store.epoch
	if b.state.epoch == now {
		return nil
	}
	value, err := b.tx.Get(b.db.keys.meta(metaEpochs))
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	es, err := parseEpochs(value)
	if err != nil {
		return err
	}
	b.state.epoch = now
	es = append(es, epoch{now, b.state.seq})
	return b.tx.Set(b.db.keys.meta(metaEpochs), appendEpochs(nil, es))
}

// syncer makes commits durable: one sync for whatever has been committed when it begins.
type syncer struct {
	engine kv.Engine
	times  *histogram.Histogram // in microseconds
	wake   chan struct{}
	ended  chan struct{}

	mu struct {
		sync.Mutex
		waiting []func(error)
		failed  error
		closed  bool
	}
}

func newSyncer(e kv.Engine, times *histogram.Histogram) *syncer {
	s := &syncer{engine: e, times: times, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go s.run()
	return s
}

// add has done called after the next sync that begins from now on.
func (s *syncer) add(done func(error)) {
	s.mu.Lock()
	s.mu.waiting = append(s.mu.waiting, done)
	s.mu.Unlock()
	s.signal()
}

func (s *syncer) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// close syncs what still waits and ends. Nothing may be added afterwards.
func (s *syncer) close() {
	s.mu.Lock()
	s.mu.closed = true
	s.mu.Unlock()
	s.signal()
	<-s.ended
}

// failure returns why the store takes no more writes. After a failed sync nobody knows what of the page cache has
// reached the disk, so that only a restart, which reads what is there, makes writes safe again.
func (s *syncer) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.failed
}

// sync syncs at once.
func (s *syncer) sync() error {
	if err := s.failure(); err != nil {
		return err
	}
	began := time.Now()
	err := s.engine.Sync()
	if err == nil || errors.Is(err, kv.ErrClosed) {
		s.times.Observe(uint64(time.Since(began).Microseconds()))
		return err
	}
	err = fmt.Errorf("a sync failed, restart the node: %w", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.failed = err
	return err
}

func (s *syncer) run() {
	defer close(s.ended)
	for range s.wake {
		s.mu.Lock()
		waiting, err, closed := s.mu.waiting, s.mu.failed, s.mu.closed
		s.mu.waiting = nil
		s.mu.Unlock()
		if len(waiting) > 0 && err == nil {
			err = s.sync()
		}
		for _, done := range waiting {
			done(err)
		}
		if closed {
			return
		}
	}
}
