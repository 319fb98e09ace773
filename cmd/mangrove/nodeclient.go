package main

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
	"strings"
	"syscall"
	"time"
)

// nodeClient sends requests to a running node.
type nodeClient struct {
	base *url.URL
	http *http.Client
}

// nodeTimeout bounds a request: hashing a password takes a moment, nothing here
// takes long.
const nodeTimeout = 30 * time.Second

func newNodeClient(base *url.URL, insecure bool) *nodeClient {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: insecure}
	return &nodeClient{base, &http.Client{Transport: transport, Timeout: nodeTimeout}}
}

// errNoNode says that nothing listens at an address.
var errNoNode = errors.New("no node answers")

// get reads what a path names into v, if that is not nil, and tells whether
// there is anything.
func (n *nodeClient) get(ctx context.Context, path string, v any) (bool, error) {
	err := n.do(ctx, http.MethodGet, path, nil, v)
	var refused *refusal
	if errors.As(err, &refused) && refused.status == http.StatusNotFound {
		return false, nil
	}
	return err == nil, err
}

// send sends a value as JSON.
func (n *nodeClient) send(ctx context.Context, method, path string, body any) error {
	return n.do(ctx, method, path, body, nil)
}

// refusal is a node's answer that it does not do what it was asked for.
type refusal struct {
	status       int
	method, path string
	Name, Reason string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("%s %s: %d %s: %s", r.method, r.path, r.status, r.Name, r.Reason)
}

// answerLimit bounds what is read of an answer.
const answerLimit = 16 << 20

func (n *nodeClient) do(ctx context.Context, method, path string, body, v any) error {
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		text = bytes.NewReader(b)
	}
	address := strings.TrimRight(n.base.Redacted(), "/")
	target := *n.base
	target.User = nil
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(target.String(), "/")+path, text)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if n.base.User != nil {
		password, _ := n.base.User.Password()
		req.SetBasicAuth(n.base.User.Username(), password)
	}
	res, err := n.http.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w at %s: start it, or name another with --node", errNoNode, address)
	}
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, answerLimit))
	if err != nil {
		return fmt.Errorf("reading the node's answer: %w", err)
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		r := refusal{status: res.StatusCode, method: method, path: path, Name: http.StatusText(res.StatusCode)}
		var told struct{ Error, Reason string }
		if json.Unmarshal(answer, &told) == nil {
			r.Name, r.Reason = told.Error, told.Reason
		}
		return &r
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(answer, v); err != nil {
		return fmt.Errorf("%s %s: the answer is not what a node says: %w", method, path, err)
	}
	return nil
}
