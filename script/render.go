package script

import (
	"context"
	"errors"
	"strings"

	"github.com/dop251/goja"
)

// Response is the response object of a show or update function: an object with
// some of code, headers, body, base64, json and stop.
type Response struct{ JSON []byte }

// renderState is what the helpers of shows and lists have gathered in a call.
type renderState struct {
	mime     *mimeTypes // nil until it is needed
	types    []provided
	used     bool // provides was called
	mimeType string

	chunks   []string
	bytes    int // in chunks
	response *goja.Object

	list *listState // of a list function
}

// provided is one call of provides.
type provided struct {
	key string
	f   goja.Value
}

func (m *machine) provides(c goja.FunctionCall) goja.Value {
	m.render.used = true
	if m.count(rowCost) {
		m.render.types = append(m.render.types, provided{c.Argument(0).String(), c.Argument(1)})
	}
	return undefined
}

func (m *machine) registerType(c goja.FunctionCall) goja.Value {
	key := c.Argument(0).String()
	var types []string
	for _, v := range c.Arguments[min(1, len(c.Arguments)):] {
		types = append(types, v.String())
	}
	if m.count(rowCost * (1 + len(types))) {
		m.types().register(key, types...)
	}
	return undefined
}

func (m *machine) types() *mimeTypes {
	if m.render.mime == nil {
		m.render.mime = newMimeTypes()
	}
	return m.render.mime
}

// startResponse is start(response).
func (m *machine) startResponse(c goja.FunctionCall) goja.Value {
	m.render.response, _ = c.Argument(0).(*goja.Object)
	return undefined
}

// send is send(chunk).
func (m *machine) send(c goja.FunctionCall) goja.Value {
	v := c.Argument(0)
	if goja.IsUndefined(v) || goja.IsNull(v) {
		panic(m.vm.NewTypeError("chunk is " + v.String()))
	}
	m.push(v.String())
	if l := m.render.list; l != nil && l.started && m.render.bytes >= flushedBytes {
		l.flush()
	}
	return undefined
}

func (m *machine) push(s string) {
	if m.count(len(s) + 16) {
		m.render.chunks = append(m.render.chunks, s)
		m.render.bytes += len(s)
	}
}

func (r *renderState) clearChunks() {
	r.chunks, r.bytes, r.response = nil, 0, nil
}

// runProvides calls the function of the type that fits the request best.
func (m *machine) runProvides(req goja.Value) (goja.Value, error) {
	r := &m.render
	types := m.types()
	accept, format := m.wishes(req)
	var best string
	switch {
	case format != "":
		best = format
		known := types.byKey[best]
		if len(known) == 0 {
			return nil, &Error{Kind: Fault, Name: "render_error", Reason: "function raised error: unknown format " + best}
		}
		r.mimeType = known[0]
	case accept != "":
		// Of those that fit equally well the last in the list is taken, which is
		// the first that was provided.
		var supported []string
		for i := len(r.types) - 1; i >= 0; i-- {
			supported = append(supported, types.byKey[r.types[i].key]...)
		}
		r.mimeType = bestMatch(supported, accept)
		best = types.byType[r.mimeType]
		// CouchDB turns its list around for that, and then takes the first.
		for i, k := 0, len(r.types)-1; i < k; i, k = i+1, k-1 {
			r.types[i], r.types[k] = r.types[k], r.types[i]
		}
	default:
		best = r.types[0].key
		if known := types.byKey[best]; len(known) > 0 {
			r.mimeType = known[0]
		}
	}
	if best != "" {
		for _, t := range r.types {
			if t.key != best {
				continue
			}
			f, ok := goja.AssertFunction(t.f)
			if !ok {
				return nil, &Error{Kind: Fault, Name: "render_error", Reason: "function raised error: what provides " + best + " is no function"}
			}
			return f(m.this)
		}
	}
	var names []string
	for _, t := range r.types {
		if known := types.byKey[t.key]; len(known) > 0 {
			names = append(names, strings.Join(known, ", "))
		} else {
			names = append(names, t.key)
		}
	}
	if accept == "" {
		accept = best
	}
	return nil, named("not_acceptable",
		"Content-Type "+accept+" not supported, try one of: "+strings.Join(names, ", "), nil)
}

// wishes reads what a request wants: its Accept header, and its parameter format.
func (m *machine) wishes(req goja.Value) (accept, format string) {
	o, ok := req.(*goja.Object)
	if !ok {
		return "", ""
	}
	member := func(of, name string) string {
		if inner, ok := o.Get(of).(*goja.Object); ok {
			if v := inner.Get(name); truthy(v) {
				return v.String()
			}
		}
		return ""
	}
	return member("headers", "Accept"), member("query", "format")
}

// asResponse makes an object of what a function answered: a string becomes
// {body: string}; nil if it is neither.
func (m *machine) asResponse(v goja.Value) *goja.Object {
	if v != nil && goja.IsString(v) {
		o := m.vm.NewObject()
		m.set(o, "body", v)
		return o
	}
	o, ok := v.(*goja.Object)
	if !ok || isArray(o) || o.ClassName() == "Function" {
		return nil
	}
	return o
}

// orEmpty is v, or an empty object in place of what counts as false.
func (m *machine) orEmpty(v goja.Value) goja.Value {
	if truthy(v) {
		return v
	}
	return m.vm.NewObject()
}

// headersOf returns a response's headers, which it is given if it has none.
func (m *machine) headersOf(o *goja.Object) *goja.Object {
	if h, ok := o.Get("headers").(*goja.Object); ok {
		return h
	}
	h := m.vm.NewObject()
	m.set(o, "headers", h)
	return h
}

// applyType sets the content type that provides found, unless there is one.
func (m *machine) applyType(o *goja.Object) {
	h := m.headersOf(o)
	if m.render.mimeType != "" && !truthy(h.Get("Content-Type")) {
		m.set(h, "Content-Type", m.render.mimeType)
	}
}

// bodyOf is a response's body as text.
func bodyOf(o *goja.Object) string {
	if o != nil {
		if v := o.Get("body"); truthy(v) {
			return v.String()
		}
	}
	return ""
}

// Show calls shows.name(doc, req); doc is "null" if there is none.
func (d *Design) Show(ctx context.Context, name string, doc, req []byte) (Response, error) {
	var out Response
	err := d.call(ctx, []string{"shows", name}, func(m *machine, f *function) error {
		m.render = renderState{}
		request := m.feed(string(req), true)
		document := m.feed(string(doc), true)
		v, err := f.call(m.this, document, request)
		if err == nil {
			out.JSON, err = m.show(v, request)
		}
		if err == nil {
			return nil
		}
		if !fatal(err) && goja.IsNull(document) && asksForDocument(request) {
			return named("not_found", "document not found", nil)
		}
		return m.renderError(err)
	})
	return out, err
}

// asksForDocument tells whether the path of a request names a document:
// /db/_design/d/_show/name/id.
func asksForDocument(req goja.Value) bool {
	o, ok := req.(*goja.Object)
	if !ok {
		return false
	}
	path, ok := o.Get("path").(*goja.Object)
	return ok && lengthOf(path) > 5
}

// show makes the response of what a show function returned, sent and provided.
func (m *machine) show(v, req goja.Value) (out []byte, err error) {
	r := &m.render
	var o *goja.Object
	err = m.try(func() {
		if o = m.asResponse(m.orEmpty(v)); o == nil {
			return
		}
		if len(r.chunks) > 0 {
			m.takeStart(o)
			m.set(o, "body", strings.Join(r.chunks, "")+bodyOf(o))
			r.clearChunks()
		}
	})
	if err != nil {
		return nil, err
	}
	if o == nil && !r.used {
		return nil, named("render_error", "undefined response from show function", nil)
	}
	if r.used {
		given, err := m.runProvides(req)
		if err != nil {
			return nil, err
		}
		err = m.try(func() {
			if o == nil {
				o = m.vm.NewObject()
			}
			inner := m.asResponse(m.orEmpty(given))
			m.set(o, "body", bodyOf(o)+strings.Join(r.chunks, "")+bodyOf(inner))
			m.applyType(o)
		})
		if err != nil {
			return nil, err
		}
	}
	err = m.try(func() { out = m.encode(nil, o) })
	return out, err
}

// takeStart gives a show's response what start was given. As in CouchDB that is
// taken for headers; what is no text among it is of no use there.
func (m *machine) takeStart(o *goja.Object) {
	h := m.headersOf(o)
	if m.render.response == nil {
		return
	}
	for _, k := range m.render.response.Keys() {
		if v := m.render.response.Get(k); v != nil && goja.IsString(v) {
			m.set(h, k, v)
		}
	}
}

// Update calls updates.name(doc, req); doc is "null" if there is none. NewDoc is
// the document to be written, nil if there is none.
func (d *Design) Update(ctx context.Context, name string, doc, req []byte) (newDoc []byte, r Response, err error) {
	err = d.call(ctx, []string{"updates", name}, func(m *machine, f *function) error {
		m.render = renderState{}
		request := m.feed(string(req), true)
		if o, ok := request.(*goja.Object); ok {
			if method := o.Get("method"); method != nil && method.String() == "GET" {
				return named("method_not_allowed", "Update functions do not allow GET", nil)
			}
		}
		v, err := f.call(m.this, m.feed(string(doc), true), request)
		if err == nil {
			err = m.try(func() { newDoc, r.JSON = m.updated(v) })
		}
		if err != nil {
			return m.renderError(err)
		}
		return nil
	})
	if err != nil {
		return nil, Response{}, err
	}
	return newDoc, r, nil
}

// updated reads [doc, response].
func (m *machine) updated(v goja.Value) (doc, response []byte) {
	pair, ok := v.(*goja.Object)
	if !ok {
		panic(m.vm.NewTypeError("update function returned " + typeOf(v)))
	}
	o := m.asResponse(pair.Get("1"))
	if o == nil {
		m.throwNamed("render_error", "undefined response from update function")
	}
	response = m.encode(nil, o)
	if d, ok := pair.Get("0").(*goja.Object); ok {
		if doc = m.encode(nil, d); doc[0] != '{' {
			doc = nil
		}
	}
	return doc, response
}

// renderError names what a function threw render_error, unless it named itself.
func (m *machine) renderError(err error) error {
	v := exception(err)
	if v == nil {
		return err
	}
	var e error
	if err := m.try(func() {
		for _, tag := range []string{"error", "fatal"} {
			if name, reason, raw, ok := m.errorList(v, tag); ok {
				e = named(name, reason, raw)
				return
			}
		}
		stack := "undefined"
		if o, ok := v.(*goja.Object); ok {
			if truthy(o.Get("error")) && truthy(o.Get("reason")) {
				e = m.interpret(v)
				return
			}
			if s := o.Get("stack"); truthy(s) {
				stack = s.String()
			}
		}
		message := "function raised error: " + m.describe(v) + " \nstacktrace: " + stack
		m.engine.log(message)
		e = &Error{Kind: Fault, Name: "render_error", Reason: message}
	}); err != nil {
		return err
	}
	return e
}

// exception is the value that a function threw; nil if err is something else.
func exception(err error) goja.Value {
	var thrown *goja.Exception
	if err == nil || fatal(err) || !errors.As(err, &thrown) {
		return nil
	}
	return thrown.Value()
}
