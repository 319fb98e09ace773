package revtree_test

import (
	"crypto/md5"
	"fmt"
	"testing"

	"github.com/mangrove-db/mangrove/revtree"
)

var (
	sinkTree  revtree.Tree
	sinkBytes []byte
	sinkIDs   []revtree.ID
)

func hashOf(n int) string {
	sum := md5.Sum(fmt.Append(nil, n))
	return string(sum[:])
}

// chain is a document edited n times.
func chain(n int) revtree.Tree {
	p := revtree.Path{Start: n}
	for i := range n {
		p.Hashes = append(p.Hashes, hashOf(n-i))
	}
	return revtree.New(p, revtree.Node{Stored: true, Kept: true, Seq: 1 << 20, Size: 800})
}

// comb is a document with n conflicting second revisions, and a third of each.
func comb(n int) revtree.Tree {
	branches := make([]revtree.Tree, n)
	for i := range branches {
		p := revtree.Path{Start: 3, Hashes: []string{hashOf(3 * i), hashOf(3*i + 1), hashOf(0)}}
		branches[i] = revtree.New(p, revtree.Node{Stored: true, Kept: true, Seq: uint64(i), Size: 800})
	}
	for len(branches) > 1 {
		half := (len(branches) + 1) / 2
		for i := half; i < len(branches); i++ {
			branches[i-half] = revtree.Merge(branches[i-half], branches[i])
		}
		branches = branches[:half]
	}
	return branches[0]
}

var shapes = []struct {
	name string
	tree revtree.Tree
}{
	{"chain=1", chain(1)},
	{"chain=5", chain(5)},
	{"chain=1000", chain(1000)},
	{"comb=1000", comb(1000)},
	{"comb=10000", comb(10000)},
}

// BenchmarkEdit adds a revision to the winner, as a PUT does.
func BenchmarkEdit(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			b.ReportAllocs()
			winner, _ := shape.tree.Winner()
			p := revtree.Path{Start: winner.ID.Gen + 1, Hashes: []string{hashOf(-1), winner.ID.Hash}}
			for b.Loop() {
				sinkTree, sinkIDs = shape.tree.Add(p, revtree.Node{Stored: true, Kept: true, Seq: 7}, 1000)
			}
		})
	}
}

// BenchmarkReplicate merges a tree with the same one.
func BenchmarkReplicate(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				sinkTree = revtree.Merge(shape.tree, shape.tree)
			}
		})
	}
}

func BenchmarkAppendBinary(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				sinkBytes = shape.tree.AppendBinary(sinkBytes[:0])
			}
			b.SetBytes(int64(len(sinkBytes)))
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			b.ReportAllocs()
			text := shape.tree.AppendBinary(nil)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				var err error
				if sinkTree, err = revtree.Decode(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLeaves(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				shape.tree.Leaves()
			}
		})
	}
}

func BenchmarkStem(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				sinkTree, sinkIDs = shape.tree.Stem(2)
			}
		})
	}
}

func BenchmarkMissing(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			b.ReportAllocs()
			var ask []revtree.ID
			for i := range shape.tree.Len() {
				ask = append(ask, shape.tree.Node(i).ID, revtree.ID{Gen: i, Hash: "unknown"})
			}
			for b.Loop() {
				sinkIDs, _ = shape.tree.Missing(ask)
			}
		})
	}
}

func BenchmarkParseID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := revtree.ParseID("12-" + digest); err != nil {
			b.Fatal(err)
		}
	}
}
