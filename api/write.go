package api

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// putDocument writes the document that the path names, an ordinary or a local one.
func putDocument(q *request) error {
	mode := storage.Edit
	if q.param("new_edits") == "false" {
		mode = storage.Replicate
	}
	db, err := q.db()
	if err != nil {
		return err
	}
	if err := checkID(db, q.docID); err != nil {
		return err
	}
	rev, err := q.revParam()
	if err != nil {
		return err
	}
	var d *document.Document
	related := strings.HasPrefix(strings.ToLower(q.Header.Get("Content-Type")), "multipart/related")
	if related {
		d, err = q.readRelated(db, rev, mode)
	} else {
		d, err = q.readDocument(rev, mode)
	}
	if err != nil {
		return err
	}
	if !related && q.param("batch") == "ok" {
		return q.writeLater(db, d, mode)
	}
	deleted := d.Deleted
	id, body := d.ID, d.Body
	written, err := q.write(db, d, mode)
	if err != nil {
		return err
	}
	h := q.w.Header()
	h["Location"] = []string{q.url("/" + escape(q.dbName) + "/" + escape(id))}
	if document.IsLocal(id) {
		h["Etag"] = []string{localTag(written.Hash, body)}
	} else {
		h["Etag"] = []string{`"` + written.String() + `"`}
	}
	status := http.StatusCreated
	if deleted {
		status = http.StatusOK
	}
	return q.replyWritten(status, id, written)
}

// postDocument writes a document whose id is in the body, or made up.
func postDocument(q *request) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	if err := q.requireJSON(); err != nil {
		return err
	}
	d, err := document.DecodeStream(q.Body, q.limits())
	if err != nil {
		return err
	}
	if d.ID == "" {
		d.ID = q.api.newUUID(q.config)
	}
	err = checkID(db, d.ID)
	if err == nil {
		err = q.checkDocument(d)
	}
	if err != nil {
		return closed(d, err)
	}
	if q.param("batch") == "ok" {
		return q.writeLater(db, d, storage.Edit)
	}
	id := d.ID
	rev, err := q.write(db, d, storage.Edit)
	if err != nil {
		return err
	}
	q.w.Header()["Location"] = []string{q.url("/" + escape(q.dbName) + "/" + escape(id))}
	return q.replyWritten(http.StatusCreated, id, rev)
}

// deleteDocument writes a tombstone.
func deleteDocument(q *request) error {
	db, snap, err := q.snapshot()
	if err != nil {
		return err
	}
	row, err := lookup(db, snap, q.docID)
	snap.Close()
	if err != nil {
		return err
	}
	if row.Deleted {
		return errDeleted
	}
	rev, err := q.sentRev()
	if err != nil {
		return err
	}
	rev, err = q.write(db, &document.Document{ID: q.docID, Rev: rev, Deleted: true, Body: []byte("{}")}, storage.Edit)
	if err != nil {
		return err
	}
	q.w.Header()["Etag"] = []string{`"` + rev.String() + `"`}
	return q.replyWritten(http.StatusOK, q.docID, rev)
}

// putUnknown answers for paths that begin with an underscore but are no resource: they look like a document's.
func putUnknown(q *request) error {
	if _, err := q.db(); err != nil {
		return err
	}
	if name, _, below := strings.Cut(q.docID, "/"); strings.HasPrefix(name, "_") && !(below && name == "_design") {
		return document.ValidateID(name)
	}
	return errMissing
}

// checkID tells whether a database can have a document of that id.
func checkID(db *storage.DB, id string) error {
	if db.Partitioned() {
		return document.ValidatePartitionedID(id)
	}
	return document.ValidateID(id)
}

// closed closes a document that will not be written, and returns why.
func closed(d *document.Document, err error) error {
	_ = d.Close()
	return err
}

// readDocument reads a document from a JSON body. The revision is the one in the query, if there is one there.
func (q *request) readDocument(rev revtree.ID, mode storage.Mode) (*document.Document, error) {
	d, err := document.DecodeStream(q.Body, q.limits())
	if err != nil {
		return nil, err
	}
	if err := q.settle(d, rev, mode); err != nil {
		return nil, closed(d, err)
	}
	for i := range d.Attachments {
		if d.Attachments[i].Follows {
			return nil, closed(d, badRequestf("Attachment %s cannot follow: the request is not multipart.", d.Attachments[i].Name))
		}
	}
	return d, nil
}

// readRelated reads a document and the attachments that follow it from a multipart/related body.
func (q *request) readRelated(db *storage.DB, rev revtree.ID, mode storage.Mode) (*document.Document, error) {
	m, err := document.NewMultipartReader(q.Body, q.Header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	part, err := m.NextPart()
	if err == io.EOF {
		return nil, badRequest("The multipart body has no parts.")
	}
	if err != nil {
		return nil, err
	}
	if t, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type")); t != "application/json" && part.Header.Get("Content-Type") != "" {
		return nil, errContentType
	}
	d, err := document.DecodeStream(part, q.limits())
	if err != nil {
		return nil, err
	}
	err = q.settle(d, rev, mode)
	if err == nil {
		err = m.ReadAttachments(d.Attachments, func(a *document.Attachment, content io.Reader) error {
			if err := q.storeAttachment(q.Context(), db, a, content); err != nil {
				return err
			}
			replicatedPosition(d, a)
			return nil
		})
	}
	if err != nil {
		return nil, closed(d, err)
	}
	return d, nil
}

// tooLarge names in the error for a document that is too large the id that its text names, if it does: CouchDB notices
// before it looks at the path.
func tooLarge(err error, id string) error {
	var fault *document.Error
	if errors.As(err, &fault) && fault.Kind == document.TooLarge && fault.Name == "document_too_large" {
		return &document.Error{Kind: fault.Kind, Name: fault.Name, Reason: id}
	}
	return err
}

// settle gives a document the id that the path names, and the revision that stands in the body, the query or
// If-Match, which have to agree.
func (q *request) settle(d *document.Document, rev revtree.ID, mode storage.Mode) error {
	said := d.ID
	d.ID = q.docID
	if !rev.IsZero() && !d.Rev.IsZero() && rev != d.Rev {
		return badRequest("Document rev from request body and query string have different values")
	}
	if d.Rev.IsZero() {
		d.Rev = rev
	}
	match, err := q.ifMatch()
	switch {
	case err != nil:
		return err
	case match.IsZero():
	case d.Rev.IsZero():
		d.Rev = match
	case d.Rev != match:
		return errRevAndETag
	}
	if mode == storage.Replicate && d.Rev.IsZero() && !document.IsLocal(d.ID) {
		return errNeedsRev
	}
	return tooLarge(q.checkDocument(d), said)
}

// checkDocument checks what documents that are sent have to comply with beyond being well-formed.
func (q *request) checkDocument(d *document.Document) error {
	if err := q.limits().Check(d); err != nil {
		return err
	}
	if document.IsDesign(d.ID) {
		return q.checkDesign(d.Body)
	}
	return nil
}

// write writes one document and returns its new revision. It closes the document.
func (q *request) write(db *storage.DB, d *document.Document, mode storage.Mode) (revtree.ID, error) {
	if err := q.prepare(db, d, mode); err != nil {
		return revtree.ID{}, err
	}
	q.api.stats.writes.Add(1)
	if document.IsLocal(d.ID) {
		return putLocalDocument(q.Context(), db, d)
	}
	// What has been handed to the writer will be written, whether the client waits for it or not; and until then the
	// document is not ours.
	results, err := db.Apply(context.WithoutCancel(q.Context()), storage.Write{Docs: []*document.Document{d}, Mode: mode, Validator: q.validator()})
	if err != nil {
		return revtree.ID{}, err
	}
	return results[0].Rev, results[0].Err
}

// prepare makes a document ready to be written. It stores what attachments came inline, after which the document's own
// copies are not needed.
func (q *request) prepare(db *storage.DB, d *document.Document, mode storage.Mode) error {
	err := q.admit(d, mode)
	if err == nil && !document.IsLocal(d.ID) { // which has no attachments
		err = q.storeAttachments(q.Context(), db, d)
	}
	return errors.Join(err, d.Close())
}

// writeLater takes one document to be written soon, and answers that.
func (q *request) writeLater(db *storage.DB, d *document.Document, mode storage.Mode) error {
	id := d.ID
	if document.IsLocal(id) {
		if _, err := q.write(db, d, mode); err != nil {
			return err
		}
	} else {
		if err := q.prepare(db, d, mode); err != nil {
			return err
		}
		q.api.stats.writes.Add(1)
		if err := db.ApplyLater(q.Context(), storage.Write{Docs: []*document.Document{d}, Mode: mode, Validator: q.validator()}); err != nil {
			return err
		}
	}
	b := append(make([]byte, 0, 64+len(id)), `{"ok":true,"id":`...)
	b = document.AppendString(b, id)
	return q.replyText(http.StatusAccepted, append(b, '}'))
}

// replyWritten answers with the id and the new revision of a document.
func (q *request) replyWritten(status int, id string, rev revtree.ID) error {
	b := append(make([]byte, 0, 96+len(id)), `{"ok":true,"id":`...)
	b = document.AppendString(b, id)
	b = append(b, `,"rev":`...)
	b = appendRev(b, rev)
	return q.replyText(status, append(b, '}'))
}
