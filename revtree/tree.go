package revtree

import (
	"slices"
	"sort"
)

// Node is one revision of a tree. Of a revision that is not stored only the ID
// and the parent are known, since it came as an ancestor of another: its other
// fields are zero.
type Node struct {
	ID      ID
	Parent  int    // index in the tree, always below the node's own; -1 for a root, original or stemmed
	Deleted bool   // it is a tombstone
	Stored  bool   // a body was written for it; Kept tells whether that is still there
	Kept    bool   // its body is still on disk
	Seq     uint64 // update sequence it was written at
	Size    uint64 // bytes of body text and attachments, as written
}

// Leaf is a node without children.
type Leaf = Node

// live tells whether n can be read as a document.
func (n *Node) live() bool {
	return n.Stored && !n.Deleted
}

// normal clears what has no meaning for a revision that is not stored, so that
// equal trees are equal in every field.
func (n Node) normal() Node {
	if n.Stored {
		return n
	}
	return Node{ID: n.ID, Parent: n.Parent}
}

// node adds what is derived from the other nodes.
type node struct {
	Node
	inner bool // it has children
}

// Tree holds the known revisions of one document, in ascending order of their
// IDs. The zero Tree is empty.
//
// A Tree does not change: every method that alters one returns a new one. Trees
// may share memory and may be used by several goroutines at once.
type Tree struct {
	nodes []node
}

// New returns the tree of a single branch. The newest revision of p takes
// Deleted, Stored, Kept, Seq and Size from leaf; its ancestors are known by name
// only. ID and Parent of leaf are ignored.
//
// New does not check p, which is for [Path.Validate] where p comes from outside;
// it leaves out revisions whose generation would be negative.
func New(p Path, leaf Node) Tree {
	if len(p.Hashes) == 0 || p.Start < 0 {
		return Tree{}
	}
	n := len(p.Hashes)
	if p.Start < n-1 {
		n = p.Start + 1
	}
	nodes := make([]node, n)
	for i := range nodes {
		nodes[i] = node{Node: Node{ID: p.At(n - 1 - i), Parent: i - 1}, inner: i < n-1}
	}
	leaf.ID, leaf.Parent = nodes[n-1].ID, nodes[n-1].Parent
	nodes[n-1].Node = leaf.normal()
	return Tree{nodes: nodes}
}

// Len is the number of revisions in t.
func (t Tree) Len() int {
	return len(t.nodes)
}

// Node returns revision i, counted from the lowest ID. It panics, as a slice
// does, unless 0 <= i < t.Len().
func (t Tree) Node(i int) Node {
	return t.nodes[i].Node
}

// Find returns the index of a revision and whether it is in t.
func (t Tree) Find(id ID) (int, bool) {
	i := search(t.nodes, id)
	if i < len(t.nodes) && t.nodes[i].ID == id {
		return i, true
	}
	return 0, false
}

// search returns how many of the nodes are below id.
func search(nodes []node, id ID) int {
	return sort.Search(len(nodes), func(i int) bool { return nodes[i].ID.Compare(id) >= 0 })
}

// IsLeaf tells whether node i has no children.
func (t Tree) IsLeaf(i int) bool {
	return !t.nodes[i].inner
}

// Path returns node i and its ancestors up to its root, newest first.
func (t Tree) Path(i int) Path {
	length := 0
	for at := i; at >= 0; at = t.nodes[at].Parent {
		length++
	}
	p := Path{Start: t.nodes[i].ID.Gen, Hashes: make([]string, 0, length)}
	for at := i; at >= 0; at = t.nodes[at].Parent {
		p.Hashes = append(p.Hashes, t.nodes[at].ID.Hash)
	}
	return p
}

// With returns a tree in which node i has the attributes of n: all but ID and
// Parent, which are ignored.
func (t Tree) With(i int, n Node) Tree {
	nodes := slices.Clone(t.nodes)
	n.ID, n.Parent = nodes[i].ID, nodes[i].Parent
	nodes[i].Node = n.normal()
	return Tree{nodes: nodes}
}

// Equal tells whether t and o hold the same revisions with the same parents and
// attributes.
func (t Tree) Equal(o Tree) bool {
	return slices.Equal(t.nodes, o.nodes)
}

// link derives from the parents which nodes have children.
func link(nodes []node) {
	for i := range nodes {
		nodes[i].inner = false
		if parent := nodes[i].Parent; parent >= 0 {
			nodes[parent].inner = true
		}
	}
}
