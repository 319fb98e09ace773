package view

import (
	"context"
	"errors"
	"runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// The stages of a build: one goroutine reads changes and their documents in the order of sequences and gathers them into
// chunks; mappers take a chunk each and turn it into parts, which are rows of a bounded size; and the one that commits
// takes the parts of one chunk after the other. A mapper whose part nobody takes yet waits with the next, so that what
// is in flight is bounded: documents by inFlight, rows by the number of chunks.
const inFlight = 16 << 20 // bytes of documents

// batch is how much goes into a chunk, and into a part.
type batch struct{ docs, chunk, part int }

var (
	editBatch = batch{128, 256 << 10, 512 << 10}
	// Parts of a bulk build are sorted, and merged at the end: few are better than many.
	bulkBatch = batch{4096, 2 << 20, 4 << 20}
)

// chunk is documents on their way to a mapper.
type chunk struct {
	sources []source
	bytes   int64
	seq     storage.Seq // of the last
	seen    uint64      // changes, with those that need no mapper
	parts   chan *part  // closed by the mapper after the last
}

// source is one document.
type source struct {
	doc                document.Document
	gone               bool // it has no rows
	seq                storage.Seq
	conflicts, deleted []revtree.ID
}

// part is what some documents were turned into.
type part struct {
	docs        []storage.IndexDoc
	sorted      *storage.IndexPart // instead of docs, in a bulk build
	seq         storage.Seq        // when it is committed with those before it, the index has everything up to here
	seen        uint64
	rows, bytes int
	err         error // instead of all else
}

// mapAll maps what has changed and takes it.
func (u *updater) mapAll(ctx context.Context) error {
	workers := runtime.GOMAXPROCS(0)
	g, gctx := errgroup.WithContext(ctx)
	room := semaphore.NewWeighted(inFlight)
	jobs := make(chan *chunk)
	order := make(chan *chunk, 4*workers)
	g.Go(func() error {
		defer close(order)
		defer close(jobs)
		started := 0
		return u.read(gctx, func(c *chunk) error {
			if err := room.Acquire(gctx, min(c.bytes, inFlight)); err != nil {
				return err
			}
			select {
			case order <- c:
			case <-gctx.Done():
				return gctx.Err()
			}
			if started < workers {
				select {
				case jobs <- c:
					return nil
				default:
				}
				started++
				g.Go(func() error { return u.work(gctx, jobs, room) })
			}
			select {
			case jobs <- c:
				return nil
			case <-gctx.Done():
				return gctx.Err()
			}
		})
	})
	g.Go(func() error {
		for c := range order {
			for {
				var p *part
				select {
				case p = <-c.parts:
				case <-gctx.Done():
					return gctx.Err()
				}
				if p == nil {
					break
				}
				if p.err != nil {
					// What comes before is kept, so that it need not be done again.
					if err := u.save(gctx); err != nil {
						return errors.Join(p.err, err)
					}
					return p.err
				}
				if err := u.take(gctx, p); err != nil {
					return err
				}
			}
		}
		return gctx.Err()
	})
	return g.Wait()
}

// read gathers changes into chunks.
func (u *updater) read(ctx context.Context, send func(*chunk) error) error {
	c := newChunk()
	for change, err := range u.snap.Changes(ctx, storage.ChangesOptions{Since: u.from}) {
		if err != nil {
			return err
		}
		if err := u.add(c, &change); err != nil {
			return err
		}
		if len(c.sources) >= u.batch.docs || c.bytes >= int64(u.batch.chunk) {
			if err := send(c); err != nil {
				return err
			}
			c = newChunk()
		}
	}
	if c.seen == 0 {
		return nil
	}
	return send(c)
}

func newChunk() *chunk { return &chunk{parts: make(chan *part, 1)} }

// add adds a change to a chunk, if it matters.
func (u *updater) add(c *chunk, change *storage.Change) error {
	c.seq = change.Seq
	c.seen++
	gone := change.Deleted
	if document.IsDesign(change.ID) && !u.design.IncludeDesign {
		return nil // it never had rows
	}
	if gone {
		if !u.fresh {
			c.sources = append(c.sources, source{doc: document.Document{ID: change.ID}, gone: true, seq: change.Seq})
		}
		return nil
	}
	row, err := u.snap.Lookup(change.ID)
	if err != nil {
		return err
	}
	c.sources = append(c.sources, source{seq: change.Seq})
	s := &c.sources[len(c.sources)-1]
	if err := row.Read(&s.doc); err != nil {
		if !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		s.gone = true // its body was never received
		return nil
	}
	c.bytes += int64(len(s.doc.Body)) + 256
	if !row.Branching() {
		return nil
	}
	tree, err := row.Tree()
	if err != nil {
		return err
	}
	for _, leaf := range tree.Leaves()[1:] {
		switch {
		case !leaf.Stored:
		case leaf.Deleted:
			s.deleted = append(s.deleted, leaf.ID)
		default:
			s.conflicts = append(s.conflicts, leaf.ID)
		}
	}
	return nil
}
