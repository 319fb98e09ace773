package script

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/dop251/goja"

	"github.com/mangrove-db/mangrove/document"
)

// maxNesting is how deeply values may nest to become JSON.
const maxNesting = 10_000

// encoder writes JavaScript values as JSON texts, by the rules of JSON.stringify.
type encoder struct {
	m *machine
	// plain prints numbers and strings as JavaScript does; otherwise they are
	// printed as CouchDB prints what it stores.
	plain bool
	// What JSON.stringify was asked for beside.
	replacer func(goja.FunctionCall) goja.Value
	only     []string
	hasOnly  bool
	indent   string

	holders []*goja.Object // those that are being written
	limit   int            // length of the buffer that is too much
}

// encode appends v as CouchDB stores it; null for what is no JSON (undefined,
// functions). It may run JavaScript (toJSON, getters), and panics with what that
// throws: call it within a call.
func (m *machine) encode(b []byte, v goja.Value) []byte {
	e := &m.encoder
	e.holders = e.holders[:0]
	e.limit = len(b) + int(m.engine.memory)
	b, ok := e.value(b, nil, "", v)
	if !ok {
		b = append(b, "null"...)
	}
	return b
}

// value appends v, which is the member key of holder; false if it is left out.
func (e *encoder) value(b []byte, holder *goja.Object, key string, v goja.Value) ([]byte, bool) {
	if v == nil {
		return b, false
	}
	o, isObject := v.(*goja.Object)
	if isObject {
		if f, ok := goja.AssertFunction(o.Get("toJSON")); ok {
			v = e.m.must(f(o, e.m.vm.ToValue(key)))
			o, isObject = v.(*goja.Object)
		}
	}
	if e.replacer != nil {
		if holder == nil {
			holder = e.m.vm.NewObject()
			if err := holder.Set("", v); err != nil {
				panic(err)
			}
		}
		v = e.replacer(goja.FunctionCall{This: holder, Arguments: []goja.Value{e.m.vm.ToValue(key), v}})
		o, isObject = v.(*goja.Object)
	}
	if isObject {
		return e.object(b, o)
	}
	return e.primitive(b, v)
}

func (e *encoder) primitive(b []byte, v goja.Value) ([]byte, bool) {
	switch {
	case goja.IsString(v):
		s := v.String()
		if e.plain && strings.ContainsRune(s, utf8.RuneError) {
			return e.surrogates(b, e.m.text(v)), true
		}
		return e.text(b, s), true
	case goja.IsNumber(v):
		return e.number(b, v), true
	case goja.IsNull(v):
		return append(b, "null"...), true
	case goja.IsUndefined(v):
		return b, false
	}
	if x, ok := v.Export().(bool); ok {
		return strconv.AppendBool(b, x), true
	}
	return b, false // a symbol
}

// number appends a number. What is too large to be exact is printed by
// JavaScript's digits; no number of JavaScript has a point in vain.
func (e *encoder) number(b []byte, v goja.Value) []byte {
	f := v.ToFloat()
	if i := int64(f); float64(i) == f && i > -1<<53 && i < 1<<53 {
		return strconv.AppendInt(b, i, 10)
	}
	switch {
	case math.IsNaN(f), math.IsInf(f, 0):
		return append(b, "null"...)
	case e.plain:
		return append(b, v.String()...)
	case f == math.Trunc(f) && math.Abs(f) < 1e21:
		return append(b, v.String()...)
	}
	return document.AppendFloat(b, f)
}

func (e *encoder) text(b []byte, s string) []byte {
	e.room(b, len(s))
	if e.plain {
		return appendPlainString(b, s)
	}
	return document.AppendString(b, s)
}

// surrogates appends a string that may have halves of surrogate pairs: they are
// escaped, as JSON.stringify does. In what is stored they are replaced.
func (e *encoder) surrogates(b []byte, s goja.String) []byte {
	e.room(b, s.Length())
	b = append(b, '"')
	whole := func(from, to int) {
		if from < to {
			quoted := appendPlainString(nil, s.Substring(from, to).String())
			b = append(b, quoted[1:len(quoted)-1]...)
		}
	}
	from := 0
	for i := 0; i < s.Length(); i++ {
		u := s.CharAt(i)
		if u < 0xd800 || u > 0xdfff {
			continue
		}
		if u < 0xdc00 && i+1 < s.Length() && s.CharAt(i+1)>>10 == 0xdc00>>10 {
			i++
			continue
		}
		whole(from, i)
		b = append(b, `\u`...)
		for shift := 12; shift >= 0; shift -= 4 {
			b = append(b, hexDigits[u>>shift&15])
		}
		from = i + 1
	}
	whole(from, s.Length())
	return append(b, '"')
}

// room ends the call if the buffer gets too large.
func (e *encoder) room(b []byte, more int) {
	e.m.checkStopped()
	if len(b)+more > e.limit {
		e.m.abort(errMemory(e.m.engine.memory))
		panic(e.m.vm.NewTypeError("value is too large"))
	}
}

func (e *encoder) object(b []byte, o *goja.Object) ([]byte, bool) {
	switch o.ClassName() {
	case "Function":
		return b, false
	case "Number":
		return e.number(b, o.ToNumber()), true
	case "String":
		return e.text(b, o.String()), true
	case "Boolean":
		return e.primitive(b, e.m.guard.unboxBoolean(o))
	}
	e.room(b, 0)
	if text, ok := e.untouched(o); ok {
		start := len(b)
		if b, _, ok = e.copy(b, text, 0); ok {
			return b, true
		}
		b = b[:start]
	}
	if len(e.holders) >= maxNesting {
		e.m.rangeError("value nests too deeply")
	}
	for _, h := range e.holders {
		if h == o {
			panic(e.m.vm.NewTypeError("cyclic object value"))
		}
	}
	e.holders = append(e.holders, o)
	if isArray(o) {
		b = e.array(b, o)
	} else {
		b = e.members(b, o)
	}
	e.holders = e.holders[:len(e.holders)-1]
	return b, true
}

func isArray(o *goja.Object) bool { return o.ClassName() == "Array" }

func (e *encoder) array(b []byte, o *goja.Object) []byte {
	b = append(b, '[')
	n := lengthOf(o)
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = e.newline(b, 0)
		name := decimal(i)
		var ok bool
		if b, ok = e.value(b, o, name, o.Get(name)); !ok {
			b = append(b, "null"...)
		}
		e.room(b, 0)
	}
	if n > 0 {
		b = e.newline(b, -1)
	}
	return append(b, ']')
}

func (e *encoder) members(b []byte, o *goja.Object) []byte {
	keys := e.only
	if !e.hasOnly {
		keys = o.Keys()
	}
	b = append(b, '{')
	first := true
	for _, k := range keys {
		v := o.Get(k)
		start := len(b)
		if !first {
			b = append(b, ',')
		}
		b = e.newline(b, 0)
		b = e.text(b, k)
		b = append(b, ':')
		if e.indent != "" {
			b = append(b, ' ')
		}
		var ok bool
		if b, ok = e.value(b, o, k, v); !ok {
			b = b[:start]
			continue
		}
		first = false
	}
	if !first {
		b = e.newline(b, -1)
	}
	return append(b, '}')
}

// newline begins a line within the innermost holder if lines are asked for.
func (e *encoder) newline(b []byte, shift int) []byte {
	if e.indent == "" {
		return b
	}
	n := len(e.holders) + shift
	e.room(b, n*len(e.indent))
	b = append(b, '\n')
	for range n {
		b = append(b, e.indent...)
	}
	return b
}

// decimals are the names of an array's first elements.
var decimals = func() (d [256]string) {
	for i := range d {
		d[i] = strconv.Itoa(i)
	}
	return d
}()

func decimal(i int) string {
	if i < len(decimals) {
		return decimals[i]
	}
	return strconv.Itoa(i)
}

// lengthOf is an object's length as array functions see it.
func lengthOf(o *goja.Object) int {
	v := o.Get("length")
	if v == nil {
		return 0
	}
	return int(max(v.ToInteger(), 0))
}

const hexDigits = "0123456789abcdef"

// appendPlainString appends a string as JSON.stringify prints it.
func appendPlainString(b []byte, s string) []byte {
	b = append(b, '"')
	for {
		i := strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == '"' || r == '\\' })
		if i < 0 {
			b = append(b, s...)
			return append(b, '"')
		}
		b = append(b, s[:i]...)
		switch c := s[i]; c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\t':
			b = append(b, `\t`...)
		case '\r':
			b = append(b, `\r`...)
		case '\b':
			b = append(b, `\b`...)
		case '\f':
			b = append(b, `\f`...)
		default:
			b = append(b, `\u00`...)
			b = append(b, hexDigits[c>>4], hexDigits[c&15])
		}
		s = s[i+1:]
	}
}

// must returns v, or throws what was thrown.
func (m *machine) must(v goja.Value, err error) goja.Value {
	if err != nil {
		panic(err)
	}
	return v
}
