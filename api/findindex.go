package api

import (
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/mango"
	"github.com/mangrove-db/mangrove/storage"
)

// getIndexes lists the indexes that queries can use.
func getIndexes(q *request) error {
	indexes, err := q.indexes()
	if err != nil {
		return err
	}
	skip, limit := 0, math.MaxInt
	if text := q.param("skip"); text != "" {
		if skip, err = strconv.Atoi(text); err != nil || skip < 0 {
			return errIndexRange
		}
	}
	if text := q.param("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 {
			return errIndexRange
		}
	}
	return q.replyText(http.StatusOK, mango.AppendIndexes(nil, indexes, skip, limit))
}

// indexes returns the indexes of the database that the path names.
func (q *request) indexes() ([]*mango.Index, error) {
	db, snap, err := q.snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	return q.api.finder.Indexes(q.Context(), db, snap)
}

// postIndex makes an index, which is a view in a design document of Mango's language.
func postIndex(q *request) error {
	db, body, err := q.readMango()
	if err != nil {
		return err
	}
	d, err := mango.ParseDefinition(body)
	if err != nil {
		return err
	}
	if d.Partitioned() && !db.Partitioned() {
		return invalidDesign("`partitioned` option cannot be true in a non-partitioned database.")
	}
	if err := checkID(db, d.Design()); err != nil {
		return err
	}
	exists := false
	err = q.changeDesign(db, d.Design(), func(body []byte) (_ []byte, err error) {
		body, exists, err = d.AddTo(body)
		return body, err
	})
	if err != nil {
		return err
	}
	answer := struct {
		Result string `json:"result"`
		ID     string `json:"id"`
		Name   string `json:"name"`
	}{"created", d.Design(), d.Name()}
	if exists {
		answer.Result = "exists"
	}
	return q.reply(http.StatusOK, answer)
}

// deleteIndex removes one index.
func deleteIndex(q *request) error {
	indexes, err := q.indexes()
	if err != nil {
		return err
	}
	// The type of the index stands where attachments have their names.
	names := mango.Named(indexes, q.docID, q.attName, q.name)
	if len(names) == 0 {
		return errMissing
	}
	if err := q.removeIndexes(mango.DesignID(q.docID), names); err != nil {
		return err
	}
	return q.replyOK(http.StatusOK)
}

// postIndexDeletions removes all indexes of several design documents.
func postIndexDeletions(q *request) error {
	_, body, err := q.readMango()
	if err != nil {
		return err
	}
	ids, err := mango.ParseDeletions(body)
	if err != nil {
		return err
	}
	indexes, err := q.indexes()
	if err != nil {
		return err
	}
	type success struct {
		ID string `json:"id"`
		OK bool   `json:"ok"`
	}
	type failure struct {
		ID    string `json:"id"`
		Error string `json:"error"`
	}
	answer := struct {
		Success []success `json:"success"`
		Fail    []failure `json:"fail"`
	}{[]success{}, []failure{}}
	for _, id := range ids {
		names := mango.Named(indexes, id, "", "")
		if len(names) == 0 {
			answer.Fail = append(answer.Fail, failure{id, "not_found"})
			continue
		}
		err := q.removeIndexes(id, names)
		if refused := toError(err); err != nil && refused != nil {
			answer.Fail = append(answer.Fail, failure{id, refused.Name})
			continue
		}
		if err != nil {
			return err
		}
		answer.Success = append(answer.Success, success{id, true})
	}
	return q.reply(http.StatusOK, answer)
}

// removeIndexes removes indexes from a design document, and the document if nothing is left of it.
func (q *request) removeIndexes(id string, names []string) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	return q.changeDesign(db, id, func(body []byte) ([]byte, error) {
		if body == nil {
			return nil, errMissing
		}
		return mango.Remove(body, names...)
	})
}

// maxIndexTries is how often a design document is read again that others change at the same moment.
const maxIndexTries = 8

// changeDesign changes the body of a design document: change gets it, or nil if there is none, and returns another, the
// same for no change, or nil to delete the document.
func (q *request) changeDesign(db *storage.DB, id string, change func(body []byte) ([]byte, error)) error {
	for range maxIndexTries {
		d, err := currentDocument(db, id)
		if err != nil {
			return err
		}
		old := d.Body
		if d.Body, err = change(old); err != nil {
			return err
		}
		if d.Body == nil {
			d = &document.Document{ID: d.ID, Rev: d.Rev, Deleted: true, Body: []byte("{}")}
		} else if string(d.Body) == string(old) {
			return nil
		}
		if _, err := q.write(db, d, storage.Edit); !errors.Is(err, storage.ErrConflict) {
			return err
		}
	}
	return errSavingIndex
}

// currentDocument returns the winner of a document as it can be written again, or a new document without a body if
// there is none or it is deleted.
func currentDocument(db *storage.DB, id string) (*document.Document, error) {
	snap, err := db.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	row, err := snap.Lookup(id)
	if errors.Is(err, storage.ErrNotFound) || err == nil && row.Deleted {
		return &document.Document{ID: id}, nil
	}
	if err != nil {
		return nil, err
	}
	d, err := row.Document()
	if err != nil {
		return nil, err
	}
	for i := range d.Attachments {
		d.Attachments[i].Stub = true
	}
	return d, nil
}
