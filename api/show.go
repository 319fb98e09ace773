package api

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// called is what the path of a function names.
type called struct {
	db     *storage.DB
	design *design.Design
	// The document that the function is about, as JSON, and its revision; "null" and "" if there is none.
	doc []byte
	rev string
}

// called finds the design document that the path names, its function of a kind, and the document.
func (q *request) called(kind string) (*called, error) {
	db, snap, err := q.snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	c := &called{db: db, doc: []byte("null")}
	if c.design, err = q.api.designs.Design(snap, q.docID); err != nil {
		return nil, err
	}
	if err := c.design.Find(kind, q.name); err != nil {
		return nil, err
	}
	if q.attName == "" {
		return c, nil
	}
	return c, c.read(snap, q.attName)
}

// read reads the document, if it is there.
func (c *called) read(snap *storage.Snapshot, id string) error {
	if document.IsLocal(id) {
		local, err := snap.Local(id)
		if err == nil {
			d := document.Document{ID: id, Rev: revtree.ID{Hash: strconv.FormatUint(local.Rev, 10)}, Body: local.Body}
			c.doc, c.rev = document.AppendJSON(nil, &d, document.Members{}), localTag(d.Rev.Hash, d.Body)
		}
		return present(err)
	}
	row, err := snap.Lookup(id)
	if err != nil || row.Deleted {
		return present(err)
	}
	tree, err := row.Tree()
	if err != nil {
		return err
	}
	i, ok := tree.Find(row.Rev)
	if !ok {
		return storage.ErrCorrupt
	}
	d, err := row.Revision(tree, i)
	if err != nil {
		return present(err)
	}
	var m document.Members
	if m.Conflicts, err = row.Conflicts(); err != nil {
		return err
	}
	c.doc, c.rev = design.AppendDocument(nil, d, m), d.Rev.String()
	return nil
}

// present takes it as no error that a document is not there.
func present(err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

// anyShow answers with what a show function makes of a document.
func anyShow(q *request) error {
	c, err := q.called(design.Shows)
	if err != nil {
		return err
	}
	if q.setETag(q.functionTag(c.design, c.rev)) {
		return q.notModified()
	}
	body, err := q.functionBody()
	if err != nil {
		return err
	}
	sent, err := q.functionRequest(c.db, q.attName, q.attName != "", body)
	if err != nil {
		return err
	}
	q.w.Header().Add("Vary", "Accept")
	response, err := c.design.Show(q.Context(), q.name, c.doc, sent.AppendJSON(nil))
	if err != nil {
		return err
	}
	a, err := parseAnswer(response.JSON)
	if err != nil {
		return err
	}
	return q.replyFunction(http.StatusOK, a)
}

// functionTag is the entity tag of what a function of a design document makes of something for this user.
func (q *request) functionTag(d *design.Design, of string) string {
	h := md5.New()
	fmt.Fprintf(h, "%q %q %q %q %q %q", d.ID, d.Rev, of, q.Header.Get("Accept"), q.user.Name, q.user.Roles)
	return hex.EncodeToString(h.Sum(nil))
}

// noFunction answers for a path that names no function, if there is such a design document.
func noFunction(name string) handler {
	return func(q *request) error {
		if _, err := q.designOf(q.docID); err != nil {
			return err
		}
		return invalidPath(name)
	}
}

// designOf returns a design document as it is now.
func (q *request) designOf(id string) (*design.Design, error) {
	_, snap, err := q.snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	return q.api.designs.Design(snap, id)
}
