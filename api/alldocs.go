package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
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
	l := listing{limit: noLimit, partition: q.name}
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
	l := listing{limit: noLimit, partition: q.name}
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
	if err := q.requireJSON(); err != nil {
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
	defaults := listing{limit: noLimit, partition: q.name}
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
	return q.lost(w.out.Flush())
}

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

// documents returns the range of a listing, within prefix. It reports false if the range is empty.
func (l *listing) documents(prefix string) (storage.Range, bool) {
	r := storage.Range{Descending: l.descending, Prefix: prefix, ExclusiveEnd: l.exclusiveEnd}
	if l.start.set {
		switch {
		case !l.start.before:
			r.Start = l.start.id
		case l.descending:
			return r, false
		}
	}
	if l.descending && l.start.set && r.Start == "" {
		return r, false // storage takes the empty id for no bound
	}
	// The start is moved into the prefix here, because skipping counts from it.
	if prefix != "" {
		if behind := behindPrefix(prefix); !l.descending {
			if r.Start >= behind {
				return r, false
			}
			r.Start = max(r.Start, prefix)
		} else if r.Start == "" || r.Start > behind {
			r.Start = behind
		} else if r.Start <= prefix {
			return r, false
		}
	}
	if l.end.set {
		switch {
		case !l.end.before:
			r.End, r.HasEnd = l.end.id, true
		case !l.descending:
			return r, false
		}
	}
	if r.HasEnd && r.Start != "" {
		if !r.Descending && r.End < r.Start || r.Descending && r.End > r.Start {
			return r, false
		}
	}
	return r, true
}

// behindPrefix returns the least text that is greater than all that start with prefix, whose last byte is "/" or ":".
// It is no document's id: ids that start with an underscore are reserved, and those of partitions have a colon.
func behindPrefix(prefix string) string {
	last := len(prefix) - 1
	return prefix[:last] + string(prefix[last]+1)
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

// chosen returns the keys that are left in the listing's order, skip and limit.
func (l *listing) chosen() []listKey {
	keys := l.keys
	if l.descending {
		keys = slices.Clone(keys)
		slices.Reverse(keys)
	}
	keys = keys[min(l.skip, uint64(len(keys))):]
	return keys[:min(l.limit, uint64(len(keys)))]
}

// writeKeys writes a row for each key. Design documents are listed without what is no design document's id.
func (w *listWriter) writeKeys(l *listing, prefix string) error {
	if prefix != "" {
		l.keys = slices.DeleteFunc(l.keys, func(k listKey) bool { return !strings.HasPrefix(k.id, prefix) })
	}
	for i, key := range l.chosen() {
		if i%256 == 0 {
			if err := context.Cause(w.q.Context()); err != nil {
				return err
			}
		}
		row, err := storage.Row{}, storage.ErrNotFound
		if key.text == nil {
			row, err = w.snap.Lookup(key.id)
		}
		switch {
		case errors.Is(err, storage.ErrNotFound):
			err = w.writeMissing(key)
		case err == nil:
			err = w.writeRow(l, &row)
		}
		if err != nil {
			return err
		}
	}
	return nil
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
	members.Open = func(a *document.Attachment) (io.ReadCloser, error) { return w.snap.OpenAttachment(a) }
	if err := document.WriteJSON(w.out, &w.doc, members); err != nil {
		return err
	}
	return w.gone(w.out.WriteByte('}'))
}

// writeLocals writes a listing of local documents, which nobody counts.
func (w *listWriter) writeLocals(l *listing) error {
	w.head(l, "null", "null")
	if l.hasKeys {
		l.keys = slices.DeleteFunc(l.keys, func(k listKey) bool { return !document.IsLocal(k.id) })
		for _, key := range l.chosen() {
			local, err := w.snap.Local(key.id)
			switch {
			case errors.Is(err, storage.ErrNotFound):
				err = w.writeMissing(key)
			case err == nil:
				err = w.writeLocal(l, &local)
			}
			if err != nil {
				return err
			}
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
