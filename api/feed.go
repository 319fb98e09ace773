package api

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/mangrove-db/mangrove/storage"
)

// feedKind is a way of answering a feed.
type feedKind int

const (
	feedNormal      feedKind = iota // what is there now
	feedLongpoll                    // the same, but waits until there is something
	feedContinuous                  // goes on, with a line for each row
	feedEventSource                 // goes on, with a server-sent event for each row
)

// feedOptions are what the feeds of changes and of database updates have in common.
type feedOptions struct {
	kind       feedKind
	descending bool          // the first round tells everything, newest first
	limit      int           // of rows; negative: none
	heartbeat  time.Duration // the client wants a sign of life this often, and no end; 0: it does not
	timeout    time.Duration // without heartbeat: how long to wait for a row
	slow       bool          // finding a row may take its time
}

// goesOn tells whether rows are sent for as long as the client listens.
func (o *feedOptions) goesOn() bool { return o.kind == feedContinuous || o.kind == feedEventSource }

// source is what a feed tells of. It keeps how far it has been told.
type source interface {
	// round appends rows to the feed for what is new, up to the present. It returns more if it ended early, because
	// f.pace told it to. After an error, too, it knows how far it came.
	round(ctx context.Context, f *feed) (more bool, err error)
	// wait returns nil when there is something new.
	wait(ctx context.Context) error
	// appendEnd appends the members that tell a client how far it came.
	appendEnd(b []byte) []byte
}

// feed is the answer to a request for a feed. It gathers rows in a buffer, which it has only while there are rows: most
// feeds wait most of the time, and there may be thousands of them.
type feed struct {
	feedOptions
	q *request

	out    []byte // what has not been written yet
	pooled *[]byte

	rows   int
	fresh  bool      // there are rows in out
	told   time.Time // when rows were sent last, or the feed began
	sent   time.Time // when anything was sent last
	began  time.Time // when the round began, or out was last written in it
	looked int       // how often pace was called
}

const (
	feedBuffer = 32 << 10
	// gather is how long rows that were found wait for others while the round goes on.
	gather = 100 * time.Millisecond
	// signOfLife is how often a client that asked for no heartbeat hears something while nothing passes a filter:
	// replicators give up on a connection that is silent for longer.
	signOfLife = 10 * time.Second
)

var feedBuffers = sync.Pool{New: func() any { b := make([]byte, 0, feedBuffer+4<<10); return &b }}

// errClientGone says that the client has gone. It is not told to anybody.
var errClientGone = errors.New("the client has gone")

// errShutOut says that the user may no longer read what the feed tells of.
var errShutOut = errors.New("the user is no member any more")

// head answers a HEAD request for a feed, which does not wait for anything.
func (q *request) head(kind feedKind) error {
	q.w.Header()["Content-Type"] = kind.mediaType()
	q.w.WriteHeader(http.StatusOK)
	return nil
}

func (k feedKind) mediaType() []string {
	if k == feedEventSource {
		return eventStreamType
	}
	return jsonType
}

// serveFeed answers with what the source tells.
func (q *request) serveFeed(o feedOptions, s source) error {
	now := time.Now()
	f := &feed{feedOptions: o, q: q, told: now, sent: now}
	defer f.release()
	if o.kind != feedNormal {
		q.waits = true
		q.api.stats.feeds.Add(1)
		defer q.api.stats.feeds.Add(-1)
	}
	err := f.run(s)
	if errors.Is(err, errClientGone) || err != nil && q.Context().Err() != nil {
		return q.lost(err)
	}
	return err
}

func (f *feed) run(s source) error {
	ctx, cancel := f.context()
	defer cancel()
	f.open()
	for {
		f.began = time.Now()
		more, err := s.round(ctx, f)
		if err != nil && !f.ended(err) {
			return err
		}
		f.descending = false
		if err != nil || f.full() || f.kind == feedNormal || f.kind == feedLongpoll && f.rows > 0 {
			return f.finish(s)
		}
		// No snapshot is open now: the client may take its time.
		if err := f.send(true); err != nil {
			return err
		}
		if more {
			continue
		}
		if more, err = f.wait(ctx, s); err != nil {
			return err
		}
		if !more {
			return f.finish(s)
		}
	}
}

// context returns that of the request; if the feed can last, it ends with the API's feeds too.
func (f *feed) context() (context.Context, func()) {
	if f.kind == feedNormal {
		return f.q.Context(), func() {}
	}
	ctx, cancel := context.WithCancel(f.q.Context())
	if f.q.api.ending.Err() != nil {
		cancel()
	}
	stop := context.AfterFunc(f.q.api.ending, cancel)
	return ctx, func() { stop(); cancel() }
}

// ended tells whether err is a reason to end the feed in good order: what it tells of has gone or is no longer for the
// client, or the node stops.
func (f *feed) ended(err error) bool {
	switch {
	case f.kind == feedNormal, f.q.Context().Err() != nil:
		return false
	case errors.Is(err, storage.ErrNoDatabase), errors.Is(err, storage.ErrClosed), err == errShutOut:
		return true
	}
	return f.q.api.ending.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}

// full tells whether there are as many rows as the client wants.
func (f *feed) full() bool { return f.limit >= 0 && f.rows >= f.limit }

// wait waits for news and keeps the client company meanwhile. It returns false if the feed is to end.
func (f *feed) wait(ctx context.Context, s source) (news bool, err error) {
	for {
		until := f.told.Add(f.timeout)
		if f.heartbeat > 0 {
			until = f.sent.Add(f.heartbeat)
		}
		err := context.DeadlineExceeded
		// News that no filter lets pass must not put off the end for ever.
		if time.Now().Before(until) {
			err = waitUntil(ctx, until, s)
		}
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			if f.heartbeat == 0 {
				return false, nil
			}
			if err := f.beat(); err != nil {
				return false, err
			}
		case f.ended(err):
			return false, nil
		default:
			return false, err
		}
	}
}

func waitUntil(ctx context.Context, until time.Time, s source) error {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	return s.wait(ctx)
}

// open begins the answer.
func (f *feed) open() {
	h := f.q.w.Header()
	h["Content-Type"] = f.kind.mediaType()
	switch f.kind {
	case feedEventSource:
		h["Cache-Control"] = noCache
	case feedNormal, feedLongpoll:
		f.take()
		f.out = append(f.out, "{\"results\":[\n"...)
	}
}

var (
	eventStreamType = []string{"text/event-stream"}
	noCache         = []string{"no-cache"}
)

// finish ends the answer.
func (f *feed) finish(s source) error {
	f.take()
	switch f.kind {
	case feedEventSource:
	case feedContinuous:
		f.out = append(f.out, '{')
		f.out = append(s.appendEnd(f.out), "}\n"...)
	default:
		f.out = append(f.out, "\n],\n"...)
		f.out = append(s.appendEnd(f.out), "}\n"...)
	}
	return f.send(false)
}

// openRow is called before a row's JSON is appended to out.
func (f *feed) openRow() {
	f.take()
	switch {
	case f.kind == feedEventSource:
		f.out = append(f.out, "data: "...)
	case f.kind != feedContinuous && f.rows > 0:
		f.out = append(f.out, ",\r\n"...)
	}
}

// closeRow is called when a row's JSON has been appended to out. Its sequence is a JSON text.
func (f *feed) closeRow(seq []byte) {
	f.rows++
	f.fresh = true
	switch f.kind {
	case feedEventSource:
		// Without an id the client keeps the one before.
		if string(seq) != "null" {
			f.out = append(f.out, "\nid: "...)
			f.out = append(f.out, seq...)
		}
		f.out = append(f.out, "\n\n"...)
	case feedContinuous:
		f.out = append(f.out, '\n')
	}
}

// Write appends to out, for parts of rows that may be large.
func (f *feed) Write(p []byte) (int, error) {
	f.take()
	f.out = append(f.out, p...)
	if len(f.out) < feedBuffer {
		return len(p), nil
	}
	return len(p), f.send(false)
}

// pace is called between rows, and after everything that gave no row. It sends what has gathered, and signs of life
// when nothing does. If it returns pause, the round is to end with more to come, so that no snapshot is held while a
// feed that goes on waits for its client. That is not so in a descending round, which cannot be taken up again.
func (f *feed) pace() (pause bool, err error) {
	if len(f.out) < feedBuffer {
		// Looking at the clock every time would cost more than the rows, unless those are slow.
		if f.looked++; f.looked%16 != 0 && !f.slow {
			return false, nil
		}
		now := time.Now()
		if f.fresh && now.Sub(f.began) < gather {
			return false, nil
		}
		if !f.fresh && now.Sub(f.sent) < f.interval() {
			return false, nil
		}
		if !f.fresh {
			return false, f.beat()
		}
	}
	if f.goesOn() && !f.descending {
		return true, nil
	}
	return false, f.send(true)
}

func (f *feed) interval() time.Duration {
	if f.heartbeat > 0 {
		return f.heartbeat
	}
	return signOfLife
}

// beat sends a sign of life.
func (f *feed) beat() error {
	f.take()
	if f.kind == feedEventSource {
		f.out = append(f.out, "event: heartbeat\ndata: \n\n"...)
	} else {
		f.out = append(f.out, '\n')
	}
	return f.send(true)
}

// send writes what has gathered to the client, and with flush has it sent on its way.
func (f *feed) send(flush bool) error {
	if len(f.out) > 0 || f.q.w.status == 0 {
		if _, err := f.q.w.Write(f.out); err != nil {
			return errors.Join(errClientGone, err)
		}
		f.release()
		if flush {
			if err := http.NewResponseController(f.q.w).Flush(); err != nil {
				return errors.Join(errClientGone, err)
			}
		}
		f.sent = time.Now()
		f.began = f.sent
		if f.fresh {
			f.told, f.fresh = f.sent, false
		}
	}
	return nil
}

// take makes sure that there is a buffer.
func (f *feed) take() {
	if f.pooled == nil {
		f.pooled = feedBuffers.Get().(*[]byte)
		f.out = (*f.pooled)[:0]
	}
}

// release gives the buffer back, unless a large row has blown it up.
func (f *feed) release() {
	if f.pooled != nil && cap(f.out) <= 4*feedBuffer {
		*f.pooled = f.out[:0]
		feedBuffers.Put(f.pooled)
	}
	f.pooled, f.out = nil, nil
}
