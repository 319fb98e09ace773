package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/internal/httprange"
	"github.com/mangrove-db/mangrove/mango"
	"github.com/mangrove-db/mangrove/replicator"
	"github.com/mangrove-db/mangrove/script"
	"github.com/mangrove-db/mangrove/storage"
	"github.com/mangrove-db/mangrove/view"
)

// Error is a failure with CouchDB's words and the status that goes with it.
type Error struct {
	Status int
	Name   string // "error"
	Reason string // "reason"
	// ReasonJSON, if not nil, is a reason that is no string, as JSON; Reason is then the same text.
	ReasonJSON []byte
	Allow      string // the Allow header, for 405
}

func (e *Error) Error() string { return e.Name + ": " + e.Reason }

// statusMaintenance is what load balancers understand as not being fit to serve.
const statusMaintenance = http.StatusNotFound

// statusUnready is for a node that takes no writes.
const statusUnready = http.StatusServiceUnavailable

// Errors that have always the same words.
var (
	errInternal        = &Error{Status: http.StatusInternalServerError, Name: "internal_server_error", Reason: "The request could not be served; the log tells why."}
	errURITooLong      = &Error{Status: http.StatusRequestURITooLong, Name: "bad_request", Reason: "The URI is too long."}
	errTooManyHeaders  = &Error{Status: http.StatusRequestHeaderFieldsTooLarge, Name: "bad_request", Reason: "The request has too many headers."}
	errSlowBody        = &Error{Status: http.StatusRequestTimeout, Name: "request_timeout", Reason: "The request's body came too slowly."}
	errRequestTooLarge = &Error{Status: http.StatusRequestEntityTooLarge, Name: "too_large", Reason: "the request entity is too large"}
	errContentType     = &Error{Status: http.StatusUnsupportedMediaType, Name: "bad_content_type", Reason: "Content-Type must be application/json"}
	errNotAdmin        = &Error{Status: http.StatusUnauthorized, Name: "unauthorized", Reason: "You are not a server admin."}
	errNotMetrics      = &Error{Status: http.StatusUnauthorized, Name: "unauthorized", Reason: "You are not a server admin or read-only metrics user"}
	errNotMember       = &Error{Status: http.StatusUnauthorized, Name: "unauthorized", Reason: "You are not authorized to access this db."}
	errNotAllowed      = forbidden("You are not allowed to access this db.")
	errNotKeeper       = &Error{Status: http.StatusUnauthorized, Name: "unauthorized", Reason: "You are not a server or db admin."}
	errNotDesigner     = &Error{Status: http.StatusUnauthorized, Name: "unauthorized", Reason: "You are not a db or server admin."}
	errDesignForbidden = forbidden("You are not a db or server admin.")
	errNotUser         = &Error{Status: http.StatusUnauthorized, Name: "unauthorized", Reason: "You are not an authenticated user"}
	errLoginRequired   = &Error{Status: http.StatusUnauthorized, Name: "unauthorized", Reason: "Authentication required."}
	errPleaseLogin     = &Error{Status: http.StatusUnauthorized, Name: "unauthorized", Reason: "Please login."}
	errHiddenDesign    = forbidden("Only administrators can view design docs in the users database.")
	errUsersSecurity   = forbidden("You can't edit the security object of the user database.")
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
	errNoView          = notFound("missing_named_view")
	errIndexRange      = &Error{Status: http.StatusInternalServerError, Name: "invalid_list_index_params", Reason: "Index parameter ranges: limit > 1, skip > 0"}
	errSavingIndex     = &Error{Status: http.StatusInternalServerError, Name: "error_saving_ddoc", Reason: "Encountered a conflict while saving the design document."}
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

// compilationError is for functions of a design document that is being saved.
func compilationError(reason string) *Error {
	return &Error{Status: http.StatusBadRequest, Name: "compilation_error", Reason: reason}
}

// viewError is for views that cannot be read.
func viewError(e *view.Error) *Error {
	status := http.StatusInternalServerError
	switch e.Kind {
	case view.Invalid:
		status = http.StatusBadRequest
	case view.NotFound:
		status = http.StatusNotFound
	case view.Fault:
	}
	return &Error{Status: status, Name: e.Name, Reason: e.Reason}
}

func forbidden(reason string) *Error {
	return &Error{Status: http.StatusForbidden, Name: "forbidden", Reason: reason}
}

// Errors of the configuration.
var (
	errNodePath      = badRequest("Incomplete path to _node request")
	errNoConfigValue = notFound("unknown_config_value")
	errNotString     = badRequest("a JSON string expected")
	errNoPassword    = badRequest("An administrator's password must not be empty.")
	errMaskedValue   = badRequest("The value is the mask that stands for a secret in answers, and not a secret.")
	errSealedSection = forbidden("Config section blacklisted for modification over HTTP API.")
)

// Errors of setting up a cluster.
var (
	errClusterFinished = badRequest("Cluster is already finished")
	errClusterEnabled  = badRequest("Cluster is already enabled")
	errClusterAction   = badRequest("Invalid Action'")
	errNoCluster       = badRequest("This node is a single one and forms no cluster. Replicate with others instead.")
)

// configError is for changes of the configuration that are refused, and for a file that cannot be read or written.
func configError(err error) *Error { return badRequest(err.Error()) }

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

// Errors of the functions of design documents.
var (
	errUpdateGet       = &Error{Status: http.StatusMethodNotAllowed, Name: "method_not_allowed", Reason: "Update functions do not allow GET"}
	errNoRewriteTarget = &Error{Status: http.StatusInternalServerError, Name: "error", Reason: "invalid_rewrite_target"}
	errInsecureRewrite = &Error{Status: http.StatusInternalServerError, Name: "insecure_rewrite_rule", Reason: "too many ../.. segments"}
)

// invalidPath is for paths that name no function.
func invalidPath(name string) *Error {
	return &Error{Status: http.StatusNotFound, Name: name, Reason: "Invalid path."}
}

func rewriteError(reason string) *Error {
	return &Error{Status: http.StatusInternalServerError, Name: "rewrite_error", Reason: reason}
}

// badAnswer is for what a function answers and no client can be sent.
func badAnswer(name string, value []byte) *Error {
	return &Error{Status: http.StatusInternalServerError, Name: "external_response_error", Reason: "Invalid data from external server: " + erlangPair(name, value)}
}

// thrownStatus has the statuses of those errors that a function may throw by their names. Others blame the server.
var thrownStatus = map[string]int{
	"bad_request":        http.StatusBadRequest,
	"query_parse_error":  http.StatusBadRequest,
	"unauthorized":       http.StatusUnauthorized,
	"forbidden":          http.StatusForbidden,
	"not_found":          http.StatusNotFound,
	"method_not_allowed": http.StatusMethodNotAllowed,
	"not_acceptable":     http.StatusNotAcceptable,
	"conflict":           http.StatusConflict,
	"gone":               http.StatusGone,
	"missing_stub":       http.StatusPreconditionFailed,
}

// scriptError is for what went wrong in a function of a design document.
func scriptError(e *script.Error) *Error {
	status, ok := thrownStatus[e.Name]
	if !ok {
		status = http.StatusInternalServerError
	}
	return &Error{Status: status, Name: e.Name, Reason: e.Reason, ReasonJSON: e.ReasonJSON}
}

func methodNotAllowed(allow string) *Error {
	return &Error{Status: http.StatusMethodNotAllowed, Name: "method_not_allowed", Reason: "Only " + allow + " allowed", Allow: allow}
}

// TooManyConnections is the answer, with its head, for a connection that is refused because there are too many.
var TooManyConnections = func() []byte {
	e := &Error{Status: http.StatusServiceUnavailable, Name: "service_unavailable", Reason: "There are too many connections."}
	body := append(e.append(nil), '\n')
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nRetry-After: 5\r\nConnection: close\r\n\r\n%s",
		e.Status, http.StatusText(e.Status), len(body), body)
}()

// toError finds the status and the words for any error.
func toError(err error) *Error {
	var (
		e       *Error
		doc     *document.Error
		stub    *storage.MissingStubError
		tooMuch *http.MaxBytesError
		spec    *replicator.SpecError
		query   *mango.Error
		guarded *replicator.ForbiddenError
		account *auth.Error
		thrown  *script.Error
		lacking *design.MissingError
		unread  *view.Error
	)
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &doc):
		return documentError(doc)
	case errors.As(err, &query):
		return mangoError(query)
	case errors.As(err, &stub):
		return &Error{Status: http.StatusPreconditionFailed, Name: "missing_stub", Reason: stub.Error()}
	case errors.As(err, &spec):
		return badRequest(spec.Reason)
	case errors.As(err, &account):
		return accountError(account)
	case errors.As(err, &guarded):
		return forbidden(guarded.Reason)
	case errors.As(err, &thrown):
		return scriptError(thrown)
	case errors.As(err, &unread):
		return viewError(unread)
	case errors.As(err, &lacking):
		return notFound(lacking.Error())
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
	case errors.Is(err, storage.ErrClosed):
		return &Error{Status: http.StatusServiceUnavailable, Name: "service_unavailable", Reason: "The node is stopping."}
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled):
		return errCutBody
	}
	return nil
}

// mangoError is for queries and indexes that are refused.
func mangoError(e *mango.Error) *Error {
	status := http.StatusBadRequest
	switch e.Kind {
	case mango.Unavailable:
		status = http.StatusServiceUnavailable
	case mango.Internal:
		status = http.StatusInternalServerError
	}
	return &Error{Status: status, Name: e.Name, Reason: e.Reason}
}

// accountError is for credentials that are not taken, and accounts that are not in order.
func accountError(e *auth.Error) *Error {
	switch e.Kind {
	case auth.Unauthorized:
		return &Error{Status: http.StatusUnauthorized, Name: "unauthorized", Reason: e.Reason}
	case auth.Forbidden:
		return forbidden(e.Reason)
	case auth.Misconfigured:
		return &Error{Status: http.StatusInternalServerError, Name: "misconfigured_server", Reason: e.Reason}
	}
	return badRequest(e.Reason)
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
		q.log().With(q.describe()...).Error("a request failed", "error", err)
		e = errInternal
	}
	h := q.w.Header()
	h.Del("ETag")
	h.Del("Location")
	if e.Allow != "" {
		h.Set("Allow", e.Allow)
	}
	if e.Status == http.StatusUnauthorized {
		if words := q.challenge(); words != "" {
			h.Set("WWW-Authenticate", words)
		}
	}
	if e.Status == http.StatusRequestEntityTooLarge || e.Status == http.StatusRequestTimeout {
		// The rest of the body is not wanted.
		h.Set("Connection", "close")
	}
	_ = q.replyText(e.Status, e.append(make([]byte, 0, 256)))
}

// append appends the error as CouchDB's JSON object.
func (e *Error) append(b []byte) []byte {
	b = append(b, `{"error":`...)
	b = document.AppendString(b, e.Name)
	b = append(b, `,"reason":`...)
	return append(e.appendReason(b), '}')
}

func (e *Error) appendReason(b []byte) []byte {
	if e.ReasonJSON != nil {
		return append(b, e.ReasonJSON...)
	}
	return document.AppendString(b, e.Reason)
}
