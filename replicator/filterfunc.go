package replicator

import (
	"context"
	"errors"
	"iter"
	"net/url"
	"strings"
	"time"

	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// functions passes revisions that a filter function takes, or for which a view's map function emits something.
type functions struct {
	design    *design.Design
	kind      string // design.Filters or design.Views
	name      string
	request   []byte
	allLeaves bool

	size int // changes that are given to the function together
	// decided is the newest change that Changes has yielded, and what of it passes.
	decided batchRow

	text []byte // its memory is used again
	docs [][]byte
	rows []batchRow
}

// batchRow is a change in a batch.
type batchRow struct {
	change storage.Change
	first  int // document of the batch
	revs   int // documents
	passes bool
}

// newFunctions finds the function that a filter names. Kind is the member of design documents that holds those of its
// kind.
func newFunctions(s *storage.Snapshot, spec FilterSpec, kind string) (*functions, error) {
	path, usage := spec.Name, "`filter` must be of the form `designname/filtername`"
	if kind == design.Views {
		path, usage = spec.View, "`view` must be of the form `designname/viewname`"
	}
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if len(parts) != 2 {
		return nil, malformed(usage)
	}
	for i, part := range parts {
		// Names may be escaped once more than the query is, so that they can hold a slash.
		if plain, err := url.PathUnescape(part); err == nil {
			parts[i] = plain
		}
	}
	if spec.Designs == nil {
		return nil, malformed("filter functions cannot be run here")
	}
	d, err := spec.Designs.Design(s, design.Prefix+parts[0])
	if err != nil {
		return nil, err
	}
	f := &functions{design: d, kind: kind, name: parts[1], request: spec.Request, allLeaves: spec.AllLeaves, size: 1}
	var missing *design.MissingError
	if err := d.Find(kind, f.name); errors.As(err, &missing) {
		return nil, &FilterError{FaultMissing, missing.Error()}
	} else if err != nil {
		return nil, err
	}
	return f, nil
}

// A batch is full when it has so many changes, or documents of so many bytes.
const (
	mostBatched  = 100
	batchedBytes = 1 << 20
)

// How long one call of the function should take: between calls a feed sends signs of life, and can be ended.
const (
	shortCall = 10 * time.Millisecond
	longCall  = 50 * time.Millisecond
)

// changes yields changes in order, those that do not pass too, so that whoever reads them knows how far the feed has
// come. The function is given many at a time.
func (f *functions) changes(ctx context.Context, s *storage.Snapshot, o storage.ChangesOptions) iter.Seq2[storage.Change, error] {
	return func(yield func(storage.Change, error) bool) {
		f.begin()
		defer f.forget()
		flush := func() bool {
			rows, n := f.rows, len(f.rows)
			for len(rows) > 0 {
				n = min(n, len(rows))
				err := f.decide(ctx, rows[:n])
				if n > 1 && design.OverLimit(err) {
					f.size, n = 1, 1
					continue
				}
				if err != nil {
					yield(storage.Change{}, err)
					return false
				}
				for _, r := range rows[:n] {
					f.decided = r
					if !yield(r.change, nil) {
						return false
					}
				}
				rows = rows[n:]
			}
			f.begin()
			return true
		}
		for c, err := range s.Changes(ctx, o) {
			if err == nil {
				err = f.add(s, c)
			}
			if err != nil {
				yield(storage.Change{}, err)
				return
			}
			if (len(f.rows) >= f.size || len(f.text) >= batchedBytes) && !flush() {
				return
			}
		}
		flush()
	}
}

// match tells what of a change passes. What changes has yielded last it knows already.
func (f *functions) match(ctx context.Context, s *storage.Snapshot, c *storage.Change) (bool, error) {
	if f.decided.change.Seq != c.Seq || f.decided.change.ID != c.ID {
		one := *f
		one.text, one.docs, one.rows = nil, nil, nil
		err := one.add(s, *c)
		if err == nil {
			err = one.decide(ctx, one.rows)
		}
		if err != nil {
			return false, err
		}
		f.decided = one.rows[0]
	}
	c.Revs = append(c.Revs[:0], f.decided.change.Revs...)
	return f.decided.passes, nil
}

// begin starts a batch.
func (f *functions) begin() { f.text, f.docs, f.rows = f.text[:0], f.docs[:0], f.rows[:0] }

// forget releases the memory: feeds wait most of the time.
func (f *functions) forget() { f.text, f.docs, f.rows, f.decided = nil, nil, nil, batchRow{} }

// add reads the revisions of a change into the batch.
func (f *functions) add(s *storage.Snapshot, c storage.Change) error {
	row, err := s.Lookup(c.ID)
	if err != nil {
		return err
	}
	tree, err := row.Tree()
	if err != nil {
		return err
	}
	if !f.allLeaves {
		c.Revs = c.Revs[:1:1]
	}
	r := batchRow{change: c, first: len(f.docs)}
	kept := c.Revs[:0:0]
	for _, rev := range c.Revs {
		i, ok := tree.Find(rev)
		if !ok {
			continue
		}
		d, err := row.Revision(tree, i)
		if errors.Is(err, storage.ErrNotFound) {
			continue // never received
		}
		if err != nil {
			return err
		}
		from := len(f.text)
		f.text = design.AppendDocument(f.text, d, document.Members{})
		f.docs = append(f.docs, f.text[from:len(f.text):len(f.text)])
		kept = append(kept, rev)
	}
	r.change.Revs, r.revs = kept, len(kept)
	f.rows = append(f.rows, r)
	return nil
}

// decide gives rows of the batch to the function.
func (f *functions) decide(ctx context.Context, rows []batchRow) error {
	first, last := rows[0].first, rows[len(rows)-1]
	docs := f.docs[first : last.first+last.revs]
	if len(docs) == 0 {
		return nil
	}
	began := time.Now()
	passes, err := f.call(ctx, docs)
	if len(rows) == 1 && len(docs) > 1 && design.OverLimit(err) {
		passes, err = f.callEach(ctx, docs)
	}
	switch took := time.Since(began); {
	case took < shortCall:
		f.size = min(2*f.size, mostBatched)
	case took > longCall:
		f.size = max(f.size/2, 1)
	}
	if err != nil {
		return err
	}
	for i := range rows {
		r := &rows[i]
		kept := r.change.Revs[:0]
		for n, rev := range r.change.Revs {
			if passes[r.first-first+n] {
				kept = append(kept, rev)
			}
		}
		r.change.Revs, r.passes = kept, len(kept) > 0
	}
	return nil
}

// call gives documents to the function.
func (f *functions) call(ctx context.Context, docs [][]byte) ([]bool, error) {
	if f.kind == design.Views {
		return f.design.FilterView(ctx, f.name, docs)
	}
	return f.design.Filter(ctx, f.name, docs, f.request)
}

// callEach gives documents to the function one by one.
func (f *functions) callEach(ctx context.Context, docs [][]byte) ([]bool, error) {
	passes := make([]bool, 0, len(docs))
	for i := range docs {
		one, err := f.call(ctx, docs[i:i+1])
		if err != nil {
			return nil, err
		}
		passes = append(passes, one...)
	}
	return passes, nil
}
