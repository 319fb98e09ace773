package api

import (
	"context"
	"io"
	"net/http"
	"strconv"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/mango"
	"github.com/mangrove-db/mangrove/replicator"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// getChanges answers GET, HEAD and POST of a database's feed of changes.
func getChanges(q *request) error {
	db, snap, err := q.snapshot()
	if err != nil {
		return err
	}
	s := &changes{db: db, snap: snap}
	defer s.close()
	body, err := q.changesBody()
	if err != nil {
		return err
	}
	p, err := q.changesParams(body)
	if err != nil {
		return err
	}
	s.changesParams = p
	p.spec.Designs = q.api.designs
	if p.spec.Name != "" && p.spec.Name[0] != '_' {
		if p.spec.Request, err = q.filterRequest(db, body); err != nil {
			return err
		}
	}
	if s.filter, err = replicator.NewFilter(snap, p.spec); err != nil {
		return filterError(err)
	}
	if s.at, err = p.start(snap); err != nil {
		return err
	}
	if p.kind == feedNormal && q.setETag(snap.FormatSeq(snap.Seq())) {
		return q.notModified()
	}
	if q.Method == http.MethodHead {
		return q.head(p.kind)
	}
	p.slow = s.filter.Scripted()
	p.spec = replicator.FilterSpec{} // it may be large, and the feed may last
	return q.serveFeed(p.feedOptions, s)
}

// filterRequest returns the request object for a filter function.
func (q *request) filterRequest(db *storage.DB, body *changesBody) ([]byte, error) {
	text := noBody
	if body != nil {
		text = string(body.text)
	}
	r, err := q.functionRequest(db, "", false, text)
	if err != nil {
		return nil, err
	}
	return r.AppendJSON(nil), nil
}

// changes is the source of a feed of changes.
type changes struct {
	*changesParams
	db     *storage.DB
	snap   *storage.Snapshot // of the round; before the first, the one which the parameters were read with
	filter *replicator.Filter
	at     storage.Seq // the feed knows of everything up to here

	// For the end of the feed, when there may be no database any more.
	last    []byte
	pending uint64

	doc document.Document // its memory is used again
}

func (s *changes) close() {
	if s.snap != nil {
		s.snap.Close()
		s.snap = nil
	}
}

func (s *changes) round(ctx context.Context, f *feed) (more bool, err error) {
	if s.snap == nil {
		if err := f.q.stillMember(s.db); err != nil {
			return false, err
		}
		if s.snap, err = s.db.Snapshot(); err != nil {
			return false, err
		}
	}
	defer s.close()
	s.doc = document.Document{} // a feed that waits keeps none
	if f.descending {
		return false, s.walkBack(ctx, f)
	}
	more, err = s.walk(ctx, f)
	if more {
		// The next round counts what is pending, if there is one: the feed ends before it only with its database.
		s.last, s.pending = s.snap.AppendSeq(s.last[:0], s.at), 0
		return true, err
	}
	if merr := s.mark(s.at, s.at); err == nil {
		err = merr
	}
	return false, err
}

// walk tells what is new.
func (s *changes) walk(ctx context.Context, f *feed) (more bool, err error) {
	if f.full() {
		return false, nil
	}
	for c, err := range s.filter.Changes(ctx, s.snap, storage.ChangesOptions{Since: s.at}) {
		if err != nil {
			return false, err
		}
		if err := s.tell(ctx, f, &c); err != nil {
			return false, err
		}
		s.at = c.Seq
		if f.full() {
			return false, nil
		}
		if pause, err := f.pace(); pause || err != nil {
			return pause, err
		}
	}
	s.at = s.snap.Seq()
	return false, nil
}

// walkBack tells everything, the newest first. A feed that lasts goes on in the usual direction.
func (s *changes) walkBack(ctx context.Context, f *feed) error {
	newest := s.snap.Seq()
	seen := newest + 1
	for c, err := range s.filter.Changes(ctx, s.snap, storage.ChangesOptions{Descending: true}) {
		if f.full() {
			break
		}
		if err != nil {
			return err
		}
		if err := s.tell(ctx, f, &c); err != nil {
			return err
		}
		seen = c.Seq
		if _, err := f.pace(); err != nil {
			return err
		}
	}
	s.at = newest
	last := newest
	if f.kind == feedNormal && seen < newest {
		last = seen
	}
	if err := s.mark(last, newest); err != nil || !f.full() {
		return err
	}
	all, err := s.snap.Pending(0)
	if err != nil {
		return err
	}
	told, err := s.snap.Pending(seen - 1)
	s.pending = all - min(told, all)
	return err
}

// mark notes what is to be said if the feed ends here: that it came to last, and how many changes are after the
// sequence from.
func (s *changes) mark(last, from storage.Seq) (err error) {
	s.last = s.snap.AppendSeq(s.last[:0], last)
	s.pending = 0
	if from < s.snap.Seq() {
		s.pending, err = s.snap.Pending(from)
	}
	return err
}

func (s *changes) wait(ctx context.Context) error { return s.db.Wait(ctx, s.at) }

func (s *changes) appendEnd(b []byte) []byte {
	b = append(b, `"last_seq":"`...)
	b = append(b, s.last...)
	b = append(b, `","pending":`...)
	return strconv.AppendUint(b, s.pending, 10)
}

// tell appends a row, if the change passes the filter.
func (s *changes) tell(ctx context.Context, f *feed, c *storage.Change) error {
	pass, err := s.filter.Match(ctx, s.snap, c)
	if !pass || err != nil {
		return err
	}
	f.openRow()
	b := append(f.out, `{"seq":`...)
	from := len(b)
	if s.seqInterval == 1 || (f.rows+1)%s.seqInterval == 0 {
		b = append(b, '"')
		b = s.snap.AppendSeq(b, c.Seq)
		b = append(b, '"')
	} else {
		b = append(b, "null"...)
	}
	to := len(b)
	b = append(b, `,"id":`...)
	b = document.AppendString(b, c.ID)
	b = append(b, `,"changes":[`...)
	for i, rev := range c.Revs {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendChangedRev(b, rev)
	}
	b = append(b, ']')
	if c.Deleted {
		b = append(b, `,"deleted":true`...)
	}
	if s.inlineRevs > 0 {
		if b, err = s.appendRevisions(b, f, c); err != nil {
			return err
		}
	}
	if !s.includeDocs {
		f.out = append(b, '}')
		f.closeRow(f.out[from:to])
		return nil
	}
	// The document may be sent piece by piece, and the sequence with its first piece.
	var kept [64]byte
	seq := append(kept[:0], b[from:to]...)
	f.out = append(b, `,"doc":`...)
	if err := s.tellDocument(f, c.ID); err != nil {
		return err
	}
	f.out = append(f.out, '}')
	f.closeRow(seq)
	return nil
}

func appendChangedRev(b []byte, rev revtree.ID) []byte {
	b = append(b, `{"rev":`...)
	if len(rev.Hash) == 16 {
		b = append(b, '"')
		b = strconv.AppendInt(b, int64(rev.Gen), 10)
		b = append(b, '-')
		b = revtree.AppendHash(b, rev.Hash)
		b = append(b, '"')
	} else {
		b = document.AppendString(b, rev.String())
	}
	return append(b, '}')
}

// tellDocument appends the winner of a document.
func (s *changes) tellDocument(f *feed, id string) error {
	row, err := s.snap.Lookup(id)
	if err != nil {
		return err
	}
	if err := row.Read(&s.doc); err != nil {
		return err
	}
	m := document.Members{EncodingInfo: s.encodingInfo}
	if s.conflicts {
		if m.Conflicts, err = row.Conflicts(); err != nil {
			return err
		}
	}
	if s.fields != nil {
		f.out = s.fields.AppendFrom(f.out, mango.NewDoc(&s.doc, m))
		return nil
	}
	if !s.attachments || len(s.doc.Attachments) == 0 {
		f.out = document.AppendJSON(f.out, &s.doc, m)
		return nil
	}
	m.Form = func(*document.Attachment) document.Form { return document.FormInline }
	m.Open = func(a *document.Attachment) (io.ReadCloser, error) { return s.snap.OpenAttachment(a) }
	return document.WriteJSON(f, &s.doc, m)
}
