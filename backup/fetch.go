package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
)

// FetchOptions say how a backup is made.
type FetchOptions struct {
	NoLocal bool
	// Changes has the documents gathered through the replication protocol, even if the node can do better.
	Changes bool
}

// errNoSnapshots says that a node cannot write a backup by itself.
var errNoSnapshots = errors.New("the node cannot write a backup by itself")

// Fetch writes a backup of a database to w. What was written is of no use if an error is returned; then, if the error
// is one of the connection, it may be tried again with another w.
func (c *Client) Fetch(ctx context.Context, db string, w io.Writer, o FetchOptions) (*Summary, error) {
	if o.Changes {
		return c.gather(ctx, db, w, o)
	}
	s, err := c.fetchSnapshot(ctx, db, w, o)
	if errors.Is(err, errNoSnapshots) {
		return c.gather(ctx, db, w, o)
	}
	return s, err
}

// fetchSnapshot copies a backup that the node writes.
func (c *Client) fetchSnapshot(ctx context.Context, db string, w io.Writer, o FetchOptions) (*Summary, error) {
	c.options.Progress.begin("asking", 0)
	path := fmt.Sprintf("%s/%s?local=%t", databasePath(db), Path, !o.NoLocal)
	var res *http.Response
	err := c.retry(ctx, func() (err error) {
		res, err = c.open(ctx, request{method: http.MethodGet, path: path})
		return err
	})
	switch status(err) {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed:
		// Other servers take the path for that of a document. Whether there is a database is seen next.
		return nil, errNoSnapshots
	}
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if t, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); t != ContentType {
		return nil, errNoSnapshots
	}
	in := NewReader(Source{R: io.TeeReader(res.Body, w), Skip: true})
	for {
		_, err := in.Next()
		if err == io.EOF {
			return &Summary{Origin: in.Origin(), Ending: in.Ending(), Counts: in.Counts(), Bytes: in.s.offset()}, nil
		}
		if err != nil {
			return nil, err
		}
		c.observe(in)
	}
}

// observe shows how far a backup was read.
func (c *Client) observe(in *Reader) {
	p := c.options.Progress
	if o := in.Origin(); o != nil && p.Total.Load() == 0 {
		p.begin("copying", int64(o.Documents+o.Deleted))
	}
	p.Done.Store(int64(in.Counts().Documents))
	p.Bytes.Store(in.Offset())
}
