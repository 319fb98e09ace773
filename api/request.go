package api

import (
	"io"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"net/url"
	"time"

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
	keeper bool               // the user administers the database that the path names, or the server
	cors   *config.CORSPolicy // what the page of another origin that sends this may do; nil for any other request

	// What the path names, unescaped; empty where it names nothing.
	dbName, docID, attName, name, viewName, partName string

	query    url.Values // see params.go
	rewrites int        // how often the request was rewritten; see rewrite.go

	class  class
	waits  bool         // the answer is a feed that waits for news
	gone   bool         // the client is, before the end of the answer
	sent   *sentBody    // what Body reads from; nil before it was looked at
	logger *slog.Logger // see log
}

// handler answers a request, or returns why it cannot.
type handler func(*request) error

// response notes whether the answer has begun, and how much of it was written.
//
// A client that takes nothing of it must not keep what the answer is read from, such as a snapshot, for ever. The
// server sees to that for whole connections; of a connection that answers share, each has to look after itself.
type response struct {
	http.ResponseWriter
	status      int
	bytes       int64 // of the body
	multiplexed bool
	patience    time.Duration // how long a write may take, if it is
}

// hurry gives the writes from now on the time that the client may take for them.
func (w *response) hurry() {
	if w.multiplexed && w.patience > 0 {
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.patience))
	}
}

// rest takes the time limit away while nothing is written: it would end the answer even so.
func (w *response) rest() {
	if w.multiplexed && w.patience > 0 {
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Time{})
	}
}

// FlushError sends what was written on its way.
func (w *response) FlushError() error {
	w.hurry()
	defer w.rest()
	return http.NewResponseController(w.ResponseWriter).Flush()
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
	w.hurry()
	defer w.rest()
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController find what lies below.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// ReadFrom lets a file be sent by the operating system.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if rf, ok := w.ResponseWriter.(io.ReaderFrom); ok {
		n, err := rf.ReadFrom(r)
		w.bytes += n
		return n, err
	}
	return io.Copy(struct{ io.Writer }{w}, r)
}

// db returns the database that the path names.
func (q *request) db() (*storage.DB, error) { return q.api.store.DB(q.dbName) }

// snapshot opens a snapshot of the database that the path names, as the user may see it.
func (q *request) snapshot() (*storage.DB, *storage.Snapshot, error) {
	db, snap, err := q.api.store.Snapshot(q.dbName)
	if err == nil {
		q.veil(snap)
	}
	return db, snap, err
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
	text, err := q.readBody()
	if err != nil {
		return nil, err
	}
	return document.Canonical(text)
}

// readBody reads a body that may be as long as a document.
func (q *request) readBody() ([]byte, error) {
	most := min(q.config.MaxDocumentSize, math.MaxInt64-1) // it may be infinite
	text, err := io.ReadAll(io.LimitReader(q.Body, most+1))
	if err == nil && int64(len(text)) > most {
		err = errRequestTooLarge
	}
	return text, err
}
