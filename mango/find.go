package mango

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/mangrove-db/mangrove/storage"
	"github.com/mangrove-db/mangrove/view"
)

// Finder answers queries. It is safe for concurrent use.
type Finder struct {
	views *view.Indexer
	cache indexCache
}

// NewFinder returns a Finder that reads indexes by views, which has to know
// Language by the name "query".
func NewFinder(views *view.Indexer) *Finder { return &Finder{views: views} }

// Indexes returns the indexes of a database, all documents first and then by
// design document and name.
func (f *Finder) Indexes(ctx context.Context, db *storage.DB, snap *storage.Snapshot) ([]*Index, error) {
	list := []*Index{allDocs}
	for row, err := range snap.Documents(ctx, storage.Range{Prefix: designPrefix}) {
		if err != nil {
			return nil, err
		}
		indexes, err := f.cache.indexes(db, row)
		if errors.Is(err, storage.ErrNotFound) {
			continue // hidden, or forged
		}
		if err != nil {
			return nil, err
		}
		list = append(list, indexes...)
	}
	slices.SortFunc(list, (*Index).compare)
	return list, nil
}

// Explain returns the answer of _explain. Errors of the query are of type
// *Error.
func (f *Finder) Explain(ctx context.Context, db *storage.DB, q *Query) ([]byte, error) {
	snap, err := q.snapshot(db)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	p, err := f.plan(ctx, db, snap, q)
	if err != nil {
		return nil, err
	}
	return p.explain(nil, db.Name(), db.Partitioned()), nil
}

func (f *Finder) plan(ctx context.Context, db *storage.DB, snap *storage.Snapshot, q *Query) (*plan, error) {
	if q.partition != "" && !db.Partitioned() {
		return nil, errNotPartitioned
	}
	indexes, err := f.Indexes(ctx, db, snap)
	if err != nil {
		return nil, err
	}
	return newPlan(q, indexes)
}

// Find answers a query: it sends the text of the answer in pieces, as documents
// are found. send must not keep the pieces; an error of it ends the query and is
// returned as it is. Errors of the query are of type *Error, those of building an
// index as view.Indexer.Open has them; they come before the first piece.
func (f *Finder) Find(ctx context.Context, db *storage.DB, q *Query, send func(text []byte) error) error {
	snap, err := q.snapshot(db)
	if err != nil {
		return err
	}
	closeSnapshot := sync.OnceFunc(snap.Close)
	defer closeSnapshot()
	p, err := f.plan(ctx, db, snap, q)
	switch {
	case err != nil:
		return err
	case p.index == nil:
		return missingSortIndex(db, q)
	case p.nothing:
		return send([]byte("{\"docs\":[\r\n]}\n"))
	}
	s, err := newSearch(p, send)
	if err != nil {
		return err
	}
	if p.index.special() {
		if err = send(opening); err == nil {
			err = s.overDocuments(ctx, snap)
		}
	} else {
		var design *view.Design
		if design, err = f.views.Design(snap, p.index.ddoc); err != nil {
			return err
		}
		closeSnapshot() // the index may take long to be built
		err = f.byIndex(ctx, db, design, s)
	}
	if err != nil {
		return err
	}
	return s.end()
}

var opening = []byte(`{"docs":[`)

// byIndex looks at the rows of a JSON index, for which it waits if the query
// does.
func (f *Finder) byIndex(ctx context.Context, db *storage.DB, design *view.Design, s *search) error {
	update := view.UpdateTrue
	if !s.query.update || s.query.stale {
		update = view.UpdateFalse
	}
	r, err := f.views.Open(ctx, db, design, s.index.name, update)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := s.send(opening); err != nil {
		return err
	}
	return s.overRows(ctx, r)
}

func missingSortIndex(db *storage.DB, q *Query) error {
	kind := ""
	switch {
	case q.partition != "":
		kind = "partitioned "
	case db.Partitioned():
		kind = "global "
	}
	return errorf("no_usable_index", "No "+kind+"index exists for this sort, try indexing by the sort fields.")
}
