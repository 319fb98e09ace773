package replicator

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/mangrove-db/mangrove/internal/dbname"
)

// Endpoint is one side of a replication as a Spec names it: a database of this node, or a URL. Printing it shows no
// credentials.
type Endpoint struct {
	// Name is that of a database of this node; empty for a URL.
	Name string
	// URL is that of a database, without user information and with a slash at the end of its path.
	URL string
	// Auth are credentials for the Basic scheme; nil for none.
	Auth *BasicAuth
	// Headers are sent with every request.
	Headers map[string]string
}

// Local tells whether the endpoint is a database of this node.
func (e Endpoint) Local() bool { return e.URL == "" }

// Redacted is how people are shown the endpoint: without credentials.
func (e Endpoint) Redacted() string {
	if e.Local() {
		return e.Name
	}
	return e.URL
}

// String is Redacted, and keeps credentials out of logs.
func (e Endpoint) String() string { return e.Redacted() }

// GoString is Redacted, and keeps credentials out of logs.
func (e Endpoint) GoString() string { return e.Redacted() }

// endpointObject is an endpoint with more to it than its URL.
type endpointObject struct {
	URL     *string           `json:"url"`
	Headers map[string]string `json:"headers"`
	Auth    *struct {
		Basic *struct {
			Username *string `json:"username"`
			Password *string `json:"password"`
		} `json:"basic"`
	} `json:"auth"`
}

// endpoint reads the member source or target.
func (p *specParser) endpoint(name string) Endpoint {
	if !p.has(name) {
		p.fail("Missing replicator database")
		return Endpoint{}
	}
	raw := p.members[name]
	if raw[0] == '"' {
		text := p.text(name, "endpoint has an invalid url")
		if strings.Contains(text, "://") {
			return p.remote(text)
		}
		return p.local(text)
	}
	var object endpointObject
	if raw[0] != '{' || json.Unmarshal(raw, &object) != nil || object.URL == nil {
		p.fail("endpoint has an invalid url")
		return Endpoint{}
	}
	e := p.remote(*object.URL)
	e.Headers = plainHeaders(object.Headers, &e)
	if object.Auth != nil && object.Auth.Basic != nil {
		basic := object.Auth.Basic
		if basic.Username == nil || basic.Password == nil {
			p.fail("`auth.basic` must have a username and a password")
			return e
		}
		e.Auth = &BasicAuth{Username: *basic.Username, Password: *basic.Password}
	}
	return e
}

// local reads the name of a database of this node, which may be escaped as it would be in a URL.
func (p *specParser) local(text string) Endpoint {
	name, err := url.PathUnescape(text)
	if err != nil {
		name = text
	}
	if !dbname.Legal(name) || dbname.TooLong(name) {
		p.fail("endpoint has an invalid database name")
	}
	return Endpoint{Name: name}
}

func (p *specParser) remote(text string) Endpoint {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" {
		p.fail("endpoint has an invalid url") // which says nothing of the text: it may hold a password
		return Endpoint{}
	}
	var e Endpoint
	if u.User != nil {
		password, _ := u.User.Password()
		e.Auth = &BasicAuth{Username: u.User.Username(), Password: password}
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	if !strings.HasSuffix(u.Path, "/") {
		u = u.JoinPath("/")
	}
	e.URL = u.String()
	return e
}

// plainHeaders takes credentials of the Basic scheme out of headers, unless the endpoint has others: those that come
// with the URL count more.
func plainHeaders(headers map[string]string, e *Endpoint) map[string]string {
	for name, value := range headers {
		if !strings.EqualFold(name, "Authorization") {
			continue
		}
		auth, ok := parseBasic(value)
		if !ok && e.Auth == nil {
			continue
		}
		delete(headers, name)
		if e.Auth == nil {
			e.Auth = auth
		}
	}
	if len(headers) == 0 {
		return nil
	}
	return headers
}

func parseBasic(header string) (*BasicAuth, bool) {
	r := http.Request{Header: http.Header{"Authorization": {header}}}
	name, password, ok := r.BasicAuth()
	return &BasicAuth{Username: name, Password: password}, ok
}

func (p *specParser) proxies(s *Spec) {
	proxy := func(name string) string {
		if !p.has(name) {
			return ""
		}
		text := p.text(name, "proxy has an invalid url")
		if text == "" {
			return ""
		}
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5" {
			p.fail("proxy has an invalid url")
		}
		return text
	}
	both := proxy("proxy")
	s.SourceProxy, s.TargetProxy = proxy("source_proxy"), proxy("target_proxy")
	switch {
	case both == "":
	case s.SourceProxy != "":
		p.fail("`proxy` is mutually exclusive with `source_proxy`")
	case s.TargetProxy != "":
		p.fail("`proxy` is mutually exclusive with `target_proxy`")
	default:
		s.SourceProxy, s.TargetProxy = both, both
	}
}

// redactURL returns a URL without its password.
func redactURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery = nil, ""
	return u.String()
}

// userInfo is what stands between a URL's scheme and its host.
var userInfo = regexp.MustCompile(`://[^/\s@"]*@`)

// shortestSecret is how long a text must be to be taken out of messages; shorter ones would spoil them and are no
// secrets.
const shortestSecret = 4

// redact takes credentials out of a message. Nobody should have put them there.
func (s *Spec) redact(message string) string {
	message = userInfo.ReplaceAllString(message, "://")
	hide := func(secret string) {
		if len(secret) >= shortestSecret {
			message = strings.ReplaceAll(message, secret, "*****")
		}
	}
	for _, e := range []Endpoint{s.Source, s.Target} {
		if e.Auth != nil {
			hide(e.Auth.Password)
			hide(url.QueryEscape(e.Auth.Password))
			hide(url.PathEscape(e.Auth.Password))
			hide(base64.StdEncoding.EncodeToString([]byte(e.Auth.Username + ":" + e.Auth.Password)))
		}
		for name, value := range e.Headers {
			if strings.EqualFold(name, "Authorization") || strings.EqualFold(name, "Cookie") {
				hide(value)
			}
		}
	}
	for _, proxy := range []string{s.SourceProxy, s.TargetProxy} {
		if u, err := url.Parse(proxy); err == nil {
			if password, ok := u.User.Password(); ok {
				hide(password)
			}
		}
	}
	return message
}
