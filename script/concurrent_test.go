package script

import (
	"fmt"
	"sync"
	"testing"
)

func TestReduce(t *testing.T) {
	e := testEngine(t)
	keys := [][]byte{[]byte(`["a","1"]`), []byte(`[["b",2],"2"]`)}
	values := [][]byte{[]byte(`1`), []byte(`2.5`)}
	for source, want := range map[string]string{
		`function (k, v) { return sum(v); }`:                                                 `3.5 3.5`,
		`function (k, v, r) { return [k, v, r]; }`:                                           `[[["a","1"],[["b",2],"2"]],[1,2.5],false] [null,[1,2.5],true]`,
		`_ => undefined`:                                                                     `null null`,
		`function () { throw('no'); }`:                                                       `null null`,
		`function (k, v) { return v.nothing.here; }`:                                         `null null`,
		`function (k, v) { return Math.max.apply(null, v); }`:                                `2.5 2.5`,
		`function (k, v) { v.push(4); v.sort().reverse(); return v; }`:                       `[4,2.5,1] [4,2.5,1]`,
		`function (k, v, r) { return r ? v.length : k.map(function (x) { return x[1]; }); }`: `["1","2"] 2`,
		`function (k, v) { return Date.now(); }`:                                             `0 0`,
		`function () { throw('fatal_error'); }`:                                              `fault|map_runtime_error|function raised 'fatal_error' fault|map_runtime_error|function raised 'fatal_error'`,
		`function () { throw(['fatal', 'mine', 'why']); }`:                                   `fault|mine|why fault|mine|why`,
		`function (k, v) { return (function f() { return f(); })(); }`:                       `memory|InternalError|too much recursion memory|InternalError|too much recursion`,
	} {
		r, err := e.NewReducer(nil, source)
		if err != nil {
			t.Fatal(err)
		}
		first, err1 := r.Reduce(background, keys, values)
		again, err2 := r.Rereduce(background, values)
		if got := outcomeOf(string(first), err1) + " " + outcomeOf(string(again), err2); got != want {
			t.Errorf("%s\n got %s\nwant %s", source, got, want)
		}
	}
	if _, err := e.NewReducer(nil, `'r'`); outcomeOf("", err) != `compilation|compilation_error|Expression does not eval to a function. ('r')` {
		t.Error(err)
	}
}

// TestTogether uses one design document and one reducer from many goroutines.
func TestTogether(t *testing.T) {
	e := New(Options{})
	r, err := e.NewReducer(nil, `function (k, v) { return sum(v); }`)
	if err != nil {
		t.Fatal(err)
	}
	d := design(t, map[string]any{
		"validate_doc_update": "function (d) { if (!d.ok) throw({forbidden: require('lib/why').text}); }",
		"lib":                 map[string]any{"why": "exports.text = 'because';"},
		"filters":             map[string]any{"f": "function (doc, req) { return doc.n % 2; }"},
	})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			m, err := e.NewMapper(nil, []string{byTag, byAuthor})
			if err != nil {
				t.Error(err)
				return
			}
			defer m.Close()
			for i := range 30 {
				n := g*100 + i
				sum, err := r.Reduce(background, nil, [][]byte{fmt.Append(nil, n), []byte("1")})
				if err != nil || string(sum) != fmt.Sprint(n+1) {
					t.Error(string(sum), err)
				}
				err = d.Validate(background, fmt.Appendf(nil, `{"ok":%v}`, n%2 == 0), []byte("null"), []byte("{}"), []byte("{}"))
				if (err == nil) != (n%2 == 0) {
					t.Error(n, err)
				}
				pass, err := d.Filter(background, "f", [][]byte{fmt.Appendf(nil, `{"n":%d}`, n)}, []byte("{}"))
				if err != nil || pass[0] != (n%2 == 1) {
					t.Error(n, pass, err)
				}
				rows := 0
				if err := m.Map(background, posts(1)[0], func(int, []byte, []byte) error { rows++; return nil }); err != nil || rows != 4 {
					t.Error(rows, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestIsolation has one design document tamper with what all share.
func TestIsolation(t *testing.T) {
	tamper := `function (doc) { Array.prototype.map = null; Object.prototype.evil = 1; JSON.stringify = emit; emit = 5; leaked = 1; }`
	if got := mapRows(t, "", tamper, `{"_id":"a"}`); got != "" {
		t.Error(got)
	}
	look := `function (doc) { emit([typeof [].map, typeof ({}).evil, toJSON(1), typeof leaked]); }`
	if got := mapRows(t, "", look, `{"_id":"a"}`); got != `["function","undefined","1","undefined"]:null` {
		t.Error(got)
	}
}
