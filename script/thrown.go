package script

import (
	"github.com/dop251/goja"
)

// thrown turns what a function threw into an *Error, as CouchDB's query server
// answers it.
func (m *machine) thrown(v goja.Value) error {
	var e error
	if err := m.try(func() { e = m.interpret(v) }); err != nil {
		return &Error{Kind: Fault, Name: "unnamed_error", Reason: "function raised an error that cannot be read"}
	}
	return e
}

func (m *machine) interpret(v goja.Value) error {
	for _, tag := range []string{"error", "fatal"} {
		if name, reason, raw, ok := m.errorList(v, tag); ok {
			return named(name, reason, raw)
		}
	}
	if o, ok := v.(*goja.Object); ok {
		if name, reason := o.Get("error"), o.Get("reason"); truthy(name) && truthy(reason) {
			r, raw := m.reason(reason)
			return named(name.String(), r, raw)
		}
		if name := o.Get("name"); truthy(name) {
			reason := m.describe(v)
			if message := o.Get("message"); message != nil && goja.IsString(message) {
				reason = message.String()
			}
			return &Error{Kind: Fault, Name: name.String(), Reason: reason}
		}
	}
	return &Error{Kind: Fault, Name: "unnamed_error", Reason: m.describe(v)}
}

// errorList reads [tag, name, reason].
func (m *machine) errorList(v goja.Value, tag string) (name, reason string, raw []byte, ok bool) {
	o, isObject := v.(*goja.Object)
	if !isObject || !isArray(o) {
		return "", "", nil, false
	}
	first := o.Get("0")
	if first == nil || !goja.IsString(first) || first.String() != tag {
		return "", "", nil, false
	}
	n, r := o.Get("1"), o.Get("2")
	if n == nil || !goja.IsString(n) {
		return "unnamed_error", m.describe(v), nil, true
	}
	if r == nil {
		r = null
	}
	reason, raw = m.reason(r)
	return n.String(), reason, raw, true
}

// reason reads what a function gave as reason: any value.
func (m *machine) reason(v goja.Value) (string, []byte) {
	if goja.IsString(v) {
		return v.String(), nil
	}
	raw := m.encode(nil, v)
	return string(raw), raw
}

// maxDescription bounds how much of a thrown value is told.
const maxDescription = 4096

// describe tells a thrown value to people.
func (m *machine) describe(v goja.Value) string {
	var s string
	err := m.try(func() {
		if o, ok := v.(*goja.Object); ok {
			if o.ClassName() == "Error" {
				s = o.String()
				return
			}
			s = "(" + string(m.encode(nil, v)) + ")"
			return
		}
		s = v.String()
	})
	if err != nil {
		return "an error that cannot be read"
	}
	if len(s) > maxDescription {
		s = s[:maxDescription] + "…"
	}
	return s
}

func truthy(v goja.Value) bool { return v != nil && v.ToBoolean() }
