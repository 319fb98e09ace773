package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// An index is rows that are derived from the documents of a database: several ordered spaces of them, and the update
// sequence that they reflect. It has a key space like a database's, with an id from the same numbers, so that it is
// dropped as one; the database's index space names it by its signature.
//
//	10 index id:4 space key:
//
//	   h                         header: what the index is of, its sequence, the roots of its trees, a build under way
//	   t  node:8                 nodes of the trees; see index_node.go
//
// There is a tree for each space, of its rows; and one of notes, which tell for each document which rows it has. A
// row's position is its key, its document's id with 00 as 00 ff, 00 01, and, unless it is the first of its document with
// that key, its number among those in 3 bytes. A note's position is the document's id as above and the number of its
// piece in 4 bytes: there are several if the document has many rows.
const (
	spaceIndex   = 'i' // of the database
	spaceState   = 'h'
	spaceNode    = 't'
	indexVersion = 2
	maxIndexKey  = 16 << 10 // longer keys are cut, and told apart by a hash
)

// IndexSpec says what an index is.
type IndexSpec struct {
	// Signature names the index within its database: what has the same signature has the same rows.
	Signature string
	// Design is the id of a design document that asks for the index. It is kept for people to read.
	Design string
	// Spaces are ordered sets of rows.
	Spaces []IndexSpace
}

// IndexSpace is one ordered set of rows and what is reduced over it.
type IndexSpace struct{ Reducers []IndexReducer }

// IndexReducer reduces rows to a value. It must be deterministic and may be called by several goroutines. An error leaves the reduction out of the index: whoever asks for it later gets the
// error.
type IndexReducer interface {
	// Reduce reduces at least one row, in the order of rows.
	Reduce(ctx context.Context, rows []IndexRow) ([]byte, error)
	// Rereduce reduces at least one reduction, in the order of what they were reduced from.
	Rereduce(ctx context.Context, parts [][]byte) ([]byte, error)
}

// IndexRow is one row. Rows are ordered by Key, then by ID, then as they came.
type IndexRow struct {
	// Key is sortable bytes of which none is a prefix of another's, as collate.AppendKey makes them. A row that is read
	// has no more than the first 16 KiB of it.
	Key   []byte
	ID    string // of the document
	Value []byte // opaque
}

// Index is an index of a database. Its methods may be called by any goroutine, but those that write by one at a time.
type Index struct {
	db   *DB
	spec IndexSpec
	id   atomic.Uint32 // 0 until it has been looked up
}

// Index returns the index of that specification. It does not touch the disk.
func (db *DB) Index(spec IndexSpec) *Index {
	ix := &Index{db: db, spec: spec}
	if id, ok := db.indexIDs.Load(spec.Signature); ok {
		ix.id.Store(id.(uint32))
	}
	return ix
}

// know remembers the index's id, which counts as long as there is a header under it.
func (ix *Index) know(id uint32) {
	ix.id.Store(id)
	ix.db.indexIDs.Store(ix.spec.Signature, id)
}

// IndexState is how far an index has come.
type IndexState struct {
	Exists   bool
	Seq      Seq    // of the documents that it reflects
	Saved    Seq    // what it will reflect when the build that was begun ends with what it has saved; else Seq
	PurgeSeq uint64 // of the purges that it reflects
	// Stale says that the index shows what has been lost in a crash, missed purges that are forgotten, or is of a version
	// of old. It must be built anew, after a Reset.
	Stale bool
	// Torn says that rows of one document of later than Seq are partly there.
	Torn bool
	// Unfinished says that a build was begun, and waits to be gone on with; see Build. Until then the index is what it was
	// before.
	Unfinished bool
}

// IndexInfo describes an index that is on disk.
type IndexInfo struct {
	Signature string
	Design    string
	State     IndexState
	Rows      []uint64 // by space
	Size      uint64   // bytes on disk, about
}

// header is what an index knows of itself.
type header struct {
	outdated  bool // the version is older; of what follows signature and design alone are known
	signature string
	design    string
	reached
	commits  uint64   // how many there have been: no two states of an index have the same header
	torn     []string // documents of which some rows are there and others are not
	nextNode uint64   // the first number that no node has; what a build that was cut off has left there is written over
	oldNodes uint64   // nodes of lesser numbers are left of before the last build
	spaces   []treeHeader
	notes    treeHeader
	build    *buildHeader // nil: none is under way
}

// reached is how far an index has come.
type reached struct {
	epoch    uint64 // of the database when seq was reached
	seq      Seq
	purgeSeq uint64
}

// treeHeader is a tree.
type treeHeader struct {
	rows     uint64
	bytes    uint64 // of the rows' values and positions
	root     uint64 // the node at the top; 0: no rows
	height   uint64 // levels with that of the leaves; 0: no rows
	reducers uint64
}

// buildHeader is a build that was begun.
type buildHeader struct {
	reached
	pass uint64      // each start of the process that goes on with the build is one; the tree as it was is pass 0
	runs []runHeader // what they have come to, in the order in which they were made
}

const (
	headerTorn = 1 << iota
	headerBuild
)

func (h *header) append(b []byte) []byte {
	var flags byte
	if len(h.torn) > 0 {
		flags |= headerTorn
	}
	if h.build != nil {
		flags |= headerBuild
	}
	b = append(b, indexVersion, flags)
	b = appendText(b, h.signature)
	b = appendText(b, h.design)
	if len(h.torn) > 0 {
		b = binary.AppendUvarint(b, uint64(len(h.torn)))
		for _, id := range h.torn {
			b = appendText(b, id)
		}
	}
	b = binary.AppendUvarint(b, h.commits)
	b = h.reached.append(b)
	b = binary.AppendUvarint(b, h.nextNode)
	b = binary.AppendUvarint(b, h.oldNodes)
	b = binary.AppendUvarint(b, uint64(len(h.spaces)))
	for _, t := range h.spaces {
		b = t.append(b)
	}
	b = h.notes.append(b)
	if h.build != nil {
		b = h.build.append(b)
	}
	return b
}

func (r *reached) append(b []byte) []byte {
	b = binary.AppendUvarint(b, r.epoch)
	b = binary.AppendUvarint(b, uint64(r.seq))
	return binary.AppendUvarint(b, r.purgeSeq)
}

func (t *treeHeader) append(b []byte) []byte {
	for _, n := range [...]uint64{t.rows, t.bytes, t.root, t.height, t.reducers} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func (h *buildHeader) append(b []byte) []byte {
	b = h.reached.append(b)
	b = binary.AppendUvarint(b, h.pass)
	b = binary.AppendUvarint(b, uint64(len(h.runs)))
	for i := range h.runs {
		b = h.runs[i].append(b)
	}
	return b
}

func parseHeader(b []byte) (*header, error) {
	if len(b) < 2 || b[0] > indexVersion || b[0] == 0 {
		return nil, corrupt("index header", nil)
	}
	h := &header{outdated: b[0] < indexVersion}
	flags := b[1]
	c := cursor{b: b[2:]}
	h.signature, h.design = string(c.bytes()), string(c.bytes())
	if h.outdated {
		return h, nil
	}
	if flags&headerTorn != 0 {
		for n := c.uvarint(); n > 0 && !c.bad; n-- {
			h.torn = append(h.torn, string(c.bytes()))
		}
	}
	h.commits = c.uvarint()
	h.reached = parseReached(&c)
	h.nextNode, h.oldNodes = c.uvarint(), c.uvarint()
	n := c.uvarint()
	if c.bad || n > uint64(len(c.b)) {
		return nil, corrupt("index header", nil)
	}
	h.spaces = make([]treeHeader, n)
	for i := range h.spaces {
		h.spaces[i] = parseTreeHeader(&c)
	}
	h.notes = parseTreeHeader(&c)
	if flags&headerBuild != 0 {
		h.build = &buildHeader{reached: parseReached(&c), pass: c.uvarint()}
		for n := c.uvarint(); n > 0 && !c.bad; n-- {
			h.build.runs = append(h.build.runs, parseRunHeader(&c, len(h.spaces)+1))
		}
	}
	if c.bad {
		return nil, corrupt("index header", nil)
	}
	return h, nil
}

func parseReached(c *cursor) reached {
	return reached{epoch: c.uvarint(), seq: Seq(c.uvarint()), purgeSeq: c.uvarint()}
}

func parseTreeHeader(c *cursor) treeHeader {
	t := treeHeader{c.uvarint(), c.uvarint(), c.uvarint(), c.uvarint(), c.uvarint()}
	c.bad = c.bad || t.height > maxHeight || t.reducers > maxReducers
	return t
}

// More than any tree has.
const (
	maxHeight   = 64
	maxReducers = 1 << 16
)

func (h *header) clone() *header {
	c := *h
	c.spaces, c.torn = slices.Clone(h.spaces), slices.Clone(h.torn)
	if h.build != nil {
		b := *h.build
		b.runs = slices.Clone(b.runs)
		c.build = &b
	}
	return &c
}

// tear notes that a document's rows are not all there, mend that they are.
func (h *header) tear(id string) {
	if !slices.Contains(h.torn, id) {
		h.torn = append(h.torn, id)
	}
}

func (h *header) mend(id string) {
	h.torn = slices.DeleteFunc(h.torn, func(torn string) bool { return torn == id })
}

func (k keyspace) index(signature string) []byte { return k.text(spaceIndex, signature) }
func (k keyspace) header() []byte                { return k.space(spaceState, 0) }
func (k keyspace) node(n uint64) []byte          { return k.number(spaceNode, n) }

// IndexStart returns the position before all rows with key, or with keys that start with it.
func IndexStart(key []byte) []byte { return cutIndexKey(nil, key) }

// IndexEnd returns the position behind all rows with key, or with keys that start with it; nil if nothing can be
// behind.
func IndexEnd(key []byte) []byte { return kv.PrefixEnd(cutIndexKey(nil, key)) }

// IndexStartID returns the position before the rows with key of that document.
func IndexStartID(key []byte, id string) []byte { return appendIndexID(cutIndexKey(nil, key), id) }

// IndexEndID returns the position behind the rows with key of that document.
func IndexEndID(key []byte, id string) []byte { return kv.PrefixEnd(IndexStartID(key, id)) }

// lookup returns the index's key space and header, or ErrNotFound.
func (ix *Index) lookup(r kv.Reader) (keyspace, *header, error) {
	if id := ix.id.Load(); id != 0 {
		keys := newKeyspace(id)
		value, err := r.Get(keys.header())
		if err == nil {
			h, err := parseHeader(value)
			return keys, h, err
		}
		if !errors.Is(err, kv.ErrNotFound) {
			return keys, nil, outer(err)
		}
	}
	// Not known yet, or dropped since and perhaps made again.
	value, err := r.Get(ix.db.keys.index(ix.spec.Signature))
	if err != nil {
		return keyspace{}, nil, outer(err)
	}
	id, err := parseIndexEntry(value)
	if err != nil {
		return keyspace{}, nil, err
	}
	keys := newKeyspace(id)
	if value, err = r.Get(keys.header()); err != nil {
		if errors.Is(err, kv.ErrNotFound) {
			err = corrupt("an index without a header", nil)
		}
		return keys, nil, outer(err)
	}
	h, err := parseHeader(value)
	if err == nil && !h.outdated && len(h.spaces) != len(ix.spec.Spaces) {
		err = corrupt("an index with other spaces than its signature says", nil)
	}
	if err != nil {
		return keys, nil, err
	}
	ix.know(id)
	return keys, h, nil
}

func parseIndexEntry(value []byte) (uint32, error) {
	if len(value) != 4 {
		return 0, corrupt("entry of an index", nil)
	}
	return binary.BigEndian.Uint32(value), nil
}

// State returns how far the index has come. It need not exist.
func (ix *Index) State() (IndexState, error) {
	s, err := ix.db.Snapshot()
	if err != nil {
		return IndexState{}, err
	}
	defer s.Close()
	_, h, err := ix.lookup(s.kv)
	if errors.Is(err, ErrNotFound) {
		return IndexState{}, nil
	}
	if err != nil {
		return IndexState{}, err
	}
	return s.indexState(h)
}

func (s *Snapshot) indexState(h *header) (IndexState, error) {
	st := IndexState{Exists: true, Seq: h.seq, Saved: h.seq, PurgeSeq: h.purgeSeq, Torn: len(h.torn) > 0, Unfinished: h.build != nil}
	known, err := s.knows(&h.reached)
	if h.build != nil && known && err == nil {
		st.Saved = h.build.seq
		known, err = s.knows(&h.build.reached)
	}
	st.Stale = h.outdated || !known
	return st, err
}

// knows tells whether what an index has reached is in the snapshot, and what it has yet to follow is remembered.
func (s *Snapshot) knows(r *reached) (bool, error) {
	if r.seq > s.state.seq || r.seq > s.endOf(r.epoch) || r.purgeSeq > s.state.purgeSeq {
		return false, nil
	}
	if r.purgeSeq == s.state.purgeSeq {
		return true, nil
	}
	_, err := s.kv.Get(s.db.keys.number(spacePurge, r.purgeSeq+1))
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	return err == nil, outer(err)
}

// Reset makes the index empty, as if it had never been built. What it had is removed in the background.
func (ix *Index) Reset(ctx context.Context) error {
	if err := ix.db.DropIndex(ctx, ix.spec.Signature); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

// create makes the index's entry and a header that is empty but for the build.
func (ix *Index) create(ctx context.Context, build *buildHeader) (keyspace, *header, error) {
	db := ix.db
	h := &header{
		signature: ix.spec.Signature, design: ix.spec.Design, nextNode: 1, build: build,
		spaces: make([]treeHeader, len(ix.spec.Spaces)),
	}
	for i := range h.spaces {
		h.spaces[i].reducers = uint64(len(ix.spec.Spaces[i].Reducers))
	}
	var keys keyspace
	var id uint32
	err := db.store.engine.Update(ctx, func(tx kv.Tx) error {
		if err := db.alive(tx); err != nil {
			return err
		}
		if _, err := tx.Get(db.keys.index(ix.spec.Signature)); err == nil {
			return ErrExists
		} else if !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		var err error
		if id, err = nextID(tx); err != nil {
			return err
		}
		keys = newKeyspace(id)
		return errors.Join(
			tx.Set(db.keys.index(ix.spec.Signature), binary.BigEndian.AppendUint32(nil, id)),
			tx.Set(keys.header(), h.append(nil)),
		)
	})
	if err == nil {
		ix.know(id)
	}
	return keys, h, outer(err)
}

// nextID takes a number for a database or an index.
func nextID(tx kv.Tx) (uint32, error) {
	next := uint64(1)
	b, err := tx.Get(nodeKey("next"))
	if err == nil {
		if next, err = strconv.ParseUint(string(b), 10, 32); err != nil {
			return 0, corrupt("next database id", err)
		}
	} else if !errors.Is(err, kv.ErrNotFound) {
		return 0, err
	}
	return uint32(next), tx.Set(nodeKey("next"), strconv.AppendUint(nil, next+1, 10))
}

// Indexes describes the indexes of the database that are on disk, in the order of their signatures.
func (db *DB) Indexes() ([]IndexInfo, error) {
	s, err := db.Snapshot()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	entries, err := indexEntries(s.kv, db.keys)
	if err != nil {
		return nil, err
	}
	infos := make([]IndexInfo, 0, len(entries))
	for _, e := range entries {
		keys := newKeyspace(e.id)
		value, err := s.kv.Get(keys.header())
		if err != nil {
			return nil, outer(err)
		}
		h, err := parseHeader(value)
		if err != nil {
			return nil, err
		}
		info := IndexInfo{Signature: h.signature, Design: h.design, Size: db.store.engine.Usage(keys[:])}
		if info.State, err = s.indexState(h); err != nil {
			return nil, err
		}
		for _, sp := range h.spaces {
			info.Rows = append(info.Rows, sp.rows)
		}
		infos = append(infos, info)
	}
	return infos, nil
}

type indexEntry struct {
	signature string
	id        uint32
}

func indexEntries(r kv.Reader, keys keyspace) (entries []indexEntry, err error) {
	it := r.Iterate(kv.Range{Prefix: keys.space(spaceIndex, 0)})
	defer it.Close()
	for it.Next() {
		value, err := it.Value()
		if err != nil {
			return nil, outer(err)
		}
		id, err := parseIndexEntry(value)
		if err != nil {
			return nil, err
		}
		entries = append(entries, indexEntry{string(it.Key()[spacePrefixLen:]), id})
	}
	return entries, outer(it.Err())
}

// DropIndex removes an index, or returns ErrNotFound. Readers that have it open go on; its keys are removed in the
// background.
func (db *DB) DropIndex(ctx context.Context, signature string) error {
	err := db.store.engine.Update(ctx, func(tx kv.Tx) error {
		key := db.keys.index(signature)
		value, err := tx.Get(key)
		if err != nil {
			return err
		}
		id, err := parseIndexEntry(value)
		if err != nil {
			return err
		}
		// The header goes at once, so that nobody takes the index for one that is still there.
		return errors.Join(tx.Delete(key), tx.Delete(newKeyspace(id).header()), tx.Set(droppedKey(id), []byte(signature)))
	})
	if err != nil {
		return outer(err)
	}
	db.indexIDs.Delete(signature)
	db.store.work(db.store.removeDropped)
	return nil
}

// dropIndexes notes that the indexes of a database that is being deleted are to be removed.
func dropIndexes(tx kv.Tx, keys keyspace) error {
	entries, err := indexEntries(tx, keys)
	if err != nil {
		return err
	}
	for _, e := range entries {
		// Without a header nobody can go on with a build.
		if err := errors.Join(tx.Delete(newKeyspace(e.id).header()), tx.Set(droppedKey(e.id), []byte(e.signature))); err != nil {
			return err
		}
	}
	return nil
}
