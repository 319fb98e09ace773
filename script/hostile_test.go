package script

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestRunaways runs functions that do not end, or take all memory: each must end
// in an error soon, and the mapper go on with the next document.
func TestRunaways(t *testing.T) {
	const timeout, memory, any = "timeout", "memory", "any"
	for source, want := range map[string]string{
		`function () { for (;;); }`:                                                                            timeout,
		`function () { try { for (;;); } finally { for (;;); } }`:                                              timeout,
		`function () { for (;;) try { for (;;); } catch (e) {} }`:                                              timeout,
		`function (doc) { if (doc.x) return; (function f() { f(); })(); }`:                                     memory,
		`function () { function f() { [1].forEach(f); } f(); }`:                                                memory,
		`function () { function f() { return JSON.stringify({toJSON: f}); } f(); }`:                            memory,
		`function () { var o = {get x() { return this.x; }}; o.x; }`:                                           memory,
		`function () { (async function f() { for (;;) await 1; })(); }`:                                        timeout,
		`function () { /^(a+)+$(?=x)/.test('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!'); }`: timeout,
		`function () { /(x+x+)+y\1/.test(new Array(5000).join('x')); }`:                                        timeout,
		`function () { var s = 'x'; for (;;) s += s; }`:                                                        memory,
		`function () { var s = 'ü'; for (;;) s = s + s; }`:                                                     memory,
		`function () { var a = []; for (;;) a.push({x: 1, y: [a.length]}); }`:                                  memory,
		`function () { var a = []; for (;;) a.push(a.slice()); }`:                                              memory,
		`function () { var s = 'x'.repeat(1e6), a = []; for (;;) a.push(s.split('')); }`:                       memory,
		`function () { for (;;) emit(1, 1); }`:                                                                 memory,
		`function () { for (var i = 0; i < 200; i++) emit(i, 'x'.repeat(1e6)); }`:                              memory,
		`function () { var s = 'x'.repeat(1e6); for (var i = 0; i < 200; i++) emit(i, s); }`:                   memory,
		`function () { var s = 'x'.repeat(1e6); for (;;) log(s); }`:                                            memory,
		`function () { var a = ['x']; for (var i = 0; i < 30; i++) a = [a, a, a, a]; emit(a); }`:               memory,
		`function () { var a = {get x() { return {y: a}; }}; emit(a); }`:                                       any,
	} {
		t.Run("", func(t *testing.T) {
			e := New(Options{Time: 500 * time.Millisecond, Memory: 32 << 20})
			m, err := e.NewMapper(nil, []string{source, `function (doc) { emit(doc.x); }`})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			start := time.Now()
			err = m.Map(background, []byte(`{"_id":"a"}`), func(int, []byte, []byte) error { return nil })
			took := time.Since(start)
			var se *Error
			// On a slow machine time may run out before memory does.
			if want != any && (!errors.As(err, &se) || se.Kind != Timeout && (se.Kind != Memory || want == timeout)) {
				t.Errorf("%s: %v", source, err)
			}
			if took > 10*time.Second {
				t.Errorf("%s took %v", source, took)
			}
			runtime.GC()
		})
	}
}

// TestRefusals calls builtins with what would be too much for one step.
func TestRefusals(t *testing.T) {
	const fine = ""
	for source, want := range map[string]string{
		`'x'.repeat(1e9)`:                                       "RangeError",
		`'x'.repeat(-1)`:                                        "RangeError",
		`'ab'.repeat(2) === 'abab'`:                             fine,
		`'x'.padStart(1e9)`:                                     "RangeError",
		`'x'.padEnd(3, 'y') === 'xyy'`:                          fine,
		`new Array(1e9).join('x')`:                              "RangeError",
		`new Array(3).join('x') === 'xx'`:                       fine,
		`[1, [2, [null, undefined]], 'ü'].join() === '1,2,,,ü'`: fine,
		`String([1, [2]]) === '1,2'`:                            fine,
		`new Array(4e9).forEach(function () {})`:                "RangeError",
		`Array.prototype.indexOf.call({length: 1e15}, 1)`:       "RangeError",
		`Array.from({length: 1e9})`:                             "RangeError",
		`Array.from({length: 2}).length === 2`:                  fine,
		`Math.max.apply(null, {length: 1e9})`:                   "RangeError",
		`Reflect.apply(Math.max, null, {length: 1e9})`:          "RangeError",
		`Math.max.apply(null, [1, 5, 2]) === 5`:                 fine,
		`new ArrayBuffer(1e12)`:                                 "RangeError",
		`new Uint8Array(1e12)`:                                  "RangeError",
		`new Uint8Array([1, 2]).length === 2`:                   fine,
		`new Uint8Array(2) instanceof Uint8Array`:               fine,
		`Uint8Array.from([1, 2])[1] === 2`:                      fine,
		`(function () { var a = []; for (var i = 0; i < 1e5; i++) a = [a]; return String(a); })()`:           "RangeError",
		`(function () { var a = []; for (var i = 0; i < 1e5; i++) a = [a]; return JSON.stringify(a); })()`:   "RangeError",
		`JSON.parse(new Array(1e6).join('['))`:                                                               "RangeError",
		`JSON.parse('[{"a":[1]}]')[0].a[0] === 1`:                                                            fine,
		`(function () { var a = [1]; for (var i = 0; i < 40; i++) a = [a, a]; return a.flat(Infinity); })()`: "stopped",
		`(function () { var a = []; for (var i = 0; i < 40; i++) a = [a, a]; return String(a); })()`:         "RangeError",
		`[1, [2, [3, [4]]]].flat(2).length === 4`:                                                            fine,
		`'x'.repeat(1e5).replace(/x/g, 'y'.repeat(1e5))`:                                                     "RangeError",
		`'x'.repeat(1e5).replace(/x/g, '$` + "`" + `')`:                                                      "RangeError",
		`'x'.repeat(1e5).replaceAll('x', 'y'.repeat(1e5))`:                                                   "RangeError",
		`'x'.repeat(1e6).replace(/x$/g, '[$&]$$$1'.repeat(1e4)).length === 999999 + 1e4 * 6`:                 fine,
		`'abc'.replace(/(b)/, '<$1>') === 'a<b>c'`:                                                           fine,
		`'x'.repeat(1e7).split('')`:                                                                          "RangeError",
		`'x'.repeat(1e7).match(/./g)`:                                                                        "RangeError",
		`[].concat(new Array(4e6), new Array(4e6))`:                                                          "RangeError",
		`[1].concat([2], 3).length === 3`:                                                                    fine,
		`eval('1')`:                                                                                          "ReferenceError",
		`new (Object.getPrototypeOf(async function () {}).constructor)('')`:                                  "TypeError",
		`new (Object.getPrototypeOf(function* () {}).constructor)('')`:                                       "TypeError",
		`(class extends (function () {}).constructor {})`:                                                    fine,
		`new RegExp('('.repeat(1e5))`:                                                                        "SyntaxError",
		`Object.getOwnPropertyNames(globalThis).indexOf('GoError') < 0`:                                      fine,
		`JSON.stringify({a: [1, {b: undefined}], c: new Date(0)}, null, 2) === '{\n  "a": [\n    1,\n    {}\n  ],\n  "c": "1970-01-01T00:00:00.000Z"\n}'`:            fine,
		`JSON.stringify({a: 1, b: {a: 2, c: 3}}, ['a']) === '{"a":1}'`:                                                                                               fine,
		`JSON.stringify({a: 1, b: 'x'}, function (k, v) { return k === 'a' ? undefined : v; }) === '{"b":"x"}'`:                                                      fine,
		`JSON.stringify([new String('x'), new Number(1), new Boolean(false), Symbol('x'), 1e21, '\u001f\u007f"']) === '["x",1,false,null,1e+21,"\\u001f\u007f\\""]'`: fine,
		`JSON.stringify(undefined) === undefined`: fine,
	} {
		e := New(Options{Time: time.Second, Memory: 64 << 20})
		m, err := e.NewMapper(nil, []string{`function () { try { var v = (` + source + `); emit(v === false ? 'false' : ''); } catch (e) { emit(e.name); } }`})
		if err != nil {
			t.Fatal(source, err)
		}
		got := "nothing"
		start := time.Now()
		err = m.Map(background, []byte(`{"_id":"a"}`), func(_ int, k, _ []byte) error {
			got = strings.Trim(string(k), `"`)
			return nil
		})
		if err != nil {
			got = "stopped"
		}
		if got != want && (got != "stopped" || want != "RangeError") {
			t.Errorf("%s: got %q %v, want %q", source, got, err, want)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s took %v", source, took)
		}
		m.Close()
	}
}

func TestSourceSizes(t *testing.T) {
	e := New(Options{})
	for _, source := range []string{
		"function () { return " + strings.Repeat("(", 100_000) + "1" + strings.Repeat(")", 100_000) + "}",
		"function () { return " + strings.Repeat("!", 1_000_000) + "1}",
		"function () { return 1" + strings.Repeat("+1", 1_000_000) + "}",
		"function () { return 2n ** 1000000000n; }",
		strings.Repeat("(", 1_000_000),
		"function () {" + strings.Repeat("a:", 40_000) + ";}",
		"function () { '//'; " + strings.Repeat("a/*,*/:", 20_000) + ";}",
		"function () { '/*'; " + strings.Repeat("a//,\n:", 20_000) + ";}",
		"function () { return " + strings.Repeat("a=>", 80_000) + "1;}",
	} {
		var se *Error
		if err := e.Check(MapFunction, source); !errors.As(err, &se) || se.Kind != Compilation {
			t.Errorf("%.40s: %v", source, err)
		}
	}
	for _, source := range []string{
		"function () { return /[0-9]n/.test('1n'); }",
		"function () { return " + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000) + "}",
		"function () { return 1" + strings.Repeat("+1", 5000) + "}",
		"(function () { return function (doc) {}; })()",
	} {
		if err := e.Check(MapFunction, source); err != nil {
			t.Errorf("%.40s: %v", source, err)
		}
	}
	if err := New(Options{Time: 50 * time.Millisecond}).Check(MapFunction, "(function () { for (;;); })()"); err == nil || err.(*Error).Kind != Timeout {
		t.Error(err)
	}
}

// TestOthersGoOn runs a fine function beside those that run away.
func TestOthersGoOn(t *testing.T) {
	e := New(Options{Time: time.Second, Memory: 32 << 20})
	done := make(chan error)
	bad := []string{`function () { for (;;); }`, `function () { var a = []; for (;;) a.push({x: a.length}); }`, `function () { /^(a+)+$(?=x)/.test('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!'); }`}
	for _, source := range bad {
		go func() {
			m, err := e.NewMapper(nil, []string{source})
			if err == nil {
				defer m.Close()
				err = m.Map(background, []byte(`{}`), func(int, []byte, []byte) error { return nil })
			}
			done <- err
		}()
	}
	m, err := e.NewMapper(nil, []string{`function (doc) { emit(doc.n); }`})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for ended := 0; ended < len(bad); {
		if err := m.Map(background, []byte(`{"n":1}`), func(int, []byte, []byte) error { return nil }); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if err == nil {
				t.Error("a runaway came to a good end")
			}
			ended++
		default:
		}
	}
}

func TestContext(t *testing.T) {
	e := New(Options{Time: time.Minute})
	m, err := e.NewMapper(nil, []string{`function (doc) { while (doc.loop); emit(1); }`})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx, cancel := context.WithCancel(background)
	time.AfterFunc(20*time.Millisecond, cancel)
	if err := m.Map(ctx, []byte(`{"loop":true}`), nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	rows := 0
	if err := m.Map(background, []byte(`{}`), func(int, []byte, []byte) error { rows++; return nil }); err != nil || rows != 1 {
		t.Error(rows, err)
	}
}

// TestMissedMatch lets a call go on for longer than a regular expression may, unnoticed by the watchdog as on a busy
// machine: the match that was given up must not be taken for none.
func TestMissedMatch(t *testing.T) {
	e := New(Options{})
	e.started = time.Now().Add(-time.Hour)
	for name, leave := range map[string]func(m *machine) error{
		"returns": func(*machine) error { return nil },
		"pauses":  func(m *machine) error { m.pause(); return nil },
	} {
		m := (&unit{engine: e}).borrow()
		err := m.run(background, func() error {
			m.since.Add(-int64(regexpTime))
			return leave(m)
		})
		var se *Error
		if !errors.As(err, &se) || se.Kind != Timeout || !m.broken {
			t.Errorf("%s: %v", name, err)
		}
		m.unit.give(m)
	}
}
