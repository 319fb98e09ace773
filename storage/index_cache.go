package storage

import (
	"bytes"
	"sync"
)

// nodeCache keeps nodes above the leaves of indexes that were changed lately, so that the next change need not read them
// again: each edit touches some. What is kept of an index counts as long as its header is what it was then, so that it
// does not matter who else writes to it. Whoever changes an index takes what is kept of it and gives it back.
type nodeCache struct {
	mu   sync.Mutex
	kept map[uint32]*keptNodes // by the index's id
	size int
}

// keptNodes belong to whoever has taken them, and the goroutines that work for it.
type keptNodes struct {
	header []byte
	mu     sync.Mutex
	nodes  map[uint64][]byte // encoded
	size   int
}

// A node cache holds so many bytes, and so many of one index.
const (
	keptBytes  = 16 << 20
	keptOfOne  = 8 << 20
	keptRecord = 64 // of memory for a node beside its bytes
)

// take returns what is kept of an index with that header, or something empty.
func (c *nodeCache) take(id uint32, header []byte) *keptNodes {
	c.mu.Lock()
	k := c.kept[id]
	if k != nil {
		delete(c.kept, id)
		c.size -= k.size
	}
	c.mu.Unlock()
	if k == nil || !bytes.Equal(k.header, header) {
		k = &keptNodes{nodes: map[uint64][]byte{}}
	}
	return k
}

// give keeps nodes of an index until the next change. Others make room for them.
func (c *nodeCache) give(id uint32, header []byte, k *keptNodes) {
	if k.size > keptOfOne {
		return
	}
	k.header = header
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil {
		c.kept = map[uint32]*keptNodes{}
	}
	if old := c.kept[id]; old != nil {
		c.size -= old.size
		delete(c.kept, id)
	}
	for other, o := range c.kept {
		if c.size+k.size <= keptBytes {
			break
		}
		c.size -= o.size
		delete(c.kept, other)
	}
	c.kept[id] = k
	c.size += k.size
}

func (k *keptNodes) get(id uint64) (value []byte, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	value, ok = k.nodes[id]
	return value, ok
}

// set keeps a node, or forgets it if value is nil.
func (k *keptNodes) set(id uint64, value []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, ok := k.nodes[id]; ok {
		k.size -= len(old) + keptRecord
		delete(k.nodes, id)
	}
	if value != nil {
		k.nodes[id] = value
		k.size += len(value) + keptRecord
	}
}
