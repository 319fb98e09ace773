package script

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

var background = context.Background()

func design(t testing.TB, members map[string]any) *Design {
	t.Helper()
	members["_id"], members["_rev"] = "_design/d", "1-x"
	b, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	d, err := testEngine(t).NewDesign(b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// outcomeOf is a call's answer as text: the error's kind, name and reason if it
// failed.
func outcomeOf(answer string, err error) string {
	if err == nil {
		return answer
	}
	var e *Error
	if !errors.As(err, &e) {
		return "other: " + err.Error()
	}
	return strings.Join([]string{[]string{"", "compilation", "forbidden", "unauthorized", "notfound", "timeout", "memory", "fault"}[e.Kind], e.Name, e.Reason}, "|")
}

func request(accept, format string, path ...string) []byte {
	m := map[string]any{"method": "GET", "headers": map[string]any{}, "query": map[string]any{}, "path": append([]string{"db", "_design", "d", "_show", "x"}, path...)}
	if accept != "" {
		m["headers"] = map[string]any{"Accept": accept}
	}
	if format != "" {
		m["query"] = map[string]any{"format": format}
	}
	b, _ := json.Marshal(m)
	return b
}

func TestValidate(t *testing.T) {
	for source, want := range map[string]string{
		`function (n) { }`: ``,
		`function (n) { return {forbidden: 'only returned'}; }`:                                              ``,
		`function (n) { throw({forbidden: 'no'}); }`:                                                         `forbidden|forbidden|no`,
		`function (n) { throw({unauthorized: 'who'}); }`:                                                     `unauthorized|unauthorized|who`,
		`function (n) { throw({forbidden: {why: 'because'}}); }`:                                             `forbidden|forbidden|{"why":"because"}`,
		`function (n) { throw({other: 'an object'}); }`:                                                      `fault|unknown_error|an object`,
		`function (n) { throw('a string'); }`:                                                                `fault|unknown_error|a string`,
		`function (n) { throw(5); }`:                                                                         `fault|unknown_error|5`,
		`function (n) { throw(null); }`:                                                                      `fault|unknown_error|null`,
		`function (n) { throw(new Error('an error')); }`:                                                     `fault|Error|an error`,
		`function (n) { throw(['error', 'forbidden', 'list']); }`:                                            `forbidden|forbidden|list`,
		`function (n) { return n.nothing.here; }`:                                                            `fault|TypeError|Cannot read property 'here' of undefined`,
		`function (n, o, u, s) { throw({forbidden: toJSON([Object.keys(n), o, u, s, arguments.length])}); }`: `forbidden|forbidden|[["_id","x"],null,{"name":"me"},{"admins":[]},4]`,
		`function (n) { n.x = 2; n.y = 3; delete n._id; throw({forbidden: toJSON(n)}); }`:                    `forbidden|forbidden|{"x":2,"y":3}`,
		`function (n) { throw({forbidden: require('lib/calc').twice(n.x) + this.lib.calc.length}); }`:        `forbidden|forbidden|49`,
		`function (n) {`: `compilation|compilation_error|SyntaxError: Unexpected token ) (function (n) {)`,
		`42`:             `compilation|compilation_error|Expression does not eval to a function. (42)`,
	} {
		d := design(t, map[string]any{"validate_doc_update": source, "lib": map[string]any{"calc": "exports.twice = function (n) { return n * 2; };"}})
		if !d.HasValidation() {
			t.Error("no validation")
		}
		err := d.Validate(background, []byte(`{"_id":"a","x":1}`), []byte("null"), []byte(`{"name":"me"}`), []byte(`{"admins":[]}`))
		if got := outcomeOf("", err); got != want {
			t.Errorf("%s\n got %s\nwant %s", source, got, want)
		}
	}
}

func TestFilter(t *testing.T) {
	d := design(t, map[string]any{
		"filters": map[string]any{
			"b": "function (doc, req) { return doc.n === 1; }", "none": "function () {}", "truthy": "doc => doc.n",
			"q": "function (doc, req) { return req.query.format === 'x'; }", "type": "function (doc) { return doc.x.y; }",
			"forbidden": "function () { throw({forbidden: 'no'}); }", "odd": 5,
		},
		"views": map[string]any{"big": map[string]any{"map": "function (doc) { if (doc.n > 0) emit(doc._id, null); }"}},
	})
	docs := [][]byte{[]byte(`{"n":0}`), []byte(`{"n":1}`), []byte(`{"n":2}`)}
	for name, want := range map[string]string{
		"b": "[false true false]", "none": "[false false false]", "truthy": "[false true true]", "q": "[true true true]",
		"nope":      "notfound|not_found|missing json key: nope",
		"type":      "fault|TypeError|Cannot read property 'y' of undefined",
		"forbidden": `fault|unnamed_error|({"forbidden":"no"})`,
		"odd":       `compilation|compilation_error|Expression does not eval to a function. (5)`,
	} {
		pass, err := d.Filter(background, name, docs, request("", "x"))
		if got := outcomeOf(fmt.Sprint(pass), err); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{"big": "[false true true]", "nope": "notfound|not_found|missing json key: nope"} {
		pass, err := d.FilterView(background, name, docs)
		if got := outcomeOf(fmt.Sprint(pass), err); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	if _, err := design(t, map[string]any{}).Filter(background, "x", docs, nil); outcomeOf("", err) != "notfound|not_found|missing json key: filters" {
		t.Error(err)
	}
}

func TestShow(t *testing.T) {
	const provides = `function (doc, req) { registerType('foo', 'application/foo', 'application/x-foo');
		provides('html', function () { return '<p>' + doc.t + '</p>'; });
		provides('json', function () { return {json: {t: doc.t}}; });
		provides('foo', function () { return 'foo ' + doc.t; });
		provides('xml', function () { return {body: '<t/>', headers: {'X-Couch-Id': 'x'}}; }); }`
	const doc = `{"_id":"a","_rev":"1-x","t":"T","n":1}`
	tests := []struct{ source, doc, accept, format, want string }{
		{`function (doc) { return 'Hello ' + doc.t; }`, doc, "", "", `{"body":"Hello T"}`},
		{`function (doc) { return doc ? 1 : 'nobody'; }`, "null", "", "", `{"body":"nobody"}`},
		{`function (doc) { return {code: 302, headers: {Location: '/x'}, body: 'moved'}; }`, doc, "", "", `{"code":302,"headers":{"Location":"/x"},"body":"moved"}`},
		{`function (doc) { return {json: {keys: Object.keys(doc)}}; }`, doc, "", "", `{"json":{"keys":["_id","_rev","t","n"]}}`},
		{`function () { start({headers: {'Content-Type': 'text/x'}}); send('one '); send('two '); return 'three'; }`, doc, "", "", `{"body":"one two three","headers":{}}`},
		{`function () { return ''; }`, doc, "", "", `{}`},
		{`function () { }`, doc, "", "", `{}`},
		{`function () { return 5; }`, doc, "", "", `fault|render_error|undefined response from show function`},
		{`function () { throw({error: 'my', reason: 'mine'}); }`, doc, "", "", `fault|my|mine`},
		{`function () { throw(['error', 'my_error', 'my reason']); }`, doc, "", "", `fault|my_error|my reason`},
		{`function () { throw(['error', 'not_found', 'custom not found']); }`, doc, "", "", `notfound|not_found|custom not found`},
		{`function () { throw(['error', 'forbidden', 'keep out']); }`, doc, "", "", `forbidden|forbidden|keep out`},
		{`function () { return require('lib/none').x; }`, doc, "", "", `fault|invalid_require_path|…`},
		{`function (doc) { return doc.x.y; }`, doc, "", "", `fault|render_error|…`},
		{`function (doc) { return doc.x.y; }`, "null", "", "id", `notfound|not_found|document not found`},
		{provides, doc, "text/html", "", `{"body":"<p>T</p>","headers":{"Content-Type":"text/html; charset=utf-8"}}`},
		{provides, doc, "application/json", "", `{"body":"","headers":{"Content-Type":"application/json"}}`},
		{provides, doc, "application/foo", "", `{"body":"foo T","headers":{"Content-Type":"application/foo"}}`},
		{provides, doc, "application/x-foo", "", `{"body":"foo T","headers":{"Content-Type":"application/x-foo"}}`},
		{provides, doc, "text/xml", "", `{"body":"<t/>","headers":{"Content-Type":"text/xml"}}`},
		{provides, doc, "text/html,application/xml;q=0.9", "", `{"body":"<p>T</p>","headers":{"Content-Type":"text/html; charset=utf-8"}}`},
		{provides, doc, "application/json;q=0.1,application/foo", "", `{"body":"foo T","headers":{"Content-Type":"application/foo"}}`},
		{provides, doc, "text/html", "json", `{"body":"","headers":{"Content-Type":"application/json"}}`},
		{provides, doc, "*/*", "", `{"body":"<p>T</p>","headers":{"Content-Type":"text/html; charset=utf-8"}}`},
		{provides, doc, "", "", `{"body":"<p>T</p>","headers":{"Content-Type":"text/html; charset=utf-8"}}`},
		{provides, doc, "image/png", "", `fault|not_acceptable|…`},
	}
	for _, x := range tests {
		d := design(t, map[string]any{"shows": map[string]any{"s": x.source}})
		req := request(x.accept, x.format)
		if x.format == "id" {
			req = request(x.accept, "", "missing")
		}
		r, err := d.Show(background, "s", []byte(x.doc), req)
		got := outcomeOf(string(r.JSON), err)
		if head, ok := strings.CutSuffix(x.want, "…"); ok && strings.HasPrefix(got, head) {
			continue
		}
		if got != x.want {
			t.Errorf("%s %s\n got %s\nwant %s", x.source, x.accept, got, x.want)
		}
	}
}

func TestUpdate(t *testing.T) {
	for source, want := range map[string]string{
		`function (doc) { doc.n++; return [doc, 'counted ' + doc.n]; }`:                              `{"_id":"a","n":2} {"body":"counted 2"}`,
		`function (doc, req) { return [{_id: 'f', by: req.method}, {code: 202, json: {ok: 1}}]; }`:   `{"_id":"f","by":"POST"} {"code":202,"json":{"ok":1}}`,
		`function (doc) { return [null, 'nothing']; }`:                                               ` {"body":"nothing"}`,
		`function (doc) { return [5, {}]; }`:                                                         ` {}`,
		`function (doc) { doc[7] = 1; doc.z = [1]; doc.z.push(2); delete doc.n; return [doc, '']; }`: `{"7":1,"_id":"a","z":[1,2]} {"body":""}`,
		`function (doc) { return [null, 5]; }`:                                                       `fault|render_error|undefined response from update function`,
		`function (doc) { throw({error: 'my_error', reason: 'my reason'}); }`:                        `fault|my_error|my reason`,
	} {
		d := design(t, map[string]any{"updates": map[string]any{"u": source}})
		doc, r, err := d.Update(background, "u", []byte(`{"_id":"a","n":1}`), []byte(`{"method":"POST"}`))
		if got := outcomeOf(string(doc)+" "+string(r.JSON), err); got != want {
			t.Errorf("%s\n got %s\nwant %s", source, got, want)
		}
	}
	d := design(t, map[string]any{"updates": map[string]any{"u": "function () { }", "f": "function () { throw({forbidden: 'no'}); }"}})
	if _, _, err := d.Update(background, "u", []byte("null"), []byte(`{"method":"POST"}`)); !strings.HasPrefix(outcomeOf("", err), "fault|render_error|") {
		t.Error(err)
	}
	if _, _, err := d.Update(background, "f", []byte("null"), []byte(`{"method":"POST"}`)); !strings.HasPrefix(outcomeOf("", err), `fault|render_error|function raised error: ({"forbidden":"no"})`) {
		t.Error(err)
	}
	if _, _, err := d.Update(background, "u", []byte("null"), []byte(`{"method":"GET"}`)); outcomeOf("", err) != "fault|method_not_allowed|Update functions do not allow GET" {
		t.Error(err)
	}
}

func TestRewrite(t *testing.T) {
	for source, want := range map[string]string{
		`function (req) { return '../../a'; }`:                        `{"path":"../../a","method":"GET"}`,
		`function (req) { return {path: '_view/n', query: {x: 5}}; }`: `{"path":"_view/n","query":{"x":5}}`,
		`function (req) { return null; }`:                             ``,
		`function (req) { throw(['error', 'my_error', 'mine']); }`:    `fault|my_error|mine`,
		`not a function`: `compilation|compilation_error|SyntaxError: Unexpected identifier (not a function)`,
	} {
		d := design(t, map[string]any{"rewrites": source})
		out, err := d.Rewrite(background, []byte(`{"method":"GET","path":["db"]}`))
		if got := outcomeOf(string(out), err); got != want {
			t.Errorf("%s\n got %s\nwant %s", source, got, want)
		}
	}
}

// recorder is a ListSink.
type recorder struct {
	b   strings.Builder
	err error
}

func (r *recorder) Start(response []byte) error { r.b.WriteString(string(response) + " "); return nil }
func (r *recorder) Send(chunk []byte) error     { r.b.Write(chunk); return r.err }

func listRows(rows ...string) func() ([]byte, bool, error) {
	return func() ([]byte, bool, error) {
		if len(rows) == 0 {
			return nil, false, nil
		}
		row := rows[0]
		rows = rows[1:]
		return []byte(row), true, nil
	}
}

func TestList(t *testing.T) {
	for source, want := range map[string]string{
		`function (head, req) { var row; start({headers: {'Content-Type': 'text/plain'}}); while (row = getRow()) { send(row.key + '=' + toJSON(row.value) + ';'); } return 'end'; }`: `{"headers":{"Content-Type":"text/plain"}} 0="a";1="b";end`,
		`function (head) { send(toJSON(head)); while (getRow()) {} }`:                                            `{"headers":{}} {"total_rows":2}`,
		`function () { return 'no rows read'; }`:                                                                 `{"headers":{}} no rows read`,
		`function () { start({code: 201}); return 'made'; }`:                                                     `{"code":201,"headers":{}} made`,
		`function () { provides('csv', function () { var row; while (row = getRow()) send(row.key + ','); }); }`: `{"headers":{"Content-Type":"text/csv"}} 0,1,`,
		`function () { throw(['error', 'my', 'mine']); }`:                                                        `fault|my|mine`,
		`function () { getRow(); getRow(); getRow(); return getRow() === null; }`:                                `{"headers":{}} true`,
	} {
		d := design(t, map[string]any{"lists": map[string]any{"l": source}})
		var r recorder
		err := d.List(background, "l", []byte(`{"total_rows":2}`), request("", ""), listRows(`{"key":0,"value":"a"}`, `{"key":1,"value":"b"}`), &r)
		if got := outcomeOf(r.b.String(), err); got != want {
			t.Errorf("%s\n got %s\nwant %s", source, got, want)
		}
	}
	d := design(t, map[string]any{"lists": map[string]any{"l": `function () { try { while (getRow()) send('x'); } catch (e) {} }`}})
	r := recorder{err: errors.New("gone")}
	if err := d.List(background, "l", []byte(`{}`), request("", ""), listRows(`1`, `2`), &r); err != r.err {
		t.Errorf("a sink's error comes back as %v", err)
	}
}
