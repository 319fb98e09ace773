package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/textproto"
	"strings"
)

// Part is one part of a multipart message. It is read as an io.Reader, once,
// and is valid until the next call of NextPart on the reader it came from.
type Part struct {
	// Header is the part's header, with keys in canonical form. It may be
	// empty.
	Header textproto.MIMEHeader

	m *MultipartReader
}

var errPartPassed = errors.New("document: read of a multipart part that was passed")

// Read reads the part's body. The error is io.EOF only if the delimiter after
// the body was seen.
func (p *Part) Read(b []byte) (int, error) {
	switch {
	case len(b) == 0:
		return 0, nil
	case p.m.current == p:
		return p.m.read(b)
	case p.m.err != nil && p.m.err != io.EOF:
		return 0, p.m.err
	}
	return 0, errPartPassed
}

// MediaType returns the part's type in lower case and its parameters. It is
// empty if the part names none or one that cannot be parsed.
func (p *Part) MediaType() (mediaType string, params map[string]string) {
	mediaType, params, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return "", nil
	}
	return mediaType, params
}

// IsError tells whether the part reports an error instead of a document:
// application/json; error="true", as CouchDB marks them.
func (p *Part) IsError() bool {
	mediaType, params := p.MediaType()
	return mediaType == "application/json" && params["error"] == "true"
}

// IsMultipart tells whether the part is a multipart message of its own.
func (p *Part) IsMultipart() bool {
	mediaType, _ := p.MediaType()
	return strings.HasPrefix(mediaType, "multipart/")
}

// Filename returns the name in Content-Disposition, or "" if there is none
// that can be parsed. Unlike a browser's, it is an attachment's name and may
// hold slashes.
func (p *Part) Filename() string {
	_, params, err := mime.ParseMediaType(p.Header.Get("Content-Disposition"))
	if err != nil {
		return ""
	}
	return params["filename"]
}

// Bytes reads the rest of the part, which must not exceed limit bytes; else
// the error wraps ErrPartTooLarge. The caller owns the result.
func (p *Part) Bytes(limit int64) ([]byte, error) {
	var b bytes.Buffer
	n, err := b.ReadFrom(&io.LimitedReader{R: p, N: limit})
	if err != nil {
		return nil, err
	}
	if n == limit {
		switch _, err := io.ReadFull(p, make([]byte, 1)); err {
		case io.EOF:
		case nil:
			return nil, fmt.Errorf("%w: more than %d bytes", ErrPartTooLarge, limit)
		default:
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// Multipart returns a reader of the message that the part holds. It is valid
// as long as the part is. Nesting deeper than multipart/related within
// multipart/mixed is refused with ErrMultipart.
func (p *Part) Multipart() (*MultipartReader, error) {
	depth := p.m.depth + 1
	if depth > maxMultipartDepth {
		return nil, malformed("nested more than %d deep", maxMultipartDepth)
	}
	// A bulk answer holds many nested messages, one after the other, and
	// only the current can be read: they share one reader and its buffer.
	if p.m.nested == nil {
		p.m.nested = &MultipartReader{depth: depth}
	}
	if err := p.m.nested.reset(p, p.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	return p.m.nested, nil
}

// Document reads the first part, which must be the document's JSON, of at
// most limit bytes. A larger one gives ErrPartTooLarge, another type than
// application/json gives ErrPartType; no type is as good. The caller owns the
// result.
func (m *MultipartReader) Document(limit int64) ([]byte, error) {
	p, err := m.NextPart()
	if err == io.EOF {
		return nil, malformed("it has no parts")
	}
	if err != nil {
		return nil, err
	}
	if mediaType, _ := p.MediaType(); mediaType != "application/json" && p.Header.Get("Content-Type") != "" {
		return nil, fmt.Errorf("%w, not %.80q", ErrPartType, p.Header.Get("Content-Type"))
	}
	return p.Bytes(limit)
}

// ReadAttachments reads the parts after the document's and calls store for
// each, with the member of atts it belongs to and its content as sent (still
// encoded if the attachment names an encoding). Those members are expected
// that have Follows set. As in CouchDB the parts come in the order of the
// members; only a part that bears the name of another member is taken for that
// one. What store leaves unread is skipped.
//
// The content must have the length the member states, if it states one: else
// store's reader fails, and ReadAttachments with it. A part too few or too
// many fails likewise; all these errors wrap ErrMultipart. An error of store
// ends the reading and is returned as it is.
//
// Only after ReadAttachments has returned nil is the message known to be
// whole.
func (m *MultipartReader) ReadAttachments(atts []Attachment, store func(a *Attachment, content io.Reader) error) error {
	expected := expectAttachments(atts)
	for {
		p, err := m.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		a := expected.take(p)
		if a == nil {
			return malformed("more parts than the %d attachments that were to follow", len(expected.waiting))
		}
		content := &attachmentReader{r: p, name: a.Name, want: storedLength(a)}
		if err := store(a, content); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return err
		}
	}
	if a := expected.first(); a != nil {
		return malformed("no part for attachment %.80q", a.Name)
	}
	return nil
}

// expectation is the list of attachments whose parts are still to come.
type expectation struct {
	waiting []*Attachment  // nil where taken
	next    int            // all before are taken
	byName  map[string]int // indexes of waiting; made when first needed
}

func expectAttachments(atts []Attachment) *expectation {
	var e expectation
	for i := range atts {
		if atts[i].Follows {
			e.waiting = append(e.waiting, &atts[i])
		}
	}
	return &e
}

// first returns the attachment that is next by order, nil if none is left.
func (e *expectation) first() *Attachment {
	for e.next < len(e.waiting) && e.waiting[e.next] == nil {
		e.next++
	}
	if e.next == len(e.waiting) {
		return nil
	}
	return e.waiting[e.next]
}

// take returns the attachment that a part belongs to and removes it from the
// list; nil if none is left.
func (e *expectation) take(p *Part) *Attachment {
	a := e.first()
	if a == nil {
		return nil
	}
	i := e.next
	// A name with quotes or control characters is not read as it was written,
	// and might be read as another's: so what the expected one's header looks
	// like is compared before names are.
	if disposition := p.Header.Get("Content-Disposition"); disposition != "" && !namesAttachment(disposition, a.Name) {
		if e.byName == nil {
			e.byName = make(map[string]int, len(e.waiting)-e.next)
			for j := e.next; j < len(e.waiting); j++ {
				if e.waiting[j] != nil {
					e.byName[e.waiting[j].Name] = j
				}
			}
		}
		if j, ok := e.byName[p.Filename()]; ok && e.waiting[j] != nil {
			i = j
		}
	}
	a = e.waiting[i]
	e.waiting[i] = nil
	return a
}

// namesAttachment tells whether a Content-Disposition is the one that we, or
// CouchDB, which quotes nothing, would write for the name.
func namesAttachment(disposition, name string) bool {
	rest, ok := strings.CutPrefix(disposition, `attachment; filename="`)
	if !ok {
		return false
	}
	rest, ok = strings.CutSuffix(rest, `"`)
	return ok && (rest == name || rest == string(appendQuoted(nil, name)))
}

// attachmentReader compares the length of an attachment's content with the
// one stated, so that a wrong one is noticed before anything is kept. Whoever
// stores the content may already write its final length to the attachment.
type attachmentReader struct {
	r    io.Reader
	name string
	want int64 // -1 if none is stated
	n    int64
}

func (r *attachmentReader) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	r.n += int64(n)
	if r.want >= 0 && (r.n > r.want || err == io.EOF && r.n < r.want) {
		return n, malformed("attachment %.80q is not %d bytes long as stated", r.name, r.want)
	}
	return n, err
}

// storedLength is the length of an attachment's content as it is stored and
// sent; -1 if a document that was read does not say.
func storedLength(a *Attachment) int64 {
	if a.Encoding == "" {
		return a.Length
	}
	return a.EncodedLength
}
