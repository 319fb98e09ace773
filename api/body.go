package api

import (
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// hurryBody makes the body come in time, if there is one. It is done before anything else is looked at, because the server
// waits for the body of every request, even of those that are refused.
func (q *request) hurryBody() {
	if q.ContentLength == 0 && len(q.TransferEncoding) == 0 {
		return // net/http has taken away all deadlines
	}
	q.sent = &sentBody{ReadCloser: q.Request.Body}
	q.sent.hurry(http.NewResponseController(q.w.ResponseWriter), q.config.Limits.BodyTimeout)
}

// limitBody bounds the body, and undoes its compression, whose result has the same bound.
func (q *request) limitBody() error {
	limit := q.config.MaxRequestSize
	if q.ContentLength > limit {
		return errRequestTooLarge
	}
	bounded := http.MaxBytesReader(q.w.ResponseWriter, q.Request.Body, limit)
	if q.sent == nil {
		q.Body = &sentBody{ReadCloser: bounded}
		return nil
	}
	body := q.sent
	body.ReadCloser = bounded
	// An attachment that is sent compressed is stored so: its handler asks for the encoding itself.
	switch encoding := strings.ToLower(q.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
		q.Body = body
	case "gzip", "x-gzip", "deflate":
		q.Body = &inflater{kind: encoding, body: body, limit: limit}
	default:
		q.Body = &inflater{kind: encoding, body: body, limit: limit, err: unsupportedType(encoding + " is not a supported content encoding.")}
	}
	return nil
}

// rawBody returns the body as it came, with its compression.
func (q *request) rawBody() io.Reader {
	if z, ok := q.Body.(*inflater); ok {
		return z.body
	}
	return q.Body
}

// inflater undoes the compression of a body from its first read on, up to a limit.
type inflater struct {
	kind  string
	body  io.ReadCloser
	limit int64
	z     io.Reader
	err   error
}

func (f *inflater) Read(p []byte) (int, error) {
	if f.z == nil && f.err == nil {
		if f.kind == "deflate" {
			f.z, f.err = zlib.NewReader(f.body)
		} else {
			f.z, f.err = gzip.NewReader(f.body)
		}
		f.err = inflateError(f.err)
	}
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.z.Read(p)
	if f.limit -= int64(n); f.limit < 0 {
		err = errRequestTooLarge
	}
	f.err = inflateError(err)
	return n, f.err
}

func (f *inflater) Close() error { return f.body.Close() }

func inflateError(err error) error {
	var (
		tooLarge *http.MaxBytesError
		known    *Error // it came too slowly, or not to its end
	)
	if err == nil || err == io.EOF || errors.As(err, &known) || errors.As(err, &tooLarge) {
		return err
	}
	return badRequest("The request body is not compressed as its Content-Encoding says: " + err.Error())
}

// sentBody is a body as it comes from the client. That it cannot be read to its end, because the client went away or
// sends malformed chunks, is the client's fault and no failure of this node.
//
// A client may be as slow as it must, but it has to send something: at least stride bytes in the time that the
// configuration gives it. So a deadline for reading moves along with what comes, and goes when all has come, because
// the connection is read from while the request is answered, to see whether the client is still there.
type sentBody struct {
	io.ReadCloser

	control  *http.ResponseController // nil: there is no deadline
	patience time.Duration
	moved    time.Time // the deadline is so long after
	strides  int       // bytes since then
	left     time.Time // when Read ended last
}

// stride is what a client must send in time, in bytes.
const stride = 4 << 10

// hurry sets the first deadline.
func (b *sentBody) hurry(control *http.ResponseController, patience time.Duration) {
	b.control, b.patience = control, patience
	b.move(time.Now())
}

func (b *sentBody) move(now time.Time) {
	b.moved, b.strides = now, 0
	if err := b.control.SetReadDeadline(now.Add(b.patience)); err != nil {
		b.control = nil // this kind of connection knows no deadlines
	}
}

// rest takes the deadline away.
func (b *sentBody) rest() {
	if b.control != nil {
		_ = b.control.SetReadDeadline(time.Time{})
		b.control = nil
	}
}

// waitForRest bounds how long the server waits for what nobody has read, before the connection's next request.
func (b *sentBody) waitForRest() {
	if b.control != nil {
		b.move(time.Now())
	}
}

func (b *sentBody) Read(p []byte) (int, error) {
	if b.control != nil && !b.left.IsZero() {
		// The time that it took to do something with what has come is not the client's.
		if ours := time.Since(b.left); ours > b.patience/8 {
			strides := b.strides
			b.move(b.moved.Add(ours))
			b.strides = strides
		}
	}
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		if b.control != nil {
			b.left = time.Now()
			// Often enough is a few times in the time that there is.
			if b.strides += n; b.strides >= stride && b.left.Sub(b.moved) > b.patience/8 {
				b.move(b.left)
			}
		}
		return n, nil
	}
	var tooLarge *http.MaxBytesError
	switch {
	case err == io.EOF:
		b.rest()
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.control = nil // nobody waits for the rest
		err = errSlowBody
	case !errors.As(err, &tooLarge):
		err = errCutBody
	}
	return n, err
}
