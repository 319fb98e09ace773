package document

import (
	"crypto/md5"
	"fmt"
	"hash"
	"sync"

	"github.com/mangrove-db/mangrove/revtree"
)

// A digester computes one revision id after the other without allocating.
type digester struct {
	hash hash.Hash
	buf  []byte
}

var digesters = sync.Pool{New: func() any { return &digester{hash: md5.New()} }}

// NextRev returns the revision id that CouchDB gives to this edit, so that the
// same edit made on two nodes is the same revision. Its parent is d.Rev, and
// every attachment must have its Digest set.
//
// The id is the MD5 of the Erlang external term, in minor version 1, of
// [Deleted, ParentGeneration, ParentHash, Body, Attachments], where the
// attachments are {Name, Type, MD5} in reverse order.
func (d *Document) NextRev() (revtree.ID, error) {
	term := d.term
	if term == nil {
		var err error
		if term, err = bodyTerm(d.Body); err != nil {
			return revtree.ID{}, err
		}
	}
	g := digesters.Get().(*digester)
	defer digesters.Put(g)
	g.hash.Reset()

	b := append(g.buf[:0], termVersion)
	b = appendListHeader(b, 5)
	b = appendAtom(b, d.Deleted)
	b = appendTermInt(b, false, uint64(max(d.Rev.Gen, 0)))
	if d.Rev.IsZero() {
		b = append(b, termSmallInt, 0)
	} else {
		b = appendBinary(b, d.Rev.Hash)
	}
	g.hash.Write(b)
	g.hash.Write(term)

	b = b[:0]
	if n := len(d.Attachments); n > 0 {
		b = appendListHeader(b, n)
		for i := n - 1; i >= 0; i-- {
			a := &d.Attachments[i]
			if a.Digest == ([16]byte{}) {
				return revtree.ID{}, fmt.Errorf("document: attachment %q has no digest", a.Name)
			}
			b = append(b, termSmallTuple, 3)
			b = appendBinary(b, a.Name)
			b = appendBinary(b, a.ContentType)
			b = appendBinaryHeader(b, len(a.Digest))
			b = append(b, a.Digest[:]...)
		}
	}
	b = append(b, termNil, termNil)
	g.hash.Write(b)
	b = g.hash.Sum(b[:0])
	g.buf = b
	return revtree.ID{Gen: d.Rev.Gen + 1, Hash: string(b)}, nil
}
