package mango

import (
	"bytes"
	"math/big"
	"strconv"
	"strings"
	"sync"

	"github.com/mangrove-db/mangrove/collate"
)

// Doc is a document to match: its members of special meaning apart from its
// body, so that no JSON needs to be made for selectors that name them.
type Doc struct {
	ID          string
	Rev         string // as in _rev; empty if the document has none
	Deleted     bool   // shown to selectors as _deleted, only if true
	Body        []byte // the other members, as a JSON object
	Attachments []byte // the value of _attachments, a JSON object, or nil
	Conflicts   []byte // the value of _conflicts, a JSON array, or nil
}

// scope is what paths begin at: the document, or a member of an array.
type scope struct {
	paths   trie
	slots   int     // how many there are
	body    int     // how many of them are not special
	special []*trie // of the document: paths that begin with an underscore
}

// manyValues is from how many on the arguments of $in are looked up by key.
const manyValues = 8

// link gives the paths below n their slots. It is called once, on the normal
// form; raw says whether to compare in raw order.
func (sc *scope) link(n *node, raw bool) error {
	n.raw = raw
	switch n.op {
	case opField:
		n.slot = -1
		if n.field != "" {
			parts, err := parsePath(n.field)
			if err != nil {
				return err
			}
			n.slot = sc.slot(parts)
			raw = raw || n.field == "_id"
		}
	case opElemMatch, opAllMatch, opKeyMapMatch:
		n.scope = &scope{}
		sc = n.scope
	case opIn, opNin:
		if len(n.list) >= manyValues {
			n.set = make(map[string]struct{}, len(n.list))
			for _, value := range n.list {
				n.set[string(appendKey(nil, value, raw))] = struct{}{}
			}
		}
	}
	for _, kid := range n.kids {
		if err := sc.link(kid, raw); err != nil {
			return err
		}
	}
	sc.body = sc.slots
	return nil
}

// separateSpecial takes the paths that are not in a document's body out of the
// trie.
func (sc *scope) separateSpecial() {
	body := sc.paths.kids
	sc.paths = trie{slot: -1, index: -1, last: -1}
	for _, t := range body {
		if strings.HasPrefix(t.name, "_") {
			sc.special = append(sc.special, t)
			sc.body -= t.count()
		} else {
			sc.paths.adopt(t)
		}
	}
}

func appendKey(dst, value []byte, raw bool) []byte {
	if raw {
		return collate.AppendRawKey(dst, value)
	}
	return collate.AppendKey(dst, value)
}

// machine is the state of one match.
type machine struct {
	doc    Doc
	slots  []slot // of the scopes being matched, outermost first
	wanted int    // how many slots of the scope being read are still empty
	costly bool   // a match was not tried, because it could take too long

	// Buffers. What slots point into is overwritten by the next match only.
	name, id, rev, whole, text, bytes, key []byte
}

var machines = sync.Pool{New: func() any { return new(machine) }}

// largeBuffer is the size up to which buffers are kept for the next match.
const largeBuffer = 1 << 16

func (m *machine) release() {
	if max(cap(m.name), cap(m.whole), cap(m.text), cap(m.bytes), cap(m.key)) > largeBuffer {
		return
	}
	m.doc, m.costly = Doc{}, false
	clear(m.slots)
	m.slots = m.slots[:0]
	machines.Put(m)
}

// open makes the slots of a scope and returns the index of the first.
func (m *machine) open(sc *scope) (base int) {
	base = len(m.slots)
	for range sc.slots {
		m.slots = append(m.slots, slot{})
	}
	return base
}

// collectDocument fills the slots of the outermost scope.
func (m *machine) collectDocument(sc *scope) {
	m.open(sc)
	for _, t := range sc.special {
		m.wanted = sc.slots + 1 // never reached: all of it is read
		switch t.name {
		case "_id":
			m.id = appendQuoted(m.id[:0], m.doc.ID)
			m.take(t, 0, m.id, 0)
		case "_rev":
			if m.doc.Rev != "" {
				m.rev = appendQuoted(m.rev[:0], m.doc.Rev)
				m.take(t, 0, m.rev, 0)
			}
		case "_deleted":
			if m.doc.Deleted {
				m.take(t, 0, []byte("true"), 0)
			}
		case "_attachments":
			if len(m.doc.Attachments) > 0 {
				m.take(t, 0, m.doc.Attachments, 0)
			}
		case "_conflicts":
			if len(m.doc.Conflicts) > 0 {
				m.take(t, 0, m.doc.Conflicts, 0)
			}
		}
	}
	m.wanted = sc.body
	if m.wanted > 0 && len(m.doc.Body) > 0 {
		m.collect(&sc.paths, 0, m.doc.Body, skipSpace(m.doc.Body, 0))
	}
}

// wholeDocument makes the document's JSON, for the selectors that compare it
// as a whole, such as {"$and": [{"$gt": {}}]}.
func (m *machine) wholeDocument() []byte {
	b := appendQuoted(append(m.whole[:0], `{"_id":`...), m.doc.ID)
	if m.doc.Rev != "" {
		b = appendQuoted(append(b, `,"_rev":`...), m.doc.Rev)
	}
	if m.doc.Deleted {
		b = append(b, `,"_deleted":true`...)
	}
	for name, value := range members(m.doc.Body) {
		b = append(append(append(append(b, ','), name...), ':'), value...)
	}
	if len(m.doc.Attachments) > 0 {
		b = append(append(b, `,"_attachments":`...), m.doc.Attachments...)
	}
	if len(m.doc.Conflicts) > 0 {
		b = append(append(b, `,"_conflicts":`...), m.doc.Conflicts...)
	}
	m.whole = append(b, '}')
	return m.whole
}

// verdict is what a selector says of a value.
type verdict byte

const (
	no verdict = iota
	yes
	// broken is where CouchDB's matcher throws: the members of an array or the
	// names of an object then do not match as a whole, nor does a document,
	// while $not of it is broken still.
	broken
)

func verdictOf(ok bool) verdict {
	if ok {
		return yes
	}
	return no
}

// match judges a value by a node. base is the first slot of the scope; value is
// nil for the document.
func (m *machine) match(n *node, base int, value []byte) verdict {
	switch n.op {
	case opField:
		return m.matchField(n, base, value)
	case opAnd:
		for _, kid := range n.kids {
			if v := m.match(kid, base, value); v != yes {
				return v
			}
		}
		return yes
	case opOr:
		for _, kid := range n.kids {
			if v := m.match(kid, base, value); v != no {
				return v
			}
		}
		return verdictOf(len(n.kids) == 0)
	case opNot:
		v := m.match(n.kids[0], base, value)
		if v == broken {
			return broken
		}
		return yes - v
	case opNor:
		return broken
	case opElemMatch, opAllMatch:
		return verdictOf(kindOf(value) == kindArray && m.matchElements(n, value))
	case opKeyMapMatch:
		return verdictOf(kindOf(value) == kindObject && m.matchNames(n, value))
	case opMod:
		return n.matchMod(value)
	}
	return verdictOf(m.test(n, value))
}

func (m *machine) matchField(n *node, base int, value []byte) verdict {
	kid := n.kids[0]
	if n.slot < 0 {
		if value == nil {
			value = m.wholeDocument()
		}
		return m.match(kid, base, value)
	}
	s := m.slots[base+n.slot]
	if s.value == nil {
		return verdictOf(!s.bad && kid.op == opExists && !kid.flag)
	}
	return m.match(kid, base, s.value)
}

// matchElements judges an array by $elemMatch or $allMatch.
func (m *machine) matchElements(n *node, array []byte) bool {
	base := m.open(n.scope)
	defer func() { m.slots = m.slots[:base] }()
	all := false // $allMatch does not match the empty array
	for i := 1; ; {
		value, ok := nextElement(array, i)
		if !ok {
			return all
		}
		i = valueEnd(array, value)
		v := m.matchMember(n, base, array[value:i])
		switch {
		case n.op == opElemMatch && v != no:
			return v == yes
		case n.op == opAllMatch && v != yes:
			return false
		}
		all = n.op == opAllMatch
	}
}

// matchNames judges an object by $keyMapMatch.
func (m *machine) matchNames(n *node, object []byte) bool {
	base := m.open(n.scope)
	defer func() { m.slots = m.slots[:base] }()
	for i := 1; ; {
		start, end, value, ok := nextMember(object, i)
		if !ok {
			return false
		}
		i = valueEnd(object, value)
		if v := m.matchMember(n, base, object[start:end]); v != no {
			return v == yes
		}
	}
}

func (m *machine) matchMember(n *node, base int, value []byte) verdict {
	if n.scope.slots > 0 {
		clear(m.slots[base : base+n.scope.slots])
		m.wanted = n.scope.slots
		m.collect(&n.scope.paths, base, value, 0)
	}
	return m.match(n.kids[0], base, value)
}

// test judges a value by an operator that has no selectors below it.
func (m *machine) test(n *node, value []byte) bool {
	switch n.op {
	case opLt:
		return n.compare(value, n.arg) < 0
	case opLte:
		return n.compare(value, n.arg) <= 0
	case opEq:
		return n.compare(value, n.arg) == 0
	case opNe:
		return n.compare(value, n.arg) != 0
	case opGte:
		return n.compare(value, n.arg) >= 0
	case opGt:
		return n.compare(value, n.arg) > 0
	case opIn:
		return m.isIn(n, value)
	case opNin:
		return !m.isIn(n, value)
	case opExists:
		return n.flag
	case opType:
		return n.kind != kindNone && kindOf(value) == n.kind
	case opRegex:
		return kindOf(value) == kindString && n.pattern.match(m, m.unquote(value))
	case opBeginsWith:
		return kindOf(value) == kindString && bytes.HasPrefix(m.unquote(value), n.prefix)
	case opAll:
		return n.holdsAll(value)
	case opSize:
		if kindOf(value) != kindArray {
			return false
		}
		count := 0
		for range elements(value) {
			count++
		}
		return count == n.size
	case opText: // matched by the index, if at all
		return true
	}
	return false
}

func (n *node) compare(a, b []byte) int {
	if n.raw {
		return collate.CompareRaw(a, b)
	}
	return collate.Compare(a, b)
}

// isIn says whether a value, or an element of it if it is an array, is among
// the arguments of $in.
func (m *machine) isIn(n *node, value []byte) bool {
	if kindOf(value) != kindArray {
		return m.isOneOf(n, value)
	}
	for element := range elements(value) {
		if m.isOneOf(n, element) {
			return true
		}
	}
	return false
}

func (m *machine) isOneOf(n *node, value []byte) bool {
	if n.set != nil {
		m.key = appendKey(m.key[:0], value, n.raw)
		_, ok := n.set[string(m.key)]
		return ok
	}
	for _, arg := range n.list {
		if n.compare(value, arg) == 0 {
			return true
		}
	}
	return false
}

// holdsAll is $all: every argument is identical to an element, or the only
// argument is the array itself.
func (n *node) holdsAll(value []byte) bool {
	if kindOf(value) != kindArray || len(n.list) == 0 {
		return false
	}
	if len(n.list) == 1 && kindOf(n.list[0]) == kindArray && collate.CompareRaw(n.list[0], value) == 0 {
		return true
	}
	for _, arg := range n.list {
		found := false
		for element := range elements(value) {
			if found = identical(arg, element); found {
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// identical is Erlang's =:=, which unlike == tells 1 from 1.0.
func identical(a, b []byte) bool {
	if collate.CompareRaw(a, b) != 0 {
		return false
	}
	// Their structure is the same, so their numbers come in the same order.
	i, j := nextNumber(a, 0), nextNumber(b, 0)
	for i < len(a) && j < len(b) {
		endA, endB := valueEnd(a, i), valueEnd(b, j)
		if isInteger(a[i:endA]) != isInteger(b[j:endB]) {
			return false
		}
		i, j = nextNumber(a, endA), nextNumber(b, endB)
	}
	return true
}

// nextNumber returns where the first number from i on starts.
func nextNumber(text []byte, i int) int {
	for i < len(text) {
		switch kindOf(text[i:]) {
		case kindString:
			i = stringEnd(text, i)
			continue
		case kindNumber:
			return i
		}
		i++
	}
	return len(text)
}

// matchMod is $mod. The remainder has the sign of the value, as in Erlang.
func (n *node) matchMod(value []byte) verdict {
	if !isInteger(value) {
		return no
	}
	if n.divisor.Sign() == 0 {
		return broken
	}
	if n.divisor.IsInt64() && n.rest.IsInt64() {
		if v, err := strconv.ParseInt(string(value), 10, 64); err == nil {
			return verdictOf(v%n.divisor.Int64() == n.rest.Int64())
		}
	}
	v, ok := readInteger(value)
	return verdictOf(ok && new(big.Int).Rem(v, n.divisor).Cmp(n.rest) == 0)
}

// unquote returns a string's text; it is good until the next call.
func (m *machine) unquote(token []byte) []byte {
	if bytes.IndexByte(token, '\\') < 0 {
		return inside(token)
	}
	m.text = unquote(m.text[:0], token)
	return m.text
}
