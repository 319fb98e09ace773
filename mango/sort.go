package mango

// column is a field of an index or of a sort, and its direction.
type column struct {
	name string
	dir  []byte // JSON; "asc" or "desc" with its quotes, unless a hand-written index says otherwise
}

var (
	ascending  = []byte(`"asc"`)
	descending = []byte(`"desc"`)
)

// parseSort reads a list of fields, each a name or an object of a name and a
// direction. All must have the same direction. Of fields of one name the last
// counts, as in an object.
func parseSort(text []byte) ([]column, error) {
	if kindOf(text) != kindArray {
		return nil, errorf("invalid_sort_json", "Sort must be an array of sort specs, not: ", erlangPretty(text))
	}
	var columns []column
	for element := range elements(text) {
		c, ok := parseSortField(element)
		if !ok {
			return nil, errorf("invalid_sort_field", "Invalid sort field: ", erlangPretty(element))
		}
		columns = append(columns, c)
	}
	for _, c := range columns {
		if string(c.dir) != string(columns[0].dir) {
			return nil, errMixedSort
		}
	}
	return columns, nil
}

func parseSortField(text []byte) (c column, ok bool) {
	switch kindOf(text) {
	case kindString:
		c = column{string(unquote(nil, text)), ascending}
		return c, c.name != ""
	case kindObject:
		count := 0
		for name, dir := range members(text) {
			c = column{string(unquote(nil, name)), dir}
			count++
		}
		return c, count == 1 && (string(c.dir) == string(ascending) || string(c.dir) == string(descending))
	}
	return c, false
}

// appendColumns appends columns as an object of directions by name.
func appendColumns(dst []byte, columns []column) []byte {
	dst = append(dst, '{')
	for i, c := range distinctColumns(columns) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(appendQuoted(dst, c.name), ':'), c.dir...)
	}
	return append(dst, '}')
}

// distinctColumns leaves out the columns whose name comes again.
func distinctColumns(columns []column) []column {
	distinct := make([]column, 0, len(columns))
	last := map[string]int{}
	for i, c := range columns {
		last[c.name] = i
	}
	for i, c := range columns {
		if last[c.name] == i {
			distinct = append(distinct, c)
		}
	}
	return distinct
}

// appendColumnList appends columns as a list of objects, as _index shows them.
func appendColumnList(dst []byte, columns []column) []byte {
	dst = append(dst, '[')
	for i, c := range columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(appendQuoted(append(dst, '{'), c.name), ':'), c.dir...)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}
