package document

import (
	"slices"
	"strconv"

	"github.com/mangrove-db/mangrove/revtree"
)

// Decode reads one document as a client sends it. Members that start with an
// underscore must be known ones; those that CouchDB adds when it prints a
// document (_conflicts, _deleted_conflicts, _local_seq and _revs_info) are
// ignored. _id may be missing, which leaves ID empty. The rules are the same
// for local documents. Nothing of text is kept.
//
// Errors are of type *Error.
func Decode(text []byte) (*Document, error) {
	return decode(text, nil, maxText)
}

// decode is Decode for text in which a placeholder may stand for an
// attachment's data: its index in taken. The canonical text, reserved members
// included, may have up to limit bytes.
func decode(text []byte, taken []taken, limit int) (*Document, error) {
	p := newParser(text)
	defer p.free()
	p.limit = limit
	p.placeholders = len(taken) > 0
	if err := p.parse(); err != nil {
		return nil, err
	}
	if p.text[0] != '{' {
		return nil, errNotObject
	}
	p.sortDead()

	d := new(Document)
	live := 0
	for i, m := range p.members {
		if m.dead {
			continue
		}
		live++
		key := p.keyOf(m)
		if key[1] != '_' {
			continue
		}
		s := p.spanOf(p.members, i)
		valueEnd := s.textEnd - 1 // without the comma or brace after it
		kept, err := d.reserved(key, p, m.keyEnd+1, valueEnd, taken)
		if err != nil {
			return nil, err
		}
		if kept {
			continue
		}
		live--
		if i+1 == len(p.members) {
			s.textEnd-- // the brace stays
			s.termEnd-- // and the end of the list
		}
		at, _ := slices.BinarySearchFunc(p.dead, s.text, func(d span, at uint32) int { return int(d.text) - int(at) })
		// What is dead within this member goes with it.
		end := at
		for end < len(p.dead) && p.dead[end].text < s.textEnd {
			end++
		}
		p.dead = slices.Replace(p.dead, at, end, s)
	}
	d.Body = p.finalText()
	if n := len(d.Body); n > 2 && d.Body[n-2] == ',' { // the last member was reserved
		d.Body[n-2] = '}'
		d.Body = d.Body[:n-1]
	}
	d.term = p.finalTerm(live)
	return d, nil
}

// reserved reads a member whose name starts with an underscore; its value is
// the range from start to end of the parser's text. It reports whether the
// member belongs to the body all the same.
func (d *Document) reserved(key []byte, p *parser, start, end uint32, taken []taken) (kept bool, err error) {
	value := p.text[start:end]
	switch string(key[1 : len(key)-1]) {
	case "_id":
		if value[0] != '"' {
			return false, illegalID("Document id must be a string")
		}
		d.ID = unquote(value)
		return false, ValidateID(d.ID)
	case "_rev":
		if d.Revisions.Len() > 0 {
			return false, nil
		}
		if value[0] != '"' {
			return false, errRev
		}
		rev, err := revtree.ParseID(unquote(value))
		if err != nil {
			return false, errRev
		}
		d.Rev = rev
		return false, nil
	case "_revisions":
		if value[0] != '{' {
			break
		}
		path, err := decodePath(p.liveText(start, end))
		if err == nil && path.Len() > 0 {
			d.Revisions, d.Rev = path, path.Leaf()
		}
		return false, err
	case "_deleted":
		if value[0] != 't' && value[0] != 'f' {
			break
		}
		d.Deleted = value[0] == 't'
		return false, nil
	case "_attachments":
		if value[0] != '{' {
			break
		}
		d.Attachments, err = decodeAttachments(p.liveText(start, end), taken)
		return false, err
	case "_revs_info", "_conflicts", "_deleted_conflicts", "_local_seq":
		return false, nil
	case "_replication_id", "_replication_state", "_replication_state_time",
		"_replication_state_reason", "_replication_stats":
		return true, nil
	}
	return false, docValidation("Bad special document member: " + unquote(key))
}

// decodePath reads the object _revisions, which is canonical text.
func decodePath(text []byte) (revtree.Path, error) {
	var path revtree.Path
	var start, ids []byte
	for key, value := range membersOf(text) {
		switch string(key) {
		case `"start"`:
			start = value
		case `"ids"`:
			ids = value
		}
	}
	n, err := strconv.Atoi(string(start))
	if err != nil || n < 0 {
		return path, docValidation("_revisions.start isn't an integer.")
	}
	if len(ids) == 0 || ids[0] != '[' {
		return path, docValidation("_revisions.ids isn't a array.")
	}
	path.Start = n
	path.Hashes = make([]string, 0, len(ids)/35)
	for id := range elementsOf(ids) {
		if id[0] != '"' {
			return path, docValidation("RevId isn't a string")
		}
		hash := unquote(id)
		raw, err := revtree.ParseHash(hash)
		switch {
		case err != nil:
			return path, errRev
		case len(hash) == 32 && len(raw) == 32:
			return path, docValidation("RevId isn't a valid hexadecimal")
		}
		path.Hashes = append(path.Hashes, raw)
	}
	if len(path.Hashes) == 0 {
		return revtree.Path{}, nil
	}
	if n == 0 && len(path.Hashes) == 1 { // a local document's
		return path, nil
	}
	if err := path.Validate(); err != nil {
		return path, errRev
	}
	return path, nil
}
