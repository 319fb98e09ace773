package storage

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"sort"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// rowChange is a row that comes, takes the place of the one at its position, or goes.
type rowChange struct {
	storedRow
	gone bool
}

// sortChanges brings changes into the order of their positions.
func sortChanges(changes []rowChange) {
	slices.SortFunc(changes, func(a, b rowChange) int { return bytes.Compare(a.position, b.position) })
}

// treeUpdate changes a tree as its rows change. It reads the index as it was before.
type treeUpdate struct {
	*treePlan
	kv    kv.Reader
	nodes map[uint64][]byte // written: encoded; removed: nil

	forked bool // others work beside it

	// What has come, less what has gone; these count modulo 2^64.
	moreRows, moreBytes uint64

	// To be used again for each leaf:
	leaf, other packedRows
	rows        []storedRow
	packer      rowPacker
}

// treePlan is what all those know who change a tree together.
type treePlan struct {
	ctx      context.Context
	db       *DB
	keys     keyspace
	reducers []IndexReducer
	next     *atomic.Uint64 // the next node's number
	kept     *keptNodes     // nodes as they were
}

func (p *treePlan) update(r kv.Reader) *treeUpdate {
	return &treeUpdate{treePlan: p, kv: r, nodes: map[uint64][]byte{}}
}

// apply takes changes, in the order of their positions, into the tree.
func (u *treeUpdate) apply(t *treeHeader, changes []rowChange) error {
	if len(changes) == 0 {
		return nil
	}
	var entries []treeEntry
	var err error
	height := int(t.height)
	switch at := (treeEntry{child: t.root}); height {
	case 0:
		height = 1
		entries, err = u.leaves(at, true, u.come(nil, changes))
	case 1:
		entries, err = u.change(at, true, changes)
	default:
		entries, err = u.node(at, height-1, nil, changes)
	}
	if err != nil {
		return err
	}
	t.rows += u.moreRows
	t.bytes += u.moreBytes
	return u.plant(t, entries, height)
}

// plant makes the root of a tree of entries, which belong into a node of that level.
func (u *treeUpdate) plant(t *treeHeader, entries []treeEntry, level int) error {
	for len(entries) > 1 {
		var err error
		if entries, err = u.write(treeEntry{}, level, entries); err != nil {
			return err
		}
		level++
	}
	t.root, t.height = 0, 0
	if len(entries) == 0 {
		return nil
	}
	root := entries[0].child
	for ; level > 1; level-- {
		n, err := u.read(root, level-1)
		if err != nil {
			return err
		}
		if len(n.entries) > 1 {
			break
		}
		u.nodes[root] = nil
		root = n.entries[0].child
	}
	t.root, t.height = root, uint64(level)
	return nil
}

// value returns a node as it is now.
func (u *treeUpdate) value(id uint64) ([]byte, error) {
	if value, ok := u.nodes[id]; ok {
		return value, nil
	}
	if value, ok := u.kept.get(id); ok {
		return value, nil
	}
	value, err := getNode(u.kv, u.keys, id)
	if err == nil && !isLeaf(value) {
		u.kept.set(id, value)
	}
	return value, err
}

func (u *treeUpdate) read(id uint64, level int) (*treeNode, error) {
	value, err := u.value(id)
	if err != nil {
		return nil, err
	}
	return parseNode(value, level, len(u.reducers))
}

// lookup returns the row at a position, or false. It is valid until the next one.
func (u *treeUpdate) lookup(t *treeHeader, position []byte) (storedRow, bool, error) {
	id := t.root
	for level := int(t.height) - 1; level > 0; level-- {
		n, err := u.read(id, level)
		if err != nil {
			return storedRow{}, false, err
		}
		id = n.entries[n.child(position)].child
	}
	if id == 0 {
		return storedRow{}, false, nil
	}
	value, err := u.value(id)
	if err == nil {
		err = u.leaf.parseLeaf(value)
	}
	if err != nil {
		return storedRow{}, false, err
	}
	i := u.leaf.search(position)
	if i == len(u.leaf.list) || !bytes.Equal(u.leaf.position(i), position) {
		return storedRow{}, false, nil
	}
	return u.leaf.row(i), true, nil
}

// node changes a node, which ends at end, and returns what takes its entry's place in the node above.
func (u *treeUpdate) node(at treeEntry, level int, end []byte, changes []rowChange) ([]treeEntry, error) {
	if err := u.ctx.Err(); err != nil {
		return nil, err
	}
	n, err := u.read(at.child, level)
	if err != nil {
		return nil, err
	}
	touched := make([]touchedEntry, 0, min(len(n.entries), len(changes)))
	for i := range n.entries {
		mine := len(changes)
		if i+1 < len(n.entries) {
			next := n.entries[i+1].start
			mine = sort.Search(len(changes), func(j int) bool { return bytes.Compare(changes[j].position, next) >= 0 })
		}
		if mine == 0 {
			continue
		}
		t := touchedEntry{treeEntry: n.entries[i], i: i, end: n.end(i, end), changes: changes[:mine]}
		if i == 0 {
			t.start = at.start // what is before the first entry is in it
		}
		touched = append(touched, t)
		changes = changes[mine:]
	}
	if err := u.entries(touched, level-1); err != nil {
		return nil, err
	}
	out := make([]treeEntry, 0, len(n.entries)+2)
	changed := false // the last of out
	for i := range n.entries {
		instead, mine := n.entries[i:i+1], len(touched) > 0 && touched[0].i == i
		if mine {
			instead, touched = touched[0].instead, touched[1:]
		}
		for _, e := range instead {
			if !mine && !changed {
				out = append(out, e)
			} else if out, err = u.join(out, e, level-1); err != nil {
				return nil, err
			}
		}
		changed = mine && (changed || len(instead) > 0)
	}
	return u.write(at, level, out)
}

// touchedEntry is an entry of a node below which something changes.
type touchedEntry struct {
	treeEntry
	i       int
	end     []byte
	changes []rowChange
	instead []treeEntry // what takes its place
}

// forkChanges is how many changes are worth another goroutine.
const forkChanges = 50

// entries changes the children of a node, which are of that level. If there is much to do, several goroutines share it.
func (u *treeUpdate) entries(list []touchedEntry, level int) error {
	total := 0
	for i := range list {
		total += len(list[i].changes)
	}
	workers := min(runtime.GOMAXPROCS(0), total/forkChanges)
	if workers < 2 || level == 0 || u.forked {
		return u.some(list, level)
	}
	g := errgroup.Group{}
	forks := make([]*treeUpdate, workers)
	for w := range workers {
		n, share := 0, 0
		for ; n < len(list) && (share < total/workers || w == workers-1); n++ {
			share += len(list[n].changes)
		}
		mine := list[:n]
		list = list[n:]
		g.Go(func() error {
			// Another snapshot will do: if the index changes meanwhile, what is planned here comes to nothing.
			s, err := u.db.Snapshot()
			if err != nil {
				return err
			}
			defer s.Close()
			forks[w] = u.update(s.kv)
			forks[w].forked = true
			return forks[w].some(mine, level)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, f := range forks {
		maps.Copy(u.nodes, f.nodes)
		u.moreRows += f.moreRows
		u.moreBytes += f.moreBytes
	}
	return nil
}

func (u *treeUpdate) some(list []touchedEntry, level int) (err error) {
	for i := range list {
		t := &list[i]
		if level == 0 {
			t.instead, err = u.change(t.treeEntry, t.end == nil, t.changes)
		} else {
			t.instead, err = u.node(t.treeEntry, level, t.end, t.changes)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// join appends an entry of a node to its others, or makes one of it and the last if they are small. Both are of that
// level.
func (u *treeUpdate) join(entries []treeEntry, e treeEntry, level int) ([]treeEntry, error) {
	if len(entries) == 0 {
		return append(entries, e), nil
	}
	last := &entries[len(entries)-1]
	if level == 0 {
		if last.count+e.count > uint64(leafFew) {
			return append(entries, e), nil
		}
		joined, err := u.joinLeaves(last, &e)
		if err == nil && !joined {
			entries = append(entries, e)
		}
		return entries, err
	}
	if e.count > uint64(nodeFew*leafRows) {
		return append(entries, e), nil // certainly not small; saves reading it
	}
	a, err := u.read(last.child, level)
	if err != nil {
		return nil, err
	}
	b, err := u.read(e.child, level)
	if err != nil {
		return nil, err
	}
	if len(b.entries) >= nodeFew || len(a.entries)+len(b.entries) > nodeEntries/2 ||
		entriesSize(a.entries)+entriesSize(b.entries) > nodeBytes {
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

// joinLeaves puts the rows of b into the leaf a, if they fit.
func (u *treeUpdate) joinLeaves(a, b *treeEntry) (joined bool, err error) {
	if len(u.nodes[a.child])+len(u.nodes[b.child]) > leafBytes {
		return false, nil // saves reading them
	}
	u.rows = u.rows[:0]
	for i, id := range [2]uint64{a.child, b.child} {
		leaf := [2]*packedRows{&u.leaf, &u.other}[i]
		value, err := u.value(id)
		if err == nil {
			err = leaf.parseLeaf(value)
		}
		if err != nil {
			return false, err
		}
		for i := range leaf.list {
			u.rows = append(u.rows, leaf.row(i))
		}
	}
	if len(u.leaf.text)+len(u.other.text) > leafBytes {
		return false, nil
	}
	together, err := u.leaves(*a, true, u.rows)
	if err == nil && len(together) != 1 {
		err = errors.New("storage: joined rows do not fit a leaf")
	}
	if err != nil {
		return false, err
	}
	*a = together[0]
	u.nodes[b.child] = nil
	return true, nil
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
	if filled := nodeFill(); len(entries) > nodeEntries {
		pieces = (len(entries) + filled - 1) / filled
	}
	if size := entriesSize(entries); size > nodeBytes {
		pieces = max(pieces, min(2*size/nodeBytes, len(entries)/2))
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
			e.child = u.number()
		}
		n := treeNode{level: level, entries: piece}
		u.nodes[e.child] = n.append(nil)
		out = append(out, e)
	}
	return out, nil
}

// number returns a number for a new node.
func (u *treeUpdate) number() uint64 { return u.next.Add(1) - 1 }

func (u *treeUpdate) sum(entries []treeEntry) (treeEntry, error) {
	return sumEntries(u.ctx, u.reducers, entries)
}

// sumEntries returns the count and the reductions of entries, without start and child.
func sumEntries(ctx context.Context, reducers []IndexReducer, entries []treeEntry) (treeEntry, error) {
	e := treeEntry{parts: make([][]byte, len(reducers))}
	for i := range entries {
		e.count += entries[i].count
	}
	parts := make([][]byte, len(entries))
	for r, reducer := range reducers {
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
		part, err := reducer.Rereduce(ctx, parts)
		if err == nil {
			e.parts[r] = storedPart(part, reducers)
		} else if err := ctx.Err(); err != nil {
			return e, err
		}
	}
	return e, nil
}

// change changes a leaf and returns what takes its entry's place. last says that no leaf is behind it.
func (u *treeUpdate) change(at treeEntry, last bool, changes []rowChange) ([]treeEntry, error) {
	value, err := u.value(at.child)
	if err == nil {
		err = u.leaf.parseLeaf(value)
	}
	if err != nil {
		return nil, err
	}
	u.rows = u.rows[:0]
	changed := false
	for i := range u.leaf.list {
		r := u.leaf.row(i)
		n := sort.Search(len(changes), func(j int) bool { return bytes.Compare(changes[j].position, r.position) >= 0 })
		before := len(u.rows)
		u.rows = u.come(u.rows, changes[:n])
		changed = changed || len(u.rows) > before
		changes = changes[n:]
		if len(changes) == 0 || !bytes.Equal(changes[0].position, r.position) {
			u.rows = append(u.rows, r)
			continue
		}
		if !changes[0].gone && bytes.Equal(changes[0].value, r.value) {
			u.rows = append(u.rows, r)
			changes = changes[1:]
			continue
		}
		changed = true
		u.moreRows--
		u.moreBytes -= uint64(r.size())
		u.rows = u.come(u.rows, changes[:1])
		changes = changes[1:]
	}
	before := len(u.rows)
	if u.rows = u.come(u.rows, changes); !changed && len(u.rows) == before {
		return []treeEntry{at}, nil
	}
	return u.leaves(at, last, u.rows)
}

// come appends the rows that come.
func (u *treeUpdate) come(rows []storedRow, changes []rowChange) []storedRow {
	for i := range changes {
		if c := &changes[i]; !c.gone {
			rows = append(rows, c.storedRow)
			u.moreRows++
			u.moreBytes += uint64(c.size())
		}
	}
	return rows
}

// leaves writes rows as leaves, of which the first takes the place of at, if there is one, and returns their entries.
// last says that rows which will come behind these make no leaf of others grow: then leaves are filled from the left.
func (u *treeUpdate) leaves(at treeEntry, last bool, rows []storedRow) ([]treeEntry, error) {
	if len(rows) == 0 {
		if at.child != 0 {
			u.nodes[at.child] = nil
		}
		return nil, nil
	}
	size := 0
	for i := range rows {
		size += rows[i].size()
	}
	most := leafRows
	if len(rows) > leafRows || size > leafBytes {
		most = leafFill()
		if pieces := (len(rows) + most - 1) / most; !last {
			most = (len(rows) + pieces - 1) / pieces
		}
	}
	entries := make([]treeEntry, 0, 1+len(rows)/most)
	packer := &u.packer
	start := at.start
	for len(rows) > 0 {
		packer.reset(append(packer.b[:0], 0)) // the level
		room := leafBytes
		for n := 0; n < len(rows) && n < most && (n == 0 || rows[n].size() <= room); n++ {
			packer.add(&rows[n])
			room -= rows[n].size()
		}
		e := treeEntry{child: at.child, start: start, count: uint64(packer.rows)}
		if len(entries) > 0 || at.child == 0 {
			e.child = u.number()
		}
		var err error
		if e.parts, err = reduceRows(u.ctx, u.reducers, rows[:packer.rows]); err != nil {
			return nil, err
		}
		u.nodes[e.child] = bytes.Clone(packer.b)
		entries = append(entries, e)
		if len(rows) > packer.rows {
			start = separator(rows[packer.rows-1].position, rows[packer.rows].position)
		}
		rows = rows[packer.rows:]
	}
	return entries, nil
}

// reduceRows returns what the rows of a leaf reduce to. The reductions share no memory with them.
func reduceRows(ctx context.Context, reducers []IndexReducer, leaf []storedRow) ([][]byte, error) {
	parts := make([][]byte, len(reducers))
	if len(parts) == 0 {
		return parts, nil
	}
	rows, err := indexRows(leaf)
	if err != nil {
		return nil, err
	}
	for r, reducer := range reducers {
		part, err := reducer.Reduce(ctx, rows)
		if err == nil {
			parts[r] = bytes.Clone(storedPart(part, reducers))
		} else if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// indexRows returns rows as readers see them. They share memory.
func indexRows(stored []storedRow) ([]IndexRow, error) {
	rows := make([]IndexRow, len(stored))
	ids := make([]byte, 0, 24*len(stored))
	ends := make([]int, len(stored))
	for i := range stored {
		r := &stored[i]
		id, ok := cutIndexID(r.position, r.key)
		if !ok {
			return nil, corrupt("row of an index", nil)
		}
		ids = appendParsedID(ids, id)
		ends[i] = len(ids)
		rows[i] = IndexRow{Key: r.position[:r.key:r.key], Value: r.value}
	}
	// One string for all ids is much cheaper than one for each.
	all, start := string(ids), 0
	for i, end := range ends {
		rows[i].ID = all[start:end]
		start = end
	}
	return rows, nil
}

// storedPart returns a reduction as a node has it, beside those of the other reducers. One that is too long is left out, as
// one that failed is: who asks for it makes it from those below.
func storedPart(part []byte, reducers []IndexReducer) []byte {
	if len(part) > maxParts/len(reducers) {
		return nil
	}
	return nonNil(part)
}

// nonNil keeps a reduction of no bytes apart from one that is missing.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
