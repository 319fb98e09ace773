package storage

import (
	"errors"
	"fmt"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// The errors of the store. They come wrapped or bare: test with errors.Is. Only package api gives them HTTP statuses.
var (
	// ErrNotFound says that there is no such document, revision or attachment.
	ErrNotFound = errors.New("missing")
	// ErrDeleted says that the document's winner is a tombstone. It is an ErrNotFound too.
	ErrDeleted = fmt.Errorf("deleted: %w", ErrNotFound)
	// ErrNoDatabase says that there is no such database, or no more.
	ErrNoDatabase = errors.New("database does not exist")
	// ErrExists says that there is a database of that name.
	ErrExists = errors.New("database exists")
	// ErrConflict says that an edit does not name a leaf of the document as its parent.
	ErrConflict = errors.New("document update conflict")
	// ErrTooLarge says that one document needs more than the engine commits at once.
	ErrTooLarge = errors.New("document too large for one transaction")
	// ErrClosed says that the store has been closed.
	ErrClosed = errors.New("store closed")
	// ErrCorrupt says that stored bytes are not what was written.
	ErrCorrupt = errors.New("corrupt data")
	// ErrFormat says that the data folder was written by another version of the store.
	ErrFormat = errors.New("unknown data format")
	// ErrReadOnly says that the store was opened for reading alone.
	ErrReadOnly = errors.New("the store is open for reading only")
	// ErrLocked says that another process has the data folder open.
	ErrLocked = kv.ErrLocked
	// ErrNoSpace says that the disk has no room for writes.
	ErrNoSpace = kv.ErrNoSpace
)

// MissingStubError says that a document names an attachment as a stub which none of its ancestors has.
type MissingStubError struct{ ID, Name string }

func (e *MissingStubError) Error() string {
	return fmt.Sprintf("Invalid attachment stub in %s for %s", e.ID, e.Name)
}

// outer gives an error of the engine the name that the store has for it.
func outer(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kv.ErrNotFound):
		return ErrNotFound
	case errors.Is(err, kv.ErrClosed):
		return ErrClosed
	}
	return err
}

func corrupt(what string, err error) error {
	if err == nil {
		return fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
	return fmt.Errorf("%w: %s: %w", ErrCorrupt, what, err)
}
