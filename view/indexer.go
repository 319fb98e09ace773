package view

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/script"
	"github.com/mangrove-db/mangrove/storage"
)

// Options of an Indexer.
type Options struct {
	Store  *storage.Store
	Engine *script.Engine
	// Languages are those of design documents beside "javascript".
	Languages map[string]Language
	// Logger takes what nobody waits for; nil discards it.
	Logger *slog.Logger
	// ReduceLimit is asked whenever something is reduced; nil means DefaultReduceLimit.
	ReduceLimit func() ReduceLimit
}

// Indexer builds and reads the indexes of all databases of a node. It is safe for concurrent use.
type Indexer struct {
	store     *storage.Store
	engine    *script.Engine
	languages map[string]Language
	log       *slog.Logger
	limit     func() ReduceLimit
	designs   designCache
	turns     turns
	counters  counters

	mu       sync.Mutex
	builds   map[target]*build
	failures map[target]failure
	orphans  map[target]time.Time // indexes that no design document names: since when nobody has used them
}

// target names an index.
type target struct {
	db        *storage.DB
	signature string
}

// New returns an Indexer. It has nothing to be closed: what it does ends with the databases.
func New(o Options) *Indexer {
	x := &Indexer{
		store: o.Store, engine: o.Engine, languages: o.Languages, log: o.Logger, limit: o.ReduceLimit,
		builds: map[target]*build{}, failures: map[target]failure{}, orphans: map[target]time.Time{},
		turns: newTurns(),
	}
	x.designs.seed = maphash.MakeSeed()
	if x.log == nil {
		x.log = slog.New(slog.DiscardHandler)
	}
	if x.limit == nil {
		x.limit = func() ReduceLimit { return DefaultReduceLimit }
	}
	return x
}

// Design returns the views of a design document, as the snapshot shows it. Errors are storage.ErrNotFound,
// storage.ErrDeleted, or an *Error if the document cannot be read.
func (x *Indexer) Design(s *storage.Snapshot, id string) (*Design, error) {
	row, err := s.Lookup(id)
	if err != nil {
		return nil, err
	}
	return x.designOf(&row)
}

func (x *Indexer) designOf(row *storage.Row) (*Design, error) {
	if row.Deleted {
		return nil, storage.ErrDeleted
	}
	doc, err := row.Document()
	if err != nil {
		return nil, err
	}
	return x.designs.get(x, doc)
}

// designCache keeps design documents that were parsed. They are found by their content, as revision ids can be forged;
// so databases with the same design documents share them, and what was compiled for them.
type designCache struct {
	seed maphash.Seed
	mu   sync.Mutex
	size int
	docs map[designKey]*Design
}

type designKey struct {
	id   string
	rev  revtree.ID
	size int
	hash uint64
}

// designCacheBytes bounds the bodies of the design documents that are kept.
const designCacheBytes = 16 << 20

func (c *designCache) get(x *Indexer, doc *document.Document) (*Design, error) {
	k := designKey{doc.ID, doc.Rev, len(doc.Body), maphash.Bytes(c.seed, doc.Body)}
	c.mu.Lock()
	d := c.docs[k]
	c.mu.Unlock()
	if d != nil {
		return d, nil
	}
	d, err := parseDesign(doc)
	if err != nil {
		return nil, &Error{Kind: Fault, Name: "invalid_design_doc", Reason: err.Error()}
	}
	d.bind(x)
	c.mu.Lock()
	defer c.mu.Unlock()
	if found := c.docs[k]; found != nil {
		return found, nil
	}
	if c.docs == nil {
		c.docs = map[designKey]*Design{}
	}
	for old := range c.docs {
		if c.size+k.size <= designCacheBytes {
			break
		}
		c.size -= old.size
		delete(c.docs, old)
	}
	c.docs[k] = d
	c.size += k.size
	return d, nil
}

// index returns the index of a design document in a database.
func (d *Design) index(db *storage.DB) *storage.Index {
	spec := storage.IndexSpec{Signature: d.Signature, Design: d.ID, Spaces: make([]storage.IndexSpace, len(d.Spaces))}
	for i := range spec.Spaces {
		spec.Spaces[i].Reducers = d.reducers[i]
	}
	return db.Index(spec)
}

// Update says how new an index must be for a query.
type Update uint8

// The kinds of updates.
const (
	UpdateTrue  Update = iota // it is brought up to date first
	UpdateFalse               // as it is
	UpdateLazy                // as it is, and brought up to date afterwards
)

// Open opens a view for reading, after its index was brought up to date if u says so: then it shows at least what was in
// the database when Open was called. An index that was not built yet is read as an empty one, unless u is UpdateTrue.
// Open waits whatever u says while one document's rows are being replaced that are too many to be replaced at once. The
// Reader must be closed.
//
// Errors are *Error: there is no such view, or its language is not known; *script.Error: a function could not be
// compiled or ran away; or those of storage. If ctx ends, the build goes on.
func (x *Indexer) Open(ctx context.Context, db *storage.DB, d *Design, view string, u Update) (*Reader, error) {
	def, ok := d.View(view)
	if !ok {
		return nil, &Error{Kind: NotFound, Name: "not_found", Reason: "missing_named_view"}
	}
	if _, err := d.program(); err != nil {
		return nil, err
	}
	t := target{db, d.Signature}
	x.use(t)
	for {
		if u == UpdateTrue {
			if err := x.update(ctx, db, d); err != nil {
				return nil, err
			}
		}
		r, err := newReader(db, d, def)
		if err != nil {
			return nil, err
		}
		switch {
		case r.index != nil && r.index.State().Torn:
			r.Close()
			if err := x.mend(ctx, db, d); err != nil {
				return nil, err
			}
			continue
		case r.index == nil && u == UpdateTrue: // it was dropped a moment ago
			r.Close()
			continue
		case u == UpdateLazy && r.Seq() < r.snap.Seq() && x.failed(t) == nil:
			x.join(db, d, r.snap.Seq())
		}
		return r, nil
	}
}

// newReader opens a view as it is.
func newReader(db *storage.DB, d *Design, def *Definition) (*Reader, error) {
	snap, err := db.Snapshot()
	if err != nil {
		return nil, err
	}
	r := &Reader{
		snap: snap, definition: def, space: &d.Spaces[def.Space], partitioned: d.Partitioned(db),
	}
	if def.Reducer >= 0 {
		r.reducer = d.reducers[def.Space][def.Reducer]
	}
	index, err := snap.Index(d.index(db))
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		snap.Close()
		return nil, err
	case !index.State().Stale:
		r.index = index
	}
	return r, nil
}

// use notes that an index was asked for.
func (x *Indexer) use(t target) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.orphans[t]; ok {
		x.orphans[t] = time.Now()
	}
}
