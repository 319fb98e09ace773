package api

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// bulkGet is a request to read many revisions of documents. They are answered in the order they are asked for, after
// the whole body was read: clients do not read before they have sent everything.
type bulkGet struct {
	q    *request
	db   *storage.DB
	snap *storage.Snapshot

	latest, revs, attachments, encodingInfo bool

	asks    []ask
	size    int64 // of asks, roughly
	lists   int   // how often the body has the member docs
	dropped bool  // asks are to be read from body
	body    *bulkBody

	doc document.Document // used again for one document after the other
	buf []byte
}

// ask is one of the documents that are asked for.
type ask struct {
	id    []byte // JSON text
	name  string // the id, if it is a string
	rev   revtree.ID
	all   bool         // every leaf, because no revision was named
	since []revtree.ID // revisions whose attachments the client has
	fault *askFault
}

// askFault says why nothing can be found for an ask.
type askFault struct {
	rev          []byte // JSON text
	name, reason string
}

func postBulkGet(q *request) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	if err := q.requireJSON(); err != nil {
		return err
	}
	for name := range queryParams(q.URL.RawQuery) {
		switch name {
		case "open_revs", "new_edits", "w", "rev", "atts_since":
			return badRequest(`"` + name + `" query parameter is not acceptable`)
		}
	}
	g := &bulkGet{
		q: q, db: db, body: q.newBulkBody(), latest: q.flag("latest"), revs: q.flag("revs"),
		attachments: q.flag("attachments"), encodingInfo: q.flag("att_encoding_info"),
	}
	defer g.close()
	if err := g.read(); err != nil {
		return err
	}
	if g.snap, err = q.viewOf(db); err != nil {
		return err
	}
	switch {
	case q.accepts("application/json"):
	case q.accepts("multipart/mixed"):
		return g.writeMultipart("mixed")
	case q.accepts("multipart/related"):
		return g.writeMultipart("related")
	}
	return g.writeJSON()
}

func (g *bulkGet) close() {
	if g.snap != nil {
		g.snap.Close()
	}
	g.body.close()
}

// read reads the whole body and checks its form. What is wrong with single asks is answered in their places.
func (g *bulkGet) read() error {
	s := document.NewStream(g.body, g.q.limits())
	defer s.Close()
	for {
		name, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if name != "docs" {
			continue
		}
		g.lists++
		g.asks, g.size, g.dropped = nil, 0, false
		for text, err := range s.Elements() {
			if err != nil {
				return err
			}
			if g.dropped {
				continue
			}
			g.asks = append(g.asks, g.parse(text))
			if g.size += int64(256 + len(text)); g.body.full(g.size) {
				g.asks, g.dropped = nil, true
			}
		}
	}
	if g.lists == 0 {
		return badRequest("Missing JSON list of 'docs'.")
	}
	return nil
}

// each calls visit for each ask.
func (g *bulkGet) each(visit func(a *ask) error) error {
	if !g.dropped {
		for i := range g.asks {
			if err := g.visit(&g.asks[i], visit); err != nil {
				return err
			}
		}
		return nil
	}
	s := document.NewStream(g.body.again(), g.q.limits())
	defer s.Close()
	for lists := 0; lists < g.lists; {
		name, err := s.Next()
		if err != nil {
			return err
		}
		if name == "docs" {
			lists++
		}
		if name != "docs" || lists < g.lists {
			continue
		}
		for text, err := range s.Elements() {
			if err != nil {
				return err
			}
			a := g.parse(text)
			if err := g.visit(&a, visit); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *bulkGet) visit(a *ask, visit func(a *ask) error) error {
	if err := g.q.Context().Err(); err != nil {
		return err
	}
	return visit(a)
}

var jsonNull = []byte("null")

// parse reads an element of docs.
func (g *bulkGet) parse(text []byte) ask {
	a := ask{id: jsonNull, all: true}
	if len(text) <= 2 || text[0] != '{' {
		a.fault = &askFault{jsonNull, "bad_request", "document must be a JSON object"}
		return a
	}
	s := document.NewStream(bytes.NewReader(text), document.Limits{})
	defer s.Close()
	var id, rev, since []byte
	for {
		name, err := s.Next()
		if err != nil {
			break // the text is known to be an object, so that this is its end
		}
		switch name {
		case "id":
			id, _ = s.Value()
		case "rev":
			rev, _ = s.Value()
		case "atts_since":
			since, _ = s.Value()
		}
	}
	if id == nil {
		a.fault = &askFault{jsonNull, "bad_request", "document id missed"}
		return a
	}
	a.id = id
	if err := g.checkID(&a); err != nil {
		a.fault = &askFault{jsonNull, err.Name, err.Reason}
		return a
	}
	if rev != nil {
		a.all = false
		if a.rev, a.fault = askedRev(rev); a.fault != nil {
			return a
		}
	}
	if since == nil {
		return a
	}
	if since[0] != '[' {
		a.fault = &askFault{since, "bad_request", "att_since value must be array of revs."}
		return a
	}
	revs := document.NewStream(bytes.NewReader(since), document.Limits{})
	defer revs.Close()
	for text, err := range revs.Elements() {
		var r revtree.ID
		if err == nil {
			r, a.fault = askedRev(text)
		}
		if a.fault != nil {
			break
		}
		a.since = append(a.since, r)
	}
	return a
}

// checkID reads the id of an ask and tells whether a document may have it.
func (g *bulkGet) checkID(a *ask) *Error {
	var ok bool
	if a.name, ok = jsonString(a.id); !ok {
		return &Error{Name: "illegal_docid", Reason: "Document id must be a string"}
	}
	if err := checkID(g.db, a.name); err != nil {
		return toError(err)
	}
	return nil
}

func askedRev(text []byte) (revtree.ID, *askFault) {
	if s, ok := jsonString(text); ok {
		if rev, err := revtree.ParseID(s); err == nil {
			return rev, nil
		}
	}
	return revtree.ID{}, &askFault{text, errInvalidRev.Name, errInvalidRev.Reason}
}

// open finds what is asked for and calls found for each revision, or missing for one that is not there. The document
// is valid during the call. A document that is not there at all is a fault of the ask.
func (g *bulkGet) open(a *ask, found func(*document.Document) error, missing func(revtree.ID) error) (*askFault, error) {
	if a.fault != nil {
		return a.fault, nil
	}
	row, err := g.snap.Lookup(a.name)
	switch {
	case errors.Is(err, storage.ErrNotFound) && a.all:
		return &askFault{[]byte(`"undefined"`), "not_found", "missing"}, nil
	case errors.Is(err, storage.ErrNotFound):
		return nil, missing(a.rev)
	case err != nil:
		return nil, err
	}
	if simple := !row.Branching() && (a.all || a.rev == row.Rev); simple && !g.revs && a.since == nil {
		if err := row.Read(&g.doc); errors.Is(err, storage.ErrNotFound) {
			return nil, missing(row.Rev)
		} else if err != nil {
			return nil, err
		}
		return nil, found(&g.doc)
	}
	tree, err := row.Tree()
	if err != nil {
		return nil, err
	}
	var wanted []revtree.Node
	switch i, ok := tree.Find(a.rev); {
	case a.all:
		wanted = tree.Leaves()
	case g.latest:
		wanted = tree.Latest(a.rev)
	case ok:
		wanted = []revtree.Node{tree.Node(i)}
	}
	if len(wanted) == 0 {
		return nil, missing(a.rev)
	}
	for _, n := range wanted {
		i, _ := tree.Find(n.ID)
		d, err := row.Revision(tree, i)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			err = missing(n.ID)
		case err == nil:
			err = found(d)
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// writeJSON answers with one object.
func (g *bulkGet) writeJSON() error {
	out := g.q.newStream()
	_, _ = out.WriteString(`{"results":[`)
	first := true
	err := g.each(func(a *ask) error {
		b := g.buf[:0]
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, `{"id":`...)
		b = append(b, a.id...)
		b = append(b, `,"docs":[`...)
		docs := 0
		comma := func() {
			if docs++; docs > 1 {
				b = append(b, ',')
			}
		}
		fault, err := g.open(a, func(d *document.Document) error {
			comma()
			b = append(b, `{"ok":`...)
			var err error
			b, err = g.appendDocument(b, out, d, a)
			b = append(b, '}')
			return err
		}, func(rev revtree.ID) error {
			comma()
			b = append(b, `{"error":`...)
			b = appendFault(b, a.id, &askFault{appendRev(nil, rev), "not_found", "missing"})
			b = append(b, '}')
			return nil
		})
		if err != nil {
			return err
		}
		if fault != nil {
			b = append(b, `{"error":`...)
			b = appendFault(b, a.id, fault)
			b = append(b, '}')
		}
		g.buf = append(b, "]}"...)
		if _, err := out.Write(g.buf); err != nil {
			return errGone
		}
		return nil
	})
	if errors.Is(err, errGone) {
		return nil
	}
	if err != nil {
		return err
	}
	_, _ = out.WriteString("]}\n")
	return g.q.lost(out.end())
}

// appendFault appends an error as _bulk_get tells it. The id is left out if it is nil.
func appendFault(b, id []byte, f *askFault) []byte {
	b = append(b, '{')
	if id != nil {
		b = append(b, `"id":`...)
		b = append(b, id...)
		b = append(b, ',')
	}
	b = append(b, `"rev":`...)
	b = append(b, f.rev...)
	b = append(b, `,"error":`...)
	b = document.AppendString(b, f.name)
	b = append(b, `,"reason":`...)
	b = document.AppendString(b, f.reason)
	return append(b, '}')
}

// appendDocument appends a document to b, and returns what of b is still to be written: with attachments inline, b
// and the greater part of the document have gone to out.
func (g *bulkGet) appendDocument(b []byte, out io.Writer, d *document.Document, a *ask) ([]byte, error) {
	g.q.api.stats.reads.Add(1)
	m := document.Members{Revisions: g.revs, EncodingInfo: g.encodingInfo}
	if len(d.Attachments) == 0 || !g.attachments && a.since == nil {
		return document.AppendJSON(b, d, m), nil
	}
	known := newestOf(d.Revisions, a.since)
	m.Form = func(att *document.Attachment) document.Form {
		if att.RevPos > known {
			return document.FormInline
		}
		return document.FormStub
	}
	m.Open = opener(g.snap)
	if _, err := out.Write(b); err != nil {
		return b[:0], errGone
	}
	if err := document.WriteJSON(out, d, m); err != nil {
		return b[:0], g.q.broken(err)
	}
	return b[:0], nil
}

// writeMultipart answers with a part for each document. Attachments follow their documents, with the encoding that
// they are stored in.
func (g *bulkGet) writeMultipart(subtype string) error {
	out := g.q.newStream()
	parts := document.NewMultipartWriter(out, subtype)
	g.q.w.Header().Set("Content-Type", parts.ContentType())
	g.q.w.WriteHeader(http.StatusOK)
	err := g.each(func(a *ask) error {
		fault, err := g.open(a, func(d *document.Document) error {
			return g.writePart(parts, d, a)
		}, func(rev revtree.ID) error {
			return parts.WriteError(appendFault(nil, nil, &askFault{appendRev(nil, rev), "not_found", "missing"}))
		})
		if err == nil && fault != nil {
			err = parts.WriteError(appendFault(nil, a.id, fault))
		}
		return err
	})
	if err != nil {
		return g.q.broken(err)
	}
	if err := parts.Close(); err != nil {
		return g.q.lost(err)
	}
	return g.q.lost(out.end())
}

func (g *bulkGet) writePart(parts *document.MultipartWriter, d *document.Document, a *ask) error {
	g.q.api.stats.reads.Add(1)
	known := newestOf(d.Revisions, a.since)
	for i := range d.Attachments {
		att := &d.Attachments[i]
		att.Follows = att.RevPos > known
	}
	m := document.Members{Revisions: g.revs, EncodingInfo: true, Form: func(att *document.Attachment) document.Form {
		if att.Follows {
			return document.FormFollows
		}
		return document.FormStub
	}}
	g.buf = document.AppendJSON(g.buf[:0], d, m)
	r := document.NewRelated(g.buf, d.Attachments)
	r.ID, r.Rev = d.ID, d.Rev.String()
	return parts.WriteDocument(r, opener(g.snap))
}
