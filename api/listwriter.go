package api

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// errGone ends a listing whose client has gone away.
var errGone = errors.New("the client has gone away")

// listWriter writes listings of one snapshot.
type listWriter struct {
	q     *request
	snap  *storage.Snapshot
	scope scope
	out   *stream

	row   []byte            // the buffer of every row
	doc   document.Document // and of every document
	count int               // rows of the current listing
}

// write writes one listing.
func (w *listWriter) write(l *listing) error {
	w.count = 0
	if w.scope == scopeLocal {
		return w.writeLocals(l)
	}
	prefix := w.scope.prefix()
	if l.partition != "" {
		prefix = l.partition + ":"
	}
	total, base, err := w.total(prefix)
	if err != nil {
		return err
	}
	if l.hasKeys {
		w.head(l, strconv.FormatUint(total, 10), "null")
		if err := w.writeKeys(l, prefix); err != nil {
			return err
		}
		return w.tail()
	}
	r, ok := l.documents(prefix)
	offset, err := w.offset(r, l.skip, base, total)
	if err != nil {
		return err
	}
	if ok && l.skip > 0 && l.limit > 0 {
		if r.Start, ok, err = w.snap.NthFrom(r.Start, r.Start != "", r.Descending, l.skip); err != nil {
			return err
		}
	}
	w.head(l, strconv.FormatUint(total, 10), strconv.FormatUint(offset, 10))
	if ok && l.limit > 0 {
		if err := w.writeRange(l, r); err != nil {
			return err
		}
	}
	return w.tail()
}

// total returns how many live documents there are with a prefix, and how many before them.
func (w *listWriter) total(prefix string) (total, base uint64, err error) {
	if prefix == "" {
		return w.snap.Docs(), 0, nil
	}
	if base, err = w.snap.Offset(prefix); err != nil {
		return 0, 0, err
	}
	behind, err := w.snap.Offset(behindPrefix(prefix))
	return behind - min(base, behind), base, err
}

// offset returns how many of the total documents lie before the first row of a range.
func (w *listWriter) offset(r storage.Range, skip, base, total uint64) (uint64, error) {
	before := uint64(0)
	if r.Start != "" {
		start := r.Start
		if r.Descending {
			start += "\x00" // the start itself is not among those before
		}
		n, err := w.snap.Offset(start)
		if err != nil {
			return 0, err
		}
		before = n - min(base, n)
		if r.Descending {
			before = total - min(before, total)
		}
	}
	if skip > total {
		return total, nil
	}
	return min(before+skip, total), nil
}

func (w *listWriter) head(l *listing, total, offset string) {
	b := append(w.row[:0], `{"total_rows":`...)
	b = append(b, total...)
	b = append(b, `,"offset":`...)
	b = append(b, offset...)
	if l.updateSeq {
		b = append(b, `,"update_seq":"`...)
		b = w.snap.AppendSeq(b, w.snap.Seq())
		b = append(b, '"')
	}
	b = append(b, `,"rows":[`...)
	w.row = b
	_, _ = w.out.Write(b)
}

func (w *listWriter) tail() error {
	_, err := w.out.WriteString("\r\n]}")
	return w.gone(err)
}

func (w *listWriter) gone(err error) error {
	if err != nil {
		_ = w.q.lost(err)
		return errGone
	}
	return nil
}

// writeRange writes the rows of the documents in a range.
func (w *listWriter) writeRange(l *listing, r storage.Range) error {
	left := l.limit
	for row, err := range w.snap.Documents(w.q.Context(), r) {
		if err != nil {
			return err
		}
		if err := w.writeRow(l, row); err != nil {
			return err
		}
		if left--; left == 0 {
			break
		}
	}
	return nil
}

// writeKeys writes a row for each key. Keys that cannot be ids within prefix are left out.
func (w *listWriter) writeKeys(l *listing, prefix string) error {
	if prefix != "" {
		l.keys = slices.DeleteFunc(l.keys, func(k listKey) bool { return !strings.HasPrefix(k.id, prefix) })
	}
	for i, key := range l.chosen() {
		if i%256 == 0 {
			if err := w.q.Context().Err(); err != nil {
				return err
			}
		}
		if err := w.writeKey(l, key); err != nil {
			return err
		}
	}
	return nil
}

// writeKey writes the row of a key. A key finds a local document even where those are not listed, as in CouchDB.
func (w *listWriter) writeKey(l *listing, key listKey) error {
	if key.text != nil {
		return w.writeMissing(key)
	}
	if document.IsLocal(key.id) {
		local, err := w.snap.Local(key.id)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return w.writeMissing(key)
		case err != nil:
			return err
		}
		return w.writeLocal(l, &local)
	}
	row, err := w.snap.Lookup(key.id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return w.writeMissing(key)
	case err != nil:
		return err
	}
	return w.writeRow(l, &row)
}

// begin starts a row.
func (w *listWriter) begin() []byte {
	b := w.row[:0]
	if w.count > 0 {
		b = append(b, ',')
	}
	w.count++
	return append(b, '\r', '\n')
}

// end sends a row.
func (w *listWriter) end(b []byte) error {
	w.row = b
	_, err := w.out.Write(b)
	return w.gone(err)
}

func (w *listWriter) writeMissing(key listKey) error {
	b := append(w.begin(), `{"key":`...)
	if key.text != nil {
		b = append(b, key.text...)
	} else {
		b = document.AppendString(b, key.id)
	}
	return w.end(append(b, `,"error":"not_found"}`...))
}

func (w *listWriter) writeRow(l *listing, row *storage.Row) error {
	b := append(w.begin(), `{"id":`...)
	at := len(b)
	b = document.AppendString(b, row.ID)
	id := b[at:]
	b = append(b, `,"key":`...)
	b = append(b, id...)
	b = append(b, `,"value":{"rev":`...)
	b = appendRev(b, row.Rev)
	if row.Deleted {
		b = append(b, `,"deleted":true`...)
	}
	b = append(b, '}')
	if !l.includeDocs {
		return w.end(append(b, '}'))
	}
	b = append(b, `,"doc":`...)
	if row.Deleted {
		return w.end(append(b, `null}`...))
	}
	if err := row.Read(&w.doc); err != nil {
		return err
	}
	w.q.api.stats.reads.Add(1)
	members := document.Members{EncodingInfo: l.encodingInfo}
	if l.conflicts && row.Branching() {
		tree, err := row.Tree()
		if err != nil {
			return err
		}
		for _, leaf := range tree.Leaves()[1:] {
			if !leaf.Deleted {
				members.Conflicts = append(members.Conflicts, leaf.ID)
			}
		}
	}
	if !l.attachments || len(w.doc.Attachments) == 0 {
		return w.end(append(document.AppendJSON(b, &w.doc, members), '}'))
	}
	if err := w.end(b); err != nil {
		return err
	}
	members.Form = func(*document.Attachment) document.Form { return document.FormInline }
	members.Open = opener(w.snap)
	if err := document.WriteJSON(w.out, &w.doc, members); err != nil {
		if err := w.q.broken(err); err != nil {
			return err
		}
		return errGone
	}
	return w.gone(w.out.WriteByte('}'))
}

// writeLocals writes a listing of local documents, which nobody counts.
func (w *listWriter) writeLocals(l *listing) error {
	w.head(l, "null", "null")
	if l.hasKeys {
		if err := w.writeKeys(l, scopeLocal.prefix()); err != nil {
			return err
		}
		return w.tail()
	}
	skip, left := l.skip, l.limit
	r, ok := l.documents(scopeLocal.prefix())
	if !ok || left == 0 {
		return w.tail()
	}
	for local, err := range w.snap.Locals(w.q.Context(), r) {
		if err != nil {
			return err
		}
		if skip > 0 {
			skip--
			continue
		}
		if err := w.writeLocal(l, &local); err != nil {
			return err
		}
		if left--; left == 0 {
			break
		}
	}
	return w.tail()
}

func (w *listWriter) writeLocal(l *listing, local *storage.Local) error {
	b := append(w.begin(), `{"id":`...)
	b = document.AppendString(b, local.ID)
	b = append(b, `,"key":`...)
	b = document.AppendString(b, local.ID)
	b = append(b, `,"value":{"rev":"0-`...)
	b = strconv.AppendUint(b, local.Rev, 10)
	b = append(b, `"}`...)
	if l.includeDocs {
		b = append(b, `,"doc":{"_id":`...)
		b = document.AppendString(b, local.ID)
		b = append(b, `,"_rev":"0-`...)
		b = strconv.AppendUint(b, local.Rev, 10)
		b = append(b, '"')
		if n := len(local.Body); n > 2 {
			b = append(b, ',')
			b = append(b, local.Body[1:n-1]...)
		}
		b = append(b, '}')
	}
	return w.end(append(b, '}'))
}
