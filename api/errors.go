package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/internal/httprange"
	"github.com/mangrove-db/mangrove/replicator"
	"github.com/mangrove-db/mangrove/storage"
)

// Error is a failure with CouchDB's words and the status that goes with it.
type Error struct {
	Status int
	Name   string // "error"
	Reason string // "reason"
	Allow  string // the Allow header, for 405
}

func (e *Error) Error() string { return e.Name + ": " + e.Reason }

// statusMaintenance is what load balancers understand as not being fit to serve.
const statusMaintenance = http.StatusNotFound

// Errors that have always the same words.
var (
	errInternal        = &Error{Status: http.StatusInternalServerError, Name: "internal_server_error", Reason: "The request could not be served; the log tells why."}
	errURITooLong      = &Error{Status: http.StatusRequestURITooLong, Name: "bad_request", Reason: "The URI is too long."}
	errRequestTooLarge = &Error{Status: http.StatusRequestEntityTooLarge, Name: "too_large", Reason: "the request entity is too large"}
	errContentType     = &Error{Status: http.StatusUnsupportedMediaType, Name: "bad_content_type", Reason: "Content-Type must be application/json"}
	errNotAdmin        = &Error{Status: http.StatusUnauthorized, Name: "unauthorized", Reason: "You are not a server admin."}
	errNotMetrics      = &Error{Status: http.StatusUnauthorized, Name: "unauthorized", Reason: "You are not a server admin or read-only metrics user"}
	errNotMember       = &Error{Status: http.StatusUnauthorized, Name: "unauthorized", Reason: "You are not authorized to access this db."}
	errNoDatabase      = &Error{Status: http.StatusNotFound, Name: "not_found", Reason: "Database does not exist."}
	errMissing         = &Error{Status: http.StatusNotFound, Name: "not_found", Reason: "missing"}
	errDeleted         = &Error{Status: http.StatusNotFound, Name: "not_found", Reason: "deleted"}
	errConflict        = &Error{Status: http.StatusConflict, Name: "conflict", Reason: "Document update conflict."}
	errFileExists      = &Error{Status: http.StatusPreconditionFailed, Name: "file_exists", Reason: "The database could not be created, the file already exists."}
	errInvalidJSON     = badRequest("invalid UTF-8 JSON")
	errInvalidRev      = badRequest("Invalid rev format")
	errRevAndETag      = badRequest("Document rev and etag have different values")
	errNeedsRev        = badRequest("When `new_edits: false`, the document needs `_rev` or `_revisions` specified")
	errMissingRev      = &Error{Status: http.StatusConflict, Name: "not_found", Reason: "missing_rev"}
	errCutBody         = badRequest("The request ended before its body was complete.")
	errNoAttachment    = notFound("Document is missing attachment")
	errDigest          = &Error{Status: http.StatusBadRequest, Name: "content_md5_mismatch", Reason: "Possible message corruption."}
	errTemporaryViews  = &Error{Status: http.StatusGone, Name: "gone", Reason: "Temporary views are not supported in CouchDB"}
)

func badRequest(reason string) *Error {
	return &Error{Status: http.StatusBadRequest, Name: "bad_request", Reason: reason}
}

func badRequestf(format string, a ...any) *Error { return badRequest(fmt.Sprintf(format, a...)) }

// queryError is for parameters that cannot be understood.
func queryError(reason string) *Error {
	return &Error{Status: http.StatusBadRequest, Name: "query_parse_error", Reason: reason}
}

func illegalName(name string) *Error {
	return &Error{Status: http.StatusBadRequest, Name: "illegal_database_name", Reason: "Name: '" + name +
		"'. Only lowercase characters (a-z), digits (0-9), and any of the characters _, $, (, ), +, -, and / are allowed. Must begin with a letter."}
}

func longName(name string) *Error {
	return &Error{Status: http.StatusBadRequest, Name: "database_name_too_long", Reason: "At least one path segment of `" + name + "` is too long."}
}

func notFound(reason string) *Error {
	return &Error{Status: http.StatusNotFound, Name: "not_found", Reason: reason}
}

// unsupportedType is for bodies of a type or encoding that are not taken.
func unsupportedType(reason string) *Error {
	return &Error{Status: http.StatusUnsupportedMediaType, Name: "bad_content_type", Reason: reason}
}

func attachmentTooLarge(name string) *Error {
	return &Error{Status: http.StatusRequestEntityTooLarge, Name: "attachment_too_large", Reason: name}
}

func invalidDesign(reason string) *Error {
	return &Error{Status: http.StatusBadRequest, Name: "invalid_design_doc", Reason: reason}
}

func forbidden(reason string) *Error {
	return &Error{Status: http.StatusForbidden, Name: "forbidden", Reason: reason}
}

// replicationError is for replications that were asked for by a request and failed. Where CouchDB blames itself for the
// failures of others, so it is here.
func replicationError(err error) *Error {
	var (
		fetch  *replicator.FilterFetchError
		filter *replicator.FilterError
	)
	e := &Error{Status: http.StatusInternalServerError, Name: "replication_failed", Reason: err.Error()}
	switch {
	case errors.Is(err, replicator.ErrNoDatabase):
		e.Name = "db_not_found"
	case errors.Is(err, replicator.ErrUnauthorized):
		e.Name = "unauthorized"
	case errors.As(err, &filter) && filter.Fault == replicator.FaultUnsupported:
		return notImplemented(filter.Reason)
	case errors.As(err, &fetch), errors.As(err, &filter):
		e.Name = "filter_fetch_error"
	case errors.Is(err, replicator.ErrCancelled):
		e.Name = "cancelled"
	case errors.Is(err, replicator.ErrStopping):
		return toError(storage.ErrClosed)
	case errors.Is(err, context.Canceled):
		return toError(err)
	}
	return e
}

// notImplemented is for what this node cannot do yet.
func notImplemented(reason string) *Error {
	return &Error{Status: http.StatusNotImplemented, Name: "not_implemented", Reason: reason}
}

func methodNotAllowed(allow string) *Error {
	return &Error{Status: http.StatusMethodNotAllowed, Name: "method_not_allowed", Reason: "Only " + allow + " allowed", Allow: allow}
}

// toError finds the status and the words for any error.
func toError(err error) *Error {
	var (
		e       *Error
		doc     *document.Error
		stub    *storage.MissingStubError
		tooMuch *http.MaxBytesError
		spec    *replicator.SpecError
		guarded *replicator.ForbiddenError
	)
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &doc):
		return documentError(doc)
	case errors.As(err, &stub):
		return &Error{Status: http.StatusPreconditionFailed, Name: "missing_stub", Reason: stub.Error()}
	case errors.As(err, &spec):
		return badRequest(spec.Reason)
	case errors.As(err, &guarded):
		return forbidden(guarded.Reason)
	case errors.As(err, &tooMuch):
		return errRequestTooLarge
	case errors.Is(err, storage.ErrDeleted):
		return errDeleted
	case errors.Is(err, storage.ErrNotFound):
		return errMissing
	case errors.Is(err, storage.ErrNoDatabase):
		return errNoDatabase
	case errors.Is(err, storage.ErrExists):
		return errFileExists
	case errors.Is(err, storage.ErrConflict):
		return errConflict
	case errors.Is(err, storage.ErrTooLarge):
		return &Error{Status: http.StatusRequestEntityTooLarge, Name: "document_too_large", Reason: "The document has more revisions and attachments than one write can hold."}
	case errors.Is(err, storage.ErrNoSpace), errors.Is(err, syscall.ENOSPC):
		return &Error{Status: http.StatusInsufficientStorage, Name: "insufficient_storage", Reason: "The disk is full: " + err.Error() + ". Free some space; reads go on meanwhile."}
	case errors.Is(err, storage.ErrBadSeq):
		return badRequest(err.Error())
	case errors.Is(err, storage.ErrBadGzip):
		return badRequest("The attachment is not gzip data as its Content-Encoding says.")
	case errors.Is(err, document.ErrPartType):
		return errContentType
	case errors.Is(err, httprange.ErrUnsatisfiable):
		return &Error{Status: http.StatusRequestedRangeNotSatisfiable, Name: "requested_range_not_satisfiable", Reason: "Requested range not satisfiable"}
	case errors.Is(err, auth.ErrCredentials):
		return &Error{Status: http.StatusUnauthorized, Name: "unauthorized", Reason: "Name or password is incorrect."}
	case errors.Is(err, storage.ErrClosed):
		return &Error{Status: http.StatusServiceUnavailable, Name: "service_unavailable", Reason: "The node is stopping."}
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled):
		return errCutBody
	}
	return nil
}

func documentError(e *document.Error) *Error {
	status := http.StatusBadRequest
	if e.Kind == document.TooLarge {
		status = http.StatusRequestEntityTooLarge
	}
	return &Error{Status: status, Name: e.Name, Reason: e.Reason}
}

// writeError answers with an error. What no client can have caused is told to the log alone.
func (q *request) writeError(err error) {
	e := toError(err)
	if e == nil {
		q.api.log.Error("a request failed", "method", q.Method, "path", q.URL.Path, "error", err)
		e = errInternal
	}
	h := q.w.Header()
	h.Del("ETag")
	h.Del("Location")
	if e.Allow != "" {
		h.Set("Allow", e.Allow)
	}
	if e.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Basic realm="server"`)
	}
	if e.Status == http.StatusRequestEntityTooLarge {
		// The rest of the body is not wanted.
		h.Set("Connection", "close")
	}
	_ = q.reply(e.Status, errorBody{e.Name, e.Reason})
}

type errorBody struct {
	Error  string `json:"error"`
	Reason string `json:"reason"`
}
