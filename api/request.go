package api

import (
	"io"
	"mime"
	"net/http"
	"net/url"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/config"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// request is one HTTP request with what has been found out about it. Handlers are its methods, or take it.
type request struct {
	*http.Request
	// Body is what handlers read. It hides the body of the http.Request, which stays as it was: by it net/http sees what
	// the handler left unread, and whether the client waits to be told to send it.
	Body io.ReadCloser

	w      *response
	api    *API
	config *config.Snapshot
	user   auth.Principal

	// What the path names, unescaped; empty where it names nothing.
	dbName, docID, attName, name string

	query url.Values // see params.go
}

// handler answers a request, or returns why it cannot.
type handler func(*request) error

// response notes whether the answer has begun.
type response struct {
	http.ResponseWriter
	status int
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController find what lies below.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// ReadFrom lets a file be sent by the operating system.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if rf, ok := w.ResponseWriter.(io.ReaderFrom); ok {
		return rf.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{w.ResponseWriter}, r)
}

// authenticate finds out who sends the request. Credentials that cannot be read count as none.
func (q *request) authenticate() error {
	name, password, ok := q.BasicAuth()
	if !ok {
		return nil
	}
	var err error
	q.user, err = q.api.auth.Basic(q.Context(), name, password)
	return err
}

// authorize tells whether the user may use the resource. Until databases have readers and writers of their own, an
// administrator may do everything and others what is public.
func (q *request) authorize(r *resource) error {
	switch {
	case q.user.Admin() || r.public:
		return nil
	case q.dbName != "":
		return errNotMember
	case r.metrics:
		return errNotMetrics
	}
	return errNotAdmin
}

// db returns the database that the path names.
func (q *request) db() (*storage.DB, error) { return q.api.store.DB(q.dbName) }

// snapshot opens a snapshot of the database that the path names.
func (q *request) snapshot() (*storage.DB, *storage.Snapshot, error) {
	return q.api.store.Snapshot(q.dbName)
}

// requireJSON refuses a body of another type, as CouchDB does for POST.
func (q *request) requireJSON() error {
	t, _, _ := mime.ParseMediaType(q.Header.Get("Content-Type"))
	if t != "application/json" {
		return errContentType
	}
	return nil
}

// limits are the configured limits of documents.
func (q *request) limits() document.Limits {
	return document.Limits{
		Document:   q.config.MaxDocumentSize,
		Attachment: q.config.MaxAttachmentSize,
		SpoolDir:   "",
	}
}

// readJSON reads a body that is one JSON value of moderate size, and returns its canonical text.
func (q *request) readJSON() ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(q.Body, q.config.MaxDocumentSize+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > q.config.MaxDocumentSize {
		return nil, errRequestTooLarge
	}
	return document.Canonical(text)
}
