package mango

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mangrove-db/mangrove/collate"
)

// bound is an end of a range of values: a JSON text, or before or behind all.
type bound struct {
	side  int8 // -1: before all values, 1: behind them, 0: at value
	value []byte
	// high says that the bound lies behind all strings that begin with value.
	high bool
}

// valueRange is where the values of a field lie that a selector finds. It may
// hold others too.
type valueRange struct {
	empty      bool
	low, high  bound
	above, not bool // low itself, and high itself, are left out
	raw        bool // in raw order, as ids compare
}

// everything is the range of all values.
func everything(raw bool) valueRange {
	return valueRange{low: bound{side: -1}, high: bound{side: 1}, above: true, not: true, raw: raw}
}

func (r *valueRange) compare(a, b bound) int {
	switch {
	case a.side != 0 || b.side != 0:
		return int(a.side) - int(b.side)
	case a.high || b.high:
		// A bound behind all strings with a prefix compares with others as a
		// string of a character that comes last.
		return r.compareValues(a.highest(), b.highest())
	}
	return r.compareValues(a.value, b.value)
}

func (r *valueRange) compareValues(a, b []byte) int {
	if r.raw {
		return collate.CompareRaw(a, b)
	}
	return collate.Compare(a, b)
}

// highest returns the bound's value, and for one behind all strings with a
// prefix a string of which no document has a greater one with that prefix:
// U+10FFFF sorts last, and is no character that anybody may exchange.
func (b bound) highest() []byte {
	if !b.high {
		return b.value
	}
	text := slices.Clip(b.value[:len(b.value)-1])
	text = utf8.AppendRune(text, utf8.MaxRune)
	return append(text, '"')
}

// narrow takes over what a condition says of its field. Conditions that no
// single range stands for change nothing: they are tested on what is found.
func (r *valueRange) narrow(n *node) {
	if r.empty {
		return
	}
	arg := bound{value: n.arg}
	switch n.op {
	case opLt:
		r.below(arg, true)
	case opLte:
		r.below(arg, false)
	case opGt:
		r.from(arg, true)
	case opGte:
		r.from(arg, false)
	case opEq:
		r.from(arg, false)
		r.below(arg, false)
	case opBeginsWith:
		r.from(arg, false)
		arg.high = true
		r.below(arg, false)
	}
}

// from leaves out what is less than b.
func (r *valueRange) from(b bound, exclusive bool) {
	switch c := r.compare(b, r.low); {
	case c > 0:
		r.low, r.above = b, exclusive
	case c == 0:
		r.above = r.above || exclusive
	}
	r.check()
}

// below leaves out what is greater than b.
func (r *valueRange) below(b bound, exclusive bool) {
	switch c := r.compare(b, r.high); {
	case c < 0:
		r.high, r.not = b, exclusive
	case c == 0:
		r.not = r.not || exclusive
	}
	r.check()
}

func (r *valueRange) check() {
	c := r.compare(r.low, r.high)
	r.empty = r.empty || c > 0 || c == 0 && (r.above || r.not)
}

// exact tells whether the range is of one value.
func (r *valueRange) exact() bool {
	return !r.empty && r.low.side == 0 && r.high.side == 0 && !r.high.high && r.compare(r.low, r.high) == 0
}

// fieldRange is the range of a field's values.
type fieldRange struct {
	field string
	valueRange
}

// fieldRanges returns the ranges of the fields for which there are some, by
// name. As in CouchDB, one that is empty stands alone.
func (s *Selector) fieldRanges() []fieldRange {
	ranges := map[string]*valueRange{}
	s.eachIndexable(func(n *node) {
		r := ranges[n.field]
		if r == nil {
			all := everything(n.field == "_id")
			r = &all
			ranges[n.field] = r
		}
		r.narrow(n.kids[0])
	})
	list := make([]fieldRange, 0, len(ranges))
	for _, field := range slices.Sorted(maps.Keys(ranges)) {
		r := fieldRange{field, *ranges[field]}
		if r.empty {
			return []fieldRange{r}
		}
		list = append(list, r)
	}
	return list
}

// indexableFields returns the names of the fields that have to lie in some
// range, sorted.
func (s *Selector) indexableFields() []string {
	var fields []string
	s.eachIndexable(func(n *node) { fields = append(fields, n.field) })
	slices.Sort(fields)
	return slices.Compact(fields)
}

// eachIndexable calls f for the conditions that have to hold and that some
// range of values stands for.
func (s *Selector) eachIndexable(f func(*node)) {
	if s.root == nil {
		return
	}
	s.root.eachCondition(func(n *node) {
		switch n.kids[0].op {
		case opLt, opLte, opEq, opGt, opGte, opBeginsWith:
			f(n)
		}
	})
}

// eachCondition calls f for the fields whose conditions all have to hold.
func (n *node) eachCondition(f func(*node)) {
	switch n.op {
	case opAnd:
		for _, kid := range n.kids {
			kid.eachCondition(f)
		}
	case opField:
		f(n)
	}
}

// fields returns the names of all fields of the selector, sorted. As in CouchDB
// those below $elemMatch and the like do not count: their paths begin elsewhere.
func (s *Selector) fields() []string {
	var fields []string
	var walk func(n *node)
	walk = func(n *node) {
		switch n.op {
		case opField:
			fields = append(fields, n.field)
		case opText:
			fields = append(fields, "$default")
		default:
			for _, kid := range n.kids {
				walk(kid)
			}
		}
	}
	if s.root != nil {
		walk(s.root)
	}
	slices.Sort(fields)
	return slices.Compact(fields)
}

// requires tells whether all documents that the selector finds have the field.
func (s *Selector) requires(field string) bool {
	return s.root != nil && s.root.requires(field)
}

func (n *node) requires(field string) bool {
	holds := func(kid *node) bool { return kid.requires(field) }
	switch n.op {
	case opAnd:
		return slices.ContainsFunc(n.kids, holds)
	case opOr:
		// An empty list of conditions holds for every document.
		return len(n.kids) > 0 && !slices.ContainsFunc(n.kids, func(kid *node) bool { return !holds(kid) })
	case opField:
		return n.field == field && (n.kids[0].op != opExists || n.kids[0].flag)
	}
	return false
}

// fixes tells whether the field has the same value in all documents that the
// selector finds, so that it plays no part in their order.
func (s *Selector) fixes(field string) bool {
	fixed := false
	if s.root != nil {
		s.root.eachCondition(func(n *node) {
			fixed = fixed || n.field == field && n.kids[0].op == opEq
		})
	}
	return fixed
}

// searchesText tells whether the selector needs a text index.
func (s *Selector) searchesText() bool { return s.root != nil && s.root.searchesText() }

func (n *node) searchesText() bool {
	switch n.op {
	case opText:
		return true
	case opField: // below it, what is searched is not the document
		return false
	}
	return slices.ContainsFunc(n.kids, (*node).searchesText)
}

// impossible tells whether the selector is a bare empty list of conditions,
// with which CouchDB looks for nothing at all.
func (s *Selector) impossible() bool {
	return s.root != nil && (s.root.op == opAnd || s.root.op == opOr) && len(s.root.kids) == 0
}

// maxKey is what bounds show that lie behind all values.
const maxKey = `"<MAX>"`

// show appends a bound as _explain shows it.
func (b bound) show(dst []byte) []byte {
	switch {
	case b.side > 0:
		return append(dst, maxKey...)
	case b.high:
		return append(append(dst, b.value[:len(b.value)-1]...), "\uFFFD\""...)
	}
	return append(dst, b.value...)
}

// behindAll is a value that lies behind those of documents: an object whose
// first name sorts last.
var behindAll = `{"` + strings.Repeat(string(utf8.MaxRune), 4) + `":0}`
