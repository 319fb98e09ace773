package script

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

func testEngine(t testing.TB) *Engine {
	return New(Options{Log: func(s string) { t.Log(s) }})
}

// mapRows maps a document with one function and returns its rows as text.
func mapRows(t testing.TB, lib, source, doc string) string {
	t.Helper()
	e := testEngine(t)
	m, err := e.NewMapper([]byte(lib), []string{source})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var b strings.Builder
	err = m.Map(context.Background(), []byte(doc), func(_ int, k, v []byte) error {
		fmt.Fprintf(&b, "%s:%s ", k, v)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}

func TestMapForms(t *testing.T) {
	const doc = `{"_id":"a","_rev":"1-x","n":2,"f":1.5,"big":100.0,"tags":["x","y"],"o":{"b":{"c":[1,2]}},"u":"ü\n\u001F"}`
	for _, tt := range [][2]string{
		{`function (doc) { emit(); }`, `null:null`},
		{`function (doc) { emit('k'); }`, `"k":null`},
		{`function (doc) { emit(undefined, undefined); emit(null, null); }`, `null:null null:null`},
		{`function (doc) { emit(1, NaN); emit(2, Infinity); emit(3, 1.50); emit(4, -0); }`, `1:null 2:null 3:1.5 4:0`},
		{`function (doc) { emit(5, 1e3); emit(6, 9007199254740991); }`, `5:1000 6:9007199254740991`},
		{`function (doc) { emit(1e21, 1e-7); emit(1e20, 123456789012345680000); }`, `1e+21:1e-7 100000000000000000000:123456789012345680000`},
		{`function (doc) { emit('d', new Date(0)); }`, `"d":"1970-01-01T00:00:00.000Z"`},
		{`function (doc) { emit('f', {a: function () {}, b: undefined, c: [undefined, function () {}]}); }`, `"f":{"c":[null,null]}`},
		{`function (doc) { emit([1, [2, {a: [3]}]], {x: {y: [true, false, null]}}); }`, `[1,[2,{"a":[3]}]]:{"x":{"y":[true,false,null]}}`},
		{`function (doc) { emit(doc._id, [doc._rev, doc._attachments === undefined, typeof doc._local_seq]); }`, `"a":["1-x",true,"undefined"]`},
		{`function (doc) { emit(doc.o, doc.tags); }`, `{"b":{"c":[1,2]}}:["x","y"]`},
		{`function (doc) { emit(doc.u, doc.big); }`, `"ü\n\u001F":100`},
		{`doc => emit(doc.n)`, `2:null`},
		{`(doc) => { emit('arrow', 1); }`, `"arrow":1`},
		{`function named(doc) { emit(1, typeof named); };`, `1:"function"`},
		{"  // a comment\n  function (doc) { emit('comment', 1); }\n", `"comment":1`},
		{`var x = 7; (function (doc) { emit(x); })`, `7:null`},
		{`function (doc) { for (i = 0; i < 2; i++) emit(i); }`, `0:null 1:null`},
		{`function (doc) { var o = {n: 1}; emit(1, o); o.n = 2; emit(2, o); }`, `1:{"n":2} 2:{"n":2}`},
		{`function (doc) { 'use strict'; try { doc.extra = 1; } catch (e) {} emit(doc._id, doc.extra === undefined); }`, `"a":true`},
		{`function (doc) { doc.n = 5; doc.tags[0] = 1; delete doc.n; emit(doc.n, doc.tags); }`, `2:["x","y"]`},
		{`function (doc) { emit('before'); throw('no'); }`, ``},
		{`function (doc) { emit(doc.x.y); }`, ``},
		{`function (doc) { var a = {}; a.a = a; emit(a); }`, ``},
		{`function (doc) { doc.tags.sort(); emit(1); }`, ``},
		{`function (doc) { emit(doc.tags.slice().reverse(), Object.keys(doc).length); }`, `["y","x"]:8`},
		{`function (doc) { emit([Array.isArray(doc.tags), isArray(doc.tags), doc.tags instanceof Array, doc.o instanceof Object, isArray(doc)]); }`, `[true,true,true,true,false]:null`},
		{`function (doc) { emit(sum([1, 2, 3.5]), sum([])); }`, `6.5:0`},
		{`function (doc) { emit(toJSON({a: [1, null, 'x']}), [toJSON('ü'), toJSON(null)]); }`, `"{\"a\":[1,null,\"x\"]}":["\"ü\"","null"]`},
		{`function (doc) { emit(typeof log('to the log'), typeof index('x')); }`, `"undefined":"undefined"`},
		{`function (doc) { emit([typeof eval, typeof Proxy, typeof BigInt, typeof setTimeout, typeof process, typeof fetch]); }`, `["undefined","undefined","undefined","undefined","undefined","undefined"]:null`},
		{`function (doc) { emit(Date.now(), new Date()); }`, `0:"1970-01-01T00:00:00.000Z"`},
		{`function (doc) { try { new Function('return 1')(); } catch (e) { emit(e.name); } }`, `"TypeError":null`},
		{`function (doc) { try { (function () {}).constructor('return 1')(); } catch (e) { emit(e.name, (function () {}) instanceof Function); } }`, `"TypeError":true`},
	} {
		if got := mapRows(t, "", tt[0], doc); got != tt[1] {
			t.Errorf("%s\n got %s\nwant %s", tt[0], got, tt[1])
		}
	}
}

func TestMapRequire(t *testing.T) {
	const lib = `{"maths":"exports.twice = function (x) { return 2 * x; }; exports.name = module.id;",
		"deep":{"inner":"var m = require('../maths'); exports.four = function (x) { return m.twice(m.twice(x)); };"},
		"whole":"module.exports = function (x) { return 'w' + x; };",
		"here":"module.exports = require('./maths').name;",
		"a":"exports.x = 1; exports.b = require('./b').y;", "b":"exports.y = require('./a').x + 1;",
		"bad":"syntax error here", "throws":"throw new Error('boom')", "count":"exports.n = 0;"}`
	const doc = `{"_id":"a","n":2}`
	for source, want := range map[string]string{
		`function (doc) { emit(require('views/lib/maths').twice(doc.n)); }`:                                  `4:null`,
		`function (doc) { emit(require('views/lib/deep/inner').four(doc.n)); }`:                              `8:null`,
		`function (doc) { emit(require('views/lib/whole')(doc.n)); }`:                                        `"w2":null`,
		`function (doc) { emit(require('views/lib/here')); }`:                                                `"views/lib/maths":null`,
		`function (doc) { emit(require('views/lib/a').b); }`:                                                 `2:null`,
		`function (doc) { emit(require('views/lib/nope').x); }`:                                              ``,
		`function (doc) { try { require('views/lib/nope'); } catch (e) { emit(e[1], e[2].slice(0, 29)); } }`: `"invalid_require_path":"Object has no property \"nope\""`,
		`function (doc) { try { require('views/lib/deep'); } catch (e) { emit(e[1], e[2]); } }`:              `"invalid_require_path":"Must require a JavaScript string, not: object"`,
		`function (doc) { try { require('./maths'); } catch (e) { emit(e[2]); } }`:                           `"Object has no parent undefined":null`,
		`function (doc) { try { require('views/lib/bad'); } catch (e) { emit(e[1]); } }`:                     `"compilation_error":null`,
		`function (doc) { try { require('views/lib/throws'); } catch (e) { emit(e[2]); } }`:                  `"Module require('views/lib/throws') raised error Error: boom":null`,
		`function (doc) { require('views/lib/count').n++; emit(require('views/lib/count').n); }`:             `1:null`,
	} {
		if got := mapRows(t, lib, source, doc); got != want {
			t.Errorf("%s\n got %s\nwant %s", source, got, want)
		}
	}
}
