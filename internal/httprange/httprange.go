// Package httprange reads the Range header of a request for an attachment the
// way CouchDB does, which is RFC 9110 §14 with a few rules of its own:
//
//   - "bytes=0-" asks for everything and is answered as if nothing was asked.
//   - A range that ends before it begins, or begins after the end, makes the
//     whole request unsatisfiable, even if other ranges are not.
//   - Ten ranges or more are ignored.
//
// A header that is not understood is ignored, as the RFC wants it.
package httprange

import (
	"errors"
	"math"
	"strings"
)

// ErrUnsatisfiable is returned for a range outside of the content: answer 416.
var ErrUnsatisfiable = errors.New("requested range not satisfiable")

// maxRanges is the number of ranges that CouchDB ignores as too many. It
// bounds how much more than the content a request can make us send.
const maxRanges = 10

// Range is a part of a content: Length bytes, at least one, from offset Start.
type Range struct {
	Start, Length int64
}

// Parse reads the header of a request for content of the given size in bytes.
// It returns ok if one range of it is to be sent (206), false if all of it is
// (200): when the header is empty, not understood, or asks for several ranges,
// which a server may always answer with the whole. The error is
// ErrUnsatisfiable or nil.
func Parse(header string, size int64) (r Range, ok bool, err error) {
	ranges, err := ParseSet(header, size)
	if err != nil || len(ranges) != 1 {
		return Range{}, false, err
	}
	return ranges[0], true, nil
}

// ParseSet is Parse for those who answer several ranges with
// multipart/byteranges. It returns them in the order asked for, overlapping or
// not, fewer than ten; none if all of the content is to be sent.
func ParseSet(header string, size int64) ([]Range, error) {
	list, ok := strings.CutPrefix(header, "bytes=")
	if !ok || strings.Count(list, ",") > 10*maxRanges {
		return nil, nil
	}
	// What is malformed anywhere is ignored altogether, so the syntax is
	// judged before the ranges are.
	var specs []spec
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.Trim(item, " \t"); item == "" {
			continue
		}
		s, ok := parseSpec(item)
		if !ok {
			return nil, nil
		}
		specs = append(specs, s)
	}
	ranges := make([]Range, 0, len(specs))
	for _, s := range specs {
		if s == (spec{first: 0, last: -1}) {
			return nil, nil
		}
		r, err := s.resolve(size)
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, r)
	}
	if len(ranges) == 0 || len(ranges) >= maxRanges {
		return nil, nil
	}
	return ranges, nil
}

// spec is a range as asked for. -1 stands for an absent number.
type spec struct{ first, last int64 }

func parseSpec(s string) (spec, bool) {
	before, after, found := strings.Cut(s, "-")
	first, ok1 := parseOffset(strings.TrimRight(before, " \t"))
	last, ok2 := parseOffset(strings.TrimLeft(after, " \t"))
	return spec{first, last}, found && ok1 && ok2 && (first >= 0 || last >= 0)
}

// parseOffset parses digits; no digits are -1. What exceeds an int64 exceeds
// any content, so the greatest one stands for it.
func parseOffset(s string) (int64, bool) {
	if s == "" {
		return -1, true
	}
	var n int64
	for i := range len(s) {
		digit := int64(s[i]) - '0'
		if digit < 0 || digit > 9 {
			return 0, false
		}
		if n > (math.MaxInt64-digit)/10 {
			n = math.MaxInt64
			continue
		}
		n = n*10 + digit
	}
	return n, true
}

func (s spec) resolve(size int64) (Range, error) {
	first, last := s.first, s.last
	switch {
	case first < 0: // the last bytes; more than there are means all
		first, last = max(size-last, 0), size-1
	case last < 0:
		last = size - 1
	case last < first:
		return Range{}, ErrUnsatisfiable
	default:
		last = min(last, size-1)
	}
	if last < first {
		return Range{}, ErrUnsatisfiable
	}
	return Range{Start: first, Length: last - first + 1}, nil
}
