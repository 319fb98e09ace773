package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/config"
	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/mango"
	"github.com/mangrove-db/mangrove/replicator"
	"github.com/mangrove-db/mangrove/script"
	"github.com/mangrove-db/mangrove/storage"
	"github.com/mangrove-db/mangrove/view"
)

// node is an API over a store of its own, behind a listener.
type node struct {
	testing.TB
	api    *API
	store  *storage.Store
	config *config.Config
	server *httptest.Server
	url    string
	client *http.Client

	scripts script.Options
	logger  *slog.Logger // nil: nothing is logged
}

// option changes a node before it starts.
type option func(*node)

// setting gives a key of the configuration a value.
func setting(section, key, value string) option {
	return func(n *node) {
		n.Helper()
		if _, err := n.config.Set(section, key, value, false); err != nil {
			n.Fatal(err)
		}
	}
}

// adminName and adminPassword are those of the node's administrator, with whose rights do acts.
const adminName, adminPassword = "admin", "secret"

// newNode starts a node, which ends with the test.
func newNode(t testing.TB, options ...option) *node {
	t.Helper()
	dir := t.TempDir()
	cfg, err := config.Load(config.Options{Data: filepath.Join(dir, "data"), Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{TB: t, config: cfg}
	setting("chttpd_auth", "iterations", "1")(n)
	for _, o := range options {
		o(n)
	}
	if n.store, err = storage.Open(storage.Options{Path: cfg.Snapshot().DataDir}); err != nil {
		t.Fatal(err)
	}
	if _, err := auth.PrepareAdmins(cfg, &auth.Account{Name: adminName, Password: adminPassword}); err != nil {
		t.Fatal(err)
	}
	scripts := script.New(n.scripts)
	designs := design.NewCache(scripts, func() []byte { return []byte(auth.ClosedSecurity) })
	views := view.New(view.Options{Store: n.store, Engine: scripts, Languages: map[string]view.Language{"query": mango.Language{}}, Logger: n.logger})
	replications := replicator.NewService(replicator.ServiceOptions{Store: n.store, Designs: designs, Settings: func() replicator.Settings { return replicator.Settings{} }, UserAgent: "test", Logger: n.logger})
	accounts := auth.New(auth.Options{Config: cfg, Store: n.store, Logger: n.logger})
	ctx, stop := context.WithCancel(context.Background())
	var working sync.WaitGroup
	working.Go(func() { replications.Serve(ctx) })
	working.Go(func() { views.Serve(ctx) })
	n.api = New(Options{Store: n.store, Config: cfg, Auth: accounts, Version: "test", Replications: replications, Designs: designs, Scripts: scripts, Views: views, Logger: n.logger})
	n.server = httptest.NewServer(n.api)
	n.url, n.client = n.server.URL, n.server.Client()
	n.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(func() {
		stop()
		working.Wait()
		n.api.Close()
		n.server.Close()
		accounts.Close()
		if err := n.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// answer is what came back, read to its end.
type answer struct {
	*http.Response
	body []byte
}

// request makes a request with the administrator's rights. A body that is no string, bytes or reader is sent as JSON.
// The headers are "Name: value".
func (n *node) request(method, path string, body any, headers ...string) *http.Request {
	n.Helper()
	var in io.Reader
	kind := ""
	switch b := body.(type) {
	case nil:
	case string:
		in, kind = strings.NewReader(b), "application/json"
	case []byte:
		in, kind = bytes.NewReader(b), "application/json"
	case io.Reader:
		in = b
	default:
		text, err := json.Marshal(b)
		if err != nil {
			n.Fatal(err)
		}
		in, kind = bytes.NewReader(text), "application/json"
	}
	r, err := http.NewRequestWithContext(n.Context(), method, n.url+path, in)
	if err != nil {
		n.Fatal(err)
	}
	r.SetBasicAuth(adminName, adminPassword)
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return r
}

// do sends a request and reads the answer.
func (n *node) do(method, path string, body any, headers ...string) *answer {
	n.Helper()
	return n.send(n.request(method, path, body, headers...))
}

// send sends a request and reads the answer.
func (n *node) send(r *http.Request) *answer {
	n.Helper()
	response, err := n.client.Do(r)
	if err != nil {
		n.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		n.Fatalf("%s %s: reading the answer: %v", r.Method, r.URL, err)
	}
	return &answer{response, text}
}

// must is do for requests that have to succeed.
func (n *node) must(method, path string, body any, headers ...string) *answer {
	n.Helper()
	a := n.do(method, path, body, headers...)
	if a.StatusCode/100 != 2 {
		n.Fatalf("%s %s: %s\n%s", method, path, a.Status, a.body)
	}
	return a
}

// json reads the answer's body into v.
func (a *answer) json(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
}

// errorBody is the body of an answer that tells of a failure.
type errorBody struct {
	Error  string `json:"error"`
	Reason string `json:"reason"`
}

// refused checks that a request fails with a status and CouchDB's words.
func (n *node) refused(status int, name, reason, method, path string, body any, headers ...string) {
	n.Helper()
	a := n.do(method, path, body, headers...)
	var e errorBody
	a.json(n.TB, &e)
	if a.StatusCode != status || e.Error != name || e.Reason != reason {
		n.Errorf("%s %s: %d %s: %s; want %d %s: %s", method, path, a.StatusCode, e.Error, e.Reason, status, name, reason)
	}
}
