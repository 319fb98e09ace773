package revtree_test

import (
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/revtree"
)

// grow merges branches written as "3 c b a": the generation of the newest
// revision, and hashes from there back. The newest is stored, and deleted if
// the generation has a minus before it.
func grow(t testing.TB, branches ...string) revtree.Tree {
	t.Helper()
	var tree revtree.Tree
	for _, text := range branches {
		words := strings.Fields(text)
		gen, err := strconv.Atoi(strings.TrimPrefix(words[0], "-"))
		if err != nil {
			t.Fatal(err)
		}
		path := revtree.Path{Start: gen, Hashes: words[1:]}
		leaf := revtree.Node{Stored: true, Kept: true, Deleted: words[0][0] == '-'}
		tree = revtree.Merge(tree, revtree.New(path, leaf))
	}
	return tree
}

// id parses a revision that is known to be one.
func id(t testing.TB, text string) revtree.ID {
	t.Helper()
	parsed, err := revtree.ParseID(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func ids(t testing.TB, text string) []revtree.ID {
	t.Helper()
	var list []revtree.ID
	for word := range strings.FieldsSeq(text) {
		list = append(list, id(t, word))
	}
	return list
}

// show writes IDs with spaces between them.
func show(list []revtree.ID) string {
	words := make([]string, len(list))
	for i, id := range list {
		words[i] = id.String()
	}
	return strings.Join(words, " ")
}

func showNodes(nodes []revtree.Node) string {
	list := make([]revtree.ID, len(nodes))
	for i, n := range nodes {
		list[i] = n.ID
	}
	return show(list)
}

func showTree(tree revtree.Tree) string {
	var b strings.Builder
	for i := range tree.Len() {
		n := tree.Node(i)
		b.WriteString(n.ID.String())
		if n.Parent >= 0 {
			b.WriteString("<" + tree.Node(n.Parent).ID.String())
		}
		b.WriteByte(' ')
	}
	return strings.TrimSuffix(b.String(), " ")
}

// history is what editing made of one document: every revision has one parent.
type history struct {
	nodes []revtree.Node // Parent is an index here, below the node's own
}

// drawHistory makes a history of up to most revisions that branches at random
// and has, seldom, more than one root.
func drawHistory(t *rapid.T, most int) history {
	var h history
	for i := range rapid.IntRange(1, most).Draw(t, "revisions") {
		n := revtree.Node{
			Parent:  -1,
			Stored:  true,
			Deleted: rapid.IntRange(0, 3).Draw(t, "deleted") == 0,
			Kept:    rapid.Bool().Draw(t, "kept"),
			Seq:     rapid.Uint64().Draw(t, "seq"),
			Size:    uint64(i),
		}
		n.ID.Gen = 1
		if i > 0 && rapid.IntRange(0, 9).Draw(t, "root") > 0 {
			n.Parent = rapid.IntRange(max(0, i-6), i-1).Draw(t, "parent")
			n.ID.Gen = h.nodes[n.Parent].ID.Gen + 1
		}
		// The number makes the hash unique, what stands before it its order.
		n.ID.Hash = rapid.StringMatching(`[a-d]?`).Draw(t, "hash") + strconv.Itoa(i)
		if rapid.Bool().Draw(t, "digest") {
			n.ID.Hash += strings.Repeat("\xf0", 16-len(n.ID.Hash))
		}
		h.nodes = append(h.nodes, n)
	}
	return h
}

// path is revision i with up to length-1 of its ancestors.
func (h history) path(i, length int) revtree.Path {
	p := revtree.Path{Start: h.nodes[i].ID.Gen}
	for at := i; at >= 0 && p.Len() < length; at = h.nodes[at].Parent {
		p.Hashes = append(p.Hashes, h.nodes[at].ID.Hash)
	}
	return p
}

// deal draws branches of the history, some of them cut short, as replication
// hands them over.
func (h history) deal(t *rapid.T) []revtree.Tree {
	branches := make([]revtree.Tree, rapid.IntRange(0, 8).Draw(t, "branches"))
	for i := range branches {
		at := rapid.IntRange(0, len(h.nodes)-1).Draw(t, "revision")
		length := len(h.nodes)
		if rapid.Bool().Draw(t, "cut") {
			length = rapid.IntRange(1, 5).Draw(t, "length")
		}
		branches[i] = revtree.New(h.path(at, length), h.nodes[at])
	}
	return branches
}

// steps counts how many edits lead from one revision to another, or is -1 if
// the one is no ancestor of the other.
func (h history) steps(from, to revtree.ID) int {
	for i, n := range h.nodes {
		if n.ID != to {
			continue
		}
		for at, steps := i, 0; at >= 0; at, steps = h.nodes[at].Parent, steps+1 {
			if h.nodes[at].ID == from {
				return steps
			}
		}
	}
	return -1
}

func mergeAll(branches []revtree.Tree) revtree.Tree {
	var tree revtree.Tree
	for _, b := range branches {
		tree = revtree.Merge(tree, b)
	}
	return tree
}

func drawTree(t *rapid.T) revtree.Tree {
	return mergeAll(drawHistory(t, 40).deal(t))
}

// drawForgery makes trees that no honest history has: the same revision with
// different parents and attributes in each.
func drawForgery(t *rapid.T) revtree.Tree {
	branches := make([]revtree.Tree, rapid.IntRange(0, 5).Draw(t, "branches"))
	for i := range branches {
		p := revtree.Path{
			Start:  rapid.IntRange(0, 4).Draw(t, "start"),
			Hashes: rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "b", "abcdefghijklmnop"}), 0, 6).Draw(t, "hashes"),
		}
		branches[i] = revtree.New(p, revtree.Node{
			Deleted: rapid.Bool().Draw(t, "deleted"),
			Stored:  rapid.Bool().Draw(t, "stored"),
			Kept:    rapid.Bool().Draw(t, "kept"),
			Seq:     rapid.Uint64Range(0, 3).Draw(t, "seq"),
			Size:    rapid.Uint64Range(0, 3).Draw(t, "size"),
		})
	}
	return mergeAll(branches)
}
