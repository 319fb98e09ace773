package revtree_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/revtree"
)

func TestLeaves(t *testing.T) {
	for _, test := range []struct {
		name     string
		branches []string
		want     string
	}{
		{"longer branch", []string{"3 a x r", "2 z r"}, "3-a 2-z"},
		{"greater hash", []string{"2 b r", "2 c r", "2 B r"}, "2-c 2-b 2-B"},
		{"generations are numbers", []string{"10 a", "9 z"}, "10-a 9-z"},
		{"deleted loses", []string{"-4 e d c a", "2 b a"}, "2-b 4-e"},
		{"all deleted", []string{"-2 b a", "-2 c a", "-3 e d a"}, "3-e 2-c 2-b"},
		{"tombstone with a successor", []string{"-2 b a", "3 c b"}, "3-c"},
		{"live branch under a deleted revision", []string{"-2 b a", "3 c b", "2 x a"}, "3-c 2-x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tree := grow(t, test.branches...)
			if got := showNodes(tree.Leaves()); got != test.want {
				t.Errorf("leaves are %q, want %q", got, test.want)
			}
			winner, ok := tree.Winner()
			if !ok || winner != tree.Leaves()[0] {
				t.Errorf("winner is %v, %t", winner.ID, ok)
			}
		})
	}
}

func TestEmptyTree(t *testing.T) {
	var tree revtree.Tree
	if _, ok := tree.Winner(); ok || tree.Leaves() != nil || tree.Len() != 0 {
		t.Error("an empty tree has leaves")
	}
	if kept, dropped := tree.Stem(1); kept.Len() != 0 || dropped != nil {
		t.Error("stemming an empty tree drops something")
	}
	if kept, removed := tree.Remove(ids(t, "1-a")); kept.Len() != 0 || removed != nil {
		t.Error("an empty tree loses something")
	}
	if bases := tree.MergeBases(); bases != nil {
		t.Error("an empty tree has merge bases")
	}
}

// A forged second parent leaves the first one without children; it must not
// win, since there is nothing to read.
func TestWinnerIsStored(t *testing.T) {
	tree := grow(t, "-2 c a", "-2 c b")
	if got := showNodes(tree.Leaves()); got != "2-c 1-a" {
		t.Errorf("leaves are %q", got)
	}
}

func TestWinnerIsTheFirstLeaf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := drawTree(t)
		if rapid.Bool().Draw(t, "forged") {
			tree = drawForgery(t)
		}
		leaves := tree.Leaves()
		winner, ok := tree.Winner()
		if ok != (tree.Len() > 0) || ok && winner != leaves[0] {
			t.Fatalf("winner %v, %t of %s", winner.ID, ok, showNodes(leaves))
		}
		var want []revtree.Leaf
		for i := range tree.Len() {
			if tree.IsLeaf(i) {
				want = append(want, tree.Node(i))
			}
		}
		slices.SortFunc(leaves, func(a, b revtree.Leaf) int { return a.ID.Compare(b.ID) })
		if diff := cmp.Diff(want, leaves); diff != "" {
			t.Fatalf("leaves (-want +got):\n%s", diff)
		}
	})
}

func TestMergeBases(t *testing.T) {
	for _, test := range []struct {
		name     string
		branches []string
		want     string
	}{
		{"no conflict", []string{"3 c b a"}, ""},
		{"one conflict", []string{"2 b a", "2 c a"}, "1-a"},
		{"the nearest ancestor", []string{"4 d c b a", "3 x b a"}, "2-b"},
		{"three at one place", []string{"2 b a", "2 c a", "2 d a"}, "1-a"},
		{"nested", []string{"4 d c b a", "4 e c b a", "2 x a"}, "1-a 3-c"},
		{"a deleted branch does not count", []string{"2 b a", "-2 c a"}, ""},
		{"a deleted branch between", []string{"3 c b a", "-3 d b a", "2 x a"}, "1-a"},
		{"strangers", []string{"2 b a", "4 d c"}, ""},
		{"strangers with a conflict", []string{"2 b a", "4 d c", "4 e c"}, "3-c"},
		{"a deleted revision is a base", []string{"-1 a", "2 b a", "2 c a"}, "1-a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tree := grow(t, test.branches...)
			if got := showAt(tree, tree.MergeBases()); got != test.want {
				t.Errorf("bases are %q, want %q", got, test.want)
			}
		})
	}
}

func showAt(tree revtree.Tree, indexes []int) string {
	list := make([]revtree.ID, len(indexes))
	for i, at := range indexes {
		list[i] = tree.Node(at).ID
	}
	return show(list)
}

func TestMergeBasesAreNearestCommonAncestors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := drawTree(t)
		var want []int
		leaves := tree.Leaves()
		for i, a := range leaves {
			for _, b := range leaves[:i] {
				path := pathOf(tree, a.ID)
				for j := 0; j < path.Len() && !a.Deleted && !b.Deleted; j++ {
					if contains(pathOf(tree, b.ID), path.At(j)) {
						at, _ := tree.Find(path.At(j))
						want = append(want, at)
						break
					}
				}
			}
		}
		slices.Sort(want)
		want = slices.Compact(want)
		if got := tree.MergeBases(); !slices.Equal(got, want) {
			t.Fatalf("bases %s, want %s", showAt(tree, got), showAt(tree, want))
		}
	})
}
