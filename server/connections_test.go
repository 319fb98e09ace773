package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/config"
)

// gated serves a handler behind a gate, until the test ends.
func gated(t *testing.T, limits config.Limits, h http.HandlerFunc) (*gate, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{limits: func() config.Limits { return limits }}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, []endpoint{{Listener: l, handler: h}}, handlerFunc{h}, g, closedChannel(), 1000, slog.New(slog.DiscardHandler))
	}()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if n := g.open.Load(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
	return g, l.Addr().String()
}

// ask sends a request on a connection of its own, which is returned with what
// reads from it.
func ask(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

func TestTooManyConnections(t *testing.T) {
	g, addr := gated(t, config.Limits{Connections: 2, WriteTimeout: time.Minute}, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "ok")
	})
	var held []net.Conn
	for range 2 {
		c, r := ask(t, addr)
		if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res, err)
		}
		held = append(held, c)
	}
	_, r := ask(t, addr)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), `"service_unavailable"`) {
		t.Errorf("%d %s %v", res.StatusCode, body, err)
	}
	if told := g.connections(); told.Open != 2 || told.Refused != 1 {
		t.Errorf("%+v", told)
	}
	held[0].Close()
	for g.open.Load() > 1 {
		time.Sleep(time.Millisecond)
	}
	_, r = ask(t, addr)
	if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != http.StatusOK {
		t.Error("there is room again:", res, err)
	}
}

func TestStalledReaderIsLeft(t *testing.T) {
	ended := make(chan error, 1)
	_, addr := gated(t, config.Limits{WriteTimeout: 100 * time.Millisecond}, func(w http.ResponseWriter, _ *http.Request) {
		piece := make([]byte, 1<<20)
		for {
			if _, err := w.Write(piece); err != nil {
				ended <- err
				return
			}
		}
	})
	ask(t, addr)
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the answer ended with %v", err)
	}
}

func TestSlowReaderIsServed(t *testing.T) {
	const pieces = 8
	_, addr := gated(t, config.Limits{WriteTimeout: 200 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		for range pieces {
			if _, err := w.Write([]byte("piece")); err != nil {
				t.Error(err)
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			time.Sleep(60 * time.Millisecond) // all of them take longer than one write may
		}
	})
	_, r := ask(t, addr)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); err != nil || len(body) != pieces*len("piece") {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}

func TestOwnDeadline(t *testing.T) {
	_, addr := gated(t, config.Limits{WriteTimeout: time.Hour}, func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(-time.Second))
		if _, err := w.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a deadline of the handler's own: %v", err)
		}
	})
	_, r := ask(t, addr)
	if _, err := http.ReadResponse(r, nil); err == nil {
		t.Error("there is an answer")
	}
}

func TestFilesAreSent(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 3<<16) // three strides
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	_, addr := gated(t, config.Limits{WriteTimeout: time.Minute}, func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(name)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		switch r.URL.Path {
		case "/all":
			w.Header().Set("Content-Length", "3145728")
			_, err = io.Copy(w, f)
		case "/part":
			w.Header().Set("Content-Length", "2000000")
			_, err = io.CopyN(w, f, 2000000)
		case "/memory":
			w.Header().Set("Content-Length", "3145728")
			_, err = io.Copy(w, bytes.NewReader(content))
		}
		if err != nil {
			t.Error(err)
		}
	})
	for path, want := range map[string][]byte{"/all": content, "/part": content[:2000000], "/memory": content} {
		if status, body := get(t, "http://"+addr+path, "", ""); status != http.StatusOK || body != string(want) {
			t.Errorf("%s: %d, %d bytes", path, status, len(body))
		}
	}
}
