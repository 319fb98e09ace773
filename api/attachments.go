package api

import (
	"context"
	"crypto/md5"
	"hash"
	"io"
	"strings"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// gzipped is the one encoding that attachments can be stored in besides identity.
const gzipped = "gzip"

// storeAttachments stores the attachments whose data came inline with the document, so that it can be applied.
func (q *request) storeAttachments(ctx context.Context, db *storage.DB, d *document.Document) error {
	for i := range d.Attachments {
		a := &d.Attachments[i]
		if a.Data == nil {
			continue
		}
		if err := q.storeAttachment(ctx, db, a, io.NewSectionReader(a.Data, 0, a.Data.Size())); err != nil {
			return err
		}
		replicatedPosition(d, a)
	}
	return nil
}

// replicatedPosition gives an attachment that came without one the position of its revision: what was said nowhere
// else was added there. Edits get another one when they are applied.
func replicatedPosition(d *document.Document, a *document.Attachment) {
	if a.RevPos == 0 {
		a.RevPos = d.Rev.Gen
	}
}

// storeAttachment reads content to its end, stores it and completes a. The content is encoded as a says; content of
// a compressible type that is not is compressed. The digest, if a has one, is that of the content as it was sent.
func (q *request) storeAttachment(ctx context.Context, db *storage.DB, a *document.Attachment, content io.Reader) error {
	content = &boundedReader{r: content, left: q.config.MaxAttachmentSize, name: a.Name}
	var coding storage.Coding
	switch {
	case a.Encoding == gzipped:
		coding.Gzipped = true
	case q.compressible(a.ContentType):
		coding.Gzip = q.config.CompressionLevel
	}
	said := a.Digest != [md5.Size]byte{}
	var sum hash.Hash
	if said && coding.Gzip > 0 {
		sum = md5.New()
		content = io.TeeReader(content, sum)
	}
	stored, err := db.StoreAttachment(ctx, content, coding)
	if err != nil {
		return err
	}
	digest := stored.Digest
	if sum != nil {
		sum.Sum(digest[:0])
	}
	if said && digest != a.Digest {
		return errDigest
	}
	// Equal lengths say that nobody knows how long the content is when it is unpacked. That is so for what a client
	// packed, here as in CouchDB, and it is kept when such an attachment is replicated.
	if coding.Gzipped && (a.Length < 0 || a.Length == a.EncodedLength) {
		stored.Length = stored.EncodedLength
	}
	a.Digest, a.Length, a.EncodedLength = stored.Digest, stored.Length, stored.EncodedLength
	a.Encoding, a.Address = stored.Encoding, stored.Address
	return nil
}

// compressible tells whether attachments of a type are worth compressing. Parameters of the type do not matter.
func (q *request) compressible(contentType string) bool {
	contentType, _, _ = strings.Cut(contentType, ";")
	contentType = strings.ToLower(strings.TrimSpace(contentType))
	for _, pattern := range q.config.CompressibleTypes {
		start, end, wild := strings.Cut(pattern, "*")
		if contentType == pattern || wild && len(contentType) >= len(start)+len(end) &&
			strings.HasPrefix(contentType, start) && strings.HasSuffix(contentType, end) {
			return true
		}
	}
	return false
}

// boundedReader fails when an attachment turns out to be longer than it may be.
type boundedReader struct {
	r    io.Reader
	left int64
	name string
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, attachmentTooLarge(b.name)
	}
	return n, err
}
