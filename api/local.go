package api

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// getLocal answers with a local document. It has one revision and no tree, so that nothing is found by a revision, as
// in CouchDB.
func getLocal(q *request) error {
	r, err := q.reading()
	if err != nil {
		return err
	}
	_, snap, err := q.snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	if r.opening {
		var row storage.Row
		if r.all {
			return errMissing
		}
		return q.replyRevs(snap, &row, revtree.Tree{}, &r)
	}
	if !r.rev.IsZero() && !r.latest {
		return errMissing
	}
	local, err := snap.Local(q.docID)
	if err != nil {
		return err
	}
	q.api.stats.reads.Add(1)
	text := strconv.FormatUint(local.Rev, 10)
	tag := localTag(text, local.Body)
	q.w.Header()["Etag"] = []string{tag}
	if etagMatches(q.Header.Get("If-None-Match"), tag) {
		return q.notModified()
	}
	d := document.Document{ID: local.ID, Rev: revtree.ID{Hash: text}, Body: local.Body}
	if r.revs {
		d.Revisions = revtree.Path{Hashes: []string{text}}
	}
	return q.replyAppended(&d, document.Members{Revisions: r.revs})
}

// localTag is the entity tag of a local document: nobody keeps two writers from giving different bodies the same
// revision, so that the body is part of it.
func localTag(rev string, body []byte) string {
	h := md5.New()
	h.Write([]byte(rev))
	h.Write([]byte{0})
	h.Write(body)
	return `"` + hex.EncodeToString(h.Sum(nil)) + `"`
}

func putLocal(q *request) error { return putDocument(q) }

// deleteLocal removes a local document. The revision has to be well-formed, and no more.
func deleteLocal(q *request) error {
	db, snap, err := q.snapshot()
	if err != nil {
		return err
	}
	_, err = snap.Local(q.docID)
	snap.Close()
	if err != nil {
		return err
	}
	if _, err := q.sentRev(); err != nil {
		return err
	}
	if err := db.DeleteLocal(q.Context(), q.docID); err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	q.api.stats.writes.Add(1)
	gone := revtree.ID{Hash: "0"}
	q.w.Header()["Etag"] = []string{localTag(gone.Hash, nil)}
	return q.replyWritten(http.StatusOK, q.docID, gone)
}

func copyLocal(q *request) error { return copyDocument(q) }

// getBadLocal answers for the path of local documents without a name.
func getBadLocal(q *request) error {
	if _, err := q.db(); err != nil {
		return err
	}
	return badRequest("Invalid _local document id.")
}

// getLocalAttachment answers for paths below local documents.
func getLocalAttachment(q *request) error {
	if _, err := q.db(); err != nil {
		return err
	}
	return badRequest("_local documents do not accept attachments.")
}
