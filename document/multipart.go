package document

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/textproto"
	"strings"
)

const (
	// multipartBuffer is what one reader holds of a message. A part's header
	// block and one delimiter line must fit.
	multipartBuffer = 32 << 10
	// maxPartHeader bounds the header block of one part. The longest member
	// is the attachment's name, which is as long as its writer liked.
	maxPartHeader = 16 << 10
	// maxPartFields bounds the number of header fields of one part.
	maxPartFields = 64
	// maxBoundary is more than the 70 characters of RFC 2046 §5.1.1, for
	// senders that did not read it.
	maxBoundary = 200
	// maxPadding bounds the white space between a boundary and its line end.
	maxPadding = 64
	// maxMultipartDepth is what the protocol needs: multipart/related within
	// multipart/mixed.
	maxMultipartDepth = 2
	// maxEmptyReads is how often a source may return nothing without an error.
	maxEmptyReads = 100
)

// MultipartReader reads a MIME multipart message (RFC 2046 §5.1) as a stream:
// whatever the size of its parts, it holds no more than a fixed buffer. It
// serves both the messages CouchDB takes (multipart/related: a document, then
// its attachments) and those it gives (multipart/mixed of documents).
//
// Lines may end in CRLF or, if the first boundary's does, in LF. A preamble
// and an epilogue are skipped. A line is a delimiter only as a whole, so that
// the boundary may be the beginning of a nested message's boundary. Transfer
// encodings are not undone: the parts hold binary data.
//
// A MultipartReader is not safe for concurrent use.
type MultipartReader struct {
	src       io.Reader
	mediaType string
	depth     int

	buf  []byte
	r, w int // buf[r:w] is read and not yet given out
	eof  bool

	dash   []byte // "\r\n--" and the boundary
	needle []byte // dash, or dash without its CR while lines end in LF
	lf     bool   // lines end in LF alone

	blank   int // length of the blank line at r that ends a header, 0 if consumed
	safe    int // bytes at r known to belong to the body
	delim   int // length of the delimiter line at r, 0 if none was reached
	closing bool

	parts   int
	current *Part
	nested  *MultipartReader // kept for its buffer
	err     error            // sticky; io.EOF after the closing delimiter
}

// NewMultipartReader returns a reader of the message in r, whose Content-Type
// is the one given. It fails with ErrMultipart if that is no multipart type or
// names no usable boundary. Nothing is read yet.
func NewMultipartReader(r io.Reader, contentType string) (*MultipartReader, error) {
	m := &MultipartReader{depth: 1}
	if err := m.reset(r, contentType); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *MultipartReader) reset(r io.Reader, contentType string) error {
	mediaType, boundary, err := parseMultipartType(contentType)
	if err != nil {
		return err
	}
	if m.buf == nil {
		m.buf = make([]byte, multipartBuffer)
	}
	dash := append(append(m.dash[:0], "\r\n--"...), boundary...)
	*m = MultipartReader{
		src: r, mediaType: mediaType, depth: m.depth, buf: m.buf, nested: m.nested,
		dash: dash, needle: dash[1:],
	}
	// The first delimiter needs no line end before it. With one put there,
	// it is found as any other.
	m.w = copy(m.buf, "\n")
	return nil
}

// parseMultipartType splits a Content-Type into the lower-case media type and
// the boundary.
func parseMultipartType(contentType string) (mediaType, boundary string, err error) {
	mediaType, params, err := mime.ParseMediaType(contentType)
	boundary = params["boundary"]
	if err != nil {
		// Some senders do not quote boundaries that need it ("----=_Part_1").
		var rest string
		mediaType, rest, _ = strings.Cut(contentType, ";")
		mediaType = strings.ToLower(strings.TrimSpace(mediaType))
		for param := range strings.SplitSeq(rest, ";") {
			name, value, _ := strings.Cut(param, "=")
			if strings.EqualFold(strings.TrimSpace(name), "boundary") {
				boundary = strings.Trim(strings.TrimSpace(value), `"`)
				break
			}
		}
	}
	switch {
	case !strings.HasPrefix(mediaType, "multipart/"):
		return "", "", malformed("%q is no multipart type", contentType)
	case boundary == "":
		return "", "", malformed("no boundary in Content-Type %q", contentType)
	case len(boundary) > maxBoundary:
		return "", "", malformed("boundary of %d characters, more than %d", len(boundary), maxBoundary)
	case boundary[len(boundary)-1] == ' ', strings.ContainsFunc(boundary, isControl):
		return "", "", malformed("boundary %q ends in a space or holds a control character", boundary)
	}
	return mediaType, boundary, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// MediaType returns the message's own type in lower case, without parameters:
// "multipart/related" or "multipart/mixed".
func (m *MultipartReader) MediaType() string { return m.mediaType }

// NextPart skips what is left of the current part and returns the next. After
// the closing delimiter the error is io.EOF itself; a message that ends before
// it gives an error that wraps ErrMultipart and io.ErrUnexpectedEOF. Errors
// are final.
//
// The Part is valid until the next call.
func (m *MultipartReader) NextPart() (*Part, error) {
	if m.err != nil {
		return nil, m.err
	}
	if err := m.skip(); err != nil {
		return nil, m.fail(err)
	}
	m.current = nil
	m.r += m.delim
	m.delim = 0
	if m.closing {
		return nil, m.fail(io.EOF)
	}
	m.parts++
	header, err := m.readHeader()
	if err != nil {
		return nil, m.fail(err)
	}
	m.current = &Part{Header: header, m: m}
	return m.current, nil
}

func (m *MultipartReader) fail(err error) error {
	m.err, m.current = err, nil
	return err
}

// skip discards everything up to the next delimiter.
func (m *MultipartReader) skip() error {
	for m.delim == 0 {
		if err := m.scan(); err != nil {
			return err
		}
		m.r += m.safe
		m.safe = 0
	}
	return nil
}

// read fills b with bytes of the current part's body.
func (m *MultipartReader) read(b []byte) (int, error) {
	if m.safe == 0 {
		if m.delim == 0 {
			if err := m.scan(); err != nil {
				return 0, m.fail(err)
			}
		}
		if m.delim > 0 {
			return 0, io.EOF
		}
	}
	n := copy(b, m.buf[m.r:m.r+m.safe])
	m.r += n
	m.safe -= n
	return n, nil
}

// delimiter is what a line that begins like a delimiter turns out to be.
type delimiter int

const (
	notDelimiter delimiter = iota
	undecided
	separating
	closingDelimiter
)

// scan looks at the buffered bytes until it can say that some of them belong
// to the body (safe > 0) or that they begin with a delimiter (delim > 0).
func (m *MultipartReader) scan() error {
	for {
		data := m.buf[m.r:m.w]
		// A delimiter's line end belongs to the delimiter. So a part without
		// a body may share it with the blank line that ends its header.
		i := bytes.Index(data, m.needle)
		if m.blank > 0 {
			more := i < 0 && len(data) < len(m.needle) && bytes.HasPrefix(m.needle, data)
			if i != 0 && (!more || m.eof) {
				m.r += m.blank
				m.blank = 0
				continue
			}
		}
		switch {
		case i > 0:
			m.safe = i
			return nil
		case i == 0:
			kind, n := m.classify(data[len(m.needle):])
			switch {
			case kind == notDelimiter && m.blank > 0:
				m.r += m.blank
				m.blank = 0
				continue
			case kind == notDelimiter:
				m.safe = len(m.needle)
				return nil
			case kind != undecided:
				m.blank = 0
				m.delim = len(m.needle) + n
				m.closing = kind == closingDelimiter
				if m.parts == 0 {
					m.lf = n < 2 || m.buf[m.r+m.delim-2] != '\r'
					if !m.lf {
						m.needle = m.dash
					}
				}
				return nil
			}
		case m.blank == 0:
			// All is body but an end that may begin a delimiter. Neither CR
			// nor LF occurs in a boundary, so only the last can begin one.
			m.safe = len(data)
			if j := bytes.LastIndexByte(data, m.needle[0]); j >= 0 && bytes.HasPrefix(m.needle, data[j:]) {
				m.safe = j
			}
			if m.safe > 0 {
				return nil
			}
		}
		if err := m.fill(); err != nil {
			return err
		}
	}
}

// classify decides what follows a line end, two dashes and the boundary. n is
// the length of the rest of the line, line end included.
func (m *MultipartReader) classify(rest []byte) (kind delimiter, n int) {
	kind = separating
	open := undecided // the answer if the line goes on after what is buffered
	if m.eof {
		open = notDelimiter
	}
	switch {
	case bytes.HasPrefix(rest, []byte("--")):
		kind, n = closingDelimiter, 2
		if m.eof {
			open = closingDelimiter
		}
	case len(rest) == 1 && rest[0] == '-':
		return open, 0
	}
	for padding := 0; n < len(rest) && (rest[n] == ' ' || rest[n] == '\t'); n++ {
		if padding++; padding > maxPadding {
			return notDelimiter, 0
		}
	}
	// The first delimiter sets the line end, the closing one takes either.
	either := m.parts == 0 || kind == closingDelimiter
	switch rest = rest[n:]; {
	case len(rest) == 0:
		return open, n
	case rest[0] == '\n' && (either || m.lf):
		return kind, n + 1
	case rest[0] == '\r' && (either || !m.lf):
		if len(rest) == 1 {
			return open, n
		}
		if rest[1] == '\n' {
			return kind, n + 2
		}
	}
	return notDelimiter, 0
}

// fill reads more into the buffer. At the end of the source it sets eof and
// returns nil once, so that what is buffered can be judged in that light.
func (m *MultipartReader) fill() error {
	if m.eof {
		return m.truncated()
	}
	if m.r > 0 {
		m.w = copy(m.buf, m.buf[m.r:m.w])
		m.r = 0
	}
	for range maxEmptyReads {
		n, err := m.src.Read(m.buf[m.w:])
		m.w += n
		switch {
		case err == io.EOF:
			m.eof = true
			return nil
		case n > 0:
			// An error that came with data comes again with the next read.
			return nil
		case err != nil:
			return fmt.Errorf("read multipart message: %w", err)
		}
	}
	return fmt.Errorf("read multipart message: %w", io.ErrNoProgress)
}

// truncated names the place at which the message broke off.
func (m *MultipartReader) truncated() error {
	boundary := m.dash[4:]
	switch {
	case m.parts == 0:
		return malformed("no boundary %q found: %w", boundary, io.ErrUnexpectedEOF)
	case m.current == nil:
		return malformed("the headers of part %d break off: %w", m.parts, io.ErrUnexpectedEOF)
	}
	return malformed("part %d is not followed by boundary %q: %w", m.parts, boundary, io.ErrUnexpectedEOF)
}

// readHeader reads the header of a part and leaves the blank line that ends
// it to scan.
func (m *MultipartReader) readHeader() (textproto.MIMEHeader, error) {
	size := 0
	for {
		data := m.buf[m.r:m.w]
		line := bytes.IndexByte(data[size:], '\n') + 1
		if line > 0 && len(bytes.TrimSuffix(data[size:size+line-1], []byte("\r"))) == 0 {
			header, err := parsePartHeader(data[:size])
			if err != nil {
				return nil, malformed("part %d: %w", m.parts, err)
			}
			m.r += size
			m.blank = line
			return header, nil
		}
		if size += line; size > maxPartHeader || line == 0 && len(data) > maxPartHeader {
			return nil, malformed("the headers of part %d exceed %d bytes", m.parts, maxPartHeader)
		}
		if line == 0 {
			if err := m.fill(); err != nil {
				return nil, err
			}
		}
	}
}

// parsePartHeader parses the lines of a header block.
func parsePartHeader(block []byte) (textproto.MIMEHeader, error) {
	header := make(textproto.MIMEHeader, 4)
	var last []string // the values of the field that a folded line continues
	fields := 0
	for len(block) > 0 {
		line, rest, _ := bytes.Cut(block, []byte("\n"))
		block = rest
		line = bytes.TrimSuffix(line, []byte("\r"))
		if line[0] == ' ' || line[0] == '\t' {
			if last == nil {
				return nil, fmt.Errorf("%w: it begins with a continuation line", errPartHeader)
			}
			last[len(last)-1] += " " + string(bytes.TrimSpace(line))
			continue
		}
		name, value, found := bytes.Cut(line, []byte(":"))
		name = bytes.TrimRight(name, " \t")
		if !found || len(name) == 0 || bytes.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return nil, fmt.Errorf("%w: %.40q", errPartHeader, line)
		}
		if fields++; fields > maxPartFields {
			return nil, fmt.Errorf("%w: more than %d fields", errPartHeader, maxPartFields)
		}
		key := textproto.CanonicalMIMEHeaderKey(string(name))
		header[key] = append(header[key], string(bytes.TrimSpace(value)))
		last = header[key]
	}
	return header, nil
}
