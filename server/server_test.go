package server

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/mangrove-db/mangrove/config"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// addresses is a log handler that passes on where a node listens.
type addresses struct {
	slog.Handler
	found chan string
}

func (a addresses) Enabled(context.Context, slog.Level) bool { return true }

func (a addresses) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "listening" {
		return nil
	}
	r.Attrs(func(at slog.Attr) bool {
		if at.Key == "addr" {
			a.found <- at.Value.String()
		}
		return true
	})
	return nil
}

func (a addresses) WithAttrs([]slog.Attr) slog.Handler { return a }

func (a addresses) WithGroup(string) slog.Handler { return a }

// node is a running node.
type node struct {
	url     string
	notices bytes.Buffer
	stop    func() error
}

// start runs a node with its data in dir on a free port.
func start(t *testing.T, dir string) *node {
	t.Helper()
	cfg, err := config.Load(config.Options{Data: dir, Listen: "127.0.0.1:0", Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.Set("chttpd_auth", "iterations", "10", false); err != nil {
		t.Fatal(err)
	}
	n := &node{}
	found := make(chan string, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{Config: cfg, Version: "test", Logger: slog.New(addresses{found: found}), Notices: &n.notices})
	}()
	n.stop = sync.OnceValue(func() error { cancel(); return <-done })
	select {
	case addr := <-found:
		n.url = "http://" + addr
	case err := <-done:
		cancel()
		t.Fatalf("the node did not start: %v", err)
	}
	t.Cleanup(func() {
		if err := n.stop(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// client dials once per request: a spare connection that never carries one
// would hold up a stop for some seconds.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// get answers a request's status and body.
func get(t *testing.T, url, user, password string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// passwordOf reads the password from the notice of a first start.
func passwordOf(notice string) string {
	_, rest, _ := strings.Cut(notice, "password:")
	password, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
	return password
}

func TestFirstStart(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	if status, body := get(t, n.url+"/", "", ""); status != http.StatusOK || !strings.Contains(body, `"couchdb":"Welcome"`) {
		t.Errorf("%d %s", status, body)
	}
	password := passwordOf(n.notices.String())
	if status, body := get(t, n.url+"/_all_dbs", "admin", password); status != http.StatusOK {
		t.Errorf("the printed password: %d %s", status, body)
	}
	if status, _ := get(t, n.url+"/_all_dbs", "admin", "wrong"); status != http.StatusUnauthorized {
		t.Errorf("a wrong password: %d", status)
	}
	if status, _ := get(t, n.url+"/_all_dbs", "", ""); status != http.StatusUnauthorized {
		t.Errorf("nobody is an administrator without a password: %d", status)
	}
	if err := n.stop(); err != nil {
		t.Error(err)
	}

	again := start(t, dir)
	if again.notices.Len() > 0 {
		t.Errorf("a second start tells: %s", again.notices.String())
	}
	if status, body := get(t, again.url+"/_all_dbs", "admin", password); status != http.StatusOK {
		t.Errorf("after a restart: %d %s", status, body)
	}
}

func TestCannotStart(t *testing.T) {
	dir := t.TempDir()
	start(t, dir)
	second, err := config.Load(config.Options{Data: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), Options{Config: second}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("the data directory is in use: %v", err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken, err := config.Load(config.Options{Data: t.TempDir(), Listen: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), Options{Config: taken}); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("the address is in use: %v", err)
	}
}

// feed is a handler whose answer ends when it is closed, as a feed's does.
type feed struct {
	began  chan struct{}
	closed chan struct{}
	close  func()
}

func newFeed() *feed {
	f := &feed{began: make(chan struct{}), closed: make(chan struct{})}
	f.close = sync.OnceFunc(func() { close(f.closed) })
	return f
}

func (f *feed) Close() { f.close() }

func (f *feed) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, "first\n")
	http.NewResponseController(w).Flush()
	close(f.began)
	<-f.closed
	io.WriteString(w, "last\n")
}

func closedChannel() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func TestStopEndsFeeds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := newFeed()
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, []endpoint{{Listener: l, handler: f}}, f, nil, closedChannel(), 1000, slog.New(slog.DiscardHandler))
	}()
	go func() { <-f.began; stop() }()
	if status, body := get(t, "http://"+l.Addr().String(), "", ""); status != http.StatusOK || body != "first\nlast\n" {
		t.Errorf("%d %q", status, body)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestListenerFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := serve(t.Context(), []endpoint{{Listener: l, handler: newFeed()}}, newFeed(), nil, closedChannel(), 0, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no error")
	}
}

func TestReplicationsSurviveRestart(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	password := passwordOf(n.notices.String())
	send := func(n *node, method, path, body string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, n.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("admin", password)
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if got := send(n, "GET", "/_all_dbs", ""); got != `["_replicator","_users"]`+"\n" {
		t.Errorf("a new node has %s", got)
	}
	send(n, "PUT", "/a", "")
	send(n, "PUT", "/b", "")
	send(n, "PUT", "/_replicator/r", `{"source":"a","target":"b","continuous":true}`)
	feed := "/b/_changes?feed=longpoll&timeout=20000&since="
	send(n, "PUT", "/a/one", `{}`)
	if got := send(n, "GET", feed+"0", ""); !strings.Contains(got, `"one"`) {
		t.Fatal(got)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, dir)
	send(again, "PUT", "/a/two", `{}`)
	if got := send(again, "GET", feed+"1", ""); !strings.Contains(got, `"two"`) {
		t.Fatal(got)
	}
}
