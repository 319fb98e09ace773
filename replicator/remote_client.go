package replicator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mangrove-db/mangrove/document"
)

// client makes requests to one database.
type client struct {
	transport http.RoundTripper
	base      *url.URL // of the database, with a slash at its end and without credentials
	headers   http.Header
	guarded   bool     // headers hold something that no other host may see
	secrets   []string // texts that must never be shown
	timeout   time.Duration
	retries   int
	pause     time.Duration // before the first retry
	pace      pace
	slots     chan struct{} // one for each connection in use

	distance  atomic.Int64 // least time of a connection's handshake, in nanoseconds; 0 if not known
	takesGzip atomic.Bool  // bodies of requests may be packed, as the server's name tells
	noGzip    atomic.Bool  // the server has refused one all the same
	silent100 atomic.Bool  // the server does not answer Expect: 100-continue
}

// request is a request within the database.
type request struct {
	method      string
	path        string // below the database, escaped
	query       string // encoded
	accept      string // application/json if empty
	body        []byte // JSON, if any
	upload      *upload
	packed      bool   // the answer may come gzipped
	delayed     bool   // tell old servers that they need not sync at once: Commit comes later
	unbounded   bool   // does not count against the number of connections
	contentType string // of an upload
}

// upload is a body that can be sent only once.
type upload struct {
	io.Reader
	length int64
	used   *watchedUpload // by the last try
}

const (
	// firstPause is the pause before the first retry; each is twice as long as the one before.
	firstPause = 250 * time.Millisecond
	// longestPause bounds these pauses.
	longestPause = 5 * time.Minute
	// maxRedirects is how many redirections one request may meet.
	maxRedirects = 5
	// farAway is the time of a handshake from which on packing saves more time than it takes.
	farAway = 5 * time.Millisecond
	// packFrom is the least body that is packed.
	packFrom = 8 << 10
	// continueFrom is the least upload before which the server is asked whether it wants it.
	continueFrom = 1 << 20
)

// wait pauses before retry n, which counts from 0.
func (c *client) wait(ctx context.Context, n int) error {
	d := longestPause
	if n < 20 {
		d = min(c.pause<<n, longestPause)
	}
	// With a quarter of jitter either way, those that failed together do not come back together.
	d += time.Duration((rand.Float64() - 0.5) / 2 * float64(d))
	return sleep(ctx, d)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// do makes a request and lets read use the answer, and repeats both if the line breaks in between: read must begin
// anew each time.
func (c *client) do(ctx context.Context, q *request, read func(*answer) error) error {
	for n := 0; ; n++ {
		a, err := c.open(ctx, q)
		if err != nil {
			return err
		}
		err = read(a)
		again := err != nil && a.failed == nil && a.broken(err)
		a.close()
		if again && q.upload != nil {
			return fmt.Errorf("%w: %w", ErrInterrupted, err)
		}
		if !again || n >= c.retries {
			return err
		}
		if err := c.wait(ctx, n); err != nil {
			return err
		}
	}
}

// open makes a request and returns the answer, which the caller closes. Failures that may pass are met by trying
// again; when that is used up, they are returned as errors.
func (c *client) open(ctx context.Context, q *request) (*answer, error) {
	for n := 0; ; {
		if err := c.pace.wait(ctx); err != nil {
			return nil, err
		}
		release, err := c.take(ctx, q)
		if err != nil {
			return nil, err
		}
		a, err := c.try(ctx, q)
		if err != nil {
			release()
		} else {
			a.body.release = release
		}
		if err == nil && !passing(a.status) {
			c.pace.faster()
			return a, nil
		}
		if ctx.Err() != nil {
			if a != nil {
				a.abort()
			}
			return nil, context.Cause(ctx)
		}
		tooMany := false
		if err == nil {
			tooMany = a.status == http.StatusTooManyRequests && c.pace.slower(retryAfter(a.header))
			err = a.failure()
			a.close()
		}
		switch {
		case hopeless(err):
			return nil, err
		// Whatever of an upload was not begun can be tried again.
		case q.upload != nil && q.upload.used.close():
			return nil, fmt.Errorf("%w: %w", ErrInterrupted, err)
		case tooMany:
			continue // pace makes it wait
		case n >= c.retries:
			return nil, err
		}
		if err := c.wait(ctx, n); err != nil {
			return nil, err
		}
		n++
	}
}

// take waits for a connection to be free. It is not left to the transport, since the time must not count as silence of
// the server. What is little, or what another request waits for while it has a connection, does not wait.
func (c *client) take(ctx context.Context, q *request) (release func(), err error) {
	if q.unbounded {
		return func() {}, nil
	}
	select {
	case c.slots <- struct{}{}:
		return sync.OnceFunc(func() { <-c.slots }), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// try makes a request once, and follows redirections.
func (c *client) try(ctx context.Context, q *request) (*answer, error) {
	target := *c.base
	if q.path != "" {
		u, err := url.Parse(c.base.String() + q.path)
		if err != nil {
			return nil, fatalError{errors.New("a document's id does not fit a URL")}
		}
		target = *u
	}
	target.RawQuery = q.query
	shown := target
	shown.RawQuery = ""
	for hops := 0; ; hops++ {
		a, err := c.send(ctx, q, &target)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", q.method, shown.String(), err)
		}
		a.method, a.url = q.method, shown.String()
		next, err := c.redirection(a, q, &target)
		if err == nil && next != nil && hops == maxRedirects {
			err = fatalError{errors.New("too many redirections")}
		}
		if err != nil {
			a.abort()
			return nil, fmt.Errorf("%s %s: %w", q.method, shown.String(), err)
		}
		if next == nil {
			return a, nil
		}
		a.close()
		target = *next
	}
}

// redirection returns where an answer says to go, nil if it does not.
func (c *client) redirection(a *answer, q *request, from *url.URL) (*url.URL, error) {
	reading := q.method == http.MethodGet || q.method == http.MethodHead
	switch a.status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		if !reading {
			return nil, fatalError{fmt.Errorf("the server redirects by status %d, which only reading requests can follow", a.status)}
		}
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		if q.upload != nil {
			return nil, fatalError{errors.New("the server redirects an upload, which cannot be sent twice")}
		}
	default:
		return nil, nil
	}
	next, err := from.Parse(a.header.Get("Location"))
	if err != nil || next.Host == "" || next.Scheme != "http" && next.Scheme != "https" || a.header.Get("Location") == "" {
		return nil, fatalError{errors.New("the server redirects to nowhere")}
	}
	next.User, next.Fragment = nil, ""
	if c.guarded && !sameHost(from, next) {
		return nil, fatalError{fmt.Errorf("the server redirects to %s://%s, where the credentials are not sent: name that place as the URL if it can be trusted", next.Scheme, next.Host)}
	}
	return next, nil
}

// sameHost tells whether what may be shown to one place may be shown to the other: the same host and port, or the
// same host's standard port for https.
func sameHost(from, to *url.URL) bool {
	if !strings.EqualFold(from.Hostname(), to.Hostname()) {
		return false
	}
	secured := from.Scheme == "http" && to.Scheme == "https"
	return from.Scheme == to.Scheme && portOf(from) == portOf(to) || secured && portOf(to) == "443" && portOf(from) == "80"
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// send makes one exchange.
func (c *client) send(ctx context.Context, q *request, target *url.URL) (*answer, error) {
	ctx, w := newWatch(ctx, c.timeout)
	asked, heard := false, false
	body, packed := c.bodyOf(q)
	if q.upload != nil && q.upload.length >= continueFrom && !c.silent100.Load() {
		asked = true
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got100Continue: func() { heard = true; w.busy() }})
	}
	r, err := http.NewRequestWithContext(ctx, q.method, target.String(), nil)
	if err != nil {
		w.end()
		return nil, fatalError{err}
	}
	for name, values := range c.headers {
		r.Header[name] = values
	}
	if host := c.headers.Get("Host"); host != "" {
		r.Host = host
		r.Header.Del("Host")
	}
	r.Header.Set("Accept", "application/json")
	if q.accept != "" {
		r.Header.Set("Accept", q.accept)
	}
	if q.packed {
		r.Header.Set("Accept-Encoding", "gzip")
	}
	if q.delayed {
		r.Header.Set("X-Couch-Full-Commit", "false")
	}
	switch {
	case q.upload != nil:
		q.upload.used = &watchedUpload{src: q.upload, w: w}
		r.Body, r.ContentLength = q.upload.used, q.upload.length
		r.Header.Set("Content-Type", q.contentType)
		if asked {
			r.Header.Set("Expect", "100-continue")
		}
	case body != nil:
		r.ContentLength = int64(len(body))
		r.GetBody = func() (io.ReadCloser, error) {
			return &watchedUpload{src: bytes.NewReader(body), w: w}, nil
		}
		r.Body, _ = r.GetBody() // cannot fail
		r.Header.Set("Content-Type", "application/json")
		if packed {
			r.Header.Set("Content-Encoding", "gzip")
		}
	case q.method == http.MethodPost || q.method == http.MethodPut:
		r.Body, r.ContentLength = http.NoBody, 0
		if q.method == http.MethodPost {
			r.Header.Set("Content-Type", "application/json")
		}
	}
	response, err := c.transport.RoundTrip(r)
	w.rest()
	if err != nil {
		err = reasonOfEnd(ctx, err)
		w.end()
		return nil, err
	}
	if asked && !heard && response.StatusCode < http.StatusMultipleChoices {
		c.silent100.Store(true)
	}
	if packed && response.StatusCode == http.StatusUnsupportedMediaType {
		// It does not take packed bodies after all.
		c.noGzip.Store(true)
		_ = response.Body.Close()
		w.end()
		return c.send(ctx, q, target)
	}
	if !packed {
		c.takesGzip.Store(unpacks(response.Header.Get("Server")))
	}
	return newAnswer(ctx, c, response, w), nil
}

// bodyOf returns the JSON body of a request, packed if that pays.
func (c *client) bodyOf(q *request) (body []byte, packed bool) {
	if len(q.body) < packFrom || !c.takesGzip.Load() || c.noGzip.Load() || c.distance.Load() < int64(farAway) {
		return q.body, false
	}
	if small := pack(q.body); len(small) < len(q.body) {
		return small, true
	}
	return q.body, false
}

// unpacks tells by a server's name whether it takes gzipped requests: CouchDB does since version 2.
func unpacks(server string) bool {
	version, ok := strings.CutPrefix(server, "CouchDB/")
	if !ok {
		return false
	}
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	return err == nil && n >= 2
}

// retryAfter reads the header of that name; 0 if there is none in seconds.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(min(n, 3600)) * time.Second
}

// docPath escapes a document's id as CouchDB's replicator does: the slash after _design stays. A plus sign must not
// stay, as servers may take it for a blank.
func docPath(id string) string {
	prefix := ""
	if document.IsDesign(id) {
		prefix, id = designPrefix, id[len(designPrefix):]
	} else if document.IsLocal(id) {
		prefix, id = localPrefix, id[len(localPrefix):]
	}
	return prefix + escape(id)
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
