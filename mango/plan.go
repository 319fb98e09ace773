package mango

import (
	"slices"
	"strings"
)

// plan is how a query is to be answered.
type plan struct {
	query *Query
	index *Index // nil: there is none that would do
	// ranges are those of the first columns of the index.
	ranges []valueRange
	// nothing says that CouchDB would not even look: it answers without bookmark.
	nothing  bool
	covering bool // the rows hold all that is needed
	trace    trace
}

// trace is what became of each index on the way.
type trace struct {
	all        []*Index
	partial    []*Index // all others are global
	outOfScope []*Index
	unusable   []*Index
	reasons    map[*Index]string // of those that are not usable
	excluded   []*Index          // by use_index
	unfavoured []*Index          // there is one of a better type
	ranked     []rankedIndex     // the rest, best first
}

// rankedIndex is an index with the ranges of its first columns.
type rankedIndex struct {
	*Index
	ranges   []valueRange
	distance int // how many of the selector's ranges it has no use for
}

// newPlan chooses an index by CouchDB's rules: those that may be used are the
// global ones and the one that the query names, of the query's scope, whose
// columns all documents have that the query can find, and in whose order they
// are wanted; the one named goes before others, JSON indexes go before all
// documents; then the one counts that has use for the most of the selector's
// ranges, then the narrower, then the name.
//
// There may be no index that would do: then index is nil.
func newPlan(q *Query, indexes []*Index) (*plan, error) {
	p := &plan{query: q}
	usable := p.usable(indexes)
	chosen := q.named(usable)
	if len(chosen) == 0 {
		if err := q.mayFallBack(usable); err != nil {
			return nil, err
		}
		chosen = usable
	}
	for _, ix := range usable {
		if !slices.Contains(chosen, ix) {
			p.trace.excluded = append(p.trace.excluded, ix)
		}
	}
	if len(chosen) == 0 {
		return p, nil
	}
	best := chosen
	if json := slices.DeleteFunc(slices.Clone(chosen), (*Index).special); len(json) > 0 {
		best = json
		if len(json) < len(chosen) {
			p.trace.unfavoured = []*Index{allDocs}
		}
	}
	p.choose(best)
	return p, nil
}

// usable sorts out the indexes that cannot be used.
func (p *plan) usable(indexes []*Index) (usable []*Index) {
	q, t := p.query, &p.trace
	t.all, t.reasons = indexes, map[*Index]string{}
	named := q.named(indexes)
	for _, ix := range indexes {
		if ix.partial != nil {
			t.partial = append(t.partial, ix)
			if !slices.Contains(named, ix) {
				continue
			}
		}
		if !ix.special() && ix.partitioned != (q.partition != "") {
			t.outOfScope = append(t.outOfScope, ix)
			continue
		}
		if reason := q.objection(ix); reason != "" {
			t.unusable = append(t.unusable, ix)
			t.reasons[ix] = reason
			continue
		}
		usable = append(usable, ix)
	}
	return usable
}

// named returns the indexes that use_index names.
func (q *Query) named(indexes []*Index) (list []*Index) {
	if len(q.useIndex) == 0 {
		return nil
	}
	id := DesignID(q.useIndex[0])
	for _, ix := range indexes {
		if ix.ddoc == id && (len(q.useIndex) == 1 || ix.name == q.useIndex[1]) {
			list = append(list, ix)
		}
	}
	return list
}

// mayFallBack returns the error for a query that no named index serves and that
// allows no other.
func (q *Query) mayFallBack(usable []*Index) error {
	switch {
	case q.fallback || len(usable) == 0:
		return nil
	case len(q.useIndex) > 0:
		return errorf("invalid_index", q.indexName(), " specified by `use_index` could not be found or it is not suitable.")
	case slices.ContainsFunc(usable, func(ix *Index) bool { return !ix.special() }):
		return nil
	}
	return errorf("invalid_index", "You must specify an index with the `use_index` parameter.")
}

// objection returns why an index cannot be used, or "".
func (q *Query) objection(ix *Index) string {
	if ix.special() {
		switch {
		case len(q.sort) == 0:
		case !slices.Contains(q.selector.indexableFields(), "_id"):
			return "field_mismatch"
		case len(q.sort) > 1 || q.sort[0].name != "_id":
			return "sort_order_mismatch"
		}
		return ""
	}
	if q.selector.searchesText() {
		return "needs_text_search"
	}
	for _, c := range ix.columns {
		sorted := slices.ContainsFunc(q.sort, func(s column) bool { return s.name == c.name })
		if !sorted && c.name != "_id" && c.name != "_rev" && !q.selector.requires(c.name) {
			return "field_mismatch"
		}
	}
	if !q.sortedBy(ix.columns) {
		return "sort_order_mismatch"
	}
	return ""
}

// sortedBy tells whether the order of an index is the one asked for: columns
// that have but one value can stand before those of the sort.
func (q *Query) sortedBy(columns []column) bool {
	if len(q.sort) == 0 {
		return true
	}
	for len(columns) > 0 && columns[0].name != q.sort[0].name {
		if !q.selector.fixes(columns[0].name) {
			return false
		}
		columns = columns[1:]
	}
	if len(columns) < len(q.sort) {
		return false
	}
	for i, s := range q.sort {
		if columns[i].name != s.name {
			return false
		}
	}
	return true
}

// choose takes the best of indexes of one type.
func (p *plan) choose(indexes []*Index) {
	found := p.query.selector.fieldRanges()
	ranked := make([]rankedIndex, len(indexes))
	for i, ix := range indexes {
		r := ix.prefix(found)
		ranked[i] = rankedIndex{ix, r, len(found) - len(r)}
	}
	slices.SortFunc(ranked, func(a, b rankedIndex) int {
		if a.distance != b.distance {
			return a.distance - b.distance
		}
		if len(a.columns) != len(b.columns) {
			return len(a.columns) - len(b.columns)
		}
		return a.compare(b.Index)
	})
	p.index, p.ranges = ranked[0].Index, ranked[0].ranges
	if !p.index.special() {
		p.trace.ranked = ranked
	}
	p.nothing = p.query.selector.impossible() || len(p.ranges) == 1 && p.ranges[0].empty
	p.covering = p.query.fields != nil && p.index.covers(p.query.required())
	for i, r := range p.ranges {
		// Ids match by their bytes, but rows are in the order of views.
		if !p.index.special() && r.raw && !r.exact() {
			p.ranges[i] = everything(true)
		}
	}
}

// prefix returns the ranges of the first columns, as far as there are some.
func (ix *Index) prefix(found []fieldRange) (ranges []valueRange) {
	for _, c := range ix.columns {
		i, ok := slices.BinarySearchFunc(found, c.name, func(r fieldRange, name string) int { return strings.Compare(r.field, name) })
		if !ok {
			break
		}
		ranges = append(ranges, found[i].valueRange)
	}
	return ranges
}

// required returns the fields that an answer is made of.
func (q *Query) required() []string { return append(q.selector.fields(), q.fields.names...) }

// descending tells whether the rows are wanted from the last to the first.
func (q *Query) descending() bool {
	return len(q.sort) > 0 && string(q.sort[0].dir) == string(descending)
}

// bounds returns the bounds of the rows in ascending order: one for each column
// up to the first that is open at that end.
func (p *plan) bounds() (start, end []bound) {
	for _, r := range p.ranges {
		if r.low.side != 0 {
			break
		}
		start = append(start, r.low)
	}
	for _, r := range p.ranges {
		if r.high.side != 0 {
			break
		}
		end = append(end, r.high)
	}
	return start, append(end, bound{side: 1})
}

// startKey and endKey return the JSON keys between which the rows of a JSON
// index lie, in ascending order; nil if that end is open.
func (p *plan) startKey() []byte {
	start, _ := p.bounds()
	if len(start) == 0 {
		return nil
	}
	return appendKeys(start, bound.highest)
}

func (p *plan) endKey() []byte {
	_, end := p.bounds()
	if len(end) == 1 {
		return nil
	}
	return appendKeys(end, func(b bound) []byte {
		if b.side > 0 {
			return []byte(behindAll)
		}
		return b.highest()
	})
}

func appendKeys(bounds []bound, text func(bound) []byte) []byte {
	key := []byte{'['}
	for i, b := range bounds {
		if i > 0 {
			key = append(key, ',')
		}
		key = append(key, text(b)...)
	}
	return append(key, ']')
}
