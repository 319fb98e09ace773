package mango

import (
	"bytes"
	"math"
	"strconv"
	"strings"
)

// maxParts bounds the parts of a path.
const maxParts = 256

// parsePath splits a path at its dots. A backslash keeps the dot after it from
// splitting; all backslashes are then removed, so that none can be part of a
// name (as in CouchDB).
func parsePath(path string) ([]string, error) {
	var parts []string
	start := 0
	for i := 0; i <= len(path); i++ {
		if i < len(path) && (path[i] != '.' || i > 0 && path[i-1] == '\\') {
			continue
		}
		if i == start || len(parts) == maxParts {
			return nil, errorf("invalid_field_name", "Invalid field name: ", clip(path))
		}
		parts = append(parts, strings.ReplaceAll(path[start:i], `\`, ""))
		start = i + 1
	}
	return parts, nil
}

// trie holds the paths of a scope: what is looked for in a value.
type trie struct {
	name  string
	index int // the array element the name stands for; -1 for none
	slot  int // where the value found is put; -1 if only parts of it are wanted
	kids  []*trie
	last  int              // the highest index of kids; -1 if none stands for an element
	names map[string]*trie // the kids by name, if they are many
	// elements are the kids by index, if there are many kids.
	elements map[int][]*trie
}

// manyKids is from how many on kids are looked up in a map.
const manyKids = 12

func newTrie(name string) *trie {
	index := -1
	// Erlang's list_to_integer takes signs and leading zeros.
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n < math.MaxInt32 {
		index = n
	}
	return &trie{name: name, index: index, slot: -1, last: -1}
}

// insert adds a path and returns the node it ends at.
func (t *trie) insert(parts []string) *trie {
	for _, part := range parts {
		kid := t.find(part)
		if kid == nil {
			kid = newTrie(part)
			t.adopt(kid)
		}
		t = kid
	}
	return t
}

func (t *trie) adopt(kid *trie) {
	t.kids = append(t.kids, kid)
	t.last = max(t.last, kid.index)
	added := t.kids[len(t.kids)-1:]
	switch {
	case t.names != nil:
	case len(t.kids) > manyKids:
		t.names, t.elements = map[string]*trie{}, map[int][]*trie{}
		added = t.kids
	default:
		return
	}
	for _, k := range added {
		t.names[k.name] = k
		if k.index >= 0 {
			t.elements[k.index] = append(t.elements[k.index], k)
		}
	}
}

// at returns those among the kids that stand for an element of an array, and
// maybe others.
func (t *trie) at(index int) []*trie {
	switch {
	case index > t.last:
		return nil
	case t.elements != nil:
		return t.elements[index]
	}
	return t.kids
}

func (t *trie) find(name string) *trie {
	if t.names != nil {
		return t.names[name]
	}
	for _, kid := range t.kids {
		if kid.name == name {
			return kid
		}
	}
	return nil
}

// findToken looks a member's name up as it is written, in quotes.
func (t *trie) findToken(token []byte, scratch *[]byte) *trie {
	name := inside(token)
	if bytes.IndexByte(name, '\\') >= 0 {
		*scratch = unquote((*scratch)[:0], token)
		name = *scratch
	}
	if t.names != nil {
		return t.names[string(name)]
	}
	for _, kid := range t.kids {
		if kid.name == string(name) {
			return kid
		}
	}
	return nil
}

// slot is what was found at a path.
type slot struct {
	value []byte // its JSON; nil unless found
	bad   bool   // the path leads through a scalar or past the end of an array
}

// collect finds the values of t's paths in the value at text[i] and returns the
// index after it, or -1 once nothing more is wanted. It reads the text once,
// and recurses no deeper than the paths.
func (m *machine) collect(t *trie, base int, text []byte, i int) int {
	switch kindOf(text[i:]) {
	case kindObject:
		return m.collectMembers(t, base, text, i+1)
	case kindArray:
		m.markBad(t, base)
		return m.collectElements(t, base, text, i+1)
	}
	m.markBad(t, base)
	return valueEnd(text, i)
}

func (m *machine) collectMembers(t *trie, base int, text []byte, i int) int {
	for {
		start, end, value, ok := nextMember(text, i)
		if !ok {
			break
		}
		kid := t.findToken(text[start:end], &m.name)
		if kid == nil {
			i = valueEnd(text, value)
			continue
		}
		if i = m.take(kid, base, text, value); i < 0 {
			return -1
		}
	}
	return closing(text, i)
}

func (m *machine) collectElements(t *trie, base int, text []byte, i int) int {
	for index := 0; ; index++ {
		value, ok := nextElement(text, i)
		if !ok {
			break
		}
		i = -1
		for _, kid := range t.at(index) {
			if kid.index != index {
				continue
			}
			m.markMissing(kid, base)
			if i = m.take(kid, base, text, value); i < 0 {
				return -1
			}
		}
		if i < 0 {
			i = valueEnd(text, value)
		}
	}
	return closing(text, i)
}

// take puts the value at text[value] where kid wants it, and looks into it for
// kid's own kids. It returns what collect does.
func (m *machine) take(kid *trie, base int, text []byte, value int) int {
	var end int
	if len(kid.kids) == 0 {
		end = valueEnd(text, value)
	} else if end = m.collect(kid, base, text, value); end < 0 {
		return -1
	}
	if kid.slot >= 0 {
		s := &m.slots[base+kid.slot]
		if s.value == nil {
			m.wanted--
		}
		s.value = text[value:end]
		if m.wanted <= 0 {
			return -1
		}
	}
	return end
}

// closing returns the index after the bracket that ends a container, where i is
// after its last member.
func closing(text []byte, i int) int {
	return min(skipSpace(text, i)+1, len(text))
}

// markBad says of everything below t that its path leads nowhere.
func (m *machine) markBad(t *trie, base int) {
	for _, kid := range t.kids {
		if kid.slot >= 0 {
			m.slots[base+kid.slot].bad = true
		}
		m.markBad(kid, base)
	}
}

// markMissing takes back markBad for what is at kid and below it.
func (m *machine) markMissing(kid *trie, base int) {
	if kid.slot >= 0 {
		m.slots[base+kid.slot].bad = false
	}
	for _, k := range kid.kids {
		m.markMissing(k, base)
	}
}

// count returns how many slots there are at t and below.
func (t *trie) count() int {
	n := 0
	if t.slot >= 0 {
		n++
	}
	for _, kid := range t.kids {
		n += kid.count()
	}
	return n
}
