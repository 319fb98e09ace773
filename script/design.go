package script

import (
	"context"
	"strings"
	"sync"

	"github.com/dop251/goja"
)

// Design is the functions of one design document. It is immutable and safe for
// concurrent use; functions are compiled when they are first called.
type Design struct {
	unit       *unit
	text       string
	validation bool
	sources    sync.Map // of functions that were called, by their paths
}

// NewDesign takes a whole design document as JSON, with _id and _rev. Nothing is
// compiled yet.
func (e *Engine) NewDesign(ddoc []byte) (*Design, error) {
	text := string(ddoc)
	if i := skipSpace(text, 0); i >= len(text) || text[i] != '{' {
		return nil, &Error{Kind: Fault, Name: "invalid_design_doc", Reason: "Design document must be an object"}
	}
	o := &lazyObject{text: text}
	v := o.find("validate_doc_update")
	return &Design{
		unit: &unit{engine: e, root: text}, text: text,
		validation: v >= 0 && o.members[v].raw != "null",
	}, nil
}

// HasValidation tells whether there is a validate_doc_update function.
func (d *Design) HasValidation() bool { return d.validation }

// call finds the function at path and runs f with it within the limits.
func (d *Design) call(ctx context.Context, path []string, f func(m *machine, fn *function) error) error {
	source, err := d.source(path)
	if err != nil {
		return err
	}
	m := d.unit.borrow()
	defer d.unit.give(m)
	return m.run(ctx, func() error {
		fn, err := m.evaluate(source)
		if err != nil {
			return err
		}
		return f(m, fn)
	})
}

// source finds a function's source: NotFound if a member is missing on the way
// to it, Compilation if it is no string.
func (d *Design) source(path []string) (string, error) {
	key := strings.Join(path, "\x00")
	if known, ok := d.sources.Load(key); ok {
		return known.(string), nil
	}
	raw := d.text
	for _, name := range path {
		raw = raw[skipSpace(raw, 0):]
		if raw == "" || raw[0] != '{' {
			return "", &Error{Kind: NotFound, Name: "not_found", Reason: "json_mismatch"}
		}
		o := &lazyObject{text: raw}
		i := o.find(name)
		if i < 0 {
			return "", missingKey(name)
		}
		raw = o.members[i].raw
	}
	if raw == "" || raw[0] != '"' {
		return "", noFunction(raw)
	}
	source := decodeString(raw)
	d.sources.Store(key, source)
	return source, nil
}

// Validate calls validate_doc_update(newDoc, oldDoc, userCtx, secObj); oldDoc is
// "null" if there is none. Nil if the document may be written; otherwise an
// *Error, of kind Forbidden or Unauthorized if the function threw {forbidden:
// reason} or {unauthorized: reason}.
func (d *Design) Validate(ctx context.Context, newDoc, oldDoc, userCtx, secObj []byte) error {
	return d.call(ctx, []string{"validate_doc_update"}, func(m *machine, f *function) error {
		_, err := f.call(m.this, m.feed(string(newDoc), true), m.feed(string(oldDoc), true),
			m.feed(string(userCtx), true), m.feed(string(secObj), true))
		return m.refusal(err)
	})
}

// refusal turns what a validation function threw into an *Error.
func (m *machine) refusal(err error) error {
	v := exception(err)
	if v == nil {
		return err
	}
	var e error
	if err := m.try(func() { e = m.interpretRefusal(v) }); err != nil {
		return err
	}
	return e
}

func (m *machine) interpretRefusal(v goja.Value) error {
	o, ok := v.(*goja.Object)
	if !ok {
		return &Error{Kind: Fault, Name: "unknown_error", Reason: v.String()}
	}
	if name, stack := o.Get("name"), o.Get("stack"); truthy(name) && truthy(stack) {
		return m.interpret(v)
	}
	if isArray(o) {
		return m.interpret(v)
	}
	for _, refusal := range []string{"forbidden", "unauthorized"} {
		if why := o.Get(refusal); why != nil {
			reason, raw := m.reason(why)
			return named(refusal, reason, raw)
		}
	}
	if keys := o.Keys(); len(keys) == 1 {
		reason, raw := m.reason(o.Get(keys[0]))
		return &Error{Kind: Fault, Name: "unknown_error", Reason: reason, ReasonJSON: raw}
	}
	return &Error{Kind: Fault, Name: "unknown_error", Reason: m.describe(v)}
}

// Filter calls filters.name(doc, req) with each document; the results are in the
// documents' order.
func (d *Design) Filter(ctx context.Context, name string, docs [][]byte, req []byte) ([]bool, error) {
	pass := make([]bool, len(docs))
	err := d.call(ctx, []string{"filters", name}, func(m *machine, f *function) error {
		request := m.feed(string(req), true)
		for i, doc := range docs {
			v, err := f.call(m.this, m.feed(string(doc), true), request)
			if err != nil {
				return err
			}
			pass[i] = v.ToBoolean()
			if err := m.next(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return pass, nil
}

// FilterView calls the map function of a view with each document; one for which
// it emits anything passes.
func (d *Design) FilterView(ctx context.Context, view string, docs [][]byte) ([]bool, error) {
	pass := make([]bool, len(docs))
	err := d.call(ctx, []string{"views", view, "map"}, func(m *machine, f *function) error {
		m.filter = true
		defer func() { m.filter = false }()
		for i, doc := range docs {
			m.emits = 0
			if _, err := f.call(m.this, m.feed(string(doc), true)); err != nil {
				return err
			}
			pass[i] = m.emits > 0
			if err := m.next(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return pass, nil
}

// next starts the clock anew for the next of several calls.
func (m *machine) next() error {
	for {
		s := m.since.Load()
		if s <= 0 {
			return m.verdict.Load().err
		}
		if m.since.CompareAndSwap(s, max(m.engine.now(), s+1)) {
			m.used = 0
			return nil
		}
	}
}

// Rewrite calls the rewrites function with the request and gives its result as
// JSON: an object with path, method, query, headers, body or code; a string that
// the function returned becomes {path, method}. Nil if it returned nothing, which
// means that no rule fits.
func (d *Design) Rewrite(ctx context.Context, req []byte) ([]byte, error) {
	var out []byte
	err := d.call(ctx, []string{"rewrites"}, func(m *machine, f *function) error {
		request := m.feed(string(req), true)
		v, err := f.call(m.this, request)
		if err != nil {
			return m.renderError(err)
		}
		if !v.ToBoolean() {
			return nil
		}
		return m.try(func() {
			if goja.IsString(v) {
				o := m.vm.NewObject()
				m.set(o, "path", v)
				if r, ok := request.(*goja.Object); ok {
					m.set(o, "method", r.Get("method"))
				}
				v = o
			}
			out = m.encode(nil, v)
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// set sets a member of an object that JavaScript gave or gets.
func (m *machine) set(o *goja.Object, name string, v any) {
	if err := o.Set(name, v); err != nil {
		panic(err)
	}
}
