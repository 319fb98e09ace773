package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestParseAnswer(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                         "0 application/json ",
		`{"body":"x"}`:               "0 text/html; charset=utf-8 x",
		`{"json":{"a":1}}`:           "0 application/json {\"a\":1}\n",
		`{"base64":"aGVs\nbG8="}`:    "0 application/binary hello",
		`{"code":418,"body":"x"}`:    "418 text/html; charset=utf-8 x",
		`{"stop":true,"":1}`:         "0 application/json ",
		`{"body":"x","json":[]}`:     "0 application/json []\n",
		`{"code":100}`:               `Invalid data from external server: {<<"code">>,100}`,
		`{"code":1000}`:              `Invalid data from external server: {<<"code">>,1000}`,
		`{"code":"200"}`:             `Invalid data from external server: {<<"code">>,<<"200">>}`,
		`{"base64":"!"}`:             `Invalid data from external server: {<<"base64">>,<<"!">>}`,
		`{"body":5}`:                 `Invalid data from external server: {<<"body">>,5}`,
		`{"headers":"x"}`:            `Invalid data from external server: {<<"headers">>,<<"x">>}`,
		`{"unknown":null}`:           `Invalid data from external server: {<<"unknown">>,null}`,
		`[1]`:                        `Invalid data from external server: {<<"response">>,[1]}`,
		`{"headers":{"A":1,"B":""}}`: "0 application/json ",
	} {
		a, err := parseAnswer([]byte(text))
		got := ""
		var e *Error
		switch {
		case errors.As(err, &e):
			got = e.Reason
		case err != nil:
			got = err.Error()
		default:
			got = fmt.Sprintf("%d %s %s", a.code, a.kind, a.body)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// TestAnswerHeaders: a function cannot break the answer, nor take the place of the server's own headers.
func TestAnswerHeaders(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/_design/d", `{"shows":{ "inject":"function () { return {body: 'x', headers: {'X-A': 'a\\r\\nX-B: b', 'Bad Name': 'x', 'Content-Length': '500', 'Transfer-Encoding': 'chunked', 'Vary': 'none', 'ETag': 'mine', 'content-type': 'text/plain'}}; }", "none":"function () { return {code: 204, body: 'x'}; }"}}`)
	a := n.must("GET", "/db/_design/d/_show/inject", nil)
	for name, want := range map[string]string{"X-A": "a  X-B: b", "X-B": "", "Content-Length": "1", "Vary": "Accept", "Content-Type": "text/plain", "Content-Security-Policy": "sandbox"} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if a.Header.Get("ETag") == "mine" || string(a.body) != "x" {
		t.Errorf("%v %s", a.Header, a.body)
	}
	if a := n.must("GET", "/db/_design/d/_show/none", nil); a.StatusCode != http.StatusNoContent || len(a.body) != 0 {
		t.Errorf("%s %s", a.Status, a.body)
	}
}

// TestNoSecretsForFunctions: what a function is shown it may keep, so that it is shown no passwords.
func TestNoSecretsForFunctions(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/_design/d", `{"updates":{"u":"function (doc, req) { return [null, {json: req}]; }"}}`)
	a := n.must("POST", "/db/_design/d/_update/u", "text", "Cookie: a=b; c=d", "X-Seen: yes")
	text := string(a.body)
	for _, secret := range []string{"Authorization", "Basic ", "YWRtaW46c2VjcmV0"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q in %s", secret, text)
		}
	}
	for _, seen := range []string{`"cookie":{"a":"b","c":"d"}`, `"X-Seen":"yes"`, `"body":"text"`, `"peer":"127.0.0.1"`, `"db_name":"db"`} {
		if !strings.Contains(text, seen) {
			t.Errorf("no %s in %s", seen, text)
		}
	}
}

// TestLists has what transcripts do not reach: many rows, rows left unread, failures before and after the answer began.
func TestLists(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/_design/d", `{"views":{"v":{"map":"function (doc) { emit(doc.n, 1); }"}},"lists":{ "count":"function () { var row, n = 0; start({headers: {'Content-Type': 'text/plain'}}); while (row = getRow()) n++; return String(n); }", "echo":"function () { var row; while (row = getRow()) send(row.id + ','); }", "first":"function () { return getRow().id; }", "throws":"function () { getRow(); throw(['error', 'not_found', 'nothing']); }", "later":"function () { var row, n = 0; while (row = getRow()) { send(new Array(100).join('x')); if (++n === 2000) throw({a: 1}); } }"}}`)
	var docs []any
	for i := range 3000 {
		docs = append(docs, map[string]any{"_id": fmt.Sprintf("%04d", i), "n": i, "text": "line\r\nend"})
	}
	n.must("POST", "/db/_bulk_docs", map[string]any{"docs": docs})
	for path, want := range map[string]string{
		"count/v":                           "3000",
		"count/v?include_docs=true":         "3000",
		"count/_all_docs":                   "3001",
		"count/_all_docs?include_docs=true": "3001",
		"count/_all_docs?limit=0":           "0",
		"first/v?descending=true":           "2999",
		"echo/v?startkey=5&limit=2":         "0005,0006,",
	} {
		if a := n.do("GET", "/db/_design/d/_list/"+path, nil); string(a.body) != want {
			t.Errorf("%s: %s %.200s", path, a.Status, a.body)
		}
	}
	n.refused(http.StatusNotFound, "not_found", "nothing", "GET", "/db/_design/d/_list/throws/v", nil)
	response, err := n.client.Do(n.request("GET", "/db/_design/d/_list/later/v", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.ReadAll(response.Body); err == nil {
		t.Error("a cut answer looks whole")
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(`{"code":200,"headers":{"A":"b"},"base64":"aGVsbG8=","json":{}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if a, err := parseAnswer(text); err == nil {
			a.setHeaders(http.Header{})
		}
	})
}
