package revtree

import "slices"

// Add is one write: it merges the branch of p and leaf, as [New] makes it, into
// t and then stems. The leaves that come of it are those of CouchDB.
//
// They are not always those of Merge followed by Stem. Stemming may have cut t
// into fragments, and a long path can touch several of them. CouchDB lets it
// grow the fragment whose root is lowest, cuts every branch of every fragment to
// limit revisions, and only then joins what the fragments have in common. So a
// leaf of another fragment stays a leaf, even though p names it as an ancestor,
// if it is limit or more steps back; and branches that shared an old revision
// part where the cut is.
func (t Tree) Add(p Path, leaf Node, limit int) (kept Tree, dropped []ID) {
	branch := New(p, leaf)
	merged := Merge(t, branch)
	if len(merged.nodes) <= max(limit, 1) {
		return merged, nil
	}
	first, others := t.touched(p)
	if others.Len() == 0 {
		return merged.Stem(limit)
	}
	first, _ = Merge(first, branch).stem(limit, true)
	others, _ = others.stem(limit, true)
	return merged.restrict(Merge(first, others))
}

// touched returns the lowest of the fragments of t that have revisions of p and
// the other fragments, touched or not. Unless there are several to choose from
// it returns empty trees.
func (t Tree) touched(p Path) (lowest, others Tree) {
	roots := 0
	for i := range t.nodes {
		if t.nodes[i].Parent < 0 {
			roots++
		}
	}
	if roots < 2 {
		return Tree{}, Tree{}
	}
	root := make([]int32, len(t.nodes)) // of the fragment that a node is in
	for i := range t.nodes {
		root[i] = int32(i)
		if parent := t.nodes[i].Parent; parent >= 0 {
			root[i] = root[parent]
		}
	}
	low, high := int32(len(t.nodes)), int32(-1)
	for i := range p.Len() {
		if at, found := t.Find(p.At(i)); found {
			low, high = min(low, root[at]), max(high, root[at])
		}
	}
	if low >= high {
		return Tree{}, Tree{}
	}
	inside, outside := root, make([]int32, len(root))
	size := 0
	for i := range root {
		if root[i] == low {
			inside[i], outside[i] = stay, drop
			size++
		} else {
			inside[i], outside[i] = drop, stay
		}
	}
	lowest, _ = t.split(inside, len(root)-size)
	others, _ = t.split(outside, size)
	return lowest, others
}

// restrict takes from t the attributes of the revisions in some, which must all
// be in t, and returns also those that are not in some.
func (t Tree) restrict(some Tree) (kept Tree, dropped []ID) {
	nodes := slices.Clone(some.nodes)
	next := 0
	for i := range t.nodes {
		n := t.nodes[i].Node
		if next == len(nodes) || nodes[next].ID != n.ID {
			dropped = append(dropped, n.ID)
			continue
		}
		n.Parent = nodes[next].Parent
		nodes[next].Node = n
		next++
	}
	return Tree{nodes: nodes}, dropped
}
