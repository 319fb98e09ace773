package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Client speaks to a server as its administrator. It is for tests that need
// many plain requests quickly: connections are kept open and reused.
type Client struct {
	server Server
	http   *http.Client
}

// NewClient returns a client of s. Each request may take timeout at most.
func NewClient(s Server, timeout time.Duration) *Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	return &Client{server: s, http: &http.Client{
		Transport:     transport,
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close closes the client's idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Response is an answer with its body read whole.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do sends a request; path begins with a slash and is sent as it is. The body
// is nothing if nil, the bytes themselves if []byte, else its JSON with the
// matching Content-Type. The headers are names and values in turn. The error
// tells of a request without a whole answer, whatever its status.
func (c *Client) Do(ctx context.Context, method, path string, body any, headers ...string) (*Response, error) {
	var content io.Reader
	contentType := ""
	switch b := body.(type) {
	case nil:
	case []byte:
		content = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		content, contentType = bytes.NewReader(text), "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, method, c.server.base(), content)
	if err != nil {
		return nil, err
	}
	req.URL.Opaque = path // sent as it is, not cleaned
	req.SetBasicAuth(c.server.User, c.server.Password)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	read, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return &Response{res.StatusCode, res.Header, read}, nil
}

// Get reads the JSON answer of a GET into v. An answer other than 200 is an error.
func (c *Client) Get(ctx context.Context, path string, v any) error {
	res, err := c.Do(ctx, http.MethodGet, path, nil, "Accept", "application/json")
	if err != nil {
		return err
	}
	return res.Decode(http.StatusOK, v)
}

// Decode reads the JSON body into v, unless v is nil; a status other than the
// one wanted is an error that quotes the answer.
func (r *Response) Decode(status int, v any) error {
	if r.Status != status {
		return fmt.Errorf("status %d instead of %d: %s", r.Status, status, shorten(string(r.Body)))
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(r.Body, v); err != nil {
		return fmt.Errorf("%w in %s", err, shorten(string(r.Body)))
	}
	return nil
}
