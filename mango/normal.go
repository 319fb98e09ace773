package mango

import "strings"

// maxDepth is how deep a selector's JSON may be nested. CouchDB has no limit;
// nobody writes selectors of a tenth of this.
const maxDepth = 256

const (
	// maxConditions bounds the operators of a selector, each of which takes some
	// hundred bytes of memory and a little time for every document.
	maxConditions = 1 << 17
	// maxNames bounds, in bytes, the field names of a normal form: they are
	// repeated in it, so that a short selector can have a very long one.
	maxNames = 16 << 20
)

// compiler is the state of one Compile.
type compiler struct {
	instructions int // of all its patterns so far, estimated
	conditions   int // so far
	names        int // length of the field names of the normal form so far
}

// count counts a condition.
func (c *compiler) count() error {
	if c.conditions++; c.conditions > maxConditions {
		return errManyConditions
	}
	return nil
}

// explicit makes a node of a selector's JSON: implicit equality and implicit
// $and are written out, arguments are checked.
func (c *compiler) explicit(value []byte) (*node, error) {
	if kindOf(value) != kindObject {
		return c.newLeaf(opEq, value)
	}
	props := distinctMembers(value)
	switch len(props) {
	case 0:
		return c.newLeaf(opEq, value)
	case 1:
		return c.explicitMember(props[0])
	}
	n := &node{op: opAnd}
	for _, p := range props {
		kid, err := c.explicitMember(p)
		if err != nil {
			return nil, err
		}
		n.kids = append(n.kids, kid)
	}
	return n, nil
}

func (c *compiler) explicitMember(p member) (*node, error) {
	if !strings.HasPrefix(p.name, "$") {
		kid, err := c.explicit(p.value)
		if err != nil {
			return nil, err
		}
		return &node{op: opField, field: p.name, kids: []*node{kid}}, nil
	}
	op, ok := operators[p.name]
	if !ok {
		if unsupported[p.name] {
			return nil, errorf("not_supported", "Unsupported operator: ", p.name)
		}
		return nil, invalidOperator(clip(p.name))
	}
	switch op {
	case opAnd, opOr, opNor:
		if kindOf(p.value) != kindArray {
			return nil, badArgument(p.name, p.value)
		}
		if err := c.count(); err != nil {
			return nil, err
		}
		n := &node{op: op}
		for element := range elements(p.value) {
			kid, err := c.explicit(element)
			if err != nil {
				return nil, err
			}
			n.kids = append(n.kids, kid)
		}
		return n, nil
	case opNot, opElemMatch, opAllMatch, opKeyMapMatch:
		if kindOf(p.value) != kindObject {
			return nil, badArgument(p.name, p.value)
		}
		kid, err := c.explicit(p.value)
		if err != nil {
			return nil, err
		}
		return &node{op: op, kids: []*node{kid}}, nil
	}
	return c.newLeaf(op, p.value)
}

type member struct {
	name  string
	value []byte
}

// distinctMembers reads an object as CouchDB does: of members of one name the
// last counts, and stands where it stands.
func distinctMembers(object []byte) []member {
	var all []member
	last := map[string]int{}
	for name, value := range members(object) {
		m := member{string(unquote(nil, name)), value}
		last[m.name] = len(all)
		all = append(all, m)
	}
	if len(last) == len(all) {
		return all
	}
	kept := all[:0]
	for i, m := range all {
		if last[m.name] == i {
			kept = append(kept, m)
		}
	}
	return kept
}

// normalFields pushes field names down to the operators: {a: {$or: [1, 2]}}
// becomes {$or: [{a: 1}, {a: 2}]}, {a: {b: 1}} becomes {"a.b": 1}. The three
// matches of members begin paths of their own.
func (c *compiler) normalFields(n *node, path string) (*node, error) {
	switch n.op {
	case opField:
		if path == "" {
			return c.normalFields(n.kids[0], n.field)
		}
		return c.normalFields(n.kids[0], path+"."+n.field)
	case opAnd, opOr, opNot, opNor:
		for i, kid := range n.kids {
			var err error
			if n.kids[i], err = c.normalFields(kid, path); err != nil {
				return nil, err
			}
		}
		return n, nil
	case opElemMatch, opAllMatch, opKeyMapMatch:
		kid, err := c.normalFields(n.kids[0], "")
		if err != nil {
			return nil, err
		}
		n.kids[0] = kid
	case opText:
		if path != "" {
			return nil, errorf("bad_field", "Invalid field normalization on selector: ",
				erlangTerm(n.appendNormal(nil)))
		}
		return n, nil
	}
	if c.names += len(path); c.names > maxNames {
		return nil, errLongNames
	}
	return &node{op: opField, field: path, kids: []*node{n}}, nil
}

// normalNegations moves negations down to the operators. As in CouchDB 3.5 it
// does not look below field names, and so not into $elemMatch, $allMatch and
// $keyMapMatch: there $not stays, and matches what its argument does not, and
// $nor stays, and breaks the match (see verdict).
func (n *node) normalNegations() (*node, error) {
	switch n.op {
	case opNot:
		return n.kids[0].negate()
	case opNor:
		return n.withKids(opAnd, (*node).negate)
	case opAnd, opOr:
		return n.withKids(n.op, (*node).normalNegations)
	}
	return n, nil
}

func (n *node) negate() (*node, error) {
	switch n.op {
	case opNot:
		return n.kids[0].normalNegations()
	case opNor:
		return n.withKids(opOr, (*node).normalNegations)
	case opAnd:
		return n.withKids(opOr, (*node).negate)
	case opOr:
		return n.withKids(opAnd, (*node).negate)
	case opField:
		return n.withKids(opField, (*node).negate)
	case opText:
		return nil, badArgument(opNot.String(), n.appendNormal(nil))
	case opExists:
		negated := *n
		negated.flag = !n.flag
		negated.arg = []byte("true")
		if n.flag {
			negated.arg = []byte("false")
		}
		return &negated, nil
	}
	if op, ok := negation[n.op]; ok {
		negated := *n
		negated.op = op
		return &negated, nil
	}
	return &node{op: opNot, kids: []*node{n}}, nil
}

func (n *node) withKids(op operator, change func(*node) (*node, error)) (*node, error) {
	changed := &node{op: op, field: n.field, kids: make([]*node, len(n.kids))}
	for i, kid := range n.kids {
		var err error
		if changed.kids[i], err = change(kid); err != nil {
			return nil, err
		}
	}
	return changed, nil
}

// appendNormal appends a node's JSON.
func (n *node) appendNormal(dst []byte) []byte {
	switch n.op {
	case opField:
		dst = appendQuoted(append(dst, '{'), n.field)
	case opText:
		dst = append(dst, `{"$default":{"$text":`...)
		return append(append(dst, n.arg...), "}}"...)
	default:
		dst = append(append(append(dst, `{"`...), n.op.String()...), '"')
	}
	dst = append(dst, ':')
	switch n.op {
	case opAnd, opOr, opNor:
		dst = append(dst, '[')
		for i, kid := range n.kids {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = kid.appendNormal(dst)
		}
		dst = append(dst, ']')
	case opField, opNot, opElemMatch, opAllMatch, opKeyMapMatch:
		dst = n.kids[0].appendNormal(dst)
	default:
		dst = append(dst, n.arg...)
	}
	return append(dst, '}')
}
