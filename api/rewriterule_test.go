package api

import (
	"errors"
	"testing"
)

func TestRewriteRules(t *testing.T) {
	tests := []struct {
		name   string
		rules  string
		method string
		path   string
		query  string
		want   string // path?query; empty: no rule fits
	}{
		{"fixed", `[{"from":"/a/b","to":"c/d"}]`, "GET", "/a/b", "", "c/d?"},
		{"shorter", `[{"from":"/a/b","to":"c"}]`, "GET", "/a", "", ""},
		{"longer", `[{"from":"/a","to":"c"}]`, "GET", "/a/b", "", ""},
		{"root", `[{"from":"/","to":"index"}]`, "GET", "/", "", "index?"},
		{"empty from", `[{"from":"","to":"index"}]`, "GET", "", "", "index?"},
		{"no from", `[{"to":"x"}]`, "GET", "/any/thing", "", "x?"},
		{"the first counts", `[{"from":"/a","to":"1"},{"from":"/a","to":"2"}]`, "GET", "/a", "", "1?"},
		{"method", `[{"from":"/a","to":"1","method":"PUT"},{"from":"/a","to":"2"}]`, "GET", "/a", "", "2?"},
		{"any method", `[{"from":"/a","to":"1","method":"*"}]`, "DELETE", "/a", "", "1?"},
		{"no object", `[5,"x",null,{"from":"/a","to":"1"}]`, "GET", "/a", "", "1?"},
		{"variable", `[{"from":"/a/:id","to":"_show/x/:id"}]`, "GET", "/a/b%20c", "", "_show/x/b+c?id=b+c"},
		{"an escaped slash stays one", `[{"from":"/a/:id","to":"../../:id"}]`, "GET", "/a/b%2Fc", "", "../../b%2Fc?id=b%2Fc"},
		{"unbound", `[{"from":"/a","to":"x/:id"}]`, "GET", "/a", "", "x/undefined?"},
		{"variable of the query", `[{"from":"/a","to":"x/:id"}]`, "GET", "/a", "id=7", "x/7?id=7"},
		{"star", `[{"from":"/a/*","to":"../../*"}]`, "GET", "/a/b/c", "x=1", "../../b/c?x=1"},
		{"star for nothing", `[{"from":"/a/*","to":"../../*"}]`, "GET", "/a", "", "../..?"},
		{"star of everything", `[{"from":"*","to":"x/*"}]`, "GET", "/", "", "x?"},
		{"own query", `[{"from":"/a","to":"x","query":{"k":"v","n":5,"b":true}}]`, "GET", "/a", "k=other&z=1", "x?k=v&n=5&b=true&z=1"},
		{"keys are JSON", `[{"from":"/a/:k","to":"x","query":{"key":":k","startkey":[":k",1]}}]`, "GET", "/a/v", "", "x?key=%22v%22&startkey=%5B%22v%22%2C1%5D&k=v"},
		{"sent keys stay JSON", `[{"from":"/a","to":"x"}]`, "GET", "/a", "key=%5B1%5D", "x?key=%5B1%5D"},
		{"formats", `[{"from":"/a/:n/:b/:s","to":"x","formats":{"n":"int","b":"bool","s":"int"},"query":{"key":[":n",":b",":s"]}}]`, "GET", "/a/7/TRUE/y", "", "x?key=%5B7%2Ctrue%2C%22y%22%5D&n=7&b=TRUE&s=y"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rules, err := rewriteRules([]byte(test.rules), true)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if path, query, ok := rewrite(rules, test.method, pathParts(test.path), pairs(test.query)); ok {
				got = path + "?" + query
			}
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
	for text, want := range map[string]*Error{
		`[{"from":"/a"}]`:                              errNoRewriteTarget,
		`[{"from":"/a","to":"../../../_all_dbs"}]`:     errInsecureRewrite,
		`[{"from":"/../../../x","to":"a"}]`:            errInsecureRewrite,
		`[{"from":"/a","to":"x"},{"from":"/","to":5}]`: errNoRewriteTarget,
	} {
		if _, err := rewriteRules([]byte(text), true); !errors.Is(err, want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := rewriteRules([]byte(`[{"from":"/a","to":"../../../_all_dbs"}]`), false); err != nil {
		t.Errorf("out of the database, where that is allowed: %v", err)
	}
}

func TestResolvePath(t *testing.T) {
	for path, want := range map[string]string{
		"": "/db/_design/d", "x": "/db/_design/d/x", "../../a": "/db/a", "./x//y/": "/db/_design/d/x/y",
		"../../../_all_dbs": "/_all_dbs", "../../../../..": "/", "/abs": "/db/_design/d/abs", "x/../y": "/db/_design/d/y",
	} {
		if got := resolvePath("/db/_design/d", path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

// FuzzRewrite: no rules and no path make it panic, and where it leads to is a path.
func FuzzRewrite(f *testing.F) {
	f.Add(`[{"from":"/a/:id/*","to":"../../:id/*","query":{"key":[":id","*"]},"formats":{"id":"int"}}]`, "/a/5/b", "key=1&x=2")
	f.Add(`[{"to":"*","query":{"a":{"b":":c"}},"method":5}]`, "/", "a")
	f.Fuzz(func(t *testing.T, text, path, query string) {
		rules, err := rewriteRules([]byte(text), false)
		if err != nil {
			return
		}
		to, _, ok := rewrite(rules, "GET", pathParts(path), pairs(query))
		if ok && resolvePath("/db/_design/d", to)[0] != '/' {
			t.Errorf("%q", to)
		}
	})
}
