package revtree

import "fmt"

// Path is a revision and its ancestors as far as they are known, newest first:
// the shape of _revisions. Start is the generation of the newest; Hashes hold
// raw bytes as [ID] has them. The zero Path is empty.
type Path struct {
	Start  int
	Hashes []string
}

// Len is the number of revisions in p.
func (p Path) Len() int {
	return len(p.Hashes)
}

// At returns the revision i steps before the newest. It panics, as a slice
// does, unless 0 <= i < p.Len().
func (p Path) At(i int) ID {
	return ID{Gen: p.Start - i, Hash: p.Hashes[i]}
}

// Leaf returns the newest revision, or the zero ID if p is empty.
func (p Path) Leaf() ID {
	if len(p.Hashes) == 0 {
		return ID{}
	}
	return p.At(0)
}

// Newest returns the newest limit revisions of p, or p if it has no more; it
// shares memory with p. A branch of a stemmed tree may be longer than the limit
// where it shares ancestors with a shorter one. CouchDB cuts it here when it
// reads a document (_revisions), but not for _revs_info.
func (p Path) Newest(limit int) Path {
	limit = min(max(limit, 0), len(p.Hashes))
	return Path{Start: p.Start, Hashes: p.Hashes[:limit:limit]}
}

// Validate tells whether p can be the history of a document: not empty, no
// generation above [MaxGen] or below 1, and no hash longer than [MaxHash].
// Errors wrap [ErrInvalidID].
func (p Path) Validate() error {
	switch {
	case len(p.Hashes) == 0:
		return fmt.Errorf("%w: no revisions in the history", ErrInvalidID)
	case p.Start > MaxGen:
		return fmt.Errorf("%w: generation is too high", ErrInvalidID)
	case p.Start < len(p.Hashes):
		return fmt.Errorf("%w: more revisions than generations in the history", ErrInvalidID)
	}
	for _, hash := range p.Hashes {
		if len(hash) > MaxHash {
			return fmt.Errorf("%w: hash is longer than %d bytes", ErrInvalidID, MaxHash)
		}
	}
	return nil
}
