package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage/kv"
)

// Compaction forgets the bodies of superseded revisions: those of ancestors, but for the merge bases of documents
// with several live leaves, which a three-way merge needs. Superseded bodies all lie in the body space, so that its
// cost grows with the garbage, not with the database. Afterwards it sweeps attachments that no revision has any
// more, and purges that are to be forgotten.

// Auto-compaction starts when superseded bodies take up more than what is live, and more than this.
const staleLimit = 8 << 20

// compactBatch is the number of bodies that one transaction of compaction looks at.
const compactBatch = 200

// Compact starts compaction in the background, unless it runs already.
func (db *DB) Compact() error {
	if err := db.gone(); err != nil {
		return err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.mu.compacting {
		return nil
	}
	db.mu.compacting = true
	db.store.work(func(ctx context.Context) {
		if err := db.compact(ctx); err != nil && ctx.Err() == nil && db.gone() == nil && !errors.Is(err, ErrNoDatabase) {
			db.store.log.Error("compaction failed", "db", db.name, "error", err)
		}
		db.mu.Lock()
		db.mu.compacting = false
		db.mu.Unlock()
	})
	return nil
}

func (db *DB) autoCompact(st *state) {
	if st.stale > staleLimit && st.stale > st.active {
		// Only a database that is going away refuses, and it needs no compaction.
		_ = db.Compact()
	}
}

func (db *DB) compact(ctx context.Context) error {
	task := db.store.tasks.begin("database_compaction", db.name)
	defer task.End()
	snap, err := db.Snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	if err := db.compactBodies(ctx, snap, task); err != nil {
		return err
	}
	err = db.transact(ctx, func(_ kv.Tx, st *state) error { sub(&st.stale, snap.state.stale); return nil })
	if err == nil {
		err = db.forgetPurges(ctx)
	}
	if err == nil {
		err = db.sweepAttachments(ctx, time.Now().Add(-stagingTime))
	}
	if err == nil {
		err = db.store.Sync()
	}
	return err
}

// docBodies are bodies of one document.
type docBodies struct {
	id   string
	revs []revtree.ID
}

// compactBodies walks over the body space of the snapshot.
func (db *DB) compactBodies(ctx context.Context, snap *Snapshot, task *Task) error {
	it := snap.kv.Iterate(kv.Range{Prefix: db.keys.space(spaceBody, 0)})
	defer it.Close()
	var docs []docBodies
	n := 0
	flush := func() error {
		err := db.compactDocs(ctx, docs)
		task.Advance(uint64(n), 0)
		docs, n = docs[:0], 0
		return err
	}
	for it.Next() {
		id, rev, ok := parseBody(it.Key())
		if !ok {
			return corrupt("body key", nil)
		}
		// A document may have more bodies than one transaction can remove.
		if n == compactBatch {
			if err := flush(); err != nil {
				return err
			}
		}
		if len(docs) == 0 || docs[len(docs)-1].id != id {
			docs = append(docs, docBodies{id: id})
		}
		last := &docs[len(docs)-1]
		last.revs = append(last.revs, rev)
		n++
	}
	if err := it.Err(); err != nil {
		return outer(err)
	}
	return flush()
}

func (db *DB) compactDocs(ctx context.Context, docs []docBodies) error {
	if len(docs) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := db.transact(ctx, func(tx kv.Tx, st *state) error {
		b := &batch{db: db, tx: tx, state: *st}
		for _, d := range docs {
			if err := b.compact(d.id, d.revs); err != nil {
				return err
			}
		}
		*st = b.state
		return nil
	})
	if !errors.Is(err, kv.ErrTooBig) {
		return err
	}
	var first, second []docBodies
	switch d := docs[0]; {
	case len(docs) > 1:
		first, second = docs[:len(docs)/2], docs[len(docs)/2:]
	case len(d.revs) > 1:
		first = []docBodies{{d.id, d.revs[:len(d.revs)/2]}}
		second = []docBodies{{d.id, d.revs[len(d.revs)/2:]}}
	default:
		return err
	}
	if err := db.compactDocs(ctx, first); err != nil {
		return err
	}
	return db.compactDocs(ctx, second)
}

// compact drops those of revs that are superseded, or that the document has forgotten.
func (b *batch) compact(id string, revs []revtree.ID) error {
	old, err := b.load(id)
	if err != nil {
		return err
	}
	bases := old.tree.MergeBases()
	tree, changed := old.tree, false
	var gone []revtree.ID
	for _, rev := range revs {
		i, known := old.tree.Find(rev)
		if known {
			n := old.tree.Node(i)
			if n.Kept && (old.tree.IsLeaf(i) || slices.Contains(bases, i)) {
				continue
			}
			if n.Kept {
				n.Kept = false
				tree, changed = tree.With(i, n), true
			}
		}
		gone = append(gone, rev)
	}
	if len(gone) == 0 {
		return nil
	}
	next, err := b.prune(id, &old, tree, gone)
	if err != nil || !changed {
		return err
	}
	return b.save(id, &old, next)
}

// forgetPurges removes the oldest purges above the limit.
func (db *DB) forgetPurges(ctx context.Context) error {
	limit, err := db.PurgedInfosLimit()
	if err != nil {
		return err
	}
	snap, err := db.Snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	if snap.state.purgeSeq <= uint64(limit) {
		return nil
	}
	oldest := snap.state.purgeSeq - uint64(limit) + 1
	for {
		keys, err := db.store.someKeys(kv.Range{Prefix: db.keys.space(spacePurge, 0)})
		if err != nil {
			return err
		}
		n := 0
		for n < len(keys) && binary.BigEndian.Uint64(keys[n][spacePrefixLen:]) < oldest {
			n++
		}
		if n == 0 {
			return nil
		}
		err = db.transact(ctx, func(tx kv.Tx, _ *state) error {
			for _, k := range keys[:n] {
				if err := tx.Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// maintain lets the engine free what it can, now and then.
func (s *Store) maintain(ctx context.Context) {
	tick := time.NewTicker(10 * time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		task := s.tasks.begin("value_log_collection", "")
		if err := s.engine.Maintain(ctx); err != nil {
			s.log.Warn("freeing space failed", "error", err)
		}
		task.End()
	}
}
