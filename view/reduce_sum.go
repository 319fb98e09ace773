package view

import (
	"bytes"
	"context"
	"slices"
	"strconv"

	"github.com/mangrove-db/mangrove/storage"
)

const sumReason = "The _sum function requires that map values be numbers, arrays of numbers, or objects. " +
	"Objects cannot be mixed with other data structures. Objects can be arbitrarily nested, provided that the values " +
	"for all fields are themselves numbers, arrays of numbers, or objects."

// maxSumDepth is how deep objects are added member by member.
const maxSumDepth = 1000

// sumReducer is _sum. Its reductions are the JSON text of the sum, or of an object that says what could not be summed,
// which CouchDB shows in the sum's place.
type sumReducer struct{ limit func() ReduceLimit }

func (r sumReducer) Reduce(_ context.Context, rows []storage.IndexRow) ([]byte, error) {
	var s summer
	for i := range rows {
		if !s.add(rowValue(rows[i].Value)) {
			break
		}
	}
	return r.result(&s), nil
}

func (r sumReducer) Rereduce(_ context.Context, parts [][]byte) ([]byte, error) {
	var s summer
	for _, p := range parts {
		if !s.add(p) {
			break
		}
	}
	return r.result(&s), nil
}

func (r sumReducer) result(s *summer) []byte {
	out := s.json()
	if limit := r.limit(); limit.Mode == LimitOn && limit.exceeded(s.in, len(out)) {
		return []byte(`{"error":"builtin_reduce_error","reason":"` + overflowReason(s.in, len(out)) + `"}`)
	}
	return out
}

// summer adds values up. The zero summer has the sum 0.
type summer struct {
	num   number
	other []byte // the sum, if it is no number; or what was wrong
	in    int    // bytes added
}

// add adds a value; it returns false if that cannot be done.
func (s *summer) add(value []byte) bool {
	s.in += len(value) + 2
	if s.other == nil && isNumber(value) {
		s.num = s.num.add(parseNumber(value))
		return true
	}
	acc := s.other
	if acc == nil {
		acc = s.num.append(nil)
	}
	sum, wrong := sumValues(nil, value, acc, 0)
	if wrong != nil {
		if members, ok := reduceError(wrong); ok {
			s.other = members
		} else {
			s.other = append(append([]byte(`{"error":"builtin_reduce_error","reason":"`+sumReason+`","caused_by":`), wrong...), '}')
		}
		return false
	}
	s.other = sum
	return true
}

func (s *summer) json() []byte {
	if s.other != nil {
		return s.other
	}
	return s.num.append(nil)
}

// reduceError tells whether a value is an error of a sum, which goes through all further sums as it is.
func reduceError(value []byte) ([]byte, bool) {
	if len(value) == 0 || value[0] != '{' {
		return nil, false
	}
	for _, m := range members(value) {
		if string(m.name) == `"error"` && string(m.value) == `"builtin_reduce_error"` {
			return bytes.Clone(value), true
		}
	}
	return nil, false
}

// sumValues appends the sum of a value and what was summed before. If they cannot be summed, wrong is the culprit.
// Which of the two that is follows CouchDB, for whom a sum of 0 can become an object.
func sumValues(dst, value, acc []byte, depth int) (sum, wrong []byte) {
	if len(value) == 0 || len(acc) == 0 || depth > maxSumDepth {
		return nil, []byte("null")
	}
	switch {
	case isNumber(value) && isNumber(acc):
		return parseNumber(value).add(parseNumber(acc)).append(dst), nil
	case isNumber(value) && acc[0] == '[':
		return sumArrays(dst, acc, list(value))
	case value[0] == '[' && isNumber(acc):
		return sumArrays(dst, list(acc), value)
	case value[0] == '[' && acc[0] == '[':
		return sumArrays(dst, acc, value)
	case value[0] == '{':
		if _, ok := reduceError(value); ok {
			return nil, value
		}
		if string(acc) == "0" {
			return append(dst, value...), nil
		}
		if acc[0] == '{' {
			return sumObjects(dst, value, acc, depth)
		}
	}
	return nil, value
}

func list(value []byte) []byte { return append(append([]byte{'['}, value...), ']') }

// sumArrays adds arrays element by element. What the longer one has more is taken as it is.
func sumArrays(dst, a, b []byte) (sum, wrong []byte) {
	var x, y [][]byte
	elements(a, func(e []byte) bool { x = append(x, e); return true })
	elements(b, func(e []byte) bool { y = append(y, e); return true })
	dst = append(dst, '[')
	for i := range max(len(x), len(y)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		switch {
		case i >= len(x):
			dst = append(dst, y[i]...)
		case i >= len(y):
			dst = append(dst, x[i]...)
		case isNumber(x[i]) && isNumber(y[i]):
			dst = parseNumber(x[i]).add(parseNumber(y[i])).append(dst)
		default:
			return nil, append(append([]byte{'['}, bytes.Join(x[i:], []byte{','})...), ']')
		}
	}
	return append(dst, ']'), nil
}

// sumObjects adds objects member by member; the sum's members are sorted by name.
func sumObjects(dst, value, acc []byte, depth int) (sum, wrong []byte) {
	x, y := sortedMembers(value), sortedMembers(acc)
	dst = append(dst, '{')
	for n := 0; len(x) > 0 || len(y) > 0; n++ {
		if n > 0 {
			dst = append(dst, ',')
		}
		d := -1
		switch {
		case len(x) == 0:
			d = 1
		case len(y) > 0:
			d = compareNames(x[0], y[0])
		}
		first := &x
		if d > 0 {
			first = &y
		}
		dst = append(append(dst, (*first)[0].name...), ':')
		if d == 0 {
			if dst, wrong = sumValues(dst, x[0].value, y[0].value, depth+1); wrong != nil {
				return nil, wrong
			}
			x, y = x[1:], y[1:]
			continue
		}
		dst = append(dst, (*first)[0].value...)
		*first = (*first)[1:]
	}
	return append(dst, '}'), nil
}

func sortedMembers(object []byte) []member {
	list := members(object)
	slices.SortStableFunc(list, compareNames)
	return list
}

// compareNames compares without the closing quotes, so that a name comes before those that begin with it.
func compareNames(a, b member) int {
	return bytes.Compare(bytes.TrimSuffix(a.name, []byte{'"'}), bytes.TrimSuffix(b.name, []byte{'"'}))
}

func overflowReason(in, out int) string {
	return "Reduce output must shrink more rapidly: input size: " + strconv.Itoa(in) + " output size: " + strconv.Itoa(out)
}
