package storage

import (
	"context"
	"errors"
	"iter"
	"strings"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage/kv"
)

// Snapshot is a database at one moment. It may be used by one goroutine at a time and must be closed. While it is
// open, what it shows stays on disk, but for the content of attachments that nobody else has any more; see
// HeldSnapshot.
type Snapshot struct {
	db    *DB
	kv    kv.Snapshot
	state state
	veil  func(*document.Document) error // see Veil
	held  bool                           // see HeldSnapshot
}

// Snapshot opens a snapshot of now.
func (db *DB) Snapshot() (*Snapshot, error) {
	if err := db.gone(); err != nil {
		return nil, err
	}
	snap, err := db.store.engine.Snapshot()
	if err != nil {
		return nil, outer(err)
	}
	return db.view(snap)
}

// view makes a snapshot of the database of one of the engine, which it closes if it fails.
func (db *DB) view(snap kv.Snapshot) (*Snapshot, error) {
	s := &Snapshot{db: db, kv: snap}
	var err error
	if s.state, err = db.readState(snap); err != nil {
		snap.Close()
		return nil, err
	}
	db.store.counters.snapshots.Add(1)
	return s, nil
}

// Close ends the snapshot.
func (s *Snapshot) Close() {
	s.kv.Close()
	s.db.store.counters.snapshots.Add(-1)
	if s.held {
		s.db.release()
	}
}

// Veil has show look at each document that is read from the snapshot from now on, before whoever reads it: show may
// change it, or return ErrNotFound to hide it. That there is a document of that id, and its revisions, stay visible;
// and what indexes hold of documents does not pass through it.
func (s *Snapshot) Veil(show func(*document.Document) error) { s.veil = show }

// Veiled tells whether documents may look other than they are; see Veil.
func (s *Snapshot) Veiled() bool { return s.veil != nil }

// shown lets the veil, if there is one, look at a document.
func (s *Snapshot) shown(d *document.Document) error {
	if s.veil == nil {
		return nil
	}
	return s.veil(d)
}

// Seq returns the newest update sequence of the snapshot.
func (s *Snapshot) Seq() Seq { return s.state.seq }

// DB returns the database.
func (s *Snapshot) DB() *DB { return s.db }

// Docs returns how many documents are not deleted.
func (s *Snapshot) Docs() uint64 { return s.state.docs }

// Row is a document in a listing or a look-up: its winner, and on demand the rest. It is valid until the next row
// of the listing or the end of its snapshot.
type Row struct {
	ID      string
	Rev     revtree.ID // the winner
	Deleted bool       // the winner is a tombstone
	Seq     Seq        // of the last change
	rec     record
	size    int // of the stored record
	snap    *Snapshot
}

func (s *Snapshot) row(id string, value []byte) (Row, error) {
	rec, err := parseRecord(value)
	if err != nil {
		return Row{}, err
	}
	return Row{ID: id, Rev: rec.winner, Deleted: rec.deleted, Seq: rec.seq, rec: rec, size: len(value), snap: s}, nil
}

// Lookup finds a document, deleted or not. It returns ErrNotFound if it was never there or has been purged.
func (s *Snapshot) Lookup(id string) (Row, error) {
	value, err := s.kv.Get(s.db.keys.doc(id))
	if err != nil {
		return Row{}, outer(err)
	}
	return s.row(id, value)
}

// Branching tells whether the document has more than one leaf.
func (r *Row) Branching() bool { return r.rec.branching }

// Tree returns the revision tree.
func (r *Row) Tree() (revtree.Tree, error) {
	t, err := revtree.Decode(r.rec.tree)
	if err != nil {
		return t, corrupt("revision tree of "+r.ID, err)
	}
	return t, nil
}

// Conflicts returns the live leaves beside the winner, in the order in which they would win.
func (r *Row) Conflicts() ([]revtree.ID, error) {
	if !r.rec.branching {
		return nil, nil
	}
	tree, err := r.Tree()
	if err != nil {
		return nil, err
	}
	var ids []revtree.ID
	for _, leaf := range tree.Leaves()[1:] {
		if leaf.Stored && !leaf.Deleted {
			ids = append(ids, leaf.ID)
		}
	}
	return ids, nil
}

// Document returns the winner. Its Revisions are not set. ErrNotFound is returned if its body is not there, which only
// forged histories bring about.
func (r *Row) Document() (*document.Document, error) {
	d := &document.Document{}
	return d, r.Read(d)
}

// Read is Document into d, whose Body's memory is used again; it is shared with nobody.
func (r *Row) Read(d *document.Document) error {
	*d = document.Document{ID: r.ID, Rev: r.Rev, Deleted: r.Deleted, Body: d.Body}
	if r.rec.inline {
		if err := parseBodyInto(d, r.rec.body); err != nil {
			return err
		}
		return r.snap.shown(d)
	}
	err := r.snap.readBody(d)
	if errors.Is(err, ErrCorrupt) && r.forgotten() {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	return r.snap.shown(d)
}

// forgotten tells whether the winner's body was never received, or compacted away before a forged history made a leaf
// of it again.
func (r *Row) forgotten() bool {
	tree, err := r.Tree()
	if err != nil {
		return false
	}
	winner, _ := tree.Winner()
	return !winner.Kept
}

// Revision returns the revision at node i of t, the row's tree, with as much of its ancestry as the revs limit says:
// where branches share ancestors the tree may know more. ErrNotFound is returned if its
// body is not there: never received, or compacted away.
func (r *Row) Revision(t revtree.Tree, i int) (*document.Document, error) {
	n := t.Node(i)
	if !n.Stored || !n.Kept {
		return nil, ErrNotFound
	}
	d := &document.Document{ID: r.ID, Rev: n.ID, Deleted: n.Deleted, Revisions: t.Path(i).Newest(r.snap.state.limit())}
	var err error
	if r.rec.inline && n.ID == r.Rev {
		err = parseBodyInto(d, r.rec.body)
	} else {
		err = r.snap.readBody(d)
	}
	if err != nil {
		return d, err
	}
	return d, r.snap.shown(d)
}

func (s *Snapshot) readBody(d *document.Document) error { return readBody(s.kv, s.db.keys, d) }

func readBody(r kv.Reader, keys keyspace, d *document.Document) error {
	value, err := r.Get(keys.body(d.ID, d.Rev))
	if errors.Is(err, kv.ErrNotFound) {
		return corrupt("revision "+d.Rev.String()+" of "+d.ID+" has no body", nil)
	}
	if err != nil {
		return outer(err)
	}
	return parseBodyInto(d, value)
}

// Range bounds a listing of documents by the bytes of their ids, in the direction of travel.
type Range struct {
	Start        string
	End          string
	HasEnd       bool
	ExclusiveEnd bool
	Descending   bool
	Prefix       string // only ids that start with it
	WithDeleted  bool
}

// Documents yields the documents of a range in order of their ids.
func (s *Snapshot) Documents(ctx context.Context, r Range) iter.Seq2[*Row, error] {
	return func(yield func(*Row, error) bool) {
		it := s.kv.Iterate(s.idRange(spaceDoc, r))
		defer it.Close()
		var row Row // one for all
		for n := 0; it.Next(); n++ {
			if n%256 == 0 && ctx.Err() != nil {
				yield(nil, ctx.Err())
				return
			}
			value, err := it.Value()
			if err != nil {
				yield(nil, outer(err))
				return
			}
			if row, err = s.row(string(it.Key()[spacePrefixLen:]), value); err != nil {
				yield(nil, err)
				return
			}
			if row.Deleted && !r.WithDeleted {
				continue
			}
			if !yield(&row, nil) {
				return
			}
		}
		if err := it.Err(); err != nil {
			yield(nil, outer(err))
		}
	}
}

// idRange turns a range of ids into one of keys.
func (s *Snapshot) idRange(space byte, r Range) kv.Range {
	b := bounds{prefix: s.db.keys.text(space, r.Prefix), hasEnd: r.HasEnd, exclusiveEnd: r.ExclusiveEnd, descending: r.Descending}
	// Bounds that lie outside the prefix are moved to its ends, or leave nothing.
	cut := func(bound string, isStart bool) (rest string, none bool) {
		switch {
		case strings.HasPrefix(bound, r.Prefix):
			return bound[len(r.Prefix):], false // also if nothing is left: that is the first id with the prefix
		case (bound < r.Prefix) == (isStart != r.Descending):
			return "", false
		}
		return "", true
	}
	var none bool
	if r.Start != "" {
		if b.start, none = cut(r.Start, true); none {
			return kv.Range{Prefix: b.prefix, Start: b.prefix, End: b.prefix}
		}
		b.hasStart = strings.HasPrefix(r.Start, r.Prefix)
	}
	if r.HasEnd {
		if b.end, none = cut(r.End, false); none {
			return kv.Range{Prefix: b.prefix, Start: b.prefix, End: b.prefix}
		}
		b.hasEnd = strings.HasPrefix(r.End, r.Prefix)
	}
	return b.kv()
}

// Partition is the figures of one partition.
type Partition struct {
	Docs, Deleted    uint64
	External, Active uint64 // bytes, as in Info
}

// Partition counts the documents of a partition, walking over all of them.
func (s *Snapshot) Partition(ctx context.Context, name string) (p Partition, err error) {
	var sum state
	for row, err := range s.Documents(ctx, Range{Prefix: name + ":", WithDeleted: true}) {
		if err != nil {
			return p, err
		}
		doc := docState{exists: true, rec: row.rec, size: row.size}
		if doc.tree, err = row.Tree(); err != nil {
			return p, err
		}
		sum.account(row.ID, &docState{}, &doc)
	}
	return Partition{sum.docs, sum.deleted, sum.external, sum.active}, nil
}
