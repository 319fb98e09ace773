package api

import (
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"
)

// limitBody bounds the body, and undoes its compression, whose result has the same bound.
func (q *request) limitBody() error {
	limit := q.config.MaxRequestSize
	if q.ContentLength > limit {
		return errRequestTooLarge
	}
	body := sentBody{http.MaxBytesReader(q.w.ResponseWriter, q.Request.Body, limit)}
	if q.ContentLength == 0 && len(q.TransferEncoding) == 0 {
		q.Body = body
		return nil
	}
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
	var tooLarge *http.MaxBytesError
	if err == nil || err == io.EOF || errors.Is(err, errRequestTooLarge) || errors.As(err, &tooLarge) {
		return err
	}
	return badRequest("The request body is not compressed as its Content-Encoding says: " + err.Error())
}

// sentBody is a body as it comes from the client. That it cannot be read to its end, because the client went away or
// sends malformed chunks, is the client's fault and no failure of this node.
type sentBody struct{ io.ReadCloser }

func (b sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	var tooLarge *http.MaxBytesError
	if err != nil && err != io.EOF && !errors.As(err, &tooLarge) {
		err = errCutBody
	}
	return n, err
}
