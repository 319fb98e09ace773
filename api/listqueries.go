package api

import (
	"bytes"
	"io"

	"github.com/mangrove-db/mangrove/document"
)

// postedListing reads the listing that a body asks for. What the query says counts more than what the body says.
func (q *request) postedListing(words *listingWords) (*listing, error) {
	if err := q.requireJSON(); err != nil {
		return nil, err
	}
	l := newListing(words)
	body := document.NewStream(q.Body, q.limits())
	defer body.Close()
	if err := l.readBody(body, words.body); err != nil {
		return nil, err
	}
	return l, l.readQuery(q)
}

// readQueries reads the listings that a body asks for. What the query says is each one's default, but for keys and
// groups.
func (q *request) readQueries(words *listingWords) ([]*listing, error) {
	if err := q.requireJSON(); err != nil {
		return nil, err
	}
	defaults := newListing(words)
	if err := defaults.readQuery(q); err != nil {
		return nil, err
	}
	defaults.keys, defaults.hasKeys = nil, false
	defaults.group, defaults.groupLevel, defaults.hasLevel = unsaid, 0, false
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
			return nil, errQueriesArray
		}
		given, queries = true, nil
		for text, err := range body.Elements() {
			if err != nil {
				return nil, err
			}
			if err := defaults.room.take(len(text) + queryWeight); err != nil {
				return nil, err
			}
			l := *defaults
			if err := l.readText(text); err != nil {
				return nil, err
			}
			queries = append(queries, &l)
		}
	}
	if !given {
		return nil, errNoQueries
	}
	return queries, nil
}

// readText takes over the parameters in a JSON object, which is one of several queries.
func (l *listing) readText(text []byte) error {
	s := document.NewStream(bytes.NewReader(text), document.Limits{})
	defer s.Close()
	return l.readBody(s, bodyWords{keys: errKeys})
}

// writeEach writes the answers to several queries, each by write.
func writeEach[Q any](w *rowWriter, queries []Q, write func(Q) error) error {
	_, _ = io.WriteString(w.out, `{"results":[`)
	for i, x := range queries {
		if i > 0 {
			_, _ = io.WriteString(w.out, ",")
		}
		if err := write(x); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w.out, "]}")
	return w.gone(err)
}
