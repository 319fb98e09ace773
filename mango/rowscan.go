package mango

import (
	"bytes"
	"context"
	"errors"
	"math"

	"github.com/mangrove-db/mangrove/storage"
	"github.com/mangrove-db/mangrove/view"
)

// overRows looks at the rows of a JSON index.
func (s *search) overRows(ctx context.Context, r *view.Reader) error {
	if s.limit == 0 {
		return nil
	}
	rows, err := r.Rows(ctx, s.rowQuery())
	if err != nil {
		return err
	}
	var made *rowDoc
	if s.covering {
		made = newRowDoc(s.index)
	}
	snap := r.Snapshot()
	for row, err := range rows.Each() {
		if err != nil {
			return err
		}
		if s.from != nil && row.ID == s.from.id && bytes.Equal(row.Key, s.from.key) {
			continue // the last one of the answer before
		}
		more := true
		if made != nil {
			more, err = s.lookAtRow(made, row)
		} else {
			more, err = s.lookUp(snap, row)
		}
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// rowQuery returns the query for the rows that are wanted.
func (s *search) rowQuery() view.Query {
	q := view.Query{
		StartKey: s.startKey(), EndKey: s.endKey(), Limit: math.MaxUint64,
		Descending: s.query.descending(), Partition: s.query.partition,
	}
	if q.Descending {
		q.StartKey, q.EndKey = q.EndKey, q.StartKey
	}
	if s.from != nil {
		q.StartKey, q.StartID = s.from.key, s.from.id
	}
	return q
}

// lookUp looks at the document of a row. An index that was not brought up to
// date may have rows of documents that are gone.
func (s *search) lookUp(snap *storage.Snapshot, row *view.Row) (more bool, err error) {
	found, err := snap.Lookup(row.ID)
	if errors.Is(err, storage.ErrNotFound) || err == nil && found.Deleted {
		s.counts.keys++
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return s.look(&found, row.Key)
}

// lookAtRow takes the row itself for the document.
func (s *search) lookAtRow(made *rowDoc, row *view.Row) (more bool, err error) {
	s.counts.keys++
	doc := made.of(row)
	if found, err := s.query.selector.Check(doc); err != nil || !found {
		return err == nil, err
	}
	return s.take(row.ID, row.Key, func(b []byte) []byte { return s.query.fields.AppendFrom(b, doc) })
}

// rowDoc makes documents of rows: they have the fields that are in the index.
type rowDoc struct {
	shown []*shownField
	rev   int // the column of _rev; -1 for none
	slots []slot
	body  []byte
}

func newRowDoc(ix *Index) *rowDoc {
	d := &rowDoc{rev: -1, slots: make([]slot, len(ix.columns))}
	for i, c := range ix.columns {
		switch parts, err := parsePath(c.name); {
		case c.name == "_rev":
			d.rev = i
		case err == nil && parts[0][:1] != "_":
			d.shown = show(d.shown, parts, i)
		}
	}
	return d
}

// of returns the document that a row makes. It is good until the next.
func (d *rowDoc) of(row *view.Row) Doc {
	i := 0
	for value := range elements(row.Key) {
		if i == len(d.slots) {
			break
		}
		d.slots[i].value = value
		i++
	}
	d.body, _ = appendShown(d.body[:0], d.shown, d.slots)
	doc := Doc{ID: row.ID, Body: d.body}
	if d.rev >= 0 {
		doc.Rev = string(unquote(nil, d.slots[d.rev].value))
	}
	return doc
}
