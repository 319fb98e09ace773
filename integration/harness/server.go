package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Server is a running server to talk to, and the administrator to talk as.
type Server struct {
	Host     string // host:port
	User     string
	Password string
}

// ParseServer reads http://user:password@host:port.
func ParseServer(s string) (Server, error) {
	u, err := url.Parse(s)
	if err != nil {
		return Server{}, fmt.Errorf("server address: %w", err)
	}
	if u.Scheme != "http" || u.Port() == "" || strings.Trim(u.Path, "/") != "" {
		return Server{}, fmt.Errorf("server address %q is not http://user:password@host:port", u.Redacted())
	}
	password, _ := u.User.Password()
	return Server{Host: u.Host, User: u.User.Username(), Password: password}, nil
}

func (s Server) base() string     { return "http://" + s.Host }
func (s Server) hostPort() string { return s.Host }

func (s Server) authBase() string {
	return "http://" + url.UserPassword(s.User, s.Password).String() + "@" + s.Host
}

// rawRequest is a request exactly as it goes over the wire: net/http would
// clean its target, spell its header names its own way and add some.
type rawRequest struct {
	method string
	target string
	header map[string]string
	body   []byte
	chunk  bool // send the body in chunks
}

// rawAnswer is an answer with its body read to the end.
type rawAnswer struct {
	status int
	header http.Header
	body   []byte
}

const (
	// maxAnswer bounds an answer's body.
	maxAnswer = 64 << 20
	// chunkSize is small, so that even short bodies come in several chunks.
	chunkSize = 1000
)

// exchange sends one request over a connection of its own and reads the
// answer. Redirects are not followed, nothing is decompressed. An answer that
// broke off is returned together with an error.
func (s Server) exchange(ctx context.Context, r rawRequest) (*rawAnswer, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.Host)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	// Written beside the reading: a server may refuse a large body, and
	// answer, before it has read it all.
	sent := make(chan error, 1)
	go func() { sent <- r.write(conn, s.Host) }()
	answer, err := readAnswer(bufio.NewReader(conn), r.method)
	if ctx.Err() != nil {
		err = fmt.Errorf("no end of the answer: %w", context.Cause(ctx))
	}
	if answer == nil {
		conn.Close()
		if writing := <-sent; writing != nil {
			err = errors.Join(err, fmt.Errorf("sending: %w", writing))
		}
	}
	return answer, err
}

func (r rawRequest) write(w io.Writer, host string) error {
	buf := bufio.NewWriter(w)
	fmt.Fprintf(buf, "%s %s HTTP/1.1\r\n", r.method, r.target)
	if !r.has("Host") {
		fmt.Fprintf(buf, "Host: %s\r\n", host)
	}
	for _, name := range sortedNames(r.header) {
		if r.chunk && strings.EqualFold(name, "Transfer-Encoding") {
			continue
		}
		fmt.Fprintf(buf, "%s: %s\r\n", name, r.header[name])
	}
	switch {
	case r.chunk:
		fmt.Fprint(buf, "Transfer-Encoding: chunked\r\n\r\n")
		for part := range slices.Chunk(r.body, chunkSize) {
			fmt.Fprintf(buf, "%x\r\n%s\r\n", len(part), part)
		}
		fmt.Fprint(buf, "0\r\n\r\n")
		return buf.Flush()
	case r.has("Content-Length"):
	case r.body != nil || r.method == "POST" || r.method == "PUT" || r.method == "PATCH":
		fmt.Fprintf(buf, "Content-Length: %d\r\n", len(r.body))
	}
	fmt.Fprint(buf, "\r\n")
	_, _ = buf.Write(r.body) // bufio keeps the first error for Flush
	return buf.Flush()
}

func (r rawRequest) has(name string) bool {
	for n := range r.header {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

func readAnswer(br *bufio.Reader, method string) (*rawAnswer, error) {
	for {
		res, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			return nil, fmt.Errorf("reading the answer: %w", err)
		}
		if res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
			continue // interim
		}
		body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
		res.Body.Close()
		if err == nil && len(body) > maxAnswer {
			err = fmt.Errorf("answer longer than %d bytes", maxAnswer)
		}
		return &rawAnswer{res.StatusCode, res.Header, body}, err
	}
}
