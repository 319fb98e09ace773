package design

import (
	"encoding/json"

	"github.com/mangrove-db/mangrove/document"
)

// Pair is a name with its value.
type Pair struct{ Name, Value string }

// Request is what functions are told of an HTTP request: CouchDB's request object. Of pairs with equal names the last
// counts.
type Request struct {
	Info          []byte // the database's figures, as JSON
	UUID          string // a new one
	ID            string // of the document that the path names
	HasID         bool   // it names one
	Method        string
	RequestedPath []string // parts of the path as it was sent
	Path          []string // parts of the path that is being answered
	RawPath       string
	Query         []Pair
	Headers       []Pair
	Body          string
	Peer          string // the address of who sends it
	Form          []Pair // the fields of a form in the body
	Cookie        []Pair
	User          []byte // see Subject.AppendContext
	Security      []byte // the database's security object
}

// AppendJSON appends the request object.
func (r *Request) AppendJSON(b []byte) []byte {
	b = append(b, `{"info":`...)
	b = appendRaw(b, r.Info)
	b = append(b, `,"uuid":`...)
	b = document.AppendString(b, r.UUID)
	b = append(b, `,"id":`...)
	if r.HasID {
		b = document.AppendString(b, r.ID)
	} else {
		b = append(b, "null"...)
	}
	b = append(b, ',')
	b = r.appendSent(b)
	b = append(b, `,"form":`...)
	b = appendPairs(b, r.Form)
	return append(b, '}')
}

// AppendBrief appends the request object that a rewrites function is given: it has less to say.
func (r *Request) AppendBrief(b []byte) []byte {
	return append(r.appendSent(append(b, '{')), '}')
}

// appendSent appends the members that both have.
func (r *Request) appendSent(b []byte) []byte {
	b = append(b, `"method":`...)
	b = document.AppendString(b, r.Method)
	b = append(b, `,"requested_path":`...)
	b = appendStrings(b, r.RequestedPath)
	b = append(b, `,"path":`...)
	b = appendStrings(b, r.Path)
	b = append(b, `,"raw_path":`...)
	b = document.AppendString(b, r.RawPath)
	b = append(b, `,"query":{`...)
	for i, p := range r.Query {
		if i > 0 {
			b = append(b, ',')
		}
		b = document.AppendString(b, p.Name)
		b = append(b, ':')
		b = appendParam(b, p)
	}
	b = append(b, `},"headers":`...)
	b = appendPairs(b, r.Headers)
	b = append(b, `,"body":`...)
	b = document.AppendString(b, r.Body)
	b = append(b, `,"peer":`...)
	b = document.AppendString(b, r.Peer)
	b = append(b, `,"cookie":`...)
	b = appendPairs(b, r.Cookie)
	b = append(b, `,"userCtx":`...)
	b = appendRaw(b, r.User)
	b = append(b, `,"secObj":`...)
	return appendRaw(b, r.Security)
}

// appendParam appends the value of a parameter: those of views are JSON.
func appendParam(b []byte, p Pair) []byte {
	switch p.Name {
	case "key", "startkey", "endkey", "descending":
		if json.Valid([]byte(p.Value)) {
			return append(b, p.Value...)
		}
	}
	return document.AppendString(b, p.Value)
}

func appendRaw(b, text []byte) []byte {
	if len(text) == 0 {
		return append(b, "{}"...)
	}
	return append(b, text...)
}

func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = document.AppendString(b, s)
	}
	return append(b, ']')
}

func appendPairs(b []byte, list []Pair) []byte {
	b = append(b, '{')
	for i, p := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = document.AppendString(b, p.Name)
		b = append(b, ':')
		b = document.AppendString(b, p.Value)
	}
	return append(b, '}')
}
