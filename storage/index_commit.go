package storage

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/golang/snappy"

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
	// Fresh says that none of Docs has rows in the index. The first updates of an index that is built from nothing are
	// fresh; until Finish is called it has no trees then.
	Fresh bool
}

// IndexDoc is a document and all its rows, by space, in the order in which they came. Without Spaces it has none.
type IndexDoc struct {
	ID     string
	Spaces [][]IndexRow
}

// A commit is written in several transactions if it is larger than this. Readers can see the first of them before the
// index's sequence moves on, but never only a part of one document's rows without being told (IndexState.Torn).
const indexCommitBytes = 1 << 20

// A document with more rows, or larger ones, has its rows written in pieces.
const (
	pieceRows  = 2000
	pieceBytes = 256 << 10
)

// Commit replaces the rows of documents and moves the index's sequence on. The index is made if it is not there. It
// returns ErrConflict if somebody else has changed the index meanwhile. What is committed is durable with the next sync
// of the store; until then a crash takes back the newest commits of the index, whole.
func (ix *Index) Commit(ctx context.Context, u IndexUpdate) error {
	if err := ix.db.gone(); err != nil {
		return err
	}
	if err := ix.db.store.roomy(); err != nil {
		return err
	}
	c := &indexCommit{ctx: ctx, ix: ix, fresh: u.Fresh}
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
		c.keys, c.header, err = ix.create(ctx)
	}
	if err == nil && c.header.seq != u.From {
		err = ErrConflict
	}
	if err != nil {
		return err
	}
	hasRows := func(s spaceHeader) bool { return s.rows > 0 }
	c.makeBare = u.Fresh && !c.header.bare && !slices.ContainsFunc(c.header.spaces, hasRows)
	id := ix.id.Load()
	c.kept = ix.db.store.nodes.take(id, c.header.append(nil))
	err = c.apply(u.Docs, func(h *header) {
		h.seq, h.purgeSeq, h.epoch = u.Seq, u.PurgeSeq, epoch
	})
	if err == nil {
		ix.db.store.nodes.give(id, c.header.append(nil), c.kept)
	}
	return err
}

// indexCommit is a commit under way.
type indexCommit struct {
	ctx      context.Context
	ix       *Index
	fresh    bool
	makeBare bool
	keys     keyspace
	header   *header // as it is on disk
	kept     *keptNodes

	// To be used again for each document:
	numbered []*IndexRow
	list     []source
	text     []byte
	briefs   []byte
	brief    []byte
}

// sources encodes what rows a document has into the memory of w.
func (c *indexCommit) sources(w *indexWrite, flags byte, list []source) []byte {
	c.text = appendSources(c.text[:0], list)
	return packSources(w.memory.take(1+snappy.MaxEncodedLen(len(c.text))), flags, c.text)
}

// indexWrite is one transaction: what it sets, and removes where the value is nil.
type indexWrite struct {
	header *header
	sets   []keyValue
	size   int
	memory arena // of keys and values
	nodes  []keptNode
}

type keptNode struct {
	id    uint64
	value []byte // nil: removed
}

// arena is memory for many small things that go away together.
type arena struct{ free []byte }

// take returns an empty slice with room for n bytes.
func (a *arena) take(n int) []byte {
	if n > len(a.free) {
		a.free = make([]byte, max(n, 64<<10))
	}
	b := a.free[:0:n]
	a.free = a.free[n:]
	return b
}

type keyValue struct{ key, value []byte }

func (w *indexWrite) set(key, value []byte) {
	w.sets = append(w.sets, keyValue{key, value})
	w.size += len(key) + len(value) + 32
}

// apply writes documents; last says what else the last transaction changes.
func (c *indexCommit) apply(docs []IndexDoc, last func(*header)) error {
	large := slices.IndexFunc(docs, func(d IndexDoc) bool { return isLarge(&d) })
	if large >= 0 {
		if large > 0 {
			if err := c.apply(docs[:large], func(*header) {}); err != nil {
				return err
			}
		}
		if err := c.large(&docs[large]); err != nil {
			return err
		}
		return c.apply(docs[large+1:], last)
	}
	w, err := c.plan(docs, last)
	if err == nil && (w.size <= indexCommitBytes || len(docs) < 2) {
		err = c.write(w)
	} else if err == nil {
		err = kv.ErrTooBig
	}
	if _, ok := errors.AsType[*hasPieces](err); ok {
		// Somewhere in docs is a document that had many rows before.
		if len(docs) == 1 {
			if err := c.large(&docs[0]); err != nil {
				return err
			}
			return c.apply(nil, last)
		}
	} else if !errors.Is(err, kv.ErrTooBig) || len(docs) < 2 {
		return outer(err)
	}
	half := len(docs) / 2
	if err := c.apply(docs[:half], func(*header) {}); err != nil {
		return err
	}
	return c.apply(docs[half:], last)
}

func isLarge(d *IndexDoc) bool {
	rows, size := 0, 0
	for _, space := range d.Spaces {
		rows += len(space)
		for i := range space {
			size += len(space[i].Key) + len(space[i].Value)
		}
	}
	return rows > pieceRows || size > pieceBytes
}

// write commits a transaction if the index is what it was when it was planned.
func (c *indexCommit) write(w *indexWrite) error {
	db := c.ix.db
	before := c.header.append(nil)
	err := db.store.engine.Update(c.ctx, func(tx kv.Tx) error {
		if err := db.alive(tx); err != nil {
			return err
		}
		now, err := tx.Get(c.keys.header())
		if errors.Is(err, kv.ErrNotFound) || err == nil && !bytes.Equal(now, before) {
			return ErrConflict
		}
		if err != nil {
			return err
		}
		for _, s := range w.sets {
			if s.value == nil {
				err = tx.Delete(s.key)
			} else {
				err = tx.Set(s.key, s.value)
			}
			if err != nil {
				return err
			}
		}
		return tx.Set(c.keys.header(), w.header.append(nil))
	})
	if err == nil {
		c.header = w.header
		for _, n := range w.nodes {
			c.kept.set(n.id, n.value)
		}
	}
	return err
}

// plan makes the transaction that gives documents their new rows.
func (c *indexCommit) plan(docs []IndexDoc, last func(*header)) (*indexWrite, error) {
	s, err := c.ix.db.Snapshot()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	w := &indexWrite{header: c.header.clone()}
	n := 0
	for i := range docs {
		for _, space := range docs[i].Spaces {
			n += len(space)
		}
	}
	w.sets = make([]keyValue, 0, n+len(docs)+64)
	if c.makeBare {
		w.header.bare = true
	}
	last(w.header)
	changes := make([][]rowChange, len(w.header.spaces))
	for i := range docs {
		if docs[i].ID == w.header.torn {
			w.header.torn = "" // a crash has left it without all of its rows
		}
		if err := c.diff(s.kv, w, &docs[i], changes); err != nil {
			return nil, err
		}
	}
	return w, c.finishPlan(s.kv, w, changes)
}

// finishPlan adds the changes of rows, and of the trees over them, to a transaction.
func (c *indexCommit) finishPlan(r kv.Reader, w *indexWrite, changes [][]rowChange) error {
	for space, list := range changes {
		sh := &w.header.spaces[space]
		for i := range list {
			ch := &list[i]
			if ch.gone {
				sub(&sh.rows, 1)
				sub(&sh.bytes, uint64(len(ch.position()))+ch.oldSize)
			}
			var value []byte
			if ch.new != nil {
				sh.rows++
				sh.bytes += uint64(len(ch.position()) + len(ch.new.Value))
				value = appendIndexRow(w.memory.take(len(ch.new.Value)+3), ch.new)
			}
			w.set(ch.key, value)
		}
		if w.header.bare || len(list) == 0 {
			continue
		}
		sortChanges(list)
		u := newTreeUpdate(c.ctx, r, c.keys, space, c.ix.spec.Spaces[space].Reducers, w.header)
		u.kept = c.kept
		err := u.apply(list)
		u.close()
		if err != nil {
			return err
		}
		for id, value := range u.nodes {
			w.set(c.keys.node(id), value)
			w.nodes = append(w.nodes, keptNode{id, value})
		}
	}
	return nil
}

// hasPieces says that a document has rows in several pieces.
type hasPieces struct{}

func (*hasPieces) Error() string { return "storage: the rows of a document lie in pieces" }

// sourcesOf returns what rows a document has, in the order of spaces and positions.
func (c *indexCommit) sourcesOf(r kv.Reader, id string) ([]source, error) {
	if c.fresh {
		return nil, nil
	}
	value, err := r.Get(c.keys.source(id, 0))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	flags, list, err := parseSources(value, c.keys, id, len(c.header.spaces))
	if err == nil && flags&sourceMore != 0 {
		err = &hasPieces{}
	}
	return list, err
}

// diff finds out how the rows of a document change. Both what was and what will be are in the order of compareSources.
func (c *indexCommit) diff(r kv.Reader, w *indexWrite, d *IndexDoc, changes [][]rowChange) error {
	old, err := c.sourcesOf(r, d.ID)
	if err != nil {
		return err
	}
	c.numbered, c.list = c.number(d, c.numbered[:0], c.list[:0], &w.memory)
	rows, list := c.numbered, c.list
	if len(old) == 0 && len(list) == 0 {
		return nil
	}
	same := len(old) == len(list)
	for i := range list {
		s := &list[i]
		for len(old) > 0 && compareSources(&old[0], s) < 0 {
			goes(&old[0], changes)
			old, same = old[1:], false
		}
		ch := rowChange{key: s.rowKey, new: rows[i]}
		if len(old) > 0 && compareSources(&old[0], s) == 0 {
			o := &old[0]
			old = old[1:]
			if o.hash == s.hash && o.size == s.size {
				continue
			}
			ch.gone, ch.oldSize, ch.brief = true, o.size, o.brief
		}
		same = false
		changes[s.space] = append(changes[s.space], ch)
	}
	for i := range old {
		goes(&old[i], changes)
	}
	switch {
	case same:
	case len(list) == 0:
		w.set(c.keys.source(d.ID, 0), nil)
	default:
		w.set(c.keys.source(d.ID, 0), c.sources(w, 0, list))
	}
	return nil
}

// goes notes that a row is removed.
func goes(s *source, changes [][]rowChange) {
	changes[s.space] = append(changes[s.space], rowChange{key: s.rowKey, gone: true, oldSize: s.size, brief: s.brief})
}

// large replaces the rows of a document that has many, a piece at a time: first the old ones go, last piece first, then
// the new ones come. What rows the document has is right after each piece, so that a crash in between does no harm: the
// sequence has not moved, and the document is indexed again.
func (c *indexCommit) large(d *IndexDoc) error {
	tear := func(h *header) { h.torn, h.bare = d.ID, h.bare || c.makeBare }
	pieces, err := c.pieces(d.ID)
	if err != nil {
		return err
	}
	for i := len(pieces) - 1; i >= 0; i-- {
		err := c.piece(tear, func(s *Snapshot, w *indexWrite, changes [][]rowChange) error {
			w.set(c.keys.source(d.ID, uint32(i)), nil)
			for j := range pieces[i] {
				goes(&pieces[i][j], changes)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	rows, list := c.number(d, nil, nil, &arena{})
	for piece := uint32(0); len(list) > 0; piece++ {
		n, size := 0, 0
		for n < len(list) && n < pieceRows && size < pieceBytes {
			size += len(list[n].rowKey) + int(list[n].size)
			n++
		}
		err := c.piece(tear, func(_ *Snapshot, w *indexWrite, changes [][]rowChange) error {
			w.set(c.keys.source(d.ID, piece), c.sources(w, sourceMore, list[:n]))
			for i := range n {
				s := &list[i]
				changes[s.space] = append(changes[s.space], rowChange{key: s.rowKey, new: rows[i]})
			}
			return nil
		})
		if errors.Is(err, kv.ErrTooBig) {
			return ErrTooLarge
		}
		if err != nil {
			return err
		}
		rows, list = rows[n:], list[n:]
	}
	return c.piece(func(h *header) { h.torn = "" }, func(*Snapshot, *indexWrite, [][]rowChange) error { return nil })
}

// pieces returns what rows a document has, by piece.
func (c *indexCommit) pieces(id string) (pieces [][]source, err error) {
	s, err := c.ix.db.Snapshot()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	prefix := c.keys.source(id, 0)
	prefix = prefix[:len(prefix)-4]
	it := s.kv.Iterate(kv.Range{Prefix: prefix})
	defer it.Close()
	for it.Next() {
		value, err := it.Value()
		if err != nil {
			return nil, outer(err)
		}
		_, list, err := parseSources(bytes.Clone(value), c.keys, id, len(c.header.spaces))
		if err != nil {
			return nil, err
		}
		pieces = append(pieces, list)
	}
	return pieces, outer(it.Err())
}

// piece commits a part of a document's rows.
func (c *indexCommit) piece(tear func(*header), fill func(*Snapshot, *indexWrite, [][]rowChange) error) error {
	s, err := c.ix.db.Snapshot()
	if err != nil {
		return err
	}
	defer s.Close()
	w := &indexWrite{header: c.header.clone()}
	tear(w.header)
	changes := make([][]rowChange, len(w.header.spaces))
	if err := fill(s, w, changes); err != nil {
		return err
	}
	if err := c.finishPlan(s.kv, w, changes); err != nil {
		return err
	}
	return outer(c.write(w))
}
