package storage

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// IndexUpdate is what Commit writes.
type IndexUpdate struct {
	// From is the sequence that the index reflects before, 0 if it is not there.
	From Seq
	// Seq and PurgeSeq are what the index reflects afterwards.
	Seq      Seq
	PurgeSeq uint64
	// Docs are the documents that have changed, each once.
	Docs []IndexDoc
}

// IndexDoc is a document and all its rows, by space, in the order in which they came. Without Spaces it has none.
type IndexDoc struct {
	ID     string
	Spaces [][]IndexRow
}

// A commit is written in several transactions of about this size if it is large. Readers can see the first of them before
// the index's sequence moves on, but never only a part of one document's rows without being told (IndexState.Torn).
const indexCommitBytes = 1 << 20

// A document with more rows, or larger ones, has its rows written in pieces.
const (
	pieceRows  = 2000
	pieceBytes = 256 << 10
)

// firstRows is how many rows a commit takes into its first transaction; how many fit depends on how far apart they lie.
const firstRows = 1000

// Commit replaces the rows of documents and moves the index's sequence on. The index is made if it is not there. It
// returns ErrConflict if somebody else has changed the index meanwhile, or a build was begun. What is committed is
// durable with the next sync of the store; until then a crash takes back the newest commits of the index, whole.
func (ix *Index) Commit(ctx context.Context, u IndexUpdate) error {
	if err := ix.db.gone(); err != nil {
		return err
	}
	if err := ix.db.store.roomy(); err != nil {
		return err
	}
	c := &indexCommit{ctx: ctx, ix: ix, rows: firstRows}
	s, err := ix.db.Snapshot()
	if err != nil {
		return err
	}
	c.keys, c.header, err = ix.lookup(s.kv)
	epoch := s.state.epoch
	s.Close()
	if errors.Is(err, ErrNotFound) {
		if u.From != 0 {
			return ErrConflict // it was dropped
		}
		c.keys, c.header, err = ix.create(ctx, nil)
	}
	if err == nil && (c.header.outdated || c.header.build != nil || c.header.seq != u.From) {
		err = ErrConflict
	}
	if err == nil && c.header.oldNodes != 0 {
		_, err = ix.tidy(ctx, c.keys, &c.header)
	}
	if err != nil {
		return err
	}
	id := ix.id.Load()
	c.kept = ix.db.store.nodes.take(id, c.header.append(nil))
	err = c.apply(u.Docs, func(h *header) {
		h.reached = reached{epoch: epoch, seq: u.Seq, purgeSeq: u.PurgeSeq}
	})
	if err == nil {
		ix.db.store.nodes.give(id, c.header.append(nil), c.kept)
	}
	return err
}

// indexCommit is a commit under way.
type indexCommit struct {
	ctx       context.Context
	ix        *Index
	keys      keyspace
	header    *header // as it is on disk
	kept      *keptNodes
	rows      int // of new ones that fit into a transaction, about
	numbering numbering
}

// indexWrite is one transaction: what it sets, and removes where the value is nil.
type indexWrite struct {
	header *header
	sets   []keyValue
	size   int
	memory arena // of values
	nodes  []keptNode
}

type keptNode struct {
	id    uint64
	value []byte // nil: removed
}

type keyValue struct{ key, value []byte }

func (w *indexWrite) set(key, value []byte) {
	w.sets = append(w.sets, keyValue{key, value})
	w.size += len(key) + len(value) + 32
}

// apply writes documents; last says what else the last transaction changes.
func (c *indexCommit) apply(docs []IndexDoc, last func(*header)) error {
	for {
		n, large := c.take(docs)
		if large {
			if err := c.large(&docs[0]); err != nil {
				return err
			}
			docs = docs[1:]
			continue
		}
		w, p, err := c.plan(docs[:n], func(h *header) {
			if n == len(docs) {
				last(h)
			}
		})
		if err == nil {
			err = c.write(w)
		}
		_, pieces := errors.AsType[*hasPieces](err)
		tooBig := errors.Is(err, kv.ErrTooBig)
		switch {
		case err == nil:
		case pieces && n > 1: // somewhere in docs is a document that had many rows before
			c.rows = 1
			continue
		case tooBig && p.docs > 1:
			c.rows = min(c.rows, p.rows) / 2
			continue
		case pieces || tooBig: // the document had many rows, or its rows lie far apart
			if err := c.large(&docs[0]); err != nil {
				return err
			}
			docs = docs[1:]
			continue
		default:
			return outer(err)
		}
		done := p.docs == len(docs)
		docs = docs[p.docs:]
		if done {
			return nil
		}
		c.rows = p.rows * indexCommitBytes / max(w.size, indexCommitBytes/8)
	}
}

// take returns how many documents go into the next transaction at most, or that the first of them goes alone.
func (c *indexCommit) take(docs []IndexDoc) (n int, large bool) {
	for rows := 0; n < len(docs); n++ {
		d := &docs[n]
		if d.isLarge() {
			return n, n == 0
		}
		rows++ // for the note
		for _, space := range d.Spaces {
			rows += len(space)
		}
		if n > 0 && rows > c.rows {
			break
		}
	}
	return n, false
}

// replace commits a header and sets nodes beside it, unless the index has another header than before.
func (ix *Index) replace(ctx context.Context, keys keyspace, before, next *header, sets []keyValue) error {
	was := before.append(nil)
	next.commits = before.commits + 1
	return outer(ix.db.store.engine.Update(ctx, func(tx kv.Tx) error {
		if err := ix.db.alive(tx); err != nil {
			return err
		}
		if err := hasHeader(tx, keys, was); err != nil {
			return err
		}
		if err := setAll(tx, sets); err != nil {
			return err
		}
		return tx.Set(keys.header(), next.append(nil))
	}))
}

// nodes sets nodes that nobody reads yet, or any more, unless the index has another header.
func (ix *Index) nodes(ctx context.Context, keys keyspace, h *header, sets []keyValue) error {
	is := h.append(nil)
	err := ix.db.store.engine.Update(ctx, func(tx kv.Tx) error {
		if err := hasHeader(tx, keys, is); err != nil {
			return err
		}
		return setAll(tx, sets)
	})
	if half := len(sets) / 2; half > 0 && errors.Is(err, kv.ErrTooBig) {
		if err := ix.nodes(ctx, keys, h, sets[:half]); err != nil {
			return err
		}
		return ix.nodes(ctx, keys, h, sets[half:])
	}
	return outer(err)
}

// hasHeader returns ErrConflict unless an index has that header: it may have been changed by others, or dropped.
func hasHeader(r kv.Reader, keys keyspace, is []byte) error {
	now, err := r.Get(keys.header())
	if errors.Is(err, kv.ErrNotFound) || err == nil && !bytes.Equal(now, is) {
		return ErrConflict
	}
	return err
}

func setAll(tx kv.Tx, sets []keyValue) error {
	for _, s := range sets {
		var err error
		if s.value == nil {
			err = tx.Delete(s.key)
		} else {
			err = tx.Set(s.key, s.value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// write commits a transaction if the index is what it was when it was planned.
func (c *indexCommit) write(w *indexWrite) error {
	err := c.ix.replace(c.ctx, c.keys, c.header, w.header, w.sets)
	if err == nil {
		c.header = w.header
		for _, n := range w.nodes {
			c.kept.set(n.id, n.value)
		}
	}
	return err
}

// plan makes the transaction that gives documents their new rows, or as many of them as have not too many old ones; all
// says what else it changes if these are all.
func (c *indexCommit) plan(docs []IndexDoc, all func(*header)) (*indexWrite, *indexPlan, error) {
	s, err := c.ix.db.Snapshot()
	if err != nil {
		return nil, &indexPlan{}, err
	}
	defer s.Close()
	w := &indexWrite{header: c.header.clone()}
	p := c.newPlan(s.kv, w)
	for p.docs < len(docs) && (p.docs == 0 || p.rows <= 2*c.rows) {
		d := &docs[p.docs]
		w.header.mend(d.ID) // a crash may have left it without all of its rows
		if err := p.document(d); err != nil {
			return nil, p, err
		}
		p.docs++
	}
	if p.docs == len(docs) {
		all(w.header)
	}
	return w, p, p.finish()
}

// indexPlan is a transaction that is being made.
type indexPlan struct {
	*indexCommit
	w       *indexWrite
	nodes   atomic.Uint64 // the next node's number
	notes   *treeUpdate
	changes [][]rowChange // by tree; the last are those of the notes
	docs    int           // how many documents are in it
	rows    int           // how many rows change, with the notes
}

func (c *indexCommit) newPlan(r kv.Reader, w *indexWrite) *indexPlan {
	p := &indexPlan{indexCommit: c, w: w, changes: make([][]rowChange, len(w.header.spaces)+1)}
	p.nodes.Store(w.header.nextNode)
	p.notes = p.tree(nil).update(r)
	return p
}

func (p *indexPlan) tree(reducers []IndexReducer) *treePlan {
	return &treePlan{ctx: p.ctx, db: p.ix.db, keys: p.keys, reducers: reducers, next: &p.nodes, kept: p.kept}
}

// finish adds what becomes of the trees to the transaction.
func (p *indexPlan) finish() error {
	updates := make([]*treeUpdate, len(p.changes))
	g := errgroup.Group{}
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, list := range p.changes {
		if len(list) == 0 {
			continue
		}
		g.Go(func() error {
			sortChanges(list)
			if i == len(p.w.header.spaces) {
				updates[i] = p.notes
				return p.notes.apply(&p.w.header.notes, list)
			}
			// Another snapshot will do: if the index changes meanwhile, this transaction comes to nothing.
			s, err := p.ix.db.Snapshot()
			if err != nil {
				return err
			}
			defer s.Close()
			updates[i] = p.tree(p.ix.spec.Spaces[i].Reducers).update(s.kv)
			return updates[i].apply(&p.w.header.spaces[i], list)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	p.w.header.nextNode = p.nodes.Load()
	for _, u := range updates {
		if u == nil {
			continue
		}
		for id, value := range u.nodes {
			p.w.set(p.keys.node(id), value)
			if !isLeaf(value) {
				p.w.nodes = append(p.w.nodes, keptNode{id, value})
			}
		}
	}
	return nil
}

// hasPieces says that a document has rows in several pieces.
type hasPieces struct{}

func (*hasPieces) Error() string { return "storage: the rows of a document lie in pieces" }

// noted returns which rows a document has, and where that is noted.
func (p *indexPlan) noted(id string) (n *note, position []byte, err error) {
	position = notePosition(nil, id, 0)
	r, ok, err := p.notes.lookup(&p.w.header.notes, position)
	if err != nil || !ok {
		return &note{}, position, err
	}
	n, err = parseNote(r.value, id, len(p.header.spaces))
	if err == nil && n.more {
		err = &hasPieces{}
	}
	return n, position, err
}

// document finds out how the rows of a document change.
func (p *indexPlan) document(d *IndexDoc) error {
	before, position, err := p.noted(d.ID)
	if err != nil {
		return err
	}
	rows, list := p.numbering.number(d)
	after := newNote(false, list)
	same := func(a, b source) bool { return compareSources(&a, &b) == 0 }
	if before.sum == after.sum && slices.EqualFunc(before.rows, list, same) {
		return nil
	}
	old := before.rows
	for i := range list {
		s := &list[i]
		for len(old) > 0 && compareSources(&old[0], s) < 0 {
			p.goes(&old[0])
			old = old[1:]
		}
		if len(old) > 0 && compareSources(&old[0], s) == 0 {
			old = old[1:]
		}
		p.comes(s, rows[i])
	}
	for i := range old {
		p.goes(&old[i])
	}
	p.note(position, after)
	return nil
}

func (p *indexPlan) goes(s *source) {
	p.rows++
	p.changes[s.space] = append(p.changes[s.space], rowChange{storedRow{position: s.position, key: s.key}, true})
}

func (p *indexPlan) comes(s *source, row *IndexRow) {
	p.rows++
	p.changes[s.space] = append(p.changes[s.space], rowChange{storedRow{s.position, s.key, row.Value}, false})
}

// note notes which rows a document has, or the piece of it that stands at the position.
func (p *indexPlan) note(position []byte, n *note) {
	c := rowChange{storedRow{position: position}, len(n.rows) == 0}
	if !c.gone {
		c.value = n.append(nil)
	}
	p.rows++
	notes := len(p.changes) - 1
	p.changes[notes] = append(p.changes[notes], c)
}

// large replaces the rows of a document that has many, a piece at a time: first the old ones go, last piece first, then
// the new ones come. What rows the document has is right after each piece, so that a crash in between does no harm: the
// sequence has not moved, and the document is indexed again.
func (c *indexCommit) large(d *IndexDoc) error {
	tear := func(h *header) { h.tear(d.ID) }
	pieces, err := c.pieces(d.ID)
	if err != nil {
		return err
	}
	for i := len(pieces) - 1; i >= 0; i-- {
		position := notePosition(nil, d.ID, uint32(i))
		for left := pieces[i].rows; len(left) > 0; {
			n, err := c.piece(len(left), tear, func(p *indexPlan, n int) {
				stay := len(left) - n
				p.note(position, &note{more: true, rows: left[:stay]}) // its sum does not matter: it is torn
				for j := range n {
					p.goes(&left[stay+j])
				}
			})
			if err != nil {
				return tooLarge(err)
			}
			left = left[:len(left)-n]
		}
	}
	rows, list := c.numbering.number(d)
	for number := uint32(0); len(list) > 0; number++ {
		n, err := c.piece(piece(list, rows), tear, func(p *indexPlan, n int) {
			p.note(notePosition(nil, d.ID, number), newNote(true, list[:n]))
			for i := range n {
				p.comes(&list[i], rows[i])
			}
		})
		if err != nil {
			return tooLarge(err)
		}
		rows, list = rows[n:], list[n:]
	}
	_, err = c.piece(0, func(h *header) { h.mend(d.ID) }, func(*indexPlan, int) {})
	return err
}

// tooLarge is an error of who cannot do with less.
func tooLarge(err error) error {
	if errors.Is(err, kv.ErrTooBig) {
		return ErrTooLarge
	}
	return err
}

// pieces returns what rows a document has, by piece.
func (c *indexCommit) pieces(id string) (pieces []*note, err error) {
	s, err := c.ix.db.Snapshot()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	prefix := appendIndexID(nil, id)
	w := newWalker(c.ctx, &nodeReader{kv: s.kv, keys: c.keys}, &c.header.notes, IndexRange{Start: prefix, End: kv.PrefixEnd(prefix)})
	for w.next() {
		n, err := parseNote(w.stored().value, id, len(c.header.spaces))
		if err != nil {
			return nil, err
		}
		pieces = append(pieces, n)
	}
	return pieces, w.err
}

// piece commits a part of a document's rows: n of them, or fewer if that is too much for a transaction. It returns how
// many.
func (c *indexCommit) piece(n int, tear func(*header), fill func(p *indexPlan, n int)) (int, error) {
	for {
		err := c.tryPiece(tear, func(p *indexPlan) { fill(p, n) })
		if n < 2 || !errors.Is(err, kv.ErrTooBig) {
			return n, outer(err)
		}
		n /= 2
	}
}

func (c *indexCommit) tryPiece(tear func(*header), fill func(*indexPlan)) error {
	s, err := c.ix.db.Snapshot()
	if err != nil {
		return err
	}
	defer s.Close()
	w := &indexWrite{header: c.header.clone()}
	tear(w.header)
	p := c.newPlan(s.kv, w)
	fill(p)
	if err := p.finish(); err != nil {
		return err
	}
	return c.write(w)
}
