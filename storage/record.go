package storage

import (
	"encoding/binary"
	"fmt"

	"github.com/golang/snappy"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
)

// The by-id value of a document:
//
//	version:1 flags:1 seq attached winner(gen, hash length, hash) body length, body, tree
//
// Numbers without a width are uvarints. What lists of documents need comes first; the tree is decoded only when it
// is asked for.
const recordVersion = 1

const (
	flagDeleted   = 1 << iota // the winner is a tombstone
	flagInline                // the winner's body follows
	flagBranching             // there is more than one leaf
)

// record is a by-id value.
type record struct {
	seq       Seq
	winner    revtree.ID
	deleted   bool
	inline    bool
	branching bool
	attached  uint64 // stored bytes of the attachments of all leaves
	body      []byte // the winner's encoded body, if inline
	tree      []byte // encoded
}

func (r *record) append(b []byte) []byte {
	var flags byte
	if r.deleted {
		flags |= flagDeleted
	}
	if r.inline {
		flags |= flagInline
	}
	if r.branching {
		flags |= flagBranching
	}
	b = append(b, recordVersion, flags)
	b = binary.AppendUvarint(b, uint64(r.seq))
	b = binary.AppendUvarint(b, r.attached)
	b = appendRev(b, r.winner)
	if r.inline {
		b = binary.AppendUvarint(b, uint64(len(r.body)))
		b = append(b, r.body...)
	}
	return append(b, r.tree...)
}

// parseRecord reads a by-id value; body and tree share its memory.
func parseRecord(b []byte) (r record, err error) {
	if len(b) < 2 || b[0] != recordVersion {
		return r, corrupt("document record", nil)
	}
	flags := b[1]
	c := cursor{b: b[2:]}
	r.deleted, r.inline, r.branching = flags&flagDeleted != 0, flags&flagInline != 0, flags&flagBranching != 0
	r.seq = Seq(c.uvarint())
	r.attached = c.uvarint()
	r.winner = c.rev()
	if r.inline {
		r.body = c.bytes()
	}
	r.tree = c.b
	if c.bad {
		return r, corrupt("document record", nil)
	}
	return r, nil
}

// The by-seq value of a document: docid length, docid, then for each leaf, winner first: flags, gen, hash length, hash.
func appendChange(b []byte, id string, leaves []revtree.Leaf) []byte {
	b = binary.AppendUvarint(b, uint64(len(id)))
	b = append(b, id...)
	for _, l := range leaves {
		var flags byte
		if l.Deleted {
			flags = flagDeleted
		}
		b = appendRev(append(b, flags), l.ID)
	}
	return b
}

func parseChange(seq Seq, value []byte) (Change, error) {
	c := Change{Seq: seq}
	// One copy holds the id and all hashes.
	cur := textCursor{s: string(value)}
	c.ID = cur.text()
	for cur.s != "" && !cur.bad {
		flags := cur.byte()
		rev := cur.rev()
		if len(c.Revs) == 0 {
			c.Deleted = flags&flagDeleted != 0
		}
		c.Revs = append(c.Revs, rev)
	}
	if cur.bad || len(c.Revs) == 0 {
		return c, corrupt("change record", nil)
	}
	return c, nil
}

// The encoded body of a revision: flags, then if there are attachments their length and list, then the text.
const (
	bodySnappy = 1 << iota
	bodyAttachments
)

// compressed is the text of a body in the form in which it is stored.
type compressed struct {
	flags byte
	text  []byte
}

// minCompress is the length below which compressing does not pay.
const minCompress = 128

func compressBody(text []byte) compressed {
	if len(text) >= minCompress {
		if s := snappy.Encode(nil, text); len(s) < len(text)-len(text)/8 {
			return compressed{bodySnappy, s}
		}
	}
	return compressed{0, text}
}

func appendBody(b []byte, c compressed, attachments []document.Attachment) []byte {
	if len(attachments) == 0 {
		return append(append(b, c.flags), c.text...)
	}
	b = append(b, c.flags|bodyAttachments)
	list := appendAttachments(nil, attachments)
	b = binary.AppendUvarint(b, uint64(len(list)))
	b = append(b, list...)
	return append(b, c.text...)
}

// parseBodyInto sets the body and the attachments of d. The body is written into the memory of d.Body if it fits,
// and shares none with b: that is the engine's, which may write the next value over it.
func parseBodyInto(d *document.Document, b []byte) error {
	c, attachments, err := splitBody(b)
	if err != nil {
		return fmt.Errorf("%w of %s", err, d.ID)
	}
	if c.flags&bodySnappy == 0 {
		d.Body = append(d.Body[:0], c.text...)
	} else if d.Body, err = snappy.Decode(d.Body[:cap(d.Body)], c.text); err != nil {
		return corrupt("body of "+d.ID, err)
	}
	d.Attachments = attachments
	return nil
}

// splitBody takes an encoded body apart; the text shares its memory.
func splitBody(b []byte) (text compressed, attachments []document.Attachment, err error) {
	if len(b) == 0 {
		return text, nil, corrupt("body", nil)
	}
	c := cursor{b: b[1:]}
	if b[0]&bodyAttachments != 0 {
		if attachments, err = parseAttachments(c.bytes()); err != nil || c.bad {
			return text, nil, corrupt("attachments", err)
		}
	}
	return compressed{b[0] & bodySnappy, c.b}, attachments, nil
}

func appendAttachments(b []byte, as []document.Attachment) []byte {
	b = binary.AppendUvarint(b, uint64(len(as)))
	for i := range as {
		a := &as[i]
		b = appendText(b, a.Name)
		b = appendText(b, a.ContentType)
		b = appendText(b, a.Encoding)
		b = binary.AppendUvarint(b, uint64(a.RevPos))
		b = binary.AppendUvarint(b, uint64(a.Length))
		b = binary.AppendUvarint(b, uint64(a.EncodedLength))
		b = append(b, a.Digest[:]...)
		b = append(b, a.Address[:]...)
	}
	return b
}

// leastAttachment is the size of the shortest encoded attachment: six numbers, a digest and an address.
const leastAttachment = 6 + 16 + 32

func parseAttachments(b []byte) ([]document.Attachment, error) {
	c := textCursor{s: string(b)}
	n := c.uvarint()
	if n > uint64(len(c.s)/leastAttachment) {
		return nil, fmt.Errorf("%d attachments in %d bytes", n, len(c.s))
	}
	as := make([]document.Attachment, n)
	for i := range as {
		a := &as[i]
		a.Name, a.ContentType, a.Encoding = c.text(), c.text(), c.text()
		a.RevPos = int(c.uvarint())
		a.Length, a.EncodedLength = int64(c.uvarint()), int64(c.uvarint())
		copy(a.Digest[:], c.take(len(a.Digest)))
		copy(a.Address[:], c.take(len(a.Address)))
	}
	if c.bad || c.s != "" {
		return nil, fmt.Errorf("bad attachment list")
	}
	return as, nil
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendRev(b []byte, id revtree.ID) []byte {
	return appendText(binary.AppendUvarint(b, uint64(id.Gen)), id.Hash)
}

// textCursor reads encoded values from a string, of which its results are parts. After a mistake bad is set and
// all results are zero.
type textCursor struct {
	s   string
	bad bool
}

func (c *textCursor) fail() { c.s, c.bad = "", true }

func (c *textCursor) byte() byte {
	if c.s == "" {
		c.fail()
		return 0
	}
	b := c.s[0]
	c.s = c.s[1:]
	return b
}

func (c *textCursor) uvarint() uint64 {
	var n uint64
	for shift := 0; shift < 64; shift += 7 {
		b := c.byte()
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
	}
	c.fail()
	return 0
}

func (c *textCursor) take(n int) string {
	if n < 0 || n > len(c.s) {
		c.fail()
		return ""
	}
	s := c.s[:n]
	c.s = c.s[n:]
	return s
}

func (c *textCursor) text() string {
	n := c.uvarint()
	if n > uint64(len(c.s)) {
		c.fail()
		return ""
	}
	return c.take(int(n))
}

func (c *textCursor) rev() revtree.ID {
	return revtree.ID{Gen: int(c.uvarint()), Hash: c.text()}
}

// cursor is a textCursor over bytes.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) uvarint() uint64 {
	n, w := binary.Uvarint(c.b)
	if w <= 0 {
		c.b, c.bad = nil, true
		return 0
	}
	c.b = c.b[w:]
	return n
}

func (c *cursor) bytes() []byte {
	n := c.uvarint()
	if n > uint64(len(c.b)) {
		c.b, c.bad = nil, true
		return nil
	}
	b := c.b[:n:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) rev() revtree.ID {
	gen := int(c.uvarint())
	return revtree.ID{Gen: gen, Hash: string(c.bytes())}
}
