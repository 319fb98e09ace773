package storage

import (
	"bytes"
	"context"
	"iter"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// IndexReader reads an index as its snapshot shows it. It may be used by one goroutine at a time, until the snapshot is
// closed.
type IndexReader struct {
	snap   *Snapshot
	spaces []IndexSpace
	nodes  nodeReader
	header *header
	state  IndexState
}

// Index returns a reader of an index, or ErrNotFound if it has not been built at all.
func (s *Snapshot) Index(ix *Index) (*IndexReader, error) {
	keys, h, err := ix.lookup(s.kv)
	if err != nil {
		return nil, err
	}
	r := &IndexReader{snap: s, spaces: ix.spec.Spaces, nodes: nodeReader{kv: s.kv, keys: keys}, header: h}
	r.state, err = s.indexState(h)
	return r, err
}

// State returns how far the index has come.
func (r *IndexReader) State() IndexState { return r.state }

// Count returns how many rows a space has.
func (r *IndexReader) Count(space int) uint64 { return r.header.spaces[space].rows }

// Documents returns about how many documents have rows.
func (r *IndexReader) Documents() uint64 { return r.header.notes.rows }

// Size returns about how many bytes the rows of all spaces have.
func (r *IndexReader) Size() (n uint64) {
	for _, s := range r.header.spaces {
		n += s.bytes
	}
	return n
}

// IndexRange is the rows from Start to before End, upwards whatever the direction; nil: open.
type IndexRange struct {
	Start, End []byte
	Descending bool
}

// Rows yields the rows of a range. A row is valid until the next one.
func (r *IndexReader) Rows(ctx context.Context, space int, rg IndexRange) iter.Seq2[*IndexRow, error] {
	return func(yield func(*IndexRow, error) bool) {
		w := r.walk(ctx, space, rg)
		for w.next() {
			row, err := w.row()
			if !yield(&row, err) || err != nil {
				return
			}
		}
		if w.err != nil {
			yield(nil, w.err)
		}
	}
}

// walk returns a walker over the rows of a range, which stands before the first of them.
func (r *IndexReader) walk(ctx context.Context, space int, rg IndexRange) *walker {
	return newWalker(ctx, &r.nodes, &r.header.spaces[space], rg)
}

// walker walks over the rows of a tree.
type walker struct {
	ctx   context.Context
	nodes *nodeReader
	tree  *treeHeader
	rg    IndexRange

	path    []step // of nodes above the leaf, from the root on
	leaf    packedRows
	at      int // the row
	started bool
	ended   bool // in the direction of travel there is nothing more
	err     error
}

// step is a node on a walker's path, and the entry that was taken.
type step struct {
	node  *treeNode
	entry int
}

func newWalker(ctx context.Context, r *nodeReader, t *treeHeader, rg IndexRange) *walker {
	return &walker{ctx: ctx, nodes: r, tree: t, rg: rg}
}

// from starts again at the first row, in the direction of travel, of what is left of the range behind a position.
func (w *walker) from(position []byte) {
	if w.rg.Descending {
		w.rg.End = position
	} else {
		w.rg.Start = position
	}
	w.started, w.ended = false, false
}

// next moves to the next row.
func (w *walker) next() bool {
	if w.err != nil || w.ended || w.tree.height == 0 {
		return false
	}
	switch {
	case !w.started:
		w.started = true
		w.start()
	case w.rg.Descending:
		w.at--
	default:
		w.at++
	}
	for w.err == nil && (w.at < 0 || w.at >= len(w.leaf.list)) {
		if !w.turn() {
			return false
		}
	}
	if w.err != nil {
		return false
	}
	if w.rg.Descending {
		return w.rg.Start == nil || bytes.Compare(w.position(), w.rg.Start) >= 0
	}
	return w.rg.End == nil || bytes.Compare(w.position(), w.rg.End) < 0
}

// start goes down to the leaf of the first row, in the direction of travel.
func (w *walker) start() {
	w.path = w.path[:0]
	id := w.tree.root
	bound := w.rg.Start
	if w.rg.Descending {
		bound = w.rg.End
	}
	for level := int(w.tree.height) - 1; level > 0; level-- {
		n := w.node(id, level)
		if n == nil {
			return
		}
		i := 0
		switch {
		case bound != nil:
			i = n.child(bound)
		case w.rg.Descending:
			i = len(n.entries) - 1
		}
		w.path = append(w.path, step{n, i})
		id = n.entries[i].child
	}
	w.load(id)
	switch {
	case w.err != nil:
	case bound != nil:
		w.at = w.leaf.search(bound)
		if w.rg.Descending {
			w.at--
		}
	default:
		w.enter()
	}
}

// enter stands at the first row of a leaf, in the direction of travel.
func (w *walker) enter() {
	w.at = 0
	if w.rg.Descending {
		w.at = len(w.leaf.list) - 1
	}
}

// turn goes over to the next leaf, or returns false if that was the last.
func (w *walker) turn() bool {
	by := 1
	if w.rg.Descending {
		by = -1
	}
	level := len(w.path) - 1
	for level >= 0 {
		s := &w.path[level]
		if s.entry += by; s.entry >= 0 && s.entry < len(s.node.entries) {
			break
		}
		level--
	}
	if level < 0 {
		w.ended = true
		return false
	}
	id := w.path[level].node.entries[w.path[level].entry].child
	for level++; level < len(w.path); level++ {
		n := w.node(id, int(w.tree.height)-1-level)
		if n == nil {
			return false
		}
		i := 0
		if w.rg.Descending {
			i = len(n.entries) - 1
		}
		w.path[level] = step{n, i}
		id = n.entries[i].child
	}
	w.load(id)
	w.enter()
	return w.err == nil
}

// node reads a node above the leaves, or sets err and returns nil.
func (w *walker) node(id uint64, level int) (n *treeNode) {
	n, w.err = w.nodes.node(w.tree, id, level)
	return n
}

func (w *walker) load(id uint64) {
	if w.err = w.ctx.Err(); w.err == nil {
		w.err = w.nodes.leaf(id, &w.leaf)
	}
}

// position returns where the row is, valid until the next one.
func (w *walker) position() []byte { return w.leaf.position(w.at) }

// stored returns the row, valid until the next one.
func (w *walker) stored() storedRow { return w.leaf.row(w.at) }

func (w *walker) failure() error { return w.err }

// row returns the row, valid until the next one.
func (w *walker) row() (IndexRow, error) {
	r := w.stored()
	return r.row()
}

// copy returns the row in memory of its own.
func (w *walker) copy() (IndexRow, error) {
	r := w.stored()
	both := append(append(make([]byte, 0, len(r.position)+len(r.value)), r.position...), r.value...)
	n := len(r.position)
	r.position, r.value = both[:n:n], both[n:]
	return r.row()
}

// nodeReader reads nodes of one snapshot, and keeps some: a query goes down from the root several times.
type nodeReader struct {
	kv   kv.Reader
	keys keyspace
	kept map[uint64]*treeNode
}

const nodesKept = 32

// node reads a node of a tree, which must not be changed.
func (r *nodeReader) node(t *treeHeader, id uint64, level int) (*treeNode, error) {
	if n := r.kept[id]; n != nil && n.level == level {
		return n, nil
	}
	value, err := getNode(r.kv, r.keys, id)
	if err != nil {
		return nil, err
	}
	n, err := parseNode(value, level, int(t.reducers))
	if err != nil {
		return nil, err
	}
	if r.kept == nil || len(r.kept) == nodesKept {
		r.kept = make(map[uint64]*treeNode, nodesKept)
	}
	r.kept[id] = n
	return n, nil
}

func (r *nodeReader) leaf(id uint64, into *packedRows) error {
	value, err := getNode(r.kv, r.keys, id)
	if err != nil {
		return err
	}
	return into.parseLeaf(value)
}

// Rank returns how many rows lie before a position; nil stands behind all rows.
func (r *IndexReader) Rank(_ context.Context, space int, position []byte) (uint64, error) {
	s := &r.header.spaces[space]
	if position == nil {
		return s.rows, nil
	}
	if len(position) == 0 || s.rows == 0 {
		return 0, nil
	}
	var before uint64
	id := s.root
	for level := int(s.height) - 1; level > 0; level-- {
		n, err := r.nodes.node(s, id, level)
		if err != nil {
			return 0, err
		}
		i := n.child(position)
		for j := range i {
			before += n.entries[j].count
		}
		id = n.entries[i].child
	}
	var leaf packedRows
	if err := r.nodes.leaf(id, &leaf); err != nil {
		return 0, err
	}
	return before + uint64(leaf.search(position)), nil
}

// Nth returns the position of the row that has n rows before it, or false if there are not so many.
func (r *IndexReader) Nth(_ context.Context, space int, n uint64) (position []byte, ok bool, err error) {
	s := &r.header.spaces[space]
	if n >= s.rows {
		return nil, false, nil
	}
	id := s.root
	for level := int(s.height) - 1; level > 0; level-- {
		node, err := r.nodes.node(s, id, level)
		if err != nil {
			return nil, false, err
		}
		i := 0
		for i < len(node.entries)-1 && n >= node.entries[i].count {
			n -= node.entries[i].count
			i++
		}
		id = node.entries[i].child
	}
	var leaf packedRows
	if err := r.nodes.leaf(id, &leaf); err != nil {
		return nil, false, err
	}
	if n >= uint64(len(leaf.list)) {
		return nil, false, corrupt("a leaf of an index with fewer rows than were counted", nil)
	}
	return leaf.position(int(n)), true, nil
}
