package script

import (
	"errors"
	"strings"

	"github.com/dop251/goja"
)

// place is where a path of require has got to in the design document.
type place struct {
	value  goja.Value
	parent *place
	id     string
}

// require is require(path) as a module sees it; within is where that module
// is, nil for a function.
func (m *machine) require(c goja.FunctionCall, within *place) goja.Value {
	path := c.Argument(0).String()
	at := m.resolve(strings.Split(path, "/"), within)
	module := m.modules[at.id]
	if module == nil {
		module = m.loadModule(path, at)
	}
	return module.Get("exports")
}

// resolve follows a path: from the module's own folder if it begins with a
// point, otherwise from the design document's top.
func (m *machine) resolve(names []string, at *place) *place {
	if at != nil {
		at = at.parent
	}
	for i, n := range names {
		switch n {
		case "..":
			if at == nil || at.parent == nil || at.parent.parent == nil {
				m.noParent(at)
			}
			at = at.parent
			continue
		case ".":
			if at == nil || at.parent == nil {
				m.noParent(at)
			}
			continue
		}
		if i == 0 {
			at = &place{value: m.this}
		}
		var v goja.Value
		if o, ok := at.value.(*goja.Object); ok {
			v = o.Get(n)
		}
		if v == nil || goja.IsUndefined(v) {
			m.throwNamed("invalid_require_path", `Object has no property "`+n+`". `+m.preview(at.value))
		}
		id := n
		if at.id != "" {
			id = at.id + "/" + n
		}
		at = &place{value: v, parent: at, id: id}
	}
	if !goja.IsString(at.value) {
		m.throwNamed("invalid_require_path", "Must require a JavaScript string, not: "+typeOf(at.value))
	}
	return at
}

func (m *machine) noParent(at *place) {
	v := goja.Value(undefined)
	if at != nil {
		v = at.value
	}
	m.throwNamed("invalid_require_path", "Object has no parent "+m.preview(v))
}

// preview is the start of a value's JSON, for messages.
func (m *machine) preview(v goja.Value) string {
	s := m.stringify(goja.FunctionCall{Arguments: []goja.Value{v}}).String()
	if len(s) > maxDescription {
		s = s[:maxDescription] + "…"
	}
	return s
}

func typeOf(v goja.Value) string {
	switch {
	case goja.IsUndefined(v):
		return "undefined"
	case goja.IsNumber(v):
		return "number"
	case goja.IsString(v):
		return "string"
	}
	if _, ok := v.(*goja.Object); ok || goja.IsNull(v) {
		return "object"
	}
	return "boolean"
}

// loadModule runs a module. While it runs, others that require it see what it has
// exported so far.
func (m *machine) loadModule(path string, at *place) *goja.Object {
	module := m.vm.NewObject()
	exports := m.vm.NewObject()
	for name, v := range map[string]any{"id": at.id, "current": at.value, "exports": exports} {
		if err := module.Set(name, v); err != nil {
			panic(err)
		}
	}
	if m.modules == nil {
		m.modules = map[string]*goja.Object{}
	}
	m.modules[at.id] = module
	if err := m.runModule(module, exports, at); err != nil {
		delete(m.modules, at.id)
		if fatal(err) {
			panic(err)
		}
		message := err.Error()
		var thrown *goja.Exception
		if errors.As(err, &thrown) {
			message = m.describe(thrown.Value())
		}
		m.throwNamed("compilation_error", "Module require('"+path+"') raised error "+message)
	}
	return module
}

func (m *machine) runModule(module, exports *goja.Object, at *place) error {
	p, err := m.engine.module(at.value.String())
	if err != nil {
		return err
	}
	v, err := m.vm.RunProgram(p.program)
	if err != nil {
		return err
	}
	f, _ := goja.AssertFunction(v)
	_, err = f(undefined, module, exports, m.vm.ToValue(func(c goja.FunctionCall) goja.Value {
		return m.require(c, at)
	}))
	return err
}
