package backup

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// Progress is what a backup or a restore tells of itself while it runs. Any goroutine may read it.
type Progress struct {
	Stage atomic.Pointer[string] // what it is doing, for people
	Done  atomic.Int64           // documents (of files that are checked: bytes)
	Total atomic.Int64           // of them; 0 if that is not known
	Bytes atomic.Int64           // read or written in the stage
}

// begin starts a stage. Total is the number of steps, 0 if it is not known.
func (p *Progress) begin(stage string, total int64) {
	p.Stage.Store(&stage)
	p.Done.Store(0)
	p.Bytes.Store(0)
	p.Total.Store(total)
}

// Options are those of a Client.
type Options struct {
	UserAgent string
	Version   string // of the program, for files that it writes itself
	Insecure  bool   // do not check certificates
	Progress  *Progress
	// Stall is how long nothing may come before a connection counts as broken; 0 means 5 minutes.
	Stall time.Duration
	// Pause is what is waited before the first repetition, and doubled for each further one; 0 means half a second.
	Pause time.Duration
	// Warn takes messages about what does not keep the work from going on; nil discards them.
	Warn func(string)
}

// Client speaks to a node, and makes backups of its databases and restores them. It is for one task at a time.
type Client struct {
	base    *url.URL // without user, without a slash at its end
	user    *url.Userinfo
	http    *http.Client
	options Options
}

// NewClient returns a client of the node at base, whose URL may have a name and a password. They are not shown.
func NewClient(base *url.URL, o Options) *Client {
	if o.Stall == 0 {
		o.Stall = 5 * time.Minute
	}
	if o.Pause == 0 {
		o.Pause = 500 * time.Millisecond
	}
	if o.Progress == nil {
		o.Progress = &Progress{}
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	bare := *base
	bare.User, bare.RawQuery, bare.Fragment = nil, "", ""
	bare.Path, bare.RawPath = strings.TrimRight(base.Path, "/"), strings.TrimRight(base.RawPath, "/")
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: o.Insecure}
	transport.MaxIdleConnsPerHost = 64
	return &Client{base: &bare, user: base.User, http: &http.Client{Transport: transport}, options: o}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// String is the node's address, without a password.
func (c *Client) String() string { return c.base.String() }

func databasePath(name string) string { return "/" + escape(name) }

// escape makes a name part of a path. CouchDB reads a plus there as a blank.
func escape(name string) string { return strings.ReplaceAll(url.PathEscape(name), "+", "%2B") }

// A Refusal is an answer of a node that it does not do what it was asked for.
type Refusal struct {
	Status       int
	Request      string // method and path
	Name, Reason string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s: %d %s: %s", r.Request, r.Status, r.Name, r.Reason)
}

// status returns that of a refusal, 0 for other errors.
func status(err error) int {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Status
	}
	return 0
}

// errStalled says that nothing came for too long.
var errStalled = errors.New("nothing came for too long")

// request is one HTTP request.
type request struct {
	method, path string
	body         io.Reader // with its size; nil: none
	size         int64
}

// open sends a request and returns the answer if it is a good one. It must be closed.
func (c *Client) open(ctx context.Context, r request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	silence := time.AfterFunc(c.options.Stall, func() { cancel(errStalled) })
	stop := func() { silence.Stop(); cancel(nil) }
	body := r.body
	if body != nil {
		body = &sending{body, silence, c.options.Stall}
	}
	req, err := http.NewRequestWithContext(ctx, r.method, c.base.String()+r.path, body)
	if err != nil {
		stop()
		return nil, err
	}
	if body != nil {
		req.ContentLength = r.size
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json, "+ContentType)
	req.Header.Set("User-Agent", c.options.UserAgent)
	if c.user != nil {
		password, _ := c.user.Password()
		req.SetBasicAuth(c.user.Username(), password)
	}
	res, err := c.http.Do(req)
	if err != nil {
		stop()
		return nil, plain(ctx, err)
	}
	res.Body = &receiving{res.Body, ctx, silence, c.options.Stall, stop}
	if res.StatusCode >= http.StatusMultipleChoices {
		defer res.Body.Close()
		return nil, refusal(res, r.method+" "+r.path)
	}
	return res, nil
}

// plain leaves out of an error of net/http what the caller says better, and puts in why it was given up.
func plain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
		return cause
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func refusal(res *http.Response, what string) error {
	r := &Refusal{Status: res.StatusCode, Request: what, Name: http.StatusText(res.StatusCode)}
	text, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	var told struct{ Error, Reason string }
	if json.Unmarshal(text, &told) == nil && told.Error != "" {
		r.Name, r.Reason = told.Error, told.Reason
	}
	return r
}

type sending struct {
	io.Reader
	silence *time.Timer
	stall   time.Duration
}

func (s *sending) Read(p []byte) (int, error) {
	s.silence.Reset(s.stall)
	return s.Reader.Read(p)
}

type receiving struct {
	io.ReadCloser
	ctx     context.Context
	silence *time.Timer
	stall   time.Duration
	stop    func()
}

func (r *receiving) Read(p []byte) (int, error) {
	r.silence.Reset(r.stall)
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = plain(r.ctx, err)
	}
	return n, err
}

func (r *receiving) Close() error {
	r.stop()
	return r.ReadCloser.Close()
}

// tries is how often something is tried that may work another time.
const tries = 6

// passing tells whether an error may be gone the next time.
func passing(err error) bool {
	var r *Refusal
	var lost *spoiled
	var enough *exhausted
	if errors.As(err, &enough) || errors.As(err, &lost) {
		return false
	}
	if errors.As(err, &r) {
		switch r.Status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests:
			return true
		case http.StatusInsufficientStorage:
			return false
		}
		return r.Status >= http.StatusInternalServerError
	}
	// A full disk on this side, a certificate or a backup that is no good, stays so.
	var file *os.PathError
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return false
	}
	return !errors.As(err, &file) && !errors.Is(err, ErrChanged) && !errors.Is(err, ErrFormat)
}

// exhausted says that something was tried often enough.
type exhausted struct{ error }

func (e *exhausted) Error() string { return fmt.Sprintf("tried %d times: %v", tries, e.error) }
func (e *exhausted) Unwrap() error { return e.error }

// retry does something until it works, is refused for good, or was tried often enough.
func (c *Client) retry(ctx context.Context, do func() error) error {
	pause := c.options.Pause
	for try := 1; ; try++ {
		err := do()
		if err == nil || ctx.Err() != nil || !passing(err) {
			return err
		}
		if try == tries {
			return &exhausted{err}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, 30*time.Second)
	}
}

// answerLimit bounds an answer that is held in memory.
const answerLimit = 64 << 20

// ask sends a request whose body, unless it is nil, is v as JSON, and reads the answer into answer, unless that is nil.
// It is repeated if it fails in passing.
func (c *Client) ask(ctx context.Context, method, path string, v, answer any) error {
	var body []byte
	if v != nil {
		var err error
		if body, err = json.Marshal(v); err != nil {
			return err
		}
	}
	return c.retry(ctx, func() error {
		r := request{method: method, path: path}
		if body != nil {
			r.body, r.size = bytes.NewReader(body), int64(len(body))
		}
		return c.once(ctx, r, answer)
	})
}

func (c *Client) once(ctx context.Context, r request, answer any) error {
	res, err := c.open(ctx, r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, answerLimit))
	if err != nil || answer == nil {
		return err
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("%s %s: the answer is not what a node says: %w", r.method, r.path, err)
	}
	return nil
}

// databaseInfo is what GET /{db} tells.
type databaseInfo struct {
	Docs      uint64          `json:"doc_count"`
	Deleted   uint64          `json:"doc_del_count"`
	UpdateSeq json.RawMessage `json:"update_seq"`
	Sizes     struct {
		External uint64 `json:"external"`
	} `json:"sizes"`
	Props struct {
		Partitioned bool `json:"partitioned"`
	} `json:"props"`
	Cluster struct {
		Q int `json:"q"`
		N int `json:"n"`
	} `json:"cluster"`
}

// Databases returns the names of all databases of the node.
func (c *Client) Databases(ctx context.Context) (names []string, err error) {
	err = c.ask(ctx, http.MethodGet, "/_all_dbs", nil, &names)
	return names, err
}
