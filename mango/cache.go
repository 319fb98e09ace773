package mango

import (
	"bytes"
	"errors"
	"hash/maphash"
	"sync"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// maxCached is how many design documents are kept as indexes.
const maxCached = 256

// indexCache keeps what design documents say of indexes, by what is in them: a
// revision's id would not do, as replication may bring others of the same.
type indexCache struct {
	mu      sync.Mutex
	entries map[uint64]*cachedDesign
}

type cachedDesign struct {
	id          string
	body        []byte
	partitioned bool
	indexes     []*Index
}

var cacheSeed = maphash.MakeSeed()

// indexes returns the indexes of a design document.
func (c *indexCache) indexes(db *storage.DB, row *storage.Row) ([]*Index, error) {
	var d document.Document
	switch err := row.Read(&d); {
	case errors.Is(err, storage.ErrNotFound): // not for everybody to see
		return nil, nil
	case err != nil:
		return nil, err
	}
	key := maphash.Bytes(cacheSeed, d.Body)
	c.mu.Lock()
	e := c.entries[key]
	c.mu.Unlock()
	if e != nil && e.id == d.ID && e.partitioned == db.Partitioned() && bytes.Equal(e.body, d.Body) {
		return e.indexes, nil
	}
	e = &cachedDesign{d.ID, d.Body, db.Partitioned(), readIndexes(d.ID, d.Body, db.Partitioned())}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= maxCached {
		clear(c.entries) // rare, and cheaper than to know which was used when
	}
	if c.entries == nil {
		c.entries = map[uint64]*cachedDesign{}
	}
	c.entries[key] = e
	return e.indexes, nil
}
