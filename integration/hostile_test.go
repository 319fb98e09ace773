package integration

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// The tests here send what no client should, through real sockets, to a node that others use. Each shape gets an answer
// that blames the client, or a closed connection; never one that blames the node, and never a node that stops serving.

// hostileNode is a node with little patience.
func hostileNode(t *testing.T, options ...harness.Option) *harness.Node {
	t.Helper()
	n := harness.Start(t, append(options, harness.WithConfig("[mangrove]\nbody_timeout = 1000\nwrite_timeout = 1000\n[log]\nslow_request = 0\n"))...)
	c := dial(t, n.Server().Host)
	c.must(t, "PUT", "/db", nil)
	c.must(t, "PUT", "/db/doc", []byte(`{"a":1}`))
	t.Cleanup(func() { afterHostility(t, n) })
	return n
}

// afterHostility checks that the node is well.
func afterHostility(t *testing.T, n *harness.Node) {
	t.Helper()
	if !n.Running() {
		t.Error("the node has ended")
		return
	}
	for _, path := range []string{"/_up", "/db/doc", "/db/_all_docs"} {
		if res, err := n.Client().Do(context.Background(), "GET", path, nil); err != nil || res.Status != http.StatusOK {
			t.Errorf("afterwards %s: %v, %v", path, res, err)
		}
	}
	if logs := n.Logs(); strings.Contains(logs, "panic") || strings.Contains(logs, "a request failed") {
		t.Errorf("the node blames itself:\n%s", logs)
	}
}

// wire is bytes that are sent, and what may come back.
type wire struct {
	name string
	sent string
	want []int // statuses; 0 stands for a connection that is closed without an answer. None: any of 4xx, or 0
	ends bool  // the connection must be closed after the first answer
}

// talk sends bytes on a connection of its own, and returns the statuses of all answers until the connection is closed or
// nothing comes any more.
func talk(t *testing.T, host, sent string, patience time.Duration) (statuses []int, closed bool) {
	t.Helper()
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	written := make(chan struct{})
	go func() { defer close(written); _, _ = io.WriteString(c, sent) }()
	defer func() { c.Close(); <-written }()
	in := bufio.NewReader(c)
	method, _, _ := strings.Cut(sent, " ")
	for {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := in.Peek(1); err != nil {
			return statuses, !errors.Is(err, os.ErrDeadlineExceeded)
		}
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return append(statuses, -1), true
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return append(statuses, res.StatusCode), true
		}
		if res.StatusCode >= 200 {
			statuses = append(statuses, res.StatusCode)
		}
		if res.Close {
			return statuses, true
		}
	}
}

func TestHostileWire(t *testing.T) {
	n := hostileNode(t)
	host := n.Server().Host
	head := "Host: x\r\n" + authorization
	get := func(target string) string { return "GET " + target + " HTTP/1.1\r\n" + head + "\r\n" }
	with := func(lines string) string { return "GET /db HTTP/1.1\r\n" + head + lines + "\r\n" }
	put := func(lines, body string) string { return "PUT /db/x HTTP/1.1\r\n" + head + lines + "\r\n" + body }
	smuggled := "DELETE /db HTTP/1.1\r\n" + head + "\r\n"
	var names, same strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&names, "X-%d: y\r\n", i)
		same.WriteString("X: y\r\n")
	}
	ok, none, missing := []int{200}, []int{0}, []int{404}
	tests := []wire{
		// Lengths that two readers could read differently.
		{name: "two lengths", sent: put("Content-Length: 2\r\nContent-Length: 60\r\n", "{}"+smuggled), ends: true},
		{name: "two equal lengths and what follows", sent: put("Content-Length: 3\r\nContent-Length: 3\r\n", "{x}"), want: []int{400}},
		{name: "a list of lengths", sent: put("Content-Length: 2, 60\r\n", "{}"), ends: true},
		{name: "a negative length", sent: put("Content-Length: -1\r\n", "{}"), ends: true},
		{name: "a length with a sign", sent: put("Content-Length: +2\r\n", "{}"), ends: true},
		{name: "a length in hex", sent: put("Content-Length: 0x2\r\n", "{}"), ends: true},
		{name: "a length without bound", sent: put("Content-Length: 99999999999999999999\r\n", "{}"), ends: true},
		{name: "a length beyond the limit", sent: put("Content-Length: 9000000000\r\n", "{}"), want: []int{413}, ends: true},
		{name: "an unknown transfer coding", sent: put("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), want: []int{400, 501}, ends: true},
		{name: "two transfer codings", sent: put("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), want: []int{400, 501}, ends: true},
		{name: "chunked twice", sent: put("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), want: []int{400, 501}, ends: true},
		{name: "a blank before the colon", sent: put("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), ends: true},
		{name: "a coding with a control byte", sent: put("Transfer-Encoding: \vchunked\r\n", "0\r\n\r\n"), want: []int{400, 501}, ends: true},
		{name: "a chunk of a negative size", sent: put("Transfer-Encoding: chunked\r\n", "-1\r\n{}\r\n0\r\n\r\n"), ends: true},
		{name: "a chunk size that overflows", sent: put("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n"), ends: true},
		{name: "a chunk without its end", sent: put("Transfer-Encoding: chunked\r\n", "2\r\n{}X0\r\n\r\n"), ends: true},
		{name: "endless chunk extensions", sent: put("Transfer-Encoding: chunked\r\n", "2;"+strings.Repeat("x", 1<<20)+"\r\n{}\r\n0\r\n\r\n"), ends: true},
		// Heads that are not what they should be.
		{name: "two hosts", sent: "GET /db HTTP/1.1\r\nHost: a\r\nHost: b\r\n" + authorization + "\r\n", ends: true},
		{name: "no host", sent: "GET /db HTTP/1.1\r\n" + authorization + "\r\n", ends: true},
		{name: "a host with a blank", sent: "GET /db HTTP/1.1\r\nHost: a b\r\n\r\n", ends: true},
		{name: "a header without a colon", sent: with("nonsense\r\n"), ends: true},
		{name: "a header without a name", sent: with(": x\r\n"), ends: true},
		{name: "a name with a control byte", sent: with("X\x01: y\r\n"), ends: true},
		{name: "a value with NUL", sent: with("X: a\x00b\r\n"), ends: true},
		{name: "a value with a bare carriage return", sent: with("X: a\rY: b\r\n"), ends: true},
		{name: "a long header", sent: with("X: " + strings.Repeat("y", 1<<20) + "\r\n"), want: []int{431}, ends: true},
		{name: "thousands of headers", sent: with(names.String()), want: []int{431}},
		{name: "thousands of equal headers", sent: with(same.String()), want: ok},
		{name: "an unknown expectation", sent: with("Expect: miracles\r\n"), want: []int{417}, ends: true},
		{name: "a request id of two lines", sent: with("X-Couch-Request-ID: a\r\n X-Evil: b\r\n"), want: ok},
		// Targets.
		{name: "a long target", sent: get("/db/" + strings.Repeat("x", 9000)), want: []int{414}},
		{name: "an endless target", sent: get("/db/" + strings.Repeat("x", 1<<20)), want: []int{414, 431}, ends: true},
		{name: "an absolute target", sent: get("http://elsewhere.example/db"), want: ok},
		{name: "an absolute target with credentials", sent: get("http://bob:pw@elsewhere.example/db"), want: ok},
		{name: "another scheme", sent: get("gopher://elsewhere.example/db"), want: []int{200, 400, 404}},
		{name: "an asterisk", sent: get("*"), want: []int{400, 404}},
		{name: "OPTIONS of everything", sent: "OPTIONS * HTTP/1.1\r\n" + head + "\r\n", want: []int{200, 204, 400, 404, 405}},
		{name: "a tunnel", sent: "CONNECT elsewhere.example:443 HTTP/1.1\r\n" + head + "\r\n", want: []int{400, 404, 405}},
		{name: "no slash", sent: get("db"), ends: true},
		{name: "a fragment", sent: get("/db#x"), want: []int{200, 400, 404}},
		{name: "the folder above", sent: get("/../../../etc/passwd"), want: []int{400, 404}},
		{name: "the folder above, escaped", sent: get("/%2e%2e/%2e%2e/etc/passwd"), want: []int{400, 404}},
		{name: "the folder above a database", sent: get("/%2e%2e%2f%2e%2e%2fetc"), want: []int{400, 404}},
		{name: "the folder above the console", sent: get("/_utils/../../../etc/passwd"), want: []int{301, 400, 404}},
		{name: "backslashes", sent: get(`/_utils/..\..\etc\passwd`), want: []int{400, 404}},
		{name: "NUL in a database", sent: get("/%00"), want: []int{400, 404}},
		{name: "NUL in a document", sent: get("/db/%00"), want: []int{400, 404}},
		{name: "no UTF-8", sent: get("/db/%ff%fe"), want: []int{400, 404}},
		{name: "no UTF-8, not escaped", sent: get("/db/\xff\xfe"), want: []int{400, 404}},
		{name: "a bad escape", sent: get("/db/%zz"), ends: true},
		{name: "lines in a document's id", sent: get("/db/a%0d%0aX-Evil:%20b"), want: missing},
		// Methods and versions.
		{name: "an unknown method", sent: "BREW /db HTTP/1.1\r\n" + head + "\r\n", want: []int{405}},
		{name: "a long method", sent: strings.Repeat("X", 10000) + " /db HTTP/1.1\r\n" + head + "\r\n", want: []int{405}},
		{name: "a method with NUL", sent: "GE\x00T /db HTTP/1.1\r\n" + head + "\r\n", ends: true},
		{name: "HTTP 0.9", sent: "GET /\r\n\r\n", ends: true},
		{name: "HTTP 1.0", sent: "GET /db HTTP/1.0\r\n" + authorization + "\r\n", want: ok, ends: true},
		{name: "HTTP 9", sent: "GET /db HTTP/9.9\r\n" + head + "\r\n", want: []int{400, 505}, ends: true},
		{name: "the preface of HTTP 2", sent: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", want: []int{400, 401, 405, 505}, ends: true},
		{name: "TLS on a plain port", sent: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 500), want: none},
		{name: "no HTTP", sent: "\r\n\r\n\r\nhello\r\n\r\n", ends: true},
		{name: "blank lines alone", sent: strings.Repeat("\r\n", 100000), want: []int{0, 400, 431}},
		// Credentials that are none.
		{name: "Basic that is none", sent: "GET /db HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ====\r\n\r\n", want: []int{400, 401}},
		{name: "a long password", sent: "GET /db HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWRtaW46" + strings.Repeat("eHh4", 10000) + "\r\n\r\n", want: []int{401}},
		{name: "a token that is none", sent: "GET /db HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a.b.c\r\n\r\n", want: []int{400, 401}},
		{name: "a cookie that is none", sent: "GET /db HTTP/1.1\r\nHost: x\r\nCookie: AuthSession=" + strings.Repeat("%", 3000) + "\r\n\r\n", want: []int{400, 401}},
		{name: "many cookies", sent: with("Cookie: " + strings.Repeat("AuthSession=x; ", 3000) + "\r\n"), want: []int{200, 400, 401}},
		// Bodies that do not come.
		{name: "a body that stands still", sent: put("Content-Length: 100\r\n", "{"), want: []int{408}, ends: true},
		{name: "chunks that stand still", sent: put("Transfer-Encoding: chunked\r\n", "5\r\n{"), want: []int{408}, ends: true},
		{name: "a body that nobody wants", sent: "GET /db HTTP/1.1\r\nContent-Length: 100\r\n" + head + "\r\nx", want: []int{200}, ends: true},
		{name: "nobody's body that stands still", sent: "PUT /db/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx", want: []int{401}},
		{name: "a body after a promise to wait", sent: put("Expect: 100-continue\r\nContent-Length: 100\r\n", ""), want: []int{408}, ends: true},
		{name: "nothing", sent: "", want: none},
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, tt := range tests {
		wg.Go(func() {
			patience := 4 * time.Second
			if slices.Equal(tt.want, none) {
				patience = 200 * time.Millisecond // the node waits longer for the rest of a head
			}
			statuses, closed := talk(t, host, tt.sent, patience)
			first := 0
			if len(statuses) > 0 {
				first = statuses[0]
			}
			switch {
			case tt.want == nil && first != 0 && first/100 != 4, tt.want != nil && !slices.Contains(tt.want, first):
				t.Errorf("%s: %v, want %v", tt.name, statuses, tt.want)
			case tt.ends && (!closed || len(statuses) > 1):
				t.Errorf("%s: the connection goes on after %v", tt.name, statuses)
			}
		})
	}
}

// TestSmuggling sends a body with both kinds of length. Read by the chunks, as RFC 9112 says, it ends where it says, and
// what follows is the client's next request; read by the length, that would be a part of the body. In no reading may
// bytes of the body be taken for a request.
func TestSmuggling(t *testing.T) {
	n := hostileNode(t)
	host, head := n.Server().Host, "Host: x\r\n"+authorization
	body := "DELETE /db HTTP/1.1\r\n" + head + "\r\n"
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	for _, lengths := range []string{"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"} {
		statuses, _ := talk(t, host, "PUT /db/x HTTP/1.1\r\n"+head+lengths+"\r\n"+chunked, time.Second)
		if len(statuses) != 1 || statuses[0] != http.StatusBadRequest {
			t.Errorf("%q: %v", lengths, statuses)
		}
	}
}

func TestPipelining(t *testing.T) {
	n := hostileNode(t)
	const requests = 500
	var sent strings.Builder
	for i := range requests {
		path := "/db/doc"
		if i%3 == 1 {
			path = "/db/none"
		}
		fmt.Fprintf(&sent, "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path, authorization)
	}
	statuses, _ := talk(t, n.Server().Host, sent.String(), time.Second)
	if len(statuses) != requests {
		t.Fatalf("%d answers", len(statuses))
	}
	for i, status := range statuses {
		if want := map[bool]int{true: 404, false: 200}[i%3 == 1]; status != want {
			t.Fatalf("answer %d: %d", i, status)
		}
	}
}

// TestEarlyHangUps leaves the node at every point of a request and its answer.
func TestEarlyHangUps(t *testing.T) {
	n := hostileNode(t)
	host := n.Server().Host
	c := dial(t, host)
	c.must(t, "POST", "/db/_bulk_docs", bulkBody(seeded(1), 0, 1000))
	requests := []string{
		"GET /db/_all_docs?include_docs=true HTTP/1.1\r\nHost: x\r\n" + authorization + "\r\n",
		"GET /db/_changes?feed=continuous&heartbeat=100 HTTP/1.1\r\nHost: x\r\n" + authorization + "\r\n",
		"POST /db/_bulk_docs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 34\r\n" + authorization + "\r\n" + `{"docs":[{"a":1},{"b":2},{"c":3}]}`,
		"PUT /db/att/file HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + authorization + "\r\n5\r\nhello\r\n0\r\n\r\n",
	}
	var wg sync.WaitGroup
	for _, request := range requests {
		for cut := 0; cut <= len(request); cut += 7 {
			wg.Go(func() {
				conn, err := net.Dial("tcp", host)
				if err != nil {
					t.Error(err)
					return
				}
				if cut%2 == 0 {
					_ = conn.(*net.TCPConn).SetLinger(0) // it is reset, not closed
				}
				_, _ = io.WriteString(conn, request[:cut])
				if cut > len(request)-8 {
					_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
					_, _ = io.CopyN(io.Discard, conn, 100)
				}
				conn.Close()
			})
		}
	}
	wg.Wait()
}

// TestInjection looks for lines that clients have written into answers' heads.
func TestInjection(t *testing.T) {
	n := hostileNode(t)
	client := n.Client()
	const evil = "x\r\nX-Evil: 1\r\n\r\n<html>"
	do := func(method, path string, body any, headers ...string) *harness.Response {
		t.Helper()
		res, err := client.Do(t.Context(), method, path, body, headers...)
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		return res
	}
	do("PUT", "/db/typed", map[string]any{"_attachments": map[string]any{
		"a":           map[string]any{"content_type": evil, "data": "AAAA"},
		"b\r\nc\"; x": map[string]any{"content_type": "text/html", "data": "AAAA"},
	}})
	do("PUT", "/db/_design/evil", map[string]any{
		"shows":    map[string]string{"s": `function () { return {headers: {"X-A": "b\r\nX-Evil: 1", "Content-Type": "a/b\r\nX-Evil: 1", "X-B\r\nX-Evil": "1"}, body: "x"} }`},
		"rewrites": []any{map[string]any{"from": "a", "to": "/../\r\nX-Evil: 1"}},
	})
	escaped := "x%0d%0aX-Evil:%201%0d%0a"
	for _, r := range []struct{ method, path, body string }{
		{"GET", "/db/typed/a", ""},
		{"GET", "/db/typed/b%0d%0ac%22;%20x", ""},
		{"GET", "/db/typed?attachments=true", ""},
		{"GET", "/db/_design/evil/_show/s", ""},
		{"GET", "/db/_design/evil/_rewrite/a", ""},
		{"GET", "/db%2f" + escaped, ""},
		{"PUT", "/db/" + escaped, "{}"},
		{"PUT", "/db/a/" + escaped, "{}"},
		{"GET", "/db/doc?rev=" + escaped, ""},
		{"GET", "/db/_design%2f" + escaped, ""},
		{"GET", "/_utils?" + escaped, ""},
		{"POST", "/_session?next=/" + escaped, `{"name":"admin","password":"secret"}`},
	} {
		var body any
		if r.body != "" {
			body = []byte(r.body)
		}
		res := do(r.method, r.path, body, "Content-Type", "application/json", "Accept", "multipart/related, application/json", "X-Forwarded-Host", "h\tX-Evil: 1")
		if res.Header.Get("X-Evil") != "" {
			t.Errorf("%s %s: %v", r.method, r.path, res.Header)
		}
		for name, values := range res.Header {
			for _, v := range values {
				if bytes.ContainsAny([]byte(name+v), "\r\n") {
					t.Errorf("%s %s: %q: %q", r.method, r.path, name, v)
				}
			}
		}
	}
	// Whatever a client calls its request, it gets one word back.
	res := do("GET", "/db", nil, "X-Couch-Request-ID", "a b<script>")
	if id := res.Header.Get("X-Couch-Request-Id"); len(id) != 10 {
		t.Errorf("request id %q", id)
	}
}
