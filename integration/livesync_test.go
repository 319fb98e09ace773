package integration

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// obsidian are the origins of the Obsidian app on desktops, on iOS and on Android.
var obsidian = []string{"app://obsidian.md", "capacitor://localhost", "http://localhost"}

// provisioning is what the Obsidian plug-in Self-hosted LiveSync's published
// script sends to a new CouchDB, in its order.
var provisioning = []struct{ path, value string }{
	{"chttpd/require_valid_user", "true"},
	{"chttpd_auth/require_valid_user", "true"},
	{"httpd/WWW-Authenticate", `Basic realm="couchdb"`},
	{"httpd/enable_cors", "true"},
	{"chttpd/enable_cors", "true"},
	{"chttpd/max_http_request_size", "4294967296"},
	{"couchdb/max_document_size", "50000000"},
	{"cors/credentials", "true"},
	{"cors/origins", strings.Join(obsidian, ",")},
}

func TestLiveSyncProvisioning(t *testing.T) {
	t.Parallel()
	n := harness.Start(t)
	c := n.Client()
	setup := map[string]any{
		"action": "enable_single_node", "username": n.Server().User, "password": n.Server().Password,
		"bind_address": "0.0.0.0", "port": 5984, "singlenode": true,
	}
	for range 2 { // the script may be run again
		res, err := c.Do(t.Context(), http.MethodPost, "/_cluster_setup", setup)
		if err == nil {
			err = res.Decode(http.StatusCreated, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range provisioning {
			res, err := c.Do(t.Context(), http.MethodPut, "/_node/nonode@nohost/_config/"+s.path, s.value)
			if err == nil {
				err = res.Decode(http.StatusOK, nil)
			}
			if err != nil {
				t.Fatalf("%s: %v", s.path, err)
			}
		}
	}
	checkLiveSync(t, n)
	for _, s := range provisioning {
		var value string
		if err := c.Get(t.Context(), "/_node/nonode@nohost/_config/"+s.path, &value); err != nil || value != s.value {
			t.Errorf("%s is %q, %v", s.path, value, err)
		}
	}
	n.Stop()
	file, err := os.ReadFile(filepath.Join(n.Data(), "mangrove.ini"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(file), "= "+n.Server().Password) {
		t.Errorf("the password stands in the file:\n%s", file)
	}
	n.Restart()
	checkLiveSync(t, n)
}

func TestLiveSyncProfile(t *testing.T) {
	t.Parallel()
	t.Run("flag", func(t *testing.T) {
		t.Parallel()
		checkLiveSync(t, harness.Start(t, harness.WithArgs("--profile", "livesync")))
	})
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		checkLiveSync(t, harness.Start(t, harness.WithConfig("[mangrove]\nprofile = livesync\n")))
	})
}

// checkLiveSync does what the plug-in does first, from the origins of the app.
func checkLiveSync(t *testing.T, n *harness.Node) {
	t.Helper()
	c := n.Client()
	const db = "/obsidian-notes"
	do := func(method, path string, body any, headers ...string) *harness.Response {
		t.Helper()
		res, err := c.Do(t.Context(), method, path, body, headers...)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := do("PUT", db, nil); res.Status != 201 && res.Status != 412 {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	for _, origin := range obsidian {
		// A browser asks without credentials; everything else needs them.
		res := anonymous(t, n, "OPTIONS", db+"/_bulk_docs", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type")
		if h := res.Header; res.StatusCode != 204 || h.Get("Access-Control-Allow-Origin") != origin || h.Get("Access-Control-Allow-Credentials") != "true" {
			t.Errorf("%s: preflight: %s %v", origin, res.Status, h)
		}
		res = anonymous(t, n, "GET", db, origin)
		if h := res.Header; res.StatusCode != 401 || h.Get("WWW-Authenticate") != `Basic realm="couchdb"` || h.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%s: without credentials: %s %v", origin, res.Status, h)
		}
		if res := do("GET", db+"/_changes", nil, "Origin", origin); res.Status != 200 || res.Header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%s: %d %v", origin, res.Status, res.Header)
		}
	}
	if res := anonymous(t, n, "OPTIONS", db, "https://elsewhere.example", "Access-Control-Request-Method", "GET"); res.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another origin: %s %v", res.Status, res.Header)
	}
	if res := anonymous(t, n, "GET", "/", ""); res.StatusCode != 401 {
		t.Errorf("anonymous: %s", res.Status)
	}
	// Larger than CouchDB's 8,000,000 bytes.
	large := map[string]any{"_id": "large", "data": strings.Repeat("x", 9_000_000)}
	if res := do("POST", db+"/_bulk_docs", map[string]any{"docs": []any{large}}); res.Status != 201 || strings.Contains(string(res.Body), "too_large") {
		t.Errorf("a large document: %d %s", res.Status, res.Body)
	}
	// The plug-in looks at the configuration to find mistakes in it.
	var all map[string]map[string]string
	if err := c.Get(t.Context(), "/_node/_local/_config", &all); err != nil {
		t.Fatal(err)
	}
	for _, s := range provisioning {
		section, key, _ := strings.Cut(s.path, "/")
		if all[section][key] != s.value {
			t.Errorf("[%s] %s is %q", section, key, all[section][key])
		}
	}
}

// anonymous sends a request without credentials from a page of origin.
func anonymous(t *testing.T, n *harness.Node, method, path, origin string, headers ...string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), replayTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, n.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if origin != "" {
		req.Header.Set("Origin", origin)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res
}
