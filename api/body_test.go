package api

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

// drip gives pieces of a text with pauses between them.
type drip struct {
	rest  string
	piece int
	pause time.Duration
}

func (d *drip) Read(p []byte) (int, error) {
	if d.rest == "" {
		return 0, io.EOF
	}
	time.Sleep(d.pause)
	n := copy(p, d.rest[:min(d.piece, len(d.rest))])
	d.rest = d.rest[n:]
	return n, nil
}

// TestSlowBodies sends bodies that take longer than a client may stand still: in steps that are large enough, and in such
// that are not.
func TestSlowBodies(t *testing.T) {
	n := newNode(t, setting("mangrove", "body_timeout", "400"))
	n.must(http.MethodPut, "/db", nil)
	text := `{"text":"` + strings.Repeat("x", 20*stride) + `"}`
	n.must(http.MethodPut, "/db/steady", &drip{text, 2 * stride, 60 * time.Millisecond}, "Content-Type: application/json")
	n.must(http.MethodPut, "/db/steady/file", &drip{text, 2 * stride, 60 * time.Millisecond}, "If-Match: "+strings.Trim(n.must(http.MethodHead, "/db/steady", nil).Header.Get("ETag"), `"`))

	r := n.request(http.MethodPut, "/db/creeping", &drip{text, 1, 60 * time.Millisecond}, "Content-Type: application/json")
	began := time.Now()
	response, err := n.client.Do(r)
	if time.Since(began) > 10*time.Second {
		t.Errorf("it took %v", time.Since(began))
	}
	switch {
	case err == nil:
		defer response.Body.Close()
		if response.StatusCode != http.StatusRequestTimeout {
			t.Errorf("a body of single bytes: %s", response.Status)
		}
	case !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") && !strings.Contains(err.Error(), "broken pipe"):
		t.Error(err) // the connection may be gone before the client looks for the answer
	}

	// A feed that was asked for with a body outlasts the time that bodies have.
	feed := n.must(http.MethodPost, "/db/_changes?feed=longpoll&since=now&timeout=900", `{}`)
	if !strings.Contains(string(feed.body), "last_seq") {
		t.Errorf("%s", feed.body)
	}
}

// TestStalledBodiesOfRefused sends the beginnings of bodies with requests that are refused before anybody looks at their
// bodies. The server waits for the rest, but not for ever.
func TestStalledBodiesOfRefused(t *testing.T) {
	n := newNode(t, setting("mangrove", "body_timeout", "200"))
	n.must(http.MethodPut, "/db", nil)
	zipped := pack(t, `{"text":"`+strings.Repeat("x", 1000)+`"}`)
	admin := "Authorization: " + n.request(http.MethodGet, "/", nil).Header.Get("Authorization") + "\r\n"
	for _, c := range []struct {
		name, path, headers, body string
		status                    int
	}{
		{"a wrong password", "/db/a", "Authorization: Basic eDp5\r\n", "{", http.StatusUnauthorized},
		{"a long address", "/db/" + strings.Repeat("a", 10000), "", "{", http.StatusRequestURITooLong},
		{"an attachment without a right to it", "/db/a/b", "", "{", http.StatusUnauthorized},
		{"compressed", "/db/a", admin + "Content-Encoding: gzip\r\n", zipped[:12], http.StatusRequestTimeout},
		{"plain", "/db/a", admin, "{", http.StatusRequestTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n%s\r\n%s", c.path, c.headers, c.body)
			r := bufio.NewReader(conn)
			answer, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			if answer.StatusCode != c.status {
				t.Errorf("%s, not %d", answer.Status, c.status)
			}
			if _, err := r.ReadByte(); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the connection goes on: %v", err)
			}
		})
	}
}

// TestFeedsOutlastTheServersTime waits in a feed for longer than the server gives to a request that nobody has looked at.
func TestFeedsOutlastTheServersTime(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/db", nil)
	s := httptest.NewUnstartedServer(n.api)
	s.Config.ReadTimeout = 200 * time.Millisecond
	s.Start()
	defer s.Close()
	n.url = s.URL
	for _, feed := range []*answer{
		n.must(http.MethodGet, "/db/_changes?feed=longpoll&since=now&timeout=600", nil),
		n.must(http.MethodPost, "/db/_changes?feed=continuous&since=now&timeout=600", `{}`),
	} {
		if !strings.Contains(string(feed.body), "last_seq") {
			t.Errorf("%q", feed.body)
		}
	}
}
