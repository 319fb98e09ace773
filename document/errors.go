package document

// Kind says what sort of thing is wrong with a request. The HTTP layer turns
// it into a status.
type Kind uint8

// The kinds of errors.
const (
	BadRequest    Kind = iota + 1 // not JSON, or not of the expected shape
	DocValidation                 // a reserved member is unknown or ill-formed
	IllegalID                     // a document id or partition that may not be
	TooLarge                      // beyond a configured limit
)

// Error is a fault in what a client sent. Name is CouchDB's "error" word and
// Reason its "reason".
type Error struct {
	Kind   Kind
	Name   string
	Reason string
}

// Error returns "name: reason".
func (e *Error) Error() string { return e.Name + ": " + e.Reason }

// ErrInvalidJSON is the error for text that is not UTF-8 JSON.
var ErrInvalidJSON error = &Error{BadRequest, "bad_request", "invalid UTF-8 JSON"}

var (
	errTooDeep   error = &Error{BadRequest, "bad_request", "JSON is nested too deeply"}
	errNotObject error = &Error{BadRequest, "bad_request", "Document must be a JSON object"}
	errTooLarge  error = &Error{TooLarge, "document_too_large", ""}
	errRev       error = &Error{BadRequest, "bad_request", "Invalid rev format"}
)

func badRequest(reason string) error { return &Error{BadRequest, "bad_request", reason} }

func docValidation(reason string) error { return &Error{DocValidation, "doc_validation", reason} }

func illegalID(reason string) error { return &Error{IllegalID, "illegal_docid", reason} }

func illegalPartition(reason string) error { return &Error{IllegalID, "illegal_partition", reason} }
