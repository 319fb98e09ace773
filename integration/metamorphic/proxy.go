package metamorphic

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Plan is the faults of one replication. Requests count whichever of the proxies they pass.
type Plan struct {
	faults []Fault
	kill   func(node int)

	mu       sync.Mutex
	requests int
	spent    map[int]bool // those faults that happen once, and have
	stuck    string       // the request that Stuck has met; empty if none
	hit      bool
}

// happened tells whether any of the faults met a request.
func (p *Plan) happened() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hit
}

// identity describes a request so that equal ones give equal text, if the plan needs that. The body can be read again.
func (p *Plan) identity(r *http.Request) (string, error) {
	if p == nil || !slices.ContainsFunc(p.faults, func(f Fault) bool { return f.Kind == Stuck }) {
		return "", nil
	}
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	return r.Method + r.RequestURI + checksum(body), err
}

// next counts a request and returns what is to happen to it whatever it is.
func (p *Plan) next(identity string) (hit []Fault) {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests++
	for _, f := range p.faults {
		last := f.At
		switch f.Kind {
		case Cutoff, Tear:
			continue
		case Gone:
			last = math.MaxInt
		case Drop:
			last += max(f.Arg, 1) - 1
		case Stuck:
			if f.At == p.requests {
				p.stuck = identity
			}
			if identity == p.stuck {
				last = math.MaxInt
			}
		}
		if f.At <= p.requests && p.requests <= last {
			hit = append(hit, f)
			p.hit = true
		}
	}
	return hit
}

// passing tells whether a body of which n bytes have passed, in an answer for Cutoff or in a request for Tear, is to
// end, and after which of its bytes.
func (p *Plan) passing(kind FaultKind, n int) (limit int, ends bool) {
	if p == nil {
		return 0, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, f := range p.faults {
		if f.Kind == kind && f.At <= p.requests && n > f.Arg && !p.spent[i] {
			if p.spent == nil {
				p.spent = map[int]bool{}
			}
			p.spent[i], p.hit = true, true
			return f.Arg, true
		}
	}
	return 0, false
}

// tornBody is the body of a request that may end before its end.
type tornBody struct {
	io.ReadCloser
	plan *Plan
	n    int
}

func (b *tornBody) Read(buf []byte) (int, error) {
	n, err := b.ReadCloser.Read(buf)
	if limit, ends := b.plan.passing(Tear, b.n+n); ends {
		return max(limit-b.n, 0), errCut
	}
	b.n += n
	return n, err
}

// Proxy stands before a node and spoils requests. Its address stays the same when the node is started again.
type Proxy struct {
	upstream  func() string // base URL of the node
	transport *http.Transport
	listener  net.Listener
	server    *http.Server

	mu      sync.Mutex
	plans   map[string]*Plan // by database
	severed context.Context  // done once the line is broken
	sever   context.CancelFunc
}

// NewProxy starts a proxy on a free port.
func NewProxy(upstream func() string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		upstream: upstream, listener: l, plans: map[string]*Plan{},
		transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 32},
	}
	p.severed, p.sever = context.WithCancel(context.Background())
	p.server = &http.Server{Handler: p, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = p.server.Serve(l) }() // ends with Close
	return p, nil
}

// Addr is host:port of the proxy.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close ends all connections.
func (p *Proxy) Close() error {
	p.Sever()
	err := p.server.Close()
	p.transport.CloseIdleConnections()
	return err
}

// Sever breaks the line to the node: what is under way ends, what comes gets no answer.
func (p *Proxy) Sever() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sever()
}

// Mend makes the line whole again after Sever.
func (p *Proxy) Mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sever()
	p.severed, p.sever = context.WithCancel(context.Background())
}

// Spoil puts a plan in force for the requests to a database, or ends one if plan is nil.
func (p *Proxy) Spoil(database string, plan *Plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if plan == nil {
		delete(p.plans, database)
	} else {
		p.plans[database] = plan
	}
}

// conditions are the plan for a request's database and the state of the line.
func (p *Proxy) conditions(r *http.Request) (*Plan, context.Context) {
	database, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.plans[database], p.severed
}

// ServeHTTP passes a request on, or not.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var status int
	var lose, repeat bool
	plan, severed := p.conditions(r)
	if severed.Err() != nil {
		panic(http.ErrAbortHandler)
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(severed, cancel)()
	r = r.WithContext(ctx)
	identity, err := plan.identity(r)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	for _, f := range plan.next(identity) {
		switch f.Kind {
		case Drop, Gone, Stuck:
			panic(http.ErrAbortHandler)
		case Killed:
			plan.kill(f.Arg)
			panic(http.ErrAbortHandler)
		case Delay:
			pause(r, time.Duration(f.Arg)*time.Millisecond)
		case Lose:
			lose = true
		case Repeat:
			repeat = true
		case Busy:
			status = f.Arg
		}
	}
	if status != 0 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"error":"busy","reason":"a fault of the test"}`)
		return
	}
	r.Body = &tornBody{ReadCloser: r.Body, plan: plan}
	answer, err := p.forward(r, repeat)
	if err != nil || lose {
		if err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
		panic(http.ErrAbortHandler)
	}
	defer answer.Body.Close()
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	if answer.ContentLength < 0 {
		w.Header().Del("Content-Length")
	}
	w.WriteHeader(answer.StatusCode)
	if err := stream(w, answer.Body, plan); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// forward sends the request to the node, twice if it is to be repeated, and returns the last answer.
func (p *Proxy) forward(r *http.Request, repeat bool) (*http.Response, error) {
	var body io.Reader = r.Body
	var kept []byte
	if repeat {
		var err error
		if kept, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		body = bytes.NewReader(kept)
	}
	answer, err := p.send(r, body)
	if err != nil || !repeat {
		return answer, err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
	if err != nil {
		return nil, err
	}
	return p.send(r, bytes.NewReader(kept))
}

func (p *Proxy) send(r *http.Request, body io.Reader) (*http.Response, error) {
	out, err := http.NewRequestWithContext(r.Context(), r.Method, p.upstream(), body)
	if err != nil {
		return nil, err
	}
	out.URL.Opaque = r.RequestURI // as it came, not cleaned
	out.Header = r.Header.Clone()
	out.ContentLength = r.ContentLength
	if r.ContentLength == 0 {
		out.Body = nil
	}
	if out.Header.Get("User-Agent") == "" {
		out.Header.Set("User-Agent", "")
	}
	return p.transport.RoundTrip(out)
}

var errCut = errors.New("cut off by a fault of the test")

// stream copies an answer as it comes, to its end or to where the plan says.
func stream(w http.ResponseWriter, r io.Reader, plan *Plan) error {
	out := http.NewResponseController(w)
	buf := make([]byte, 32<<10)
	for passed := 0; ; {
		n, err := r.Read(buf)
		if limit, ends := plan.passing(Cutoff, passed+n); ends {
			_, _ = w.Write(buf[:max(limit-passed, 0)])
			_ = out.Flush()
			return errCut
		}
		passed += n
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
}

// pause waits, but no longer than somebody is there to be answered.
func pause(r *http.Request, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
}
