package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// logLines takes what a node logs, line by line.
type logLines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// messages returns the lines with a message, parsed.
func (l *logLines) messages(t *testing.T, message string) (found []map[string]any) {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if m["msg"] == message {
			found = append(found, m)
		}
	}
	return found
}

// logged makes the node log into l, everything from level on.
func logged(l *logLines, level slog.Level) option {
	return func(n *node) {
		n.logger = slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: level}))
	}
}

func TestAccessLog(t *testing.T) {
	var l logLines
	n := newNode(t, logged(&l, slog.LevelInfo), setting("log", "access", "true"))
	n.must(http.MethodPut, "/db", nil)
	a := n.must(http.MethodGet, "/db/_all_docs?startkey=%22secret-key%22&token=secret-token", nil, "X-Couch-Request-ID: given-1")
	n.do(http.MethodGet, "/db/none", nil)
	lines := l.messages(t, "request")
	if len(lines) != 3 {
		t.Fatalf("%v", lines)
	}
	got := lines[1]
	for name, want := range map[string]any{
		"request": "given-1", "method": "GET", "path": "/db/_all_docs", "status": 200.0, "bytes": float64(len(a.body)), "user": adminName, "peer": "127.0.0.1",
	} {
		if got[name] != want {
			t.Errorf("%s is %v, not %v", name, got[name], want)
		}
	}
	if d, ok := got["duration"].(float64); !ok || d <= 0 {
		t.Errorf("duration %v", got["duration"])
	}
	if lines[2]["status"] != 404.0 || len(lines[2]["request"].(string)) != 10 {
		t.Errorf("%v", lines[2])
	}
	if strings.Contains(l.String(), "secret-") {
		t.Errorf("a query is in the log:\n%s", l.String())
	}
}

func TestAccessLogLevels(t *testing.T) {
	for access, want := range map[string]bool{"true": true, "warn": true, "debug": false, "false": false} {
		var l logLines
		n := newNode(t, logged(&l, slog.LevelInfo), setting("log", "access", access))
		n.do(http.MethodGet, "/", nil)
		if got := len(l.messages(t, "request")) > 0; got != want {
			t.Errorf("access = %s: %v", access, got)
		}
	}
}

func TestSlowRequests(t *testing.T) {
	var l logLines
	n := newNode(t, logged(&l, slog.LevelInfo), setting("log", "access", "false"), setting("log", "slow_request", "1"))
	n.must(http.MethodPut, "/db", nil) // has to be synced
	n.must(http.MethodGet, "/db/_changes?feed=longpoll&timeout=50", nil)
	for i := 0; len(l.messages(t, "slow request")) == 0; i++ {
		if i == 1000 {
			t.Fatal("no request is slow")
		}
		n.must(http.MethodPost, "/db/_bulk_docs?w=secret-value", `{"docs":[`+strings.Repeat(`{},`, 999)+`{}]}`)
	}
	for _, line := range l.messages(t, "slow request") {
		if line["level"] != "WARN" || line["path"] == "/db/_changes" {
			t.Errorf("%v", line)
		}
		if line["path"] == "/db/_bulk_docs" && line["parameters"] != "w" {
			t.Errorf("%v", line)
		}
	}
	if strings.Contains(l.String(), "secret-") {
		t.Errorf("a value is in the log:\n%s", l.String())
	}
}

func TestPanicsAreLogged(t *testing.T) {
	var l logLines
	n := newNode(t, logged(&l, slog.LevelDebug))
	n.api.replications = nil // whoever asks for them fails
	a := n.do(http.MethodGet, "/_scheduler/jobs", nil, "X-Couch-Request-ID: broken")
	if a.StatusCode != http.StatusInternalServerError || !strings.Contains(string(a.body), "internal_server_error") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	lines := l.messages(t, "a request failed")
	if len(lines) != 1 || lines[0]["request"] != "broken" || lines[0]["path"] != "/_scheduler/jobs" || !strings.Contains(lines[0]["stack"].(string), "getSchedulerJobs") {
		t.Errorf("%v", lines)
	}
	if n.api.stats.panics.Load() != 1 {
		t.Error("it was not counted")
	}
}

// TestNoSecretsInLogs sends secrets on every road that there is for them, and looks for them in the log of everything.
func TestNoSecretsInLogs(t *testing.T) {
	var l logLines
	n := newNode(t, logged(&l, slog.LevelDebug), setting("log", "access", "true"), setting("log", "slow_request", "1"),
		setting("chttpd_auth", "authentication_handlers", "{chttpd_auth, cookie_authentication_handler}, {chttpd_auth, jwt_authentication_handler}, {chttpd_auth, proxy_authentication_handler}, {chttpd_auth, default_authentication_handler}"))
	const mark = "s3cr3t"
	basic := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("bob:"+mark+"-basic"))
	n.must(http.MethodPut, "/db", nil)
	n.do(http.MethodGet, "/db", nil, basic)
	n.do(http.MethodGet, "/db", nil, "Authorization: Bearer e30."+mark+"-jwt.x")
	n.do(http.MethodGet, "/db", nil, "Cookie: AuthSession="+mark+"-cookie")
	n.do(http.MethodGet, "/db", nil, "Cookie: AuthSession="+base64.RawURLEncoding.EncodeToString([]byte("bob:5F00:"+mark)))
	n.do(http.MethodGet, "/db", nil, "X-Auth-CouchDB-UserName: bob", "X-Auth-CouchDB-Token: "+mark+"-proxy")
	n.do(http.MethodPost, "/_session", `{"name":"bob","password":"`+mark+`-session"}`)
	n.do(http.MethodPost, "/_session", strings.NewReader("name=bob&password="+mark+"-form"), "Content-Type: application/x-www-form-urlencoded")
	n.do(http.MethodPost, "/_session?password="+mark+"-query", `{`)
	n.do(http.MethodPut, "/_node/_local/_config/admins/carol", `"`+mark+`-admin"`)
	n.do(http.MethodPut, "/_node/_local/_config/chttpd_auth/secret", `"`+mark+`-cookie-secret"`)
	n.do(http.MethodPut, "/_node/_local/_config/jwt_keys/hmac:_default", `"`+mark+`-key"`)
	n.do(http.MethodPut, "/_node/_local/_config/chttpd/port", `"`+mark+`"`)
	n.do(http.MethodPost, "/_cluster_setup", `{"action":"enable_single_node","username":"admin","password":"`+mark+`-setup"}`)
	n.do(http.MethodPut, "/_users/org.couchdb.user:dave", `{"name":"dave","type":"user","roles":[],"password":"`+mark+`-user"}`)
	for _, source := range []string{
		`"http://bob:` + mark + `-source@127.0.0.1:1/db"`,
		`"http://bob:` + mark + `-source@/%zz/db"`,
		`{"url":"http://127.0.0.1:1/db","headers":{"Authorization":"` + mark + `-header"}}`,
		`{"url":"http://127.0.0.1:1/db","auth":{"basic":{"username":"bob","password":"` + mark + `-auth"}}}`,
	} {
		n.do(http.MethodPost, "/_replicate", `{"source":`+source+`,"target":"db","retries_per_request":0}`)
	}
	n.do(http.MethodPost, "/_replicate", `{"source":"http://bob:`+mark+`-cut@127`)
	n.do(http.MethodGet, "/http:%2F%2Fbob:"+mark+"-path@example.org%2Fdb", nil)
	n.do(http.MethodGet, "/db/x?rev="+mark+"-rev&password="+mark, nil)
	n.do(http.MethodPut, "/db/_local/"+"x", `{"password":"`+mark+`"`)
	n.do(http.MethodPut, "/db/x", `{"a":"`+mark+`","_bad":1}`)
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, mark) {
			t.Errorf("a secret is in the log: %s", line)
		}
	}
	if len(l.messages(t, "request"))+len(l.messages(t, "slow request")) < 20 {
		t.Error("requests are not logged")
	}
}

func TestLogPath(t *testing.T) {
	for path, want := range map[string]string{
		"/db/doc?x=y":                          "/db/doc",
		"http://bob:pw@host/db":                "http://***@host/db",
		"/http://bob:pw@host/db":               "/http://***@host/db",
		"/https%3A%2F%2Fbob:pw%40host%2Fdb":    "/https%3A%2F%2F***%40host%2Fdb",
		"/db/mail@example.org":                 "/db/mail@example.org",
		"/db/org.couchdb.user:bob@example.org": "/db/org.couchdb.user:bob@example.org",
		"/" + strings.Repeat("x", 2000):        "/" + strings.Repeat("x", longestLogged-1) + "...",
	} {
		if got := logPath(path); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// TestEveryRouteHasAClass keeps routes from being measured as something that they are not.
func TestEveryRouteHasAClass(t *testing.T) {
	server := []string{"/", "/_up", "/_uuids", "/_all_dbs", "/_dbs_info", "/_active_tasks", "/_membership", "/_db_updates", "/_cluster_setup", "/_utils", "/favicon.ico"}
	for i := range routes {
		path := routes[i].path
		known := slices.Contains(server, path) || strings.HasPrefix(path, "/_node") || strings.HasPrefix(path, "/_scheduler")
		if c := classOf(path); (c == classServer) != known {
			t.Errorf("%s is measured as %s", path, classNames[c])
		}
	}
	for path, want := range map[string]class{
		"/{db}": classDatabase, "/{db}/_security": classDatabase, "/{db}/_bulk_docs": classBulk, "/{db}/_all_docs": classListing,
		"/{db}/{doc:_design/[^/]+}/_view/{view:[^/]+}": classView, "/{db}/{doc:[^_/][^/]*}": classDocument, "/{db}/{doc:[^_/][^/]*}/{att:.+}": classAttachment,
	} {
		if got := classOf(path); got != want {
			t.Errorf("%s: %s", path, classNames[got])
		}
	}
}
