package api

import (
	"net/http"
	"strings"
	"testing"
)

// allow gives a node a configuration for pages of other origins.
func allow(origins string, more ...string) []option {
	options := []option{setting("chttpd", "enable_cors", "true"), setting("cors", "origins", origins)}
	for _, m := range more {
		id, value, _ := strings.Cut(m, "=")
		section, key, _ := strings.Cut(id, "/")
		options = append(options, setting(section, key, value))
	}
	return options
}

const page = "http://page.example"

func corsOf(h http.Header) string { return h.Get("Access-Control-Allow-Origin") }

func TestCORSOrigins(t *testing.T) {
	for _, tt := range []struct{ origins, origin, want string }{
		{page, page, page},
		{page, page + ":80", ""},
		{page, "HTTP://PAGE.example", ""}, // an origin is compared as it is
		{page, page + ".evil.example", ""},
		{page, "null", ""},
		{"http://a.example,  " + page + " ,", page, page},
		{"app://obsidian.md,capacitor://localhost", "capacitor://localhost", "capacitor://localhost"},
		{"*", page, page},
		{"*", "null", "null"},
		{"", page, ""},
	} {
		n := newNode(t, allow(tt.origins)...)
		a := n.do("GET", "/", nil, "Origin: "+tt.origin)
		if got := corsOf(a.Header); got != tt.want {
			t.Errorf("%q asked by %q: %q", tt.origins, tt.origin, got)
		}
		if !strings.Contains(strings.Join(a.Header.Values("Vary"), ","), "Origin") {
			t.Errorf("caches are not told: %v", a.Header)
		}
	}
}

func TestCORSPreflight(t *testing.T) {
	n := newNode(t, allow(page, "cors/credentials=true", "cors/methods=GET, PUT", "cors/headers=X-Mine, Content-Type", "cors/max_age=42")...)
	n.must("PUT", "/d", nil)
	for _, tt := range []struct {
		headers []string
		good    bool
	}{
		{[]string{"Access-Control-Request-Method: PUT"}, true},
		{[]string{"Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-mine,CONTENT-TYPE"}, true},
		{[]string{"Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-mine, authorization"}, false},
		{[]string{"Access-Control-Request-Method: put"}, false},
		{[]string{"Access-Control-Request-Method: DELETE"}, false},
		{nil, false},
	} {
		r := n.request("OPTIONS", "/d/doc", nil, append(tt.headers, "Origin: "+page)...)
		r.Header.Del("Authorization")
		res, err := n.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		h := res.Header
		if corsOf(h) != page || h.Get("Access-Control-Allow-Credentials") != "true" {
			t.Errorf("%v: %v", tt.headers, h)
		}
		if !tt.good {
			if res.StatusCode != 401 || h.Get("Access-Control-Allow-Methods") != "" || h.Get("Access-Control-Max-Age") != "" {
				t.Errorf("%v: %s %v", tt.headers, res.Status, h)
			}
			continue
		}
		if res.StatusCode != 204 || h.Get("Access-Control-Allow-Methods") != "GET, PUT" || h.Get("Access-Control-Max-Age") != "42" ||
			h.Get("Access-Control-Allow-Headers") != r.Header.Get("Access-Control-Request-Headers") {
			t.Errorf("%v: %s %v", tt.headers, res.Status, h)
		}
	}
}

func TestCORSHosts(t *testing.T) {
	n := newNode(t, allow(page, "cors:http://other.example/origins=http://o.example", "cors:other.example/exposed_headers=X-One, ETag", "cors:free.example/origins=*", "cors:free.example/credentials=true")...)
	get := func(host, origin string) http.Header {
		t.Helper()
		r := n.request("GET", "/", nil, "Origin: "+origin)
		r.Host = host
		res, err := n.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.Header
	}
	for _, tt := range []struct{ host, origin, want string }{
		{"127.0.0.1:5984", page, page},
		{"FREE.example:5984", "http://any.example", "http://any.example"},
		{"free.example", page, page},
		{"127.0.0.1", "http://any.example", ""},
	} {
		if got := corsOf(get(tt.host, tt.origin)); got != tt.want {
			t.Errorf("%s asked by %s: %q", tt.host, tt.origin, got)
		}
	}
	if h := get("free.example", page); h.Get("Access-Control-Allow-Credentials") != "true" {
		t.Error(h)
	}
	if h := get("127.0.0.1", page); h.Get("Access-Control-Allow-Credentials") != "" {
		t.Error(h)
	}
}

// TestCORSOnFailures: pages see why they are refused, whatever the failure.
func TestCORSOnFailures(t *testing.T) {
	n := newNode(t, allow(page)...)
	for path, status := range map[string]int{"/none": 404, "/_all_dbs?limit=x": 400, "/_node": 400} {
		if a := n.do("GET", path, nil, "Origin: "+page); a.StatusCode != status || corsOf(a.Header) != page || a.Header.Get("Access-Control-Expose-Headers") == "" {
			t.Errorf("%s: %s %v", path, a.Status, a.Header)
		}
	}
	if a := n.do("GET", "/", nil, "Origin: "+page, "Authorization: Basic bm9ib2R5OnB3"); a.StatusCode != 401 || corsOf(a.Header) != page {
		t.Errorf("%s %v", a.Status, a.Header)
	}
}

// TestCORSInHeaders: nothing a client sends can end a header and begin another.
func TestCORSInHeaders(t *testing.T) {
	n := newNode(t, allow("*")...)
	a := n.do("OPTIONS", "/", nil, "Origin: http://a.example\tx: y", "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: accept,\taccept")
	if a.Header.Get("x") != "" || a.StatusCode != 204 {
		t.Errorf("%s %v", a.Status, a.Header)
	}
}
