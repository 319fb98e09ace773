package api

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// mostRewrites is how often one request may be rewritten.
const mostRewrites = 100

// anyRewrite sends a request on to where the rules of the design document say, or answers as its function does.
func anyRewrite(q *request) error {
	if q.rewrites >= mostRewrites {
		return badRequest("Exceeded rewrite recursion limit")
	}
	db, snap, err := q.snapshot()
	if err != nil {
		return err
	}
	d, err := q.api.designs.Design(snap, q.docID)
	snap.Close()
	if err != nil {
		return err
	}
	rules := d.Member("rewrites")
	switch document.TypeName(rules) {
	case "array":
		return q.rewriteByRules(rules)
	case "string":
		return q.rewriteByFunction(db, d)
	}
	return invalidPath("rewrite_error")
}

// rewriteBase is the path that others are relative to.
func (q *request) rewriteBase() string {
	return "/" + escape(q.dbName) + "/_design/" + escape(strings.TrimPrefix(q.docID, design.Prefix))
}

func (q *request) rewriteByRules(text []byte) error {
	secure, _ := q.config.Get("httpd", "secure_rewrites")
	rules, err := rewriteRules(text, secure != "false")
	if err != nil {
		return err
	}
	method := q.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	// The first parts are those of the database, the design document and _rewrite.
	path, query, ok := rewrite(rules, method, pathParts(q.URL.EscapedPath())[4:], pairs(q.URL.RawQuery))
	if !ok {
		return errMissing
	}
	target := resolvePath(q.rewriteBase(), path)
	if query != "" {
		target += "?" + query
	}
	return q.forward(q.Method, target, nil, nil)
}

// rewritten is what a rewrites function returns.
type rewritten struct {
	code     int // with one, the function has answered itself
	path     string
	hasPath  bool
	method   string
	query    []design.Pair
	hasQuery bool
	headers  []design.Pair
	body     string
	hasBody  bool
	goesOn   bool // it returned anything at all
}

func (q *request) rewriteByFunction(db *storage.DB, d *design.Design) error {
	if err := d.Fault(); err != nil {
		return err
	}
	body, err := q.functionBody()
	if err != nil {
		return err
	}
	sent, err := q.sentRequest(db, body)
	if err != nil {
		return err
	}
	text, err := d.Rewrite(q.Context(), sent.AppendBrief(nil))
	if err != nil {
		return err
	}
	r, err := parseRewritten(text)
	if err != nil {
		return err
	}
	switch {
	case !r.goesOn:
		return invalidPath("rewrite_error")
	case r.code != 0:
		for _, h := range r.headers {
			if !ownHeaders[http.CanonicalHeaderKey(h.Name)] {
				q.w.Header().Set(h.Name, headerText(h.Value))
			}
		}
		return q.replyBody(r.code, []byte(r.body))
	case !r.hasPath:
		return rewriteError("Rewrite result must produce a new path.")
	}
	path, rest, _ := strings.Cut(r.path, "?")
	target := resolvePath(q.rewriteBase(), path)
	query := q.URL.RawQuery
	if r.hasQuery {
		params := make([]string, len(r.query))
		for i, p := range r.query {
			params[i] = url.QueryEscape(p.Name) + "=" + url.QueryEscape(p.Value)
		}
		query = strings.Join(params, "&")
	}
	for _, part := range []string{rest, query} {
		if part != "" && strings.Contains(target, "?") {
			target += "&" + part
		} else if part != "" {
			target += "?" + part
		}
	}
	method := q.Method
	if r.method != "" {
		method = r.method
	}
	if !r.hasBody && body != noBody {
		r.body, r.hasBody = body, true
	}
	var content *string
	if r.hasBody {
		content = &r.body
	}
	return q.forward(method, target, r.headers, content)
}

// parseRewritten checks what a rewrites function returned.
func parseRewritten(text []byte) (*rewritten, error) {
	r := &rewritten{}
	if document.TypeName(text) != "object" {
		if len(text) == 0 || document.TypeName(text) == "null" {
			return r, nil
		}
		return nil, rewriteError("bad rewrite")
	}
	r.goesOn = true
	members, err := jsonMembers(text)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		value, isText := jsonString(m.value)
		ok := true
		switch m.name {
		case "method":
			r.method, ok = value, isText
		case "path":
			r.path, r.hasPath, ok = value, true, isText
		case "body":
			r.body, r.hasBody, ok = value, true, isText
		case "code":
			ok = json.Unmarshal(m.value, &r.code) == nil && r.code >= 200 && r.code < 600
		case "headers", "query":
			var list []design.Pair
			if list, ok, err = stringPairs(m.value); err != nil {
				return nil, err
			}
			if m.name == "query" {
				r.query, r.hasQuery = list, true
			} else {
				r.headers = list
			}
		}
		if !ok {
			return nil, rewriteError("bad " + m.name)
		}
	}
	return r, nil
}

// stringPairs reads an object whose values are strings.
func stringPairs(text []byte) (list []design.Pair, ok bool, err error) {
	members, err := jsonMembers(text)
	if err != nil {
		return nil, false, nil
	}
	for _, m := range members {
		value, isText := jsonString(m.value)
		if !isText {
			return nil, false, rewriteError("object key/value must be strings <<\"" + m.name + "\">>=" + string(m.value))
		}
		list = append(list, design.Pair{Name: m.name, Value: value})
	}
	return list, true, nil
}

// forward serves the request as one for another path. Without a body that of the request is left as it is.
func (q *request) forward(method, target string, headers []design.Pair, body *string) error {
	if len(target) > q.config.MaxURILength {
		return errURITooLong
	}
	to, err := url.ParseRequestURI(target)
	if err != nil {
		return badRequestf("The path has a malformed escape: %s", target)
	}
	inner := *q.Request
	inner.Method, inner.URL, inner.RequestURI = strings.ToUpper(method), to, target
	if len(headers) > 0 {
		inner.Header = q.Header.Clone()
		for _, h := range headers {
			inner.Header.Set(h.Name, headerText(h.Value))
		}
	}
	next := *q
	next.Request, next.query, next.rewrites, next.keeper = &inner, nil, q.rewrites+1, false
	next.dbName, next.docID, next.attName, next.name, next.viewName, next.partName = "", "", "", "", "", ""
	if body != nil {
		next.Body = io.NopCloser(bytes.NewReader([]byte(*body)))
		inner.ContentLength, inner.TransferEncoding = int64(len(*body)), nil
	}
	if q.Method == http.MethodHead && inner.Method == http.MethodGet {
		inner.Method = http.MethodHead // the client waits for no body
	}
	return next.dispatch()
}
