package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sort"

	"github.com/golang/snappy"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// Each space of an index is a tree, and so is what it notes of documents. A leaf has rows, a dozen or some kilobytes of
// them; a node above says of each of its children where it starts, how many rows are below it, and what they reduce to. So the
// rank of a row, and the reduction of any range, take a few nodes and two leaves, however many rows there are; and a row
// that comes or goes costs its leaf and the nodes above.
//
// Nodes lie under numbers that say nothing of their order, so that one that splits leaves its neighbours alone.
//
// A node's value: its level, then its entries. Of what an entry has in common with the one before it, only the length
// is written. An entry of a leaf (level 0) is a packed row. One of a node above: length of start that is shared, length
// of the rest, the rest, child, count, and for each reducer the length of its reduction plus one and the reduction, or
// 0 if that is missing.
//
// These are variables for tests alone.
var (
	nodeEntries = 32       // at most in a node above the leaves
	nodeFew     = 6        // fewer let a node be joined with a neighbour
	leafRows    = 16       // at most in a leaf
	leafBytes   = 8 << 10  // at most in a leaf of more than one row, packed
	leafFew     = 8        // two neighbours that have no more together are joined
	nodeBytes   = 64 << 10 // about, of a node of more than three entries
	maxParts    = 32 << 10 // of the reductions of an entry together
)

// maxLeafRows is more than any leaf or block has; that many are damage.
const maxLeafRows = 1 << 16

// nodeFill is how many entries a new node gets: some room is left for what comes later.
func nodeFill() int { return nodeEntries * 7 / 8 }

// leafFill is how many rows a leaf gets that is made with its neighbours.
func leafFill() int { return leafRows * 7 / 8 }

// treeEntry is a node with all that is below it.
type treeEntry struct {
	start []byte // no row of it is before, but for the first entry of a node, which has all that is before too
	child uint64
	count uint64 // of rows
	parts [][]byte
}

// size is about how many bytes the entry takes up.
func (e *treeEntry) size() int {
	n := len(e.start) + 16
	for _, p := range e.parts {
		n += len(p)
	}
	return n
}

func entriesSize(entries []treeEntry) (n int) {
	for i := range entries {
		n += entries[i].size()
	}
	return n
}

// treeNode is a node above the leaves.
type treeNode struct {
	level   int
	entries []treeEntry
}

func (n *treeNode) append(b []byte) []byte {
	b = append(b, byte(n.level))
	var last []byte
	for i := range n.entries {
		e := &n.entries[i]
		shared := sharedLen(last, e.start)
		last = e.start
		b = binary.AppendUvarint(b, uint64(shared))
		b = appendText(b, e.start[shared:])
		b = binary.AppendUvarint(b, e.child)
		b = binary.AppendUvarint(b, e.count)
		for _, p := range e.parts {
			if p == nil {
				b = append(b, 0)
				continue
			}
			b = binary.AppendUvarint(b, uint64(len(p))+1)
			b = append(b, p...)
		}
	}
	return b
}

// sharedLen returns how many bytes two slices have in common at their beginnings.
func sharedLen(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for i+8 <= n && binary.LittleEndian.Uint64(a[i:]) == binary.LittleEndian.Uint64(b[i:]) {
		i += 8
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// parseNode reads a node above the leaves. Its reductions share b's memory.
func parseNode(b []byte, level, reducers int) (*treeNode, error) {
	if len(b) == 0 || int(b[0]) != level || level == 0 {
		return nil, corrupt("node of an index", nil)
	}
	n := &treeNode{level: level, entries: make([]treeEntry, 0, nodeEntries)}
	parts := make([][]byte, 0, nodeEntries*reducers)
	starts := make([]byte, 0, 2*len(b))
	var last []byte
	c := cursor{b: b[1:]}
	for len(c.b) > 0 {
		shared, rest := c.uvarint(), c.bytes()
		if c.bad || shared > uint64(len(last)) {
			return nil, corrupt("node of an index", nil)
		}
		at := len(starts)
		starts = append(append(starts, last[:shared]...), rest...)
		last = starts[at:len(starts):len(starts)]
		e := treeEntry{start: last, child: c.uvarint(), count: c.uvarint()}
		for range reducers {
			size := c.uvarint()
			var part []byte
			if size > uint64(len(c.b))+1 {
				c.bad = true
			} else if size > 0 {
				part, c.b = c.b[:size-1:size-1], c.b[size-1:]
			}
			if c.bad {
				break
			}
			parts = append(parts, part)
		}
		if c.bad {
			return nil, corrupt("node of an index", nil)
		}
		e.parts = parts[len(parts)-reducers:]
		n.entries = append(n.entries, e)
	}
	if len(n.entries) == 0 {
		return nil, corrupt("empty node of an index", nil)
	}
	return n, nil
}

// child returns the index of the entry that has the position.
func (n *treeNode) child(position []byte) int {
	i := sort.Search(len(n.entries), func(i int) bool { return bytes.Compare(n.entries[i].start, position) > 0 })
	return max(i-1, 0)
}

// end returns where entry i of a node ends that itself ends at end; nil: nowhere.
func (n *treeNode) end(i int, end []byte) []byte {
	if i+1 < len(n.entries) {
		return n.entries[i+1].start
	}
	return end
}

// storedRow is a row as trees and runs know it.
type storedRow struct {
	position []byte
	key      int // how much of the position is its key
	value    []byte
}

// size is how many bytes the row has before it is packed.
func (r *storedRow) size() int { return len(r.position) + len(r.value) }

// row returns the row as readers see it. It shares memory.
func (r *storedRow) row() (IndexRow, error) {
	if id, ok := cutIndexID(r.position, r.key); ok {
		return IndexRow{Key: r.position[:r.key:r.key], ID: parseIndexID(id), Value: r.value}, nil
	}
	return IndexRow{}, corrupt("row of an index", nil)
}

// rowPacker packs rows that come in their order: length of position that is shared with the row before, length of the
// rest, the rest, length of key, and the value as the position.
type rowPacker struct {
	b               []byte
	rows            int
	position, value []byte // of the last row
}

// reset begins anew, with what was packed before left to its owner if b is other memory.
func (p *rowPacker) reset(b []byte) {
	p.b, p.rows, p.position, p.value = b, 0, p.position[:0], p.value[:0]
}

func (p *rowPacker) add(r *storedRow) {
	p.rows++
	shared := sharedLen(p.position, r.position)
	p.b = binary.AppendUvarint(p.b, uint64(shared))
	p.b = appendText(p.b, r.position[shared:])
	p.b = binary.AppendUvarint(p.b, uint64(r.key))
	p.position = append(p.position[:shared], r.position[shared:]...)
	shared = sharedLen(p.value, r.value)
	p.b = binary.AppendUvarint(p.b, uint64(shared))
	p.b = appendText(p.b, r.value[shared:])
	p.value = append(p.value[:shared], r.value[shared:]...)
}

// packedRows are rows that were unpacked. Their memory is used again by the next unpack.
type packedRows struct {
	packed []byte // of a leaf that was compressed
	text   []byte
	list   []packedRow
}

// packedRow says where a row lies in the text.
type packedRow struct{ position, value, end, key int }

func (p *packedRows) reset() { p.text, p.list = p.text[:0], p.list[:0] }

// append adds a row as if it had been unpacked.
func (p *packedRows) append(r *storedRow) {
	at := packedRow{position: len(p.text), key: r.key}
	p.text = append(p.text, r.position...)
	at.value = len(p.text)
	p.text = append(p.text, r.value...)
	at.end = len(p.text)
	p.list = append(p.list, at)
}

// unpack reads what a rowPacker has written.
func (p *packedRows) unpack(b []byte) error {
	p.reset()
	var last packedRow
	c := cursor{b: b}
	for len(c.b) > 0 {
		shared, rest := c.uvarint(), c.bytes()
		r := packedRow{position: len(p.text)}
		if c.bad || shared > uint64(last.value-last.position) || len(p.list) == maxLeafRows {
			return corrupt("rows of an index", nil)
		}
		p.text = append(append(p.text, p.text[last.position:last.position+int(shared)]...), rest...)
		r.value = len(p.text)
		key := c.uvarint()
		shared, rest = c.uvarint(), c.bytes()
		if c.bad || key > uint64(r.value-r.position) || shared > uint64(last.end-last.value) {
			return corrupt("rows of an index", nil)
		}
		p.text = append(append(p.text, p.text[last.value:last.value+int(shared)]...), rest...)
		r.end, r.key = len(p.text), int(key)
		p.list = append(p.list, r)
		last = r
	}
	return nil
}

func (p *packedRows) position(i int) []byte {
	r := &p.list[i]
	return p.text[r.position:r.value:r.value]
}

func (p *packedRows) row(i int) storedRow {
	r := &p.list[i]
	return storedRow{p.text[r.position:r.value:r.value], r.key, p.text[r.value:r.end:r.end]}
}

// search returns the first row that is not before the position.
func (p *packedRows) search(position []byte) int {
	return sort.Search(len(p.list), func(i int) bool { return bytes.Compare(p.position(i), position) >= 0 })
}

// leafSnappy stands in the place of a leaf's level if what follows is compressed by snappy: that of those which were
// loaded is, that of those which were edited since is not.
const leafSnappy = 0xff

// isLeaf tells whether a node is a leaf.
func isLeaf(value []byte) bool { return len(value) > 0 && (value[0] == 0 || value[0] == leafSnappy) }

// parseLeaf reads a leaf into p.
func (p *packedRows) parseLeaf(b []byte) error {
	if len(b) < 2 || !isLeaf(b) {
		return corrupt("leaf of an index", nil)
	}
	if b[0] == 0 {
		return p.unpack(b[1:])
	}
	var err error
	if p.packed, err = snappy.Decode(p.packed[:cap(p.packed)], b[1:]); err != nil {
		return corrupt("leaf of an index", err)
	}
	return p.unpack(p.packed)
}

// getNode returns a node as it is stored.
func getNode(r kv.Reader, keys keyspace, id uint64) ([]byte, error) {
	value, err := r.Get(keys.node(id))
	if errors.Is(err, kv.ErrNotFound) {
		err = corrupt("an index lacks a node", nil)
	}
	return value, outer(err)
}

// separator returns the shortest position that lies behind a and not behind b, which is greater than a, in memory of its
// own.
func separator(a, b []byte) []byte { return bytes.Clone(b[:min(sharedLen(a, b)+1, len(b))]) }
