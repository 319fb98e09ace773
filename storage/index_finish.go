package storage

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// Finish makes the index of what was there and what has been added, which is everything up to the sequences. From then
// on readers see it.
func (b *IndexBuild) Finish(ctx context.Context, seq Seq, purgeSeq uint64) error {
	b.reached = reached{epoch: b.epoch, seq: seq, purgeSeq: purgeSeq}
	err := b.finish(ctx)
	switch {
	case errors.Is(err, ErrCorrupt):
		if b.alone() != nil {
			return ErrConflict
		}
		// What was saved is damaged: only what is in the documents can tell what it was.
		err = errors.Join(err, b.ix.Reset(ctx))
	case err != nil && ctx.Err() == nil:
		// Room may be what it failed for. If this fails too, the next build does it.
		_ = b.ix.removeNodes(ctx, b.keys, b.header, kv.Range{Start: b.keys.node(b.header.nextNode)})
	}
	return err
}

// alone returns ErrConflict if somebody else has changed the index since the build began.
func (b *IndexBuild) alone() error {
	s, err := b.ix.db.Snapshot()
	if err != nil {
		return err
	}
	defer s.Close()
	return hasHeader(s.kv, b.keys, b.header.append(nil))
}

func (b *IndexBuild) finish(ctx context.Context) (err error) {
	f := &buildEnd{IndexBuild: b, gone: removals{ctx: ctx, b: b}}
	defer func() {
		f.close()
		if err != nil {
			f.gone.remove()
		}
	}()
	if f.blobs, err = b.open(b.runs()); err != nil {
		return err
	}
	next := b.header.clone()
	f.nodes.Store(next.nextNode)
	// Which rows count depends on the notes.
	notes := len(next.spaces)
	made := make([]indexWrite, notes+1)
	if b.resumed {
		made[notes], err = f.section(ctx, notes, &next.notes)
		if err == nil {
			err = f.gone.sort()
		}
		if err == nil {
			f.goneBlobs, err = b.open(f.gone.runs)
		}
	}
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0)) // a design document may have very many views
	for _, i := range f.largestFirst(notes + 1) {
		h := &next.notes
		if i < notes {
			h = &next.spaces[i]
		} else if b.resumed {
			continue // they are done
		}
		g.Go(func() (err error) {
			made[i], err = f.section(gctx, i, h)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	// The rest of all trees and the header are written as one if they are small.
	var last indexWrite
	for _, w := range made {
		if last.size+w.size > indexCommitBytes {
			if err := b.ix.nodes(ctx, b.keys, b.header, last.sets); err != nil {
				return err
			}
			last = indexWrite{}
		}
		last.sets = append(last.sets, w.sets...)
		last.size += w.size
	}
	if b.header.notes.rows > 0 || len(f.blobs)+len(f.goneBlobs) > 0 {
		next.oldNodes = next.nextNode
	}
	next.nextNode = f.nodes.Load()
	next.reached, next.build, next.torn = b.reached, nil, nil
	err = b.ix.replace(ctx, b.keys, b.header, next, last.sets)
	if errors.Is(err, kv.ErrTooBig) {
		if err = b.ix.nodes(ctx, b.keys, b.header, last.sets); err == nil {
			err = b.ix.replace(ctx, b.keys, b.header, next, nil)
		}
	}
	if err != nil {
		return err
	}
	b.header, b.parts = next, nil
	f.close()
	// The index is good already: what cannot be removed now is removed by the next who writes to it.
	_, _ = b.ix.tidy(ctx, b.keys, &b.header)
	return nil
}

// buildEnd is the end of a build under way.
type buildEnd struct {
	*IndexBuild
	blobs     []kv.Blob // of the runs
	gone      removals
	goneBlobs []kv.Blob
	nodes     atomic.Uint64 // the next node's number
}

func (f *buildEnd) close() {
	closeBlobs(f.blobs)
	closeBlobs(f.goneBlobs)
	f.blobs, f.goneBlobs = nil, nil
}

// largestFirst orders trees so that those with the most to do are begun first.
func (f *buildEnd) largestFirst(n int) []int {
	order := make([]int, n)
	size := make([]int64, n)
	for i := range order {
		order[i] = i
		for _, p := range f.parts {
			size[i] += int64(len(p.sections[i]))
		}
		for _, run := range f.runs() {
			_, n := run.section(i)
			size[i] += n
		}
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(size[j], size[i]) })
	return order
}

// section makes the tree of a section and writes most of it; the rest is to be written by the caller. The header is that
// of the tree as it was, and becomes that of the new one.
func (f *buildEnd) section(ctx context.Context, i int, h *treeHeader) (indexWrite, error) {
	s, err := f.ix.db.Snapshot()
	if err != nil {
		return indexWrite{}, err
	}
	defer s.Close()
	m := &merge{}
	if h.rows > 0 {
		m.add(newWalker(ctx, &nodeReader{kv: s.kv, keys: f.keys}, h, IndexRange{}), 0)
	}
	for j, run := range f.runs() {
		m.add(run.reader(ctx, f.blobs[j], i), run.pass)
	}
	for _, r := range partReaders(ctx, f.parts, i) {
		m.add(r, f.pass)
	}
	l := &treeLoader{ctx: ctx, ix: f.ix, keys: f.keys, header: f.header, nodes: &f.nodes}
	if i == len(f.ix.spec.Spaces) {
		err = m.notes(l.add, f.gone.drop)
	} else {
		l.reducers = f.ix.spec.Spaces[i].Reducers
		for j, run := range f.gone.runs {
			m.remove(run.reader(ctx, f.goneBlobs[j], i))
		}
		for _, r := range partReaders(ctx, f.gone.parts, i) {
			m.remove(r)
		}
		for err == nil && m.next() {
			err = l.add(m.row())
		}
		err = cmp.Or(err, m.err)
	}
	if err != nil {
		return indexWrite{}, err
	}
	*h, err = l.end(h.reducers)
	return l.w, err
}
