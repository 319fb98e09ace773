package revtree_test

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/revtree"
)

func TestAdd(t *testing.T) {
	for _, test := range []struct {
		name   string
		writes []revtree.Path
		limit  int
		want   string
	}{
		{
			"a chain", []revtree.Path{
				{Start: 1, Hashes: []string{"a"}},
				{Start: 2, Hashes: []string{"b", "a"}},
				{Start: 3, Hashes: []string{"c", "b"}},
			}, 2, "2-b 3-c<2-b",
		},
		{
			"a long path that touches one fragment ends its leaf", []revtree.Path{
				{Start: 2, Hashes: []string{"b", "a"}},
				{Start: 5, Hashes: []string{"e", "d", "c", "b", "a"}},
			}, 2, "4-d 5-e<4-d",
		},
		{
			"a long path that touches two ends one leaf", []revtree.Path{
				{Start: 3, Hashes: []string{"c"}},
				{Start: 1, Hashes: []string{"a"}},
				{Start: 5, Hashes: []string{"e", "d", "c", "b", "a"}},
			}, 2, "3-c 4-d 5-e<4-d",
		},
		{
			"unless the leaf is near", []revtree.Path{
				{Start: 3, Hashes: []string{"c"}},
				{Start: 1, Hashes: []string{"a"}},
				{Start: 5, Hashes: []string{"e", "d", "c", "b", "a"}},
			}, 3, "3-c 4-d<3-c 5-e<4-d",
		},
		{
			"or nothing has to be cut", []revtree.Path{
				{Start: 3, Hashes: []string{"c"}},
				{Start: 1, Hashes: []string{"a"}},
				{Start: 5, Hashes: []string{"e", "d", "c", "b", "a"}},
			}, 5, "1-a 2-b<1-a 3-c<2-b 4-d<3-c 5-e<4-d",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var tree revtree.Tree
			for _, path := range test.writes {
				tree, _ = tree.Add(path, revtree.Node{Stored: true}, test.limit)
			}
			if got := showTree(tree); got != test.want {
				t.Errorf("tree is %q, want %q", got, test.want)
			}
		})
	}
}

// fragments models a document as CouchDB keeps it: as trees side by side, each a
// map from revisions to their parents, a root's being the zero ID.
type fragments []map[revtree.ID]revtree.ID

func (f fragments) add(p revtree.Path, limit int) fragments {
	links := map[revtree.ID]revtree.ID{}
	addBranch(links, p, p.Len())
	// The path grows the first fragment that it touches. It may then double
	// revisions of others.
	touched := 0
	var grown fragments
	for _, fragment := range f {
		fragment = maps.Clone(fragment)
		if touches(fragment, p) {
			touched++
			if touched == 1 {
				maps.Copy(links, fragment)
				addBranch(links, p, p.Len())
				continue
			}
		}
		grown = append(grown, fragment)
	}
	grown = append(grown, links)
	stemmed := map[revtree.ID]revtree.ID{}
	for _, fragment := range grown {
		near := map[revtree.ID]bool{}
		for _, leaf := range leavesOf(fragment) {
			path := revtree.Path{Start: leaf.Gen}
			for at := leaf; !at.IsZero(); at = fragment[at] {
				path.Hashes = append(path.Hashes, at.Hash)
			}
			for i := range min(limit, path.Len()) {
				near[path.At(i)] = true
			}
			if touched > 1 {
				addBranch(stemmed, path, limit)
			}
		}
		if touched > 1 {
			continue
		}
		for id := range near {
			stemmed[id] = revtree.ID{}
			if near[fragment[id]] {
				stemmed[id] = fragment[id]
			}
		}
	}
	return split(stemmed)
}

// addBranch adds the newest revisions of p. A known parent is not forgotten.
func addBranch(links map[revtree.ID]revtree.ID, p revtree.Path, length int) {
	for i := range min(p.Len(), length) {
		if i+1 < min(p.Len(), length) {
			links[p.At(i)] = p.At(i + 1)
		} else if _, known := links[p.At(i)]; !known {
			links[p.At(i)] = revtree.ID{}
		}
	}
}

func touches(fragment map[revtree.ID]revtree.ID, p revtree.Path) bool {
	for i := range p.Len() {
		if _, found := fragment[p.At(i)]; found {
			return true
		}
	}
	return false
}

func leavesOf(fragment map[revtree.ID]revtree.ID) []revtree.ID {
	parents := map[revtree.ID]bool{}
	for _, parent := range fragment {
		parents[parent] = true
	}
	var leaves []revtree.ID
	for id := range fragment {
		if !parents[id] {
			leaves = append(leaves, id)
		}
	}
	return leaves
}

// split sorts revisions into fragments, and these by their roots.
func split(links map[revtree.ID]revtree.ID) fragments {
	byRoot := map[revtree.ID]map[revtree.ID]revtree.ID{}
	for id, parent := range links {
		root := id
		for !links[root].IsZero() {
			root = links[root]
		}
		if byRoot[root] == nil {
			byRoot[root] = map[revtree.ID]revtree.ID{}
		}
		byRoot[root][id] = parent
	}
	var f fragments
	for _, root := range slices.SortedFunc(maps.Keys(byRoot), revtree.ID.Compare) {
		f = append(f, byRoot[root])
	}
	return f
}

func TestAddMakesTheTreesOfTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t, 25)
		limit := rapid.IntRange(1, 5).Draw(t, "limit")
		var tree revtree.Tree
		var model fragments
		for _, branch := range h.deal(t) {
			last := branch.Len() - 1
			path := branch.Path(last)
			before := tree
			var dropped []revtree.ID
			tree, dropped = tree.Add(path, branch.Node(last), limit)
			model = model.add(path, limit)

			checkTree(t, tree)
			got := map[revtree.ID]revtree.ID{}
			for i := range tree.Len() {
				n := tree.Node(i)
				got[n.ID] = revtree.ID{}
				if n.Parent >= 0 {
					got[n.ID] = tree.Node(n.Parent).ID
				}
			}
			want := map[revtree.ID]revtree.ID{}
			for _, fragment := range model {
				maps.Copy(want, fragment)
			}
			if !maps.Equal(got, want) {
				t.Fatalf("adding %v to %s makes %s, want %v", path, showTree(before), showTree(tree), want)
			}
			if merged := revtree.Merge(before, branch); merged.Len() != tree.Len()+len(dropped) {
				t.Fatalf("%d kept and %d dropped of %d", tree.Len(), len(dropped), merged.Len())
			}
		}
	})
}
