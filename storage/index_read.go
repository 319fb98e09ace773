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
	keys   keyspace
	header *header
	state  IndexState
}

// Index returns a reader of an index, or ErrNotFound if it has not been built at all.
func (s *Snapshot) Index(ix *Index) (*IndexReader, error) {
	keys, h, err := ix.lookup(s.kv)
	if err != nil {
		return nil, err
	}
	r := &IndexReader{snap: s, spaces: ix.spec.Spaces, keys: keys, header: h}
	r.state, err = s.indexState(h)
	return r, err
}

// State returns how far the index has come.
func (r *IndexReader) State() IndexState { return r.state }

// Count returns how many rows a space has.
func (r *IndexReader) Count(space int) uint64 { return r.header.spaces[space].rows }

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

func (r *IndexReader) kvRange(space int, rg IndexRange) kv.Range {
	out := kv.Range{Prefix: r.keys.rows(space), Reverse: rg.Descending}
	if rg.Start != nil {
		out.Start = r.keys.row(space, rg.Start)
	}
	if rg.End != nil {
		out.End = r.keys.row(space, rg.End)
	}
	return out
}

// Rows yields the rows of a range. A row is valid until the next one.
func (r *IndexReader) Rows(ctx context.Context, space int, rg IndexRange) iter.Seq2[*IndexRow, error] {
	return func(yield func(*IndexRow, error) bool) {
		w := r.walk(ctx, space, rg)
		defer w.close()
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

// walker walks over rows.
type walker struct {
	ctx context.Context
	it  kv.Iterator
	n   int
	err error
}

func (r *IndexReader) walk(ctx context.Context, space int, rg IndexRange) *walker {
	return &walker{ctx: ctx, it: r.snap.kv.Iterate(r.kvRange(space, rg))}
}

func (w *walker) close() { w.it.Close() }

func (w *walker) next() bool {
	if w.n++; w.n%256 == 0 && w.err == nil {
		w.err = w.ctx.Err()
	}
	if w.err != nil || !w.it.Next() {
		if w.err == nil {
			w.err = outer(w.it.Err())
		}
		return false
	}
	return true
}

// position returns where the row is, valid until the next one.
func (w *walker) position() []byte { return w.it.Key()[rowPrefixLen:] }

// row returns the row, valid until the next one.
func (w *walker) row() (IndexRow, error) {
	value, err := w.it.Value()
	if err != nil {
		return IndexRow{}, outer(err)
	}
	return parseIndexRow(w.position(), value)
}

// copy returns the row in memory of its own.
func (w *walker) copy() (IndexRow, error) {
	value, err := w.it.Value()
	if err != nil {
		return IndexRow{}, outer(err)
	}
	both := make([]byte, 0, len(w.position())+len(value))
	both = append(append(both, w.position()...), value...)
	n := len(w.position())
	return parseIndexRow(both[:n:n], both[n:])
}

// node reads a node of the tree.
func (r *IndexReader) node(space int, id uint64) (*treeNode, error) {
	value, err := getNode(r.snap.kv, r.keys, id)
	if err != nil {
		return nil, err
	}
	return parseNode(value, len(r.spaces[space].Reducers))
}

// Rank returns how many rows lie before a position; nil stands behind all rows.
func (r *IndexReader) Rank(ctx context.Context, space int, position []byte) (uint64, error) {
	s := r.header.spaces[space]
	if position == nil {
		return s.rows, nil
	}
	if len(position) == 0 || s.rows == 0 {
		return 0, nil
	}
	var before uint64
	var from []byte
	for id, level := s.root, s.height; level > 0; level-- {
		n, err := r.node(space, id)
		if err != nil {
			return 0, err
		}
		i := n.child(position)
		for j := range i {
			before += n.entries[j].count
		}
		if i > 0 {
			from = n.entries[i].start
		}
		id = n.entries[i].child
	}
	w := r.walk(ctx, space, IndexRange{Start: from, End: position})
	defer w.close()
	for w.next() {
		before++
	}
	return before, w.err
}

// Nth returns the position of the row that has n rows before it, or false if there are not so many.
func (r *IndexReader) Nth(ctx context.Context, space int, n uint64) (position []byte, ok bool, err error) {
	s := r.header.spaces[space]
	if n >= s.rows {
		return nil, false, nil
	}
	var from []byte
	for id, level := s.root, s.height; level > 0; level-- {
		node, err := r.node(space, id)
		if err != nil {
			return nil, false, err
		}
		i := 0
		for i < len(node.entries)-1 && n >= node.entries[i].count {
			n -= node.entries[i].count
			i++
		}
		if i > 0 {
			from = node.entries[i].start
		}
		id = node.entries[i].child
	}
	w := r.walk(ctx, space, IndexRange{Start: from})
	defer w.close()
	for w.next() {
		if n == 0 {
			return bytes.Clone(w.position()), true, nil
		}
		n--
	}
	return nil, false, w.err
}
