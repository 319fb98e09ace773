package storage

import (
	"context"
	"sync/atomic"

	"github.com/golang/snappy"
)

// treeLoader makes a tree of rows that come in their order, from the left to the right.
type treeLoader struct {
	ctx      context.Context
	ix       *Index
	keys     keyspace
	header   *header // of the index as it is
	reducers []IndexReducer
	nodes    *atomic.Uint64 // the next node's number

	tree   treeHeader
	packer rowPacker // of the leaf
	packed []byte    // the same, compressed
	leaf   packedRows
	rows   []storedRow
	last   []byte        // the last position of the leaf before
	levels [][]treeEntry // what waits to become a node, from the lowest level on
	sizes  []int         // of these
	w      indexWrite
}

// add appends a row, which it copies.
func (l *treeLoader) add(r *storedRow) error {
	if n := l.packer.rows; n > 0 && (n == leafFill() || len(l.leaf.text)+r.size() > leafBytes) {
		if err := l.endLeaf(); err != nil {
			return err
		}
	}
	l.packer.add(r)
	l.leaf.append(r)
	l.tree.rows++
	l.tree.bytes += uint64(r.size())
	return nil
}

// endLeaf writes the rows that wait as a leaf.
func (l *treeLoader) endLeaf() error {
	l.rows = l.rows[:0]
	for i := range l.leaf.list {
		l.rows = append(l.rows, l.leaf.row(i))
	}
	e := treeEntry{child: l.nodes.Add(1) - 1, count: uint64(len(l.rows))}
	var err error
	if e.parts, err = reduceRows(l.ctx, l.reducers, l.rows); err != nil {
		return err
	}
	if l.last != nil {
		e.start = separator(l.last, l.rows[0].position)
	}
	l.last = append(l.last[:0], l.rows[len(l.rows)-1].position...)
	if n := snappy.MaxEncodedLen(len(l.packer.b)); n > len(l.packed) {
		l.packed = make([]byte, n)
	}
	level, text := byte(leafSnappy), snappy.Encode(l.packed, l.packer.b)
	if len(text) >= len(l.packer.b) {
		level, text = 0, l.packer.b
	}
	value := append(append(l.w.memory.take(1+len(text)), level), text...)
	l.packer.reset(l.packer.b[:0])
	l.leaf.reset()
	return l.put(0, e, value)
}

// put writes a node and hangs it in.
func (l *treeLoader) put(level int, e treeEntry, value []byte) error {
	l.w.set(l.keys.node(e.child), value)
	if l.w.size > indexCommitBytes {
		if err := l.flush(); err != nil {
			return err
		}
	}
	if level == len(l.levels) {
		l.levels, l.sizes = append(l.levels, nil), append(l.sizes, 0)
	}
	if len(l.levels[level]) > 1 && l.sizes[level]+e.size() > nodeBytes {
		if err := l.endNode(level); err != nil {
			return err
		}
	}
	l.levels[level] = append(l.levels[level], e)
	l.sizes[level] += e.size()
	if len(l.levels[level]) < nodeFill() {
		return nil
	}
	return l.endNode(level)
}

// flush writes the nodes that were made.
func (l *treeLoader) flush() error {
	if err := l.ix.db.store.roomy(); err != nil {
		return err
	}
	err := l.ix.nodes(l.ctx, l.keys, l.header, l.w.sets)
	l.w = indexWrite{sets: l.w.sets[:0]}
	return err
}

// endNode makes a node of the entries that wait on a level.
func (l *treeLoader) endNode(level int) error {
	entries := l.levels[level]
	e, err := sumEntries(l.ctx, l.reducers, entries)
	if err != nil {
		return err
	}
	e.start, e.child = entries[0].start, l.nodes.Add(1)-1
	n := treeNode{level: level + 1, entries: entries}
	value := n.append(nil)
	clear(entries)
	l.levels[level], l.sizes[level] = entries[:0], 0
	return l.put(level+1, e, value)
}

// end makes nodes of what still waits, up to the root, and returns the tree. The last nodes are left in w.
func (l *treeLoader) end(reducers uint64) (treeHeader, error) {
	l.tree.reducers = reducers
	if l.packer.rows > 0 {
		if err := l.endLeaf(); err != nil {
			return l.tree, err
		}
	}
	for level := 0; level < len(l.levels); level++ {
		waiting := l.levels[level]
		if level == len(l.levels)-1 && len(waiting) == 1 {
			l.tree.root, l.tree.height = waiting[0].child, uint64(level+1)
			break
		}
		if len(waiting) > 0 {
			if err := l.endNode(level); err != nil {
				return l.tree, err
			}
		}
	}
	return l.tree, nil
}
