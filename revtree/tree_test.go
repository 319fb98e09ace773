package revtree_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/revtree"
)

func TestNew(t *testing.T) {
	leaf := revtree.Node{
		ID: id(t, "7-ignored"), Parent: 5, Deleted: true, Stored: true, Kept: true, Seq: 8, Size: 9,
	}
	tree := revtree.New(revtree.Path{Start: 5, Hashes: []string{"e", "d"}}, leaf)
	want := []revtree.Node{
		{ID: id(t, "4-d"), Parent: -1},
		{ID: id(t, "5-e"), Parent: 0, Deleted: true, Stored: true, Kept: true, Seq: 8, Size: 9},
	}
	for i, n := range want {
		if diff := cmp.Diff(n, tree.Node(i)); diff != "" {
			t.Errorf("node %d (-want +got):\n%s", i, diff)
		}
	}
	if tree.Len() != 2 || tree.IsLeaf(0) || !tree.IsLeaf(1) {
		t.Errorf("tree of %d nodes", tree.Len())
	}
}

func TestNewForgetsAttributesOfWhatIsNotStored(t *testing.T) {
	tree := revtree.New(revtree.Path{Start: 1, Hashes: []string{"a"}}, revtree.Node{Deleted: true, Kept: true, Seq: 1, Size: 2})
	if diff := cmp.Diff(revtree.Node{ID: id(t, "1-a"), Parent: -1}, tree.Node(0)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNewOfImpossiblePaths(t *testing.T) {
	for _, test := range []struct {
		path revtree.Path
		want string
	}{
		{revtree.Path{}, ""},
		{revtree.Path{Start: 3}, ""},
		{revtree.Path{Start: -1, Hashes: []string{"a"}}, ""},
		{revtree.Path{Start: math.MinInt, Hashes: []string{"a", "b"}}, ""},
		{revtree.Path{Start: 1, Hashes: []string{"c", "b", "a"}}, "0-b 1-c<0-b"},
		{revtree.Path{Start: math.MaxInt, Hashes: []string{"a"}}, "9223372036854775807-a"},
	} {
		if got := showTree(revtree.New(test.path, revtree.Node{})); got != test.want {
			t.Errorf("New(%v) = %q, want %q", test.path, got, test.want)
		}
	}
}

func TestFind(t *testing.T) {
	tree := grow(t, "3 c b a", "2 x a", "5 e d")
	for i := range tree.Len() {
		if at, found := tree.Find(tree.Node(i).ID); !found || at != i {
			t.Errorf("Find(%v) = %d, %t", tree.Node(i).ID, at, found)
		}
	}
	for _, unknown := range ids(t, "1-b 2-bb 4-c 6-a 0-a") {
		if at, found := tree.Find(unknown); found {
			t.Errorf("Find(%v) = %d", unknown, at)
		}
	}
	if _, found := (revtree.Tree{}).Find(id(t, "1-a")); found {
		t.Error("found in an empty tree")
	}
}

func TestTreePath(t *testing.T) {
	tree := grow(t, "3 c b a", "2 x a", "5 e d")
	for _, want := range []revtree.Path{
		{Start: 3, Hashes: []string{"c", "b", "a"}},
		{Start: 2, Hashes: []string{"x", "a"}},
		{Start: 1, Hashes: []string{"a"}},
		{Start: 5, Hashes: []string{"e", "d"}},
	} {
		i, found := tree.Find(want.Leaf())
		if !found {
			t.Fatalf("no %v", want.Leaf())
		}
		if diff := cmp.Diff(want, tree.Path(i)); diff != "" {
			t.Errorf("path of %v (-want +got):\n%s", want.Leaf(), diff)
		}
	}
}

func TestWith(t *testing.T) {
	tree := grow(t, "3 c b a")
	before := tree.AppendBinary(nil)
	changed := tree.With(2, revtree.Node{ID: id(t, "9-z"), Parent: 0, Stored: true, Seq: 4})
	if diff := cmp.Diff(revtree.Node{ID: id(t, "3-c"), Parent: 1, Stored: true, Seq: 4}, changed.Node(2)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !changed.IsLeaf(2) || changed.IsLeaf(1) {
		t.Error("With changed which node is the leaf")
	}
	if got := changed.With(2, revtree.Node{Deleted: true}).Node(2); got.Deleted {
		t.Error("a revision that is not stored is deleted")
	}
	if string(tree.AppendBinary(nil)) != string(before) {
		t.Error("With changed its receiver")
	}
}

func TestMissing(t *testing.T) {
	for _, test := range []struct {
		branches           []string
		ask                string
		missing, ancestors string
	}{
		{nil, "", "", ""},
		{nil, "2-y 1-x", "2-y 1-x", ""},
		{[]string{"3 c b a"}, "3-c", "", ""},
		{[]string{"3 c b a"}, "1-a 2-b 3-c", "", ""},
		{[]string{"3 c b a"}, "3-c 4-d", "4-d", "3-c"},
		{[]string{"3 c b a"}, "2-x", "2-x", ""},
		{[]string{"3 c b a"}, "3-x", "3-x", ""},
		{[]string{"2 b a", "2 c a"}, "2-b 3-q", "3-q", "2-c 2-b"},
		{[]string{"2 b a", "2 c a"}, "9-z", "9-z", "2-c 2-b"},
		{[]string{"2 b a", "5 x", "-3 c b2 a"}, "9-z 1-z", "9-z 1-z", "5-x 2-b 3-c"},
		{[]string{"2 b a", "5 x"}, "5-z", "5-z", "2-b"},
	} {
		missing, ancestors := grow(t, test.branches...).Missing(ids(t, test.ask))
		if show(missing) != test.missing || show(ancestors) != test.ancestors {
			t.Errorf("%q asked for %q: missing %q, ancestors %q; want %q, %q",
				test.branches, test.ask, show(missing), show(ancestors), test.missing, test.ancestors)
		}
	}
}

func TestLatest(t *testing.T) {
	tree := grow(t, "4 d c b a", "-4 x c b a", "2 q a", "7 z y")
	for ask, want := range map[string]string{
		"1-a": "4-d 2-q 4-x",
		"2-b": "4-d 4-x",
		"3-c": "4-d 4-x",
		"4-d": "4-d",
		"4-x": "4-x",
		"6-y": "7-z",
		"1-z": "",
		"8-z": "",
	} {
		if got := showNodes(tree.Latest(id(t, ask))); got != want {
			t.Errorf("Latest(%s) = %q, want %q", ask, got, want)
		}
	}
}

func TestLatestAreTheLeavesWithThatAncestor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := drawTree(t)
		for i := range tree.Len() {
			ancestor := tree.Node(i).ID
			var want []revtree.Leaf
			for _, leaf := range tree.Leaves() {
				if path := pathOf(tree, leaf.ID); contains(path, ancestor) {
					want = append(want, leaf)
				}
			}
			if diff := cmp.Diff(want, tree.Latest(ancestor)); diff != "" {
				t.Fatalf("Latest(%v) (-want +got):\n%s", ancestor, diff)
			}
		}
	})
}

func pathOf(tree revtree.Tree, id revtree.ID) revtree.Path {
	i, _ := tree.Find(id)
	return tree.Path(i)
}

func contains(p revtree.Path, id revtree.ID) bool {
	for i := range p.Len() {
		if p.At(i) == id {
			return true
		}
	}
	return false
}
