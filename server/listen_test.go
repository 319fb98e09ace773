package server

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// single is a listener with one connection.
type single struct {
	net.Listener
	conns chan net.Conn
}

func (l single) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l single) Close() error { return nil }

// TestStalledRequestsEnd stops in the middle of requests whose bodies nobody
// bounds: net/http refuses the first by itself, the second reaches a handler
// that does not look at it, whose answer has no time left.
func TestStalledRequestsEnd(t *testing.T) {
	for _, head := range []string{"Expect: nonsense\r\n", ""} {
		synctest.Test(t, func(t *testing.T) {
			client, conn := net.Pipe()
			defer client.Close()
			l := single{conns: make(chan net.Conn, 1)}
			l.conns <- conn
			close(l.conns)
			e := endpoint{handler: http.NotFoundHandler(), apart: true}
			_ = e.newServer(0, slog.New(slog.DiscardHandler)).Serve(l)
			if _, err := io.WriteString(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"+head+"\r\n{"); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_ = client.SetDeadline(began.Add(time.Hour))
			if answer, err := io.ReadAll(client); err != nil {
				t.Errorf("%q: %v", answer, err)
			}
			if took := time.Since(began); took > requestTimeout+time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}
