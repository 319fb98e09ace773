package api

import (
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const configURL = "/_node/_local/_config"

// value reads an answer that is a JSON string.
func (n *node) value(method, path string, body any, headers ...string) string {
	n.Helper()
	var s string
	n.must(method, path, body, headers...).json(n.TB, &s)
	return s
}

// file is the text of the node's configuration file.
func (n *node) file() string {
	n.Helper()
	text, err := os.ReadFile(n.config.Path())
	if err != nil && !os.IsNotExist(err) {
		n.Fatal(err)
	}
	return string(text)
}

func TestConfigRefused(t *testing.T) {
	n := newNode(t)
	for _, tt := range []struct {
		status       int
		name, reason string
		method, path string
		body         any
	}{
		{400, "bad_request", "Invalid configuration section", "PUT", "/a%5Bb/k", `"v"`},
		{400, "bad_request", "Invalid configuration section", "PUT", "/a%0Ab/k", `"v"`},
		{400, "bad_request", "Invalid configuration key", "PUT", "/s/a%5Db", `"v"`},
		{400, "bad_request", "Invalid configuration key", "PUT", "/s/%23k", `"v"`},
		{400, "bad_request", "Invalid configuration value", "PUT", "/s/k", `"a\nb"`},
		{400, "bad_request", "a JSON string expected", "PUT", "/s/k", `["v"]`},
		{400, "bad_request", "invalid UTF-8 JSON", "PUT", "/s/k", `"v" "w"`},
		{400, "bad_request", "invalid UTF-8 JSON", "PUT", "/s/k", "\"\xff\""},
		{400, "bad_request", "[chttpd_auth] timeout = long: must be a number between 1 and 2147483647", "PUT", "/chttpd_auth/timeout", `"long"`},
		{400, "bad_request", "[chttpd] port = 65536: must lie between 0 and 65535", "PUT", "/chttpd/port", `"65536"`},
		{400, "bad_request", "[chttpd] require_valid_user = yes: must be one of true, false", "PUT", "/chttpd/require_valid_user", `"yes"`},
		{400, "bad_request", "An administrator's password must not be empty.", "PUT", "/admins/ann", `" "`},
		{403, "forbidden", "Config section blacklisted for modification over HTTP API.", "PUT", "/query_servers/cmd", `"/bin/sh"`},
		{403, "forbidden", "Config section blacklisted for modification over HTTP API.", "DELETE", "/os_daemons/x", nil},
		{404, "not_found", "unknown_config_value", "GET", "/uuids/max_count", nil},
		{404, "not_found", "missing", "PUT", "/s/k/more", `"v"`},
		{405, "method_not_allowed", "Only GET,PUT,DELETE allowed", "POST", "/s/k", `"v"`},
		{413, "too_large", "the request entity is too large", "PUT", "/s/k", `"` + strings.Repeat("x", maxConfigValue) + `"`},
	} {
		n.refused(tt.status, tt.name, tt.reason, tt.method, configURL+tt.path, tt.body)
	}
	if text := n.file(); strings.Contains(text, "[s]") || strings.Contains(text, "uuids") {
		t.Errorf("the file has what was refused:\n%s", text)
	}
	// Whoever is no administrator gets none of it.
	for _, path := range []string{"", "/admins", "/admins/admin"} {
		r := n.request("GET", configURL+path, nil)
		r.Header.Del("Authorization")
		res, err := n.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%q: %s", path, res.Status)
		}
	}
}

// TestConfigDoubts: a value that makes no sense is kept where its default does no harm.
func TestConfigDoubts(t *testing.T) {
	n := newNode(t)
	n.must("PUT", configURL+"/uuids/max_count", `"many"`)
	if v := n.value("GET", configURL+"/uuids/max_count", nil); v != "many" || !strings.Contains(n.file(), "max_count = many") {
		t.Errorf("%q, %s", v, n.file())
	}
	n.must("GET", "/_uuids?count=1000", nil)
	n.must("POST", configURL+"/_reload", nil)
}

// TestConfigInfiniteDocuments: documents may be as long as they like.
func TestConfigInfiniteDocuments(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", configURL+"/couchdb/max_document_size", `"infinity"`)
	n.must("PUT", "/db/doc", `{"a":1}`)
	n.must("PUT", "/db/_security", `{}`)
	n.must("POST", "/db/_bulk_get", `{"docs":[{"id":"doc"}]}`, "Content-Type: application/json")
	n.must("POST", "/db/_bulk_docs", `{"docs":[{"_id":"x"}]}`, "Content-Type: application/json")
	n.must("POST", "/db/_find", `{"selector":{}}`, "Content-Type: application/json")
}

// TestConfigSmallDocuments: a limit of documents that is too small can be put right again.
func TestConfigSmallDocuments(t *testing.T) {
	n := newNode(t)
	n.must("PUT", configURL+"/couchdb/max_document_size", `"1"`)
	if old := n.value("PUT", configURL+"/couchdb/max_document_size", `"8000000"`); old != "1" {
		t.Error(old)
	}
}

func TestConfigSecrets(t *testing.T) {
	n := newNode(t)
	n.must("PUT", configURL+"/chttpd_auth/secret", `"abc123"`)
	n.must("PUT", configURL+"/jwt_keys/hmac:_default", `"YWJjMTIz"`)
	n.must("PUT", configURL+"/jwt_keys/rsa:a", `"public"`)
	var all map[string]map[string]string
	n.must("GET", configURL, nil).json(t, &all)
	if s := all["chttpd_auth"]["secret"]; s != "****" {
		t.Errorf("%q", s)
	}
	if k := all["jwt_keys"]; k["hmac:_default"] != "****" || k["rsa:a"] != "public" {
		t.Errorf("%v", k)
	}
	for _, path := range []string{"/chttpd_auth/secret", "/chttpd_auth", "/jwt_keys"} {
		if a := n.must("GET", configURL+path, nil); strings.Contains(string(a.body), "abc123") || strings.Contains(string(a.body), "YWJjMTIz") {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	n.refused(400, "bad_request", errMaskedValue.Reason, "PUT", configURL+"/chttpd_auth/secret", `"****"`)
	// What is no longer in force is told, as ever.
	if old := n.value("PUT", configURL+"/chttpd_auth/secret", `"other"`); old != "abc123" {
		t.Errorf("%q", old)
	}
}

func TestConfigAdministrators(t *testing.T) {
	n := newNode(t)
	signsIn := func(password string) bool {
		t.Helper()
		r := n.request("GET", "/_active_tasks", nil)
		r.SetBasicAuth("ann", password)
		res, err := n.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	}
	if old := n.value("PUT", configURL+"/admins/ann", `" in the clear "`); old != "" {
		t.Error(old)
	}
	if v := n.value("GET", configURL+"/admins/ann", nil); !strings.HasPrefix(v, "-pbkdf2:") {
		t.Error(v)
	}
	if !signsIn("in the clear") {
		t.Error("ann cannot sign in")
	}
	if text := n.file(); strings.Contains(text, "in the clear") || !strings.Contains(text, "ann = -pbkdf2:") {
		t.Error(text)
	}
	// A hash is taken as it is, as from another node.
	hash := n.value("GET", configURL+"/admins/ann", nil)
	n.must("DELETE", configURL+"/admins/ann", nil)
	n.must("PUT", configURL+"/admins/ann", strconv.Quote(hash), "X-Couch-Persist: false")
	if !signsIn("in the clear") || strings.Contains(n.file(), "ann") {
		t.Error("the hash was not taken, or was written")
	}
	// One that somebody writes into the file is hashed when it is read.
	if err := os.WriteFile(n.config.Path(), []byte(n.file()+"[admins]\nann = by hand\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.must("POST", configURL+"/_reload", nil)
	if !signsIn("by hand") || strings.Contains(n.file(), "by hand") {
		t.Errorf("after a reload:\n%s", n.file())
	}
}

func TestConfigReload(t *testing.T) {
	n := newNode(t)
	n.must("PUT", configURL+"/uuids/max_count", `"5"`)
	n.must("PUT", configURL+"/s/k", `"v"`, "X-Couch-Persist: false")
	good := n.file()
	for bad, want := range map[string]string{
		good + "nonsense\n":                      "mangrove.ini:" + strconv.Itoa(strings.Count(good, "\n")+1) + ": neither a [section]",
		good + "[chttpd]\nport = many\n":         "must be a number",
		strings.Replace(good, "[uuids]", "[", 1): "between brackets",
	} {
		if err := os.WriteFile(n.config.Path(), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		a := n.do("POST", configURL+"/_reload", nil)
		var e errorBody
		a.json(t, &e)
		if a.StatusCode != 400 || !strings.Contains(e.Reason, want) {
			t.Errorf("%d %s, want %q", a.StatusCode, a.body, want)
		}
		if v := n.value("GET", configURL+"/s/k", nil); v != "v" || n.config.Snapshot().UUIDMaxCount != 5 {
			t.Errorf("what was in force is not: %q", v)
		}
	}
	if err := os.WriteFile(n.config.Path(), []byte(strings.Replace(good, "= 5", "= 6", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	n.must("POST", configURL+"/_reload", nil)
	n.refused(404, "not_found", "unknown_config_value", "GET", configURL+"/s/k", nil)
	if n.config.Snapshot().UUIDMaxCount != 6 {
		t.Error("the file was not read")
	}
}

// TestConfigConcurrently: changes and requests that live by them at the same time, and nothing is lost.
func TestConfigConcurrently(t *testing.T) {
	n := newNode(t)
	const writers, rounds = 4, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				path := configURL + "/s" + strconv.Itoa(w) + "/k" + strconv.Itoa(i)
				n.do("PUT", path, `"v"`)
				n.do("PUT", configURL+"/cors/origins", `"http://`+strconv.Itoa(w)+`.example"`)
				n.do("GET", configURL, nil)
				n.do("GET", "/_uuids", nil, "Origin: http://0.example")
				if i%3 == 0 {
					n.do("POST", configURL+"/_reload", nil)
				}
			}
		})
	}
	wg.Wait()
	n.must("POST", configURL+"/_reload", nil)
	for w := range writers {
		var section map[string]string
		n.must("GET", configURL+"/s"+strconv.Itoa(w), nil).json(t, &section)
		if len(section) != rounds {
			t.Errorf("%v", section)
		}
	}
}

func TestNodeNames(t *testing.T) {
	n := newNode(t)
	var who struct{ Name string }
	for _, name := range []string{"_local", "nonode@nohost", "nonode%40nohost"} {
		n.must("GET", "/_node/"+name, nil).json(t, &who)
		if who.Name != nodeName {
			t.Errorf("%s: %q", name, who.Name)
		}
		n.must("GET", "/_node/"+name+"/_config/couchdb", nil)
	}
	n.refused(404, "not_found", "no such node: x@y", "GET", "/_node/x@y", nil)
	n.refused(404, "not_found", "no such node: x@y", "PUT", "/_node/x@y/_config/s/k", `"v"`)
	n.refused(404, "not_found", "no such node: x@y", "POST", "/_node/x@y/_config/_reload", nil)
	n.refused(400, "bad_request", "Incomplete path to _node request", "GET", "/_node", nil)
}
