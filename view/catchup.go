package view

import (
	"context"
	"errors"
	"time"

	"github.com/mangrove-db/mangrove/storage"
)

// Bounds of what is committed at once.
const (
	commitRows  = 20_000
	commitBytes = 2 << 20
	commitAfter = 5 * time.Second // even if it is less
)

// catchUp brings the index to where a snapshot of now stands, and returns its sequence.
func (b *build) catchUp(ctx context.Context) (storage.Seq, error) {
	program, err := b.design.program()
	if err != nil {
		return 0, err
	}
	release, err := b.takeTurn(ctx)
	if err != nil {
		return 0, err
	}
	defer release()
	snap, err := b.target.db.Snapshot()
	if err != nil {
		return 0, err
	}
	defer snap.Close()
	state, err := stateIn(snap, b.index)
	if err != nil {
		return 0, err
	}
	if state.Stale {
		if err := b.index.Reset(ctx); err != nil {
			return 0, err
		}
		state = indexState{}
	}
	u := &updater{
		build: b, snap: snap, program: program, from: state.Seq, fresh: !state.Exists,
		update: storage.IndexUpdate{From: state.Seq, Seq: state.Seq, PurgeSeq: state.PurgeSeq, Fresh: !state.Exists},
	}
	if !state.Exists || state.Torn || state.Seq < snap.Seq() || state.PurgeSeq < snap.PurgeSeq() {
		if err := u.run(ctx, state); err != nil {
			return 0, err
		}
	}
	if !state.ready() {
		if err := b.index.Finish(ctx); err != nil {
			return 0, err
		}
	}
	return snap.Seq(), nil
}

// updater takes what a snapshot has that the index has not from the one to the other.
type updater struct {
	*build
	snap    *storage.Snapshot
	program Program
	task    *storage.Task
	from    storage.Seq
	fresh   bool // no document has rows yet

	// What is to be committed next.
	update storage.IndexUpdate
	rows   int
	bytes  int
	docs   uint64 // looked at since the last commit
	last   time.Time
}

func (u *updater) run(ctx context.Context, state indexState) error {
	total, err := u.snap.Pending(u.from)
	if err != nil {
		return err
	}
	u.task = u.x.store.BeginTask("indexer", u.target.db.Name(), u.design.ID)
	defer u.task.End()
	u.task.Advance(0, total)
	u.last = time.Now()
	purged, err := u.followPurges(ctx, state)
	if err != nil {
		return err
	}
	u.update.PurgeSeq = purged
	if err := u.mapAll(ctx); err != nil {
		return err
	}
	u.update.Seq = u.snap.Seq()
	return u.commit(ctx)
}

// followPurges takes out the rows of documents that were purged as a whole; those of which something is left are among
// the changes. It returns the sequence of the newest purge.
func (u *updater) followPurges(ctx context.Context, state indexState) (uint64, error) {
	newest := state.PurgeSeq
	gone := map[string]bool{} // a document can be purged more than once
	for p, err := range u.snap.Purges(ctx, state.PurgeSeq) {
		if err != nil {
			return 0, err
		}
		newest = p.Seq
		if u.fresh || gone[p.ID] {
			continue
		}
		_, err := u.snap.Lookup(p.ID)
		if err == nil {
			continue
		}
		if !errors.Is(err, storage.ErrNotFound) {
			return 0, err
		}
		gone[p.ID] = true
		u.update.Docs = append(u.update.Docs, storage.IndexDoc{ID: p.ID})
		if len(u.update.Docs) >= commitRows/10 {
			if err := u.commit(ctx); err != nil {
				return 0, err
			}
			clear(gone) // their rows are gone, too
		}
	}
	if len(u.update.Docs) > 0 {
		return newest, u.commit(ctx)
	}
	return newest, nil
}

// take adds what became of some documents to what is to be committed.
func (u *updater) take(ctx context.Context, p *part) error {
	full := u.rows > 0 && (u.rows+p.rows > commitRows || u.bytes+p.bytes > commitBytes)
	if full || time.Since(u.last) > commitAfter {
		if err := u.commit(ctx); err != nil {
			return err
		}
	}
	u.update.Docs = append(u.update.Docs, p.docs...)
	u.update.Seq = max(u.update.Seq, p.seq)
	u.rows += p.rows
	u.bytes += p.bytes
	u.docs += p.seen
	return nil
}

// commit writes what was taken, so that the index has everything up to the update's sequence.
func (u *updater) commit(ctx context.Context) error {
	if err := u.index.Commit(ctx, u.update); err != nil {
		return err
	}
	u.committed()
	u.update.From = u.update.Seq
	u.task.Advance(u.docs, 0)
	u.x.counters.mapped.Add(u.docs)
	clear(u.update.Docs)
	u.update.Docs = u.update.Docs[:0]
	u.rows, u.bytes, u.docs, u.last = 0, 0, 0, time.Now()
	return nil
}
