package revtree

// Missing answers CouchDB's _revs_diff: which of ids are not in t, in the order
// asked, and which leaves may be ancestors of a missing one, because their
// generation is lower than the highest missing, winner first. A revision that is
// known by name alone is not missing.
func (t Tree) Missing(ids []ID) (missing, possibleAncestors []ID) {
	highest := 0
	for _, id := range ids {
		if _, found := t.Find(id); !found {
			missing = append(missing, id)
			highest = max(highest, id.Gen)
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	below := t.rankedLeaves(func(i int) bool { return t.nodes[i].ID.Gen < highest })
	if len(below) == 0 {
		return missing, nil
	}
	possibleAncestors = make([]ID, len(below))
	for i := range below {
		possibleAncestors[i] = below[i].ID
	}
	return missing, possibleAncestors
}

// Latest returns the leaves that descend from id, winner first: id itself if it
// is a leaf, and none if it is not in t.
func (t Tree) Latest(id ID) []Leaf {
	first, found := t.Find(id)
	if !found {
		return nil
	}
	if t.IsLeaf(first) {
		return []Leaf{t.Node(first)}
	}
	// Descendants stand after it, each after its own parent.
	descends := make([]bool, len(t.nodes)-first)
	descends[0] = true
	for i := first + 1; i < len(t.nodes); i++ {
		if parent := t.nodes[i].Parent; parent >= first {
			descends[i-first] = descends[parent-first]
		}
	}
	return t.rankedLeaves(func(i int) bool { return i >= first && descends[i-first] })
}
