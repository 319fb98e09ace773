package harness

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func serve(t *testing.T, h http.HandlerFunc) Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	s, err := ParseServer(strings.Replace(srv.URL, "http://", "http://me:pw@", 1))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func replayText(t *testing.T, s Server, text string) []Mismatch {
	t.Helper()
	tr, err := loadText(t, text)
	if err != nil {
		t.Fatal(err)
	}
	found, err := Replay(context.Background(), s, tr)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestReplayMakesAndDeletesDatabases(t *testing.T) {
	var seen []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		name, rest, _ := strings.Cut(r.RequestURI[1:], "/")
		base, query, _ := strings.Cut(name, "?")
		seen = append(seen, fmt.Sprintf("%s %d %s/%s", r.Method, len(base), query, rest))
		w.WriteHeader(http.StatusCreated)
	})
	step := func(method, path string) string {
		return `{"request":{"method":"` + method + `","path":"` + path + `"},"response":{"status":201,"none":true}}`
	}
	found := replayText(t, s, `{"name":"n","databases":["db","db2","db3","db4"],"uncreated":["db3"],"create_query":{"db2":"?partitioned=true"},"steps":[`+
		step("GET", "/{db2}/x")+`,`+step("PUT", "/{db4}-b")+`,`+step("PUT", "/{db4}?q=1")+`]}`)
	if len(found) > 0 {
		t.Error(found)
	}
	want := []string{
		"PUT 15 /", "PUT 15 partitioned=true/", // db, db2: made before the steps
		"GET 15 /x", "PUT 17 /", "PUT 15 q=1/",
		"DELETE 15 /", "DELETE 15 /", "DELETE 15 /", "DELETE 15 /",
	}
	if got := strings.Join(seen, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("requests:\n%s", got)
	}
}

func TestReplayReports(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Sent", "here")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, `{"rows":[{"rev":"1-b"}]}`)
	})
	found := replayText(t, s, `{"name":"n","steps":[
		{"note":"fine","request":{"method":"GET","path":"/a"},"response":{"status":418,"headers":{"x-sent":"here","X-Not":"<<absent>>"},"json":{"rows":"<<any>>"}}},
		{"note":"all wrong","request":{"method":"GET","path":"/b"},"bind":{"r":"/nowhere"},
		 "response":{"status":200,"headers":{"X-Sent":"<<absent>>","X-Not":"there"},"json":{"rows":[{"rev":"1-a"}]}}}]}`)
	if len(found) != 1 {
		t.Fatal(found)
	}
	want := `step 2: GET /b (all wrong)
    status: want 200, got 418
    header X-Not: want there, got none
    header X-Sent: want none, got here
    $.rows[0].rev: want "1-a", got "1-b"
    bind r: want a value at /nowhere, got none`
	if got := found[0].String(); got != want {
		t.Errorf("report:\n%s\nwant:\n%s", got, want)
	}
}

func TestReplayRetriesAndBinds(t *testing.T) {
	var n atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI == "/again" && n.Add(1) < 3 {
			w.WriteHeader(http.StatusNotFound)
		}
		w.Header()["ETag"] = []string{`"x"`}
		_, _ = fmt.Fprintf(w, `{"path":%q,"n":7}`, r.RequestURI)
	})
	found := replayText(t, s, `{"name":"n","steps":[
		{"retry":20,"request":{"method":"GET","path":"/again"},"bind":{"n":"/n","tag":"header:ETag"},"response":{"status":200,"none":true}},
		{"request":{"method":"GET","path":"/{{n}}/{{tag}}"},"response":{"status":200,"json":{"path":"/{{n}}/{{tag}}","n":7}}},
		{"retry":0.1,"request":{"method":"GET","path":"/"},"response":{"status":500,"none":true}}]}`)
	if len(found) != 1 || found[0].Step != 3 {
		t.Error(found)
	}
	if n.Load() != 3 {
		t.Errorf("%d attempts", n.Load())
	}
}

func TestReplayNoticesBrokenAnswers(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort")
	})
	found := replayText(t, s, `{"name":"n","steps":[{"request":{"method":"GET","path":"/"},"response":{"status":200,"text":"short"}}]}`)
	if len(found) != 1 || found[0].Differences[0].Path != "answer" {
		t.Error(found)
	}
}

func TestExchangeIsRaw(t *testing.T) {
	var got string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = fmt.Sprintf("%s %s %v %d %s %q", r.Method, r.RequestURI, r.TransferEncoding, r.ContentLength, r.Header.Get("X-A"), body)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusMovedPermanently)
	})
	long := bytes.Repeat([]byte("x"), 2*chunkSize+1)
	tests := []struct {
		r    rawRequest
		want string
	}{
		{rawRequest{method: "GET", target: "//a/../b%2Fc?x"}, `GET //a/../b%2Fc?x [] 0  ""`},
		{rawRequest{method: "FOO", target: "/x+y", header: map[string]string{"x-a": "1"}}, `FOO /x+y [] 0 1 ""`},
		{rawRequest{method: "TRACE", target: "/"}, `TRACE / [] 0  ""`},
		{rawRequest{method: "POST", target: "/"}, `POST / [] 0  ""`},
		{rawRequest{method: "DELETE", target: "/", body: []byte("b")}, `DELETE / [] 1  "b"`},
		{rawRequest{method: "PUT", target: "/", body: []byte("abc"), header: map[string]string{"content-length": "2"}}, `PUT / [] 2  "ab"`},
		{
			rawRequest{method: "PUT", target: "/", body: long, chunk: true, header: map[string]string{"transfer-encoding": "chunked"}},
			fmt.Sprintf(`PUT / [chunked] -1  %q`, long),
		},
	}
	for _, tt := range tests {
		a, err := s.exchange(context.Background(), tt.r)
		if err != nil {
			t.Error(err)
			continue
		}
		if got != tt.want {
			t.Errorf("server saw %.100s, want %.100s", got, tt.want)
		}
		if a.status != http.StatusMovedPermanently || a.header.Get("Location") != "/elsewhere" {
			t.Errorf("answer %d %v", a.status, a.header)
		}
	}
}

func TestExchangeEndsWithItsContext(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "begun")
		_ = http.NewResponseController(w).Flush()
		<-release
	})
	defer close(release)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if a, err := s.exchange(ctx, rawRequest{method: "GET", target: "/"}); err == nil {
		t.Errorf("answer %v", a)
	}
}

func TestParseServer(t *testing.T) {
	s, err := ParseServer("http://ann:p%40ss@localhost:5984/")
	if err != nil || s != (Server{"localhost:5984", "ann", "p@ss"}) {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{"", "localhost:5984", "https://a:b@h:1", "http://h", "http://h:1/path"} {
		if _, err := ParseServer(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}
