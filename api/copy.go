package api

import (
	"net/http"
	"strings"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// copyDocument writes a document with its attachments under the id that the header Destination names.
func copyDocument(q *request) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	rev, err := q.sentRev()
	if err != nil {
		return err
	}
	id, over, err := q.destination()
	if err != nil {
		return err
	}
	d, err := q.source(db, rev)
	if err != nil {
		return err
	}
	if err := checkID(db, id); err != nil {
		return err
	}
	d.ID, d.Rev, d.Revisions = id, over, revtree.Path{}
	if document.IsDesign(id) {
		if err := q.checkDesign(d.Body); err != nil {
			return err
		}
	}
	written, err := q.write(db, d, storage.Edit)
	if err != nil {
		return err
	}
	h := q.w.Header()
	h["Location"] = []string{q.url("/" + escape(q.dbName) + "/" + escape(id))}
	h["Etag"] = []string{`"` + written.String() + `"`}
	return q.replyWritten(http.StatusCreated, id, written)
}

// source reads the document to be copied: the winner, or the revision asked for.
func (q *request) source(db *storage.DB, rev revtree.ID) (*document.Document, error) {
	snap, err := q.viewOf(db)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	if document.IsLocal(q.docID) {
		if !rev.IsZero() {
			return nil, errMissing
		}
		local, err := snap.Local(q.docID)
		if err != nil {
			return nil, err
		}
		return &document.Document{Body: local.Body}, nil
	}
	row, err := lookup(db, snap, q.docID)
	if err != nil {
		return nil, err
	}
	return winnerOr(&row, rev)
}

// winnerOr returns a revision of a document, or the live winner if none is named.
func winnerOr(row *storage.Row, rev revtree.ID) (*document.Document, error) {
	if rev.IsZero() {
		if row.Deleted {
			return nil, errDeleted
		}
		rev = row.Rev
	}
	return revision(row, rev)
}

// destination reads the header that names the document to be written and, after a question mark, the revision that
// it is to follow.
func (q *request) destination() (id string, rev revtree.ID, err error) {
	text := q.Header.Get("Destination")
	lower := strings.ToLower(text)
	switch {
	case text == "":
		return "", rev, badRequest("Destination header is mandatory for COPY.")
	case strings.HasPrefix(lower, "http://"), strings.HasPrefix(lower, "https://"):
		return "", rev, badRequest("Destination URL must be relative.")
	}
	path, query, given := strings.Cut(text, "?")
	if given {
		_, value, _ := strings.Cut(query, "=")
		if rev, err = parseRev(value); err != nil {
			return "", rev, err
		}
	}
	id, err = unescape(path)
	return id, rev, err
}
