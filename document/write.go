package document

import (
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/mangrove-db/mangrove/revtree"
)

// Form is a way of printing an attachment.
type Form uint8

// The forms of attachments.
const (
	FormStub    Form = iota // its length and "stub":true
	FormFollows             // its length and "follows":true: the data is in a later part of the body
	FormInline              // its identity content as base64 in "data"
)

// RevInfo is an entry of _revs_info.
type RevInfo struct {
	Rev    revtree.ID
	Status string // "available", "missing" or "deleted"
}

// Members says what is printed of a document besides its body. The zero
// Members prints _id, _rev, _deleted if it is true, and attachments as stubs.
type Members struct {
	Revisions        bool         // _revisions, if the document has any
	RevsInfo         []RevInfo    // _revs_info, if not empty
	Conflicts        []revtree.ID // _conflicts, if not empty
	DeletedConflicts []revtree.ID // _deleted_conflicts, if not empty
	LocalSeq         string       // _local_seq, if not empty

	// EncodingInfo adds encoding and encoded_length to attachments that are
	// stored gzipped.
	EncodingInfo bool
	// TypeAgain adds the type of attachments under the name contentType, by which the tool couchbackup knows it.
	TypeAgain bool
	// Form chooses the form of each attachment; nil makes all of them stubs.
	Form func(*Attachment) Form
	// Open returns the stored bytes of an attachment, for FormInline.
	Open func(*Attachment) (io.ReadCloser, error)
}

// AppendJSON appends the document as CouchDB prints it, without a line end.
// Apart from growing b it does not allocate. It reads no attachments: those
// that are to be inline are printed as stubs, see WriteJSON.
func AppendJSON(b []byte, d *Document, m Members) []byte {
	b = appendHead(b, d, &m)
	if len(d.Attachments) > 0 {
		b = AppendAttachments(append(b, `,"_attachments":`...), d, m)
	}
	return append(b, '}')
}

// AppendAttachments appends what AppendJSON prints as the value of _attachments:
// an object, empty if the document has none.
func AppendAttachments(b []byte, d *Document, m Members) []byte {
	b = append(b, '{')
	for i := range d.Attachments {
		if i > 0 {
			b = append(b, ',')
		}
		a := &d.Attachments[i]
		form := FormStub
		if m.Form != nil && m.Form(a) == FormFollows {
			form = FormFollows
		}
		b = appendAttachment(b, a, form)
		b = appendEncodingInfo(b, a, &m)
	}
	return append(b, '}')
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 8<<10); return &b }}

// WriteJSON writes the document as AppendJSON does, and inline attachments with
// their data, which it copies from m.Open as it goes. Gzipped ones are unpacked.
func WriteJSON(w io.Writer, d *Document, m Members) error {
	buf := buffers.Get().(*[]byte)
	b := (*buf)[:0]
	defer func() {
		if cap(b) <= maxKept {
			*buf = b
			buffers.Put(buf)
		}
	}()
	b = appendHead(b, d, &m)
	for i := range d.Attachments {
		a := &d.Attachments[i]
		if i == 0 {
			b = append(b, `,"_attachments":{`...)
		} else {
			b = append(b, ',')
		}
		form := FormStub
		if m.Form != nil {
			form = m.Form(a)
		}
		b = appendAttachment(b, a, form)
		if form == FormInline {
			if _, err := w.Write(b); err != nil {
				return err
			}
			b = b[:0]
			if err := writeData(w, a, m.Open); err != nil {
				return err
			}
			b = append(b, '"')
		}
		b = appendEncodingInfo(b, a, &m)
	}
	if len(d.Attachments) > 0 {
		b = append(b, '}')
	}
	b = append(b, '}')
	_, err := w.Write(b)
	return err
}

// writeData writes the identity content of an attachment as base64.
func writeData(w io.Writer, a *Attachment, open func(*Attachment) (io.ReadCloser, error)) error {
	stored, err := open(a)
	if err != nil {
		return fmt.Errorf("open attachment %q: %w", a.Name, err)
	}
	defer stored.Close()
	var r io.Reader = stored
	if a.Encoding == "gzip" {
		if r, err = gzip.NewReader(stored); err != nil {
			return fmt.Errorf("unpack attachment %q: %w", a.Name, err)
		}
	}
	e := base64.NewEncoder(base64.StdEncoding, w)
	if _, err := io.Copy(e, r); err != nil {
		return fmt.Errorf("copy attachment %q: %w", a.Name, err)
	}
	return e.Close()
}

// appendHead appends all but the attachments and the closing brace.
func appendHead(b []byte, d *Document, m *Members) []byte {
	b = append(b, `{"_id":`...)
	b = AppendString(b, d.ID)
	if !d.Rev.IsZero() {
		b = append(b, `,"_rev":`...)
		b = appendRev(b, d.Rev)
	}
	if n := len(d.Body); n > 2 {
		b = append(b, ',')
		b = append(b, d.Body[1:n-1]...)
	}
	if d.Deleted {
		b = append(b, `,"_deleted":true`...)
	}
	if m.Revisions && d.Revisions.Len() > 0 {
		b = append(b, `,"_revisions":{"start":`...)
		b = strconv.AppendInt(b, int64(d.Revisions.Start), 10)
		b = append(b, `,"ids":[`...)
		for i, hash := range d.Revisions.Hashes {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, '"')
			b = appendHash(b, hash)
			b = append(b, '"')
		}
		b = append(b, "]}"...)
	}
	if len(m.RevsInfo) > 0 {
		b = append(b, `,"_revs_info":[`...)
		for i, info := range m.RevsInfo {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"rev":`...)
			b = appendRev(b, info.Rev)
			b = append(b, `,"status":`...)
			b = AppendString(b, info.Status)
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	if m.LocalSeq != "" {
		b = append(b, `,"_local_seq":`...)
		b = AppendString(b, m.LocalSeq)
	}
	b = appendRevs(b, `,"_conflicts":[`, m.Conflicts)
	return appendRevs(b, `,"_deleted_conflicts":[`, m.DeletedConflicts)
}

func appendRevs(b []byte, head string, revs []revtree.ID) []byte {
	for i, rev := range revs {
		if i == 0 {
			b = append(b, head...)
		} else {
			b = append(b, ',')
		}
		b = appendRev(b, rev)
	}
	if len(revs) > 0 {
		b = append(b, ']')
	}
	return b
}

func appendRev(b []byte, rev revtree.ID) []byte {
	b = append(b, '"')
	b = strconv.AppendInt(b, int64(rev.Gen), 10)
	b = append(b, '-')
	b = appendHash(b, rev.Hash)
	return append(b, '"')
}

// appendHash appends a revision's hash as it stands within a JSON string.
func appendHash(b []byte, hash string) []byte {
	if len(hash) == 16 {
		return revtree.AppendHash(b, hash)
	}
	return appendChars(b, hash)
}

// appendAttachment appends a member of _attachments, but for its encoding and
// last brace. Of one that is inline it ends within the data's string.
func appendAttachment(b []byte, a *Attachment, form Form) []byte {
	b = AppendString(b, a.Name)
	b = append(b, `:{"content_type":`...)
	b = AppendString(b, a.ContentType)
	b = append(b, `,"revpos":`...)
	b = strconv.AppendInt(b, int64(a.RevPos), 10)
	b = append(b, `,"digest":"md5-`...)
	b = base64.StdEncoding.AppendEncode(b, a.Digest[:])
	if form == FormInline {
		return append(b, `","data":"`...)
	}
	b = append(b, `","length":`...)
	b = strconv.AppendInt(b, a.Length, 10)
	if form == FormFollows {
		return append(b, `,"follows":true`...)
	}
	return append(b, `,"stub":true`...)
}

func appendEncodingInfo(b []byte, a *Attachment, m *Members) []byte {
	if m.TypeAgain {
		b = append(b, `,"contentType":`...)
		b = AppendString(b, a.ContentType)
	}
	if m.EncodingInfo && a.Encoding != "" {
		b = append(b, `,"encoding":`...)
		b = AppendString(b, a.Encoding)
		b = append(b, `,"encoded_length":`...)
		b = strconv.AppendInt(b, a.EncodedLength, 10)
	}
	return append(b, '}')
}
