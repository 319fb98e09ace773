package document

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
)

// OpenContent opens the content of an attachment as stored: still encoded if
// the attachment names an encoding. The caller closes it.
type OpenContent func(a *Attachment) (io.ReadCloser, error)

// Related is a document with attachments as one multipart/related message,
// byte for byte as CouchDB writes it: the JSON, then the content of each
// attachment that has Follows set. If none has, it is not multipart at all but
// the JSON alone, as CouchDB does.
type Related struct {
	// ID and Rev are sent as X-Doc-Id and X-Rev-Id where the message is a
	// part of another: set for _bulk_get, empty for open_revs.
	ID, Rev string

	json     []byte
	atts     []Attachment
	boundary string // empty if nothing follows
}

// NewRelated returns the message of the document whose JSON, with
// "follows":true in the right places, is given. Neither slice is copied, and
// both must stay as they are while the message is in use.
func NewRelated(json []byte, atts []Attachment) *Related {
	r := &Related{json: json, atts: atts}
	for i := range atts {
		if atts[i].Follows {
			r.boundary = newBoundary()
			break
		}
	}
	return r
}

// newBoundary returns 32 random hexadecimal digits: nobody can put them into
// an attachment beforehand.
func newBoundary() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// ContentType returns the value of the header of that name.
func (r *Related) ContentType() string {
	if r.boundary == "" {
		return "application/json"
	}
	return `multipart/related; boundary="` + r.boundary + `"`
}

// Length returns the number of bytes that Write will write, for a
// Content-Length: CouchDB's replicator and others want no chunked bodies.
func (r *Related) Length() int64 {
	n := int64(len(r.json))
	if r.boundary == "" {
		return n
	}
	var scratch [512]byte
	n += int64(len(r.appendStart(scratch[:0])))
	for i := range r.atts {
		if a := &r.atts[i]; a.Follows {
			n += int64(len(r.appendHeader(scratch[:0], a))) + storedLength(a)
		}
	}
	return n + int64(len("\r\n--")+len(r.boundary)+len("--"))
}

func (r *Related) appendStart(b []byte) []byte {
	b = append(b, "--"...)
	b = append(b, r.boundary...)
	return append(b, "\r\nContent-Type: application/json\r\n\r\n"...)
}

// appendHeader appends the delimiter before an attachment and its header.
func (r *Related) appendHeader(b []byte, a *Attachment) []byte {
	b = append(b, "\r\n--"...)
	b = append(b, r.boundary...)
	b = append(b, "\r\nContent-Disposition: attachment; filename=\""...)
	b = appendQuoted(b, a.Name)
	b = append(b, "\"\r\nContent-Type: "...)
	b = appendHeaderText(b, a.ContentType)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, storedLength(a), 10)
	if a.Encoding != "" {
		b = append(b, "\r\nContent-Encoding: "...)
		b = appendHeaderText(b, a.Encoding)
	}
	return append(b, "\r\n\r\n"...)
}

// Write writes the message, streaming each attachment from open. If content
// is shorter or longer than stated, the error wraps ErrContentLength.
func (r *Related) Write(w io.Writer, open OpenContent) error {
	if r.boundary == "" {
		_, err := w.Write(r.json)
		return err
	}
	head := make([]byte, 0, 512)
	head = append(r.appendStart(head), r.json...)
	for i := range r.atts {
		a := &r.atts[i]
		if !a.Follows {
			continue
		}
		head = r.appendHeader(head, a)
		if _, err := w.Write(head); err != nil {
			return err
		}
		head = head[:0]
		if err := copyContent(w, a, open); err != nil {
			return err
		}
	}
	head = append(head, "\r\n--"...)
	head = append(head, r.boundary...)
	head = append(head, "--"...)
	_, err := w.Write(head)
	return err
}

// copyContent copies the content of an attachment, exactly as many bytes as
// are stated.
func copyContent(w io.Writer, a *Attachment, open OpenContent) error {
	content, err := open(a)
	if err != nil {
		return fmt.Errorf("attachment %q: %w", a.Name, err)
	}
	defer content.Close() // read only: nothing to lose
	want := storedLength(a)
	n, err := io.Copy(w, &io.LimitedReader{R: content, N: want})
	if err != nil {
		return fmt.Errorf("attachment %q: %w", a.Name, err)
	}
	if n < want {
		return fmt.Errorf("%w: %q has %d bytes instead of %d", ErrContentLength, a.Name, n, want)
	}
	switch _, err := io.ReadFull(content, make([]byte, 1)); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("%w: %q has more than %d bytes", ErrContentLength, a.Name, want)
	default:
		return fmt.Errorf("attachment %q: %w", a.Name, err)
	}
}

// MultipartWriter writes a message of many parts: the multipart/mixed answers
// of open_revs and _bulk_get, and the multipart/byteranges of an attachment.
// Its length is not known beforehand. An error of any method leaves the
// message unusable. A MultipartWriter is not safe for concurrent use.
type MultipartWriter struct {
	w        io.Writer
	subtype  string
	boundary string
	head     []byte
	parts    int
}

// NewMultipartWriter returns a writer to w of a message of type
// "multipart/"+subtype with a random boundary.
func NewMultipartWriter(w io.Writer, subtype string) *MultipartWriter {
	return &MultipartWriter{w: w, subtype: subtype, boundary: newBoundary()}
}

// ContentType returns the value of the header of that name.
func (w *MultipartWriter) ContentType() string {
	return "multipart/" + w.subtype + `; boundary="` + w.boundary + `"`
}

// begin puts a delimiter into head.
func (w *MultipartWriter) begin() {
	w.head = w.head[:0]
	if w.parts > 0 {
		w.head = append(w.head, "\r\n"...)
	}
	w.parts++
	w.head = append(w.head, "--"...)
	w.head = append(w.head, w.boundary...)
}

func (w *MultipartWriter) field(name, value string) {
	w.head = append(w.head, "\r\n"...)
	w.head = append(w.head, name...)
	w.head = append(w.head, ": "...)
	w.head = appendHeaderText(w.head, value)
}

func (w *MultipartWriter) flush(body []byte) error {
	w.head = append(w.head, "\r\n\r\n"...)
	w.head = append(w.head, body...)
	_, err := w.w.Write(w.head)
	return err
}

// WriteDocument writes a document as one part: a nested multipart/related
// message, or application/json if no attachment follows. The nested one
// carries X-Doc-Id and X-Rev-Id if they are set.
func (w *MultipartWriter) WriteDocument(r *Related, open OpenContent) error {
	w.begin()
	if r.boundary != "" {
		if r.ID != "" {
			w.field("X-Doc-Id", r.ID)
		}
		if r.Rev != "" {
			w.field("X-Rev-Id", r.Rev)
		}
	}
	w.field("Content-Type", r.ContentType())
	if r.boundary == "" {
		return w.flush(r.json)
	}
	if err := w.flush(nil); err != nil {
		return err
	}
	return r.Write(w.w, open)
}

// WriteError writes a part that reports an error, whose JSON is given:
// application/json; error="true".
func (w *MultipartWriter) WriteError(json []byte) error {
	w.begin()
	w.field("Content-Type", `application/json; error="true"`)
	return w.flush(json)
}

// WriteRange writes length bytes of content as the part of a
// multipart/byteranges message (RFC 9110 §14.6) that begins at start of a
// whole of size bytes. If content ends earlier the error wraps
// ErrContentLength.
func (w *MultipartWriter) WriteRange(contentType string, start, length, size int64, content io.Reader) error {
	w.begin()
	w.field("Content-Type", contentType)
	w.field("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, start+length-1, size))
	if err := w.flush(nil); err != nil {
		return err
	}
	n, err := io.Copy(w.w, &io.LimitedReader{R: content, N: length})
	if err == nil && n < length {
		err = fmt.Errorf("%w: a range of %d bytes ends after %d", ErrContentLength, length, n)
	}
	return err
}

// Close writes the closing delimiter. It does not close the underlying
// writer.
func (w *MultipartWriter) Close() error {
	w.begin()
	w.head = append(w.head, "--"...)
	_, err := w.w.Write(w.head)
	return err
}

const upperHex = "0123456789ABCDEF"

// appendHeaderText appends a value as CouchDB does, as it is. Only control
// characters, which would end the line and let a name or a type write headers
// of its own, are percent-encoded.
func appendHeaderText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

// appendQuoted appends the inside of a quoted string (RFC 2183 §2). CouchDB
// leaves quotes and backslashes as they are, which no parser gets right; it
// does not look at names itself, so quoting them is safe with it.
func appendQuoted(b []byte, s string) []byte {
	start := 0
	for i := range len(s) {
		if c := s[i]; c == '"' || c == '\\' {
			b = appendHeaderText(b, s[start:i])
			b = append(b, '\\')
			start = i
		}
	}
	return appendHeaderText(b, s[start:])
}
