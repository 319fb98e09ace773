package metamorphic

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestProxy(t *testing.T) {
	const text = "the whole answer"
	tests := []struct {
		fault   string
		arrives int64 // how often the first request does
		status  int   // 0: no answer
		body    string
		whole   bool
	}{
		{"delay@1:1", 1, 200, text, true},
		{"drop@1:1", 0, 0, "", false},
		{"tear@1:2", 1, 0, "", false},
		{"tear@1:4", 1, 200, text, true},
		{"gone@1:0", 0, 0, "", false},
		{"stuck@1:0", 0, 0, "", false},
		{"lose@1:0", 1, 0, "", false},
		{"repeat@1:0", 2, 200, text, true},
		{"cutoff@1:5", 1, 200, text[:5], false},
		{"cutoff@1:0", 1, 200, "", false},
		{"cutoff@1:1000", 1, 200, text, true},
		{"busy@1:503", 0, 503, `{"error":"busy","reason":"a fault of the test"}`, true},
		{"killed@1:1", 0, 0, "", false},
		{"drop@2:1", 1, 200, text, true},
	}
	for _, tt := range tests {
		t.Run(tt.fault, func(t *testing.T) {
			var arrived, killed atomic.Int64
			upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/other" {
					return
				}
				arrived.Add(1)
				sent, err := io.ReadAll(r.Body)
				if tt.fault == "tear@1:2" && err != nil {
					return
				}
				if err != nil || string(sent) != "sent" || r.RequestURI != "/db/a%2Fb?c=%2B" || r.Method != "PUT" {
					t.Errorf("%s %s with %q, %v", r.Method, r.RequestURI, sent, err)
				}
				_, _ = io.WriteString(w, text)
			}))
			defer upstream.Close()
			p, err := NewProxy(func() string { return upstream.URL })
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			f, err := parseFault(tt.fault)
			if err != nil {
				t.Fatal(err)
			}
			p.Spoil("db", &Plan{faults: []Fault{f}, kill: func(node int) { killed.Store(int64(node)) }})

			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			status, body, err := put(client, "http://"+p.Addr()+"/db/a%2Fb?c=%2B")
			if status != tt.status || body != tt.body || (err == nil) != tt.whole || arrived.Load() != tt.arrives {
				t.Errorf("status %d, %q, %v, arrived %d times", status, body, err, arrived.Load())
			}
			if f.Kind == Killed && killed.Load() != 1 {
				t.Error("nothing was killed")
			}
			if status, _, _ := put(client, "http://"+p.Addr()+"/other"); status != 200 {
				t.Errorf("a request about another database: status %d", status)
			}
			again, _, _ := put(client, "http://"+p.Addr()+"/db/a%2Fb?c=%2B")
			if lost := again == 0; lost != (f.Kind == Gone || f.Kind == Stuck || f.At == 2) {
				t.Errorf("the second request: status %d", again)
			}
			p.Spoil("db", nil)
			if status, body, err := put(client, "http://"+p.Addr()+"/db/a%2Fb?c=%2B"); status != 200 || body != text || err != nil {
				t.Errorf("without a plan: %d %q %v", status, body, err)
			}
		})
	}
}

func TestProxySevers(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/feed" {
			_, _ = io.WriteString(w, "line\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}))
	defer upstream.Close()
	p, err := NewProxy(func() string { return upstream.URL })
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	feed, err := http.Get("http://" + p.Addr() + "/feed")
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Body.Close()
	if _, err := io.ReadFull(feed.Body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	p.Sever()
	if _, err := feed.Body.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the feed ended with %v", err)
	}
	if status, _, _ := put(http.DefaultClient, "http://"+p.Addr()+"/db"); status != 0 {
		t.Errorf("a severed proxy answers %d", status)
	}
	p.Mend()
	if status, _, err := put(http.DefaultClient, "http://"+p.Addr()+"/db"); status != 200 || err != nil {
		t.Errorf("a mended proxy: %d %v", status, err)
	}
}

// put sends a request; the status is 0 if there was no answer.
func put(client *http.Client, address string) (int, string, error) {
	req, err := http.NewRequest(http.MethodPut, address, strings.NewReader("sent"))
	if err != nil {
		return 0, "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), errors.Join(err, res.Body.Close())
}
