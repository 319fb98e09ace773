package replicator

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// watch ends a request at which nothing has moved for a while. Its clock runs only while something is waited for from
// the other side: however long the caller takes to read, or the source of an upload to give, is no fault of the peer.
type watch struct {
	timer  *time.Timer
	limit  time.Duration
	cancel context.CancelCauseFunc
}

func newWatch(ctx context.Context, limit time.Duration) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &watch{time.AfterFunc(limit, func() { cancel(errSilent) }), limit, cancel}
}

func (w *watch) busy() { w.timer.Reset(w.limit) }
func (w *watch) rest() { w.timer.Stop() }

// end frees what the watch holds, and ends the request if it is still under way.
func (w *watch) end() {
	w.timer.Stop()
	w.cancel(nil)
}

// watchedUpload lets the clock run while what was read is being sent.
type watchedUpload struct {
	src   io.Reader
	w     *watch
	state atomic.Uint32
}

// States of a watchedUpload. One that was closed before anything was read leaves its source as it was, although the
// transport may come back to it later.
const (
	uploadFresh uint32 = iota
	uploadBegun
	uploadClosed
)

func (u *watchedUpload) Read(p []byte) (int, error) {
	if !u.state.CompareAndSwap(uploadFresh, uploadBegun) && u.state.Load() == uploadClosed {
		return 0, io.ErrClosedPipe
	}
	u.w.rest()
	n, err := u.src.Read(p)
	u.w.busy()
	return n, err
}

// Close is called by the transport. The source belongs to another.
func (u *watchedUpload) Close() error { return nil }

// close ends the use of the source, and tells whether any of it was used.
func (u *watchedUpload) close() (begun bool) {
	return u != nil && !u.state.CompareAndSwap(uploadFresh, uploadClosed)
}

// answer is a server's answer. Its body is read from the socket as it is used.
type answer struct {
	client      *client
	method, url string // of the request, fit to be shown
	status      int
	header      http.Header
	body        *answerBody
	failed      error // what failure has read
}

func newAnswer(ctx context.Context, c *client, r *http.Response, w *watch) *answer {
	b := &answerBody{ctx: ctx, raw: r.Body, w: w, release: func() {}}
	b.src = &rawBody{b}
	if r.Header.Get("Content-Encoding") == "gzip" {
		b.src = &unpacker{src: b.src}
	}
	return &answer{client: c, status: r.StatusCode, header: r.Header, body: b}
}

// text reads the rest of the body, which must not have more than limit bytes.
func (a *answer) text(limit int64) ([]byte, error) {
	var b bytes.Buffer
	if _, err := b.ReadFrom(io.LimitReader(a.body, limit+1)); err != nil {
		return b.Bytes(), err
	}
	if int64(b.Len()) > limit {
		return b.Bytes()[:limit], malformedAnswer("more than %d bytes", limit)
	}
	return b.Bytes(), nil
}

// drained is how much of an answer is read that nobody wants, so that its connection can be used again.
const drained = 4 << 10

// close ends the use of an answer that was read to its end or nearly so.
func (a *answer) close() {
	if a.body.err == nil {
		_, _ = io.CopyN(io.Discard, a.body, drained)
	}
	a.abort()
}

// abort ends the use of an answer in the middle.
func (a *answer) abort() {
	a.body.w.end()
	_ = a.body.raw.Close()
	a.body.release()
}

// answerBody reads a body. What fails it is kept in err, but for its regular end.
type answerBody struct {
	ctx context.Context
	raw io.ReadCloser
	src io.Reader // raw, or what is unpacked of it
	w   *watch
	err error
	// release gives the connection free for others.
	release func()
}

func (b *answerBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.src.Read(p)
	if err != nil {
		b.release()
		if err != io.EOF {
			b.err = err
		}
	}
	return n, err
}

// rawBody reads from the socket under the eyes of the watch.
type rawBody struct{ b *answerBody }

func (r *rawBody) Read(p []byte) (int, error) {
	r.b.w.busy()
	n, err := r.b.raw.Read(p)
	r.b.w.rest()
	if err != io.EOF {
		err = reasonOfEnd(r.b.ctx, err)
	}
	return n, err
}

// unpacker unpacks gzip from the first read on, since its header may be long in coming.
type unpacker struct {
	src io.Reader
	z   *gzip.Reader
}

func (u *unpacker) Read(p []byte) (n int, err error) {
	if u.z == nil {
		if u.z, err = gzip.NewReader(u.src); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
	}
	return u.z.Read(p)
}

// pack packs a request's body by gzip, fast rather than tight.
func pack(text []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(text) / 4)
	z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed) // the level is a known one
	_, _ = z.Write(text)                            // a buffer takes all
	_ = z.Close()
	return b.Bytes()
}
