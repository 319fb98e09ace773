package script

import (
	"sync"

	"github.com/dop251/goja"
)

// Between two instructions a runtime can be interrupted; within a builtin it
// cannot. The builtins below could loop, allocate or recurse without bound in one
// step, so they refuse what would be too much: with a RangeError, as JavaScript
// engines do.

// maxElements is how long an array, or what is used like one, may be for builtins
// that go through it.
const maxElements = 1 << 22

// guard is what the guarded builtins of a machine share.
type guard struct {
	maxString  int // in UTF-16 code units
	depth      int // of nested join calls
	rangeError *goja.Object
	sum        goja.Callable
	flat       goja.Callable
	boolean    native       // Boolean.prototype.valueOf
	arrays     *goja.Object // Array.prototype
	todo       func()
	try        goja.Callable
}

// maxJoins is how deeply arrays may nest to become strings.
const maxJoins = 500

func (g *guard) unboxBoolean(o *goja.Object) goja.Value {
	return g.boolean(goja.FunctionCall{This: o})
}

// trampoline calls f so that exceptions that it throws are returned.
func (g *guard) trampoline(f func()) (goja.Value, error) {
	before := g.todo
	g.todo = f
	defer func() { g.todo = before }()
	return g.try(undefined)
}

// prelude is what is easier said in JavaScript: it runs as functions do, so that
// it can be interrupted.
const prelude = `({
	sum: function (values) { var total = 0; for (var i in values) total += values[i]; return total; },
	flat: function flat(list, depth, isArray) {
		var out = [], n = list.length;
		for (var i = 0; i < n; i++) {
			if (!(i in list)) continue;
			var v = list[i];
			if (depth >= 1 && isArray(v)) {
				var inner = flat(v, depth - 1, isArray);
				for (var k = 0; k < inner.length; k++) out[out.length] = inner[k];
			} else out[out.length] = v;
		}
		return out;
	}
})`

var compilePrelude = sync.OnceValue(func() *goja.Program {
	return goja.MustCompile("", prelude, true)
})

// guardBuiltins prepares a new runtime's builtins.
func (m *machine) guardBuiltins() {
	vm, g := m.vm, &m.guard
	global := vm.GlobalObject()
	g.maxString = int(min(m.engine.memory/2, 1<<28))
	g.rangeError = global.Get("RangeError").(*goja.Object)
	g.arrays = m.prototype("Array")
	g.boolean = m.original(m.prototype("Boolean"), "valueOf")
	g.try, _ = goja.AssertFunction(vm.ToValue(func(goja.FunctionCall) goja.Value {
		g.todo()
		return undefined
	}))
	helpers := m.setUp(vm.RunProgram(compilePrelude())).(*goja.Object)
	g.sum, _ = goja.AssertFunction(helpers.Get("sum"))
	g.flat, _ = goja.AssertFunction(helpers.Get("flat"))

	m.removeAbilities(global)
	m.guardArrays()
	m.guardStrings()
	m.guardRegexps()
	m.guardFunctions()
	m.guardJSON()
}

// setUp returns v; what prepares a new runtime does not fail.
func (m *machine) setUp(v goja.Value, err error) goja.Value {
	if err != nil {
		panic(err)
	}
	return v
}

func (m *machine) prototype(constructor string) *goja.Object {
	return m.vm.GlobalObject().Get(constructor).(*goja.Object).Get("prototype").(*goja.Object)
}

// original returns a builtin as it is in Go.
func (m *machine) original(o *goja.Object, name string) native {
	f, _ := o.Get(name).Export().(native)
	return f
}

// replace puts f, which is given the builtin that was there, in its place.
func (m *machine) replace(o *goja.Object, name string, f func(builtin native, c goja.FunctionCall) goja.Value) {
	old, ok := o.Get(name).(*goja.Object)
	if !ok {
		return
	}
	builtin, ok := old.Export().(native)
	if !ok {
		return
	}
	v := m.vm.ToValue(func(c goja.FunctionCall) goja.Value { return f(builtin, c) }).(*goja.Object)
	for _, member := range []string{"name", "length"} {
		if err := v.DefineDataProperty(member, old.Get(member), goja.FLAG_FALSE, goja.FLAG_TRUE, goja.FLAG_FALSE); err != nil {
			panic(err)
		}
	}
	m.define(o, name, v)
}

// removeAbilities takes away what functions are not to have.
func (m *machine) removeAbilities(global *goja.Object) {
	for _, name := range []string{
		"eval", "Proxy", "BigInt", "GoError", "BigInt64Array", "BigUint64Array", "SharedArrayBuffer",
	} {
		if err := global.Delete(name); err != nil {
			panic(err)
		}
	}
	view := m.prototype("DataView")
	for _, name := range []string{"getBigInt64", "getBigUint64", "setBigInt64", "setBigUint64"} {
		if err := view.Delete(name); err != nil {
			panic(err)
		}
	}
	refuse := func(goja.ConstructorCall) *goja.Object {
		panic(m.vm.NewTypeError("code generation from strings is not allowed"))
	}
	sources := []string{
		`(function () {})`, `(function* () {})`, `(async function () {})`,
	}
	for _, s := range sources {
		f := m.setUp(m.vm.RunString(s)).(*goja.Object)
		proto := f.Prototype()
		constructor := m.vm.ToValue(refuse).(*goja.Object)
		if err := constructor.DefineDataProperty("prototype", proto, goja.FLAG_FALSE, goja.FLAG_FALSE, goja.FLAG_FALSE); err != nil {
			panic(err)
		}
		m.define(proto, "constructor", constructor)
		if s == sources[0] {
			m.define(constructor, "name", "Function")
			m.define(global, "Function", constructor)
		}
	}
}

// checkLength refuses what is too long to go through.
func (m *machine) checkLength(v goja.Value) int {
	o, ok := v.(*goja.Object)
	if !ok {
		return 0
	}
	n := lengthOf(o)
	if n > maxElements {
		m.rangeError("Invalid array length")
	}
	return n
}

func (m *machine) guardFunctions() {
	proto := m.prototype("Function")
	m.replace(proto, "apply", func(builtin native, c goja.FunctionCall) goja.Value {
		m.checkLength(c.Argument(1))
		return builtin(c)
	})
	reflect := m.vm.GlobalObject().Get("Reflect").(*goja.Object)
	m.replace(reflect, "apply", func(builtin native, c goja.FunctionCall) goja.Value {
		m.checkLength(c.Argument(2))
		return builtin(c)
	})
	m.replace(reflect, "construct", func(builtin native, c goja.FunctionCall) goja.Value {
		m.checkLength(c.Argument(1))
		return builtin(c)
	})
}

func (m *machine) guardJSON() {
	json := m.vm.GlobalObject().Get("JSON").(*goja.Object)
	m.replace(json, "stringify", func(_ native, c goja.FunctionCall) goja.Value { return m.stringify(c) })
	m.replace(json, "parse", func(builtin native, c goja.FunctionCall) goja.Value {
		text := c.Argument(0).String()
		if nesting(text) > maxNesting {
			m.rangeError("JSON nests too deeply")
		}
		return builtin(c)
	})
}

// nesting is how deeply brackets nest in a JSON text.
func nesting(text string) int {
	depth, most := 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i, _ = skipString(text, i)
			i--
		case '[', '{':
			depth++
			most = max(most, depth)
		case ']', '}':
			depth--
		}
	}
	return most
}

// checkString refuses to make a string of n code units.
func (m *machine) checkString(n int) {
	if n > m.guard.maxString {
		m.rangeError("Invalid string length")
	}
}

// checkStopped ends a builtin of ours that works long if the call was stopped.
func (m *machine) checkStopped() {
	if m.since.Load() == stopped {
		panic(m.vm.NewTypeError("stopped"))
	}
}

// text is a value as a string, as builtins convert their arguments.
func (m *machine) text(v goja.Value) goja.String {
	if s, ok := v.(goja.String); ok {
		return s
	}
	if s, ok := v.ToString().(goja.String); ok {
		return s
	}
	return m.vm.ToValue(v.String()).(goja.String)
}
