package storage

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// Finish makes the trees of an index that was built without them, in one pass over its rows. It does nothing to an index
// that is whole. Readers walk until it is done. Like Commit it must not run beside others that write to the index; if
// they do, it returns ErrConflict.
func (ix *Index) Finish(ctx context.Context) error {
	s, err := ix.db.Snapshot()
	if err != nil {
		return err
	}
	defer s.Close()
	keys, h, err := ix.lookup(s.kv)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !h.bare {
		return nil
	}
	if err := ix.db.store.roomy(); err != nil {
		return err
	}
	c := &indexCommit{ctx: ctx, ix: ix, keys: keys, header: h, kept: &keptNodes{}}
	next := h.clone()
	next.bare = false
	var nodes atomic.Uint64
	nodes.Store(h.nextNode)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0)) // a design document may have very many views
	for i := range next.spaces {
		g.Go(func() error {
			b := &treeBuild{ctx: gctx, ix: ix, keys: keys, space: i, nodes: &nodes}
			return b.build(&next.spaces[i])
		})
	}
	if err := g.Wait(); err != nil {
		return outer(err)
	}
	next.nextNode = nodes.Load()
	return outer(c.write(&indexWrite{header: next}))
}

// treeBuild makes the tree of one space from its rows, from the left to the right.
type treeBuild struct {
	ctx   context.Context
	ix    *Index
	keys  keyspace
	space int
	nodes *atomic.Uint64 // the next node's number
	u     *treeUpdate

	run    []positionedRow
	levels [][]treeEntry // what waits to become a node, from the lowest level on
	w      indexWrite
}

func (b *treeBuild) build(h *spaceHeader) error {
	s, err := b.ix.db.Snapshot()
	if err != nil {
		return err
	}
	defer s.Close()
	b.u = &treeUpdate{ctx: b.ctx, reducers: b.ix.spec.Spaces[b.space].Reducers}
	r := &IndexReader{snap: s, spaces: b.ix.spec.Spaces, keys: b.keys}
	w := r.walk(b.ctx, b.space, IndexRange{})
	defer w.close()
	for w.next() {
		p := positionedRow{position: bytes.Clone(w.position())}
		if len(b.u.reducers) > 0 {
			if p.row, err = w.copy(); err != nil {
				return err
			}
		}
		if b.run = append(b.run, p); len(b.run) == runRows {
			if err := b.endRun(); err != nil {
				return err
			}
		}
	}
	if w.err != nil {
		return w.err
	}
	if err := b.endRun(); err != nil {
		return err
	}
	if err := b.top(h); err != nil {
		return err
	}
	return b.flush()
}

// endRun makes a run of the rows that wait.
func (b *treeBuild) endRun() error {
	entries, err := b.u.runs(nil, b.run)
	if err != nil || len(entries) == 0 {
		return err
	}
	e := entries[0]
	if len(b.levels) > 0 { // not the first run of all
		e.start = b.run[0].position
	}
	clear(b.run)
	b.run = b.run[:0]
	return b.add(0, e)
}

// add appends an entry to what waits on a level, and makes a node of that if it is enough for one.
func (b *treeBuild) add(level int, e treeEntry) error {
	if level == len(b.levels) {
		b.levels = append(b.levels, nil)
	}
	b.levels[level] = append(b.levels[level], e)
	if len(b.levels[level]) < nodeFill() {
		return nil
	}
	return b.endNode(level)
}

func (b *treeBuild) endNode(level int) error {
	entries := b.levels[level]
	e, err := b.u.sum(entries)
	if err != nil {
		return err
	}
	e.start, e.child = entries[0].start, b.nodes.Add(1)-1
	n := treeNode{level: level + 1, entries: entries}
	b.w.set(b.keys.node(e.child), n.append(nil))
	clear(entries)
	b.levels[level] = entries[:0]
	if b.w.size > indexCommitBytes {
		if err := b.flush(); err != nil {
			return err
		}
	}
	return b.add(level+1, e)
}

// top makes nodes of what still waits, up to the root.
func (b *treeBuild) top(h *spaceHeader) error {
	h.root, h.height = 0, 0
	for level := 0; level < len(b.levels); level++ {
		waiting := b.levels[level]
		last := level == len(b.levels)-1
		if last && level > 0 && len(waiting) == 1 {
			h.root, h.height = waiting[0].child, uint64(level)
			return nil
		}
		if len(waiting) > 0 {
			if err := b.endNode(level); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush writes the nodes that were made. Nobody reads them before the header names their root.
func (b *treeBuild) flush() error {
	if len(b.w.sets) == 0 {
		return nil
	}
	if err := b.ix.db.store.roomy(); err != nil {
		return err
	}
	err := b.ix.db.store.engine.Update(b.ctx, func(tx kv.Tx) error {
		// An index that was dropped meanwhile must not get new keys.
		if _, err := tx.Get(b.keys.header()); err != nil {
			return err
		}
		for _, s := range b.w.sets {
			if err := tx.Set(s.key, s.value); err != nil {
				return err
			}
		}
		return nil
	})
	b.w = indexWrite{}
	return outer(err)
}
