package storage

import (
	"context"
	"encoding/binary"
	"iter"

	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage/kv"
)

// Change is the newest change of one document.
type Change struct {
	Seq     Seq
	ID      string
	Deleted bool         // the winner is a tombstone
	Revs    []revtree.ID // all leaves, winner first
}

// ChangesOptions bound a walk over changes.
type ChangesOptions struct {
	Since      Seq // only later ones; with Descending, only later ones too, newest first
	Descending bool
}

// Changes yields the changes of the snapshot, one for each document, and ends at its present. It never blocks.
func (s *Snapshot) Changes(ctx context.Context, o ChangesOptions) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		keys := s.db.keys
		it := s.kv.Iterate(kv.Range{Prefix: keys.space(spaceSeq, 0), Start: keys.seq(o.Since + 1), Reverse: o.Descending})
		defer it.Close()
		for n := 0; it.Next(); n++ {
			if n%256 == 0 && ctx.Err() != nil {
				yield(Change{}, ctx.Err())
				return
			}
			value, err := it.Value()
			if err != nil {
				yield(Change{}, outer(err))
				return
			}
			c, err := parseChange(Seq(binary.BigEndian.Uint64(it.Key()[spacePrefixLen:])), value)
			if !yield(c, err) || err != nil {
				return
			}
		}
		if err := it.Err(); err != nil {
			yield(Change{}, outer(err))
		}
	}
}

// Missing is what a database lacks of the revisions that it was asked for.
type Missing struct {
	Revs              []revtree.ID
	PossibleAncestors []revtree.ID // leaves that may be ancestors of what is missing
}

// RevsDiff tells for one document which of revs are not there.
func (s *Snapshot) RevsDiff(id string, revs []revtree.ID) (Missing, error) {
	row, err := s.Lookup(id)
	if err != nil {
		if err == ErrNotFound {
			return Missing{Revs: revs}, nil
		}
		return Missing{}, err
	}
	tree, err := row.Tree()
	if err != nil {
		return Missing{}, err
	}
	var m Missing
	m.Revs, m.PossibleAncestors = tree.Missing(revs)
	return m, nil
}
