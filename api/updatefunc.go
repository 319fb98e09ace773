package api

import (
	"net/http"

	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// anyUpdate lets an update function make or change a document and answer the request.
func anyUpdate(q *request) error {
	c, err := q.called(design.Updates)
	if err != nil {
		return err
	}
	if q.Method == http.MethodGet || q.Method == http.MethodHead {
		return errUpdateGet
	}
	body, err := q.functionBody()
	if err != nil {
		return err
	}
	sent, err := q.functionRequest(c.db, q.attName, q.attName != "", body)
	if err != nil {
		return err
	}
	doc, response, err := c.design.Update(q.Context(), q.name, c.doc, sent.AppendJSON(nil))
	if err != nil {
		return err
	}
	a, err := parseAnswer(response.JSON)
	if err != nil {
		return err
	}
	if doc == nil {
		return q.replyFunction(http.StatusOK, a)
	}
	id, rev, err := q.writeUpdated(c.db, doc)
	if err != nil {
		return err
	}
	h := q.w.Header()
	h["X-Couch-Id"] = []string{escape(id)}
	h["X-Couch-Update-Newrev"] = []string{rev.String()}
	return q.replyFunction(http.StatusCreated, a)
}

// writeUpdated writes the document that an update function has made, as if it had been sent.
func (q *request) writeUpdated(db *storage.DB, text []byte) (string, revtree.ID, error) {
	d, err := document.Decode(text)
	if err != nil {
		return "", revtree.ID{}, err
	}
	if err = checkID(db, d.ID); err == nil {
		err = q.checkDocument(d)
	}
	for i := range d.Attachments {
		if d.Attachments[i].Follows && err == nil {
			err = badRequestf("Attachment %s cannot follow: the request is not multipart.", d.Attachments[i].Name)
		}
	}
	if err != nil {
		return "", revtree.ID{}, closed(d, err)
	}
	id := d.ID
	rev, err := q.write(db, d, storage.Edit)
	return id, rev, err
}
