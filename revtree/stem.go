package revtree

import "math"

// Stem forgets old revisions: it keeps, for each leaf, the newest limit ones of
// its branch, the leaf included, as CouchDB does for _revs_limit. A revision
// stays if it is near enough to any leaf. A limit below 1 counts as 1. The
// dropped revisions are returned in ascending order.
//
// A branch may stay longer than limit where it shares ancestors with a shorter
// one; see [Path.Newest].
func (t Tree) Stem(limit int) (kept Tree, dropped []ID) {
	return t.stem(limit, false)
}

// stem does what Stem says. If it is to part branches, then a revision stays with
// its parent only if both are near enough to the same leaf, and else becomes a
// root.
func (t Tree) stem(limit int, part bool) (kept Tree, dropped []ID) {
	limit = max(limit, 1)
	if len(t.nodes) <= limit {
		return t, nil
	}
	// Children stand after their parents, so that going backwards a node's
	// distance to its nearest leaf is final when its turn comes.
	distance := make([]int32, len(t.nodes))
	for i := range distance {
		if t.nodes[i].inner {
			distance[i] = math.MaxInt32
		}
	}
	gone, cut := 0, 0
	for i := len(t.nodes) - 1; i >= 0; i-- {
		if parent := t.nodes[i].Parent; parent >= 0 {
			distance[parent] = min(distance[parent], distance[i]+1)
		}
		switch away := int(distance[i]); {
		case away >= limit:
			distance[i] = drop
			gone++
		case part && away == limit-1 && t.nodes[i].Parent >= 0:
			distance[i] = uproot
			cut++
		default:
			distance[i] = stay
		}
	}
	if gone+cut == 0 {
		return t, nil
	}
	return t.split(distance, gone)
}

// What becomes of a node in split.
const (
	drop   = -1
	stay   = 0
	uproot = 1 // it stays without its parent
)

// split divides t into a tree of the nodes that stay and the IDs of those that
// do not, of which there are gone. The marks are overwritten.
func (t Tree) split(marks []int32, gone int) (kept Tree, dropped []ID) {
	if gone > 0 {
		dropped = make([]ID, 0, gone)
	}
	nodes := make([]node, 0, len(t.nodes)-gone)
	for i := range t.nodes {
		n := t.nodes[i]
		if marks[i] == drop {
			dropped = append(dropped, n.ID)
			continue
		}
		if marks[i] == uproot {
			n.Parent = -1
		}
		marks[i] = int32(len(nodes)) // from here on the new index
		if n.Parent >= 0 {
			n.Parent = int(marks[n.Parent]) // a parent that was dropped leaves -1, a root
		}
		nodes = append(nodes, n)
	}
	link(nodes)
	return Tree{nodes: nodes}, dropped
}
