package api

import (
	"errors"
	"io"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// errGone ends a listing whose client has gone away.
var errGone = errors.New("the client has gone away")

// rowWriter writes the rows of listings, whatever they are of.
type rowWriter struct {
	q    *request
	snap *storage.Snapshot // of the documents
	out  io.Writer         // of an answer: its stream

	row   []byte            // the buffer of every row
	doc   document.Document // and of every document
	count int               // rows of the current listing
}

// head begins a listing. A total that is empty is not told, nor is the offset then.
func (w *rowWriter) head(l *listing, seq storage.Seq, total, offset string) {
	w.count = 0
	b := w.appendHead(w.row[:0], l, seq, total, offset)
	if len(b) > 1 {
		b = append(b, ',')
	}
	b = append(b, `"rows":[`...)
	w.row = b
	_, _ = w.out.Write(b)
}

// appendHead appends the members that stand before the rows.
func (w *rowWriter) appendHead(b []byte, l *listing, seq storage.Seq, total, offset string) []byte {
	b = append(b, '{')
	if total != "" {
		b = append(b, `"total_rows":`...)
		b = append(b, total...)
		b = append(b, `,"offset":`...)
		b = append(b, offset...)
	}
	if l.updateSeq {
		if total != "" {
			b = append(b, ',')
		}
		b = append(b, `"update_seq":"`...)
		b = w.snap.AppendSeq(b, seq)
		b = append(b, '"')
	}
	return b
}

func (w *rowWriter) tail() error {
	_, err := io.WriteString(w.out, "\r\n]}")
	return w.gone(err)
}

func (w *rowWriter) gone(err error) error {
	if err == nil {
		return nil
	}
	// A list function may end before its rows do, which is not the client's end.
	if !errors.Is(err, errGone) {
		_ = w.q.lost(err)
	}
	return errGone
}

// begin starts a row.
func (w *rowWriter) begin() []byte {
	b := w.row[:0]
	if w.count > 0 {
		b = append(b, ',')
	}
	w.count++
	return append(b, '\r', '\n')
}

// end sends a row.
func (w *rowWriter) end(b []byte) error {
	w.row = b
	_, err := w.out.Write(b)
	return w.gone(err)
}

// endWithNull sends a row that lacks the document that it should have.
func (w *rowWriter) endWithNull(b []byte) error { return w.end(append(b, `,"doc":null}`...)) }

// endWithWinner sends a row together with the document that row is of. b is the row without its closing brace.
func (w *rowWriter) endWithWinner(b []byte, l *listing, row *storage.Row) error {
	if row.Deleted {
		return w.endWithNull(b)
	}
	if err := row.Read(&w.doc); errors.Is(err, storage.ErrNotFound) {
		return w.endWithNull(b)
	} else if err != nil {
		return err
	}
	m := document.Members{EncodingInfo: l.encodingInfo}
	if l.conflicts == saidYes {
		var err error
		if m.Conflicts, err = row.Conflicts(); err != nil {
			return err
		}
	}
	return w.endWithDocument(b, &w.doc, m, l.attachments)
}

// endWithDocument sends a row together with a document, with or without the content of its attachments.
func (w *rowWriter) endWithDocument(b []byte, d *document.Document, m document.Members, attachments bool) error {
	w.q.api.stats.reads.Add(1)
	b = append(b, `,"doc":`...)
	if !attachments || len(d.Attachments) == 0 {
		return w.end(append(document.AppendJSON(b, d, m), '}'))
	}
	if err := w.end(b); err != nil {
		return err
	}
	m.Form = func(*document.Attachment) document.Form { return document.FormInline }
	m.Open = opener(w.snap)
	if err := document.WriteJSON(w.out, d, m); err != nil {
		if err := w.q.broken(err); err != nil {
			return err
		}
		return errGone
	}
	_, err := io.WriteString(w.out, "}")
	return w.gone(err)
}
