package script

import "fmt"

// Kind tells what sort of thing went wrong, so that a caller need not compare
// words.
type Kind uint8

const (
	// Compilation: a source is no function, or a module does not load.
	Compilation Kind = iota + 1
	// Forbidden and Unauthorized are what a function threw to refuse somebody.
	Forbidden
	Unauthorized
	// NotFound: the design document has no such function, or a function threw
	// not_found.
	NotFound
	// Timeout: a call took longer than Options.Time.
	Timeout
	// Memory: a call brought forth more than Options.Memory, or called itself
	// too deeply.
	Memory
	// Fault is all else that functions throw. Name says what: among others
	// render_error, method_not_allowed, not_acceptable, unknown_error.
	Fault
)

// Error is what went wrong in JavaScript, in CouchDB's words.
type Error struct {
	Kind Kind
	// Name and Reason are the members error and reason of CouchDB's answer.
	Name, Reason string
	// ReasonJSON is the reason as a JSON text if a function threw one that is
	// no string; nil otherwise. Reason is then the same text.
	ReasonJSON []byte
}

// Error implements error.
func (e *Error) Error() string { return e.Name + ": " + e.Reason }

// processError is CouchDB's name for a function server that died.
const processError = "os_process_error"

func errTimeout() *Error {
	return &Error{Kind: Timeout, Name: processError, Reason: "OS process timed out."}
}

func errMemory(limit int64) *Error {
	return &Error{Kind: Memory, Name: processError, Reason: fmt.Sprintf("Function used more memory than it may (%d bytes).", limit)}
}

func errRecursion() *Error {
	return &Error{Kind: Memory, Name: "InternalError", Reason: "too much recursion"}
}

func compilation(format string, args ...any) *Error {
	return &Error{Kind: Compilation, Name: "compilation_error", Reason: fmt.Sprintf(format, args...)}
}

func missingKey(key string) *Error {
	return &Error{Kind: NotFound, Name: "not_found", Reason: "missing json key: " + key}
}

// named returns the error that a function named itself by throwing
// ["error", name, reason] or {error: name, reason: reason}.
func named(name, reason string, reasonJSON []byte) *Error {
	e := &Error{Kind: Fault, Name: name, Reason: reason, ReasonJSON: reasonJSON}
	switch name {
	case "forbidden":
		e.Kind = Forbidden
	case "unauthorized":
		e.Kind = Unauthorized
	case "not_found":
		e.Kind = NotFound
	case "compilation_error":
		e.Kind = Compilation
	}
	return e
}
