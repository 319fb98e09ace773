package api

import (
	"errors"
	"io"
	"net/http"
	"strings"
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
