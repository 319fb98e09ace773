package revtree

import "cmp"

// Merge returns the tree that holds what a and b hold together. It is
// commutative, associative and idempotent; the package comment tells how each
// part of a node is merged.
//
// It takes one pass over both, and for a short branch that ends a long tree,
// which is what an edit adds, one allocation.
func Merge(a, b Tree) Tree {
	if len(a.nodes) < len(b.nodes) {
		a, b = b, a
	}
	if len(b.nodes) == 0 {
		return a
	}
	m := merger{
		out:  make([]node, 0, len(a.nodes)+len(b.nodes)),
		from: len(a.nodes),
	}
	// placed[j] is where node j of b went. The buffer keeps the usual short
	// branch off the heap.
	var buf [16]int32
	placed := buf[:0]
	if len(b.nodes) > len(buf) {
		placed = make([]int32, 0, len(b.nodes))
	}
	next := 0 // of a, the first that is not in out yet
	for j := range b.nodes {
		n := b.nodes[j]
		if n.Parent >= 0 {
			n.Parent = int(placed[n.Parent])
		}
		same := next
		if same < len(a.nodes) && a.nodes[same].ID.Compare(n.ID) < 0 {
			same += search(a.nodes[same:], n.ID)
		}
		m.copy(a.nodes[next:same], next)
		next = same
		placed = append(placed, int32(len(m.out)))
		if same == len(a.nodes) || a.nodes[same].ID != n.ID {
			m.insert(n, same, len(a.nodes))
			continue
		}
		m.copy(a.nodes[same:same+1], same)
		next++
		m.join(n)
	}
	m.copy(a.nodes[next:], next)
	link(m.out)
	return Tree{nodes: m.out}
}

// merger builds the outcome of a merge from the nodes of the longer tree, in
// order, and those of the shorter one in between.
type merger struct {
	out []node
	// Nodes of the longer tree keep their index up to from; moved holds the new
	// indexes of those from there on.
	from  int
	moved []int32
}

// copy takes over a run of the longer tree whose first node has index first there.
func (m *merger) copy(run []node, first int) {
	at := len(m.out)
	m.out = append(m.out, run...)
	if first < m.from {
		return // nothing has moved so far
	}
	for i := at; i < len(m.out); i++ {
		m.moved = append(m.moved, int32(i))
		if parent := m.out[i].Parent; parent >= m.from {
			m.out[i].Parent = int(m.moved[parent-m.from])
		}
	}
}

// insert adds a node of the shorter tree alone, before node before of the longer
// tree, which has length nodes.
func (m *merger) insert(n node, before, length int) {
	if len(m.out) == before && before < length {
		m.from, m.moved = before, make([]int32, 0, length-before)
	}
	m.out = append(m.out, n)
}

// join merges a node of the shorter tree into the one just copied, which has the
// same ID. Indexes of parents compare as their IDs do, and none is -1, so the
// greater one is the parent that counts.
func (m *merger) join(n node) {
	to := &m.out[len(m.out)-1]
	to.Parent = max(to.Parent, n.Parent)
	if !n.Stored {
		return
	}
	if !to.Stored || compareWrites(&n.Node, &to.Node) < 0 {
		to.Deleted, to.Seq, to.Size = n.Deleted, n.Seq, n.Size
	}
	to.Stored = true
	to.Kept = to.Kept || n.Kept
}

// compareWrites orders two writes of one revision: the negative one counts. With
// the same sequence a tombstone goes first, then the greater size; that is for
// trees without sequences, since a database gives each only once.
func compareWrites(a, b *Node) int {
	switch {
	case a.Seq != b.Seq:
		return cmp.Compare(a.Seq, b.Seq)
	case a.Deleted != b.Deleted:
		if a.Deleted {
			return -1
		}
		return 1
	}
	return cmp.Compare(b.Size, a.Size)
}
