package mango

import (
	"errors"
	"regexp/syntax"
	"strings"
)

// Error is a selector that makes no sense, in CouchDB's words: what its
// answer's "error" and "reason" say, with status 400.
type Error struct {
	Name   string // such as "bad_arg"
	Reason string
}

func (e *Error) Error() string { return e.Name + ": " + e.Reason }

// maxReason bounds, in bytes, what is quoted of a selector in an error.
const maxReason = 2048

func errorf(name string, parts ...string) error {
	return &Error{Name: name, Reason: strings.Join(parts, "")}
}

func badArgument(op string, arg []byte) error {
	return errorf("bad_arg", "Bad argument for operator ", op, ": ", erlangTerm(arg))
}

func invalidOperator(op string) error {
	return errorf("invalid_operator", "Invalid operator: ", op)
}

var (
	errNotJSON      = &Error{"bad_request", "invalid UTF-8 JSON"}
	errMissingField = &Error{"invalid_selector", "One or more conditions is missing a field name."}
	errTooDeep      = &Error{"invalid_selector", "Selector is nested more than 256 levels deep."}
	errLongPattern  = &Error{"not_supported", "Argument for operator $regex is longer than 8192 bytes."}
	errLargePattern = &Error{"not_supported", "Arguments for operator $regex take too much memory: fewer or smaller repetitions are needed."}
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
