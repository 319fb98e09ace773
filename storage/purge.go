package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"slices"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage/kv"
)

// Purge is one purge of a document.
type Purge struct {
	Seq  uint64
	ID   string
	Revs []revtree.ID // the leaves that were removed
}

// Purge removes leaves of documents, and their ancestors that no other leaf has, as if they had never been here. For
// each of ps, of which ID and Revs are read, it returns those of Revs that were leaves. Each document is atomic by
// itself. A purge is not replicated.
func (db *DB) Purge(ctx context.Context, ps []Purge) ([][]revtree.ID, error) {
	purged := make([][]revtree.ID, len(ps))
	var seq Seq
	for i, p := range ps {
		err := db.transact(ctx, func(tx kv.Tx, st *state) (err error) {
			purged[i], err = db.purge(tx, st, p)
			seq = st.seq
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if err := db.store.Sync(); err != nil {
		return nil, err
	}
	db.advance(seq)
	db.store.updates.note(db.name, UpdateChanged)
	return purged, nil
}

func (db *DB) purge(tx kv.Tx, st *state, p Purge) (purged []revtree.ID, err error) {
	b := &batch{db: db, tx: tx, state: *st}
	if err := b.enterEpoch(); err != nil {
		return nil, err
	}
	old, err := b.load(p.ID)
	if err != nil {
		return nil, err
	}
	for _, rev := range p.Revs {
		if i, ok := old.tree.Find(rev); ok && old.tree.IsLeaf(i) && !slices.Contains(purged, rev) {
			purged = append(purged, rev)
		}
	}
	if len(purged) > 0 {
		tree, removed := old.tree.Remove(purged)
		next, err := b.prune(p.ID, &old, tree, removed)
		if err != nil {
			return nil, err
		}
		if err := b.relog(p.ID, &old, next); err != nil {
			return nil, err
		}
	}
	b.state.purgeSeq++
	if err := tx.Set(db.keys.number(spacePurge, b.state.purgeSeq), appendPurge(nil, p.ID, p.Revs)); err != nil {
		return nil, err
	}
	*st = b.state
	return purged, db.applyRanks(tx, &b.ranks)
}

// relog writes what a purge has left of a document, at the end of the sequence. If nothing is left, the sequence
// moves on nevertheless, so that readers of _changes look again.
func (b *batch) relog(id string, old, next *docState) error {
	keys := b.db.keys
	if next.exists {
		next.rec.seq = b.state.seq + 1
		if err := b.save(id, old, next); err != nil {
			return err
		}
		return b.log(id, old, next.tree.Leaves())
	}
	if document.IsDesign(id) {
		if err := b.touchDesigns(); err != nil {
			return err
		}
	}
	b.state.account(id, old, next)
	if !old.rec.deleted {
		b.ranks.add(rankDocs, keys.doc(id), false)
	}
	was := keys.seq(old.rec.seq)
	b.ranks.add(rankSeqs, was, false)
	b.state.seq++
	if err := b.tx.Delete(keys.doc(id)); err != nil {
		return err
	}
	return b.tx.Delete(was)
}

// prune makes the state of a document of which only tree is to be left, and removes the bodies of gone, which are
// revisions that tree does not keep. The caller saves the state.
func (b *batch) prune(id string, old *docState, tree revtree.Tree, gone []revtree.ID) (*docState, error) {
	next := &docState{exists: tree.Len() > 0, tree: tree}
	if winner, ok := tree.Winner(); ok {
		next.rec = record{
			seq: old.rec.seq, winner: winner.ID, deleted: winner.Deleted, branching: len(tree.Leaves()) > 1,
			attached: old.rec.attached,
		}
		if old.rec.inline && winner.ID == old.rec.winner {
			next.rec.inline, next.rec.body = true, old.rec.body
		}
	}
	for i := range old.tree.Len() {
		n := old.tree.Node(i)
		if old.rec.attached == 0 || !old.tree.IsLeaf(i) || !slices.Contains(gone, n.ID) {
			continue
		}
		attachments, err := b.attachments(old, id, n.ID)
		if err != nil {
			return nil, err
		}
		for _, a := range attachments {
			sub(&next.rec.attached, uint64(a.EncodedLength))
		}
	}
	return next, b.forget(id, old, tree, gone, nil)
}

// forget removes the bodies of gone, revisions that tree does not keep, and the notes of attachments that only they
// had: neither what tree keeps nor the new revision, whose attachments are new.
func (b *batch) forget(id string, old *docState, tree revtree.Tree, gone []revtree.ID, new []document.Attachment) error {
	lost := map[address]struct{}{}
	for _, rev := range gone {
		attachments, err := b.attachments(old, id, rev)
		if err != nil {
			return err
		}
		for i := range attachments {
			lost[attachments[i].Address] = struct{}{}
		}
		if err := b.tx.Delete(b.db.keys.body(id, rev)); err != nil {
			return err
		}
	}
	for i := range new {
		delete(lost, new[i].Address)
	}
	for i := 0; i < tree.Len() && len(lost) > 0; i++ {
		n := tree.Node(i)
		if !n.Kept {
			continue
		}
		attachments, err := b.attachments(old, id, n.ID)
		if err != nil {
			return err
		}
		for i := range attachments {
			delete(lost, attachments[i].Address)
		}
	}
	for a := range lost {
		if err := b.tx.Delete(b.db.keys.reference(a, id)); err != nil {
			return err
		}
	}
	return nil
}

// attachments returns those of a revision, or none if its body is not there.
func (b *batch) attachments(s *docState, id string, rev revtree.ID) ([]document.Attachment, error) {
	body := s.rec.body
	if !s.rec.inline || rev != s.rec.winner {
		var err error
		if body, err = b.tx.Get(b.db.keys.body(id, rev)); errors.Is(err, kv.ErrNotFound) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
	}
	_, attachments, err := splitBody(body)
	return attachments, err
}

func appendPurge(b []byte, id string, revs []revtree.ID) []byte {
	b = appendText(b, id)
	for _, r := range revs {
		b = appendRev(b, r)
	}
	return b
}

func parsePurge(seq uint64, value []byte) (Purge, error) {
	c := textCursor{s: string(value)}
	p := Purge{Seq: seq, ID: c.text()}
	for c.s != "" {
		p.Revs = append(p.Revs, c.rev())
	}
	if c.bad {
		return Purge{}, corrupt("purge record", nil)
	}
	return p, nil
}

// PurgeSeq returns the number of the newest purge.
func (s *Snapshot) PurgeSeq() uint64 { return s.state.purgeSeq }

// Purges yields the purges after since that are remembered, oldest first.
func (s *Snapshot) Purges(ctx context.Context, since uint64) iter.Seq2[Purge, error] {
	return func(yield func(Purge, error) bool) {
		keys := s.db.keys
		it := s.kv.Iterate(kv.Range{Prefix: keys.space(spacePurge, 0), Start: keys.number(spacePurge, since+1)})
		defer it.Close()
		for it.Next() {
			value, err := it.Value()
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Purge{}, outer(err))
				return
			}
			p, err := parsePurge(binary.BigEndian.Uint64(it.Key()[spacePrefixLen:]), value)
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}
