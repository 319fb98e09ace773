package view

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/mangrove-db/mangrove/storage"
)

// A reduction is a JSON text, or for _approx_count_distinct registers of its own form (see distinct.go), or a failure:
// failureMark, then the error's name, 0, and its reason. A failure goes through all further reductions as it is. Thus it
// is stored like any other, and only ranges that it has a part in fail.
const failureMark = 0x01

// overflow is the name of the failure that CouchDB shows in a row: a JavaScript function's result was too long.
const overflow = "reduce_overflow_error"

func isFailure(reduction []byte) bool { return len(reduction) > 0 && reduction[0] == failureMark }

func appendFailure(b []byte, name, reason string) []byte {
	b = append(append(b, failureMark), name...)
	return append(append(b, 0), reason...)
}

func parseFailure(reduction []byte) *Error {
	name, reason, _ := bytes.Cut(reduction[1:], []byte{0})
	return &Error{Kind: Fault, Name: string(name), Reason: string(reason)}
}

func firstFailure(parts [][]byte) ([]byte, bool) {
	for _, p := range parts {
		if isFailure(p) {
			return p, true
		}
	}
	return nil, false
}

// builtins are the built-in reduce functions. A name that begins with one of these means it, as in CouchDB; those that
// end in "_" are followed by a number.
var builtins = []string{"_sum", "_count", "_stats", "_approx_count_distinct", "_first", "_last", "_top_", "_bottom_"}

// maxRank is how many values _top_ and _bottom_ can keep.
const maxRank = 100

// builtin finds the built-in function that a source names, and its number if it has one.
func builtin(source string) (name string, rank int, err error) {
	for _, b := range builtins {
		if !strings.HasPrefix(source, b) {
			continue
		}
		if !strings.HasSuffix(b, "_") {
			return b, 0, nil
		}
		n, err := strconv.Atoi(source[len(b):])
		switch {
		case errors.Is(err, strconv.ErrRange) || err == nil && (n < 1 || n > maxRank):
			return "", 0, invalidDesign("rank value must be between 1 and 100")
		case err != nil:
			return "", 0, invalidDesign("invalid rank reducer")
		}
		return b, n, nil
	}
	return "", 0, invalidDesign("`" + source + "` is not a supported reduce function.")
}

func invalidDesign(reason string) *Error {
	return &Error{Kind: Invalid, Name: "invalid_design_doc", Reason: reason}
}

// CheckReduce checks the reduce function of a design document that is about to be saved. Of those that are written in
// JavaScript it says nothing. Errors are of type *Error, with CouchDB's words.
func CheckReduce(source string) error {
	if !strings.HasPrefix(source, "_") {
		return nil
	}
	_, _, err := builtin(source)
	return err
}

// newReducer returns what keeps the reductions of a reduce function. One that cannot be is a reducer that fails, so
// that the rows can be read nevertheless.
func (x *Indexer) newReducer(d *Design, source string) storage.IndexReducer {
	if !strings.HasPrefix(source, "_") {
		return &functionReducer{x: x, design: d, source: source}
	}
	name, rank, err := builtin(source)
	if err != nil {
		return brokenReducer{err}
	}
	switch name {
	case "_sum":
		return sumReducer{x.limit}
	case "_count":
		return countReducer{}
	case "_stats":
		return statsReducer{}
	case "_approx_count_distinct":
		return distinctReducer{}
	case "_first":
		return firstReducer{}
	case "_last":
		return lastReducer{}
	case "_top_":
		return rankReducer{n: rank, sign: -1}
	}
	return rankReducer{n: rank, sign: 1}
}

// finish turns a reduction into what clients see.
func finish(r storage.IndexReducer, reduction []byte) []byte {
	if _, ok := r.(distinctReducer); ok {
		return strconv.AppendUint(nil, parseRegisters(reduction).estimate(), 10)
	}
	return reduction
}

// brokenReducer is a reduce function that cannot be used.
type brokenReducer struct{ err error }

func (r brokenReducer) Reduce(context.Context, []storage.IndexRow) ([]byte, error) { return nil, r.err }

func (r brokenReducer) Rereduce(context.Context, [][]byte) ([]byte, error) { return nil, r.err }

// countReducer is _count. Its reductions are decimal numbers.
type countReducer struct{}

func (countReducer) Reduce(_ context.Context, rows []storage.IndexRow) ([]byte, error) {
	return strconv.AppendInt(nil, int64(len(rows)), 10), nil
}

func (countReducer) Rereduce(_ context.Context, parts [][]byte) ([]byte, error) {
	var n int64
	for _, p := range parts {
		n += parseNumber(p).i
	}
	return strconv.AppendInt(nil, n, 10), nil
}

// firstReducer is _first: the value of the first row.
type firstReducer struct{}

func (firstReducer) Reduce(_ context.Context, rows []storage.IndexRow) ([]byte, error) {
	return bytes.Clone(rowValue(rows[0].Value)), nil
}

func (firstReducer) Rereduce(_ context.Context, parts [][]byte) ([]byte, error) {
	return parts[0], nil
}

// lastReducer is _last: the value of the last row.
type lastReducer struct{}

func (lastReducer) Reduce(_ context.Context, rows []storage.IndexRow) ([]byte, error) {
	return bytes.Clone(rowValue(rows[len(rows)-1].Value)), nil
}

func (lastReducer) Rereduce(_ context.Context, parts [][]byte) ([]byte, error) {
	return parts[len(parts)-1], nil
}
