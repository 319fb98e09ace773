package api

import (
	"net/http"
	"sync"
	"testing"
	"time"
)

// TestViewRunaway checks that functions that would never end, or take all memory, end in an error that says so, and that
// the node serves others meanwhile.
func TestViewRunaway(t *testing.T) {
	n := newNode(t, func(n *node) { n.scripts.Time = 300 * time.Millisecond })
	n.must("PUT", "/db", nil)
	n.bulk("db", numbered(3)...)
	n.must("PUT", "/db/_design/fine", viewDesign(mapN, "_count"))
	const emit = "function (doc) { emit(1, 1); }"
	for name, c := range map[string]struct {
		mapping, reduce string
		status          int
	}{
		"loop":      {"function (doc) { while (true); }", "", 500},
		"caught":    {"function (doc) { while (true) { try { while (true); } catch (e) {} } }", "", 500},
		"emits":     {"function (doc) { var s = new Array(1000).join('x'); for (var i = 0; i < 200000; i++) emit(i, s); }", "", 500},
		"text":      {"function (doc) { var s = 'x'; while (true) s += s; }", "", 500},
		"pattern":   {"function (doc) { emit(1, /^(a+)+$/.test(new Array(50).join('a') + 'b')); }", "", 500},
		"recursion": {"function (doc) { function f() { return f() + 1; } emit(f(), 1); }", "", 500},
		"reduce":    {emit, "function (k, v) { while (true); }", 500},
		"rereduce":  {emit, "function (k, v) { function f() { return f() + 1; } return f(); }", 500},
	} {
		t.Run(name, func(t *testing.T) {
			n.must("PUT", "/db/_design/"+name, viewDesign(c.mapping, c.reduce))
			var asked sync.WaitGroup
			asked.Go(func() {
				a := n.do("GET", "/db/_design/"+name+"/_view/v", nil)
				var body errorBody
				a.json(t, &body)
				if a.StatusCode != c.status && !(name == "pattern" && a.StatusCode == http.StatusOK) {
					t.Errorf("%s: %.300s", a.Status, a.body)
				}
				if a.StatusCode == 500 && (body.Error == "" || body.Error == errInternal.Name || body.Reason == "") {
					t.Errorf("the answer does not tell what is wrong: %s", a.body)
				}
			})
			for range 5 {
				if a := n.do("GET", "/db/_design/fine/_view/v", nil); a.StatusCode != http.StatusOK {
					t.Errorf("another view: %s %s", a.Status, a.body)
				}
			}
			asked.Wait()
			n.must("GET", "/db/_design/"+name+"/_info", nil)
		})
	}
}
