package design

import (
	"container/list"
	"sync"

	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/script"
	"github.com/mangrove-db/mangrove/storage"
)

// Cache has the design documents of a node that were used last. It may be used by any goroutine.
type Cache struct {
	engine   *script.Engine
	security func() []byte
	counters counters

	mu      sync.Mutex
	designs lru[designKey, *Design]
	rules   lru[*storage.DB, *ruleSet]
}

// A design document is known by the database, which is another one after it was deleted and made again, and by its
// revision, so that nothing has to be forgotten when it changes.
type designKey struct {
	db  *storage.DB
	id  string
	rev revtree.ID
}

// How much the cache holds: design documents by the memory that they take up, roughly, in bytes, and databases that
// have rules by their number.
const (
	mostDesigns = 64 << 20
	mostRules   = 1000
)

// NewCache returns a cache of design documents whose functions engine runs. The function security returns the security
// object, as JSON, of databases that have none of their own; without it that is the empty one.
func NewCache(engine *script.Engine, security func() []byte) *Cache {
	if security == nil {
		security = func() []byte { return []byte("{}") }
	}
	c := &Cache{engine: engine, security: security}
	c.designs.most, c.rules.most = mostDesigns, mostRules
	return c
}

// Design returns the design document of that id as a snapshot shows it. The error is storage.ErrNotFound or
// storage.ErrDeleted if it is not there, and a *script.Error if nothing can be made of it.
func (c *Cache) Design(s *storage.Snapshot, id string) (*Design, error) {
	row, err := lookup(s, id)
	if err != nil {
		return nil, err
	}
	return c.of(s.DB(), &row)
}

// of returns the Design of a row of db.
func (c *Cache) of(db *storage.DB, row *storage.Row) (*Design, error) {
	key := designKey{db, row.ID, row.Rev}
	c.mu.Lock()
	d, ok := c.designs.get(key)
	c.mu.Unlock()
	if ok {
		c.counters.hits.Add(1)
		return d, nil
	}
	c.counters.misses.Add(1)
	d, err := read(c.engine, row)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if first, ok := c.designs.get(key); ok {
		return first, nil // whose functions may have been compiled by now
	}
	c.designs.put(key, d, d.weight)
	return d, nil
}

// Security returns the security object of a database, as JSON.
func (c *Cache) Security(db *storage.DB) ([]byte, error) {
	object, err := db.Security()
	if object == nil && err == nil {
		object = c.security()
	}
	return object, err
}

// lru keeps values up to a total weight, those that were used last. Its zero value keeps nothing: most must be set.
type lru[K comparable, V any] struct {
	most   int
	weight int
	order  list.List // of *kept[K, V], newest first
	byKey  map[K]*list.Element
}

type kept[K comparable, V any] struct {
	key    K
	value  V
	weight int
}

func (l *lru[K, V]) get(key K) (v V, ok bool) {
	e, ok := l.byKey[key]
	if !ok {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*kept[K, V]).value, true
}

// put keeps a value, in place of what had its key, and drops others. What is too heavy by itself is not kept.
func (l *lru[K, V]) put(key K, value V, weight int) {
	if e, ok := l.byKey[key]; ok {
		l.drop(e)
	}
	if weight > l.most {
		return
	}
	if l.byKey == nil {
		l.byKey = map[K]*list.Element{}
	}
	l.byKey[key] = l.order.PushFront(&kept[K, V]{key, value, weight})
	l.weight += weight
	for l.weight > l.most {
		l.drop(l.order.Back())
	}
}

func (l *lru[K, V]) drop(e *list.Element) {
	k := l.order.Remove(e).(*kept[K, V])
	delete(l.byKey, k.key)
	l.weight -= k.weight
}
