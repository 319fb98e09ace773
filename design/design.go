// Package design keeps the functions of design documents ready to run: validation, filters, shows, lists, updates and
// rewrites. It knows where they stand in a design document and when they have to be compiled anew; package script runs
// them.
package design

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/script"
	"github.com/mangrove-db/mangrove/storage"
)

// Prefix is what the ids of design documents begin with.
const Prefix = "_design/"

// The members of a design document that hold functions by their names.
const (
	Filters = "filters"
	Lists   = "lists"
	Shows   = "shows"
	Updates = "updates"
	Views   = "views"
)

// MissingError says that a design document has no such function. Its text is CouchDB's.
type MissingError struct{ Key string }

func (e *MissingError) Error() string { return "missing json key: " + e.Key }

// Design is a revision of a design document with its functions. It is not changed, and may be used by any goroutine.
type Design struct {
	*script.Design
	ID  string
	Rev revtree.ID

	members map[string]json.RawMessage
	fault   error // why its functions cannot run
	weight  int   // roughly, in memory
}

// Member returns the JSON text of a member of the design document, or nil.
func (d *Design) Member(name string) []byte { return d.members[name] }

// Find returns nil if the design document has a function of that name among those of a kind, which is the name of the
// member that holds them, and it can be run: else a *MissingError or a *script.Error.
func (d *Design) Find(kind, name string) error {
	group, ok := d.members[kind]
	if !ok {
		return &MissingError{kind}
	}
	var functions map[string]json.RawMessage
	if json.Unmarshal(group, &functions) != nil || functions[name] == nil {
		return &MissingError{name}
	}
	return d.fault
}

// Fault returns why no function of the design document can be run, or nil.
func (d *Design) Fault() error { return d.fault }

// languages are those whose functions script runs; the empty one is the default.
var languages = map[string]bool{"": true, "javascript": true}

// language returns what a design document says its functions are written in.
func (d *Design) language() string {
	var name string
	_ = json.Unmarshal(d.members["language"], &name) // anything else is no language
	return name
}

// read makes a Design of the live winner of a design document.
func read(engine *script.Engine, row *storage.Row) (*Design, error) {
	doc, err := row.Document()
	if err != nil {
		return nil, err
	}
	d := &Design{ID: doc.ID, Rev: doc.Rev, weight: 5*len(doc.Body) + 4<<10}
	if err := json.Unmarshal(doc.Body, &d.members); err != nil {
		return nil, fmt.Errorf("design document %s: %w", doc.ID, err)
	}
	if name := d.language(); !languages[name] {
		d.fault = &script.Error{Kind: script.Fault, Name: "unknown_query_language", Reason: name}
		return d, nil
	}
	if d.Design, err = engine.NewDesign(document.AppendJSON(nil, doc, document.Members{})); err == nil {
		return d, nil
	}
	if d.fault = err; !scripted(err) {
		return nil, err
	}
	return d, nil
}

// lookup finds a design document that is there: else the error is storage.ErrNotFound or storage.ErrDeleted.
func lookup(s *storage.Snapshot, id string) (storage.Row, error) {
	row, err := s.Lookup(id)
	if err == nil && row.Deleted {
		err = storage.ErrDeleted
	}
	return row, err
}

// OverLimit tells whether a function took too long or too much memory, so that it may do with less to work on.
func OverLimit(err error) bool {
	var e *script.Error
	return errors.As(err, &e) && (e.Kind == script.Timeout || e.Kind == script.Memory)
}

// scripted tells whether an error is one of a function, which says something about the design document rather than
// about the node.
func scripted(err error) bool {
	var e *script.Error
	return errors.As(err, &e)
}
