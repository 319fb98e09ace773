package design

import (
	"bytes"
	"context"
	"errors"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// Subject is on whose behalf functions run.
type Subject struct {
	Name  string // empty for the anonymous user
	Roles []string
}

// AppendContext appends the user context that functions are given: {db, name, roles}.
func (s *Subject) AppendContext(b []byte, db string) []byte {
	b = append(b, `{"db":`...)
	b = document.AppendString(b, db)
	b = append(b, `,"name":`...)
	if s.Name == "" {
		b = append(b, "null"...)
	} else {
		b = document.AppendString(b, s.Name)
	}
	b = append(b, `,"roles":[`...)
	for i, role := range s.Roles {
		if i > 0 {
			b = append(b, ',')
		}
		b = document.AppendString(b, role)
	}
	return append(b, "]}"...)
}

// ruleSet is the design documents of a database that have validation functions. It is not changed.
type ruleSet struct {
	generation uint64 // of the design documents
	rules      []*Design
}

// Validator returns what asks the validation functions of databases, on behalf of a subject. When ctx is done, they
// refuse everything: what a writer has been handed is written even if nobody waits for it any more, but functions, which
// may take their time, need not be asked then.
func (c *Cache) Validator(ctx context.Context, s Subject) storage.Validator {
	return &validator{ctx, c, s}
}

type validator struct {
	ctx     context.Context
	cache   *Cache
	subject Subject
}

// Rules returns the validation functions of a database, from memory if they are of that generation.
func (v *validator) Rules(ctx context.Context, db *storage.DB, generation uint64) (storage.Rules, uint64, error) {
	set, err := v.cache.ruleSet(ctx, db, generation)
	if err != nil || len(set.rules) == 0 {
		// Not a nil *rules in an interface that is not nil.
		if err == nil {
			generation = set.generation
		}
		return nil, generation, err
	}
	security, err := v.cache.Security(db)
	if err != nil {
		return nil, 0, err
	}
	return &rules{v.ctx, set, v.subject.AppendContext(nil, db.Name()), security}, set.generation, nil
}

// ruleSet returns the validation functions of a database.
func (c *Cache) ruleSet(ctx context.Context, db *storage.DB, generation uint64) (*ruleSet, error) {
	c.mu.Lock()
	set, ok := c.rules.get(db)
	c.mu.Unlock()
	if ok && set.generation >= generation {
		return set, nil
	}
	snap, err := db.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	if set, err = c.readRules(ctx, db, snap); err != nil || len(set.rules) == 0 {
		return set, err // what has no rules the database remembers by itself
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if newer, ok := c.rules.get(db); ok && newer.generation > set.generation {
		return newer, nil
	}
	c.rules.put(db, set, 1)
	return set, nil
}

var validation = []byte(`"validate_doc_update"`)

// readRules finds the validation functions that a snapshot shows.
func (c *Cache) readRules(ctx context.Context, db *storage.DB, snap *storage.Snapshot) (*ruleSet, error) {
	generation, err := snap.Designs()
	if err != nil {
		return nil, err
	}
	set := &ruleSet{generation: generation}
	var doc document.Document
	for row, err := range snap.Documents(ctx, storage.Range{Prefix: Prefix}) {
		if err != nil {
			return nil, err
		}
		if err := row.Read(&doc); errors.Is(err, storage.ErrNotFound) {
			continue // forged: it has no body
		} else if err != nil {
			return nil, err
		}
		if !bytes.Contains(doc.Body, validation) {
			continue
		}
		d, err := c.of(db, row)
		if err != nil {
			return nil, err
		}
		if d.Member("validate_doc_update") != nil && (d.fault != nil || d.HasValidation()) {
			set.rules = append(set.rules, d)
		}
	}
	return set, nil
}

// rules are the validation functions of a database with what they are told of who writes.
type rules struct {
	ctx      context.Context
	set      *ruleSet
	user     []byte
	security []byte
}

// revsShown is how many revisions of a stored document's history functions are shown.
const revsShown = 20

// AppendDocument appends a stored document as functions are given it: with its history, of which only the newest part
// is shown.
func AppendDocument(b []byte, d *document.Document, m document.Members) []byte {
	shown := *d
	shown.Revisions = d.Revisions.Newest(revsShown)
	m.Revisions = true
	return document.AppendJSON(b, &shown, m)
}

// Check asks one function after the other. The first that refuses decides.
func (r *rules) Check(_ context.Context, d, old *document.Document) error {
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	seen := *d
	if d.Revisions.Len() == 0 {
		seen.Rev = revtree.ID{}
	}
	text := document.AppendJSON(make([]byte, 0, len(d.Body)+256), &seen, document.Members{Revisions: true})
	before := []byte("null")
	if old != nil {
		before = AppendDocument(make([]byte, 0, len(old.Body)+256), old, document.Members{})
	}
	for _, rule := range r.set.rules {
		if rule.fault != nil {
			return rule.fault // nothing can be written, as in CouchDB
		}
		if err := rule.Validate(r.ctx, text, before, r.user, r.security); err != nil {
			return err
		}
	}
	return nil
}
