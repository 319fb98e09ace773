package mango

import (
	"context"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/view"
)

// Language is the language "query" of design documents, in which Mango's indexes
// are written: a map is an object of fields and an optional selector. The rows
// of a document are one, whose key is the array of the fields' values and whose
// value is null, or none if the document lacks a field or the selector does not
// find it. Design documents have none. It implements view.Language.
type Language struct{}

var _ view.Language = Language{}

// Compile never fails: what is no right index has no rows, as in CouchDB.
func (Language) Compile(d *view.Design) (view.Program, error) {
	p := &program{}
	for i, s := range d.Spaces {
		if ix := readDefinition(s.Map); ix != nil {
			p.add(i, ix)
		}
	}
	p.scope.body = p.scope.slots
	p.scope.separateSpecial()
	p.needs.add(&p.scope)
	return p, nil
}

// program fills the spaces of a design document in the language "query".
type program struct {
	scope  scope // the paths of all columns
	spaces []indexSpace
	needs  needs
}

type indexSpace struct {
	space   int       // among those of the design document
	slots   []int     // of the columns
	partial *Selector // nil for all documents
}

func (p *program) add(space int, ix *Index) {
	s := indexSpace{space: space}
	if ix.partial != nil {
		var err error
		if s.partial, err = Compile(ix.partial); err != nil {
			return
		}
		p.needs.merge(s.partial.needs)
	}
	var paths [][]string
	for _, c := range ix.columns {
		parts, err := parsePath(c.name)
		if err != nil {
			return
		}
		paths = append(paths, parts)
	}
	for _, parts := range paths {
		s.slots = append(s.slots, p.scope.slot(parts))
	}
	p.spaces = append(p.spaces, s)
}

func (p *program) NewMapper() (view.Mapper, error) { return &mapper{program: p}, nil }

// mapper implements view.Mapper.
type mapper struct {
	*program
	reader reader
	key    []byte
}

func (m *mapper) Map(_ context.Context, d *document.Document, json []byte, emit view.Emit) error {
	if document.IsDesign(d.ID) || len(m.spaces) == 0 {
		return nil
	}
	doc := m.reader.read(d, m.needs)
	if m.needs.conflicts {
		doc.Conflicts = memberOf(json, "_conflicts")
	}
	run := machines.Get().(*machine)
	defer run.release()
	run.doc = doc
	run.collectDocument(&m.scope)
	for _, s := range m.spaces {
		if !run.appendRowKey(&m.key, s.slots) || s.partial != nil && !s.partial.Match(doc) {
			continue
		}
		if err := emit(s.space, m.key, null); err != nil {
			return err
		}
	}
	return nil
}

func (m *mapper) Close() {}

var null = []byte("null")

// appendRowKey makes the key of a row of the values that were found; it reports
// false if one was not.
func (m *machine) appendRowKey(key *[]byte, slots []int) bool {
	b := append((*key)[:0], '[')
	for i, slot := range slots {
		value := m.slots[slot].value
		if value == nil {
			return false
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, value...)
	}
	*key = append(b, ']')
	return true
}

// memberOf returns a member of an object, or nil.
func memberOf(object []byte, member string) []byte {
	for name, value := range members(object) {
		if string(inside(name)) == member {
			return value
		}
	}
	return nil
}
