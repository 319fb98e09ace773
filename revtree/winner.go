package revtree

import "slices"

// Winner returns the leaf that stands for the document: a live one before a
// deleted one, then the highest generation, then the greatest hash, as in
// CouchDB. A leaf that is not stored, which only a forged history leaves behind,
// comes last, so that the winner can be read if anything can. Winner returns
// false if t is empty.
func (t Tree) Winner() (Leaf, bool) {
	var best *Node
	for i := range t.nodes {
		if n := &t.nodes[i]; !n.inner && (best == nil || compareRank(&n.Node, best) > 0) {
			best = &n.Node
		}
	}
	if best == nil {
		return Leaf{}, false
	}
	return *best, true
}

// Leaves returns the nodes without children, the winner first and the others in
// the same order.
func (t Tree) Leaves() []Leaf {
	return t.rankedLeaves(func(int) bool { return true })
}

// rankedLeaves returns the leaves that pass, winner first.
func (t Tree) rankedLeaves(pass func(i int) bool) []Leaf {
	count := 0
	for i := range t.nodes {
		if !t.nodes[i].inner && pass(i) {
			count++
		}
	}
	if count == 0 {
		return nil
	}
	leaves := make([]Leaf, 0, count)
	for i := range t.nodes {
		if !t.nodes[i].inner && pass(i) {
			leaves = append(leaves, t.nodes[i].Node)
		}
	}
	slices.SortFunc(leaves, func(a, b Leaf) int { return compareRank(&b, &a) })
	return leaves
}

// compareRank is positive if a goes before b as the winner.
func compareRank(a, b *Node) int {
	if class := rankClass(a) - rankClass(b); class != 0 {
		return class
	}
	return a.ID.Compare(b.ID)
}

func rankClass(n *Node) int {
	switch {
	case n.live():
		return 2
	case n.Stored:
		return 1
	}
	return 0
}
