package script

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/dop251/goja"
	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/document"
)

// patterns are ways to look at a document; each returns something JSON can print.
var patterns = []string{
	`function (d) { return d; }`,
	`function (d) { return Object.keys(d); }`,
	`function (d) { var r = []; for (var k in d) r.push(k, typeof d[k]); return r; }`,
	`function (d) { return ['a' in d, 'b' in d, 'toString' in d, '0' in d, d.hasOwnProperty('a'), d.hasOwnProperty('toString')]; }`,
	`function (d) { return [d.a, d.b, d.c, d['0'], d[1], d['ü'], d[''], d.missing, d.length]; }`,
	`function (d) { return [d instanceof Object, Array.isArray(d), typeof d, Object.prototype.toString.call(d), String(d)]; }`,
	`function (d) { return [d.constructor === Object, d.toString === Object.prototype.toString, Object.getPrototypeOf(d) === Object.prototype]; }`,
	`function (d) { return JSON.stringify(d); }`,
	`function (d) { return JSON.parse(JSON.stringify(d)); }`,
	`function (d) { return Object.entries(d).map(function (e) { return [e[0], typeof e[1], Array.isArray(e[1])]; }); }`,
	`function (d) { return Object.assign({x: 1}, d); }`,
	`function (d) { return {...d, x: 1}; }`,
	`function (d) { var {a, ...rest} = d; return [a, rest]; }`,
	`function (d) { return d.a === d.a && d.b === d.b; }`,
	`function (d) { try { d.a = 5; } catch (e) {} return [d.a === 5, Object.keys(d)]; }`,
	`function (d) { try { delete d.a; } catch (e) {} return [Object.keys(d)]; }`,
	`function (d) { try { d.fresh = 5; d[7] = 1; } catch (e) {} return [Object.keys(d), d.fresh]; }`,
	`function (d) { 'use strict'; try { d.fresh = 5; return 'set'; } catch (e) { return e.name; } }`,
	`function (d) { 'use strict'; try { d.a = 5; return 'set'; } catch (e) { return e.name; } }`,
	`function (d) { 'use strict'; try { return delete d.a; } catch (e) { return e.name; } }`,
	`function (d) { var n = 0; (function walk(v) { n++; if (v && typeof v === 'object') for (var k in v) walk(v[k]); })(d); return n; }`,
	`function (d) { return (function walk(v) { return Array.isArray(v) ? v.map(walk) : v && typeof v === 'object' ? Object.keys(v).map(function (k) { return [k, walk(v[k])]; }) : v; })(d); }`,
	`function (d) { var l = d.list; return Array.isArray(l) ? [l.length, l.slice(1), l.concat([1]), l.join('|'), String(l), l.indexOf(1), l.indexOf('a'), Object.keys(l), 0 in l, 9 in l, l[0], l[-1], l['0']] : null; }`,
	`function (d) { var l = d.list, r = []; if (Array.isArray(l)) { for (var x of l) r.push(x); r.push([...l].length, l.filter(Boolean), l.map(function (x) { return typeof x; })); } return r; }`,
	`function (d) { var l = d.list; if (!Array.isArray(l)) return 0; return [l.some(function (x) { return x === 1; }), l.every(Boolean), l.reduce(function (a, b) { return a + 1; }, 0), l.includes(null), l.lastIndexOf(1)]; }`,
	`function (d) { var l = d.list; if (!Array.isArray(l)) return 0; try { l.push(1); return l.length; } catch (e) { return e.name; } }`,
	`function (d) { var l = d.list; if (!Array.isArray(l) || l.length < 2) return 0; try { l.sort(); return l; } catch (e) { return e.name; } }`,
	`function (d) { var l = d.list; if (!Array.isArray(l)) return 0; l[0] = 'new'; return l; }`,
	`function (d) { var l = d.list; return Array.isArray(l) && [l instanceof Array, Object.prototype.toString.call(l), JSON.stringify(l), l.constructor === Array, l.hasOwnProperty('length'), l.hasOwnProperty(0)]; }`,
	`function (d) { return Object.values(d).filter(function (v) { return typeof v === 'number'; }).map(function (v) { return [v + 1, v | 0, String(v), 1 / v, v === Math.floor(v)]; }); }`,
	`function (d) { return Object.values(d).filter(function (v) { return typeof v === 'string'; }).map(function (v) { return [v.length, v.charCodeAt(0), v + '!', v.toUpperCase(), v.split(''), v < 'm']; }); }`,
	`function (d) { return Object.getOwnPropertyNames(d).length; }`,
}

var plainNames = []string{"a", "b", "c", "list", "0", "1", "10", "2", "ü", "", "x y", "__proto__x", "length", "constructor2", "q\"uote", "new\nline", "emoji😀"}

func anyValue(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		n := 6
		if depth == 0 {
			n = 4
		}
		switch rapid.IntRange(0, n).Draw(t, "kind") {
		case 0:
			return nil
		case 1:
			return rapid.Bool().Draw(t, "bool")
		case 2:
			return json.Number(rapid.SampledFrom([]string{
				"0", "1", "-1", "42", "1.5", "-0.25", "1e3", "1e21", "1e-7", "123456789012345", "9007199254740993", "100.0", "-0", "-0.0", "123456789012345678901234567890",
			}).Draw(t, "number"))
		case 3, 4:
			return rapid.OneOf(rapid.SampledFrom([]string{"", "a", "ü", "😀", "\u001f\u007f", "\"\\/", "long text with spaces", "\u2028"}), rapid.String()).Draw(t, "string")
		case 5:
			return rapid.SliceOfN(anyValue(depth-1), 0, 5).Draw(t, "array")
		}
		return anyObject(depth-1).Draw(t, "object")
	})
}

func anyObject(depth int) *rapid.Generator[map[string]any] {
	return rapid.MapOfN(rapid.SampledFrom(plainNames), anyValue(depth), 0, 8)
}

// TestLazyAsParsed compares a lazy document with the one that JSON.parse makes.
func TestLazyAsParsed(t *testing.T) {
	u := &unit{engine: New(Options{})}
	parsedVM := goja.New()
	rapid.Check(t, func(t *rapid.T) {
		doc := anyObject(3).Draw(t, "doc")
		if rapid.Bool().Draw(t, "many") {
			for i := range 30 {
				doc["member"+decimal(i)] = i
			}
		}
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(rapid.Bool().Draw(t, "escaped"))
		if indent := rapid.SampledFrom([]string{"", " "}).Draw(t, "indent"); indent != "" {
			enc.SetIndent("", indent)
		}
		if err := enc.Encode(doc); err != nil {
			t.Fatal(err)
		}
		pattern := rapid.SampledFrom(patterns).Draw(t, "pattern")
		mutable := rapid.Bool().Draw(t, "mutable")
		want := parsedResult(t, parsedVM, b.String(), pattern, mutable)
		if got := lazyResult(t, u, b.String(), pattern, mutable); got != want {
			t.Fatalf("%s\n%s\nlazy:   %s\nparsed: %s", pattern, b.String(), got, want)
		}
	})
}

func parsedResult(t *rapid.T, vm *goja.Runtime, doc, pattern string, mutable bool) string {
	v, err := vm.RunString(`(function (text, frozen) {
		function freeze(o) { if (o && typeof o === 'object') { Object.freeze(o); Object.keys(o).forEach(function (k) { freeze(o[k]); }); } return o; }
		var doc = JSON.parse(text); if (frozen) freeze(doc);
		return JSON.stringify((` + pattern + `)(doc)); })`)
	if err != nil {
		t.Fatal(err)
	}
	f, _ := goja.AssertFunction(v)
	out, err := f(goja.Undefined(), vm.ToValue(doc), vm.ToValue(!mutable))
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func lazyResult(t *rapid.T, u *unit, doc, pattern string, mutable bool) string {
	m := u.borrow()
	defer u.give(m)
	var out string
	err := m.run(background, func() error {
		f, err := m.evaluate(pattern)
		if err != nil {
			return err
		}
		v, err := f.call(undefined, m.feed(doc, mutable))
		if err != nil {
			return err
		}
		return m.try(func() {
			out = m.stringify(goja.FunctionCall{Arguments: []goja.Value{v}}).String()
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestCopiedAsEncoded compares what is copied from a document's text with what
// is written from its values.
func TestCopiedAsEncoded(t *testing.T) {
	u := &unit{engine: New(Options{})}
	rapid.Check(t, func(t *rapid.T) {
		raw, err := json.Marshal(anyObject(3).Draw(t, "doc"))
		if err != nil {
			t.Fatal(err)
		}
		text, err := document.Canonical(raw)
		if err != nil {
			t.Skip(err)
		}
		m := u.borrow()
		defer u.give(m)
		err = m.run(background, func() error {
			return m.try(func() {
				copied := string(m.encode(nil, m.feed(string(text), false)))
				encoded := string(m.encode(nil, m.feed(string(text), true)))
				if copied != encoded {
					t.Errorf("%s\ncopied:  %s\nencoded: %s", text, copied, encoded)
				}
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzMap gives any document to any function.
func FuzzMap(f *testing.F) {
	f.Add(`{"_id":"a","n":[1,2.5,"x",{"y":null}]}`, `function (doc) { emit(doc.n, doc); }`)
	f.Add(`{"a":`, `doc => { for (const k in doc) emit(k, doc[k]) }`)
	f.Add(`["\u12`, `function (d) { emit(JSON.stringify(d), d.length); }`)
	f.Add(`{"\`, `var x = 1; (function (d) { emit(Object.keys(d)); d.sort(); })`)
	e := New(Options{Time: 200e6, Memory: 8 << 20})
	f.Fuzz(func(t *testing.T, doc, source string) {
		if e.Check(MapFunction, source) != nil {
			source = `function (doc) { emit(doc, [toJSON(doc), Object.keys(doc)]); }`
		}
		m, err := e.NewMapper(nil, []string{source})
		if err != nil {
			return
		}
		defer m.Close()
		text, err := document.Canonical([]byte(doc))
		valid := err == nil
		if !valid {
			text = []byte(doc)
		}
		err = m.Map(background, text, func(_ int, k, v []byte) error {
			if valid && !json.Valid(k) || valid && !json.Valid(v) {
				t.Errorf("emitted %q, %q", k, v)
			}
			return nil
		})
		if e, ok := err.(*Error); ok && e.Name == "InternalError" && e.Kind == Fault {
			t.Errorf("the engine failed: %v", err)
		}
	})
}
