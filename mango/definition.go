package mango

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"slices"

	"github.com/mangrove-db/mangrove/document"
)

// Definition is a checked request to make an index. It is immutable.
type Definition struct {
	ddoc, name  string
	given       []byte // the definition as it was sent
	columns     []column
	partial     []byte // in its normal form; {} for all documents
	partitioned []byte // JSON; nil if it was not said
}

// ParseDefinition reads the body of a request to _index, which has to be
// canonical JSON. The errors are of type *Error; nothing of body is kept.
func ParseDefinition(body []byte) (*Definition, error) {
	body = slices.Clone(body)
	d := &Definition{partial: []byte("{}")}
	kind := "json"
	var quorum uint64
	err := readOptions(body, []option{
		{name: "index", required: true, read: func(v []byte) error { d.given = v; return nil }},
		{name: "type", read: stringOption(&kind)},
		{name: "name", read: nameOption(&d.name)},
		{name: "ddoc", read: nameOption(&d.ddoc)},
		{name: "w", read: positiveOption(&quorum)},
		{name: "partitioned", read: func(v []byte) error {
			if d.partitioned = v; kindOf(v) != kindBoolean {
				return unknownError("mango_opts", "{invalid_partitioned_value,"+erlangTerm(v)+"}")
			}
			return nil
		}},
	})
	if err != nil {
		return nil, err
	}
	switch kind {
	case "json":
	case "text", "nouveau":
		return nil, &Error{"required index service unavailable", kind, Unavailable}
	default:
		return nil, errorf("invalid_index", "Invalid type for index: ", clip(kind))
	}
	if d.ddoc == "" {
		d.ddoc = d.madeUpName()
	}
	if d.name == "" {
		d.name = d.madeUpName()
	}
	d.ddoc = DesignID(d.ddoc)
	return d, d.readIndex()
}

// readIndex reads the definition itself.
func (d *Definition) readIndex() error {
	if kindOf(d.given) != kindObject {
		return errorf("invalid_index", "JSON indexes must be an object, not: ", erlangTerm(d.given))
	}
	return readOptions(d.given, []option{
		{name: "fields", required: true, read: func(v []byte) (err error) {
			if d.columns, err = parseSort(v); err != nil {
				return err
			}
			for _, c := range d.columns {
				if _, err := parsePath(c.name); err != nil {
					return err
				}
			}
			return nil
		}},
		{name: "partial_filter_selector", read: func(v []byte) error {
			s, err := Compile(v)
			if err == nil {
				d.partial = s.Normal()
			}
			return err
		}},
	})
}

// madeUpName returns the name of what has none: the same for the same request.
func (d *Definition) madeUpName() string {
	h := sha1.New()
	for _, part := range [][]byte{d.given, []byte(d.name), []byte(d.ddoc), d.partitioned} {
		h.Write(document.AppendString(nil, string(part)))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Design returns the id of the design document that the index goes to.
func (d *Definition) Design() string { return d.ddoc }

// Partitioned tells whether the index is asked to be one of partitions.
func (d *Definition) Partitioned() bool { return string(d.partitioned) == "true" }

// Name returns the index's name.
func (d *Definition) Name() string { return d.name }

// AddTo returns the body of a design document with the index in it, and whether
// it was there before. body is the canonical one of the document that there is,
// nil if there is none. The errors are of type *Error.
func (d *Definition) AddTo(body []byte) (_ []byte, exists bool, err error) {
	isNew := body == nil
	if isNew {
		body = []byte(`{"language":"query"}`)
	}
	top := distinctMembers(body)
	if language := find(top, "language"); string(language) != `"query"` {
		term := "false"
		if language != nil {
			term = "{" + erlangTerm([]byte(`"language"`)) + "," + erlangTerm(language) + "}"
		}
		return nil, false, errorf("invalid_ddoc_lang", "Existing design doc has an invalid language: ", term)
	}
	views := setMember(distinctObject(find(top, "views")), d.name, d.view())
	top = setMember(top, "views", appendMembers(nil, views))
	options := distinctObject(find(top, "options"))
	switch {
	case bytes.Equal(find(options, "partitioned"), d.partitioned):
	case !isNew:
		return nil, false, errorf("invalid_partitioned_option",
			"Requested partitioned option does not match existing value on design document ", clip(d.ddoc))
	default:
		top = setMember(top, "options", appendMembers(nil, setMember(options, "partitioned", d.partitioned)))
	}
	changed, err := document.Canonical(appendMembers(nil, top))
	if err != nil {
		return nil, false, err
	}
	return changed, bytes.Equal(changed, body), nil
}

// view returns the index as a view of the language "query".
func (d *Definition) view() []byte {
	b := appendColumns([]byte(`{"map":{"fields":`), d.columns)
	b = append(append(b, `,"partial_filter_selector":`...), d.partial...)
	b = append(append(b, `},"reduce":"_count","options":{"def":`...), d.given...)
	return append(b, "}}"...)
}

// Remove returns the body of a design document without some indexes; nil if
// nothing is left of it that anybody has use for.
func Remove(body []byte, names ...string) ([]byte, error) {
	top := distinctMembers(body)
	views := slices.DeleteFunc(distinctObject(find(top, "views")), func(m member) bool { return slices.Contains(names, m.name) })
	if len(views) > 0 {
		return document.Canonical(appendMembers(nil, setMember(top, "views", appendMembers(nil, views))))
	}
	top = slices.DeleteFunc(top, func(m member) bool { return m.name == "views" })
	if !slices.ContainsFunc(top, func(m member) bool { return m.name != "language" && m.name != "options" }) {
		return nil, nil
	}
	return document.Canonical(appendMembers(nil, top))
}

// setMember gives a member another value, or adds it at the end.
func setMember(members []member, name string, value []byte) []member {
	members = slices.Clone(members)
	for i := range members {
		if members[i].name == name {
			members[i].value = value
			return members
		}
	}
	return append(members, member{name, value})
}

func appendMembers(dst []byte, members []member) []byte {
	dst = append(dst, '{')
	for i, m := range members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(document.AppendString(dst, m.name), ':'), m.value...)
	}
	return append(dst, '}')
}

// Named returns the names of the indexes of a design document, given its id or
// its name. If kind and name are not empty, only those of that type and name
// count.
func Named(indexes []*Index, ddoc, kind, name string) []string {
	id := DesignID(ddoc)
	var names []string
	for _, ix := range indexes {
		if !ix.special() && ix.ddoc == id && (kind == "" || kind == ix.indexType()) && (name == "" || name == ix.name) {
			names = append(names, ix.name)
		}
	}
	return names
}

// ParseDeletions reads the body of a request to _index/_bulk_delete, which has to
// be canonical JSON, and returns the ids of design documents. The errors are of
// type *Error.
func ParseDeletions(body []byte) ([]string, error) {
	var ids []string
	var quorum uint64
	err := readOptions(body, []option{
		{name: "docids", required: true, read: func(v []byte) error {
			if kindOf(v) != kindArray {
				return errorf("invalid_bulk_docs", "Bulk Delete requires an array of non-null docids. Docids: ", erlangTerm(v))
			}
			for element := range elements(v) {
				if _, err := parseUseIndex(element); err != nil {
					return err
				}
				if kindOf(element) != kindString {
					return errorf("invalid_index_name", "Invalid index name: ", erlangTerm(element))
				}
				ids = append(ids, DesignID(string(unquote(nil, element))))
			}
			return nil
		}},
		{name: "w", read: positiveOption(&quorum)},
	})
	return ids, err
}

func stringOption(to *string) func([]byte) error {
	return func(v []byte) error {
		if kindOf(v) != kindString {
			return errorf("invalid_string", "Invalid string: ", erlangTerm(v))
		}
		*to = string(unquote(nil, v))
		return nil
	}
}

func nameOption(to *string) func([]byte) error {
	read := stringOption(to)
	return func(v []byte) error {
		err := read(v)
		if err == nil && *to == "" {
			return errEmptyName
		}
		return err
	}
}
