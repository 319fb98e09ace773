package api

import (
	"encoding/base64"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/internal/httprange"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// getAttachment sends the content of an attachment: as it is stored, or unpacked for clients that do not take gzip.
func getAttachment(q *request) error {
	r, err := q.reading()
	if err != nil {
		return err
	}
	db, snap, err := q.snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	row, err := lookup(db, snap, q.docID)
	if err != nil {
		return err
	}
	var d *document.Document
	if r.deleted && r.rev.IsZero() {
		d, err = row.Document()
	} else {
		d, err = winnerOr(&row, r.rev)
	}
	if err != nil {
		return err
	}
	q.api.stats.reads.Add(1)
	a, err := attachment(d, q.attName)
	if err != nil {
		return err
	}
	return q.replyAttachment(snap, a)
}

// attachment finds an attachment by its name.
func attachment(d *document.Document, name string) (*document.Attachment, error) {
	for i := range d.Attachments {
		if d.Attachments[i].Name == name {
			return &d.Attachments[i], nil
		}
	}
	return nil, errNoAttachment
}

var (
	acceptRanges = []string{"bytes"}
	refuseRanges = []string{"none"}
	gzipEncoding = []string{gzipped}
	// sandboxed keeps scripts in attachments from acting for whoever looks at them.
	sandboxed = []string{"sandbox"}
)

func (q *request) replyAttachment(snap *storage.Snapshot, a *document.Attachment) error {
	packed := a.Encoding != "" && q.acceptsGzip()
	h := q.w.Header()
	h["Content-Type"] = []string{headerText(a.ContentType)}
	h["Content-Security-Policy"] = sandboxed
	h["Accept-Ranges"] = acceptRanges
	if a.Encoding != "" {
		h["Accept-Ranges"] = refuseRanges
	}
	if packed {
		h["Content-Encoding"] = gzipEncoding
	}
	digest := base64.StdEncoding.EncodeToString(a.Digest[:])
	if q.setETag(digest) {
		h.Del("Content-Type")
		return q.notModified()
	}
	switch {
	case a.Encoding == "":
		return q.replyContent(snap, a, digest)
	case packed:
		h["Content-Md5"] = []string{digest}
		return q.replyWhole(snap, a)
	}
	return q.replyUnpacked(snap, a)
}

// headerText makes a client's text fit for a header.
func headerText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// wantedRange returns the Range header, unless the client wants it only of another version of the content, which it
// has the beginning of (RFC 9110 §13.1.5).
func (q *request) wantedRange() string {
	if version := q.Header.Get("If-Range"); version != "" && version != q.w.Header().Get("ETag") {
		return ""
	}
	return q.Header.Get("Range")
}

// replyContent sends content that is stored as it is, or the ranges of it that are asked for.
func (q *request) replyContent(snap *storage.Snapshot, a *document.Attachment, digest string) error {
	ranges, err := httprange.ParseSet(q.wantedRange(), a.Length)
	if err != nil {
		q.w.Header().Del("Content-Security-Policy")
		return err
	}
	h := q.w.Header()
	switch len(ranges) {
	case 0:
		h["Content-Md5"] = []string{digest}
		return q.replyWhole(snap, a)
	case 1:
		return q.replyRange(snap, a, ranges[0])
	}
	return q.replyRanges(snap, a, ranges)
}

// replyWhole sends the stored bytes.
func (q *request) replyWhole(snap *storage.Snapshot, a *document.Attachment) error {
	q.w.Header()["Content-Length"] = []string{strconv.FormatInt(a.EncodedLength, 10)}
	return q.replyBytes(http.StatusOK, snap, a, 0, a.EncodedLength)
}

// replyRange sends one part of the content.
func (q *request) replyRange(snap *storage.Snapshot, a *document.Attachment, r httprange.Range) error {
	h := q.w.Header()
	h["Content-Range"] = []string{"bytes " + strconv.FormatInt(r.Start, 10) + "-" + strconv.FormatInt(r.Start+r.Length-1, 10) +
		"/" + strconv.FormatInt(a.Length, 10)}
	h["Content-Length"] = []string{strconv.FormatInt(r.Length, 10)}
	return q.replyBytes(http.StatusPartialContent, snap, a, r.Start, r.Length)
}

// replyBytes sends a part of the stored bytes. Large content goes from its file to the connection without passing
// through this process where the system can do that.
func (q *request) replyBytes(status int, snap *storage.Snapshot, a *document.Attachment, start, length int64) error {
	content, err := snap.OpenAttachment(a)
	if err != nil {
		return err
	}
	defer content.Close()
	if start > 0 {
		if _, err := content.Seek(start, io.SeekStart); err != nil {
			return err
		}
	}
	q.w.WriteHeader(status)
	if q.Method == http.MethodHead || length == 0 {
		return nil
	}
	n, err := q.w.ReadFrom(&io.LimitedReader{R: content, N: length})
	if err == nil && n < length {
		err = io.ErrUnexpectedEOF
	}
	return q.broken(err)
}

// replyRanges sends several parts of the content as one message.
func (q *request) replyRanges(snap *storage.Snapshot, a *document.Attachment, ranges []httprange.Range) error {
	content, err := snap.OpenAttachment(a)
	if err != nil {
		return err
	}
	defer content.Close()
	w := document.NewMultipartWriter(q.w, "byteranges")
	q.w.Header()["Content-Type"] = []string{w.ContentType()}
	q.w.WriteHeader(http.StatusPartialContent)
	if q.Method == http.MethodHead {
		return nil
	}
	for _, r := range ranges {
		if _, err := content.Seek(r.Start, io.SeekStart); err != nil {
			return err
		}
		if err := w.WriteRange(a.ContentType, r.Start, r.Length, a.Length, content); err != nil {
			return q.broken(err)
		}
	}
	return q.broken(w.Close())
}

// replyUnpacked sends what is stored packed by gzip as it was before.
func (q *request) replyUnpacked(snap *storage.Snapshot, a *document.Attachment) error {
	if a.Length != a.EncodedLength { // else nobody knows it
		q.w.Header()["Content-Length"] = []string{strconv.FormatInt(a.Length, 10)}
	}
	if q.Method == http.MethodHead {
		q.w.WriteHeader(http.StatusOK)
		return nil
	}
	content, err := snap.OpenDecoded(a)
	if err != nil {
		return err
	}
	defer content.Close()
	q.w.WriteHeader(http.StatusOK)
	_, err = q.w.ReadFrom(content)
	return q.broken(err)
}

// putAttachment writes a revision of a document with this attachment in place of what had its name.
func putAttachment(q *request) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	if err := document.ValidateAttachmentName(q.attName); err != nil {
		return err
	}
	a := document.Attachment{Name: q.attName, ContentType: q.Header.Get("Content-Type"), Follows: true, Length: -1, EncodedLength: -1}
	if a.ContentType == "" {
		a.ContentType = document.DefaultContentType
	}
	switch strings.ToLower(strings.TrimSpace(q.Header.Get("Content-Encoding"))) {
	case "", "identity":
	case gzipped:
		a.Encoding = gzipped
	default:
		return unsupportedType("Only gzip and identity content-encodings are supported")
	}
	if q.ContentLength > q.config.MaxAttachmentSize {
		return attachmentTooLarge(a.Name)
	}
	rev, err := q.sentRev()
	if err != nil {
		return err
	}
	if err := checkID(db, q.docID); err != nil {
		return err
	}
	d := &document.Document{ID: q.docID, Body: []byte("{}")}
	if !rev.IsZero() {
		if d, err = q.attachedTo(db, rev); err != nil {
			return err
		}
	}
	if err := q.storeAttachment(q.Context(), db, &a, q.rawBody()); err != nil {
		return err
	}
	d.Attachments = slices.Insert(without(d.Attachments, a.Name), 0, a)
	written, err := q.write(db, d, storage.Edit)
	if err != nil {
		return err
	}
	q.w.Header()["Location"] = []string{q.url("/" + escape(q.dbName) + "/" + escape(q.docID) + "/" + escape(q.attName))}
	return q.replyWritten(http.StatusCreated, q.docID, written)
}

// deleteAttachment writes a revision of a document without the attachment.
func deleteAttachment(q *request) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	if err := document.ValidateAttachmentName(q.attName); err != nil {
		return err
	}
	rev, err := q.sentRev()
	if err != nil {
		return err
	}
	d, err := q.attachedTo(db, rev)
	if err != nil {
		return err
	}
	if _, err := attachment(d, q.attName); err != nil {
		return err
	}
	if rev.IsZero() {
		return errConflict
	}
	d.Attachments = without(d.Attachments, q.attName)
	written, err := q.write(db, d, storage.Edit)
	if err != nil {
		return err
	}
	return q.replyWritten(http.StatusOK, q.docID, written)
}

// attachedTo reads the revision that an attachment is to be added to or taken from; without one, the winner. Its
// attachments become stubs. The snapshot it is read from does not stay open: an upload may take hours.
func (q *request) attachedTo(db *storage.DB, rev revtree.ID) (*document.Document, error) {
	snap, err := q.viewOf(db)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	row, err := lookup(db, snap, q.docID)
	var d *document.Document
	if err == nil {
		d, err = winnerOr(&row, rev)
	}
	if err != nil {
		if e := toError(err); e == errMissing && !rev.IsZero() {
			return nil, errMissingRev
		}
		return nil, err
	}
	d.Revisions = revtree.Path{}
	for i := range d.Attachments {
		d.Attachments[i].Stub = true
	}
	return d, nil
}

// without returns the attachments but that of the name.
func without(list []document.Attachment, name string) []document.Attachment {
	return slices.DeleteFunc(list, func(a document.Attachment) bool { return a.Name == name })
}
