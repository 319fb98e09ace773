package api

import (
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/storage"
)

// subject is on whose behalf functions run for the request.
func (q *request) subject() design.Subject {
	return design.Subject{Name: q.user.Name, Roles: q.user.Roles}
}

// validator asks the validation functions of databases on behalf of the request's user.
func (q *request) validator() storage.Validator {
	return q.api.designs.Validator(q.Context(), q.subject())
}

// functionRequest tells the request to functions of design documents. The path may name a document by id.
func (q *request) functionRequest(db *storage.DB, id string, hasID bool, body string) (*design.Request, error) {
	r, err := q.sentRequest(db, body)
	if err != nil {
		return nil, err
	}
	info, err := describe(db)
	if err != nil {
		return nil, err
	}
	if r.Info, err = appendValue(nil, info); err != nil {
		return nil, err
	}
	r.UUID, r.ID, r.HasID = q.api.newUUID(q.config), id, hasID
	if form := "application/x-www-form-urlencoded"; strings.HasPrefix(q.Header.Get("Content-Type"), form) &&
		(q.Method == http.MethodPost || q.Method == http.MethodPut) {
		r.Form = pairs(body)
	}
	return r, nil
}

// sentRequest tells what was sent, which is all that functions that rewrite requests are told.
func (q *request) sentRequest(db *storage.DB, body string) (*design.Request, error) {
	subject := q.subject()
	security, err := q.api.designs.Security(db)
	if err != nil {
		return nil, err
	}
	r := &design.Request{
		Method: q.Method, RequestedPath: pathParts(q.RequestURI), Path: pathParts(q.URL.EscapedPath()), RawPath: q.RequestURI,
		Query: pairs(q.URL.RawQuery), Body: body, Peer: q.peer(), User: subject.AppendContext(nil, db.Name()), Security: security,
	}
	if r.Method == http.MethodHead {
		r.Method = http.MethodGet
	}
	for _, c := range q.Cookies() {
		if c.Name != sessionCookie {
			r.Cookie = append(r.Cookie, design.Pair{Name: c.Name, Value: c.Value})
		}
	}
	r.Headers = append(r.Headers, design.Pair{Name: "Host", Value: q.Host})
	for name, values := range q.Header {
		if !slices.Contains(secretHeaders, name) && !strings.EqualFold(name, q.config.Auth.ProxyTokenHeader) {
			r.Headers = append(r.Headers, design.Pair{Name: name, Value: strings.Join(values, ", ")})
		}
	}
	slices.SortFunc(r.Headers, func(a, b design.Pair) int { return strings.Compare(a.Name, b.Name) })
	return r, nil
}

// secretHeaders are not shown to functions: what they see they may write into documents, and passwords do not belong
// there. Cookies are shown by themselves.
var secretHeaders = []string{"Authorization", "Proxy-Authorization", "Cookie"}

// noBody is what functions are shown as the body of a request that has none, as in CouchDB.
const noBody = "undefined"

// functionBody reads the body for a function.
func (q *request) functionBody() (string, error) {
	if q.ContentLength == 0 && q.Header.Get("Content-Length") == "" && (q.Method == http.MethodGet || q.Method == http.MethodHead) {
		return noBody, nil
	}
	text, err := q.readBody()
	return string(text), err
}

// pathParts splits a path at its slashes and undoes the escaping of the parts.
func pathParts(path string) []string {
	parts := []string{}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" {
			continue
		}
		if plain, err := unescape(part); err == nil {
			part = plain
		}
		parts = append(parts, part)
	}
	return parts
}

// pairs reads the parameters of a query or a form.
func pairs(raw string) []design.Pair {
	list := []design.Pair{}
	for name, value := range queryParams(raw) {
		list = append(list, design.Pair{Name: name, Value: value})
	}
	return list
}

// peer returns the address that the request comes from: what a proxy on this machine or in a private network says, or
// that of the connection.
func (q *request) peer() string {
	host, _, err := net.SplitHostPort(q.RemoteAddr)
	if err != nil {
		host = q.RemoteAddr
	}
	via := q.Header.Get("X-Forwarded-For")
	if ip := net.ParseIP(host); via != "" && ip != nil && (ip.IsLoopback() || ip.IsPrivate()) {
		return strings.TrimSpace(via[strings.LastIndexByte(via, ',')+1:])
	}
	return host
}
