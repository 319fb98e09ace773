package api

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/mangrove-db/mangrove/document"
)

// fields are the paths of what is shown of documents. In a path the names of members are separated by dots; a
// backslash keeps the dot after it from separating. Elements of arrays go by their number.
type fields [][]string

// Bounds of what a client may ask to be looked for in every document.
const (
	maxFields     = 1000
	maxFieldParts = 256
)

// parseFields reads a JSON list of paths. An empty list shows everything, and is nil.
func parseFields(text []byte) (fields, error) {
	var list []json.RawMessage
	if text[0] != '[' || json.Unmarshal(text, &list) != nil {
		return nil, errSelectorNoFields
	}
	if len(list) > maxFields {
		return nil, badRequestf("No more than %d fields can be asked for.", maxFields)
	}
	var fs fields
	for _, item := range list {
		name, ok := jsonString(item)
		if !ok {
			return nil, badRequest("Invalid JSON for field spec: " + string(item))
		}
		path, ok := splitPath(name)
		if !ok {
			return nil, badRequest("Invalid field name: " + name)
		}
		fs = append(fs, path)
	}
	return fs, nil
}

func splitPath(name string) (path []string, ok bool) {
	var part strings.Builder
	for i := 0; i <= len(name); i++ {
		switch {
		case i == len(name) || name[i] == '.':
			if part.Len() == 0 || len(path) == maxFieldParts {
				return nil, false
			}
			path = append(path, part.String())
			part.Reset()
		case name[i] == '\\' && i+1 < len(name):
			i++
			part.WriteByte(name[i])
		default:
			part.WriteByte(name[i])
		}
	}
	return path, true
}

// shown is an object that is made of what was found: members in the order in which they were asked for.
type shown struct {
	name   string
	value  json.RawMessage // nil: an object of members
	nested []*shown
}

// appendFrom appends an object of those fields that a document has.
func (fs fields) appendFrom(b, doc []byte) ([]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(doc, &members); err != nil {
		return b, err
	}
	root := &shown{}
	for _, path := range fs {
		if value := lookInto(members[path[0]], path[1:]); value != nil {
			root.put(path, value)
		}
	}
	return root.append(b), nil
}

// lookInto returns the value at a path, or nil. The text is that of valid JSON, or nil.
func lookInto(text json.RawMessage, path []string) json.RawMessage {
	for _, name := range path {
		if len(text) == 0 {
			return nil
		}
		switch text[0] {
		case '{':
			var object map[string]json.RawMessage
			_ = json.Unmarshal(text, &object)
			text = object[name]
		case '[':
			var array []json.RawMessage
			n, err := strconv.Atoi(name)
			if err != nil || json.Unmarshal(text, &array) != nil || n < 0 || n >= len(array) {
				return nil
			}
			text = array[n]
		default:
			return nil
		}
	}
	return text
}

func (s *shown) put(path []string, value json.RawMessage) {
	for _, name := range path {
		s = s.member(name)
	}
	s.value, s.nested = value, nil
}

// member returns the member of that name, which it makes if there is none.
func (s *shown) member(name string) *shown {
	for _, m := range s.nested {
		if m.name == name {
			return m
		}
	}
	m := &shown{name: name}
	s.nested = append(s.nested, m)
	return m
}

func (s *shown) append(b []byte) []byte {
	if s.value != nil {
		return append(b, s.value...)
	}
	b = append(b, '{')
	for i, m := range s.nested {
		if i > 0 {
			b = append(b, ',')
		}
		b = document.AppendString(b, m.name)
		b = append(b, ':')
		b = m.append(b)
	}
	return append(b, '}')
}
