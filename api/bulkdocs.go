package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

const (
	// Batches of documents that are read a second time end at the first of these.
	bulkBatchDocs = 2000
	bulkBatchSize = 4 << 20
)

// bulk is a request to write many documents. Nothing is written before the whole body was read and found to be good,
// as CouchDB does it; the member that says how to write may well be the last. So that memory is bounded all the same,
// the documents of a large body are dropped again, and decoded anew from a copy of it.
type bulk struct {
	q     *request
	db    *storage.DB
	edits bool // new_edits

	docs    []*document.Document
	size    int64 // of docs, roughly
	lists   int   // how often the body has the member docs
	dropped bool  // docs are to be read from body
	body    *bulkBody

	rows  []byte // of the answer, not yet sent
	count int    // rows so far
}

func postBulkDocs(q *request) error {
	q.api.stats.bulks.Add(1)
	db, err := q.db()
	if err != nil {
		return err
	}
	if err := q.requireJSON(); err != nil {
		return err
	}
	b := &bulk{q: q, db: db, edits: true, body: q.newBulkBody()}
	defer b.close()
	if err := b.read(); err != nil {
		return err
	}
	if b.dropped {
		return b.writeBatches()
	}
	return b.writeAll()
}

func (b *bulk) close() {
	b.forget()
	b.body.close()
}

// forget releases the documents.
func (b *bulk) forget() {
	closeDocuments(b.docs)
	b.docs, b.size = nil, 0
}

func closeDocuments(docs []*document.Document) {
	for _, d := range docs {
		_ = d.Close()
	}
}

// read reads the whole body and checks it.
func (b *bulk) read() error {
	s := document.NewStream(b.body, b.q.limits())
	defer s.Close()
	badMode, nameless := false, false
	for {
		name, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		switch name {
		case "docs":
			b.lists++
			b.forget() // of equal members the last counts
			nameless, b.dropped = false, false
			for d, err := range s.Documents() {
				if err != nil {
					return err
				}
				nameless = nameless || d.Rev.IsZero()
				if err := b.take(d); err != nil {
					return err
				}
			}
		case "new_edits":
			value, err := s.Value()
			if err != nil {
				return err
			}
			b.edits = string(value) == "true"
			badMode = !b.edits && string(value) != "false"
		}
	}
	switch {
	case b.lists == 0:
		return badRequest("POST body must include `docs` parameter.")
	case badMode:
		return badRequest("`new_edits` parameter must be a boolean.")
	case !b.edits && nameless:
		return errNeedsRev
	}
	return nil
}

// take checks a document and keeps it while there is room.
func (b *bulk) take(d *document.Document) error {
	if err := b.check(d); err != nil {
		_ = d.Close()
		return err
	}
	if b.dropped {
		return d.Close()
	}
	b.docs = append(b.docs, d)
	b.size += weight(d)
	if b.body.full(b.size) {
		b.forget()
		b.dropped = true
	}
	return nil
}

// weight estimates the memory that a document takes up: its text, and its term of about the same size.
func weight(d *document.Document) int64 {
	n := int64(2*len(d.Body) + 512)
	for i := range d.Attachments {
		if c := d.Attachments[i].Data; c != nil {
			n += min(c.Size(), 256<<10)
		}
	}
	return n
}

// check gives a document an id if it has none, and tells whether it may be written here.
func (b *bulk) check(d *document.Document) error {
	if d.ID == "" {
		d.ID = b.q.api.newUUID(b.q.config)
	}
	for i := range d.Attachments {
		if d.Attachments[i].Follows {
			return badRequestf("Attachment %s of %s cannot follow: the request is not multipart.", d.Attachments[i].Name, d.ID)
		}
	}
	if document.IsLocal(d.ID) {
		_, err := localNumber(d)
		return err
	}
	if b.db.Partitioned() {
		return document.ValidatePartitionedID(d.ID)
	}
	return nil
}

// prepare stores the attachments that came with the documents.
func (b *bulk) prepare(docs []*document.Document) error {
	for _, d := range docs {
		for i := range d.Attachments {
			if d.Attachments[i].Data == nil {
				continue
			}
			if err := b.q.storeAttachments(b.q.Context(), b.db, d); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// apply writes documents and returns what became of each.
func (b *bulk) apply(docs []*document.Document) ([]storage.Result, error) {
	// What has been handed to the writer will be written, whether the client waits for it or not; and until then the
	// documents are not ours.
	ctx := context.WithoutCancel(b.q.Context())
	w := storage.Write{Docs: docs, Mode: storage.Edit, Validator: b.q.validator()}
	if !b.edits {
		w.Mode = storage.Replicate
	}
	special := func(d *document.Document) bool { return d.ID[0] == '_' }
	if !b.q.selective() && !slices.ContainsFunc(docs, special) {
		return b.db.Apply(ctx, w)
	}

	// Local documents are written by themselves, and malformed ones not at all.
	results := make([]storage.Result, len(docs))
	w.Docs = make([]*document.Document, 0, len(docs))
	places := make([]int, 0, len(docs)) // of the other documents in docs
	for i, d := range docs {
		var err error
		switch {
		case document.IsLocal(d.ID):
			rev, err := putLocalDocument(ctx, b.db, d)
			if err != nil {
				return nil, err
			}
			results[i] = storage.Result{ID: d.ID, Rev: rev}
			continue
		case document.IsDesign(d.ID):
			err = b.q.checkDesign(d.Body)
		}
		if err == nil {
			err = b.q.admit(d, w.Mode)
		}
		var account *auth.Error
		switch {
		case errors.Is(err, storage.ErrNotFound), errors.As(err, &account):
			return nil, err // as in CouchDB, somebody else's account ends the request
		case err != nil:
			results[i] = storage.Result{ID: d.ID, Rev: d.Rev, Err: err}
			continue
		}
		w.Docs, places = append(w.Docs, d), append(places, i)
	}
	written, err := b.db.Apply(ctx, w)
	for i, place := range places[:len(written)] {
		results[place] = written[i]
	}
	return results, err
}

// putLocalDocument writes or deletes a local document. Its revision counts up from whatever the client sent.
func putLocalDocument(ctx context.Context, db *storage.DB, d *document.Document) (revtree.ID, error) {
	if d.Deleted {
		if err := db.DeleteLocal(ctx, d.ID); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return revtree.ID{}, err
		}
		return revtree.ID{Hash: "0"}, nil
	}
	before, err := localNumber(d)
	if err != nil {
		return revtree.ID{}, err
	}
	rev, err := db.PutLocal(ctx, storage.Local{ID: d.ID, Rev: before, Body: d.Body})
	return revtree.ID{Hash: strconv.FormatUint(rev, 10)}, err
}

// localNumber returns the N of the revision 0-N that a local document came with, 0 if with none.
func localNumber(d *document.Document) (uint64, error) {
	if d.Rev.IsZero() {
		return 0, nil
	}
	n, err := strconv.ParseUint(d.Rev.Hash, 10, 63)
	if err != nil || d.Rev.Gen != 0 {
		return 0, errInvalidRev
	}
	return n, nil
}

// writeAll writes documents that are in memory, all of them, and answers.
func (b *bulk) writeAll() error {
	if err := b.prepare(b.docs); err != nil {
		return err
	}
	results, err := b.apply(b.docs)
	if err != nil {
		return err
	}
	b.rows = make([]byte, 0, 2+96*len(results))
	b.rows = append(b.rows, '[')
	for i := range results {
		var stub *storage.MissingStubError
		if errors.As(results[i].Err, &stub) {
			return stub // CouchDB gives no other results then
		}
		b.addRow(&results[i])
	}
	return b.q.replyText(http.StatusCreated, append(b.rows, ']'))
}

// addRow appends the row of a result, if it has one.
func (b *bulk) addRow(r *storage.Result) {
	if r.Err == nil {
		b.q.api.stats.writes.Add(1)
		if !b.edits {
			return
		}
	}
	if b.count > 0 {
		b.rows = append(b.rows, ',')
	}
	b.count++
	if r.Err == nil {
		b.rows = append(b.rows, `{"ok":true,"id":`...)
		b.rows = document.AppendString(b.rows, r.ID)
		b.rows = append(b.rows, `,"rev":`...)
		b.rows = appendRev(b.rows, r.Rev)
		b.rows = append(b.rows, '}')
		return
	}
	e := toError(r.Err)
	if e == nil {
		b.q.log().Error("a document was not written", "database", b.q.dbName, "id", r.ID, "error", r.Err)
		e = errInternal
	}
	b.rows = append(b.rows, `{"id":`...)
	b.rows = document.AppendString(b.rows, r.ID)
	if !b.edits {
		b.rows = append(b.rows, `,"rev":`...)
		b.rows = appendRev(b.rows, r.Rev)
	}
	b.rows = append(b.rows, `,"error":`...)
	b.rows = document.AppendString(b.rows, e.Name)
	b.rows = append(b.rows, `,"reason":`...)
	b.rows = append(e.appendReason(b.rows), '}')
}

// appendRev appends a revision as a JSON string.
func appendRev(b []byte, rev revtree.ID) []byte {
	if len(rev.Hash) == 16 {
		b = append(b, '"')
		b, _ = rev.AppendText(b)
		return append(b, '"')
	}
	return document.AppendString(b, rev.String())
}

// outcome is what has become of a batch.
type outcome struct {
	results []storage.Result
	err     error
}

// writeBatches decodes the copy of the body again and writes the documents in batches. While one is being written
// the next is decoded.
func (b *bulk) writeBatches() (err error) {
	end, err := b.q.api.bulks.load(b.q.Context())
	if err != nil {
		return err
	}
	defer end()
	s := document.NewStream(b.body.again(), b.q.limits())
	defer s.Close()

	out := b.q.newStream()
	var flight chan outcome
	land := func() error {
		if flight == nil {
			return nil
		}
		o := <-flight
		flight = nil
		if o.err != nil {
			return o.err
		}
		if b.q.w.status == 0 {
			b.q.w.WriteHeader(http.StatusCreated)
			_ = out.WriteByte('[')
		}
		for i := range o.results {
			b.addRow(&o.results[i])
		}
		_, _ = out.Write(b.rows) // a client that has gone away ends the request's context
		b.rows = b.rows[:0]
		return nil
	}
	defer func() {
		if flight != nil {
			<-flight // what it writes belongs to it until it ends
		}
	}()
	launch := func() error {
		docs := b.docs
		b.docs, b.size = nil, 0
		err := b.q.Context().Err()
		if err == nil {
			err = b.prepare(docs)
		}
		if err == nil {
			err = land()
		}
		if err != nil {
			closeDocuments(docs)
			return err
		}
		flight = make(chan outcome, 1)
		go func(landed chan<- outcome) {
			results, err := b.apply(docs)
			closeDocuments(docs)
			landed <- outcome{results, err}
		}(flight)
		return nil
	}
	for lists := 0; lists < b.lists; {
		name, err := s.Next()
		if err != nil {
			return err
		}
		if name == "docs" {
			lists++
		}
		if name != "docs" || lists < b.lists {
			continue
		}
		for d, err := range s.Documents() {
			if err != nil {
				return err
			}
			if err := b.check(d); err != nil {
				return err
			}
			b.docs = append(b.docs, d)
			if b.size += weight(d); len(b.docs) >= bulkBatchDocs || b.size >= bulkBatchSize {
				if err := launch(); err != nil {
					return err
				}
			}
		}
	}
	if err := launch(); err != nil {
		return err
	}
	if err := land(); err != nil {
		return err
	}
	_, _ = out.WriteString("]\n")
	return b.q.lost(out.end())
}
