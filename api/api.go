// Package api serves CouchDB's HTTP API over a store.
//
// A request passes through ServeHTTP, which sets limits and common headers, authenticates, finds the resource by the
// path (routes.go) and calls its handler for the method. Handlers are methods of request; what they return as an
// error, writeError turns into CouchDB's {"error","reason"} (errors.go), which is the only place that knows the
// statuses of failures. Answers that can be large are written as they are read from the store: an error that comes
// after the status has been sent ends the connection, so that no client takes a cut answer for a whole one.
package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/config"
	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/internal/uuid"
	"github.com/mangrove-db/mangrove/mango"
	"github.com/mangrove-db/mangrove/script"
	"github.com/mangrove-db/mangrove/storage"
	"github.com/mangrove-db/mangrove/view"
)

// compatible is the version of CouchDB whose API this is; clients look for it.
const compatible = "3.5.0"

// Options are what an API is made of. All but Logger are required.
type Options struct {
	Store   *storage.Store
	Config  *config.Config
	Auth    *auth.Authenticator
	Logger  *slog.Logger
	Version string // of Mangrove
	// Replications are the node's.
	Replications Replications
	// Designs are the functions of design documents.
	Designs *design.Cache
	// Scripts compiles functions that are being saved, Views has their indexes.
	Scripts *script.Engine
	Views   *view.Indexer
	// Connections, if not nil, tells how many there are.
	Connections func() Connections
}

// API is an http.Handler. Close ends its feeds.
type API struct {
	store   *storage.Store
	config  *config.Config
	auth    *auth.Authenticator
	log     *slog.Logger
	version string
	server  []string // the Server header
	started time.Time

	replications Replications
	designs      *design.Cache
	scripts      *script.Engine
	views        *view.Indexer
	finder       *mango.Finder

	securities auth.Securities

	router *mux.Router
	uuids  atomic.Pointer[uuids]
	stats  *stats
	bulks  bulkRoom

	registry    *prometheus.Registry
	connections func() Connections // nil: nobody counts them

	ending context.Context // done when feeds are to end
	end    context.CancelFunc
}

// New returns an API over the store.
func New(o Options) *API {
	a := &API{store: o.Store, config: o.Config, auth: o.Auth, log: o.Logger, version: o.Version, started: time.Now(), stats: newStats(), bulks: newBulkRoom(), replications: o.Replications, designs: o.Designs, scripts: o.Scripts, views: o.Views, finder: mango.NewFinder(o.Views)}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.ending, a.end = context.WithCancel(context.Background())
	a.server = []string{"CouchDB/" + compatible + " (Mangrove/" + o.Version + ")"}
	a.router = newRouter()
	a.connections = o.Connections
	a.registry = a.newRegistry()
	return a
}

// Close makes open feeds end, and later ones end at once. Other requests are served as before.
func (a *API) Close() { a.end() }

// uuids is a generator of ids and the configuration that it was made for.
type uuids struct {
	*uuid.Generator
	algorithm, suffix string
}

// newUUID makes an id by the algorithm that the configuration asks for.
func (a *API) newUUID(c *config.Snapshot) string {
	u := a.uuids.Load()
	if u == nil || u.algorithm != c.UUIDAlgorithm || u.suffix != c.UUIDSuffix {
		g, err := uuid.New(c.UUIDAlgorithm, c.UUIDSuffix)
		if err != nil {
			return rand.Text() // the configuration was checked when it was read
		}
		u = &uuids{g, c.UUIDAlgorithm, c.UUIDSuffix}
		a.uuids.Store(u)
	}
	return u.Next()
}

// mostHeaders is how many headers of different names a request may have, as in CouchDB.
const mostHeaders = 1000

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	out := &response{ResponseWriter: w, multiplexed: r.ProtoMajor > 1}
	q := &request{Request: r, w: out, api: a, config: a.config.Snapshot()}
	out.patience = q.config.Limits.WriteTimeout
	q.setHeaders()
	defer q.finished(began)
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			a.stats.panics.Add(1)
			q.log().With(q.describe()...).Error("a request failed", "panic", p, "stack", string(debug.Stack()))
			q.fail(errInternal)
		}
	}()
	q.hurryBody()
	if err := q.serve(); err != nil {
		q.fail(err)
	}
	if q.gone {
		panic(http.ErrAbortHandler)
	}
}

// serve finds the handler of the request and calls it.
func (q *request) serve() error {
	if len(q.RequestURI) > q.config.MaxURILength {
		return errURITooLong
	}
	if len(q.Header) > mostHeaders {
		return errTooManyHeaders
	}
	q.overrideMethod()
	if q.handleCORS() {
		return nil
	}
	if err := q.authenticate(); err != nil {
		return err
	}
	if err := q.limitBody(); err != nil {
		return err
	}
	return q.dispatch()
}

// dispatch calls the handler of the resource that the path names, if the user may use it.
func (q *request) dispatch() error {
	res, vars := find(q.api.router, q.Request)
	q.class = res.class
	if err := q.setPath(vars); err != nil {
		return err
	}
	if err := q.authorize(res); err != nil {
		return err
	}
	h := res.handler(q.Method)
	if h == nil {
		return methodNotAllowed(res.allow)
	}
	return h(q)
}

// overrideMethod lets clients that can only POST name another method.
func (q *request) overrideMethod() {
	if m := q.Header.Get("X-HTTP-Method-Override"); m != "" && q.Method == http.MethodPost {
		q.Method = strings.ToUpper(m)
		if q.Method == http.MethodHead {
			q.Method = http.MethodGet // the client waits for the body of an answer to a POST
		}
	}
}

func (q *request) setHeaders() {
	h := q.w.Header()
	h["Server"] = q.api.server
	h["Cache-Control"] = mustRevalidate
	id := q.Header.Get("X-Couch-Request-ID")
	if !plainToken(id) {
		var b [5]byte
		_, _ = rand.Read(b[:]) // never fails
		id = hex.EncodeToString(b[:])
	}
	h["X-Couch-Request-Id"] = []string{id}
	h["X-Couchdb-Body-Time"] = zero
}

var (
	mustRevalidate = []string{"must-revalidate"}
	zero           = []string{"0"}
)

// plainToken tells whether a client's request id may be sent back as it is.
func plainToken(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}
