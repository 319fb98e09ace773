package api

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// reply answers with a status and a value as JSON.
func (q *request) reply(status int, v any) error {
	b, err := appendValue(make([]byte, 0, 256), v)
	if err != nil {
		return err
	}
	return q.replyText(status, b)
}

// appendValue appends v as JSON without a line end.
func appendValue(b []byte, v any) ([]byte, error) {
	w := &appender{b}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return b, err
	}
	return w.b[:len(w.b)-1], nil
}

type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) { a.b = append(a.b, p...); return len(p), nil }

var jsonType = []string{"application/json"}

// replyText answers with a status and a JSON text, to which it adds a line end. It keeps nothing of b.
func (q *request) replyText(status int, b []byte) error {
	b = append(b, '\n')
	h := q.w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(b))}
	q.w.WriteHeader(status)
	if q.Method == http.MethodHead {
		return nil
	}
	_, err := q.w.Write(b)
	return q.lost(err)
}

// lost is for errors of writing the answer: the client has gone, and nobody is left to be told. It may have ended only
// what it sends, and still listen: so the answer is not ended either, but the connection is cut; see ServeHTTP.
func (q *request) lost(err error) error {
	if err != nil {
		q.log().With(q.describe()...).Debug("a client went away", "error", err)
		// What a function answers may have a body that its status does not allow, or a longer one than it says.
		if !errors.Is(err, http.ErrBodyNotAllowed) && !errors.Is(err, http.ErrContentLength) {
			q.gone = true
		}
	}
	return nil
}

// broken is for errors of copying stored bytes into the answer: the client has gone, or what is stored cannot be read.
func (q *request) broken(err error) error {
	var connection *net.OpError
	if q.Context().Err() != nil || errors.As(err, &connection) {
		return q.lost(err)
	}
	return err
}

// ok is CouchDB's answer to what needs no other.
type ok struct {
	OK bool `json:"ok"`
}

func (q *request) replyOK(status int) error { return q.reply(status, ok{true}) }

// fail answers with an error. If the answer has begun, the connection is cut instead: the client must not take what
// it got for the whole.
func (q *request) fail(err error) {
	if q.w.status != 0 {
		q.api.stats.cut.Add(1)
		q.log().With(q.describe()...).Warn("an answer was cut off", "error", err)
		panic(http.ErrAbortHandler)
	}
	q.writeError(err)
}

// setETag sets the ETag header and tells whether the client has that version already.
func (q *request) setETag(tag string) (match bool) {
	tag = `"` + tag + `"`
	q.w.Header().Set("ETag", tag)
	return etagMatches(q.Header.Get("If-None-Match"), tag)
}

// notModified answers that the client's version is still good.
func (q *request) notModified() error {
	q.w.WriteHeader(http.StatusNotModified)
	return nil
}

// url returns the address of a path of this server, as the client sees it.
func (q *request) url(path string) string {
	scheme := "http"
	if q.TLS != nil {
		scheme = "https"
	}
	if s := q.Header.Get("X-Forwarded-Proto"); s == "http" || s == "https" {
		scheme = s
	}
	return scheme + "://" + q.host() + path
}

// host returns the name and port of this server as the client sees them.
func (q *request) host() string {
	if h := q.Header.Get("X-Forwarded-Host"); plainHost(h) {
		return h
	}
	return q.Host
}

// plainHost tells whether a text can be the name of a host, with a port, in an address.
func plainHost(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~:[]%!$&'()*+,;=", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// stream is a JSON answer that is written piece by piece.
type stream struct {
	*bufio.Writer
	q *request
}

const streamBuffer = 64 << 10

var streamBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, streamBuffer) }}

// newStream begins an answer of status 200. Errors of the client's connection show when it is flushed.
func (q *request) newStream() *stream {
	q.w.Header()["Content-Type"] = jsonType
	w := streamBuffers.Get().(*bufio.Writer)
	w.Reset(q.w)
	return &stream{w, q}
}

// end sends what is left and gives the buffer back; the stream is of no use afterwards. A stream that is not ended,
// because the answer has failed, leaves its buffer to the garbage collector.
func (s *stream) end() error {
	err := s.Flush()
	s.Reset(nil)
	streamBuffers.Put(s.Writer)
	s.Writer = nil
	return err
}
