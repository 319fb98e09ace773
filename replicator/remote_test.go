package replicator

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// script is a server whose answers a test dictates. It remembers what it was asked.
type script struct {
	testing.TB
	*httptest.Server
	serial sync.Mutex // one answer after the other, so that handlers may keep state
	mu     sync.Mutex
	asked  []string // method, path below the database and query
}

// newScript starts a server that answers with handle. The database is at /db/.
func newScript(t testing.TB, handle func(w http.ResponseWriter, r *http.Request)) *script {
	t.Helper()
	before := goleak.IgnoreCurrent()
	s := &script{TB: t}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		line := r.Method + " " + strings.TrimPrefix(r.URL.EscapedPath(), "/db/")
		if r.URL.RawQuery != "" {
			line += "?" + r.URL.RawQuery
		}
		s.mu.Lock()
		s.asked = append(s.asked, line)
		s.mu.Unlock()
		s.serial.Lock()
		defer s.serial.Unlock()
		handle(w, r)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		if !t.Failed() {
			goleak.VerifyNone(t, before)
		}
	})
	return s
}

// remote returns the script's database as a peer that does not wait long.
func (s *script) remote(o RemoteOptions) *Remote {
	s.Helper()
	if o.URL == "" {
		o.URL = s.URL + "/db"
	}
	r, err := NewRemote(o)
	if err != nil {
		s.Fatal(err)
	}
	r.c.pause = time.Microsecond
	s.Cleanup(func() { _ = r.Close() })
	return r
}

// requests returns what was asked since the last call.
func (s *script) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// cut sends the first n bytes of an answer and breaks the connection; all of it if n is not less.
func cut(w http.ResponseWriter, text string, n int) {
	if n >= len(text) {
		_, _ = io.WriteString(w, text)
		return
	}
	_, _ = io.WriteString(w, text[:n])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func reply(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func TestRemoteURLs(t *testing.T) {
	for text, name := range map[string]string{
		"http://host/db":                       "http://host/db/",
		"https://u:secret@host:6984/a/db/":     "https://host:6984/a/db/",
		"http://u:se%2Fcret@host/a%2Fb":        "http://host/a%2Fb/",
		"http://u:secret#host/db":              "",
		"http://u:secret host/db":              "",
		"http://u:secret@host/db?password=x":   "",
		"ftp://u:secret@host/db":               "",
		"u:secret@host/db":                     "",
		"http://u:sec ret@host:port:secret/db": "",
		"":                                     "",
	} {
		r, err := NewRemote(RemoteOptions{URL: text})
		switch {
		case err == nil && r.Name() != name:
			t.Errorf("%q: %s, want %s", text, r.Name(), name)
		case (err == nil) != (name != ""):
			t.Errorf("%q: %v", text, err)
		case err != nil && strings.Contains(err.Error(), "sec"):
			t.Errorf("%q: the error tells the password: %v", text, err)
		}
	}
	if _, err := NewRemote(RemoteOptions{URL: "http://host/db", Proxy: "http://u:secret@[::/"}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("proxy: %v", err)
	}
}

func TestRemoteCredentials(t *testing.T) {
	var got []string
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization")+" "+r.Header.Get("X-Own"))
		reply(w, 200, `{"update_seq":"3-x","instance_start_time":"0","doc_count":7}`)
	})
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	u := strings.Replace(s.URL, "http://", "http://joe:pw%40@", 1) + "/db"
	headers := map[string]string{"authorization": "Bearer x", "x-own": "1"}
	for _, o := range []RemoteOptions{
		{URL: u, Headers: headers, Auth: &BasicAuth{"ann", "a:b"}},
		{URL: u, Headers: headers},
		{Headers: headers},
	} {
		info, err := s.remote(o).Info(t.Context())
		if err != nil || info != (PeerInfo{UpdateSeq: "3-x", StartTime: "0", Docs: 7}) {
			t.Errorf("%+v, %v", info, err)
		}
	}
	want := []string{basic("ann:a:b") + " 1", basic("joe:pw@") + " 1", "Bearer x 1"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestRemoteInfo(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		want   error
	}{
		{200, `{"update_seq":[5,"x"],"instance_start_time":"17"}`, nil},
		{200, `{"update_seq":5}`, ErrNoDatabase},
		{200, `<html>`, ErrNoDatabase},
		{404, `{"error":"not_found","reason":"Database does not exist."}`, ErrNoDatabase},
		{404, `nothing here`, ErrNoDatabase},
		{401, `{"error":"unauthorized","reason":"Name or password hunter22 is incorrect."}`, ErrUnauthorized},
		{403, ``, ErrUnauthorized},
	} {
		s := newScript(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, test.status, test.body) })
		_, err := s.remote(RemoteOptions{Auth: &BasicAuth{"u", "hunter22"}}).Info(t.Context())
		if !errors.Is(err, test.want) {
			t.Errorf("%d %s: %v", test.status, test.body, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter22") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

func TestRemoteCreate(t *testing.T) {
	status := 201
	s := newScript(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://elsewhere/db")
		reply(w, status, `{"ok":true}`)
	})
	r := s.remote(RemoteOptions{})
	for _, status = range []int{201, 202, 412} {
		if err := r.Create(t.Context(), CreateParams{Q: 4, N: 1, Partitioned: true}); err != nil {
			t.Errorf("%d: %v", status, err)
		}
	}
	if got := s.requests(); got[0] != "PUT ?n=1&partitioned=true&q=4" {
		t.Error(got)
	}
	status = 403
	if err := r.Create(t.Context(), CreateParams{}); !errors.Is(err, ErrUnauthorized) {
		t.Error(err)
	}
}

func TestRemoteRetries(t *testing.T) {
	for _, test := range []struct {
		name     string
		fail     func(w http.ResponseWriter)
		failures int
		ok       bool
	}{
		{"503", func(w http.ResponseWriter) { reply(w, 503, `{}`) }, 5, true},
		{"503 too often", func(w http.ResponseWriter) { reply(w, 503, `{}`) }, 6, false},
		{"408", func(w http.ResponseWriter) { reply(w, 408, `{}`) }, 1, true},
		{"429", func(w http.ResponseWriter) { reply(w, 429, `{}`) }, 3, true},
		{"501", func(w http.ResponseWriter) { reply(w, 501, `{}`) }, 1, false},
		{"broken connection", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, 5, true},
		{"broken body", func(w http.ResponseWriter) { cut(w, `{"pending":9}`, 5) }, 5, true},
		{"broken too often", func(w http.ResponseWriter) { cut(w, `{"pending":9}`, 5) }, 6, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			left := test.failures
			s := newScript(t, func(w http.ResponseWriter, _ *http.Request) {
				if left--; left >= 0 {
					test.fail(w)
					return
				}
				reply(w, 200, `{"results":[],"last_seq":"9-a","pending":9}`)
			})
			n, err := s.remote(RemoteOptions{}).Pending(t.Context(), "5-\"x")
			if (err == nil) != test.ok || test.ok && n != 9 {
				t.Errorf("%d, %v after %q", n, err, s.requests())
			}
		})
	}
}

func TestRemotePendingUnknown(t *testing.T) {
	s := newScript(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, `{"results":[],"last_seq":4}`) })
	if n, err := s.remote(RemoteOptions{}).Pending(t.Context(), `[4,"x y"]`); n != -1 || err != nil {
		t.Error(n, err)
	}
	if got := s.requests(); got[0] != "GET _changes?limit=0&since=%5B4%2C%22x+y%22%5D" {
		t.Error(got)
	}
}

func TestRemoteSilence(t *testing.T) {
	release := make(chan struct{})
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	r := s.remote(RemoteOptions{ConnectionTimeout: 20 * time.Millisecond, Retries: 1})
	if _, err := r.Info(t.Context()); !errors.Is(err, errSilent) {
		t.Error(err)
	}
	if n := len(s.requests()); n != 2 {
		t.Errorf("%d requests", n)
	}
}

func TestRemoteRedirects(t *testing.T) {
	const good = `{"update_seq":1,"instance_start_time":"0"}`
	other := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("credentials were sent to another host")
		}
		reply(w, 200, good)
	})
	var status int
	var location string
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/db/") {
			w.Header().Set("Location", location)
			w.WriteHeader(status)
			return
		}
		body, _ := io.ReadAll(r.Body)
		if r.Method == http.MethodPost && string(body) != `{"a":["1-x"]}` {
			t.Errorf("body %s", body)
		}
		if r.Method == http.MethodPost {
			reply(w, 200, `{"a":{"missing":["1-x"]}}`)
			return
		}
		reply(w, 200, good)
	})
	ask := func(auth *BasicAuth, post bool) error {
		r := s.remote(RemoteOptions{Auth: auth})
		if post {
			_, err := r.RevsDiff(t.Context(), []DocRevs{{ID: "a", Revs: revs("1-x")}})
			return err
		}
		_, err := r.Info(t.Context())
		return err
	}
	auth := &BasicAuth{"u", "secret"}
	for _, test := range []struct {
		status   int
		location string
		auth     *BasicAuth
		post     bool
		ok       bool
	}{
		{301, "/elsewhere/", auth, false, true},
		{303, s.URL + "/elsewhere/", auth, false, true},
		{308, "/elsewhere/", auth, false, true},
		{302, "/elsewhere/", auth, true, false},
		{307, "/elsewhere/", auth, true, true},
		{301, other.URL + "/x/", auth, false, false},
		{301, other.URL + "/x/", nil, false, true},
		{301, "/db/", auth, false, false},
		{301, "", auth, false, false},
		{301, "ftp://x/", auth, false, false},
	} {
		status, location = test.status, test.location
		err := ask(test.auth, test.post)
		if (err == nil) != test.ok {
			t.Errorf("%d to %q: %v", test.status, test.location, err)
		}
		if !test.ok && strings.HasPrefix(test.location, other.URL) && !strings.Contains(err.Error(), "credentials") {
			t.Error(err)
		}
	}
}

func TestRemoteProxy(t *testing.T) {
	var target, auth string
	proxy := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		target, auth = r.URL.String(), r.Header.Get("Proxy-Authorization")
		reply(w, 200, `{"update_seq":1,"instance_start_time":"0"}`)
	})
	u, _ := url.Parse(proxy.URL)
	u.User = url.UserPassword("p", "q")
	r := proxy.remote(RemoteOptions{URL: "http://db.invalid/x", Proxy: u.String()})
	if _, err := r.Info(t.Context()); err != nil {
		t.Fatal(err)
	}
	if target != "http://db.invalid/x/" || auth != "Basic cDpx" {
		t.Errorf("%q, %q", target, auth)
	}
}

func TestRevsDiff(t *testing.T) {
	var bodies []string
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(b))
		reply(w, 200, `{"b":{"missing":["3-c"],"possible_ancestors":["2-b","1-a"]},"a":{"missing":[]}}`)
	})
	got, err := s.remote(RemoteOptions{}).RevsDiff(t.Context(), []DocRevs{
		{ID: "a", Revs: revs("1-x")}, {ID: "b", Revs: revs("3-c", "1-a")}, {ID: "b", Revs: revs("4-d")},
	})
	if err == nil {
		t.Fatalf("an answer about a document that was not asked for: %v", got)
	}
	got, err = s.remote(RemoteOptions{}).RevsDiff(t.Context(), []DocRevs{{ID: "a", Revs: revs("1-x")}, {ID: "b", Revs: revs("3-c", "1-a")}})
	want := []DocRevs{{ID: "b", Revs: revs("3-c"), Known: revs("2-b", "1-a")}}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if bodies[0] != `{"a":["1-x"],"b":["3-c","1-a"]}` || bodies[1] != `{"b":["4-d"]}` {
		t.Error(bodies)
	}
}

func TestRemoteCheckpoints(t *testing.T) {
	stored, rev, puts := "", 0, 0
	drop := false // the answer to the next write
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet && stored == "":
			reply(w, 404, `{"error":"not_found","reason":"missing"}`)
		case r.Method == http.MethodGet:
			reply(w, 200, stored)
		default:
			puts++
			b, _ := io.ReadAll(r.Body)
			if has := strings.Contains(string(b), fmt.Sprintf(`"_rev":"0-%d"`, rev)); rev > 0 && !has {
				reply(w, 409, `{"error":"conflict","reason":"Document update conflict."}`)
				return
			}
			rev++
			stored = `{"_id":"_local/x y+","_rev":"0-` + fmt.Sprint(rev) + `",` + string(b[strings.Index(string(b), `"n"`):])
			if drop {
				drop = false
				panic(http.ErrAbortHandler)
			}
			reply(w, 201, fmt.Sprintf(`{"ok":true,"id":"_local/x","rev":"0-%d"}`, rev))
		}
	})
	r := s.remote(RemoteOptions{})
	if _, err := r.Checkpoint(t.Context(), "x y+"); !errors.Is(err, ErrNoCheckpoint) {
		t.Fatal(err)
	}
	save := func(rev, body, want string) {
		t.Helper()
		got, err := r.SaveCheckpoint(t.Context(), Checkpoint{ID: "x y+", Rev: rev, Body: []byte(body)})
		if err != nil || got != want {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
	}
	save("", `{"n":1}`, "0-1")
	save("0-1", `{"n":2}`, "0-2")
	save("0-1", `{"n":3}`, "0-3") // another has written
	drop = true
	save("0-3", `{"n":4}`, "0-4") // it has arrived, the answer has not
	if puts != 6 {
		t.Errorf("%d writes", puts)
	}
	c, err := r.Checkpoint(t.Context(), "x y+")
	if err != nil || c.Rev != "0-4" || string(c.Body) != `{"n":4}` {
		t.Errorf("%s %s %v", c.Rev, c.Body, err)
	}
	if got := s.requests()[0]; got != "GET _local/x%20y%2B" {
		t.Error(got)
	}
}

func TestRemoteCommit(t *testing.T) {
	for status, body := range map[int]string{201: `{"ok":true,"instance_start_time":"17"}`, 404: `{"error":"not_found","reason":"missing"}`, 405: ``} {
		s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				reply(w, 200, `{"update_seq":1,"instance_start_time":"17"}`)
				return
			}
			if r.Header.Get("Content-Type") != "application/json" {
				t.Error(r.Header)
			}
			reply(w, status, body)
		})
		if start, err := s.remote(RemoteOptions{}).Commit(t.Context()); start != "17" || err != nil {
			t.Errorf("%d: %q, %v", status, start, err)
		}
	}
}
