package script

import (
	"github.com/dop251/goja"
)

// native is a function in Go that JavaScript calls.
type native = func(goja.FunctionCall) goja.Value

// install puts the helpers into a new machine's global scope.
func (m *machine) install() {
	m.guardBuiltins()
	for name, f := range map[string]native{
		"emit":         m.emit,
		"sum":          m.sum,
		"log":          m.logMessage,
		"toJSON":       m.stringify,
		"isArray":      m.isArray,
		"index":        func(goja.FunctionCall) goja.Value { return undefined },
		"provides":     m.provides,
		"registerType": m.registerType,
		"start":        m.startResponse,
		"send":         m.send,
		"getRow":       m.getRow,
	} {
		m.define(m.vm.GlobalObject(), name, f)
	}
	if m.unit.root != "" {
		m.define(m.vm.GlobalObject(), "require", func(c goja.FunctionCall) goja.Value {
			return m.require(c, nil)
		})
	}
}

// define sets a member as builtins are set: writable, not enumerable.
func (m *machine) define(o *goja.Object, name string, v any) {
	err := o.DefineDataProperty(name, m.vm.ToValue(v), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE)
	if err != nil {
		panic(err) // of a new runtime: cannot be
	}
}

// emit is emit(key, value).
func (m *machine) emit(c goja.FunctionCall) goja.Value {
	m.emits++
	if !m.filter && m.count(rowCost) {
		m.rows = append(m.rows, emitted{c.Argument(0), c.Argument(1)})
	}
	return undefined
}

// sum is sum(values): the values added up as + adds them.
func (m *machine) sum(c goja.FunctionCall) goja.Value {
	if a, ok := lazyArrayOf(c.Argument(0)); ok {
		if v := a.sum(); v != nil {
			return v
		}
	}
	return m.must(m.guard.sum(undefined, c.Argument(0)))
}

// sum adds up an array of numbers that nobody has looked at; nil if it is not
// one.
func (a *lazyArray) sum() goja.Value {
	var total float64
	for i := range a.Len() {
		p := &a.parts[i]
		if p.value != nil || p.raw == "" || p.raw[0] != '-' && (p.raw[0] < '0' || p.raw[0] > '9') {
			return nil
		}
		total += a.m.feedNumber(p.raw).ToFloat()
	}
	return a.m.vm.ToValue(total)
}

// logMessage is log(message).
func (m *machine) logMessage(c goja.FunctionCall) goja.Value {
	v := c.Argument(0)
	s := ""
	if goja.IsString(v) {
		s = v.String()
	} else if v = m.stringify(goja.FunctionCall{Arguments: []goja.Value{v}}); !goja.IsUndefined(v) {
		s = v.String()
	} else {
		s = "undefined"
	}
	if m.count(len(s)) {
		m.engine.log(s)
	}
	return undefined
}

func (m *machine) isArray(c goja.FunctionCall) goja.Value {
	o, ok := c.Argument(0).(*goja.Object)
	return m.vm.ToValue(ok && isArray(o))
}

// stringify is JSON.stringify(value, replacer, space).
func (m *machine) stringify(c goja.FunctionCall) goja.Value {
	e := encoder{m: m, plain: true, limit: m.guard.maxString}
	if o, ok := c.Argument(1).(*goja.Object); ok {
		if f, ok := goja.AssertFunction(o); ok {
			e.replacer = func(c goja.FunctionCall) goja.Value { return m.must(f(c.This, c.Arguments...)) }
		} else if isArray(o) {
			e.hasOnly, e.only = true, m.propertyList(o)
		}
	}
	e.indent = indentation(c.Argument(2))
	b, ok := e.value(nil, nil, "", c.Argument(0))
	if !ok {
		return undefined
	}
	if !m.count(len(b)) {
		return undefined
	}
	return m.vm.ToValue(string(b))
}

// propertyList reads the names that JSON.stringify is to print.
func (m *machine) propertyList(o *goja.Object) []string {
	names := []string{}
	seen := map[string]bool{}
	for i := range min(lengthOf(o), maxElements) {
		v := o.Get(decimal(i))
		if v == nil {
			continue
		}
		boxed, isObject := v.(*goja.Object)
		if isObject && boxed.ClassName() != "String" && boxed.ClassName() != "Number" || !isObject && !goja.IsString(v) && !goja.IsNumber(v) {
			continue
		}
		if s := v.String(); !seen[s] {
			seen[s] = true
			names = append(names, s)
		}
	}
	return names
}

// indentation is what JSON.stringify's argument space stands for.
func indentation(v goja.Value) string {
	if o, ok := v.(*goja.Object); ok {
		switch o.ClassName() {
		case "Number":
			v = o.ToNumber()
		case "String":
			v = o.ToString()
		}
	}
	const spaces = "          "
	switch {
	case goja.IsNumber(v):
		return spaces[:max(0, min(v.ToInteger(), int64(len(spaces))))]
	case goja.IsString(v):
		r := []rune(v.String())
		return string(r[:min(len(r), len(spaces))])
	}
	return ""
}
