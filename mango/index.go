package mango

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/mangrove-db/mangrove/document"
)

// Index is what a query can walk over: the rows of a Mango index, or all
// documents by their ids. It is immutable and safe for concurrent use.
type Index struct {
	ddoc        string // id of its design document; "" for all documents
	name        string
	partitioned bool
	columns     []column
	partial     []byte // selector of the documents that it has rows of, as stored; nil for all
	rest        []member
}

// allDocs is the index that every database has.
var allDocs = &Index{name: "_all_docs", columns: []column{{"_id", ascending}}}

func (ix *Index) special() bool { return ix.ddoc == "" }

// indexType is how an index is called in paths and listings.
func (ix *Index) indexType() string {
	if ix.special() {
		return "special"
	}
	return "json"
}

// compare orders indexes by their design documents' ids and their names.
func (ix *Index) compare(other *Index) int {
	return cmp.Or(cmp.Compare(ix.ddoc, other.ddoc), cmp.Compare(ix.name, other.name))
}

// readIndexes returns the indexes of a design document, given its canonical
// body: none if it is of another language. Views that are no right index are
// left out, as they may have come by other roads than _index.
func readIndexes(ddoc string, body []byte, partitioned bool) []*Index {
	top := distinctMembers(body)
	if string(find(top, "language")) != `"query"` {
		return nil
	}
	switch string(find(distinctObject(find(top, "options")), "partitioned")) {
	case "true":
		partitioned = true
	case "false":
		partitioned = false
	}
	var list []*Index
	for _, view := range distinctObject(find(top, "views")) {
		if ix := readIndex(distinctObject(view.value)); ix != nil {
			ix.ddoc, ix.name, ix.partitioned = strings.Clone(ddoc), view.name, partitioned
			list = append(list, ix)
		}
	}
	return list
}

// readIndex reads a view of the language "query", or returns nil.
func readIndex(view []member) *Index {
	if kindOf(find(view, "options")) != kindObject {
		return nil
	}
	return readDefinition(find(view, "map"))
}

// readDefinition reads the map of a view of the language "query", or returns nil.
func readDefinition(text []byte) *Index {
	ix := &Index{}
	for _, m := range distinctObject(slices.Clone(text)) {
		switch m.name {
		case "fields":
			if kindOf(m.value) != kindObject {
				return nil
			}
			for _, c := range distinctMembers(m.value) {
				ix.columns = append(ix.columns, column{c.name, c.value})
			}
			continue
		case "partial_filter_selector":
			if string(m.value) == "{}" {
				continue
			}
			ix.partial = m.value
		case "selector": // of old text indexes
			if ix.partial == nil && string(m.value) != "{}" {
				ix.partial = m.value
			}
		}
		ix.rest = append(ix.rest, m)
	}
	if ix.columns == nil && kindOf(find(distinctObject(text), "fields")) != kindObject {
		return nil
	}
	return ix
}

// distinctObject returns the members of an object, and none of other values.
func distinctObject(value []byte) []member {
	if kindOf(value) != kindObject {
		return nil
	}
	return distinctMembers(value)
}

func find(members []member, name string) []byte {
	for _, m := range members {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// appendJSON appends an index as _index and _explain show it.
func (ix *Index) appendJSON(dst []byte) []byte {
	if ix.special() {
		return append(dst, `{"ddoc":null,"name":"_all_docs","type":"special","def":{"fields":[{"_id":"asc"}]}}`...)
	}
	dst = document.AppendString(append(dst, `{"ddoc":`...), ix.ddoc)
	dst = document.AppendString(append(dst, `,"name":`...), ix.name)
	dst = append(dst, `,"type":"json","partitioned":`...)
	dst = appendBool(dst, ix.partitioned)
	dst = appendColumnList(append(dst, `,"def":{"fields":`...), ix.columns)
	for _, m := range ix.rest {
		dst = document.AppendString(append(dst, ','), m.name)
		dst = append(append(dst, ':'), m.value...)
	}
	return append(dst, "}}"...)
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, "true"...)
	}
	return append(dst, "false"...)
}

// AppendIndexes appends the answer of GET _index: limit indexes after the first
// skip of them.
func AppendIndexes(dst []byte, indexes []*Index, skip, limit int) []byte {
	dst = append(dst, `{"total_rows":`...)
	dst = strconv.AppendInt(dst, int64(len(indexes)), 10)
	dst = append(dst, `,"indexes":[`...)
	skip = min(skip, len(indexes))
	for i, ix := range indexes[skip : skip+min(limit, len(indexes)-skip)] {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = ix.appendJSON(dst)
	}
	return append(dst, "]}"...)
}

// has tells whether a field is a column.
func (ix *Index) has(field string) bool {
	return slices.ContainsFunc(ix.columns, func(c column) bool { return c.name == field })
}

// covers tells whether the rows hold all these fields. Rows hold no other
// members that begin with an underscore than _id and _rev in the form in which
// documents show them.
func (ix *Index) covers(fields []string) bool {
	return !ix.special() && !slices.ContainsFunc(fields, func(f string) bool {
		if f == "_id" {
			return false
		}
		return strings.HasPrefix(f, "_") && f != "_rev" || !ix.has(f)
	})
}
