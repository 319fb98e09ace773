// Package mango finds documents by CouchDB's declarative selectors.
//
// A selector is compiled once, see [Compile], and then matched against encoded
// documents, see [Selector.Match]: the paths it names are picked out of a
// document's JSON in one pass, nothing else of it is decoded. Values compare in
// the order of views, those of _id by their bytes.
//
// Selectors mean what they mean in CouchDB 3.5, oddities included:
//
//   - A condition on a field that a document lacks does not hold, whatever it
//     is and even when negated; {"$exists": false} alone does.
//   - A bare object is a selector for the members it names; inside $eq and in
//     lists it is a value, with the order of members mattering.
//   - $all compares by identity: 1 is not 1.0, and "é" has but one spelling.
//   - $regex sees bytes, not runes: "." is one byte of a string's UTF-8.
//   - $nor inside of $elemMatch and $allMatch finds nothing.
//
// What differs: $regex has the syntax and the linear running time of RE2, not
// PCRE's; selectors nested more than 256 levels deep are refused; a field name
// with an empty part ("a..b") is refused with status 400 rather than 500; and
// $mod by 0, an error 500 in CouchDB, matches nothing.
//
// # Indexes
//
// An index is a view of the language "query" in a design document, see
// [Definition] and [Language]: its rows are keyed by the values of some fields,
// and documents that lack one of them have no row. Another index, that of all
// documents, is always there.
//
// # Queries
//
// A [Query] is planned (plan.go): of the indexes that hold all that the selector
// can find, in the order that is wanted, the one is chosen whose first columns
// the selector narrows most (ranges.go); _explain tells of all of this
// (explain.go). Then a [Finder] walks over the rows between the bounds, or over
// all documents, matches each document with the whole selector, and sends it as
// it is found (search.go, rowscan.go); nothing is gathered or sorted. Where the
// rows hold all that is asked for, documents are not read. A bookmark names the
// row where an answer ended (bookmark.go), and the next begins behind it, whether
// that row is still there or not.
//
// The ranges never leave out what the selector matches. So ids, which match by
// their bytes, narrow the rows of an index only where they are equal to one.
package mango

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// Selector is a compiled selector. It is immutable and safe for concurrent use.
type Selector struct {
	root   *node // nil matches everything
	scope  scope
	normal []byte
	needs  needs
}

// Compile checks a selector, brings it into its normal form, and prepares it
// for matching. Its errors are of type *Error; nothing of selector is kept.
func Compile(selector []byte) (*Selector, error) {
	if depthOf(selector) > maxDepth {
		return nil, errTooDeep
	}
	if !utf8.Valid(selector) || !json.Valid(selector) {
		return nil, errNotJSON
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, selector); err != nil {
		return nil, errNotJSON
	}
	text := compact.Bytes()
	if kindOf(text) != kindObject {
		return nil, errorf("invalid_selector_json", "Selector must be a JSON object, not: ", erlangTerm(text))
	}
	if len(text) == len("{}") {
		return &Selector{normal: text}, nil
	}
	var c compiler
	root, err := c.explicit(text)
	if err != nil {
		return nil, err
	}
	if root, err = c.normalFields(root, ""); err != nil {
		return nil, err
	}
	if root, err = root.normalNegations(); err != nil {
		return nil, err
	}
	if root.op == opField && root.field == "" {
		return nil, errMissingField
	}
	s := &Selector{root: root, normal: root.appendNormal(nil)}
	if err := s.scope.link(root, false); err != nil {
		return nil, err
	}
	s.scope.separateSpecial()
	s.needs.add(&s.scope)
	if root.comparesWhole() {
		s.needs = needs{true, true, true}
	}
	return s, nil
}

// Normal returns the selector's normal form as JSON, the one _explain shows:
// with all operators written out, field names next to the operators, and
// negations resolved. The caller must not change it.
func (s *Selector) Normal() []byte { return s.normal }

// Match says whether the selector finds the document. It reads doc and keeps
// nothing of it. Of a body that is no valid JSON it may find anything. Where
// Check fails it finds nothing.
func (s *Selector) Match(doc Doc) bool {
	found, _ := s.match(doc)
	return found
}

// Check is Match for those who can tell the client of an error: strings that
// are so long that a regular expression could take minutes are not tried.
func (s *Selector) Check(doc Doc) (bool, error) {
	found, costly := s.match(doc)
	if costly {
		return false, errorf("not_supported", "An argument for operator $regex is too complex for a string in the document ",
			clip(doc.ID), ", which is very long.")
	}
	return found, nil
}

func (s *Selector) match(doc Doc) (found, costly bool) {
	if s.root == nil {
		return true, false
	}
	m := machines.Get().(*machine)
	defer m.release()
	m.doc = doc
	m.collectDocument(&s.scope)
	found = m.match(s.root, 0, nil) == yes && !m.costly
	return found, m.costly
}
