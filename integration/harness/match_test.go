package harness

import (
	"strings"
	"testing"
)

func mustDecode(t *testing.T, s string) any {
	t.Helper()
	v, err := decodeJSON([]byte(s))
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return v
}

func TestCompareValues(t *testing.T) {
	tests := []struct {
		name, want, got string
		path            string // of the only difference, "" for none
	}{
		{"equal", `{"a":[1,"x",null,true]}`, `{"a":[1,"x",null,true]}`, ""},
		{"member order is free", `{"a":1,"b":2}`, `{"b":2,"a":1}`, ""},
		{"nested value", `{"rows":[{},{"value":{"rev":"1-a"}}]}`, `{"rows":[{},{"value":{"rev":"1-b"}}]}`, "$.rows[1].value.rev"},
		{"odd member name", `{"a b":1}`, `{"a b":2}`, `$["a b"]`},
		{"missing member", `{"a":1,"b":2}`, `{"a":1}`, "$.b"},
		{"missing member that may be anything", `{"a":"<<any>>"}`, `{}`, "$.a"},
		{"member too many", `{"a":1}`, `{"a":1,"b":2}`, "$.b"},
		{"array too short", `[1,2]`, `[1]`, "$[1]"},
		{"array too long", `[1]`, `[1,2]`, "$[1]"},
		{"array order counts", `[1,1,2]`, `[1,1,3]`, "$[2]"},
		{"null is not false", `null`, `false`, "$"},
		{"null is not missing", `{"a":null}`, `{}`, "$.a"},
		{"object for array", `[]`, `{}`, "$"},
		{"array for object", `{}`, `[]`, "$"},
		{"number for text", `"1"`, `1`, "$"},

		{"1 equals 1.0", `1`, `1.0`, ""},
		{"1.0 equals 1", `1.0`, `1`, ""},
		{"1e3 equals 1000", `1e3`, `1000`, ""},
		{"0.1 equals 1e-1", `0.1`, `1e-1`, ""},
		{"1 and 1.5", `1`, `1.5`, "$"},
		{"long integers", `9007199254740993`, `9007199254740992`, "$"},
		{"integer beside double", `9007199254740993`, `9007199254740992.0`, "$"},
		{"overflow", `1e999`, `1e998`, "$"},
		{"large exponents cost nothing", `1e999999999`, `1`, "$"},

		{"any", `"<<any>>"`, `{"x":[]}`, ""},
		{"any is null too", `"<<any>>"`, `null`, ""},
		{"string", `"<<string>>"`, `"x"`, ""},
		{"string is not a number", `"<<string>>"`, `1`, "$"},
		{"number", `"<<number>>"`, `1.5`, ""},
		{"number is not text", `"<<number>>"`, `"1.5"`, "$"},
		{"bool", `"<<bool>>"`, `false`, ""},
		{"bool is not null", `"<<bool>>"`, `null`, "$"},
		{"seq as integer", `"<<seq>>"`, `12`, ""},
		{"seq as text", `"<<seq>>"`, `"12-abc"`, ""},
		{"seq is not a fraction", `"<<seq>>"`, `1.5`, "$"},
		{"seq starts with digits", `"<<seq>>"`, `"x-12"`, "$"},
		{"seq is not null", `"<<seq>>"`, `null`, "$"},
		{"uuid", `"<<uuid>>"`, `"0123456789abcdef0123456789abcdef"`, ""},
		{"uuid too short", `"<<uuid>>"`, `"0123456789abcdef"`, "$"},
		{"uuid in upper case", `"<<uuid>>"`, `"0123456789ABCDEF0123456789abcdef"`, "$"},
		{"rev", `"<<rev>>"`, `"12-ab"`, ""},
		{"rev in quotes", `"<<rev>>"`, `"\"12-ab\""`, ""},
		{"rev in half a quote", `"<<rev>>"`, `"\"12-ab"`, "$"},
		{"rev without generation", `"<<rev>>"`, `"ab"`, "$"},
		{"date", `"<<date>>"`, `"Mon, 02 Jan 2006 15:04:05 GMT"`, ""},
		{"date without time", `"<<date>>"`, `"2006-01-02"`, "$"},
		{"wildcard inside", `"a <<any>> b"`, `"a x y b"`, ""},
		{"wildcard inside stands for something", `"a<<any>>b"`, `"ab"`, "$"},
		{"wildcard inside crosses lines", `"a<<any>>b"`, `"a\nb"`, ""},
		{"around a wildcard all counts", `"a<<any>>b"`, `"axbc"`, "$"},
		{"not regular expressions", `"a.<<any>>"`, `"abc"`, "$"},
		{"not a wildcard", `"<<97>>"`, `"<<98>>"`, "$"},

		{"superset", `{"<<superset>>":{"a":1}}`, `{"a":1,"b":2}`, ""},
		{"superset lacks a member", `{"<<superset>>":{"a":1,"c":2}}`, `{"a":1,"b":2}`, "$.c"},
		{"superset with another value", `{"<<superset>>":{"a":1}}`, `{"a":2,"b":2}`, "$.a"},
		{"superset of an array", `{"<<superset>>":{}}`, `[]`, "$"},
		{"inside a superset all counts", `{"<<superset>>":{"a":{}}}`, `{"a":{"b":1}}`, "$.a.b"},
		{"unordered", `{"<<unordered>>":[1,2,3]}`, `[3,1,2]`, ""},
		{"unordered keeps count", `{"<<unordered>>":[1,1,2]}`, `[1,2,2]`, "$[1]"},
		{"unordered too few", `{"<<unordered>>":[1,2]}`, `[2]`, "$"},
		{"unordered too many", `{"<<unordered>>":[1]}`, `[2,1]`, "$[0]"},
		{"unordered of an object", `{"<<unordered>>":[]}`, `{}`, "$"},
		{"unordered needs the right partners", `{"<<unordered>>":["<<any>>","<<number>>",1]}`, `[1,2,"x"]`, ""},
		{"unordered names the member", `{"<<unordered>>":[{"id":"a","n":1},{"id":"b","n":1}]}`, `[{"id":"b","n":2},{"id":"a","n":1}]`, "$[0].n"},
		{"superset in unordered", `{"<<unordered>>":[{"<<superset>>":{"a":1}},{"a":2}]}`, `[{"a":2},{"a":1,"b":1}]`, ""},
		{"superset in unordered that fails", `{"<<unordered>>":[{"<<superset>>":{"a":1}},{"a":2}]}`, `[{"a":2},{"a":3,"b":1}]`, "$[1].a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want, got := mustDecode(t, tt.want), mustDecode(t, tt.got)
			found := compareValues("$", want, got)
			switch {
			case tt.path == "" && len(found) > 0:
				t.Errorf("differences: %v", found)
			case tt.path != "" && (len(found) != 1 || found[0].Path != tt.path):
				t.Errorf("differences: %v, want one at %s", found, tt.path)
			}
			if matches(want, got) != (tt.path == "") {
				t.Errorf("matches disagrees with the differences %v", found)
			}
		})
	}
}

func TestMatchHeader(t *testing.T) {
	tests := []struct {
		want, got string
		ok        bool
	}{
		{"application/json", "application/json", true},
		{"application/json", "application/json; charset=utf-8", false},
		{"multipart/mixed; boundary=<<any>>", "multipart/mixed; boundary=\"x\"", true},
		{"multipart/mixed; boundary=<<any>>", "multipart/related; boundary=x", false},
		{"multipart/mixed; boundary=<<any>>", "multipart/mixed; boundary=", false},
		{"<<number>>", "12", true},
		{"<<number>>", "twelve", false},
		{"<<bool>>", "true", true},
		{"<<bool>>", "yes", false},
		{"<<rev>>", `"1-ab"`, true},
		{"<<any>>", "", true},
	}
	for _, tt := range tests {
		if got := matchHeader(tt.want, tt.got); got != tt.ok {
			t.Errorf("matchHeader(%q, %q) = %v", tt.want, tt.got, got)
		}
	}
}

func TestDifferencesAreShort(t *testing.T) {
	found := compareValues("$", strings.Repeat("a", 1<<20), strings.Repeat("ä", 1<<20))
	if len(found) != 1 || len(found[0].String()) > 3*shortened {
		t.Errorf("%d differences", len(found))
	}
	want, got := make([]any, 1000), make([]any, 1000)
	for i := range got {
		got[i] = true
	}
	if found := compareValues("$", want, got); len(found) != maxDifferences {
		t.Errorf("%d differences", len(found))
	}
}

func TestPlaceholders(t *testing.T) {
	p := newPlaceholders(Server{Host: "h:1", User: "a@b", Password: "c:d"}, []string{"db", "db2"})
	p.bound["etag"] = `"1-a"`
	db, db2 := p.fixed["db"], p.fixed["db2"]
	if db == db2 || !strings.HasPrefix(db, "conf-") || len(db) != len("conf-")+10 {
		t.Errorf("names %q and %q", db, db2)
	}
	tests := []struct{ in, want string }{
		{"/{db}/x?y={db2}", "/" + db + "/x?y=" + db2},
		{"{base}/ {authbase}/ {hostport}", "http://h:1/ http://a%40b:c%3Ad@h:1/ h:1"},
		{"{{pad:3}}{{etag}}", `xxx"1-a"`},
		{"{{unknown}} {db9} {p} {a:1} {", "{{unknown}} {db9} {p} {a:1} {"},
		{"{{pad:99999999999}}", "{{pad:99999999999}}"},
	}
	for _, tt := range tests {
		if got := p.expand(tt.in); got != tt.want {
			t.Errorf("expand(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
	if got := string(p.expandJSON([]byte(`{"b": 1, "a": "{{etag}}"}`))); got != `{"b": 1, "a": "\"1-a\""}` {
		t.Errorf("expandJSON: %s", got)
	}
	v := p.expandValue(map[string]any{"{db}": []any{"{db2}", true}}).(map[string]any)
	if v[db].([]any)[0] != db2 {
		t.Errorf("expandValue: %v", v)
	}
}

func TestPointer(t *testing.T) {
	v := mustDecode(t, `{"results":[{"seq":"1-a"}],"a/b":{"~":null}}`)
	tests := []struct {
		pointer, want string
		ok            bool
	}{
		{"/results/0/seq", `"1-a"`, true},
		{"/a~1b/~0", "null", true},
		{"/results/1/seq", "", false},
		{"/results/x", "", false},
		{"/results/0/seq/x", "", false},
		{"/none", "", false},
	}
	for _, tt := range tests {
		got, ok := pointer(v, tt.pointer)
		if ok != tt.ok || ok && show(got) != tt.want {
			t.Errorf("pointer %s: %v, %v", tt.pointer, got, ok)
		}
	}
}
