package storage

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/mangrove-db/mangrove/deflate"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage/kv"
)

// Attachments are stored before the document that names them, under the SHA-256 of their stored bytes, so that the
// same content is there once for all revisions and documents of a database. Small content is a value, larger content
// a blob of the engine. The record under the address says which, and when content was stored that no document has
// been committed with yet: such content is left alone for stagingTime, and then swept by compaction.

// smallContent is the size up to which content is a value.
const smallContent = 64 << 10

// stagingTime is how long stored content may wait for its document. The slowest upload of a document with several
// attachments must be over by then.
const stagingTime = 24 * time.Hour

// attachmentRecord is the value under an address: flags, size, Unix seconds of staging (0 once referred to).
type attachmentRecord struct {
	blob   bool
	size   uint64
	staged uint64
}

func (r attachmentRecord) append(b []byte) []byte {
	var flags byte
	if r.blob {
		flags = 1
	}
	return binary.AppendUvarint(binary.AppendUvarint(append(b, flags), r.size), r.staged)
}

func parseAttachmentRecord(b []byte) (r attachmentRecord, err error) {
	if len(b) == 0 {
		return r, corrupt("attachment record", nil)
	}
	c := cursor{b: b[1:]}
	r = attachmentRecord{b[0]&1 != 0, c.uvarint(), c.uvarint()}
	if c.bad {
		return r, corrupt("attachment record", nil)
	}
	return r, nil
}

func readAttachmentRecord(r kv.Reader, keys keyspace, a address) (attachmentRecord, error) {
	value, err := r.Get(keys.attachment(a))
	if err != nil {
		return attachmentRecord{}, err
	}
	return parseAttachmentRecord(value)
}

// Coding says how content comes and how it is to be kept.
type Coding struct {
	// Gzip compresses identity content at this level, 1 to 9; 0 keeps it as it is. Levels below deflate.MinLevel
	// count as that.
	Gzip int
	// Gzipped says that the content comes compressed by gzip and is kept so.
	Gzipped bool
}

// ErrBadGzip says that content which was said to be compressed by gzip is not.
var ErrBadGzip = errors.New("content is not gzip")

// StoreAttachment reads content to its end and stores it. Of the result, Digest, Length, EncodedLength, Encoding and
// Address are set. Memory does not depend on the size of the content. The content is durable when a document that
// names it has been written, and may go away if none is within a day. Content that was read in part, because r or
// ctx failed, leaves nothing behind.
func (db *DB) StoreAttachment(ctx context.Context, r io.Reader, c Coding) (document.Attachment, error) {
	if err := db.gone(); err != nil {
		return document.Attachment{}, err
	}
	if err := db.store.writable(); err != nil {
		return document.Attachment{}, err
	}
	u := &upload{db: db, md5: md5.New(), sha: sha256.New()}
	defer u.abort()
	a, err := u.read(readerWithContext{ctx, r}, c)
	if err != nil {
		return a, err
	}
	a.EncodedLength = u.size
	u.md5.Sum(a.Digest[:0])
	u.sha.Sum(a.Address[:0])
	return a, outer(u.adopt(ctx, a.Address))
}

type readerWithContext struct {
	ctx context.Context
	r   io.Reader
}

func (r readerWithContext) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// upload takes the stored bytes of one attachment: into memory while they are few, else into a blob.
type upload struct {
	db    *DB
	md5   hash.Hash
	sha   hash.Hash
	size  int64
	small []byte
	blob  kv.BlobWriter
}

func (u *upload) read(r io.Reader, c Coding) (a document.Attachment, err error) {
	buf := make([]byte, 64<<10)
	switch {
	case c.Gzipped:
		a.Encoding = "gzip"
		a.Length, err = u.readGzip(r, buf)
	case c.Gzip > 0:
		a.Encoding = "gzip"
		z, err := compressor(u, c.Gzip)
		if err != nil {
			return a, err
		}
		defer release(z, c.Gzip)
		if a.Length, err = io.CopyBuffer(z, onlyReader{r}, buf); err == nil {
			err = z.Close()
		}
		return a, err
	default:
		a.Length, err = io.CopyBuffer(onlyWriter{u}, onlyReader{r}, buf)
	}
	return a, err
}

// compressors keeps idle compressors, which are large, by level.
var compressors [deflate.MaxLevel + 1]sync.Pool

// compressor returns a compressor that writes what zlib writes at a level. For zlib's fast levels, which are below
// deflate.MinLevel, that one is taken.
func compressor(w io.Writer, level int) (*deflate.Writer, error) {
	level = max(level, deflate.MinLevel)
	if level <= deflate.MaxLevel {
		if z, ok := compressors[level].Get().(*deflate.Writer); ok {
			z.Reset(w)
			return z, nil
		}
	}
	return deflate.NewWriter(w, level)
}

func release(z *deflate.Writer, level int) {
	z.Reset(nil)
	compressors[max(level, deflate.MinLevel)].Put(z)
}

// onlyReader and onlyWriter keep io.CopyBuffer to the buffer that it was given.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

// readGzip keeps r as it is and returns the length of what it holds.
func (u *upload) readGzip(r io.Reader, buf []byte) (int64, error) {
	tee := io.TeeReader(r, u)
	z, err := gzip.NewReader(tee)
	if err != nil {
		return 0, gzipError(err)
	}
	n, err := io.CopyBuffer(io.Discard, onlyReader{z}, buf)
	if err != nil {
		return 0, gzipError(err)
	}
	return n, nil
}

func gzipError(err error) error {
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", ErrBadGzip, err)
	}
	return err
}

// Write takes stored bytes.
func (u *upload) Write(p []byte) (int, error) {
	u.md5.Write(p)
	u.sha.Write(p)
	u.size += int64(len(p))
	if u.blob == nil && u.size <= smallContent {
		u.small = append(u.small, p...)
		return len(p), nil
	}
	if u.blob == nil {
		var err error
		if u.blob, err = u.db.store.engine.Blobs().Create(u.db.ID); err != nil {
			return 0, err
		}
		if _, err := u.blob.Write(u.small); err != nil {
			return 0, err
		}
		u.small = nil
	}
	return u.blob.Write(p)
}

func (u *upload) abort() {
	if u.blob != nil {
		u.blob.Abort()
		u.blob = nil
	}
}

// adopt gives the content its name and record, or drops it if the same is there.
func (u *upload) adopt(ctx context.Context, a address) error {
	s, keys := u.db.store, u.db.keys
	s.adopting.RLock()
	defer s.adopting.RUnlock()
	if u.blob != nil {
		there, err := u.there(a)
		if err != nil {
			return err
		}
		if !there {
			blob := u.blob
			u.blob = nil
			if err := blob.Commit(blobName(a)); err != nil {
				if gone := u.db.gone(); errors.Is(gone, ErrNoDatabase) {
					// The folder was removed while the blob was put there, and what is left of it goes too.
					return errors.Join(gone, s.engine.Blobs().Drop(u.db.ID))
				}
				return err
			}
		}
	}
	rec := attachmentRecord{blob: u.size > smallContent, size: uint64(u.size), staged: uint64(time.Now().Unix())}
	err := s.engine.Update(ctx, func(tx kv.Tx) error {
		if err := u.db.alive(tx); err != nil {
			return err
		}
		// Staged anew even if it is there: the document that had it may go away before this one is committed.
		if err := tx.Set(keys.attachment(a), rec.append(nil)); err != nil {
			return err
		}
		if rec.blob {
			return nil
		}
		if _, err := tx.Get(keys.content(a)); !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		return tx.Set(keys.content(a), u.small)
	})
	if rec.blob && errors.Is(err, ErrNoDatabase) {
		// The database was deleted meanwhile, and its blobs perhaps before this one came.
		return errors.Join(err, s.engine.Blobs().Drop(u.db.ID))
	}
	return err
}

// there tells whether the blob of that address is stored.
func (u *upload) there(a address) (bool, error) {
	blob, err := u.db.store.engine.Blobs().Open(u.db.ID, blobName(a))
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	same := blob.Size() == u.size
	return same, blob.Close()
}

func blobName(a address) string { return hex.EncodeToString(a[:]) }

// refer notes that the document has its attachments, whose content must be there; if not, nothing is noted. What an
// ancestor had is noted already.
func (b *batch) refer(d *document.Document) error {
	records := make(map[address]attachmentRecord, len(d.Attachments))
	for i := range d.Attachments {
		a := &d.Attachments[i]
		if a.Stub {
			continue
		}
		rec, err := readAttachmentRecord(b.tx, b.db.keys, a.Address)
		if errors.Is(err, kv.ErrNotFound) {
			return fmt.Errorf("%w: the content of attachment %q was not stored, or has been swept since", errRefused, a.Name)
		}
		if err != nil {
			return err
		}
		records[a.Address] = rec
	}
	for a, rec := range records {
		// Written even if it says so already: a sweep that has seen no reference must conflict with this one.
		rec.staged = 0
		if err := b.tx.Set(b.db.keys.attachment(a), rec.append(nil)); err != nil {
			return err
		}
		if err := b.tx.Set(b.db.keys.reference(a, d.ID), nil); err != nil {
			return err
		}
	}
	return nil
}

// Content is the stored content of an attachment. It must be closed.
type Content interface {
	io.ReadSeekCloser
	Size() int64
}

type smallReader struct{ *bytes.Reader }

func (smallReader) Close() error { return nil }

// OpenAttachment opens the stored bytes of an attachment of a document of this snapshot. It returns ErrNotFound if
// they have gone away since the snapshot was opened.
func (s *Snapshot) OpenAttachment(a *document.Attachment) (Content, error) {
	rec, err := readAttachmentRecord(s.kv, s.db.keys, a.Address)
	if err != nil {
		return nil, missingContent(a, err)
	}
	if !rec.blob {
		value, err := s.kv.Get(s.db.keys.content(a.Address))
		if err != nil {
			return nil, missingContent(a, err)
		}
		return smallReader{bytes.NewReader(value)}, nil
	}
	blob, err := s.db.store.engine.Blobs().Open(s.db.ID, blobName(a.Address))
	if errors.Is(err, kv.ErrNotFound) && s.swept(a.Address) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, missingContent(a, err)
	}
	return blob, nil
}

// swept tells whether the content has gone away since the snapshot was opened.
func (s *Snapshot) swept(a address) bool {
	now, err := s.db.Snapshot()
	if err != nil {
		return errors.Is(err, ErrNoDatabase)
	}
	defer now.Close()
	_, err = readAttachmentRecord(now.kv, s.db.keys, a)
	return errors.Is(err, kv.ErrNotFound)
}

func missingContent(a *document.Attachment, err error) error {
	if errors.Is(err, kv.ErrNotFound) {
		return corrupt(fmt.Sprintf("content of attachment %q (%x)", a.Name, a.Address), err)
	}
	return outer(err)
}

// OpenDecoded is OpenAttachment with the content as it was before it was compressed for storage.
func (s *Snapshot) OpenDecoded(a *document.Attachment) (io.ReadCloser, error) {
	c, err := s.OpenAttachment(a)
	if err != nil || a.Encoding == "" {
		return c, err
	}
	z, err := gzip.NewReader(c)
	if err != nil {
		return nil, errors.Join(corrupt("attachment "+a.Name, err), c.Close())
	}
	return &decoded{z, c}, nil
}

type decoded struct {
	*gzip.Reader
	content io.Closer
}

func (d *decoded) Close() error { return errors.Join(d.Reader.Close(), d.content.Close()) }
