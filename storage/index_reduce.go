package storage

import (
	"bytes"
	"context"
	"iter"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// Reduce returns what the rows of a range reduce to, and how many they are; nil if there are none. It reads a few nodes
// of the tree and the leaves at both ends of the range.
func (r *IndexReader) Reduce(ctx context.Context, space, reducer int, rg IndexRange) ([]byte, uint64, error) {
	s := &r.header.spaces[space]
	c := &collector{ctx: ctx, r: r, tree: s, which: reducer, reducer: r.spaces[space].Reducers[reducer], rg: rg}
	var err error
	switch {
	case s.height == 1:
		err = c.rows(s.root)
	case s.height > 1:
		err = c.node(s.root, int(s.height)-1, nil, nil)
	}
	if err == nil {
		err = c.fold()
	}
	if err != nil || c.count == 0 {
		return nil, 0, err
	}
	if len(c.parts) > 1 {
		c.parts[0], err = c.reducer.Rereduce(ctx, c.parts)
	}
	return c.parts[0], c.count, err
}

// collector gathers what a range reduces to, in the order of rows.
type collector struct {
	ctx     context.Context
	r       *IndexReader
	tree    *treeHeader
	which   int
	reducer IndexReducer
	rg      IndexRange

	count   uint64
	pending []IndexRow // rows that wait to be reduced
	parts   [][]byte
}

// A collector reduces so many rows, or so many reductions, at once.
const collectRows = 256

// covers tells whether everything from from to end is in the range, and misses whether nothing is.
func (c *collector) covers(from, end []byte) bool {
	return (c.rg.Start == nil || from != nil && bytes.Compare(from, c.rg.Start) >= 0) &&
		(c.rg.End == nil || end != nil && bytes.Compare(end, c.rg.End) <= 0)
}

func (c *collector) misses(from, end []byte) bool {
	return c.rg.Start != nil && end != nil && bytes.Compare(end, c.rg.Start) <= 0 ||
		c.rg.End != nil && from != nil && bytes.Compare(from, c.rg.End) >= 0
}

func (c *collector) node(id uint64, level int, from, end []byte) error {
	n, err := c.r.nodes.node(c.tree, id, level)
	if err != nil {
		return err
	}
	for i := range n.entries {
		e := &n.entries[i]
		if i > 0 {
			from = e.start
		}
		to := n.end(i, end)
		switch {
		case c.misses(from, to):
		case e.parts[c.which] != nil && c.covers(from, to):
			if err := c.fold(); err != nil {
				return err
			}
			c.count += e.count
			err = c.part(e.parts[c.which])
		case level == 1:
			err = c.rows(e.child)
		default:
			err = c.node(e.child, level-1, from, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rows takes the rows of a leaf that are in the range.
func (c *collector) rows(id uint64) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	var leaf packedRows // the rows wait in its memory
	if err := c.r.nodes.leaf(id, &leaf); err != nil {
		return err
	}
	i, end := 0, len(leaf.list)
	if c.rg.Start != nil {
		i = leaf.search(c.rg.Start)
	}
	if c.rg.End != nil {
		end = leaf.search(c.rg.End)
	}
	for ; i < end; i++ {
		stored := leaf.row(i)
		row, err := stored.row()
		if err == nil {
			err = c.row(row)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// row takes one row, which the collector keeps.
func (c *collector) row(row IndexRow) error {
	c.count++
	if c.pending = append(c.pending, row); len(c.pending) < collectRows {
		return nil
	}
	return c.fold()
}

// fold reduces the rows that wait.
func (c *collector) fold() error {
	if len(c.pending) == 0 {
		return nil
	}
	part, err := c.reducer.Reduce(c.ctx, c.pending)
	if err != nil {
		return err
	}
	clear(c.pending)
	c.pending = c.pending[:0]
	return c.part(nonNil(part))
}

// part takes a reduction.
func (c *collector) part(p []byte) error {
	if c.parts = append(c.parts, p); len(c.parts) < collectRows {
		return nil
	}
	if err := c.ctx.Err(); err != nil {
		return err
	}
	all, err := c.reducer.Rereduce(c.ctx, c.parts)
	c.parts = append(c.parts[:0], nonNil(all))
	return err
}

// IndexGroup is rows that belong together, and what they reduce to.
type IndexGroup struct {
	First     IndexRow // in the direction of travel
	Reduction []byte
	Rows      uint64
}

// groupRows is how many rows of a group are read one by one before the rest of it is taken from the tree.
const groupRows = 64

// Groups yields the rows of a range in groups. prefix returns, for the key of a row, what the keys of its group and no
// others start with. A group is valid until the next one.
func (r *IndexReader) Groups(ctx context.Context, space, reducer int, rg IndexRange, prefix func(key []byte) []byte) iter.Seq2[*IndexGroup, error] {
	return func(yield func(*IndexGroup, error) bool) {
		g := &grouper{walker: r.walk(ctx, space, rg), r: r, space: space, reducer: reducer, rg: rg, prefix: prefix}
		more := g.next()
		for more && g.err == nil {
			group, on, err := g.group()
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(group, nil) {
				return
			}
			more = on
		}
		if g.err != nil {
			yield(nil, g.err)
		}
	}
}

type grouper struct {
	*walker
	r              *IndexReader
	space, reducer int
	rg             IndexRange
	prefix         func(key []byte) []byte
	rows           []IndexRow
}

// group reduces the group of the row at which the walker stands, and moves it to the first row behind; more tells
// whether there is one.
func (g *grouper) group() (group *IndexGroup, more bool, err error) {
	first, err := g.copy()
	if err != nil {
		return nil, false, err
	}
	start := bytes.Clone(g.prefix(first.Key))
	rest := IndexRange{Start: start, End: kv.PrefixEnd(start), Descending: g.rg.Descending}
	clear(g.rows)
	g.rows = append(g.rows[:0], first)
	for more = g.next(); more && bytes.HasPrefix(g.position(), start); more = g.next() {
		if len(g.rows) == groupRows {
			return g.large(first, rest)
		}
		row, err := g.copy()
		if err != nil {
			return nil, false, err
		}
		g.rows = append(g.rows, row)
	}
	if g.err != nil {
		return nil, false, g.err
	}
	if g.rg.Descending {
		// Reducers see rows in their own order.
		for i, j := 0, len(g.rows)-1; i < j; i, j = i+1, j-1 {
			g.rows[i], g.rows[j] = g.rows[j], g.rows[i]
		}
	}
	reduction, err := g.r.spaces[g.space].Reducers[g.reducer].Reduce(g.ctx, g.rows)
	return &IndexGroup{First: first, Reduction: reduction, Rows: uint64(len(g.rows))}, more, err
}

// large reduces a group by the tree, and moves the walker behind it.
func (g *grouper) large(first IndexRow, rg IndexRange) (*IndexGroup, bool, error) {
	start, end := rg.Start, rg.End
	if g.rg.Start != nil && bytes.Compare(rg.Start, g.rg.Start) < 0 {
		rg.Start = g.rg.Start
	}
	if g.rg.End != nil && (rg.End == nil || bytes.Compare(g.rg.End, rg.End) < 0) {
		rg.End = g.rg.End
	}
	reduction, n, err := g.r.Reduce(g.ctx, g.space, g.reducer, rg)
	if err != nil {
		return nil, false, err
	}
	group := &IndexGroup{First: first, Reduction: reduction, Rows: n}
	switch {
	case !g.rg.Descending && end == nil:
		return group, false, nil
	case !g.rg.Descending:
		g.from(end)
	default:
		g.from(start)
	}
	more := g.next()
	return group, more, g.err
}
