package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sort"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// Over the rows of each space of an index lies a tree. Its lowest nodes divide the rows into runs of some dozens and
// say for each how many rows it has and what they reduce to; the nodes above say the same of the nodes below. So the
// rank of a row, and the reduction of any range, take a few nodes and two runs, however many rows there are.
//
// The rows themselves lie under keys of their own, so that a row that comes or goes costs its own size and that of
// the nodes above it, never that of its neighbours.
//
// A node's value: its level, then its entries, each: length of start, start, child (above level 1), count, and for
// each reducer the length of its reduction plus one and the reduction, or 0 if that is missing.
//
// These are variables for tests alone.
var (
	nodeEntries = 32         // at most in a node
	nodeFew     = 6          // fewer let a node be joined with a neighbour
	runRows     = 32         // in a run that is made anew
	runFull     = uint64(64) // at most in a run
	runFew      = uint64(12) // two neighbours that have no more together are joined
)

// nodeFill is how many entries a new node gets: some room is left for what comes later.
func nodeFill() int { return nodeEntries * 3 / 4 }

// treeEntry is a run of rows, or a node with all that is below it.
type treeEntry struct {
	start []byte // no row of it is before, but for the first entry of the first node, which has all that is before too
	child uint64 // the node; 0 for a run
	count uint64 // of rows
	parts [][]byte
}

type treeNode struct {
	level   int
	entries []treeEntry
}

func (n *treeNode) append(b []byte) []byte {
	b = append(b, byte(n.level))
	for i := range n.entries {
		e := &n.entries[i]
		b = binary.AppendUvarint(b, uint64(len(e.start)))
		b = append(b, e.start...)
		if n.level > 1 {
			b = binary.AppendUvarint(b, e.child)
		}
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

// parseNode reads a node; its entries share b's memory.
func parseNode(b []byte, reducers int) (*treeNode, error) {
	if len(b) == 0 || b[0] == 0 {
		return nil, corrupt("node of an index", nil)
	}
	n := &treeNode{level: int(b[0]), entries: make([]treeEntry, 0, nodeEntries)}
	parts := make([][]byte, 0, nodeEntries*reducers)
	c := cursor{b: b[1:]}
	for len(c.b) > 0 {
		e := treeEntry{start: c.bytes()}
		if n.level > 1 {
			e.child = c.uvarint()
		}
		e.count = c.uvarint()
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

// rowChange is a row that comes, goes, or gets another value.
type rowChange struct {
	key     []byte    // of the engine
	new     *IndexRow // nil: there will be none
	gone    bool      // there was one
	oldSize uint64    // of its value
	brief   []byte    // what reducers have to know of it
}

func (c *rowChange) position() []byte { return c.key[rowPrefixLen:] }

// treeUpdate changes the tree of one space as its rows change. It reads the snapshot of before.
type treeUpdate struct {
	ctx      context.Context
	kv       kv.Reader
	keys     keyspace
	space    int
	reducers []IndexReducer
	header   *header
	nodes    map[uint64][]byte // written: encoded; removed: nil
	kept     *keptNodes        // as they were; nil: nothing is kept
	rows     kv.Iterator       // over the space's rows
}

func newTreeUpdate(ctx context.Context, r kv.Reader, keys keyspace, space int, reducers []IndexReducer, h *header) *treeUpdate {
	return &treeUpdate{ctx: ctx, kv: r, keys: keys, space: space, reducers: reducers, header: h, nodes: map[uint64][]byte{}}
}

func (u *treeUpdate) close() {
	if u.rows != nil {
		u.rows.Close()
	}
}

// apply takes changes, in the order of their positions, into the tree.
func (u *treeUpdate) apply(changes []rowChange) error {
	if len(changes) == 0 {
		return nil
	}
	s := &u.header.spaces[u.space]
	if s.root == 0 {
		rows, err := u.load(nil, nil, changes)
		if err != nil {
			return err
		}
		entries, err := u.runs(nil, rows)
		if err != nil {
			return err
		}
		return u.plant(entries, 1)
	}
	entries, err := u.node(treeEntry{child: s.root}, int(s.height), nil, changes)
	if err != nil {
		return err
	}
	return u.plant(entries, int(s.height)+1)
}

// plant makes the root of a tree of entries, which belong into a node of that level.
func (u *treeUpdate) plant(entries []treeEntry, level int) error {
	s := &u.header.spaces[u.space]
	for level == 1 || len(entries) > 1 {
		if len(entries) == 0 {
			s.root, s.height = 0, 0
			return nil
		}
		var err error
		if entries, err = u.write(treeEntry{}, level, entries); err != nil {
			return err
		}
		level++
	}
	if len(entries) == 0 {
		s.root, s.height = 0, 0
		return nil
	}
	s.root, s.height = entries[0].child, uint64(level-1)
	for s.height > 1 {
		n, err := u.read(s.root)
		if err != nil {
			return err
		}
		if len(n.entries) > 1 {
			break
		}
		u.nodes[s.root] = nil
		s.root = n.entries[0].child
		s.height--
	}
	return nil
}

func (u *treeUpdate) read(id uint64) (*treeNode, error) {
	value, ok := u.nodes[id]
	if !ok && u.kept != nil {
		value, ok = u.kept.nodes[id]
	}
	if !ok {
		var err error
		if value, err = getNode(u.kv, u.keys, id); err != nil {
			return nil, err
		}
		if u.kept != nil {
			u.kept.set(id, value)
		}
	}
	return parseNode(value, len(u.reducers))
}

// getNode returns a node as it is stored.
func getNode(r kv.Reader, keys keyspace, id uint64) ([]byte, error) {
	value, err := r.Get(keys.node(id))
	if errors.Is(err, kv.ErrNotFound) {
		err = corrupt("an index lacks a node", nil)
	}
	return value, outer(err)
}

// node changes a node, which ends at end, and returns what takes its entry's place in the node above.
func (u *treeUpdate) node(at treeEntry, level int, end []byte, changes []rowChange) ([]treeEntry, error) {
	if err := u.ctx.Err(); err != nil {
		return nil, err
	}
	n, err := u.read(at.child)
	if err != nil {
		return nil, err
	}
	if n.level != level {
		return nil, corrupt("a node of an index on the wrong level", nil)
	}
	out := make([]treeEntry, 0, len(n.entries)+2)
	for i := range n.entries {
		e := &n.entries[i]
		mine := len(changes)
		if i+1 < len(n.entries) {
			next := n.entries[i+1].start
			mine = sort.Search(len(changes), func(j int) bool { return bytes.Compare(changes[j].position(), next) >= 0 })
		}
		if mine == 0 {
			out = append(out, *e)
			continue
		}
		var instead []treeEntry
		if level == 1 {
			from := e.start
			if i == 0 {
				from = at.start // what is before the first entry is in it
			}
			instead, err = u.run(e, from, n.end(i, end), changes[:mine])
		} else {
			from := *e
			if i == 0 {
				from.start = at.start
			}
			instead, err = u.node(from, level-1, n.end(i, end), changes[:mine])
		}
		if err != nil {
			return nil, err
		}
		changes = changes[mine:]
		for _, e := range instead {
			if out, err = u.join(out, e, level); err != nil {
				return nil, err
			}
		}
	}
	return u.write(at, level, out)
}

// join appends an entry of a node of that level to its others, or makes one of it and the last if they are small.
func (u *treeUpdate) join(entries []treeEntry, e treeEntry, level int) ([]treeEntry, error) {
	if len(entries) == 0 {
		return append(entries, e), nil
	}
	last := &entries[len(entries)-1]
	if level == 1 {
		if last.count+e.count > runFew {
			return append(entries, e), nil
		}
		joined, err := u.sum([]treeEntry{*last, e})
		*last = treeEntry{start: last.start, count: joined.count, parts: joined.parts}
		return entries, err
	}
	if e.count > uint64(nodeFew*runRows) {
		return append(entries, e), nil // certainly not small; saves reading it
	}
	a, err := u.read(last.child)
	if err != nil {
		return nil, err
	}
	b, err := u.read(e.child)
	if err != nil {
		return nil, err
	}
	if len(b.entries) >= nodeFew || len(a.entries)+len(b.entries) > nodeEntries/2 {
		return append(entries, e), nil
	}
	b.entries[0].start = e.start // what was before it in its node is behind others now
	a.entries = append(a.entries, b.entries...)
	joined, err := u.sum(a.entries)
	if err != nil {
		return nil, err
	}
	u.nodes[e.child] = nil
	u.nodes[last.child] = a.append(nil)
	last.count, last.parts = joined.count, joined.parts
	return entries, nil
}

// write writes the entries of a node of that level, as several nodes if they are too many, and returns the entries of
// these in the node above. The first takes the place of at, if there is one.
func (u *treeUpdate) write(at treeEntry, level int, entries []treeEntry) ([]treeEntry, error) {
	if len(entries) == 0 {
		if at.child != 0 {
			u.nodes[at.child] = nil
		}
		return nil, nil
	}
	pieces := 1
	if len(entries) > nodeEntries {
		filled := nodeFill()
		pieces = (len(entries) + filled - 1) / filled
	}
	out := make([]treeEntry, 0, pieces)
	for i := range pieces {
		piece := entries[i*len(entries)/pieces : (i+1)*len(entries)/pieces]
		e, err := u.sum(piece)
		if err != nil {
			return nil, err
		}
		e.start, e.child = piece[0].start, at.child
		if i == 0 && at.child != 0 {
			e.start = at.start
		}
		if i > 0 || at.child == 0 {
			e.child = u.header.nextNode
			u.header.nextNode++
		}
		n := treeNode{level: level, entries: piece}
		u.nodes[e.child] = n.append(nil)
		out = append(out, e)
	}
	return out, nil
}

// sum returns the count and the reductions of entries, without start and child.
func (u *treeUpdate) sum(entries []treeEntry) (treeEntry, error) {
	e := treeEntry{parts: make([][]byte, len(u.reducers))}
	for i := range entries {
		e.count += entries[i].count
	}
	parts := make([][]byte, len(entries))
	for r, reducer := range u.reducers {
		whole := true
		for i := range entries {
			parts[i] = entries[i].parts[r]
			whole = whole && parts[i] != nil
		}
		if !whole {
			continue
		}
		if len(parts) == 1 {
			e.parts[r] = parts[0]
			continue
		}
		part, err := reducer.Rereduce(u.ctx, parts)
		if err == nil {
			e.parts[r] = part
		} else if err := u.ctx.Err(); err != nil {
			return e, err
		}
	}
	return e, nil
}

// run changes a run of rows, which lies from from to end, and returns what takes its place.
func (u *treeUpdate) run(e *treeEntry, from, end []byte, changes []rowChange) ([]treeEntry, error) {
	count := e.count
	for i := range changes {
		if !changes[i].gone {
			count++
		}
		if changes[i].new == nil {
			sub(&count, 1)
		}
	}
	if count > 0 && count <= runFull {
		if parts, ok := u.accumulate(e, changes); ok {
			return []treeEntry{{start: e.start, count: count, parts: parts}}, nil
		}
	}
	rows, err := u.load(from, end, changes)
	if err != nil {
		return nil, err
	}
	return u.runs(e.start, rows)
}

// accumulate takes changes into the reductions of a run without its other rows, if all reducers can do that.
func (u *treeUpdate) accumulate(e *treeEntry, changes []rowChange) ([][]byte, bool) {
	if len(u.reducers) == 0 {
		return nil, true
	}
	for r := range u.reducers {
		if _, ok := u.reducers[r].(IndexAccumulator); !ok || e.parts[r] == nil {
			return nil, false
		}
	}
	var added []IndexRow
	var removed [][]byte
	for i := range changes {
		if changes[i].new != nil {
			added = append(added, *changes[i].new)
		}
		if changes[i].gone {
			removed = append(removed, changes[i].brief)
		}
	}
	parts := make([][]byte, len(u.reducers))
	briefs := make([][]byte, len(removed))
	for r := range u.reducers {
		for i := range removed {
			c := cursor{b: removed[i]}
			briefs[i] = c.bytes()
			if removed[i] = c.b; c.bad {
				return nil, false
			}
		}
		var ok bool
		if parts[r], ok = u.reducers[r].(IndexAccumulator).Accumulate(u.ctx, e.parts[r], added, briefs); !ok {
			return nil, false
		}
	}
	return parts, true
}

// appendBriefs appends what the reducers of a space have to know of a row when it goes: the length and the bytes for
// each. Unless all of them can do with that, nobody will ask.
func appendBriefs(b []byte, reducers []IndexReducer, row *IndexRow, scratch []byte) (out, again []byte) {
	start := len(b)
	for _, r := range reducers {
		a, ok := r.(IndexAccumulator)
		if !ok {
			return b[:start], scratch
		}
		scratch = a.Brief(scratch[:0], row)
		b = binary.AppendUvarint(b, uint64(len(scratch)))
		b = append(b, scratch...)
	}
	return b, scratch
}

// positionedRow is a row and where it is.
type positionedRow struct {
	position []byte
	row      IndexRow
}

// load returns the rows from from to end as they will be. Values are left out if nothing is to be reduced.
func (u *treeUpdate) load(from, end []byte, changes []rowChange) ([]positionedRow, error) {
	if u.rows == nil {
		u.rows = u.kv.Iterate(kv.Range{Prefix: u.keys.rows(u.space)})
	}
	rows := make([]positionedRow, 0, int(runFull)+len(changes))
	come := func(c *rowChange) {
		if c.new != nil {
			rows = append(rows, positionedRow{c.position(), *c.new})
		}
	}
	u.rows.Seek(u.keys.row(u.space, from))
	for u.rows.Next() {
		position := u.rows.Key()[rowPrefixLen:]
		if end != nil && bytes.Compare(position, end) >= 0 {
			break
		}
		for len(changes) > 0 && bytes.Compare(changes[0].position(), position) < 0 {
			come(&changes[0])
			changes = changes[1:]
		}
		if len(changes) > 0 && bytes.Equal(changes[0].position(), position) {
			come(&changes[0])
			changes = changes[1:]
			continue
		}
		p := positionedRow{position: bytes.Clone(position)}
		if len(u.reducers) > 0 {
			value, err := u.rows.Value()
			if err != nil {
				return nil, outer(err)
			}
			if p.row, err = parseIndexRow(p.position, bytes.Clone(value)); err != nil {
				return nil, err
			}
		}
		rows = append(rows, p)
	}
	if err := u.rows.Err(); err != nil {
		return nil, outer(err)
	}
	for i := range changes {
		come(&changes[i])
	}
	return rows, nil
}

// runs divides rows into runs, of which the first starts at start.
func (u *treeUpdate) runs(start []byte, rows []positionedRow) ([]treeEntry, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	pieces := 1
	if uint64(len(rows)) > runFull {
		pieces = (len(rows) + runRows - 1) / runRows
	}
	entries := make([]treeEntry, 0, pieces)
	for i := range pieces {
		piece := rows[i*len(rows)/pieces : (i+1)*len(rows)/pieces]
		e := treeEntry{start: piece[0].position, count: uint64(len(piece))}
		if i == 0 {
			e.start = start
		}
		var err error
		if e.parts, err = u.reduce(piece); err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// reduce returns what the rows of a run reduce to.
func (u *treeUpdate) reduce(run []positionedRow) ([][]byte, error) {
	parts := make([][]byte, len(u.reducers))
	if len(parts) == 0 {
		return parts, nil
	}
	rows := make([]IndexRow, len(run))
	for i := range run {
		rows[i] = run[i].row
	}
	for r, reducer := range u.reducers {
		part, err := reducer.Reduce(u.ctx, rows)
		if err == nil {
			parts[r] = nonNil(part)
		} else if err := u.ctx.Err(); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// nonNil keeps a reduction of no bytes apart from one that is missing.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// sortChanges brings changes into the order of their positions.
func sortChanges(changes []rowChange) {
	slices.SortFunc(changes, func(a, b rowChange) int { return bytes.Compare(a.key, b.key) })
}
