// Package document holds one document: how it is read from the JSON that a
// client sends, which revision id its next edit gets, and how it is printed
// again.
//
// # Reading
//
// One pass over the text checks that it is UTF-8 JSON and writes two things
// side by side: the canonical text, which is what CouchDB prints when the
// document is read back, and the Erlang external term of the same value, over
// which CouchDB's revision ids are computed. The canonical text has no white
// space, keeps the order of members, prints numbers and escapes one way, and
// of members with equal names keeps the last.
//
// The reader keeps its own stack, so that nesting costs no Go stack and is
// bounded by MaxDepth; it allocates in proportion to its input and no more.
//
// # Large bodies
//
// Stream reads an object's members, and an array's elements, one after the
// other from an io.Reader. The base64 text of inline attachments never is in
// memory as a whole: beyond 64 KiB it is decoded on the fly into a spool.
//
// # Errors
//
// What a client did wrong is an *Error with CouchDB's words. Failures of the
// reader or writer below are returned as they are.
package document

import (
	"errors"
	"io"

	"github.com/mangrove-db/mangrove/revtree"
)

// Document is one revision of a document.
type Document struct {
	ID string
	// Rev is the parent revision when an edit is sent (zero if none was), and
	// the revision itself when it is replicated or was read from the store.
	// Where a client sends both _rev and _revisions, the latter counts.
	Rev     revtree.ID
	Deleted bool
	// Revisions is the history: what _revisions said, or the path in the tree
	// when read from the store; zero if neither is known.
	Revisions revtree.Path
	// Body is the canonical text of the JSON object without the members that
	// have a field here; "{}" if none is left. It must not be changed: a
	// document with another body is another Document.
	Body []byte
	// Attachments are in the document's order.
	Attachments []Attachment

	term []byte // Erlang external term of Body, if decoded from text
}

// Attachment describes one attachment of a document.
type Attachment struct {
	Name        string
	ContentType string
	RevPos      int      // generation it was added at; 0 if not said
	Digest      [16]byte // MD5 of the stored bytes; zero if not known
	// Length counts the bytes of the identity content, EncodedLength those
	// stored. As sent with a stub or a follows mark, they are -1 if not said.
	Length        int64
	EncodedLength int64
	Encoding      string   // of the stored bytes: "" or "gzip"
	Address       [32]byte // SHA-256 of the stored bytes; zero until stored
	Stub          bool     // sent as a reference to the parent's attachment
	Follows       bool     // sent in a later part of a multipart body
	Data          Content  // inline data as sent, decoded; else nil
}

// Content is the data of an attachment, readable more than once.
type Content interface {
	io.ReaderAt
	Size() int64
}

// Close releases the spools that hold inline attachments. The document's Data
// must not be used afterwards. Documents without any need no Close.
func (d *Document) Close() error {
	var errs []error
	for i := range d.Attachments {
		if c, ok := d.Attachments[i].Data.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// EncodedSize returns the size in bytes that max_document_size limits: that of
// the body as JSON text, without the _ members and attachments.
func (d *Document) EncodedSize() int { return len(d.Body) }
