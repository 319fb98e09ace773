package api

import (
	"errors"
	"net/http"
)

// scope is which documents a listing is about.
type scope int

const (
	scopeAll scope = iota
	scopeDesign
	scopeLocal
)

// prefix is what the ids of the scope's documents begin with.
func (s scope) prefix() string {
	switch s {
	case scopeDesign:
		return "_design/"
	case scopeLocal:
		return "_local/"
	}
	return ""
}

func getAllDocs(q *request) error     { return q.getListing(scopeAll) }
func postAllDocs(q *request) error    { return q.postListing(scopeAll) }
func getDesignDocs(q *request) error  { return q.getListing(scopeDesign) }
func postDesignDocs(q *request) error { return q.postListing(scopeDesign) }
func getLocalDocs(q *request) error   { return q.getListing(scopeLocal) }
func postLocalDocs(q *request) error  { return q.postListing(scopeLocal) }

func postAllDocsQueries(q *request) error    { return q.postQueries(scopeAll) }
func postDesignDocsQueries(q *request) error { return q.postQueries(scopeDesign) }
func postLocalDocsQueries(q *request) error  { return q.postQueries(scopeLocal) }

// The partition of a path is a parameter like others.
func getPartitionDocs(q *request) error  { return q.inPartition((*request).getListing) }
func postPartitionDocs(q *request) error { return q.inPartition((*request).postListing) }

func (q *request) inPartition(list func(*request, scope) error) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	if err := q.partition(db); err != nil {
		return err
	}
	return list(q, scopeAll)
}

func (q *request) getListing(s scope) error {
	if _, err := q.db(); err != nil {
		return err
	}
	l := newListing(documentWords)
	if err := l.readQuery(q); err != nil {
		return err
	}
	return q.list(s, l)
}

func (q *request) postListing(s scope) error {
	if _, err := q.db(); err != nil {
		return err
	}
	l, err := q.postedListing(documentWords)
	if err != nil {
		return err
	}
	return q.list(s, l)
}

// list answers with one listing.
func (q *request) list(s scope, l *listing) error {
	return q.answerListings(s, func(w *listWriter) error { return w.write(l) }, l)
}

// postQueries answers with several listings. Parameters of the query are the defaults of each.
func (q *request) postQueries(s scope) error {
	if _, err := q.db(); err != nil {
		return err
	}
	queries, err := q.readQueries(documentWords)
	if err != nil {
		return err
	}
	return q.answerListings(s, func(w *listWriter) error { return writeEach(&w.rowWriter, queries, w.write) }, queries...)
}

// answerListings checks the listings that are asked for and then writes them, all from one snapshot.
func (q *request) answerListings(s scope, write func(*listWriter) error, lists ...*listing) error {
	for _, l := range lists {
		if err := l.check(false); err != nil {
			return err
		}
	}
	db, snap, err := q.snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	for _, l := range lists {
		if l.partition != "" && !db.Partitioned() {
			return queryError("`partition` parameter is not supported on this db")
		}
	}
	out := q.newStream()
	w := &listWriter{rowWriter{q: q, snap: snap, out: out}, s}
	if q.Method == http.MethodHead {
		q.w.WriteHeader(http.StatusOK)
		return nil
	}
	if err := write(w); err != nil {
		if errors.Is(err, errGone) {
			return nil
		}
		return err
	}
	_ = out.WriteByte('\n')
	return q.lost(out.end())
}
