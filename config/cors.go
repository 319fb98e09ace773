package config

import (
	"math"
	"net"
	"strings"
)

// CORS is what pages of other origins may do with this node: the section
// [cors], and [chttpd] enable_cors, without which there is none of it.
type CORS struct {
	Enabled bool
	// Policy is that of hosts without a section of their own.
	Policy CORSPolicy
	// Hosts are the policies of the sections [cors:host], by this node's name
	// as the client knows it: lower case, without scheme and port.
	Hosts map[string]*CORSPolicy
}

// CORSPolicy is what pages of other origins may do. A section [cors:host] that
// leaves a key out has it from [cors].
type CORSPolicy struct {
	// Origins are whose pages may do it, AnyOrigin means all: origins, none.
	Origins   []string
	AnyOrigin bool
	// Credentials lets them use the user's cookies: credentials, false.
	Credentials bool
	// Methods they may use: methods, CouchDB's nine.
	Methods []string
	// Headers they may send, in lower case: headers, what replication needs.
	Headers []string
	// Exposed are the headers of answers that they may read, in lower case:
	// exposed_headers.
	Exposed []string
	// MaxAge is how many seconds a browser may remember all this: max_age, 600.
	MaxAge int
}

// corsDefaults are CouchDB's.
var corsDefaults = map[string]string{
	"credentials":     "false",
	"exposed_headers": "accept-ranges, etag, server, x-couch-request-id, x-couch-update-newrev, x-couchdb-body-time",
	"headers": "accept, accept-language, authorization, content-length, content-range, content-type, destination, expires, " +
		"if-match, last-modified, origin, pragma, x-couch-full-commit, x-couch-id, x-couch-persist, x-couchdb-www-authenticate, " +
		"x-http-method-override, x-requested-with, x-couchdb-vhost-path",
	"max_age": "600",
	"methods": "CONNECT, COPY, DELETE, GET, HEAD, OPTIONS, POST, PUT, TRACE",
}

// corsHost is what the names of the sections of hosts begin with.
const corsHost = "cors:"

// For is the policy for requests to a host, which may carry a port.
func (c *CORS) For(host string) *CORSPolicy {
	if len(c.Hosts) > 0 {
		if p := c.Hosts[hostName(host)]; p != nil {
			return p
		}
	}
	return &c.Policy
}

func (r *reader) cors() CORS {
	c := CORS{Enabled: r.boolean("chttpd", "enable_cors"), Policy: r.corsPolicy("cors")}
	for section := range r.raw {
		if host, ok := strings.CutPrefix(section, corsHost); ok {
			if c.Hosts == nil {
				c.Hosts = map[string]*CORSPolicy{}
			}
			p := r.corsPolicy(section)
			c.Hosts[hostName(host)] = &p
		}
	}
	return c
}

// corsPolicy reads a section of a host, or [cors] itself.
func (r *reader) corsPolicy(section string) CORSPolicy {
	// What is wrong is told of the section where it stands.
	in := func(key string) string {
		if _, ok := r.raw.get(section, key); ok {
			return section
		}
		return "cors"
	}
	p := CORSPolicy{
		Origins:     r.list(in("origins"), "origins"),
		Credentials: r.boolean(in("credentials"), "credentials"),
		Methods:     r.list(in("methods"), "methods"),
		Headers:     lowered(r.list(in("headers"), "headers")),
		Exposed:     lowered(r.list(in("exposed_headers"), "exposed_headers")),
		MaxAge:      int(r.number(in("max_age"), "max_age", 0, math.MaxInt32)),
	}
	for _, o := range p.Origins {
		p.AnyOrigin = p.AnyOrigin || o == "*"
	}
	return p
}

func lowered(list []string) []string {
	for i, s := range list {
		list[i] = strings.ToLower(s)
	}
	return list
}

// hostName is the name in a Host header or in a section's name: what is left
// of it without a scheme and a port.
func hostName(host string) string {
	if _, rest, ok := strings.Cut(host, "://"); ok {
		host = rest
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}
