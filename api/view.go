package api

import (
	"bytes"
	"cmp"
	"errors"
	"net/http"

	"github.com/mangrove-db/mangrove/collate"
	"github.com/mangrove-db/mangrove/storage"
	"github.com/mangrove-db/mangrove/view"
)

// viewTarget is the view that a request names.
type viewTarget struct {
	q      *request
	db     *storage.DB
	design *view.Design
	view   *view.Definition
}

// viewQuery is a listing of a view that has been checked.
type viewQuery struct {
	*listing
	reduced bool
	query   view.Query
}

// openDesign finds a design document, and its database.
func (q *request) openDesign(id string) (*storage.DB, *view.Design, error) {
	db, snap, err := q.snapshot()
	if err != nil {
		return nil, nil, err
	}
	defer snap.Close()
	d, err := q.api.views.Design(snap, id)
	return db, d, err
}

// target finds the design document of the view that the path names. Whether it has the view is said after the
// parameters have been read, as in CouchDB.
func (q *request) target() (*viewTarget, error) {
	if q.partName != "" {
		db, err := q.db()
		if err != nil {
			return nil, err
		}
		if err := q.partition(db); err != nil {
			return nil, err
		}
	}
	db, d, err := q.openDesign(q.docID)
	return &viewTarget{q: q, db: db, design: d}, err
}

func getView(q *request) error {
	t, err := q.target()
	if err != nil {
		return err
	}
	l := newListing(viewWords)
	if err := l.readQuery(q); err != nil {
		return err
	}
	return t.list(l)
}

func postView(q *request) error {
	t, err := q.target()
	if err != nil {
		return err
	}
	l, err := q.postedListing(viewWords)
	if err != nil {
		return err
	}
	return t.list(l)
}

// postViewQueries answers with several listings of a view.
func postViewQueries(q *request) error {
	t, err := q.target()
	if err != nil {
		return err
	}
	lists, err := q.readQueries(viewWords)
	if err != nil {
		return err
	}
	queries, err := t.check(lists...)
	if err != nil {
		return err
	}
	return t.answer(queries, func(w *viewWriter) error { return writeEach(&w.rowWriter, queries, w.write) })
}

// refuseView answers for what is no resource below a view, and refuses methods, if there is the design document.
func refuseView(allow string) handler {
	return func(q *request) error {
		if _, err := q.target(); err != nil {
			return err
		}
		return methodNotAllowed(allow)
	}
}

// list answers with one listing.
func (t *viewTarget) list(l *listing) error {
	queries, err := t.check(l)
	if err != nil {
		return err
	}
	return t.answer(queries, func(w *viewWriter) error { return w.write(queries[0]) })
}

// check finds the view and checks what is asked of it.
func (t *viewTarget) check(lists ...*listing) ([]*viewQuery, error) {
	var ok bool
	if t.view, ok = t.design.View(t.q.viewName); !ok {
		return nil, errNoView
	}
	queries := make([]*viewQuery, len(lists))
	for i, l := range lists {
		var err error
		if queries[i], err = t.checkOne(l); err != nil {
			return nil, err
		}
	}
	return queries, nil
}

func (t *viewTarget) checkOne(l *listing) (*viewQuery, error) {
	x := &viewQuery{listing: l, reduced: t.view.Reduce != "" && l.reduce != saidNo}
	if err := l.check(x.reduced); err != nil {
		return nil, err
	}
	partitioned := t.design.Partitioned(t.db)
	switch {
	case partitioned && l.partition == "":
		return nil, queryError("`partition` parameter is mandatory for queries to this view.")
	case !partitioned && l.partition != "":
		return nil, queryError("`partition` parameter is not supported in this design doc")
	}
	if err := l.checkRange(t.design.Spaces[t.view.Space].Raw); err != nil {
		return nil, err
	}
	group, err := l.grouping()
	if err != nil {
		return nil, err
	}
	x.query = view.Query{
		StartKey: l.start, EndKey: l.end, StartID: l.startID, EndID: l.endID,
		ExclusiveEnd: l.exclusiveEnd, Descending: l.descending, Keys: l.keys, HasKeys: l.hasKeys,
		Skip: l.skip, Limit: l.limit, Group: group, Partition: l.partition,
	}
	if x.reduced && group != view.GroupExact && len(l.keys) == 1 {
		// One key is a range, which may be reduced to other groups than those of its rows.
		x.query.StartKey, x.query.EndKey = l.keys[0], l.keys[0]
		x.query.Keys, x.query.HasKeys = nil, false
	}
	return x, nil
}

// checkRange refuses a range whose ends are the wrong way round.
func (l *listing) checkRange(raw bool) error {
	if l.start == nil || l.end == nil || len(l.keys) > 0 || bytes.Equal(l.start, l.end) {
		return nil
	}
	compare := collate.Compare
	if raw {
		compare = collate.CompareRaw
	}
	c := compare(l.start, l.end)
	if c == 0 && l.startID != "" && l.endID != "" {
		c = cmp.Compare(l.startID, l.endID)
	}
	switch {
	case !l.descending && c > 0:
		return queryError("No rows can match your key range, reverse your start_key and end_key or set descending=true")
	case l.descending && c < 0:
		return queryError("No rows can match your key range, reverse your start_key and end_key or set descending=false")
	}
	return nil
}

// freshness returns how much of an update the most demanding of several queries wants. All are answered from the same
// moment.
func freshness(queries []*viewQuery) view.Update {
	u := view.UpdateFalse
	for _, x := range queries {
		switch {
		case x.update == view.UpdateTrue:
			return view.UpdateTrue
		case x.update == view.UpdateLazy:
			u = view.UpdateLazy
		}
	}
	if len(queries) == 0 {
		return view.UpdateFalse
	}
	return u
}

// open waits until the index is as the queries want it. The reader must be closed.
func (t *viewTarget) open(queries ...*viewQuery) (*view.Reader, error) {
	return t.q.api.views.Open(t.q.Context(), t.db, t.design, t.view.Name, freshness(queries))
}

// answer answers with what write writes. An error that comes before much was written is answered in its place.
func (t *viewTarget) answer(queries []*viewQuery, write func(*viewWriter) error) error {
	q := t.q
	q.api.stats.viewReads.Add(uint64(len(queries)))
	r, err := t.open(queries...)
	if err != nil {
		return err
	}
	defer r.Close()
	out := q.newStream()
	if q.Method == http.MethodHead {
		q.w.WriteHeader(http.StatusOK)
		return nil
	}
	q.veil(r.Snapshot())
	w := &viewWriter{rowWriter{q: q, snap: r.Snapshot(), out: out}, r}
	if err := write(w); err != nil {
		if errors.Is(err, errGone) {
			return nil
		}
		return err
	}
	_ = out.WriteByte('\n')
	return q.lost(out.end())
}
