package api

import (
	"errors"
	"net/http"
	"slices"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// opened is a revision that was asked for: the node of the tree that it is, or -1 if it is missing.
type opened struct {
	rev  revtree.ID
	node int
}

// openRevs answers with several revisions, as JSON or as a multipart message.
func (q *request) openRevs(db *storage.DB, snap *storage.Snapshot, r *reading) error {
	row, err := lookup(db, snap, q.docID)
	var tree revtree.Tree
	switch {
	case err == nil:
		if tree, err = row.Tree(); err != nil {
			return err
		}
	case errors.Is(err, storage.ErrNotFound) && !r.all:
	default:
		return err
	}
	return q.replyRevs(snap, &row, tree, r)
}

// replyRevs answers with the revisions of a tree that are asked for.
func (q *request) replyRevs(snap *storage.Snapshot, row *storage.Row, tree revtree.Tree, r *reading) error {
	list := selectRevs(tree, r)
	q.api.stats.reads.Add(uint64(len(list)))
	if q.accepts("multipart/mixed") {
		return q.replyMixed(snap, row, tree, list, r)
	}
	return q.replyOpened(snap, row, tree, list, r)
}

// selectRevs finds the revisions that are asked for, each once.
func selectRevs(tree revtree.Tree, r *reading) []opened {
	var list []opened
	add := func(rev revtree.ID, node int) {
		if !slices.ContainsFunc(list, func(o opened) bool { return o.rev == rev }) {
			list = append(list, opened{rev, node})
		}
	}
	if r.all {
		for _, leaf := range tree.Leaves() {
			node, _ := tree.Find(leaf.ID)
			add(leaf.ID, node)
		}
		return list
	}
	for _, rev := range r.open {
		node, ok := tree.Find(rev)
		if ok && r.latest {
			for _, leaf := range tree.Latest(rev) {
				node, _ := tree.Find(leaf.ID)
				add(leaf.ID, node)
			}
			continue
		}
		if !ok || !tree.Node(node).Kept {
			node = -1
		}
		add(rev, node)
	}
	return list
}

// replyOpened answers with a JSON array of {"ok":document} and {"missing":revision}.
func (q *request) replyOpened(snap *storage.Snapshot, row *storage.Row, tree revtree.Tree, list []opened, r *reading) error {
	s := q.newStream()
	if q.Method == http.MethodHead {
		q.w.WriteHeader(http.StatusOK)
		return nil
	}
	members := document.Members{Revisions: r.revs, EncodingInfo: r.encodingInfo, Open: opener(snap)}
	separator := "["
	for _, o := range list {
		if err := q.Context().Err(); err != nil {
			return err
		}
		_, _ = s.WriteString(separator)
		separator = ","
		d, err := openedRevision(row, tree, o)
		if errors.Is(err, storage.ErrNotFound) {
			_, _ = s.Write(appendMissing(s.AvailableBuffer(), o.rev))
			continue
		}
		if err != nil {
			return err
		}
		_, _ = s.WriteString(`{"ok":`)
		m := members
		if r.attachments {
			m.Form = r.form(d, document.FormInline)
		}
		if err := document.WriteJSON(s, d, m); err != nil {
			return q.broken(err)
		}
		_ = s.WriteByte('}')
	}
	if len(list) == 0 {
		_ = s.WriteByte('[')
	}
	_, _ = s.WriteString("]\n")
	return q.lost(s.Flush())
}

// openedRevision reads a revision. ErrNotFound is returned if it is not there, or hidden from the user.
func openedRevision(row *storage.Row, tree revtree.Tree, o opened) (*document.Document, error) {
	if o.node < 0 {
		return nil, storage.ErrNotFound
	}
	return row.Revision(tree, o.node)
}

func appendMissing(b []byte, rev revtree.ID) []byte {
	b = append(b, `{"missing":`...)
	return append(appendRev(b, rev), '}')
}

// replyMixed answers with a multipart message that has a part for each revision, and in it the attachments.
func (q *request) replyMixed(snap *storage.Snapshot, row *storage.Row, tree revtree.Tree, list []opened, r *reading) error {
	w := document.NewMultipartWriter(q.w, "mixed")
	q.w.Header()["Content-Type"] = []string{w.ContentType()}
	q.w.WriteHeader(http.StatusOK)
	if q.Method == http.MethodHead {
		return nil
	}
	for _, o := range list {
		if err := q.Context().Err(); err != nil {
			return err
		}
		d, err := openedRevision(row, tree, o)
		if errors.Is(err, storage.ErrNotFound) {
			if err := w.WriteError(appendMissing(nil, o.rev)); err != nil {
				return q.broken(err)
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := w.WriteDocument(related(d, document.Members{Revisions: r.revs}, r), opener(snap)); err != nil {
			return q.broken(err)
		}
	}
	return q.broken(w.Close())
}
