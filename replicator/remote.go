package replicator

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
)

// RemoteOptions say where a database of another node is and how to speak with it. All but URL may be left zero.
type RemoteOptions struct {
	// URL of the database, with scheme http or https. It may hold a name and password; they are used and never shown.
	URL string
	// Auth is the name and password to use. It comes before those in URL, and these before a header Authorization.
	Auth *BasicAuth
	// Headers are sent with every request. They count as secret: they are not sent to another host.
	Headers map[string]string
	// Proxy is the URL of a proxy: http, https or socks5, which may hold a name and password. Empty: none is used.
	Proxy string
	// ConnectionTimeout is how long nothing at all may come or go before the connection counts as dead; 30 s if zero.
	// A request may take any time, as long as something moves. Feeds are asked for three heartbeats in that time.
	ConnectionTimeout time.Duration
	// Retries is how often a request is tried again after a failure that may pass; 5 if zero, never if negative.
	Retries int
	// Connections is how many may be in use at once for documents; 20 if zero. The feed of changes has another.
	Connections int
	// UseBulkGet allows to get many documents by one request from servers that know how to.
	UseBulkGet bool
	// TLS is the configuration of https connections. If nil, certificates are verified by the system's authorities.
	TLS *tls.Config
	// Transport replaces the network, for tests.
	Transport http.RoundTripper
	// UserAgent is the name under which requests are made; "Mangrove-Replicator" if empty.
	UserAgent string
}

// BasicAuth is a name with its password.
type BasicAuth struct{ Username, Password string }

// Defaults of RemoteOptions.
const (
	defaultConnectionTimeout = 30 * time.Second
	defaultRetries           = 5
	defaultConnections       = 20
	defaultUserAgent         = "Mangrove-Replicator"
)

// ErrInterrupted says that the line broke while an attachment was passing, which cannot be read again from where it
// came. The revision has to be fetched anew; Fetch of a Remote does so when visit returns such an error.
var ErrInterrupted = errors.New("the transfer of an attachment was interrupted")

// Remote is a database of another node as a peer: any server that speaks CouchDB's replication protocol. What fails
// and may pass (broken connections, silence, the statuses 408, 429 and 5xx) is tried again with growing pauses, since
// every request of the protocol may be repeated; only then the error is returned.
//
// Close drops its idle connections.
type Remote struct {
	c       *client
	name    string
	workers int // how many documents one Fetch gets at the same time
	bulkGet bool
	lacks   bulkGetState
	urls    urlLimit
}

var _ Peer = (*Remote)(nil)

// NewRemote returns the database at o.URL as a peer. It does not connect yet; the database need not exist.
func NewRemote(o RemoteOptions) (*Remote, error) {
	base, user, err := parseDatabaseURL(o.URL)
	if err != nil {
		return nil, err
	}
	if o.ConnectionTimeout <= 0 {
		o.ConnectionTimeout = defaultConnectionTimeout
	}
	switch {
	case o.Retries == 0:
		o.Retries = defaultRetries
	case o.Retries < 0:
		o.Retries = 0
	}
	if o.Connections <= 0 {
		o.Connections = defaultConnections
	}
	c := &client{
		base: base, headers: http.Header{}, timeout: o.ConnectionTimeout, retries: o.Retries, pause: firstPause,
		slots: make(chan struct{}, o.Connections),
	}
	for name, value := range o.Headers {
		c.headers.Set(name, value)
		c.secrets = append(c.secrets, value)
	}
	c.setAuth(o.Auth, user)
	c.guarded = len(c.headers) > 0
	if o.UserAgent == "" {
		o.UserAgent = defaultUserAgent
	}
	c.headers.Set("User-Agent", o.UserAgent)
	if c.transport = o.Transport; c.transport == nil {
		if c.transport, err = newTransport(o, c); err != nil {
			return nil, err
		}
	}
	return &Remote{c: c, name: base.String(), workers: max(1, o.Connections/4), bulkGet: o.UseBulkGet}, nil
}

// parseDatabaseURL takes the name and password off the URL and ends its path with a slash. Errors do not tell the
// text, as it may hold a password in any place.
func parseDatabaseURL(text string) (*url.URL, *url.Userinfo, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return nil, nil, errors.New("the URL of the database is malformed")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, nil, errors.New("the URL of the database must begin with http:// or https://")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, nil, errors.New("the URL of the database must not have a query or fragment")
	}
	user := u.User
	u.User = nil
	if !strings.HasSuffix(u.EscapedPath(), "/") {
		u = u.JoinPath("/")
	}
	return u, user, nil
}

func (c *client) setAuth(auth *BasicAuth, user *url.Userinfo) {
	if auth == nil && user != nil {
		password, _ := user.Password()
		auth = &BasicAuth{user.Username(), password}
	}
	if auth == nil {
		return
	}
	token := base64.StdEncoding.EncodeToString([]byte(auth.Username + ":" + auth.Password))
	c.headers.Set("Authorization", "Basic "+token)
	c.secrets = append(c.secrets, token, auth.Password)
}

// Name returns the URL without credentials, ending in a slash.
func (r *Remote) Name() string { return r.name }

// Close drops idle connections. Requests that are under way go on.
func (r *Remote) Close() error {
	if t, ok := r.c.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
	return nil
}

// maxAnswer is how large an answer may be that is read as a whole.
const maxAnswer = 1 << 20

// Info asks for the database's state. As in CouchDB's replicator, what does not look like a database is none.
func (r *Remote) Info(ctx context.Context) (info PeerInfo, err error) {
	err = r.c.do(ctx, &request{method: http.MethodGet, unbounded: true}, func(a *answer) error {
		if a.status != http.StatusOK {
			err := a.failure()
			if a.status/100 == 4 && !errors.Is(err, ErrUnauthorized) {
				return fmt.Errorf("%w %s: %w", ErrNoDatabase, r.name, err)
			}
			return err
		}
		text, err := a.text(maxAnswer)
		if err != nil {
			return err
		}
		var hasSeq, hasStart bool
		deleted := int64(-1)
		for key, value := range rawMembers(text) {
			switch string(key) {
			case "update_seq":
				info.UpdateSeq, hasSeq = seqText(value), true
			case "instance_start_time":
				info.StartTime, hasStart = seqText(value), true
			case "doc_count":
				info.Docs, _ = strconv.ParseInt(string(value), 10, 64)
			case "doc_del_count":
				if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
					deleted = n
				}
			}
		}
		info.Empty = info.Docs == 0 && deleted == 0
		if !hasSeq || !hasStart {
			return fmt.Errorf("%w %s: the answer is not that of a database", ErrNoDatabase, r.name)
		}
		return nil
	})
	return info, err
}

// Create makes the database.
func (r *Remote) Create(ctx context.Context, p CreateParams) error {
	query := url.Values{}
	if p.Q > 0 {
		query.Set("q", strconv.Itoa(p.Q))
	}
	if p.N > 0 {
		query.Set("n", strconv.Itoa(p.N))
	}
	if p.Partitioned {
		query.Set("partitioned", "true")
	}
	return r.c.do(ctx, &request{method: http.MethodPut, query: query.Encode()}, func(a *answer) error {
		switch a.status {
		case http.StatusCreated, http.StatusAccepted, http.StatusOK, http.StatusPreconditionFailed:
			return nil
		}
		return a.failure()
	})
}

// Pending asks how many changes lie behind a sequence. Old servers do not tell.
func (r *Remote) Pending(ctx context.Context, since string) (n int64, err error) {
	if since == "" {
		since = "0"
	}
	q := &request{method: http.MethodGet, path: "_changes", unbounded: true, query: url.Values{"since": {since}, "limit": {"0"}}.Encode()}
	err = r.c.do(ctx, q, func(a *answer) error {
		n = -1
		if a.status != http.StatusOK {
			return a.failure()
		}
		text, err := a.text(maxAnswer)
		for key, value := range rawMembers(text) {
			if string(key) == "pending" {
				if p, err := strconv.ParseInt(string(value), 10, 64); err == nil && p >= 0 {
					n = p
				}
			}
		}
		return err
	})
	return n, err
}

// diffBytes is how large one question of RevsDiff gets.
const diffBytes = 4 << 20

// RevsDiff asks what is missing. A long question is asked in pieces.
func (r *Remote) RevsDiff(ctx context.Context, asked []DocRevs) ([]DocRevs, error) {
	missing := make([]DocRevs, 0, len(asked))
	for len(asked) > 0 {
		body := append(make([]byte, 0, 1<<10), '{')
		index := make(map[string]int, len(asked))
		n := 0
		for ; n < len(asked) && len(body) < diffBytes; n++ {
			// A document that is asked for twice must not be so within one object.
			if _, twice := index[asked[n].ID]; twice {
				break
			}
			index[asked[n].ID] = n
			if n > 0 {
				body = append(body, ',')
			}
			body = document.AppendString(body, asked[n].ID)
			body = append(body, ':')
			body = appendRevs(body, asked[n].Revs)
		}
		found, err := r.diff(ctx, append(body, '}'), asked[:n], index)
		if err != nil {
			return nil, err
		}
		missing = append(missing, found...)
		asked = asked[n:]
	}
	return missing, nil
}

// diff asks one question.
func (r *Remote) diff(ctx context.Context, body []byte, asked []DocRevs, index map[string]int) ([]DocRevs, error) {
	var found []DocRevs
	q := &request{method: http.MethodPost, path: "_revs_diff", body: body, packed: true}
	err := r.c.do(ctx, q, func(a *answer) error {
		found = make([]DocRevs, len(asked))
		if a.status != http.StatusOK {
			return a.failure()
		}
		j := newJSONReader(a.body, maxRow)
		for id, err := range j.members() {
			if err != nil {
				return err
			}
			value, err := j.value()
			if err != nil {
				return err
			}
			i, ok := index[id]
			if !ok {
				return malformedAnswer("_revs_diff tells of %.80q, which was not asked for", id)
			}
			found[i].ID = id
			for key, list := range rawMembers(value) {
				switch string(key) {
				case "missing":
					found[i].Revs, err = parseRevs(list)
				case "possible_ancestors":
					// They are an aid alone, so that what cannot be read is as good as nothing.
					found[i].Known, _ = parseRevs(list)
				}
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	kept := found[:0]
	for _, d := range found {
		if len(d.Revs) > 0 {
			kept = append(kept, d)
		}
	}
	return kept, err
}

func appendRevs(b []byte, revs []revtree.ID) []byte {
	b = append(b, '[')
	for i, rev := range revs {
		if i > 0 {
			b = append(b, ',')
		}
		b = document.AppendString(b, rev.String())
	}
	return append(b, ']')
}

// parseRevs reads an array of revisions.
func parseRevs(list []byte) ([]revtree.ID, error) {
	var revs []revtree.ID
	for text := range rawElements(list) {
		s, ok := rawString(text)
		if !ok {
			return nil, malformedAnswer("a revision is no string")
		}
		rev, err := revtree.ParseID(s)
		if err != nil {
			return nil, malformedAnswer("%w", err)
		}
		revs = append(revs, rev)
	}
	return revs, nil
}
