package mango

import (
	"errors"
	"regexp/syntax"
	"strings"
)

// Kind says whose fault an Error is.
type Kind uint8

const (
	// Invalid is a request that makes no sense or cannot be served as asked.
	Invalid Kind = iota
	// Unavailable is a kind of index that this node has no service for.
	Unavailable
	// Internal is what CouchDB answers with status 500, for whatever reason.
	Internal
)

// Error is a request that cannot be served, in CouchDB's words: what its
// answer's "error" and "reason" say.
type Error struct {
	Name   string // such as "bad_arg"
	Reason string
	Kind   Kind
}

func (e *Error) Error() string { return e.Name + ": " + e.Reason }

// maxReason bounds, in bytes, what is quoted of a selector in an error.
const maxReason = 2048

func errorf(name string, parts ...string) error {
	return &Error{Name: name, Reason: strings.Join(parts, "")}
}

// unknownError is CouchDB's answer where its own table of errors has a gap.
func unknownError(module, term string) error {
	return &Error{"unknown_error", "Unknown Error: " + module + " :: " + term, Internal}
}

func badArgument(op string, arg []byte) error {
	return errorf("bad_arg", "Bad argument for operator ", op, ": ", erlangTerm(arg))
}

func invalidOperator(op string) error {
	return errorf("invalid_operator", "Invalid operator: ", op)
}

var (
	errNotJSON        = &Error{Name: "bad_request", Reason: "invalid UTF-8 JSON"}
	errMissingField   = &Error{Name: "invalid_selector", Reason: "One or more conditions is missing a field name."}
	errMixedSort      = &Error{Name: "unsupported_mixed_sort", Reason: "Sorts currently only support a single direction for all fields."}
	errManyFields     = &Error{Name: "invalid_fields", Reason: "No more than 1000 fields can be asked for."}
	errNoObject       = &Error{Name: "bad_request", Reason: "Request body must be a JSON object"}
	errPartitionType  = &Error{Name: "illegal_partition", Reason: "Partition must be a string"}
	errTwoPartitions  = &Error{Name: "bad_request", Reason: "The body and the address name different partitions."}
	errNotPartitioned = &Error{Name: "query_parse_error", Reason: "`partition` parameter is not supported on this db"}
	errEmptyName      = &Error{Name: "invalid_empty_string", Reason: "Index name or ddoc cannot be empty string"}
	errTooDeep        = &Error{Name: "invalid_selector", Reason: "Selector is nested more than 256 levels deep."}
	errManyConditions = &Error{Name: "invalid_selector", Reason: "Selector has more than 131072 conditions."}
	errLongNames      = &Error{Name: "invalid_selector", Reason: "The field names of the selector take too much memory: fewer conditions or shorter names are needed."}
	errLongPattern    = &Error{Name: "not_supported", Reason: "Argument for operator $regex is longer than 8192 bytes."}
	errLargePattern   = &Error{Name: "not_supported", Reason: "Arguments for operator $regex take too much memory: fewer or smaller repetitions are needed."}
)

// badPattern explains why a $regex was refused. What is wrong in PCRE too gets
// CouchDB's answer; what only our engine lacks is said as such.
func badPattern(arg []byte, err error) error {
	var s *syntax.Error
	if errors.As(err, &s) {
		switch s.Code {
		case syntax.ErrInvalidPerlOp, syntax.ErrInvalidEscape, syntax.ErrInvalidRepeatOp, syntax.ErrInvalidCharRange:
			return errorf("not_supported", "Argument for operator $regex is not of RE2's syntax, "+
				"which has no look-around, back-references, atomic groups or possessive repetition: ",
				clip(s.Error()))
		case syntax.ErrInvalidRepeatSize:
			return errorf("not_supported", "Argument for operator $regex repeats something more than 1000 times: ",
				clip(s.Error()))
		case syntax.ErrLarge, syntax.ErrNestingDepth:
			return errLargePattern
		}
	}
	return badArgument("$regex", arg)
}

func clip(s string) string {
	if len(s) > maxReason {
		return strings.ToValidUTF8(s[:maxReason], "") + "..."
	}
	return s
}
