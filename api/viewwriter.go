package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
	"github.com/mangrove-db/mangrove/view"
)

// viewWriter writes listings of a view, all of the same moment.
type viewWriter struct {
	rowWriter
	reader *view.Reader
}

// write writes one listing.
func (w *viewWriter) write(x *viewQuery) error {
	if x.reduced {
		return w.writeGroups(x)
	}
	total, err := w.reader.Total()
	if err != nil {
		return err
	}
	rows, err := w.reader.Rows(w.q.Context(), x.query)
	if err != nil {
		return err
	}
	w.head(x.listing, w.reader.Seq(), strconv.FormatUint(total, 10), strconv.FormatUint(rows.Offset, 10))
	for row, err := range rows.Each() {
		if err != nil {
			return err
		}
		if err := w.writeRow(x.listing, row); err != nil {
			return err
		}
	}
	return w.tail()
}

func (w *viewWriter) writeRow(l *listing, row *view.Row) error {
	b := append(w.begin(), `{"id":`...)
	b = document.AppendString(b, row.ID)
	b = append(b, `,"key":`...)
	b = append(b, row.Key...)
	b = append(b, `,"value":`...)
	b = append(b, row.Value...)
	if !l.includeDocs {
		return w.end(append(b, '}'))
	}
	id, rev := linked(row.Value)
	if id != nil {
		return w.endWithLinked(b, id, rev)
	}
	doc, err := w.snap.Lookup(row.ID)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return w.endWithNull(b)
	case err != nil:
		return err
	case rev != nil:
		return w.endWithRevision(b, l, &doc, rev)
	}
	return w.endWithWinner(b, l, &doc)
}

// linked returns the JSON texts of _id and _rev, if a row's value has them: the document to include instead of the
// row's own, and its revision.
func linked(value []byte) (id, rev []byte) {
	if value[0] != '{' || !bytes.Contains(value, []byte(`"_id"`)) && !bytes.Contains(value, []byte(`"_rev"`)) {
		return nil, nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(value, &members) != nil {
		return nil, nil
	}
	return members["_id"], members["_rev"]
}

// endWithLinked sends a row together with another document than the one that it is of. In CouchDB those come without
// conflicts and content of attachments, whatever was asked for.
func (w *viewWriter) endWithLinked(b, id, rev []byte) error {
	name, ok := jsonString(id)
	if !ok {
		return w.endWithNull(b)
	}
	row, err := w.snap.Lookup(name)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return w.endWithNull(b)
	case err != nil:
		return err
	case rev != nil:
		return w.endWithRevision(b, &listing{}, &row, rev)
	}
	return w.endWithWinner(b, &listing{}, &row)
}

// endWithRevision sends a row together with a revision of a document, which is null if it is not there any more.
func (w *viewWriter) endWithRevision(b []byte, l *listing, row *storage.Row, rev []byte) error {
	text, _ := jsonString(rev)
	id, err := parseRev(text)
	if err != nil {
		return w.endWithNull(b)
	}
	d, err := revision(row, id)
	switch {
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, errMissing):
		return w.endWithNull(b)
	case err != nil:
		return err
	}
	return w.endWithDocument(b, d, document.Members{EncodingInfo: l.encodingInfo}, l.attachments)
}

// writeGroups writes a listing of reductions.
func (w *viewWriter) writeGroups(x *viewQuery) error {
	w.head(x.listing, w.reader.Seq(), "", "")
	for group, err := range w.reader.Reduce(w.q.Context(), x.query) {
		if err != nil {
			return err
		}
		if err := w.end(appendGroup(w.begin(), group)); err != nil {
			return err
		}
	}
	return w.tail()
}

// appendGroup appends the row of a reduction.
func appendGroup(b []byte, g *view.Group) []byte {
	b = append(b, `{"key":`...)
	if g.Key == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, g.Key...)
	}
	if g.Error != "" {
		b = append(b, `,"error":`...)
		b = document.AppendString(b, g.Error)
		b = append(b, `,"reason":`...)
		b = document.AppendString(b, g.Reason)
		return append(b, '}')
	}
	b = append(b, `,"value":`...)
	b = append(b, g.Value...)
	return append(b, '}')
}
