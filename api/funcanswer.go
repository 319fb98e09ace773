package api

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/document"
)

// functionAnswer is the answer that a function gives to a request.
type functionAnswer struct {
	code    int // 0: not said
	headers []design.Pair
	kind    string // content type, unless a header says otherwise
	body    []byte
}

// parseAnswer reads a response object.
func parseAnswer(text []byte) (*functionAnswer, error) {
	members, err := jsonMembers(text)
	if err != nil {
		return nil, badAnswer("response", text)
	}
	a := &functionAnswer{kind: "application/json"}
	for _, m := range members {
		if err := a.set(m.name, m.value); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// set takes over one member. Of several that tell the body the last counts.
func (a *functionAnswer) set(name string, value []byte) error {
	text, isText := jsonString(value)
	switch {
	case name == "", name == "stop":
	case name == "code":
		code, err := strconv.Atoi(string(value))
		if err != nil || code < 200 || code > 999 {
			return badAnswer(name, value)
		}
		a.code = code
	case name == "json":
		a.kind = "application/json"
		a.body = append(append([]byte(nil), value...), '\n')
	case name == "body" && isText:
		a.kind, a.body = "text/html; charset=utf-8", []byte(text)
	case name == "base64" && isText:
		data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
		if err != nil {
			return badAnswer(name, value)
		}
		a.kind, a.body = "application/binary", data
	case name == "headers":
		headers, err := jsonMembers(value)
		if err != nil {
			return badAnswer(name, value)
		}
		a.headers = make([]design.Pair, 0, len(headers))
		for _, h := range headers {
			a.headers = append(a.headers, design.Pair{Name: h.name, Value: plainText(h.value)})
		}
	default:
		return badAnswer(name, value)
	}
	return nil
}

// plainText returns the text of a JSON string, or that of another JSON value.
func plainText(value json.RawMessage) string {
	if text, ok := jsonString(value); ok {
		return text
	}
	return string(value)
}

// ownHeaders are those that the server answers for.
var ownHeaders = map[string]bool{"Content-Length": true, "Transfer-Encoding": true, "Connection": true, "Trailer": true, "Upgrade": true}

// setHeaders sets the headers of the answer. What the server has set before stays.
func (a *functionAnswer) setHeaders(h http.Header) {
	server := h.Clone()
	h["Content-Security-Policy"] = sandboxed
	h["Content-Type"] = []string{a.kind}
	for _, p := range a.headers {
		name := http.CanonicalHeaderKey(p.Name)
		if !ownHeaders[name] && (server[name] == nil || replaceable[name]) {
			h[name] = []string{headerText(p.Value)}
		}
	}
}

// replaceable are headers of every answer that a function may have another opinion of.
var replaceable = map[string]bool{"Cache-Control": true, "Server": true}

// replyFunction sends the answer of a function. Its code is the function's, or else the one given.
func (q *request) replyFunction(code int, a *functionAnswer) error {
	a.setHeaders(q.w.Header())
	if a.code != 0 {
		code = a.code
	}
	return q.replyBody(code, a.body)
}

// replyBody sends a body whose headers are set.
func (q *request) replyBody(code int, body []byte) error {
	if bodyless(code) {
		q.w.Header().Del("Content-Type")
		q.w.WriteHeader(code)
		return nil
	}
	q.w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	q.w.WriteHeader(code)
	if q.Method == http.MethodHead {
		return nil
	}
	_, err := q.w.Write(body)
	return q.lost(err)
}

// bodyless tells whether answers of a status have no body (RFC 9110 §6.4.1).
func bodyless(code int) bool { return code == http.StatusNoContent || code == http.StatusNotModified }

// erlangPair writes a member as CouchDB's messages do, in Erlang's notation.
func erlangPair(name string, value []byte) string {
	text := string(value)
	if document.TypeName(value) == "string" {
		text = "<<" + text + ">>"
	}
	return `{<<"` + name + `">>,` + text + "}"
}
