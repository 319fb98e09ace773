package revtree

// MergeBases returns, in ascending order, the indexes of the nodes at which the
// branches of live leaves part: the nearest common ancestors from which a
// three-way merge of a conflict starts. It returns nil if fewer than two leaves
// are live, or if those that are have no ancestor in common.
func (t Tree) MergeBases() []int {
	live := 0
	for i := range t.nodes {
		if t.nodes[i].live() && !t.nodes[i].inner {
			live++
		}
	}
	if live < 2 {
		return nil
	}
	// branches[i] counts the children of node i from which a live leaf descends.
	branches := make([]int32, len(t.nodes))
	for i := len(t.nodes) - 1; i >= 0; i-- {
		n := &t.nodes[i]
		if n.Parent >= 0 && (branches[i] > 0 || !n.inner && n.live()) {
			branches[n.Parent]++
		}
	}
	var bases []int
	for i := range branches {
		if branches[i] > 1 {
			bases = append(bases, i)
		}
	}
	return bases
}
