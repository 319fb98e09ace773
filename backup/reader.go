package backup

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/internal/spool"
)

// largeText is the size of a document's text from which on it is not held in memory.
const largeText = 1 << 20

// Document is the text of a revision in a backup. It has to be closed.
type Document struct {
	ID, Rev string // Rev is empty in very old backups of couchbackup
	Size    int64
	text    []byte
	large   io.ReaderAt
}

// Open returns the text, as often as it is called.
func (d *Document) Open() io.Reader {
	if d.large != nil {
		return io.NewSectionReader(d.large, 0, d.Size)
	}
	return bytes.NewReader(d.text)
}

// Close removes what holds the text.
func (d *Document) Close() error {
	if c, ok := d.large.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Source is a backup that is read.
type Source struct {
	R io.Reader
	// At, if it is not nil, is the same text as R, which large documents are read from again. Otherwise they go into
	// temporary files.
	At io.ReaderAt
	// Skip leaves out the texts of documents, for readers that only check.
	Skip bool
}

// Reader reads a backup.
type Reader struct {
	source  Source
	s       *scanner
	head    *header
	ending  *Ending
	started bool
	inLine  bool // within a line of documents
	fresh   bool // before its first
	counts  Counts
	last    string
	ignored int
	broken  bool // the last line was ignored
}

// NewReader returns a Reader. Nothing is read yet.
func NewReader(source Source) *Reader {
	r := &Reader{source: source, s: newScanner(source.R)}
	r.s.lines = true
	return r
}

// Origin returns what the first line says, nil if the backup is none of ours. It is known once Next was called.
func (r *Reader) Origin() *Origin {
	if r.head == nil {
		return nil
	}
	return r.head.Mangrove
}

// Ending returns what the last line says. It is known when Next has returned io.EOF; nil if the backup is none of ours.
func (r *Reader) Ending() *Ending { return r.ending }

// Counts tells what was read.
func (r *Reader) Counts() Counts { return r.counts }

// Ignored counts lines that were left out because couchbackup broke off there, and went on behind them.
func (r *Reader) Ignored() int { return r.ignored }

// Offset tells how many bytes were read.
func (r *Reader) Offset() int64 { return r.s.read }

// Next returns the next document; its text, if the source says Skip, is not there. At the end of a good backup the
// error is io.EOF. Errors wrap ErrCut, ErrChanged or ErrFormat where the backup is to blame.
func (r *Reader) Next() (*Document, error) {
	for {
		d, err := r.next()
		if err == nil && d != nil {
			r.counts.add(d.ID, r.last)
			r.last = d.ID
			return d, nil
		}
		if err == io.EOF {
			return nil, io.EOF
		}
		if err != nil {
			line := r.s.line
			err = r.forgive(err)
			switch {
			case errors.Is(err, ErrCut), errors.Is(err, ErrChanged), errors.Is(err, ErrFormat):
				return nil, &lineError{line, err}
			case err != nil:
				return nil, err // of reading: what is in the line has nothing to do with it
			}
		}
	}
}

// forgive passes over a line that is broken because couchbackup broke off there.
func (r *Reader) forgive(err error) error {
	if !errors.Is(err, errLineEnd) && !errors.Is(err, errForm) {
		return err
	}
	r.inLine = false
	if r.Origin() != nil {
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	tail, skipErr := r.s.skipLine()
	if skipErr != nil {
		return skipErr
	}
	// Before version 2.10 there was no first line, and no mark either.
	if r.head != nil && !(r.head.Mode == "full" && bytes.HasSuffix(bytes.TrimSuffix(tail, []byte("\r")), []byte(`{"marker":"`+resumeMarker+`"}`))) {
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	if r.head == nil && r.counts.Revisions == 0 && r.ignored > 0 {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	r.ignored++
	r.broken = true
	return nil
}

// next returns a document, nil if a line has ended.
func (r *Reader) next() (*Document, error) {
	if r.inLine {
		return r.element()
	}
	c, err := r.s.peek()
	switch {
	case err == io.EOF:
		return nil, r.end()
	case err != nil:
		return nil, cut(err)
	case c == '\n':
		return nil, r.s.endLine()
	case r.ending != nil:
		return nil, fmt.Errorf("%w: there is something behind its end", ErrChanged)
	case c == '{':
		return nil, r.object()
	case c == '[':
		r.s.pos++
		r.inLine, r.fresh, r.started = true, true, true
		return nil, nil
	}
	if !r.started {
		return nil, ErrFormat
	}
	return nil, errForm
}

// end checks that the backup may end here.
func (r *Reader) end() error {
	switch {
	case !r.started:
		return ErrFormat
	case r.Origin() != nil && r.ending == nil, r.broken:
		// What was in a broken line should have come again.
		return ErrCut
	}
	return io.EOF
}

// element returns the next document of a line, or nil at its end.
func (r *Reader) element() (*Document, error) {
	c, err := r.s.peek()
	switch {
	case err != nil:
		return nil, cut(err)
	case c == ']':
		r.s.pos++
		r.inLine, r.broken = false, false
		return nil, r.s.endLine()
	case !r.fresh:
		if err := r.s.take(','); err != nil {
			return nil, err
		}
		if c, err = r.s.peek(); err != nil {
			return nil, cut(err)
		}
	}
	r.fresh = false
	switch c {
	case '{':
		return r.document()
	case '\n':
		return nil, errLineEnd
	}
	return nil, errForm
}

func (r *Reader) document() (*Document, error) {
	d := &Document{}
	h := holder{source: r.source, start: r.s.offset()}
	if r.Origin() == nil {
		h.source.At = nil // texts are not quite those of the file
	}
	if err := r.s.copy(copying{w: &h, note: isIDOrRev, keep: d.keep, mend: r.Origin() == nil}); err != nil {
		h.drop()
		return nil, err
	}
	d.Size, d.text, d.large = h.size, h.text, h.reader()
	if d.ID == "" {
		h.drop()
		return nil, errForm
	}
	return d, nil
}

func isIDOrRev(name string) bool { return name == "_id" || name == "_rev" }

func (d *Document) keep(name, value string) {
	if name == "_id" {
		d.ID = value
	} else {
		d.Rev = value
	}
}

// holder takes the text of a document.
type holder struct {
	source Source
	start  int64
	size   int64
	text   []byte
	spool  *spool.Spool
}

func (h *holder) Write(p []byte) (int, error) {
	h.size += int64(len(p))
	switch {
	case h.source.Skip:
	case h.spool != nil:
		return h.spool.Write(p)
	case h.size <= largeText:
		h.text = append(h.text, p...)
	case h.source.At != nil:
		h.text = nil
	default:
		h.spool = spool.New("", 0)
		if _, err := h.spool.Write(h.text); err != nil {
			return 0, err
		}
		h.text = nil
		return h.spool.Write(p)
	}
	return len(p), nil
}

func (h *holder) reader() io.ReaderAt {
	switch {
	case h.spool != nil:
		return h.spool
	case h.size > largeText && h.source.At != nil:
		return io.NewSectionReader(h.source.At, h.start, h.size)
	}
	return nil
}

func (h *holder) drop() {
	if h.spool != nil {
		_ = h.spool.Close() // nobody reads it
	}
}

// object reads a line that is an object.
func (r *Reader) object() error {
	sum, offset := hex.EncodeToString(r.s.digest()), r.s.offset()
	text := limited{}
	if err := r.s.value(&text, nil, nil); err != nil {
		return err
	}
	if err := r.s.endLine(); err != nil {
		return err
	}
	if !r.started {
		r.started = true
		var h header
		if json.Unmarshal(text.b, &h) == nil && h.Name != "" && h.Version != "" && h.Mode != "" {
			if h.Mangrove != nil && h.Mangrove.Format > FormatVersion {
				return fmt.Errorf("%w that this program knows: its version is %d; use a newer program", ErrFormat, h.Mangrove.Format)
			}
			r.head = &h
			return nil
		}
	}
	var l lastLine
	if err := json.Unmarshal(text.b, &l); err != nil || l.Marker != resumeMarker {
		if r.head == nil && r.counts == (Counts{}) {
			return ErrFormat
		}
		return fmt.Errorf("%w: a line is neither documents nor one that is known", ErrChanged)
	}
	if l.Mangrove != nil {
		if again, err := json.Marshal(l); err != nil || !bytes.Equal(again, text.b) {
			return fmt.Errorf("%w: its last line is not as it was written", ErrChanged)
		}
		return r.finish(l.Mangrove, sum, offset)
	}
	return nil
}

// finish compares what was read with what the last line says.
func (r *Reader) finish(e *Ending, sum string, size int64) error {
	o := r.Origin()
	if e.SHA256 != sum || e.Bytes != size || e.Counts != r.counts || o == nil || e.Format != o.Format || o.Snapshot && e.UpdateSeq != o.UpdateSeq {
		return fmt.Errorf("%w: what was read is not what its last line says", ErrChanged)
	}
	r.ending = e
	return nil
}

// limited holds a text that must not be too long.
type limited struct{ b []byte }

func (l *limited) Write(p []byte) (int, error) {
	if len(l.b)+len(p) > maxObject {
		return 0, errForm
	}
	l.b = append(l.b, p...)
	return len(p), nil
}

// Summary is what Verify has found in a good backup.
type Summary struct {
	Origin *Origin // nil: couchbackup's
	Ending *Ending // likewise
	Counts
	Ignored int   // see Reader.Ignored
	Bytes   int64 // of the text
}

// Verify reads a backup to its end.
func Verify(r io.Reader, progress func(bytes int64)) (*Summary, error) {
	in := NewReader(Source{R: r, Skip: true})
	for n := 0; ; n++ {
		_, err := in.Next()
		if progress != nil && (n%256 == 0 || err != nil) {
			progress(in.Offset())
		}
		if err == io.EOF {
			return &Summary{Origin: in.Origin(), Ending: in.Ending(), Counts: in.Counts(), Ignored: in.Ignored(), Bytes: in.s.offset()}, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// IsDesign tells whether it is a design document.
func (d *Document) IsDesign() bool { return document.IsDesign(d.ID) }
