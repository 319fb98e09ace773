// Package kv is the seam between the document store and the engine that keeps its bytes.
//
// It asks of an engine no more than the store needs: snapshot reads, optimistic serializable updates, an explicit
// sync, and immutable blobs for content that is too large for a value. Nothing above this package may assume that
// it is the only process that writes: what an update depends on must be read inside that update.
package kv

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// The errors of the seam. Engines return them bare or wrapped, so that errors.Is finds them.
var (
	// ErrNotFound says that there is no value or blob under the key.
	ErrNotFound = errors.New("kv: not found")
	// ErrTooBig says that a transaction holds more than the engine commits at once; split it and try again.
	ErrTooBig = errors.New("kv: transaction too big")
	// ErrLocked says that another process has the data directory open.
	ErrLocked = errors.New("kv: the data directory is in use by another process")
	// ErrNoSpace says that the disk has no room left for a write. Reads and removals go on.
	ErrNoSpace = errors.New("kv: no space left on the disk")
	// ErrClosed says that the engine has been closed.
	ErrClosed = errors.New("kv: closed")
)

// Engine is an ordered, transactional key-value store. Its methods may be called by any goroutine.
type Engine interface {
	// Snapshot opens a view of one moment, which the caller must close.
	Snapshot() (Snapshot, error)
	// Update runs fn in a serializable transaction and commits it. When the commit meets a conflict, fn is run
	// again on a fresh transaction, until ctx ends; fn must therefore have no effect beside its Tx. The commit is
	// visible at once and durable after the next Sync.
	Update(ctx context.Context, fn func(Tx) error) error
	// Sync returns once everything committed before the call is durable.
	Sync() error
	// Room returns ErrNoSpace while the disk is too full for new data. Updates that free something go on for longer,
	// until they get ErrNoSpace themselves.
	Room() error
	// Space returns how many bytes are free on the disk, 0 if that cannot be found out, and how many of them must stay
	// free for Room to be content.
	Space() (free, reserve uint64)
	// Usage estimates the bytes on disk of all keys that start with prefix.
	Usage(prefix []byte) uint64
	// Verify reads everything that is stored and compares it with its checksums. It returns the first damage that it
	// finds; blobs are left to those who know what they should be.
	Verify() error
	// Blobs returns the place for large content.
	Blobs() Blobs
	// Maintain frees what the engine can reclaim by itself, for as long as ctx lasts and there is something to free.
	Maintain(ctx context.Context) error
	// Close waits until updates that are under way have ended and all snapshots have been closed, then flushes and
	// releases everything. Calls after it return ErrClosed.
	Close() error
}

// Reader reads by key and in key order.
type Reader interface {
	// Get returns the value under key, which the caller owns, or ErrNotFound.
	Get(key []byte) ([]byte, error)
	// Iterate opens an iterator, which the caller must close before the Reader ends.
	Iterate(Range) Iterator
}

// Snapshot is a Reader of one moment. It may be used by one goroutine at a time.
type Snapshot interface {
	Reader
	Close()
}

// Tx is a transaction: it reads its own writes. Keys and values that are passed in must not change until it ends.
// A commit conflicts with what others have done to the keys that were read. Keys that have appeared in a range which
// was walked over do not count: whoever depends on their absence must read a key that the others write. A Tx has one
// iterator at a time.
type Tx interface {
	Reader
	Set(key, value []byte) error
	Delete(key []byte) error
}

// Range says what an iterator passes over: the keys k with Start <= k < End, downwards if Reverse is set.
// All keys share Prefix, which engines use to leave out what cannot match; it may be empty.
type Range struct {
	Prefix     []byte
	Start, End []byte // nil: from the first, to the last key with the prefix
	Reverse    bool
}

// Iterator walks over a Range. Key and Value are valid until Next or Close.
type Iterator interface {
	Next() bool
	Key() []byte
	Value() ([]byte, error)
	// Seek moves forward (in the direction of the walk) so that Next finds the first key at or behind key.
	Seek(key []byte)
	Err() error
	Close()
}

// Blobs keeps immutable byte strings of any size under a name, within a space (a database). A blob is durable
// when BlobWriter.Commit returns.
type Blobs interface {
	Create(space uint32) (BlobWriter, error)
	Open(space uint32, name string) (Blob, error)
	Remove(space uint32, name string) error
	// List yields all blobs of the space, in no order.
	List(space uint32) iter.Seq2[BlobInfo, error]
	// Drop removes the space with all its blobs.
	Drop(space uint32) error
}

// Blob is an open blob. ReadAt may be called by several goroutines.
type Blob interface {
	io.ReadSeekCloser
	io.ReaderAt
	Size() int64
}

// BlobWriter takes the content of a new blob. One of Commit and Abort must be called, and ends it.
type BlobWriter interface {
	io.Writer
	// Commit makes the blob durable under name. A blob of that name which is there already is replaced.
	Commit(name string) error
	Abort()
}

// BlobInfo describes a blob in a listing.
type BlobInfo struct {
	Name     string
	Size     int64
	Modified time.Time
}

// PrefixEnd returns the first key behind all keys that start with prefix, or nil if there is none.
func PrefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] != 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}
