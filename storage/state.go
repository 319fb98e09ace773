package storage

import (
	"encoding/binary"
	"errors"

	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage/kv"
)

// The names in a database's meta space.
const (
	metaState    = "state"
	metaEpochs   = "epochs"
	metaSecurity = "security"
	metaDesigns  = "designs"
)

// The limits of a new database, as CouchDB's.
const (
	DefaultRevsLimit        = 1000
	DefaultPurgedInfosLimit = 1000
)

// state is what every commit of a database reads and writes: its counters and limits.
type state struct {
	epoch            uint64 // in which it was last written
	seq              Seq
	purgeSeq         uint64
	docs, deleted    uint64
	external         uint64 // bytes of the bodies and attachments of all leaves, as clients sent them
	active           uint64 // bytes that they take up, with their trees
	stale            uint64 // bytes of superseded bodies that compaction would free
	revsLimit        uint64 // 0: the default
	purgedInfosLimit uint64 // 0: the default
}

const stateVersion = 1

func (s *state) append(b []byte) []byte {
	b = append(b, stateVersion)
	for _, n := range []uint64{s.epoch, uint64(s.seq), s.purgeSeq, s.docs, s.deleted, s.external, s.active, s.stale, s.revsLimit, s.purgedInfosLimit} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func parseState(b []byte) (s state, err error) {
	if len(b) == 0 || b[0] != stateVersion {
		return s, corrupt("database state", nil)
	}
	c := cursor{b: b[1:]}
	s.epoch, s.seq, s.purgeSeq = c.uvarint(), Seq(c.uvarint()), c.uvarint()
	s.docs, s.deleted = c.uvarint(), c.uvarint()
	s.external, s.active, s.stale = c.uvarint(), c.uvarint(), c.uvarint()
	s.revsLimit, s.purgedInfosLimit = c.uvarint(), c.uvarint()
	if c.bad {
		return s, corrupt("database state", nil)
	}
	return s, nil
}

func (s *state) limit() int {
	if s.revsLimit == 0 {
		return DefaultRevsLimit
	}
	return int(s.revsLimit)
}

// readState reads the state of a database, or returns ErrNoDatabase if it has been dropped.
func (db *DB) readState(r kv.Reader) (state, error) {
	value, err := r.Get(db.keys.meta(metaState))
	if errors.Is(err, kv.ErrNotFound) {
		return state{}, ErrNoDatabase
	}
	if err != nil {
		return state{}, outer(err)
	}
	return parseState(value)
}

// account adds the difference between two by-id values of one document to the counters.
func (s *state) account(id string, before, after *docState) {
	if before.exists {
		if before.rec.deleted {
			s.deleted--
		} else {
			s.docs--
		}
		sub(&s.active, before.active(id))
		sub(&s.external, before.external())
	}
	if after.exists {
		if after.rec.deleted {
			s.deleted++
		} else {
			s.docs++
		}
		s.active += after.active(id)
		s.external += after.external()
	}
}

// sub subtracts without going below zero: sizes are figures for people, and must not wrap around.
func sub(n *uint64, d uint64) { *n -= min(*n, d) }

// docState is a document as a writer sees it.
type docState struct {
	exists bool
	rec    record
	tree   revtree.Tree
	size   int // of the by-id value
}

func (d *docState) active(id string) uint64 {
	return uint64(d.size+len(id)) + d.rec.attached
}

func (d *docState) external() (n uint64) {
	for i := range d.tree.Len() {
		if d.tree.IsLeaf(i) {
			n += d.tree.Node(i).Size
		}
	}
	return n
}
