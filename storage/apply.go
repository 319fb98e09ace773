package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage/kv"
)

// Mode says how a write finds its revision.
type Mode int

const (
	// Edit makes a new revision: the document's Rev names the parent, which must be a live leaf, or is zero for a
	// document that is new or whose winner is a tombstone. Anything else is an ErrConflict.
	Edit Mode = iota
	// Replicate puts a revision with its history where it belongs in the tree, as replication does. A revision that
	// is there already changes nothing.
	Replicate
)

// Write is a batch of documents. They are not changed; their bodies and revisions must stay as they are. Attachments
// must have been stored (their Address is set) unless they are stubs, which take over what an ancestor has.
//
// Attachments that come with an edit, inline or in a part of their own, or without a position get the position of the
// new revision. Others keep theirs: stubs that of the ancestor, and copies that of the document they are from.
type Write struct {
	Docs []*document.Document
	Mode Mode
	// Validator, if it is not nil, is asked before documents other than design documents are written.
	Validator Validator
}

// Result tells what became of one document of a Write.
type Result struct {
	ID  string
	Rev revtree.ID // the new revision; with an error, the one that was refused, if known
	Err error      // nil, ErrConflict, *MissingStubError, ErrTooLarge, …
}

// Apply writes documents and returns one result for each, in their order, when what was written is durable. Each
// document is atomic by itself, the batch is not. The error is set if the writes could not be tried or not be made
// durable; then no result counts.
func (db *DB) Apply(ctx context.Context, w Write) ([]Result, error) {
	if w.Validator != nil {
		return db.applyValid(ctx, w)
	}
	return db.write(ctx, w, func(int) verdict { return verdict{} })
}

// write is Apply without asking the Validator. The verdict on each document says what the writer has to check.
func (db *DB) write(ctx context.Context, w Write, verdicts func(i int) verdict) ([]Result, error) {
	r, err := db.submit(w, verdicts)
	if err != nil {
		return nil, err
	}
	select {
	case <-r.done:
		return r.results, r.err
	case <-ctx.Done():
		// The writer may have begun: whether the documents were written is not known to the caller, as with any
		// request that is given up.
		return nil, ctx.Err()
	}
}

// ApplyLater takes documents to be written soon, without telling what became of them. Commit waits for them. Where
// documents are validated it waits itself; rules that come while the documents wait do not count for them.
func (db *DB) ApplyLater(ctx context.Context, w Write) error {
	if w.Validator != nil {
		rules, _, err := db.rules(ctx, w.Validator)
		if err != nil {
			return err
		}
		if rules != nil {
			_, err := db.applyValid(ctx, w)
			return err
		}
	}
	_, err := db.submit(w, func(int) verdict { return verdict{} })
	return err
}

func (db *DB) submit(w Write, verdicts func(i int) verdict) (*request, error) {
	if err := db.gone(); err != nil {
		return nil, err
	}
	// Tombstones may be written for longer than other documents: they are how space is freed.
	if err := db.store.changeable(); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(w.Docs, func(d *document.Document) bool { return !d.Deleted }) {
		if err := db.store.writable(); err != nil {
			return nil, err
		}
	}
	r := &request{results: make([]Result, len(w.Docs)), done: make(chan struct{})}
	items := make([]item, len(w.Docs))
	docs := make([]document.Document, len(w.Docs))
	for i, d := range w.Docs {
		// A copy, because a caller who gives up waiting takes the document back, while the writer may be at it.
		docs[i] = *d
		docs[i].Attachments = slices.Clone(d.Attachments)
		r.results[i].ID = d.ID
		items[i] = item{doc: &docs[i], parent: d.Rev, attachments: slices.Clone(d.Attachments), body: compressBody(d.Body), mode: w.Mode, verdict: verdicts(i), request: r, result: &r.results[i]}
	}
	r.pending.Store(int64(len(items)))
	if len(items) == 0 {
		close(r.done)
		return r, nil
	}
	if err := db.writer.add(items); err != nil {
		return nil, err
	}
	return r, nil
}

// item is one document on its way through the writer; without a document it marks a place in the queue.
type item struct {
	doc         *document.Document
	parent      revtree.ID            // doc.Rev as sent: a transaction that is tried again starts from it
	attachments []document.Attachment // likewise
	body        compressed
	mode        Mode
	verdict     verdict
	request     *request
	result      *Result
}

func (it *item) size() int {
	if it.doc == nil {
		return 0
	}
	return len(it.body.text) + len(it.doc.ID)*3 + 256
}

// batch is one transaction of the writer.
type batch struct {
	db    *DB
	tx    kv.Tx
	state state
	ranks rankChanges

	generation struct { // of the design documents
		number        uint64
		read, changed bool
	}
}

// put writes one document. Its refusal is a result; an error ends the transaction.
func (b *batch) put(it *item) error {
	it.doc.Rev = it.parent
	copy(it.doc.Attachments, it.attachments)
	err := b.place(it)
	var stub *MissingStubError
	switch {
	case err == nil:
		*it.result = Result{ID: it.doc.ID, Rev: it.doc.Rev}
	case errors.Is(err, ErrConflict), errors.As(err, &stub), errors.Is(err, errRefused), err == errUnsettled:
		*it.result = Result{ID: it.doc.ID, Rev: it.doc.Rev, Err: err}
	default:
		return err
	}
	return nil
}

// errRefused marks refusals that have no error of their own.
var errRefused = errors.New("document refused")

func (b *batch) place(it *item) error {
	d := it.doc
	old, err := b.load(d.ID)
	if err != nil {
		return err
	}
	path := d.Revisions
	if it.mode == Edit {
		parent, err := b.parent(&old, d)
		if err != nil {
			return err
		}
		d.Rev = parent
		if err := b.resolveStubs(&old, d, revtree.Path{Start: parent.Gen, Hashes: []string{parent.Hash}}); err != nil {
			return err
		}
		placeNew(d, parent.Gen+1)
		rev, err := d.NextRev()
		if err != nil {
			return fmt.Errorf("%w: %w", errRefused, err)
		}
		path = revtree.Path{Start: rev.Gen, Hashes: []string{rev.Hash}}
		if !parent.IsZero() {
			path.Hashes = append(path.Hashes, parent.Hash)
		}
		d.Rev = rev
	} else {
		if path.Len() == 0 {
			path = revtree.Path{Start: d.Rev.Gen, Hashes: []string{d.Rev.Hash}}
		}
		d.Rev = path.Leaf()
		if i, ok := old.tree.Find(d.Rev); ok && old.tree.Node(i).Stored {
			return b.lengthen(d.ID, &old, i, path)
		}
		if err := b.resolveStubs(&old, d, path); err != nil {
			return err
		}
	}
	if settled, err := b.settled(it, &old, path); err != nil {
		return err
	} else if !settled {
		return errUnsettled
	}
	return b.graft(it, &old, path)
}

// placeNew gives the attachments that come with an edit their position.
func placeNew(d *document.Document, generation int) {
	for i := range d.Attachments {
		if a := &d.Attachments[i]; a.Data != nil || a.Follows || a.RevPos == 0 {
			a.RevPos = generation
		}
	}
}

// lengthen takes over what a revision that is there already brings of its history beyond what the tree knows: it may
// join branches that arrived apart. In what order revisions arrive must not matter.
func (b *batch) lengthen(id string, old *docState, i int, path revtree.Path) error {
	known := old.tree.Path(i).Len()
	if path.Len() <= known || known >= b.state.limit() {
		return nil
	}
	tree, dropped := old.tree.Add(path, old.tree.Node(i), b.state.limit())
	if tree.Equal(old.tree) {
		return nil
	}
	winner, ok := tree.Winner()
	if !ok {
		return corrupt("revision tree of "+id, nil)
	}
	leaves := tree.Leaves()
	next := docState{exists: true, tree: tree}
	next.rec = record{winner: winner.ID, deleted: winner.Deleted, branching: len(leaves) > 1, attached: old.rec.attached}
	if winner.ID == old.rec.winner && old.rec.inline {
		next.rec.inline, next.rec.body = true, old.rec.body
	} else if err := b.moveOut(id, old, tree); err != nil {
		return err
	}
	if err := b.supersede(old, &next, id); err != nil {
		return err
	}
	if err := b.uncover(old, &next, id, leaves); err != nil {
		return err
	}
	if err := b.forget(id, old, tree, dropped, nil); err != nil {
		return err
	}
	return b.relog(id, old, &next)
}

// moveOut gives the body of the former winner, which lies in the record, a place of its own.
func (b *batch) moveOut(id string, old *docState, tree revtree.Tree) error {
	if _, left := tree.Find(old.rec.winner); !left || !old.rec.inline {
		return nil
	}
	return b.tx.Set(b.db.keys.body(id, old.rec.winner), old.rec.body)
}

func (b *batch) load(id string) (s docState, err error) {
	value, err := b.tx.Get(b.db.keys.doc(id))
	if errors.Is(err, kv.ErrNotFound) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	s.exists, s.size = true, len(value)
	if s.rec, err = parseRecord(value); err != nil {
		return s, err
	}
	if s.tree, err = revtree.Decode(s.rec.tree); err != nil {
		return s, corrupt("revision tree of "+id, err)
	}
	return s, nil
}

// parent finds the revision that an edit extends. CouchDB lets an edit without a revision go on from a tombstone,
// and refuses one that names a tombstone, unless that is a leaf beside a live one.
func (b *batch) parent(old *docState, d *document.Document) (revtree.ID, error) {
	switch {
	case !old.exists && d.Rev.IsZero():
		return revtree.ID{}, nil
	case !old.exists:
		return d.Rev, ErrConflict
	case d.Rev.IsZero():
		if old.rec.deleted && !d.Deleted {
			return old.rec.winner, nil
		}
		return d.Rev, ErrConflict
	}
	i, ok := old.tree.Find(d.Rev)
	if !ok || !old.tree.IsLeaf(i) || old.tree.Node(i).Deleted && old.rec.deleted {
		return d.Rev, ErrConflict
	}
	return d.Rev, nil
}

// resolveStubs gives stubs the content that the nearest ancestor on path has under their name.
func (b *batch) resolveStubs(old *docState, d *document.Document, path revtree.Path) error {
	if !slices.ContainsFunc(d.Attachments, isStub) {
		return nil
	}
	var source *document.Document
	for i := range path.Len() {
		n, ok := old.tree.Find(path.At(i))
		if !ok || !old.tree.Node(n).Kept {
			continue
		}
		ancestor, err := b.read(old, d.ID, old.tree.Node(n))
		if err != nil {
			return err
		}
		source = ancestor
		break
	}
	return fillStubs(d, source)
}

func isStub(a document.Attachment) bool { return a.Stub }

// fillStubs gives stubs the content that source has under their name; without a source there is none. A stub that says
// which generation it is of must say what source does: otherwise it means other content.
func fillStubs(d, source *document.Document) error {
	var known []document.Attachment
	if source != nil {
		known = source.Attachments
	}
next:
	for i := range d.Attachments {
		a := &d.Attachments[i]
		if !a.Stub {
			continue
		}
		for _, k := range known {
			if k.Name == a.Name && (a.RevPos == 0 || a.RevPos == k.RevPos) {
				k.Stub = true
				*a = k
				continue next
			}
		}
		return &MissingStubError{d.ID, a.Name}
	}
	return nil
}

func (b *batch) read(s *docState, id string, n revtree.Node) (*document.Document, error) {
	d := &document.Document{ID: id, Rev: n.ID, Deleted: n.Deleted}
	if s.rec.inline && n.ID == s.rec.winner {
		return d, parseBodyInto(d, s.rec.body)
	}
	return d, readBody(b.tx, b.db.keys, d)
}

// inlineLimit is the size up to which a winner's body lies beside its tree, where one read finds both.
const inlineLimit = 8 << 10

// graft merges the revision into the document's tree and writes all that changes with it.
func (b *batch) graft(it *item, old *docState, path revtree.Path) error {
	d, keys := it.doc, b.db.keys
	node := revtree.Node{Deleted: d.Deleted, Stored: true, Kept: true, Seq: uint64(b.state.seq) + 1, Size: uint64(len(d.Body))}
	var stored uint64
	for i := range d.Attachments {
		node.Size += uint64(d.Attachments[i].Length)
		stored += uint64(d.Attachments[i].EncodedLength)
	}
	tree, dropped := old.tree.Add(path, node, b.state.limit())
	place, known := tree.Find(d.Rev)
	if !known {
		return nil // an ancestor older than what is remembered
	}
	// First, because it may refuse the document.
	if err := b.refer(d); err != nil {
		return err
	}
	if !tree.IsLeaf(place) {
		// An ancestor whose descendant came first: superseded from the start.
		b.state.stale += uint64(len(d.Body))
		stored = 0
	}

	winner, ok := tree.Winner()
	if !ok {
		return corrupt("revision tree of "+d.ID, nil)
	}
	leaves := tree.Leaves()
	body := appendBody(make([]byte, 0, len(it.body.text)+32), it.body, d.Attachments)

	next := docState{exists: true, tree: tree}
	next.rec = record{
		seq: b.state.seq + 1, winner: winner.ID, deleted: winner.Deleted, branching: len(leaves) > 1,
		attached: old.rec.attached + stored,
	}
	switch {
	case winner.ID == d.Rev && len(body) <= inlineLimit:
		next.rec.inline, next.rec.body = true, body
	case winner.ID == old.rec.winner && old.rec.inline:
		next.rec.inline, next.rec.body = true, old.rec.body
	}
	if !next.rec.inline || winner.ID != d.Rev {
		if err := b.tx.Set(keys.body(d.ID, d.Rev), body); err != nil {
			return err
		}
	}
	if winner.ID != old.rec.winner {
		if err := b.moveOut(d.ID, old, tree); err != nil {
			return err
		}
	}
	if err := b.supersede(old, &next, d.ID); err != nil {
		return err
	}
	if err := b.uncover(old, &next, d.ID, leaves); err != nil {
		return err
	}
	if err := b.stem(old, d, tree, dropped); err != nil {
		return err
	}
	if err := b.save(d.ID, old, &next); err != nil {
		return err
	}
	return b.log(d.ID, old, leaves)
}

// supersede takes leaves that have become ancestors out of the sizes of what is live.
func (b *batch) supersede(old, next *docState, id string) error {
	for i := range old.tree.Len() {
		n := old.tree.Node(i)
		if !old.tree.IsLeaf(i) || !n.Kept {
			continue
		}
		if j, ok := next.tree.Find(n.ID); ok && next.tree.IsLeaf(j) {
			continue
		}
		if old.rec.attached == 0 {
			b.state.stale += n.Size
			continue
		}
		was, err := b.read(old, id, n)
		if err != nil {
			return err
		}
		b.state.stale += uint64(len(was.Body))
		for _, a := range was.Attachments {
			sub(&next.rec.attached, uint64(a.EncodedLength))
		}
	}
	return nil
}

// uncover is the opposite of supersede: a forged history can give the only child of a revision another parent, which
// makes a leaf of it again.
func (b *batch) uncover(old, next *docState, id string, leaves []revtree.Leaf) error {
	for _, l := range leaves {
		if i, ok := old.tree.Find(l.ID); !ok || old.tree.IsLeaf(i) || !old.tree.Node(i).Kept {
			continue
		}
		sub(&b.state.stale, l.Size)
		attachments, err := b.attachments(old, id, l.ID)
		if err != nil {
			return err
		}
		for i := range attachments {
			next.rec.attached += uint64(attachments[i].EncodedLength)
		}
	}
	return nil
}

// stem removes the bodies of revisions that the revs limit makes the document forget.
func (b *batch) stem(old *docState, d *document.Document, tree revtree.Tree, dropped []revtree.ID) error {
	var gone []revtree.ID
	for _, rev := range dropped {
		if i, ok := old.tree.Find(rev); ok && old.tree.Node(i).Kept {
			gone = append(gone, rev)
			sub(&b.state.stale, old.tree.Node(i).Size)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return b.forget(d.ID, old, tree, gone, d.Attachments)
}

// save writes the by-id value and accounts for it.
func (b *batch) save(id string, old, next *docState) error {
	value := next.rec.append(make([]byte, 0, len(old.rec.tree)+len(next.rec.body)+128))
	value = next.tree.AppendBinary(value) // the last part of the record
	next.size = len(value)
	if err := b.tx.Set(b.db.keys.doc(id), value); err != nil {
		return err
	}
	b.state.account(id, old, next)
	live := func(s *docState) bool { return s.exists && !s.rec.deleted }
	if live(old) != live(next) {
		b.ranks.add(rankDocs, b.db.keys.doc(id), live(next))
	}
	return nil
}

// log moves the document to the end of the sequence.
func (b *batch) log(id string, old *docState, leaves []revtree.Leaf) error {
	keys := b.db.keys
	if document.IsDesign(id) {
		if err := b.touchDesigns(); err != nil {
			return err
		}
	}
	if old.exists {
		was := keys.seq(old.rec.seq)
		if err := b.tx.Delete(was); err != nil {
			return err
		}
		b.ranks.add(rankSeqs, was, false)
	}
	b.state.seq++
	is := keys.seq(b.state.seq)
	b.ranks.add(rankSeqs, is, true)
	return b.tx.Set(is, appendChange(make([]byte, 0, len(id)+20*len(leaves)+4), id, leaves))
}
