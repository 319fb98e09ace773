package mango

import "slices"

// Fields are the paths of what is shown of documents, as in the fields of
// _find. They are immutable and safe for concurrent use; nil shows everything.
type Fields struct {
	names []string // as they were asked for
	scope scope
	shown []*shownField
	needs needs
}

// shownField is a member of what is shown: the value found at a path, or an
// object of such members.
type shownField struct {
	name   string
	slot   int // of the value; -1 if only parts of it were asked for
	nested []*shownField
}

// maxFields bounds how many fields may be looked for in every document.
const maxFields = 1000

// ParseFields reads a JSON list of paths. In a path the names of members are
// separated by dots; a backslash keeps the dot after it from separating.
// Elements of arrays go by their number. An empty list shows everything. The
// errors are of type *Error; nothing of text is kept.
func ParseFields(text []byte) (*Fields, error) {
	if kindOf(text) != kindArray {
		return nil, errorf("invalid_fields", "Fields must be an array of strings, not: ", erlangTerm(text))
	}
	count := 0
	for range elements(text) {
		if count++; count > maxFields {
			return nil, errManyFields
		}
	}
	var fields *Fields
	for element := range elements(text) {
		if kindOf(element) != kindString {
			return nil, errorf("invalid_field", "Invalid JSON for field spec: ", erlangTerm(element))
		}
		if fields == nil {
			fields = &Fields{}
		}
		if err := fields.add(string(unquote(nil, element))); err != nil {
			return nil, err
		}
	}
	if fields != nil {
		fields.scope.body = fields.scope.slots
		fields.scope.separateSpecial()
		fields.needs.add(&fields.scope)
	}
	return fields, nil
}

func (f *Fields) add(path string) error {
	parts, err := parsePath(path)
	if err != nil {
		return err
	}
	f.names = append(f.names, path)
	f.shown = show(f.shown, parts, f.scope.slot(parts))
	return nil
}

// show adds the path of a slot to what is shown.
func show(list []*shownField, path []string, slot int) []*shownField {
	i := slices.IndexFunc(list, func(s *shownField) bool { return s.name == path[0] })
	if i < 0 {
		i = len(list)
		list = append(list, &shownField{name: path[0], slot: -1})
	}
	if s := list[i]; len(path) > 1 {
		s.nested = show(s.nested, path[1:], slot)
	} else {
		s.slot = slot
	}
	return list
}

// slot returns the slot of a path.
func (sc *scope) slot(parts []string) int {
	t := sc.paths.insert(parts)
	if t.slot < 0 {
		t.slot = sc.slots
		sc.slots++
	}
	return t.slot
}

// AppendFrom appends the fields of doc as a JSON object. What doc lacks is left
// out.
func (f *Fields) AppendFrom(dst []byte, doc Doc) []byte {
	m := machines.Get().(*machine)
	defer m.release()
	m.doc = doc
	m.collectDocument(&f.scope)
	dst, _ = appendShown(dst, f.shown, m.slots)
	return dst
}

// appendShown appends an object of the members that were found; if there are
// none, it is empty and found is false.
func appendShown(dst []byte, list []*shownField, slots []slot) (_ []byte, found bool) {
	dst = append(dst, '{')
	for _, s := range list {
		mark := len(dst)
		if found {
			dst = append(dst, ',')
		}
		dst = append(appendQuoted(dst, s.name), ':')
		there := true
		if s.slot >= 0 && slots[s.slot].value != nil {
			// The whole holds its parts.
			dst = append(dst, slots[s.slot].value...)
		} else {
			dst, there = appendShown(dst, s.nested, slots)
		}
		if !there {
			dst = dst[:mark]
			continue
		}
		found = true
	}
	return append(dst, '}'), found
}
