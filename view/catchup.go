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

// A bulk build is worth its while for more changes than this, if they are more than a part of what is in the index.
const (
	bulkLeast = 5000
	bulkPart  = 8
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
	if state.ready() && state.Seq >= snap.Seq() {
		return snap.Seq(), nil
	}
	u := &updater{
		build: b, snap: snap, program: program, from: state.Seq, purged: state.PurgeSeq, batch: editBatch,
		update: storage.IndexUpdate{From: state.Seq, Seq: state.Seq, PurgeSeq: state.PurgeSeq},
	}
	pending, err := snap.Pending(state.Seq)
	if err != nil {
		return 0, err
	}
	if !state.Exists || state.Unfinished || pending > bulkLeast && pending > state.documents/bulkPart {
		if u.bulk, err = b.index.Build(ctx); err != nil {
			return 0, err
		}
		u.from, u.purged = u.bulk.Seq()
		u.fresh = !u.bulk.Resumed()
		if pending > bulkLeast {
			u.batch = bulkBatch
		}
	}
	return snap.Seq(), u.run(ctx)
}

// updater takes what a snapshot has that the index has not from the one to the other.
type updater struct {
	*build
	snap    *storage.Snapshot
	program Program
	task    *storage.Task
	from    storage.Seq
	purged  uint64              // the sequence of purges that were followed
	bulk    *storage.IndexBuild // nil: rows are changed where they are
	fresh   bool                // no document has rows yet
	batch   batch

	// What is to be committed next, unless this is a bulk build.
	update storage.IndexUpdate
	rows   int
	bytes  int
	docs   uint64 // looked at since the last commit
	last   time.Time
}

func (u *updater) run(ctx context.Context) error {
	total, err := u.snap.Pending(u.from)
	if err != nil {
		return err
	}
	u.task = u.x.store.BeginTask("indexer", u.target.db.Name(), u.design.ID)
	defer u.task.End()
	u.task.Advance(0, total)
	u.last = time.Now()
	if err := u.followPurges(ctx); err != nil {
		return err
	}
	if err := u.mapAll(ctx); err != nil {
		return err
	}
	if u.bulk != nil {
		if err := u.bulk.Finish(ctx, u.snap.Seq(), u.purged); err != nil {
			return err
		}
		u.committed()
		return nil
	}
	u.update.Seq = u.snap.Seq()
	return u.commit(ctx)
}

// followPurges takes out the rows of documents that were purged as a whole; those of which something is left are among
// the changes.
func (u *updater) followPurges(ctx context.Context) error {
	newest := u.purged
	gone := map[string]bool{} // a document can be purged more than once
	var docs []storage.IndexDoc
	flush := func() error {
		p := &part{docs: docs, seq: u.from}
		docs = nil
		if u.bulk != nil {
			p.sorted = u.bulk.Part(p.docs)
			return u.take(ctx, p)
		}
		if err := u.take(ctx, p); err != nil {
			return err
		}
		return u.commit(ctx)
	}
	for p, err := range u.snap.Purges(ctx, u.purged) {
		if err != nil {
			return err
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
			return err
		}
		gone[p.ID] = true
		if docs = append(docs, storage.IndexDoc{ID: p.ID}); len(docs) >= commitRows/10 {
			if err := flush(); err != nil {
				return err
			}
			if u.bulk == nil {
				clear(gone) // their rows are gone, too
			}
		}
	}
	if len(docs) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	u.purged, u.update.PurgeSeq = newest, newest
	return nil
}

// take adds what became of some documents to what is to be committed.
func (u *updater) take(ctx context.Context, p *part) error {
	if u.bulk != nil {
		u.task.Advance(p.seen, 0)
		u.x.counters.mapped.Add(p.seen)
		return u.bulk.Add(ctx, p.sorted, p.seq, u.purged)
	}
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

// save keeps what was taken, whatever comes next.
func (u *updater) save(ctx context.Context) error {
	if u.bulk != nil {
		return u.bulk.Save(ctx)
	}
	return u.commit(ctx)
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
