// Package replicator decides what of a database's changes another place is to hear of.
//
// A Filter is made of what CouchDB's parameters filter and style say. The feed of changes that is served over HTTP and
// the replication of a database of this node use the same Filter, so that both pass the same revisions.
package replicator

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/mango"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// FilterSpec says what a filter passes.
type FilterSpec struct {
	// Name is CouchDB's parameter filter: empty for everything, "_doc_ids", "_selector", "_design", "_view", or
	// "design/function".
	Name string
	// AllLeaves asks for all leaves of a document that pass, which is CouchDB's style=all_docs. Otherwise only the
	// winner counts.
	AllLeaves bool
	// DocIDs are the documents that _doc_ids passes.
	DocIDs []string
	// Selector is the JSON text of the selector of _selector.
	Selector []byte
	// View names the view of _view as "design/view".
	View string
	// Designs has the functions of design documents, and Request is the request object that a filter function is
	// given, as JSON. They are needed for filters that are functions alone.
	Designs *design.Cache
	Request []byte
}

// FilterFault is a kind of FilterError.
type FilterFault int

// The kinds of faults.
const (
	FaultMalformed FilterFault = iota // it makes no sense
	FaultMissing                      // it names what is not there
)

// FilterError tells why there is no such filter. Its Reason is in CouchDB's words.
type FilterError struct {
	Fault  FilterFault
	Reason string
}

func (e *FilterError) Error() string { return e.Reason }

func malformed(reason string) error { return &FilterError{FaultMalformed, reason} }

// Filter passes some changes of a database and not others. It may be used by one goroutine at a time.
type Filter struct {
	allLeaves bool
	passes    matcher // nil: everything
}

// matcher is a kind of filter.
type matcher interface {
	// match tells whether the change passes, and takes those revisions off c.Revs that do not.
	match(ctx context.Context, s *storage.Snapshot, c *storage.Change) (bool, error)
}

// finder is a matcher that knows which few documents can pass.
type finder interface {
	matcher
	// cheaper tells whether find is less work than looking at n changes.
	cheaper(n uint64) bool
	// find returns the changes of those documents, in any order.
	find(ctx context.Context, s *storage.Snapshot) ([]storage.Change, error)
}

// NewFilter makes a filter for changes of the database of the snapshot, in which it looks for the design document that
// the filter may name; the snapshot is not kept. Errors are of type *FilterError, or storage.ErrNotFound if there is no
// such design document, or those of reading it. A function that fails later does so with a *script.Error.
func NewFilter(s *storage.Snapshot, spec FilterSpec) (*Filter, error) {
	f := &Filter{allLeaves: spec.AllLeaves}
	var err error
	switch name := spec.Name; {
	case name == "":
	case name == "_doc_ids":
		f.passes = newDocIDs(spec.DocIDs)
	case name == "_design":
		f.passes = designDocs{}
	case name == "_selector":
		f.passes, err = newSelector(spec.Selector, spec.AllLeaves)
	case name == "_view":
		if spec.View == "" {
			return nil, malformed("`view` filter parameter is not provided.")
		}
		f.passes, err = newFunctions(s, spec, design.Views)
	case name[0] == '_':
		err = malformed("unknown builtin filter name")
	case strings.Trim(name, "/") == "":
	default:
		f.passes, err = newFunctions(s, spec, design.Filters)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Match tells whether a change passes. Of c.Revs it leaves those that do, and only the winner unless all leaves were
// asked for; the snapshot is that which the change is of.
func (f *Filter) Match(ctx context.Context, s *storage.Snapshot, c *storage.Change) (bool, error) {
	if !f.allLeaves {
		c.Revs = c.Revs[:1]
	}
	if f.passes == nil {
		return true, nil
	}
	return f.passes.match(ctx, s, c)
}

// Scripted tells whether the filter runs a function of a design document, so that each change may take its time. Changes
// gives it many at a time.
func (f *Filter) Scripted() bool {
	_, ok := f.passes.(*functions)
	return ok
}

// Changes yields changes as storage.Snapshot.Changes does, but may leave out such as cannot pass: where the filter
// knows the few documents that can, they are looked up instead of walking past everything else.
func (f *Filter) Changes(ctx context.Context, s *storage.Snapshot, o storage.ChangesOptions) iter.Seq2[storage.Change, error] {
	if f.Scripted() {
		return f.passes.(*functions).changes(ctx, s, o)
	}
	few, ok := f.passes.(finder)
	if !ok {
		return s.Changes(ctx, o)
	}
	return func(yield func(storage.Change, error) bool) {
		n, err := s.Pending(o.Since)
		if err != nil {
			yield(storage.Change{}, err)
			return
		}
		if !few.cheaper(n) {
			s.Changes(ctx, o)(yield)
			return
		}
		changes, err := few.find(ctx, s)
		if err != nil {
			yield(storage.Change{}, err)
			return
		}
		slices.SortFunc(changes, func(a, b storage.Change) int {
			if o.Descending {
				a, b = b, a
			}
			return cmp.Compare(a.Seq, b.Seq)
		})
		for _, c := range changes {
			if c.Seq > o.Since && !yield(c, nil) {
				return
			}
		}
	}
}

// changeOf returns the newest change of a document that has been looked up.
func changeOf(row *storage.Row) (storage.Change, error) {
	c := storage.Change{Seq: row.Seq, ID: row.ID, Deleted: row.Deleted, Revs: []revtree.ID{row.Rev}}
	if !row.Branching() {
		return c, nil
	}
	tree, err := row.Tree()
	if err != nil {
		return c, err
	}
	c.Revs = c.Revs[:0]
	for _, leaf := range tree.Leaves() {
		c.Revs = append(c.Revs, leaf.ID)
	}
	return c, nil
}

// docIDs passes documents by their ids.
type docIDs map[string]struct{}

func newDocIDs(ids []string) docIDs {
	set := make(docIDs, len(ids))
	for _, id := range ids {
		set[id] = struct{}{}
	}
	return set
}

func (ids docIDs) match(_ context.Context, _ *storage.Snapshot, c *storage.Change) (bool, error) {
	_, ok := ids[c.ID]
	return ok, nil
}

// maxLookups is how many documents are looked up at most where a feed could be walked instead; walking needs no memory
// and can be watched.
const maxLookups = 1000

// lookupCost is how many changes can be walked past while one document is looked up.
const lookupCost = 8

func (ids docIDs) cheaper(n uint64) bool {
	return len(ids) <= maxLookups && uint64(len(ids))*lookupCost < n
}

func (ids docIDs) find(ctx context.Context, s *storage.Snapshot) ([]storage.Change, error) {
	found := make([]storage.Change, 0, len(ids))
	for id := range ids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		row, err := s.Lookup(id)
		if err == storage.ErrNotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		c, err := changeOf(&row)
		if err != nil {
			return nil, err
		}
		found = append(found, c)
	}
	return found, nil
}

// designDocs passes design documents.
type designDocs struct{}

const designPrefix = "_design/"

func (designDocs) match(_ context.Context, _ *storage.Snapshot, c *storage.Change) (bool, error) {
	return strings.HasPrefix(c.ID, designPrefix), nil
}

// A database has few design documents, so that listing them is about as much work as walking past these many changes.
func (designDocs) cheaper(n uint64) bool { return n > 256 }

func (designDocs) find(ctx context.Context, s *storage.Snapshot) ([]storage.Change, error) {
	var found []storage.Change
	for row, err := range s.Documents(ctx, storage.Range{Prefix: designPrefix, WithDeleted: true}) {
		if err != nil {
			return nil, err
		}
		c, err := changeOf(row)
		if err != nil {
			return nil, err
		}
		found = append(found, c)
	}
	return found, nil
}

// selector passes revisions that a Mango selector finds.
type selector struct {
	compiled  *mango.Selector
	allLeaves bool

	// Memory that is used again.
	doc         document.Document
	rev         []byte
	attachments []byte
}

func newSelector(text []byte, allLeaves bool) (*selector, error) {
	if len(text) == 0 || text[0] != '{' {
		return nil, malformed("Selector error: expected a JSON object")
	}
	compiled, err := mango.Compile(text)
	if err != nil {
		return nil, malformed(reasonOf(err))
	}
	return &selector{compiled: compiled, allLeaves: allLeaves}, nil
}

func reasonOf(err error) string {
	if e, ok := err.(*mango.Error); ok {
		return e.Reason
	}
	return err.Error()
}

func (f *selector) match(_ context.Context, s *storage.Snapshot, c *storage.Change) (bool, error) {
	row, err := s.Lookup(c.ID)
	if err != nil {
		return false, err
	}
	if !f.allLeaves || !row.Branching() {
		err := row.Read(&f.doc)
		return err == nil && f.finds(&f.doc), err
	}
	tree, err := row.Tree()
	if err != nil {
		return false, err
	}
	kept := c.Revs[:0]
	for _, rev := range c.Revs {
		i, ok := tree.Find(rev)
		if !ok {
			continue
		}
		doc, err := row.Revision(tree, i)
		if err == storage.ErrNotFound {
			continue
		}
		if err != nil {
			return false, err
		}
		if f.finds(doc) {
			kept = append(kept, rev)
		}
	}
	c.Revs = kept
	return len(kept) > 0, nil
}

// finds tells whether the selector finds the revision.
func (f *selector) finds(d *document.Document) bool {
	f.rev, _ = d.Rev.AppendText(f.rev[:0]) // cannot fail
	m := mango.Doc{ID: d.ID, Rev: string(f.rev), Deleted: d.Deleted, Body: d.Body}
	if len(d.Attachments) > 0 {
		f.attachments = document.AppendAttachments(f.attachments[:0], d, document.Members{})
		m.Attachments = f.attachments
	}
	return f.compiled.Match(m)
}
