package mango

import (
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
)

// NewDoc returns a document with all members that m says are printed of it, for
// those who match or show few. It shares the memory of d's body.
func NewDoc(d *document.Document, m document.Members) Doc {
	doc := Doc{ID: d.ID, Rev: d.Rev.String(), Deleted: d.Deleted, Body: d.Body}
	if len(d.Attachments) > 0 {
		doc.Attachments = document.AppendAttachments(nil, d, m)
	}
	var r reader
	doc.Conflicts = r.appendConflicts(m.Conflicts)
	return doc
}

// needs says which members of special meaning have to be made for a match.
type needs struct{ rev, attachments, conflicts bool }

func (n *needs) merge(other needs) {
	n.rev = n.rev || other.rev
	n.attachments = n.attachments || other.attachments
	n.conflicts = n.conflicts || other.conflicts
}

// add takes over what the paths of a scope begin with.
func (n *needs) add(sc *scope) {
	for _, t := range sc.special {
		switch t.name {
		case "_rev":
			n.rev = true
		case "_attachments":
			n.attachments = true
		case "_conflicts":
			n.conflicts = true
		}
	}
}

// comparesWhole tells whether a node of the outermost scope is about the
// document as a whole.
func (n *node) comparesWhole() bool {
	if n.op == opField {
		return n.field == ""
	}
	for _, kid := range n.kids {
		if kid.comparesWhole() {
			return true
		}
	}
	return false
}

// reader turns stored documents into what selectors match. Its results share
// its memory and that of the document; they are good until the next.
type reader struct {
	rev, attachments, conflicts []byte
}

func (r *reader) read(d *document.Document, n needs) Doc {
	doc := Doc{ID: d.ID, Deleted: d.Deleted, Body: d.Body}
	if n.rev {
		r.rev, _ = d.Rev.AppendText(r.rev[:0]) // cannot fail
		doc.Rev = string(r.rev)
	}
	if n.attachments && len(d.Attachments) > 0 {
		r.attachments = document.AppendAttachments(r.attachments[:0], d, document.Members{})
		doc.Attachments = r.attachments
	}
	return doc
}

// appendConflicts makes the value of _conflicts.
func (r *reader) appendConflicts(ids []revtree.ID) []byte {
	if len(ids) == 0 {
		return nil
	}
	b := append(r.conflicts[:0], '[')
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b, _ = id.AppendText(b) // cannot fail
		b = append(b, '"')
	}
	r.conflicts = append(b, ']')
	return r.conflicts
}
