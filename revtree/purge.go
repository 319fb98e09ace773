package revtree

// Remove takes leaves out of t, and with each the ancestors that no other leaf
// has, as CouchDB's _purge does. IDs that are not leaves are ignored, which
// [Tree.Find] and [Tree.IsLeaf] tell beforehand; _purge reports only the leaves.
// All removed revisions are returned in ascending order, ancestors included.
func (t Tree) Remove(leaves []ID) (kept Tree, removed []ID) {
	marks := make([]int32, len(t.nodes))
	for i := range marks {
		if t.nodes[i].inner {
			marks[i] = drop // until a child stays
		}
	}
	for _, id := range leaves {
		if i, found := t.Find(id); found && t.IsLeaf(i) {
			marks[i] = drop
		}
	}
	gone := 0
	for i := len(t.nodes) - 1; i >= 0; i-- {
		if marks[i] == drop {
			gone++
		} else if parent := t.nodes[i].Parent; parent >= 0 {
			marks[parent] = stay
		}
	}
	if gone == 0 {
		return t, nil
	}
	return t.split(marks, gone)
}
