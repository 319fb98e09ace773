package revtree_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/revtree"
)

func TestMerge(t *testing.T) {
	for _, test := range []struct {
		name     string
		branches []string
		want     string
		leaves   string
	}{
		{"nothing", nil, "", ""},
		{"one branch", []string{"3 c b a"}, "1-a 2-b<1-a 3-c<2-b", "3-c"},
		{"an edit", []string{"2 b a", "3 c b"}, "1-a 2-b<1-a 3-c<2-b", "3-c"},
		{"the same again", []string{"2 b a", "2 b a"}, "1-a 2-b<1-a", "2-b"},
		{"an ancestor later", []string{"3 c b a", "1 a"}, "1-a 2-b<1-a 3-c<2-b", "3-c"},
		{"a conflict", []string{"2 b a", "2 c a"}, "1-a 2-b<1-a 2-c<1-a", "2-c 2-b"},
		{"a branch from the middle", []string{"4 d c b a", "3 x b"}, "1-a 2-b<1-a 3-c<2-b 3-x<2-b 4-d<3-c", "4-d 3-x"},
		{"two roots", []string{"1 a", "1 b"}, "1-a 1-b", "1-b 1-a"},
		{"fragments", []string{"4 d c", "2 q a"}, "1-a 2-q<1-a 3-c 4-d<3-c", "4-d 2-q"},
		{"fragments that join", []string{"5 e d", "2 b a", "4 d c b"}, "1-a 2-b<1-a 3-c<2-b 4-d<3-c 5-e<4-d", "5-e"},
		{"an older start", []string{"5 e d", "5 e d c b"}, "2-b 3-c<2-b 4-d<3-c 5-e<4-d", "5-e"},
		{"a root before others", []string{"2 y b", "3 z y", "1 a"}, "1-a 1-b 2-y<1-b 3-z<2-y", "3-z 1-a"},
		{"the same hash in two generations", []string{"2 a a"}, "1-a 2-a<1-a", "2-a"},
		{"forged: two parents", []string{"2 c a", "2 c b"}, "1-a 1-b 2-c<1-b", "2-c 1-a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 2 {
				tree := grow(t, test.branches...)
				if got := showTree(tree); got != test.want {
					t.Errorf("merged to %q, want %q", got, test.want)
				}
				if got := showNodes(tree.Leaves()); got != test.leaves {
					t.Errorf("leaves are %q, want %q", got, test.leaves)
				}
				slices.Reverse(test.branches)
			}
		})
	}
}

func TestMergeOfAttributes(t *testing.T) {
	unknown := revtree.Node{}
	live := revtree.Node{Stored: true, Kept: true, Seq: 3, Size: 10}
	compacted := revtree.Node{Stored: true, Seq: 5, Size: 9}
	deleted := revtree.Node{Stored: true, Deleted: true, Seq: 1, Size: 2}
	for _, test := range []struct{ a, b, want revtree.Node }{
		{unknown, unknown, unknown},
		{unknown, live, live},
		{unknown, deleted, deleted},
		{live, compacted, revtree.Node{Stored: true, Kept: true, Seq: 3, Size: 10}},
		{live, deleted, revtree.Node{Stored: true, Deleted: true, Kept: true, Seq: 1, Size: 2}},
		{
			revtree.Node{Stored: true, Deleted: true, Seq: 1, Size: 1},
			revtree.Node{Stored: true, Seq: 1, Size: 7},
			revtree.Node{Stored: true, Deleted: true, Seq: 1, Size: 1},
		},
		{
			revtree.Node{Stored: true, Seq: 1, Size: 1},
			revtree.Node{Stored: true, Seq: 1, Size: 7},
			revtree.Node{Stored: true, Seq: 1, Size: 7},
		},
	} {
		for range 2 {
			p := revtree.Path{Start: 1, Hashes: []string{"a"}}
			got := revtree.Merge(revtree.New(p, test.a), revtree.New(p, test.b)).Node(0)
			test.want.ID, test.want.Parent = p.Leaf(), -1
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%+v with %+v (-want +got):\n%s", test.a, test.b, diff)
			}
			test.a, test.b = test.b, test.a
		}
	}
}

func TestMergeLeavesItsInputsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawForgery(t), drawForgery(t)
		textA, textB := a.AppendBinary(nil), b.AppendBinary(nil)
		revtree.Merge(a, b)
		if string(a.AppendBinary(nil)) != string(textA) || string(b.AppendBinary(nil)) != string(textB) {
			t.Fatal("an input changed")
		}
	})
}

func TestMergeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a, b, c revtree.Tree
		if rapid.Bool().Draw(t, "honest") {
			h := drawHistory(t, 40)
			a, b, c = mergeAll(h.deal(t)), mergeAll(h.deal(t)), mergeAll(h.deal(t))
		} else {
			a, b, c = drawForgery(t), drawForgery(t), drawForgery(t)
		}
		checkTree(t, a)
		ab := revtree.Merge(a, b)
		checkTree(t, ab)
		if !ab.Equal(revtree.Merge(b, a)) {
			t.Fatal("not commutative")
		}
		left, right := revtree.Merge(ab, c), revtree.Merge(a, revtree.Merge(b, c))
		if diff := cmp.Diff(left, right); diff != "" {
			t.Fatalf("not associative: %s and %s", showTree(left), showTree(right))
		}
		if !revtree.Merge(a, a).Equal(a) || !revtree.Merge(ab, b).Equal(ab) {
			t.Fatal("not idempotent")
		}
	})
}

// checkTree checks what holds for every tree.
func checkTree(t *rapid.T, tree revtree.Tree) {
	children := make([]int, tree.Len())
	for i := range tree.Len() {
		n := tree.Node(i)
		if i > 0 && tree.Node(i-1).ID.Compare(n.ID) >= 0 {
			t.Fatalf("%v is not after %v", n.ID, tree.Node(i-1).ID)
		}
		if n.Parent >= 0 {
			children[n.Parent]++
			if parent := tree.Node(n.Parent).ID; parent.Gen != n.ID.Gen-1 {
				t.Fatalf("%v has parent %v", n.ID, parent)
			}
		}
	}
	for i, count := range children {
		if tree.IsLeaf(i) != (count == 0) {
			t.Fatalf("%v has %d children and IsLeaf %t", tree.Node(i).ID, count, tree.IsLeaf(i))
		}
	}
}

// The union of branches, worked out with maps.
func TestMergeIsTheUnionOfItsBranches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t, 60)
		known := map[revtree.ID]bool{}
		parents := map[revtree.ID]revtree.ID{}
		stored := map[revtree.ID]bool{}
		var tree revtree.Tree
		for _, branch := range h.deal(t) {
			tree = revtree.Merge(tree, branch)
			p := branch.Path(branch.Len() - 1)
			stored[p.Leaf()] = true
			for i := range p.Len() {
				known[p.At(i)] = true
				if i > 0 {
					parents[p.At(i-1)] = p.At(i)
				}
			}
		}
		checkTree(t, tree)
		if tree.Len() != len(known) {
			t.Fatalf("%d revisions instead of %d", tree.Len(), len(known))
		}
		for i := range tree.Len() {
			n := tree.Node(i)
			parent, has := parents[n.ID]
			if has != (n.Parent >= 0) || has && tree.Node(n.Parent).ID != parent {
				t.Fatalf("%v has not parent %v", n.ID, parent)
			}
			if !known[n.ID] || stored[n.ID] != n.Stored {
				t.Fatalf("%v is stored: %t", n.ID, n.Stored)
			}
		}
	})
}

func TestOrderOfArrivalDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		branches := drawHistory(t, 60).deal(t)
		first := mergeAll(branches)
		second := mergeAll(rapid.Permutation(branches).Draw(t, "order"))
		if !first.Equal(second) {
			t.Fatalf("%s and %s", showTree(first), showTree(second))
		}
		if diff := cmp.Diff(first.Leaves(), second.Leaves()); diff != "" {
			t.Fatalf("leaves (-first +second):\n%s", diff)
		}
		winner, _ := first.Winner()
		other, _ := second.Winner()
		if winner != other {
			t.Fatalf("winners %v and %v", winner, other)
		}
	})
}

func TestNothingIsMissingAfterMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t, 60)
		a, b := mergeAll(h.deal(t)), mergeAll(h.deal(t))
		var all []revtree.ID
		for _, tree := range []revtree.Tree{a, b} {
			for i := range tree.Len() {
				all = append(all, tree.Node(i).ID)
			}
		}
		if missing, ancestors := revtree.Merge(a, b).Missing(all); missing != nil || ancestors != nil {
			t.Fatalf("missing %s, ancestors %s", show(missing), show(ancestors))
		}
	})
}
