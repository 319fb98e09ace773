package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage/kv"
)

// Validator knows which documents a database takes. It speaks for whoever writes. All methods may be called by any
// goroutine.
type Validator interface {
	// Rules returns the rules of the database's design documents, nil if there are none, and the generation of those
	// design documents. It may return what it remembers of the generation given; anything else it has to read from a
	// snapshot, whose generation it then returns. Whether there are rules must not depend on who writes.
	Rules(ctx context.Context, db *DB, generation uint64) (Rules, uint64, error)
}

// Rules decide about documents. All methods may be called by any goroutine.
type Rules interface {
	// Check returns nil if d may be written, or why not, which becomes the document's result. Of an edit, d.Rev is
	// the parent, if it names one; else the revision itself. Its attachments have been stored; stubs tell of what
	// they stand for. old is the revision that d comes after, nil if there is none: a document that was deleted
	// starts anew. Nothing may be changed or kept.
	Check(ctx context.Context, d, old *document.Document) error
}

// How validation and the writer fit together: rules take their time, so that they are asked in the goroutine of
// whoever writes, about what a snapshot shows. The writer then makes sure that it writes what they were asked about:
// that design documents are still the same, and the revision that the document comes after. Otherwise it sends the
// document back to be validated again. So a document is never written past a rule that was there before it.

// verdict is what a document was validated against.
type verdict struct {
	asked      bool       // there is a Validator
	generation uint64     // of the design documents
	ruled      bool       // there are rules
	passed     bool       // the rules took it; else the writer is expected to refuse it
	old        revtree.ID // that it came after; zero for none
}

// errUnsettled is the result of a document that has to be validated again.
var errUnsettled = errors.New("validated against what is no longer so")

// rounds is how often a document is validated before its writer is told of a conflict: each time somebody else has
// come first.
const rounds = 16

// rules returns the rules in force.
func (db *DB) rules(ctx context.Context, v Validator) (Rules, uint64, error) {
	generation := db.designs.Load()
	if db.unruled.Load() == generation+1 {
		return nil, generation, nil
	}
	rules, generation, err := v.Rules(ctx, db, generation)
	if err != nil {
		return nil, 0, err
	}
	raise(&db.designs, generation)
	if rules == nil {
		raise(&db.unruled, generation+1)
	}
	return rules, generation, nil
}

// raise makes n at least v.
func raise(n *atomic.Uint64, v uint64) {
	for old := n.Load(); old < v && !n.CompareAndSwap(old, v); old = n.Load() {
	}
}

// applyValid is Apply for a Write that has a Validator.
func (db *DB) applyValid(ctx context.Context, w Write) ([]Result, error) {
	var results []Result
	var left []int // places in results of what is still to be written; nil: all
	docs := w.Docs
	for round := 1; ; round++ {
		got, err := db.round(ctx, docs, w.Mode, w.Validator)
		if err != nil {
			return nil, err
		}
		if results == nil {
			results = got
		}
		for i, place := range left {
			results[place] = got[i]
		}
		left, docs = left[:0:0], nil
		for i := range results {
			if results[i].Err == errUnsettled {
				left, docs = append(left, i), append(docs, w.Docs[i])
			}
		}
		if len(left) == 0 {
			return results, nil
		}
		if round == rounds {
			for _, place := range left {
				results[place].Err = ErrConflict
			}
			return results, nil
		}
	}
}

// round validates documents and writes those that the rules take.
func (db *DB) round(ctx context.Context, docs []*document.Document, mode Mode, v Validator) ([]Result, error) {
	rules, generation, err := db.rules(ctx, v)
	if err != nil {
		return nil, err
	}
	if rules == nil {
		return db.write(ctx, Write{Docs: docs, Mode: mode}, func(int) verdict { return verdict{asked: true, generation: generation} })
	}
	checks, err := db.validate(ctx, docs, mode, rules, generation)
	if errors.Is(err, errUnsettled) {
		results := make([]Result, len(docs))
		for i, d := range docs {
			results[i] = Result{ID: d.ID, Rev: d.Rev, Err: err}
		}
		return results, nil
	}
	if err != nil {
		return nil, err
	}
	taken := make([]*document.Document, 0, len(docs))
	places := make([]int, 0, len(docs))
	for i := range checks {
		if checks[i].err == nil && !checks[i].superseded {
			taken, places = append(taken, docs[i]), append(places, i)
		}
	}
	written, err := db.write(ctx, Write{Docs: taken, Mode: mode}, func(i int) verdict {
		c := &checks[places[i]]
		return verdict{asked: true, generation: generation, ruled: true, passed: c.doc != nil, old: c.base}
	})
	if err != nil {
		return nil, err
	}
	results := make([]Result, len(docs))
	for i, d := range docs {
		results[i] = Result{ID: d.ID, Rev: d.Rev, Err: checks[i].err}
	}
	for i, place := range places {
		results[place] = written[i]
	}
	return results, nil
}

// check is a document that is being validated.
type check struct {
	doc  *document.Document // as the rules see it; nil if they are not asked
	old  *document.Document
	base revtree.ID // of old
	// superseded tells that the rules refuse what has become an ancestor already: CouchDB takes no notice of such
	// revisions, so that it is left out without a word.
	superseded bool
	err        error // of the rules
}

// validateChunk is how many documents are read before they are validated.
const validateChunk = 128

// validate asks the rules, which are those of a generation of the design documents, about documents. The error is
// errUnsettled if there is a newer one: what old rules refuse never comes to the writer, who would find out.
func (db *DB) validate(ctx context.Context, docs []*document.Document, mode Mode, rules Rules, generation uint64) ([]check, error) {
	snap, err := db.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	now, err := snap.Designs()
	if err != nil {
		return nil, err
	}
	if now != generation {
		raise(&db.designs, now)
		return nil, errUnsettled
	}
	checks := make([]check, len(docs))
	for from := 0; from < len(docs); from += validateChunk {
		part := checks[from:min(from+validateChunk, len(docs))]
		known := make([]bool, len(part)) // ancestors that the tree knows of
		for i := range part {
			if known[i], err = snap.prepare(&part[i], docs[from+i], mode); err != nil {
				return nil, err
			}
		}
		ask(ctx, part, rules)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for i := range part {
			c := &part[i]
			if c.err != nil && known[i] {
				c.err, c.superseded = nil, true
			}
			c.old = nil // it may be large
		}
	}
	return checks, nil
}

// ask asks the rules, on several cores if that pays.
func ask(ctx context.Context, checks []check, rules Rules) {
	var next atomic.Int64
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(checks) || ctx.Err() != nil {
				return
			}
			if c := &checks[i]; c.doc != nil {
				c.err = rules.Check(ctx, c.doc, c.old)
			}
		}
	}
	var working sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(checks)/8) - 1 {
		working.Go(work)
	}
	work()
	working.Wait()
}

// prepare finds out what the rules have to be asked about a document, if anything. It tells whether the document is a
// revision that is only known as an ancestor of others.
func (s *Snapshot) prepare(c *check, d *document.Document, mode Mode) (ancestor bool, err error) {
	if document.IsDesign(d.ID) {
		return false, nil
	}
	row, err := s.Lookup(d.ID)
	exists := err == nil
	if err != nil && !errors.Is(err, ErrNotFound) {
		return false, err
	}
	var tree revtree.Tree
	if exists {
		if tree, err = row.Tree(); err != nil {
			return false, err
		}
	}
	seen := *d
	seen.Attachments = slices.Clone(d.Attachments)
	if mode == Replicate {
		ancestor, err = c.descend(&row, tree, &seen)
	} else {
		err = c.extend(&row, tree, exists, &seen)
	}
	var stub *MissingStubError
	if errors.As(err, &stub) {
		c.doc, err = nil, nil // the writer will say so
	}
	return ancestor, err
}

// extend prepares an edit. One that does not extend a leaf is a conflict, and not looked at.
func (c *check) extend(row *Row, tree revtree.Tree, exists bool, d *document.Document) (err error) {
	parent := d.Rev
	var source *document.Document // of stubs
	switch {
	case !parent.IsZero():
		i, ok := tree.Find(parent)
		if !ok || !tree.IsLeaf(i) || tree.Node(i).Deleted && row.Deleted {
			return nil
		}
		if c.old, err = row.Revision(tree, i); err != nil {
			return err
		}
		c.base, source = parent, c.old
		d.Revisions = revtree.Path{Start: parent.Gen, Hashes: []string{parent.Hash}}
	case !exists:
		d.Revisions = revtree.Path{}
	case row.Deleted && !d.Deleted:
		d.Revisions = revtree.Path{}
		parent = row.Rev
		if source, err = row.Document(); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	default:
		return nil
	}
	if err := fillStubs(d, source); err != nil {
		return err
	}
	placeNew(d, parent.Gen+1)
	c.doc = d
	return nil
}

// descend prepares a replicated revision. One that is there is not looked at.
func (c *check) descend(row *Row, tree revtree.Tree, d *document.Document) (ancestor bool, err error) {
	if d.Revisions.Len() == 0 {
		d.Revisions = revtree.Path{Start: d.Rev.Gen, Hashes: []string{d.Rev.Hash}}
	}
	d.Rev = d.Revisions.Leaf()
	i, ancestor := tree.Find(d.Rev)
	if ancestor && tree.Node(i).Stored {
		return false, nil
	}
	if base, ok := newestKept(tree, d.Revisions); ok {
		if c.old, err = row.Revision(tree, base); err != nil {
			return false, err
		}
		c.base = c.old.Rev
	}
	if err := fillStubs(d, c.old); err != nil {
		return false, err
	}
	c.doc = d
	return ancestor, nil
}

// newestKept returns the newest revision on path, without the first, whose body is there.
func newestKept(tree revtree.Tree, path revtree.Path) (int, bool) {
	for n := 1; n < path.Len(); n++ {
		if i, ok := tree.Find(path.At(n)); ok && tree.Node(i).Kept {
			return i, true
		}
	}
	return 0, false
}

// settled tells whether what an item was validated against is still so.
func (b *batch) settled(it *item, old *docState, path revtree.Path) (bool, error) {
	v := &it.verdict
	if !v.asked || document.IsDesign(it.doc.ID) {
		return true, nil
	}
	now, err := b.designs()
	if err != nil || v.generation != now {
		return false, err
	}
	if !v.ruled {
		return true, nil
	}
	base := it.parent
	if it.mode == Replicate {
		base = revtree.ID{}
		if i, ok := newestKept(old.tree, path); ok {
			base = old.tree.Node(i).ID
		}
	}
	return v.passed && v.old == base, nil
}

// designs returns the generation of the database's design documents.
func (b *batch) designs() (uint64, error) {
	if !b.generation.read {
		n, err := readDesigns(b.tx, b.db.keys)
		if err != nil {
			return 0, err
		}
		b.generation.read, b.generation.number = true, n
	}
	return b.generation.number, nil
}

// touchDesigns notes that a design document changes.
func (b *batch) touchDesigns() error {
	if _, err := b.designs(); err != nil {
		return err
	}
	b.generation.number++
	b.generation.changed = true
	return b.tx.Set(b.db.keys.meta(metaDesigns), binary.AppendUvarint(nil, b.generation.number))
}

func readDesigns(r kv.Reader, keys keyspace) (uint64, error) {
	value, err := r.Get(keys.meta(metaDesigns))
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	c := cursor{b: value}
	n := c.uvarint()
	if c.bad {
		return 0, corrupt("generation of design documents", nil)
	}
	return n, nil
}

// Designs returns the generation of the design documents: a number that grows whenever one of them changes.
func (s *Snapshot) Designs() (uint64, error) {
	n, err := readDesigns(s.kv, s.db.keys)
	return n, outer(err)
}
