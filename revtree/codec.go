package revtree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrCorrupt is wrapped by the errors of [Decode].
var ErrCorrupt = errors.New("corrupt revision tree")

// The encoding is the version, the number of nodes, and the nodes in ascending
// order. A node is
//
//	flags                one byte
//	generation           less the node before's; absent with flagNext
//	parent               how many nodes before this one, at least 2; only with flagParent alone
//	length of the hash   absent with flagDigest
//	hash
//	seq, size            only with flagStored
//
// where numbers are varints in their shortest form. A tree has one encoding and
// Decode takes no other, so that equal trees are equal bytes.
const codecVersion = 1

const (
	flagDigest   = 1 << iota // the hash has 16 bytes
	flagNext                 // the generation is one more than the node before's
	flagParent               // it has a parent
	flagPrevious             // with flagParent: which is the node before
	flagStored
	flagDeleted
	flagKept
)

// minNode is the size of the shortest node: its flags and the length of its hash.
const minNode = 2

// AppendBinary appends the encoding of t, which [Decode] reads, to b.
func (t Tree) AppendBinary(b []byte) []byte {
	b = append(b, codecVersion)
	b = binary.AppendUvarint(b, uint64(len(t.nodes)))
	gen := 0
	for i := range t.nodes {
		n := &t.nodes[i]
		flags := flagsOf(n, i, gen)
		b = append(b, flags)
		if flags&flagNext == 0 {
			b = binary.AppendUvarint(b, uint64(n.ID.Gen-gen))
		}
		gen = n.ID.Gen
		if flags&(flagParent|flagPrevious) == flagParent {
			b = binary.AppendUvarint(b, uint64(i-n.Parent))
		}
		if flags&flagDigest == 0 {
			b = binary.AppendUvarint(b, uint64(len(n.ID.Hash)))
		}
		b = append(b, n.ID.Hash...)
		if n.Stored {
			b = binary.AppendUvarint(b, n.Seq)
			b = binary.AppendUvarint(b, n.Size)
		}
	}
	return b
}

// flagsOf returns the flags of node i, where gen is the generation of the node before.
func flagsOf(n *node, i, gen int) byte {
	flags := byte(0)
	set := func(flag byte, on bool) {
		if on {
			flags |= flag
		}
	}
	set(flagDigest, len(n.ID.Hash) == digestLen)
	set(flagNext, n.ID.Gen == gen+1)
	set(flagParent, n.Parent >= 0)
	set(flagPrevious, n.Parent >= 0 && n.Parent == i-1)
	set(flagStored, n.Stored)
	set(flagDeleted, n.Deleted)
	set(flagKept, n.Kept)
	return flags
}

// Decode reads a tree that [Tree.AppendBinary] wrote; b must be the whole of it
// and is not referred to afterwards. What it accepts encodes to the same bytes
// again. Errors wrap [ErrCorrupt].
func Decode(b []byte) (Tree, error) {
	if len(b) == 0 {
		return Tree{}, fmt.Errorf("%w: empty", ErrCorrupt)
	}
	if b[0] != codecVersion {
		return Tree{}, fmt.Errorf("%w: unknown version %d", ErrCorrupt, b[0])
	}
	// The hashes of all nodes are cut from one copy.
	d := decoder{bytes: b, text: string(b), at: 1}
	count := d.uvarint()
	if count > uint64(len(b)-d.at)/minNode {
		return Tree{}, fmt.Errorf("%w: %d nodes in %d bytes", ErrCorrupt, count, len(b))
	}
	nodes := make([]node, count)
	for i := range nodes {
		d.node(nodes, i)
		if d.fault != "" {
			return Tree{}, fmt.Errorf("%w: node %d: %s", ErrCorrupt, i, d.fault)
		}
	}
	if d.fault != "" {
		return Tree{}, fmt.Errorf("%w: %s", ErrCorrupt, d.fault)
	}
	if d.at != len(b) {
		return Tree{}, fmt.Errorf("%w: %d bytes too many", ErrCorrupt, len(b)-d.at)
	}
	return Tree{nodes: nodes}, nil
}

// decoder reads an encoding. The first thing that is wrong is noted in fault,
// after which what it returns has no meaning.
type decoder struct {
	bytes []byte
	text  string // the same
	at    int
	fault string
}

func (d *decoder) fail(fault string) {
	if d.fault == "" {
		d.fault = fault
	}
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.bytes[d.at:])
	if n <= 0 {
		d.fail("cut off or overlong number")
		return 0
	}
	d.at += n
	if n > 1 && d.bytes[d.at-1] == 0 {
		d.fail("number not in its shortest form")
	}
	return v
}

// node reads node i, into nodes, and checks it against those before.
func (d *decoder) node(nodes []node, i int) {
	if d.at == len(d.bytes) {
		d.fail("cut off")
		return
	}
	flags := d.bytes[d.at]
	d.at++
	n := &nodes[i]
	gen := 0
	if i > 0 {
		gen = nodes[i-1].ID.Gen
	}
	n.ID.Gen = d.generation(flags, gen)
	n.Parent = d.parent(flags, i)
	n.ID.Hash = d.hash(flags)
	n.Stored = flags&flagStored != 0
	n.Deleted = flags&flagDeleted != 0
	n.Kept = flags&flagKept != 0
	if n.Stored {
		n.Seq = d.uvarint()
		n.Size = d.uvarint()
	}
	switch {
	case d.fault != "":
	case flagsOf(n, i, gen) != flags:
		d.fail("flags contradict the node")
	case !n.Stored && (n.Deleted || n.Kept):
		d.fail("attributes without a body")
	case i > 0 && nodes[i-1].ID.Compare(n.ID) >= 0:
		d.fail("not in ascending order")
	case n.Parent >= 0 && nodes[n.Parent].ID.Gen != n.ID.Gen-1:
		d.fail("parent is not of the generation before")
	case n.Parent >= 0:
		nodes[n.Parent].inner = true
	}
}

func (d *decoder) generation(flags byte, before int) int {
	delta := uint64(1)
	if flags&flagNext == 0 {
		delta = d.uvarint()
	}
	if delta > uint64(math.MaxInt-before) {
		d.fail("generation is too high")
		return before
	}
	return before + int(delta)
}

// parent returns the index of the parent of node i, or -1 for none.
func (d *decoder) parent(flags byte, i int) int {
	back := uint64(1)
	switch flags & (flagParent | flagPrevious) {
	case 0:
		return -1
	case flagParent:
		back = d.uvarint()
	case flagPrevious:
		d.fail("flags contradict each other")
		return -1
	}
	if back == 0 || back > uint64(i) {
		d.fail("parent is not a node before")
		return -1
	}
	return i - int(back)
}

func (d *decoder) hash(flags byte) string {
	length := uint64(digestLen)
	if flags&flagDigest == 0 {
		length = d.uvarint()
	}
	if length > uint64(len(d.text)-d.at) {
		d.fail("hash is cut off")
		return ""
	}
	start := d.at
	d.at += int(length)
	return d.text[start:d.at]
}
