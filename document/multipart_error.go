package document

import (
	"errors"
	"fmt"
)

// Errors of multipart messages. A failing connection or disk shows through
// unchanged.
var (
	// ErrMultipart marks a message that is the sender's fault: no boundary, a
	// bad header, a body that ends early, parts that do not fit the document.
	// Such an error is an *Error too, whose Reason says what is wrong.
	ErrMultipart = errors.New("malformed multipart message")
	// ErrPartType marks a first part that is not JSON. CouchDB answers 415
	// with these words.
	ErrPartType = errors.New("Content-Type must be application/json")
	// ErrPartTooLarge marks a part that exceeds the caller's limit. It is an
	// *Error too.
	ErrPartTooLarge error = &Error{TooLarge, "document_too_large", ""}
	// ErrContentLength marks an attachment whose content is not as long as it
	// was said to be when it is written. The message is spoiled then: its
	// length was told before.
	ErrContentLength = errors.New("attachment content differs from its length")
)

var errPartHeader = errors.New("bad part header")

// multipartError is an ErrMultipart with what else it is.
type multipartError struct {
	fault Error
	cause error
}

// malformed returns an ErrMultipart with details, which may wrap errors.
func malformed(format string, args ...any) error {
	cause := fmt.Errorf(format, args...)
	return &multipartError{Error{BadRequest, "bad_request", ErrMultipart.Error() + ": " + cause.Error()}, cause}
}

func (e *multipartError) Error() string { return e.fault.Reason }

func (e *multipartError) Unwrap() []error { return []error{ErrMultipart, &e.fault, e.cause} }
