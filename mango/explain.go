package mango

import (
	"slices"
	"strconv"

	"github.com/mangrove-db/mangrove/document"
)

// explain appends the answer of _explain: how the query is going to be answered
// and why so. db is the database's name.
func (p *plan) explain(dst []byte, db string, partitioned bool) []byte {
	q := p.query
	dst = document.AppendString(append(dst, `{"dbname":`...), db)
	dst = append(dst, `,"index":`...)
	if p.index != nil {
		dst = p.index.appendJSON(dst)
	} else {
		dst = append(dst, "null"...)
	}
	dst = appendBool(append(dst, `,"partitioned":`...), partitioned)
	dst = append(append(dst, `,"selector":`...), q.selector.Normal()...)
	dst = q.appendOptions(append(dst, `,"opts":`...))
	dst = strconv.AppendUint(append(dst, `,"limit":`...), q.limit, 10)
	dst = strconv.AppendUint(append(dst, `,"skip":`...), q.skip, 10)
	dst = appendStrings(append(dst, `,"fields":`...), q.fieldNames())
	dst = p.appendCandidates(append(dst, `,"index_candidates":`...))
	dst = q.selector.appendHints(append(dst, `,"selector_hints":`...))
	if p.index != nil {
		dst = p.appendArguments(append(dst, `,"mrargs":`...))
		dst = appendBool(append(dst, `,"covering":`...), p.covering)
	}
	return append(dst, '}')
}

func (q *Query) fieldNames() []string {
	if q.fields == nil {
		return nil
	}
	return q.fields.names
}

// appendOptions appends what was asked for, with the defaults filled in.
func (q *Query) appendOptions(dst []byte) []byte {
	dst = appendStrings(append(dst, `{"use_index":`...), q.useIndex)
	bookmark := q.bookmark
	if bookmark == "" {
		bookmark = noBookmark
	}
	dst = document.AppendString(append(dst, `,"bookmark":`...), bookmark)
	dst = strconv.AppendUint(append(dst, `,"limit":`...), q.limit, 10)
	dst = strconv.AppendUint(append(dst, `,"skip":`...), q.skip, 10)
	dst = appendColumns(append(dst, `,"sort":`...), q.sort)
	dst = appendStrings(append(dst, `,"fields":`...), q.fieldNames())
	dst = document.AppendString(append(dst, `,"partition":`...), q.partition)
	dst = strconv.AppendUint(append(dst, `,"r":`...), q.quorum, 10)
	dst = appendBool(append(dst, `,"conflicts":`...), q.conflicts)
	if q.stale {
		dst = append(dst, `,"stale":"ok"`...)
	} else {
		dst = append(dst, `,"stale":false`...)
	}
	dst = appendBool(append(dst, `,"update":`...), q.update)
	dst = appendBool(append(dst, `,"stable":`...), q.stable)
	dst = appendBool(append(dst, `,"execution_stats":`...), q.stats)
	dst = appendBool(append(dst, `,"allow_fallback":`...), q.fallback)
	return append(dst, '}')
}

// appendArguments appends how the index is going to be read, in the words of
// views.
func (p *plan) appendArguments(dst []byte) []byte {
	q := p.query
	dst = appendBool(append(dst, `{"include_docs":`...), q.quorum == 1 && !p.covering)
	dst = append(dst, `,"view_type":"map","reduce":false,"partition":`...)
	if q.partition != "" {
		dst = document.AppendString(dst, q.partition)
	} else {
		dst = append(dst, "null"...)
	}
	start, end := p.showStart(nil), p.showEnd(nil)
	direction := `"fwd"`
	if q.descending() {
		start, end, direction = end, start, `"rev"`
	}
	dst = append(append(dst, `,"start_key":`...), start...)
	dst = append(append(dst, `,"end_key":`...), end...)
	dst = append(append(dst, `,"direction":`...), direction...)
	dst = appendBool(append(dst, `,"stable":`...), q.stable || q.stale)
	dst = appendBool(append(dst, `,"update":`...), q.update && !q.stale)
	// That there are no conflicts to be shown is not false but undefined.
	if q.conflicts {
		return append(dst, `,"conflicts":true}`...)
	}
	return append(dst, `,"conflicts":"undefined"}`...)
}

func (p *plan) showStart(dst []byte) []byte {
	switch {
	case p.nothing:
		return append(dst, "null"...)
	case !p.index.special():
		start, _ := p.bounds()
		return showKeys(dst, start)
	case len(p.ranges) == 0:
		return append(dst, "null"...)
	case p.ranges[0].low.side != 0:
		return append(dst, `""`...)
	}
	return p.ranges[0].low.show(dst)
}

func (p *plan) showEnd(dst []byte) []byte {
	switch {
	case p.nothing:
		return append(dst, "null"...)
	case !p.index.special():
		_, end := p.bounds()
		return showKeys(dst, end)
	case len(p.ranges) == 0:
		return append(dst, maxKey...)
	}
	return p.ranges[0].high.show(dst)
}

func showKeys(dst []byte, bounds []bound) []byte {
	dst = append(dst, '[')
	for i, b := range bounds {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = b.show(dst)
	}
	return append(dst, ']')
}

// analysis is what _explain says about an index that was not chosen.
type analysis struct {
	unusable bool
	reason   string // the first that was found
	rank     int    // how far behind the chosen one it is
}

// analyse returns what became of the indexes that were not chosen.
func (p *plan) analyse() map[*Index]*analysis {
	t := &p.trace
	found := map[*Index]*analysis{}
	add := func(ix *Index, unusable bool, reason string, rank int) {
		a := found[ix]
		if a == nil {
			a = &analysis{}
			found[ix] = a
		}
		a.unusable = a.unusable || unusable
		if a.reason == "" {
			a.reason = reason
		}
		a.rank += rank
	}
	// The later an index was ruled out, the nearer it is.
	rank := max(1, len(t.ranked))
	unfavoured := rank
	rank += present(t.unfavoured)
	excluded := rank
	rank += present(t.excluded)
	unusable := rank
	rank += present(t.unusable)
	outOfScope := rank
	rank += present(t.outOfScope)
	for _, ix := range t.partial {
		add(ix, true, "is_partial", rank)
	}
	for _, ix := range t.outOfScope {
		add(ix, true, "scope_mismatch", outOfScope)
	}
	for _, ix := range t.unusable {
		add(ix, true, t.reasons[ix], unusable)
	}
	for _, ix := range t.excluded {
		add(ix, false, "excluded_by_user", excluded)
	}
	for _, ix := range t.unfavoured {
		add(ix, false, "unfavored_type", unfavoured)
	}
	for i, r := range t.ranked {
		reason := "alphabetically_comes_after"
		switch {
		case r.distance > 0:
			reason = "less_overlap"
		case len(r.columns) > len(p.index.columns):
			reason = "too_many_fields"
		}
		add(r.Index, false, reason, i)
	}
	delete(found, p.index)
	return found
}

// present returns 1 if a list has any elements.
func present(list []*Index) int { return min(len(list), 1) }

// appendCandidates appends the indexes that were not chosen, with the reasons.
func (p *plan) appendCandidates(dst []byte) []byte {
	found := p.analyse()
	dst = append(dst, '[')
	first := true
	for _, ix := range slices.Backward(p.trace.all) {
		a := found[ix]
		if a == nil {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = ix.appendJSON(append(dst, `{"index":`...))
		dst = appendBool(append(dst, `,"analysis":{"usable":`...), !a.unusable)
		dst = append(append(append(dst, `,"reasons":[{"name":"`...), a.reason...), `"}],"ranking":`...)
		dst = strconv.AppendInt(dst, int64(a.rank), 10)
		dst = append(dst, `,"covering":`...)
		if ix.special() {
			dst = append(dst, "null"...)
		} else {
			dst = appendBool(dst, p.query.fields != nil && ix.covers(p.query.fields.names))
		}
		dst = append(dst, "}}"...)
	}
	return append(dst, ']')
}

// appendHints appends which fields of the selector an index would help with.
func (s *Selector) appendHints(dst []byte) []byte {
	indexable := s.indexableFields()
	others := slices.DeleteFunc(s.fields(), func(f string) bool {
		_, found := slices.BinarySearch(indexable, f)
		return found
	})
	dst = appendStrings(append(dst, `[{"type":"json","indexable_fields":`...), indexable)
	dst = appendStrings(append(dst, `,"unindexable_fields":`...), others)
	return append(dst, "}]"...)
}

func appendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = document.AppendString(dst, s)
	}
	return append(dst, ']')
}
