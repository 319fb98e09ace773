package revtree_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/revtree"
)

func TestStem(t *testing.T) {
	for _, test := range []struct {
		name     string
		branches []string
		limit    int
		want     string
		dropped  string
	}{
		{"nothing to do", []string{"3 c b a"}, 3, "1-a 2-b<1-a 3-c<2-b", ""},
		{"a chain", []string{"4 d c b a"}, 2, "3-c 4-d<3-c", "1-a 2-b"},
		{"to the leaf", []string{"3 c b a"}, 1, "3-c", "1-a 2-b"},
		{"no limit is 1", []string{"3 c b a"}, 0, "3-c", "1-a 2-b"},
		{"a negative limit is 1", []string{"3 c b a"}, -5, "3-c", "1-a 2-b"},
		{"a shared ancestor stays for the shorter branch", []string{"4 d c b a", "2 x a"}, 2, "1-a 2-x<1-a 3-c 4-d<3-c", "2-b"},
		{"deleted leaves count", []string{"3 c b a", "-2 x a"}, 2, "1-a 2-b<1-a 2-x<1-a 3-c<2-b", ""},
		{"branches part", []string{"3 c b a", "3 y x a"}, 2, "2-b 2-x 3-c<2-b 3-y<2-x", "1-a"},
		{"many nodes, short branches", []string{"2 b a", "2 c a", "2 d a"}, 2, "1-a 2-b<1-a 2-c<1-a 2-d<1-a", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			tree := grow(t, test.branches...)
			kept, dropped := tree.Stem(test.limit)
			if got := showTree(kept); got != test.want {
				t.Errorf("kept %q, want %q", got, test.want)
			}
			if got := show(dropped); got != test.dropped {
				t.Errorf("dropped %q, want %q", got, test.dropped)
			}
		})
	}
}

func TestStemKeepsTheNewestOfEachBranch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := drawTree(t)
		limit := rapid.IntRange(1, 8).Draw(t, "limit")
		kept, dropped := tree.Stem(limit)
		checkTree(t, kept)
		checkLeavesStay(t, tree, kept)

		near := map[revtree.ID]bool{}
		for _, leaf := range tree.Leaves() {
			path := pathOf(tree, leaf.ID)
			for i := range min(limit, path.Len()) {
				near[path.At(i)] = true
			}
			after := pathOf(kept, leaf.ID)
			if after.Len() < min(limit, path.Len()) || !slices.Equal(path.Hashes[:after.Len()], after.Hashes) {
				t.Fatalf("branch %v became %v", path, after)
			}
		}
		checkSplit(t, tree, kept, dropped, func(id revtree.ID) bool { return near[id] })
		if again, more := kept.Stem(limit); !again.Equal(kept) || more != nil {
			t.Fatalf("stemming again drops %s", show(more))
		}
	})
}

// checkLeavesStay checks that both trees have the same leaves with the same
// attributes, and the same winner.
func checkLeavesStay(t *rapid.T, before, after revtree.Tree) {
	byIndex := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Parent" }, cmp.Ignore())
	if diff := cmp.Diff(before.Leaves(), after.Leaves(), byIndex); diff != "" {
		t.Fatalf("leaves (-before +after):\n%s", diff)
	}
	winner, _ := before.Winner()
	other, _ := after.Winner()
	if winner.ID != other.ID {
		t.Fatalf("winner %v became %v", winner.ID, other.ID)
	}
}

// checkSplit checks that each node of tree is either in kept, as stays says,
// with its attributes and its parent if that is there, or else in dropped.
func checkSplit(t *rapid.T, tree, kept revtree.Tree, dropped []revtree.ID, stays func(revtree.ID) bool) {
	var gone []revtree.ID
	for i := range tree.Len() {
		want := tree.Node(i)
		at, found := kept.Find(want.ID)
		if found != stays(want.ID) {
			t.Fatalf("%v is kept: %t", want.ID, found)
		}
		if !found {
			gone = append(gone, want.ID)
			continue
		}
		got := kept.Node(at)
		withParent := want.Parent >= 0 && stays(tree.Node(want.Parent).ID)
		if withParent != (got.Parent >= 0) || withParent && kept.Node(got.Parent).ID != tree.Node(want.Parent).ID {
			t.Fatalf("%v has another parent", want.ID)
		}
		want.Parent, got.Parent = 0, 0
		if got != want {
			t.Fatalf("%+v became %+v", want, got)
		}
	}
	if !slices.Equal(gone, dropped) {
		t.Fatalf("dropped %s, want %s", show(dropped), show(gone))
	}
	if kept.Len()+len(gone) != tree.Len() {
		t.Fatalf("%d of %d nodes kept", kept.Len(), tree.Len())
	}
}

// Stemming does not commute with merging: a leaf that the other side stemmed
// away from a branch comes back as a branch of its own. Short of that it does.
func TestStemmedReplicasMergeToTheSameLeaves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t, 40)
		a, b := mergeAll(h.deal(t)), mergeAll(h.deal(t))
		limit := rapid.IntRange(1, 8).Draw(t, "limit")
		for _, x := range a.Leaves() {
			for _, y := range b.Leaves() {
				if h.steps(x.ID, y.ID) >= limit || h.steps(y.ID, x.ID) >= limit {
					return
				}
			}
		}
		stemmedA, _ := a.Stem(limit)
		stemmedB, _ := b.Stem(limit)
		checkLeavesStay(t, revtree.Merge(a, b), revtree.Merge(stemmedA, stemmedB))
	})
}

func TestRemove(t *testing.T) {
	for _, test := range []struct {
		name          string
		branches      []string
		leaves        string
		want, removed string
	}{
		{"the only branch", []string{"3 c b a"}, "3-c", "", "1-a 2-b 3-c"},
		{"one of two", []string{"3 c b a", "2 x a"}, "3-c", "1-a 2-x<1-a", "2-b 3-c"},
		{"the other", []string{"3 c b a", "2 x a"}, "2-x", "1-a 2-b<1-a 3-c<2-b", "2-x"},
		{"both", []string{"3 c b a", "2 x a"}, "2-x 3-c", "", "1-a 2-b 2-x 3-c"},
		{"twice the same", []string{"2 b a", "2 x a"}, "2-x 2-x", "1-a 2-b<1-a", "2-x"},
		{"not a leaf", []string{"3 c b a"}, "2-b", "1-a 2-b<1-a 3-c<2-b", ""},
		{"unknown", []string{"1 a"}, "1-b 7-q", "1-a", ""},
		{"a root among others", []string{"1 a", "1 b", "2 c b"}, "1-a", "1-b 2-c<1-b", "1-a"},
		{"indexes move", []string{"2 z a", "2 y b", "3 q y"}, "2-z", "1-b 2-y<1-b 3-q<2-y", "1-a 2-z"},
	} {
		t.Run(test.name, func(t *testing.T) {
			kept, removed := grow(t, test.branches...).Remove(ids(t, test.leaves))
			if got := showTree(kept); got != test.want {
				t.Errorf("kept %q, want %q", got, test.want)
			}
			if got := show(removed); got != test.removed {
				t.Errorf("removed %q, want %q", got, test.removed)
			}
		})
	}
}

func TestRemoveKeepsTheOtherBranches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := drawTree(t)
		var purge []revtree.ID
		stay := map[revtree.ID]bool{}
		for _, leaf := range tree.Leaves() {
			if rapid.Bool().Draw(t, "purge") {
				purge = append(purge, leaf.ID)
				continue
			}
			path := pathOf(tree, leaf.ID)
			for i := range path.Len() {
				stay[path.At(i)] = true
			}
		}
		kept, removed := tree.Remove(purge)
		checkTree(t, kept)
		checkSplit(t, tree, kept, removed, func(id revtree.ID) bool { return stay[id] })
	})
}
