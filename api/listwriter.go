package api

import (
	"errors"
	"strconv"
	"strings"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// listWriter writes lists of the documents of one snapshot.
type listWriter struct {
	rowWriter
	scope scope
}

// write writes one listing.
func (w *listWriter) write(l *listing) error {
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
		w.head(l, w.snap.Seq(), strconv.FormatUint(total, 10), "null")
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
	w.head(l, w.snap.Seq(), strconv.FormatUint(total, 10), strconv.FormatUint(offset, 10))
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
	skip, left := l.skip, l.limit
	for i := range l.keys {
		if i%256 == 0 {
			if err := w.q.Context().Err(); err != nil {
				return err
			}
		}
		key := l.keys[i]
		if l.descending {
			key = l.keys[len(l.keys)-1-i]
		}
		id, ok := jsonString(key)
		switch {
		case prefix != "" && !strings.HasPrefix(id, prefix):
			continue
		case skip > 0:
			skip--
			continue
		case left == 0:
			return nil
		}
		left--
		if !ok {
			if err := w.writeMissing(key); err != nil {
				return err
			}
			continue
		}
		if err := w.writeKey(l, id, key); err != nil {
			return err
		}
	}
	return nil
}

// writeKey writes the row of an id, which is that of the key. It finds a local document even where those are not
// listed, as in CouchDB.
func (w *listWriter) writeKey(l *listing, id string, key []byte) error {
	if document.IsLocal(id) {
		local, err := w.snap.Local(id)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return w.writeMissing(key)
		case err != nil:
			return err
		}
		return w.writeLocal(l, &local)
	}
	row, err := w.snap.Lookup(id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return w.writeMissing(key)
	case err != nil:
		return err
	}
	return w.writeRow(l, &row)
}

func (w *listWriter) writeMissing(key []byte) error {
	b := append(w.begin(), `{"key":`...)
	b = append(b, key...)
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
	return w.endWithWinner(b, l, row)
}

// writeLocals writes a listing of local documents, which nobody counts.
func (w *listWriter) writeLocals(l *listing) error {
	w.head(l, w.snap.Seq(), "null", "null")
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
