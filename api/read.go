package api

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// reading is what the query says about how to read a document.
type reading struct {
	rev     revtree.ID // zero for the winner
	all     bool       // open_revs=all
	open    []revtree.ID
	opening bool // open_revs was given
	since   []revtree.ID
	partly  bool // atts_since was given

	latest, revs, revsInfo, conflicts, deletedConflicts bool
	localSeq, attachments, encodingInfo, deleted        bool
}

// plain tells that nothing is asked for but the winner as it is.
func (q *request) plain() bool { return q.URL.RawQuery == "" }

func (q *request) reading() (r reading, err error) {
	if q.plain() {
		return r, nil
	}
	if r.rev, err = q.revParam(); err != nil {
		return r, err
	}
	params := q.params()
	if text := params.Get("open_revs"); params.Has("open_revs") {
		r.opening = true
		if r.all = text == "all"; !r.all {
			if r.open, err = parseRevs(text); err != nil {
				return r, err
			}
		}
	}
	if r.partly = params.Has("atts_since"); r.partly {
		if r.since, err = parseRevs(params.Get("atts_since")); err != nil {
			return r, err
		}
	}
	meta := q.flag("meta")
	r.revsInfo = meta || q.flag("revs_info")
	r.conflicts = meta || q.flag("conflicts")
	r.deletedConflicts = meta || q.flag("deleted_conflicts")
	r.latest, r.revs, r.localSeq = q.flag("latest"), q.flag("revs"), q.flag("local_seq")
	r.attachments, r.encodingInfo, r.deleted = q.flag("attachments"), q.flag("att_encoding_info"), q.flag("deleted")
	return r, nil
}

// lookup finds a document by an id that the database may have.
func lookup(db *storage.DB, snap *storage.Snapshot, id string) (storage.Row, error) {
	if db.Partitioned() {
		if err := document.ValidatePartitionedID(id); err != nil {
			return storage.Row{}, err
		}
	}
	return snap.Lookup(id)
}

// getDocument answers with one revision of a document, or with several of them.
func getDocument(q *request) error {
	r, err := q.reading()
	if err != nil {
		return err
	}
	db, snap, err := q.snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	if r.opening {
		return q.openRevs(db, snap, &r)
	}
	row, err := lookup(db, snap, q.docID)
	if err != nil {
		return err
	}
	q.api.stats.reads.Add(1)
	if r.latest {
		r.rev = revtree.ID{} // the winner, as in CouchDB
	}
	if !r.rev.IsZero() {
		d, err := revision(&row, r.rev)
		if err != nil {
			return err
		}
		// What is said about other revisions, and the sequence, comes with the winner alone.
		return q.replyDocument(snap, d, document.Members{Revisions: r.revs, EncodingInfo: r.encodingInfo}, &r)
	}
	if row.Deleted && !r.deleted {
		return errDeleted
	}
	if q.plain() {
		d := documents.Get().(*document.Document)
		defer func() {
			if cap(d.Body) <= longestText {
				documents.Put(d)
			}
		}()
		if err := row.Read(d); err != nil {
			return err
		}
		return q.replyDocument(snap, d, document.Members{}, &r)
	}
	d, members, err := winner(snap, &row, &r)
	if err != nil {
		return err
	}
	return q.replyDocument(snap, d, members, &r)
}

// documents are used again for the memory of their bodies.
var documents = sync.Pool{New: func() any { return new(document.Document) }}

// revision returns a revision by its id.
func revision(row *storage.Row, rev revtree.ID) (*document.Document, error) {
	tree, err := row.Tree()
	if err != nil {
		return nil, err
	}
	i, ok := tree.Find(rev)
	if !ok {
		return nil, errMissing
	}
	return row.Revision(tree, i)
}

// winner returns the winner of a document with what is to be printed about the whole of it.
func winner(snap *storage.Snapshot, row *storage.Row, r *reading) (*document.Document, document.Members, error) {
	m := document.Members{Revisions: r.revs, EncodingInfo: r.encodingInfo}
	tree, err := row.Tree()
	if err != nil {
		return nil, m, err
	}
	i, ok := tree.Find(row.Rev)
	if !ok {
		return nil, m, storage.ErrCorrupt
	}
	d, err := row.Revision(tree, i)
	if err != nil {
		return nil, m, err
	}
	if r.revsInfo {
		m.RevsInfo = revsInfo(tree, tree.Path(i))
	}
	if (r.conflicts || r.deletedConflicts) && row.Branching() {
		for _, leaf := range tree.Leaves()[1:] {
			switch {
			case leaf.Deleted && r.deletedConflicts:
				m.DeletedConflicts = append(m.DeletedConflicts, leaf.ID)
			case !leaf.Deleted && r.conflicts:
				m.Conflicts = append(m.Conflicts, leaf.ID)
			}
		}
	}
	if r.localSeq {
		m.LocalSeq = snap.FormatSeq(row.Seq)
	}
	return d, m, nil
}

// revsInfo tells of each revision on a path whether it can be read.
func revsInfo(tree revtree.Tree, path revtree.Path) []document.RevInfo {
	list := make([]document.RevInfo, path.Len())
	for i := range list {
		list[i] = document.RevInfo{Rev: path.At(i), Status: "missing"}
		j, ok := tree.Find(path.At(i))
		if !ok {
			continue
		}
		switch n := tree.Node(j); {
		case !n.Stored || !n.Kept:
		case n.Deleted:
			list[i].Status = "deleted"
		default:
			list[i].Status = "available"
		}
	}
	return list
}

// form returns which attachments of d come with their data, in which form, and which as stubs.
func (r *reading) form(d *document.Document, data document.Form) func(*document.Attachment) document.Form {
	known := 0
	if r.partly {
		known = newestOf(d.Revisions, r.since)
	}
	return func(a *document.Attachment) document.Form {
		if r.partly && a.RevPos <= known {
			return document.FormStub
		}
		return data
	}
}

// newestOf returns the generation of the newest revision on a path that the client has; 0 if it has none.
func newestOf(path revtree.Path, has []revtree.ID) int {
	if len(has) == 0 {
		return 0
	}
	for i := range path.Len() {
		if id := path.At(i); slices.Contains(has, id) {
			return id.Gen
		}
	}
	return 0
}

// replyDocument answers with one revision.
func (q *request) replyDocument(snap *storage.Snapshot, d *document.Document, m document.Members, r *reading) error {
	// What is printed besides the revision itself may change while the revision stays.
	if len(m.RevsInfo) == 0 && len(m.Conflicts) == 0 && len(m.DeletedConflicts) == 0 && m.LocalSeq == "" {
		if q.setETag(d.Rev.String()) {
			return q.notModified()
		}
	}
	if len(d.Attachments) == 0 || !r.attachments && !r.partly {
		return q.replyAppended(d, m)
	}
	if q.accepts("multipart/related") {
		return q.replyRelated(related(d, m, r), snap)
	}
	m.Form, m.Open = r.form(d, document.FormInline), opener(snap)
	s := q.newStream()
	if q.Method == http.MethodHead {
		q.w.WriteHeader(http.StatusOK)
		return nil
	}
	if err := document.WriteJSON(s, d, m); err != nil {
		return q.broken(err)
	}
	_ = s.WriteByte('\n')
	return q.lost(s.Flush())
}

var texts = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// longestText is how much memory of an answer is kept for the next one.
const longestText = 64 << 10

// replyAppended answers with a document whose attachments are stubs.
func (q *request) replyAppended(d *document.Document, m document.Members) error {
	buf := texts.Get().(*[]byte)
	b := document.AppendJSON((*buf)[:0], d, m)
	err := q.replyText(http.StatusOK, b)
	if cap(b) <= longestText {
		*buf = b
		texts.Put(buf)
	}
	return err
}

// related returns the message of a document with its attachments.
func related(d *document.Document, m document.Members, r *reading) *document.Related {
	m.EncodingInfo = true
	m.Form = r.form(d, document.FormFollows)
	for i := range d.Attachments {
		a := &d.Attachments[i]
		a.Follows = m.Form(a) == document.FormFollows
	}
	return document.NewRelated(document.AppendJSON(nil, d, m), d.Attachments)
}

// replyRelated answers with a document and its attachments as one message.
func (q *request) replyRelated(message *document.Related, snap *storage.Snapshot) error {
	h := q.w.Header()
	h["Content-Type"] = []string{message.ContentType()}
	h["Content-Length"] = []string{strconv.FormatInt(message.Length(), 10)}
	q.w.WriteHeader(http.StatusOK)
	if q.Method == http.MethodHead {
		return nil
	}
	return q.broken(message.Write(q.w, opener(snap)))
}

// opener opens the stored bytes of attachments.
func opener(snap *storage.Snapshot) func(*document.Attachment) (io.ReadCloser, error) {
	return func(a *document.Attachment) (io.ReadCloser, error) { return snap.OpenAttachment(a) }
}

// redirectDesign sends a client that escaped the slash in a design document's path to the plain path.
func redirectDesign(q *request) error {
	if _, err := q.db(); err != nil {
		return err
	}
	const escaped = "/_design%2F"
	at := strings.Index(strings.ToUpper(q.RequestURI), strings.ToUpper(escaped))
	if at < 0 {
		return errMissing
	}
	q.w.Header()["Location"] = []string{q.url(q.RequestURI[:at] + "/_design/" + q.RequestURI[at+len(escaped):])}
	q.w.WriteHeader(http.StatusMovedPermanently)
	return nil
}
