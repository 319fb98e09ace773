package api

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/mangrove-db/mangrove/document"
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
	l := listing{limit: noLimit}
	if err := l.readQuery(q); err != nil {
		return err
	}
	return q.list(s, &l)
}

func (q *request) postListing(s scope) error {
	if _, err := q.db(); err != nil {
		return err
	}
	if err := q.requireJSON(); err != nil {
		return err
	}
	l := listing{limit: noLimit}
	body := document.NewStream(q.Body, q.limits())
	defer body.Close()
	if err := l.readBody(body, badRequest("`keys` body member must be an array.")); err != nil {
		return err
	}
	if err := l.readQuery(q); err != nil {
		return err
	}
	return q.list(s, &l)
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
	queries, err := q.readQueries()
	if err != nil {
		return err
	}
	return q.answerListings(s, func(w *listWriter) error {
		_, _ = w.out.WriteString(`{"results":[`)
		for i, l := range queries {
			if i > 0 {
				_ = w.out.WriteByte(',')
			}
			if err := w.write(l); err != nil {
				return err
			}
		}
		_, err := w.out.WriteString(`]}`)
		return err
	}, queries...)
}

func (q *request) readQueries() ([]*listing, error) {
	defaults := listing{limit: noLimit}
	if err := defaults.readQuery(q); err != nil {
		return nil, err
	}
	body := document.NewStream(q.Body, q.limits())
	defer body.Close()
	var queries []*listing
	given := false
	for {
		name, err := body.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if name != "queries" {
			continue
		}
		kind, err := body.Type()
		if err != nil {
			return nil, err
		}
		if kind != document.Array {
			if _, err := body.Value(); err != nil {
				return nil, err
			}
			return nil, badRequest("`queries` member must be an array.")
		}
		given, queries = true, nil
		for text, err := range body.Elements() {
			if err != nil {
				return nil, err
			}
			l := defaults
			l.keys = slices.Clone(l.keys)
			if err := l.readText(text); err != nil {
				return nil, err
			}
			queries = append(queries, &l)
		}
	}
	if !given {
		return nil, badRequest("POST body must include `queries` parameter.")
	}
	return queries, nil
}

// readText takes over the parameters in a JSON object.
func (l *listing) readText(text []byte) error {
	s := document.NewStream(bytes.NewReader(text), document.Limits{})
	defer s.Close()
	return l.readBody(s, queryError("`keys` must be an array of strings."))
}

// answerListings checks the listings that are asked for and then writes them, all from one snapshot.
func (q *request) answerListings(s scope, write func(*listWriter) error, lists ...*listing) error {
	for _, l := range lists {
		if err := l.check(); err != nil {
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
	w := &listWriter{q: q, snap: snap, scope: s, out: q.newStream()}
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
	_ = w.out.WriteByte('\n')
	return q.lost(w.out.end())
}
