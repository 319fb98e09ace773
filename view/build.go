package view

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// build brings one index up to date, for all who want that. It goes on until the index shows what the last of them
// wants to see.
type build struct {
	x       *Indexer
	target  target
	design  *Design
	index   *storage.Index
	waiting atomic.Int32
	done    chan struct{} // closed at the end; err is set before
	err     error

	// Under the indexer's lock:
	want storage.Seq
	pass chan struct{} // closed whenever the index has caught up with a snapshot and goes on, and made anew
	step chan struct{} // closed whenever something was committed, and made anew
}

// failure is why an index cannot be built: a document that a function ran away with. It counts until the document
// changes, or for some time.
type failure struct {
	err error
	doc string
	rev revtree.ID
	at  time.Time
}

const (
	failurePause = time.Minute
	maxFailures  = 1000
)

// documentError is an error of mapping a document.
type documentError struct {
	err error
	doc string
	rev revtree.ID
}

func (e *documentError) Error() string { return e.err.Error() }
func (e *documentError) Unwrap() error { return e.err }

// update waits until the index of d shows what is in the database now.
func (x *Indexer) update(ctx context.Context, db *storage.DB, d *Design) error {
	if len(d.Spaces) == 0 {
		return nil
	}
	var want storage.Seq
	for first := true; ; first = false {
		state, seq, err := x.state(db, d)
		if err != nil {
			return err
		}
		if first {
			want = seq
		}
		if state.ready() && state.Seq >= want {
			return nil
		}
		if err := x.failed(target{db, d.Signature}); err != nil {
			return err
		}
		b, pass := x.join(db, d, want)
		b.waiting.Add(1)
		select {
		case <-pass:
		case <-b.done:
			err = b.err
		case <-ctx.Done():
			err = ctx.Err()
		}
		b.waiting.Add(-1)
		if err != nil {
			return err
		}
	}
}

// indexState is the state of an index, which may not exist.
type indexState struct {
	storage.IndexState
	purges    bool   // there are some that it does not reflect
	documents uint64 // that have rows, about
}

func (s indexState) ready() bool {
	return s.Exists && !s.Stale && !s.Torn && !s.Unfinished && !s.purges
}

// state returns the state of an index, and the sequence of the database.
func (x *Indexer) state(db *storage.DB, d *Design) (indexState, storage.Seq, error) {
	snap, err := db.Snapshot()
	if err != nil {
		return indexState{}, 0, err
	}
	defer snap.Close()
	s, err := stateIn(snap, d.index(db))
	return s, snap.Seq(), err
}

func stateIn(snap *storage.Snapshot, ix *storage.Index) (indexState, error) {
	r, err := snap.Index(ix)
	if errors.Is(err, storage.ErrNotFound) {
		return indexState{}, nil
	}
	if err != nil {
		return indexState{}, err
	}
	return indexState{r.State(), r.State().PurgeSeq < snap.PurgeSeq(), r.Documents()}, nil
}

// join has an index built until it shows everything up to want, unless it is being built already. The channel is closed
// when the index has caught up with some snapshot.
func (x *Indexer) join(db *storage.DB, d *Design, want storage.Seq) (*build, <-chan struct{}) {
	t := target{db, d.Signature}
	x.mu.Lock()
	defer x.mu.Unlock()
	b := x.builds[t]
	if b == nil {
		b = &build{x: x, target: t, design: d, index: d.index(db), done: make(chan struct{}), pass: make(chan struct{}), step: make(chan struct{})}
		x.builds[t] = b
		go b.run()
	}
	b.want = max(b.want, want)
	return b, b.pass
}

// mend waits until the build of an index, of which a document's rows are partly replaced, has come a step further. It
// starts the build if none runs: then the process ended in the midst of it.
func (x *Indexer) mend(ctx context.Context, db *storage.DB, d *Design) error {
	if err := x.failed(target{db, d.Signature}); err != nil {
		return err
	}
	b, _ := x.join(db, d, 0)
	x.mu.Lock()
	step := b.step
	x.mu.Unlock()
	select {
	case <-step:
		return nil
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// committed tells those who wait for a step.
func (b *build) committed() {
	b.x.mu.Lock()
	defer b.x.mu.Unlock()
	close(b.step)
	b.step = make(chan struct{})
}

// seize keeps an index from being built until release is called, or returns false if it is being built.
func (x *Indexer) seize(t target) (release func(), ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.builds[t] != nil {
		return nil, false
	}
	b := &build{x: x, target: t, done: make(chan struct{}), pass: make(chan struct{})}
	x.builds[t] = b
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.builds, t)
		close(b.done)
	}, true
}

// run builds until nobody wants more.
func (b *build) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-b.target.db.Ended():
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		reached, err := b.catchUp(ctx)
		b.x.counters.builds.Add(1)
		if err != nil {
			b.x.counters.failed.Add(1)
		}
		if b.end(reached, err) {
			return
		}
	}
}

// end tells those who wait how far the build has come, and whether that was the end of it.
func (b *build) end(reached storage.Seq, err error) bool {
	x := b.x
	x.mu.Lock()
	defer x.mu.Unlock()
	if err == nil && b.want > reached {
		close(b.pass)
		b.pass = make(chan struct{})
		return false
	}
	if err != nil {
		select {
		case <-b.target.db.Ended():
			// The database says better why.
			if _, gone := b.target.db.Info(); gone != nil {
				err = gone
			}
		default:
			x.log.Warn("building an index failed", "database", b.target.db.Name(), "design", b.design.ID, "error", err)
		}
	}
	delete(x.failures, b.target)
	if e, ok := errors.AsType[*documentError](err); ok {
		err = e.err
		for t := range x.failures {
			if len(x.failures) < maxFailures {
				break
			}
			delete(x.failures, t)
		}
		x.failures[b.target] = failure{err: err, doc: e.doc, rev: e.rev, at: time.Now()}
	}
	b.err = err
	delete(x.builds, b.target)
	close(b.done)
	return true
}

// failed returns why an index cannot be built, if it could not a moment ago for a document that has not changed since.
func (x *Indexer) failed(t target) error {
	x.mu.Lock()
	f, ok := x.failures[t]
	x.mu.Unlock()
	if !ok || time.Since(f.at) > failurePause {
		return nil
	}
	snap, err := t.db.Snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	row, err := snap.Lookup(f.doc)
	if err == nil && row.Rev == f.rev {
		return f.err
	}
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	return nil
}
