package mango

import (
	"context"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// search is one run of a query: it takes rows one after the other, and sends
// the documents among them that are wanted as they are found.
type search struct {
	*plan
	send func(text []byte) error
	from *position // where an earlier answer ended; nil for the beginning

	skip, limit uint64 // what is left of them
	last        position
	began       time.Time
	counts      counts

	// Memory that is used again.
	reader reader
	doc    document.Document
	out    []byte
}

// counts are what execution_stats tell.
type counts struct {
	keys, docs, quorumDocs, results uint64
}

func newSearch(p *plan, send func([]byte) error) (*search, error) {
	s := &search{plan: p, send: send, skip: p.query.skip, limit: p.query.limit, began: time.Now()}
	if p.query.bookmark != "" {
		var err error
		if s.from, err = parseBookmark(p.query.bookmark, p.index.special()); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// overDocuments looks at the documents of a snapshot in the order of their ids.
//
// It does so in one goroutine: reading and matching take about a microsecond
// for each, and the other processors are left to other requests.
func (s *search) overDocuments(ctx context.Context, snap *storage.Snapshot) error {
	r, ok := s.idRange()
	if !ok || s.limit == 0 {
		return nil
	}
	for row, err := range snap.Documents(ctx, r) {
		if err != nil {
			return err
		}
		if document.IsDesign(row.ID) || s.from != nil && s.from.id == row.ID {
			continue
		}
		if more, err := s.look(row, nil); err != nil || !more {
			return err
		}
	}
	return nil
}

// idRange returns the range of the ids that are wanted; ok is false if there
// are none.
func (s *search) idRange() (_ storage.Range, ok bool) {
	r := storage.Range{Descending: s.query.descending()}
	if s.query.partition != "" {
		r.Prefix = s.query.partition + ":"
	}
	var low, high string
	var hasLow, hasHigh bool
	if len(s.ranges) > 0 {
		// Everything that is no string is less than all ids.
		low, hasLow = s.ranges[0].low.id()
		if high, hasHigh = s.ranges[0].high.id(); !hasHigh && s.ranges[0].high.side == 0 {
			return r, false
		}
	}
	if r.Descending {
		low, hasLow, high, hasHigh = high, hasHigh, low, hasLow
	}
	if hasLow {
		r.Start = low
	}
	r.End, r.HasEnd = high, hasHigh
	if s.from != nil {
		r.Start = s.from.id
	}
	return r, true
}

// id returns the bound as an id, if it is one.
func (b bound) id() (id string, ok bool) {
	if b.side != 0 || kindOf(b.value) != kindString {
		return "", false
	}
	id = string(unquote(nil, b.value))
	if b.high {
		id += "\xFF"
	}
	return id, true
}

// look reads a document, and sends it if it is wanted. key is that of the row
// it was found by. more is false when there is nothing more to look for.
func (s *search) look(row *storage.Row, key []byte) (more bool, err error) {
	q := s.query
	if err := row.Read(&s.doc); errors.Is(err, storage.ErrNotFound) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	s.counts.keys++ // only now: those behind a veil are not even counted
	if q.quorum > 1 {
		s.counts.quorumDocs++
	} else {
		s.counts.docs++
	}
	doc := s.reader.read(&s.doc, s.needs())
	members := document.Members{}
	if q.conflicts {
		if members.Conflicts, err = row.Conflicts(); err != nil {
			return false, err
		}
		doc.Conflicts = s.reader.appendConflicts(members.Conflicts)
	}
	if found, err := q.selector.Check(doc); err != nil || !found {
		return err == nil, err
	}
	return s.take(row.ID, key, func(b []byte) []byte {
		if q.fields != nil {
			return q.fields.AppendFrom(b, doc)
		}
		return document.AppendJSON(b, &s.doc, members)
	})
}

// needs says what selector and fields need.
func (s *search) needs() needs {
	n := s.query.selector.needs
	if s.query.fields != nil {
		n.merge(s.query.fields.needs)
	}
	return n
}

// take counts a document that was found, and sends it unless it is skipped.
func (s *search) take(id string, key []byte, show func([]byte) []byte) (more bool, err error) {
	s.last.id, s.last.key = id, append(s.last.key[:0], key...)
	if s.skip > 0 {
		s.skip--
		return true, nil
	}
	s.out = s.out[:0]
	if s.counts.results > 0 {
		s.out = append(s.out, ',')
	}
	s.out = show(append(s.out, "\r\n"...))
	s.counts.results++
	s.limit--
	return s.limit > 0, s.send(s.out)
}

// end sends what comes after the documents.
func (s *search) end() error {
	b := document.AppendString(append(s.out[:0], "\r\n],\r\n\"bookmark\": "...), s.bookmark())
	if s.query.stats {
		b = append(b, ",\r\n\"execution_stats\": {\"total_keys_examined\":"...)
		b = strconv.AppendUint(b, s.counts.keys, 10)
		b = strconv.AppendUint(append(b, `,"total_docs_examined":`...), s.counts.docs, 10)
		b = strconv.AppendUint(append(b, `,"total_quorum_docs_examined":`...), s.counts.quorumDocs, 10)
		b = strconv.AppendUint(append(b, `,"results_returned":`...), s.counts.results, 10)
		b = append(b, `,"execution_time_ms":`...)
		b = strconv.AppendFloat(b, math.Round(float64(time.Since(s.began))/float64(time.Microsecond))/1000, 'f', -1, 64)
		b = append(b, '}')
	}
	if w := s.warning(); w != "" {
		b = document.AppendString(append(b, ",\r\n\"warning\": "...), w)
	}
	return s.send(append(b, "}\n"...))
}

// bookmark returns the place behind the last document that was found.
func (s *search) bookmark() string {
	switch {
	case s.last.id != "":
		if s.index.special() {
			s.last.key = nil
		}
		return s.last.encode()
	case s.query.bookmark != "":
		return s.query.bookmark
	}
	return noBookmark
}

// warning tells what would have been faster.
func (s *search) warning() string {
	var text string
	add := func(w string) {
		if text != "" {
			text += "\n"
		}
		text += w
	}
	q := s.query
	if len(q.useIndex) > 0 && len(q.named([]*Index{s.index})) == 0 {
		if len(q.useIndex) == 1 {
			add(q.indexName() + " was not used because it does not contain a valid index for this query.")
		} else {
			add(q.indexName() + " was not used because it is not a valid index for this query.")
		}
	}
	if s.index.special() {
		add("No matching index found, create an index to optimize query time.")
	}
	examined := s.counts.docs + s.counts.quorumDocs
	if q.scanWarning > 0 && float64(examined) > float64(q.scanWarning)*float64(max(s.counts.results, 1)) {
		add("The number of documents examined is high in proportion to the number of results returned. Consider adding a more specific index to improve this.")
	}
	return text
}
