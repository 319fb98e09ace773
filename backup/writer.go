package backup

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"
	"strings"

	"github.com/mangrove-db/mangrove/document"
)

// A line of documents ends at the first of these.
const (
	lineDocuments = 500
	lineBytes     = 1 << 20
)

// Writer writes a backup. Nothing of a document is held longer than it takes to write it.
type Writer struct {
	out    *bufio.Writer
	below  summing
	counts Counts
	last   string // id of the last document
	docs   int    // in the line
	start  int64  // of the line
	buf    []byte
}

// summing counts what is written, and sums it up.
type summing struct {
	w   io.Writer
	sum hash.Hash
	n   int64
}

func (s *summing) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.sum.Write(p[:n])
	s.n += int64(n)
	return n, err
}

// NewWriter begins a backup. Version is that of the program.
func NewWriter(w io.Writer, version string, o Origin) (*Writer, error) {
	o.Format = FormatVersion
	b := &Writer{below: summing{w: w, sum: sha256.New()}}
	b.out = bufio.NewWriterSize(&b.below, 64<<10)
	return b, b.line(header{Name: "mangrove", Version: version, Mode: "full", Attachments: true, Mangrove: &o})
}

// line writes a line that is an object.
func (w *Writer) line(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.out.Write(append(text, '\n'))
	return err
}

func (w *Writer) written() int64 { return w.below.n + int64(w.out.Buffered()) }

// begin goes to the place of the next document, of that id.
func (w *Writer) begin(id string) error {
	local := document.IsLocal(id)
	switch {
	case w.docs > 0 && (w.docs >= lineDocuments || w.written()-w.start >= lineBytes || local != document.IsLocal(w.last)):
		if err := w.endLine(); err != nil {
			return err
		}
		fallthrough
	case w.docs == 0:
		w.start = w.written()
		if err := w.out.WriteByte('['); err != nil {
			return err
		}
	default:
		if err := w.out.WriteByte(','); err != nil {
			return err
		}
	}
	w.docs++
	w.counts.add(id, w.last)
	w.last = strings.Clone(id)
	return nil
}

// add counts a revision of a document, which came after one of the document last.
func (c *Counts) add(id, last string) {
	switch {
	case document.IsLocal(id):
		c.Local++
		return
	case id != last:
		c.Documents++
	}
	c.Revisions++
}

func (w *Writer) endLine() error {
	if w.docs == 0 {
		return nil
	}
	w.docs = 0
	_, err := w.out.WriteString("]\n")
	return err
}

// Document writes a revision with its ancestry, and the content of its attachments, which open returns as it is stored.
// The revisions of a document have to come one after the other.
func (w *Writer) Document(d *document.Document, open func(*document.Attachment) (io.ReadCloser, error)) error {
	if err := w.begin(d.ID); err != nil {
		return err
	}
	m := document.Members{Revisions: true, TypeAgain: true}
	if len(d.Attachments) > 0 {
		m.Open = open
		m.Form = func(*document.Attachment) document.Form { return document.FormInline }
		return document.WriteJSON(w.out, d, m)
	}
	w.buf = document.AppendJSON(w.buf[:0], d, m)
	_, err := w.out.Write(w.buf)
	if cap(w.buf) > lineBytes {
		w.buf = nil
	}
	return err
}

// Text writes a revision that is JSON text already.
func (w *Writer) Text(id string, text io.Reader) error {
	if err := w.begin(id); err != nil {
		return err
	}
	_, err := io.Copy(w.out, text)
	return err
}

// Counts tells what has been written.
func (w *Writer) Counts() Counts { return w.counts }

// Close ends the backup. What it was written to is left open.
func (w *Writer) Close(updateSeq string, missing uint64) error {
	if err := w.endLine(); err != nil {
		return err
	}
	if err := w.out.Flush(); err != nil {
		return err
	}
	err := w.line(lastLine{Marker: resumeMarker, Mangrove: &Ending{
		Format: FormatVersion, Counts: w.counts, Missing: missing, UpdateSeq: updateSeq,
		Bytes: w.below.n, SHA256: hex.EncodeToString(w.below.sum.Sum(nil)),
	}})
	if err != nil {
		return err
	}
	return w.out.Flush()
}
