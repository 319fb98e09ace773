package view

import (
	"context"

	"github.com/mangrove-db/mangrove/storage"
)

// statsReducer is _stats. Its reductions are the JSON text of the statistics: an object, or of arrays of values an
// array of objects. They are what the values themselves may be, so that rereducing is the same as reducing.
type statsReducer struct{}

func (statsReducer) Reduce(_ context.Context, rows []storage.IndexRow) ([]byte, error) {
	return reduceStats(len(rows), func(i int) []byte { return rowValue(rows[i].Value) }), nil
}

func (statsReducer) Rereduce(_ context.Context, parts [][]byte) ([]byte, error) {
	return reduceStats(len(parts), func(i int) []byte { return parts[i] }), nil
}

// reduceStats adds up n values. What cannot be counted is the failure of the whole.
func reduceStats(n int, value func(i int) []byte) []byte {
	var sum *stats
	for i := range n {
		v := value(i)
		if isFailure(v) {
			return v
		}
		s, reason := parseStats(v, 0)
		if reason == "" && sum != nil {
			reason = sum.add(s)
		}
		if reason != "" {
			return appendFailure(nil, "invalid_value", reason)
		}
		if sum == nil {
			sum = s
		}
	}
	return sum.append(nil)
}

// stats are the statistics of numbers, or of the arrays of numbers that stand in their place.
type stats struct {
	sum, count, min, max, sumsqr number
	list                         []*stats
	isList                       bool
}

// maxStatsDepth is how deep arrays of arrays may be.
const maxStatsDepth = 100

// parseStats reads a value: a number, statistics, or an array of such. If it is nothing of the kind, reason says so in
// CouchDB's words.
func parseStats(value []byte, depth int) (s *stats, reason string) {
	switch {
	case isNumber(value):
		n := parseNumber(value)
		return &stats{sum: n, count: integer(1), min: n, max: n, sumsqr: n.square()}, ""
	case len(value) > 0 && value[0] == '[' && depth < maxStatsDepth:
		s := &stats{isList: true}
		elements(value, func(e []byte) bool {
			var item *stats
			if item, reason = parseStats(e, depth+1); reason == "" {
				s.list = append(s.list, item)
			}
			return reason == ""
		})
		return s, reason
	case len(value) > 0 && value[0] == '{':
		return unpackStats(value)
	}
	return nil, "non-numeric _stats input: " + formatTerm(value, false)
}

// unpackStats reads statistics that a map function has emitted.
func unpackStats(object []byte) (s *stats, reason string) {
	s = &stats{}
	list := members(object)
	for _, field := range []struct {
		name string
		to   *number
	}{{"sum", &s.sum}, {"count", &s.count}, {"min", &s.min}, {"max", &s.max}, {"sumsqr", &s.sumsqr}} {
		found := false
		for _, m := range list {
			if string(m.name) != `"`+field.name+`"` {
				continue
			}
			if !isNumber(m.value) {
				return nil, "non-numeric _stats input received for " + field.name + ": " + formatTerm(m.value, false)
			}
			*field.to, found = parseNumber(m.value), true
			break
		}
		if !found {
			return nil, "user _stats input missing required field " + field.name + " (" + formatProperties(list, true) + ")"
		}
	}
	return s, ""
}

// add adds t, which is not used by anybody else.
func (s *stats) add(t *stats) (reason string) {
	if s.isList != t.isList || len(s.list) != len(t.list) {
		return "The _stats function requires that map values be numbers or arrays of numbers, not '" +
			formatTerm(t.append(nil), true) + "'"
	}
	for i := range s.list {
		if reason := s.list[i].add(t.list[i]); reason != "" {
			return reason
		}
	}
	s.sum, s.count, s.sumsqr = s.sum.add(t.sum), s.count.add(t.count), s.sumsqr.add(t.sumsqr)
	if t.min.compare(s.min) < 0 {
		s.min = t.min
	}
	if t.max.compare(s.max) > 0 {
		s.max = t.max
	}
	return ""
}

func (s *stats) append(b []byte) []byte {
	if s.isList {
		b = append(b, '[')
		for i, item := range s.list {
			if i > 0 {
				b = append(b, ',')
			}
			b = item.append(b)
		}
		return append(b, ']')
	}
	b = s.sum.append(append(b, `{"sum":`...))
	b = s.count.append(append(b, `,"count":`...))
	b = s.min.append(append(b, `,"min":`...))
	b = s.max.append(append(b, `,"max":`...))
	b = s.sumsqr.append(append(b, `,"sumsqr":`...))
	return append(b, '}')
}
