package script

import (
	"github.com/dop251/goja"
)

func (m *machine) guardArrays() {
	proto := m.prototype("Array")
	for _, name := range []string{
		"copyWithin", "every", "fill", "filter", "find", "findIndex", "findLast", "findLastIndex", "flatMap",
		"forEach", "includes", "indexOf", "lastIndexOf", "map", "reduce", "reduceRight", "reverse", "shift", "slice",
		"some", "splice", "unshift", "toReversed", "toSorted", "toSpliced", "with",
	} {
		m.replace(proto, name, func(builtin native, c goja.FunctionCall) goja.Value {
			m.checkLength(c.This)
			return builtin(c)
		})
	}
	m.replace(proto, "sort", func(builtin native, c goja.FunctionCall) goja.Value {
		if m.checkLength(c.This) > 1 {
			if a, ok := lazyArrayOf(c.This); ok && !a.mutable {
				panic(m.vm.NewTypeError("Cannot assign to read only property '0' of array"))
			}
		}
		return builtin(c)
	})
	m.replace(proto, "concat", func(builtin native, c goja.FunctionCall) goja.Value {
		n := m.checkLength(c.This)
		for _, v := range c.Arguments {
			if n += m.checkLength(v); n > maxElements {
				m.rangeError("Invalid array length")
			}
		}
		return builtin(c)
	})
	m.replace(proto, "flat", func(_ native, c goja.FunctionCall) goja.Value {
		depth := c.Argument(0)
		if goja.IsUndefined(depth) {
			depth = m.vm.ToValue(1)
		}
		m.checkLength(c.This)
		return m.must(m.guard.flat(undefined, c.This.ToObject(m.vm), depth, m.vm.Get("isArray")))
	})
	m.replace(proto, "join", func(_ native, c goja.FunctionCall) goja.Value {
		return m.join(c.This, c.Argument(0))
	})
	m.replace(proto, "toString", func(builtin native, c goja.FunctionCall) goja.Value {
		return m.nested(func() goja.Value { return builtin(c) })
	})
	m.replace(proto, "toLocaleString", func(_ native, c goja.FunctionCall) goja.Value {
		return m.join(c.This, undefined)
	})

	constructor := m.vm.GlobalObject().Get("Array").(*goja.Object)
	m.replace(constructor, "from", func(builtin native, c goja.FunctionCall) goja.Value {
		if s, ok := c.Argument(0).(goja.String); ok && s.Length() > maxElements {
			m.rangeError("Invalid array length")
		}
		m.checkLength(c.Argument(0))
		return builtin(c)
	})
	m.guardBuffers()
}

// nested calls f, which may get here again for what is within.
func (m *machine) nested(f func() goja.Value) goja.Value {
	m.checkStopped()
	g := &m.guard
	if g.depth >= maxJoins {
		m.rangeError("too much recursion")
	}
	g.depth++
	defer func() { g.depth-- }()
	return f()
}

// join is Array.prototype.join.
func (m *machine) join(this, separator goja.Value) goja.Value {
	o := this.ToObject(m.vm)
	n := m.checkLength(o)
	sep := m.vm.ToValue(",").(goja.String)
	if !goja.IsUndefined(separator) {
		sep = m.text(separator)
	}
	return m.nested(func() goja.Value {
		parts := make([]goja.String, 0, n)
		total, ascii := 0, isASCII(sep)
		for i := range n {
			if i > 0 {
				total += sep.Length()
			}
			var s goja.String
			if v := o.Get(decimal(i)); v != nil && !goja.IsUndefined(v) && !goja.IsNull(v) {
				s = m.text(v)
				total += s.Length()
				ascii = ascii && isASCII(s)
			}
			m.checkString(total)
			parts = append(parts, s)
		}
		if !m.count(total) {
			return undefined
		}
		return m.concatenate(parts, sep, total, ascii)
	})
}

// isASCII tells whether a string's UTF-8 and UTF-16 are of equal length.
func isASCII(s goja.String) bool { return len(s.String()) == s.Length() }

func (m *machine) concatenate(parts []goja.String, sep goja.String, total int, ascii bool) goja.Value {
	if ascii {
		b := make([]byte, 0, total)
		for i, s := range parts {
			if i > 0 {
				b = append(b, sep.String()...)
			}
			if s != nil {
				b = append(b, s.String()...)
			}
		}
		return m.vm.ToValue(string(b))
	}
	u := make([]uint16, 0, total)
	add := func(s goja.String) {
		for i := range s.Length() {
			u = append(u, s.CharAt(i))
		}
	}
	for i, s := range parts {
		if i > 0 {
			add(sep)
		}
		if s != nil {
			add(s)
		}
	}
	return goja.StringFromUTF16(u)
}

// guardBuffers bounds the sizes of array buffers and typed arrays.
func (m *machine) guardBuffers() {
	global := m.vm.GlobalObject()
	for _, name := range []string{
		"ArrayBuffer", "Int8Array", "Uint8Array", "Uint8ClampedArray", "Int16Array", "Uint16Array", "Int32Array",
		"Uint32Array", "Float32Array", "Float64Array",
	} {
		old, ok := global.Get(name).(*goja.Object)
		if !ok {
			continue
		}
		construct, ok := goja.AssertConstructor(old)
		if !ok {
			continue
		}
		made := m.vm.ToValue(func(c goja.ConstructorCall) *goja.Object {
			first := c.Argument(0)
			if goja.IsNumber(first) || goja.IsString(first) {
				if n := first.ToFloat(); n > maxElements {
					m.rangeError("Invalid array buffer length")
				}
			} else {
				m.checkLength(first)
			}
			o, err := construct(c.NewTarget, c.Arguments...)
			if err != nil {
				panic(err)
			}
			if !m.count(maxElements / 64) {
				return nil
			}
			return o
		}).(*goja.Object)
		proto := old.Get("prototype").(*goja.Object)
		for _, member := range old.GetOwnPropertyNames() {
			if member == "name" || member == "length" || member == "prototype" {
				continue
			}
			m.define(made, member, old.Get(member))
		}
		if err := made.DefineDataProperty("prototype", proto, goja.FLAG_FALSE, goja.FLAG_FALSE, goja.FLAG_FALSE); err != nil {
			panic(err)
		}
		m.define(made, "name", name)
		if err := made.SetPrototype(old.Prototype()); err != nil {
			panic(err)
		}
		m.define(proto, "constructor", made)
		m.define(global, name, made)
	}
}
