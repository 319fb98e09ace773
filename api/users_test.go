package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// newOpenUsers is newAccessNode with a database of accounts that everybody may use.
func newOpenUsers(t *testing.T) *node {
	t.Helper()
	n := newAccessNode(t)
	setting("couchdb", "users_db_security_editable", "true")(n)
	n.must("PUT", "/_users/_security", `{"admins":{"names":["keeper"],"roles":[]},"members":{"names":[],"roles":[]}}`)
	return n
}

// status checks what a user is answered.
func (n *node) status(want int, user, method, path, body string) *answer {
	n.Helper()
	a := n.as(user, method, path, body)
	if a.StatusCode != want {
		n.Errorf("%s %s by %q: %d %s; want %d", method, path, user, a.StatusCode, a.body, want)
	}
	return a
}

// TestOtherPeoplesAccounts walks the roads by which somebody might get at the account of another.
func TestOtherPeoplesAccounts(t *testing.T) {
	n := newOpenUsers(t)
	const own, others = "/_users/org.couchdb.user:member", "/_users/org.couchdb.user:other"
	for _, user := range []string{"", "member"} {
		for _, road := range []struct {
			status             int
			method, path, body string
		}{
			{404, "GET", others, ""},
			{404, "HEAD", others, ""},
			{404, "GET", others + "?attachments=true&revs=true", ""},
			{404, "GET", others + "/file", ""},
			{401, "GET", "/_users/_all_docs?include_docs=true", ""},
			{401, "POST", "/_users/_all_docs", `{"keys":["org.couchdb.user:other"],"include_docs":true}`},
			{401, "POST", "/_users/_all_docs/queries", `{"queries":[{"include_docs":true}]}`},
			{401, "GET", "/_users/_design_docs", ""},
			{401, "GET", "/_users/_local_docs", ""},
			{401, "GET", "/_users/_changes?include_docs=true", ""},
			{401, "POST", "/_users/_changes?filter=_selector&include_docs=true", `{"selector":{}}`},
			{403, "GET", "/_users/_design/_auth", ""},
			{403, "GET", "/_users/_design%2F_auth", ""},
			{403, "GET", "/_users/_design/_auth/_view/x", ""},
			{403, "POST", "/_users/_design/_auth/_view/x", "{}"},
			{403, "GET", "/_users/_design/_auth/_show/x/org.couchdb.user:other", ""},
			{403, "GET", "/_users/_design/_auth/_list/x/y", ""},
			{403, "GET", "/_users/_design/_auth/_info", ""},
			{401, "DELETE", "/_users", ""},
			{401, "PUT", "/_users/_security", "{}"},
		} {
			n.status(road.status, user, road.method, road.path, road.body)
		}
		for _, road := range []struct{ method, path, body string }{
			{"POST", "/_users/_bulk_get", `{"docs":[{"id":"org.couchdb.user:other"}]}`},
			{"GET", others + "?open_revs=all", ""},
			{"POST", "/_users/_find", `{"selector":{"name":"other"}}`},
			{"POST", "/_users/_find", `{"selector":{"_id":"org.couchdb.user:other"},"fields":["derived_key","salt"]}`},
			{"POST", "/_users/_explain", `{"selector":{"name":"other"}}`},
		} {
			if a := n.as(user, road.method, road.path, road.body); strings.Contains(string(a.body), "derived_key\":\"") || strings.Contains(string(a.body), `"salt":"`) {
				t.Errorf("%s %s by %q: %s", road.method, road.path, user, a.body)
			}
		}
	}
	n.status(404, "member", "PUT", others, `{"name":"other","type":"user","roles":[],"password":"mine"}`)
	n.status(404, "member", "DELETE", others+"?rev=1-00000000000000000000000000000000", "")
	n.status(409, "member", "PUT", others+"/file?rev=1-00000000000000000000000000000000", "x")
	n.status(404, "member", "POST", "/_users/_bulk_docs", `{"docs":[{"_id":"org.couchdb.user:other","name":"other","type":"user","roles":[]}]}`)
	n.status(404, "member", "POST", "/_users/_bulk_docs", `{"new_edits":false,"docs":[{"_id":"org.couchdb.user:other","_rev":"9-00000000000000000000000000000000","name":"other","type":"user","roles":[]}]}`)
	n.status(404, "member", "PUT", "/_users/_design/x", "{}")
	n.status(401, "", "PUT", "/_users/_design/x", "{}")
	copying := n.request("COPY", "/_users/org.couchdb.user:other", nil, "Destination: org.couchdb.user:member")
	copying.SetBasicAuth("member", "pw")
	if a := n.send(copying); a.StatusCode != http.StatusNotFound {
		t.Errorf("a copy of another's account: %s", a.Status)
	}

	// One's own is there, and an index that an administrator has made shows nothing more.
	n.status(200, "member", "GET", own, "")
	n.must("POST", "/_users/_index", `{"index":{"fields":["name","salt"]}}`)
	var found struct{ Docs []map[string]any }
	n.status(200, "member", "POST", "/_users/_find", `{"selector":{"name":{"$gt":null}},"fields":["name","salt"]}`).json(t, &found)
	if len(found.Docs) != 1 || found.Docs[0]["name"] != "member" {
		t.Errorf("%v", found.Docs)
	}
	n.status(200, adminName, "GET", others, "")
	n.status(200, "keeper", "GET", others, "")
	n.status(200, "keeper", "GET", "/_users/_design/_auth", "")
}

func TestPublicFields(t *testing.T) {
	n := newOpenUsers(t)
	n.must("PUT", "/_users/org.couchdb.user:pat", `{"name":"pat","type":"user","roles":[],"password":"pw","email":"p@x","note":"secret"}`)
	setting("chttpd_auth", "public_fields", "name,email")(n)
	a := n.status(200, "member", "GET", "/_users/org.couchdb.user:pat", "")
	var doc map[string]any
	a.json(t, &doc)
	if len(doc) != 4 || doc["email"] != "p@x" || doc["name"] != "pat" {
		t.Errorf("%s", a.body)
	}
	n.status(401, "member", "GET", "/_users/_all_docs", "")
	setting("chttpd_auth", "users_db_public", "true")(n)
	if a := n.status(200, "member", "GET", `/_users/_all_docs?include_docs=true&startkey="org.couchdb.user:other"`, ""); strings.Contains(string(a.body), "salt") || !strings.Contains(string(a.body), "p@x") {
		t.Errorf("%s", a.body)
	}
	n.status(401, "member", "GET", "/_users/_changes", "")
}

func TestSigningUp(t *testing.T) {
	n := newOpenUsers(t)
	n.status(201, "", "PUT", "/_users/org.couchdb.user:new", `{"name":"new","type":"user","roles":[],"password":"pw"}`)
	n.status(409, "", "PUT", "/_users/org.couchdb.user:new", `{"name":"new","type":"user","roles":[],"password":"pw"}`)
	n.status(403, "", "PUT", "/_users/org.couchdb.user:boss", `{"name":"boss","type":"user","roles":["_admin"],"password":"pw"}`)
	n.status(403, "", "PUT", "/_users/org.couchdb.user:boss", `{"name":"boss","type":"user","roles":["r"],"password":"pw"}`)
	n.status(403, "", "DELETE", "/_users/org.couchdb.user:new?rev="+n.rev("/_users/org.couchdb.user:new"), "")
	a := n.status(201, "new", "PUT", "/_users/org.couchdb.user:new?rev="+n.rev("/_users/org.couchdb.user:new"), `{"name":"new","type":"user","roles":[],"password":"other"}`)
	if strings.Contains(string(n.must("GET", "/_users/org.couchdb.user:new", nil).body), `"password"`) {
		t.Errorf("%s", a.body)
	}
	n.status(401, "new", "GET", "/_session", "")
	// On replicated writes too.
	n.status(201, adminName, "POST", "/_users/_bulk_docs", `{"new_edits":false,"docs":[{"_id":"org.couchdb.user:rep","_rev":"1-00000000000000000000000000000000","name":"rep","type":"user","roles":[],"password":"pw"}]}`)
	n.status(200, "rep", "GET", "/_session", "")
	var rows []map[string]any
	n.as(adminName, "POST", "/_users/_bulk_docs", `{"new_edits":false,"docs":[{"_id":"org.couchdb.user:bad","_rev":"1-00000000000000000000000000000000","name":"other","type":"user","roles":[]}]}`).json(t, &rows)
	if len(rows) != 1 || rows[0]["error"] != "forbidden" {
		t.Errorf("%v", rows)
	}
}

// rev returns the revision of a document.
func (n *node) rev(path string) string {
	n.Helper()
	var d struct {
		Rev string `json:"_rev"`
	}
	n.must("GET", path, nil).json(n.TB, &d)
	return d.Rev
}

// TestSecurityShowsAtOnce: a changed security object counts for the next request.
func TestSecurityShowsAtOnce(t *testing.T) {
	n := newAccessNode(t)
	n.status(403, "other", "GET", "/db", "")
	n.must("PUT", "/db/_security", `{"members":{"names":["other"]}}`)
	n.status(200, "other", "GET", "/db", "")
	n.status(403, "member", "GET", "/db", "")
	n.must("PUT", "/db/_security", `{}`)
	n.status(200, "", "GET", "/db", "")
	n.status(401, "", "PUT", "/db/_design/x", "{}")
	n.status(403, "other", "PUT", "/db/_design/x", "{}")
	if err := func() error {
		db, err := n.store.DB("db")
		if err != nil {
			return err
		}
		return db.SetSecurity(t.Context(), []byte(`{"members":`)) // damaged: closed
	}(); err != nil {
		t.Fatal(err)
	}
	n.status(401, "", "GET", "/db", "")
	n.status(200, adminName, "GET", "/db", "")
}

// TestDefaultSecurityOfNew: the setting counts for databases that are made, not for those that are there.
func TestDefaultSecurityOfNew(t *testing.T) {
	n := newAccessNode(t)
	n.must("PUT", "/closed", nil)
	setting("couchdb", "default_security", "everyone")(n)
	n.must("PUT", "/open", nil)
	n.status(401, "", "GET", "/closed", "")
	n.status(200, "", "GET", "/open", "")
	n.must("DELETE", "/_users", nil)
	n.must("PUT", "/_users", nil)
	n.status(401, "", "GET", "/_users", "")
	n.must("GET", "/_users/_design/_auth", nil)
}

func TestRequireValidUser(t *testing.T) {
	n := newAccessNode(t)
	setting("chttpd", "require_valid_user", "true")(n)
	for _, path := range []string{"/", "/_up", "/_uuids", "/_session", "/none/at/all", "/db"} {
		if a := n.status(401, "", "GET", path, ""); a.Header.Get("WWW-Authenticate") != `Basic realm="server"` {
			t.Errorf("%s: %v", path, a.Header)
		}
	}
	n.status(200, "", "POST", "/_session", `{"name":"member","password":"pw"}`)
	n.status(200, "member", "GET", "/", "")
	setting("chttpd", "require_valid_user_except_for_up", "true")(n)
	n.status(200, "", "GET", "/_up", "")
	n.status(401, "", "GET", "/", "")
	setting("chttpd", "require_valid_user", "false")(n)
	n.status(401, "", "GET", "/", "")
}

func TestListedDatabases(t *testing.T) {
	n := newAccessNode(t)
	setting("chttpd", "admin_only_all_dbs", "false")(n)
	n.status(200, "", "GET", "/_all_dbs", "")
	n.status(200, "other", "GET", "/_dbs_info", "")
}

func TestMetricsRole(t *testing.T) {
	n := newAccessNode(t)
	n.must("PUT", "/_users/org.couchdb.user:meter", `{"name":"meter","type":"user","roles":["_metrics"],"password":"pw"}`)
	n.status(200, "meter", "GET", "/_node/_local/_stats", "")
	n.status(401, "meter", "GET", "/_node/_local/_config", "")
	n.status(401, "other", "GET", "/_node/_local/_stats", "")
}

// TestReplicatorSecrets: credentials in documents of others stay with them.
func TestReplicatorSecrets(t *testing.T) {
	n := newAccessNode(t)
	n.must("PUT", "/_replicator/_security", `{"members":{"names":["member","other"]}}`)
	const doc = `{"source":"http://joe:hidden@127.0.0.1:1/x","target":{"url":"http://127.0.0.1:1/y","headers":{"Authorization":"Basic aGlkZGVu"},"auth":{"basic":{"username":"joe","password":"hidden"}}},"user_ctx":{"name":"member","roles":[]}}`
	n.status(201, "member", "PUT", "/_replicator/r", doc)
	for user, want := range map[string]bool{"member": true, adminName: true, "other": false} {
		for _, road := range []struct{ method, path, body string }{
			{"GET", "/_replicator/r", ""}, {"POST", "/_replicator/_find", `{"selector":{"source":{"$gt":null}}}`}, {"POST", "/_replicator/_bulk_get", `{"docs":[{"id":"r"}]}`},
		} {
			a := n.status(200, user, road.method, road.path, road.body)
			if got := strings.Contains(string(a.body), "hidden"); got != want || !strings.Contains(string(a.body), "127.0.0.1:1/x") {
				t.Errorf("%s %s by %s: %s", road.method, road.path, user, a.body)
			}
		}
	}
	n.status(401, "member", "GET", "/_replicator/_all_docs", "")
	n.status(401, "member", "GET", "/_replicator/_changes", "")
	n.status(403, "other", "PUT", "/_replicator/s", strings.Replace(doc, `"roles":[]`, `"roles":["_admin"]`, 1))
}

// TestReplicationByUsers: a replication may do what who asks for it may do.
func TestReplicationByUsers(t *testing.T) {
	n := newAccessNode(t)
	n.must("PUT", "/secret", nil)
	n.must("PUT", "/secret/a", "{}")
	replicate := func(user, body string) string {
		t.Helper()
		var e errorBody
		_ = json.Unmarshal(n.as(user, "POST", "/_replicate", body).body, &e)
		return e.Error
	}
	tests := []struct{ user, body, want string }{
		{"member", `{"source":"db","target":"db2"}`, ""},
		{"other", `{"source":"db","target":"db2"}`, "unauthorized"},
		{"member", `{"source":"secret","target":"db2"}`, "unauthorized"},
		{"member", `{"source":"db","target":"secret"}`, "unauthorized"},
		{"member", `{"source":"db","target":"made","create_target":true}`, "unauthorized"},
		{"member", `{"source":"_users","target":"db2"}`, "unauthorized"},
		{"member", `{"source":"db2","target":"_users"}`, "unauthorized"},
		{"member", `{"source":"secret","target":"db2","filter":"d/f"}`, "unauthorized"},
		{adminName, `{"source":"secret","target":"db2"}`, ""},
	}
	for _, tt := range tests {
		if got := replicate(tt.user, tt.body); got != tt.want {
			t.Errorf("%s by %s: %q, want %q", tt.body, tt.user, got, tt.want)
		}
	}
	if slices.Contains(n.names(), "made") {
		t.Error("a member has made a database")
	}
	// The design document has stayed where it was: a member cannot write one.
	n.status(200, adminName, "GET", "/db/_design/d", "")
	n.status(404, adminName, "GET", "/db2/_design/d", "")
	// Nobody ends the job of another.
	n.status(202, "member", "POST", "/_replicate", `{"source":"db","target":"db2","continuous":true}`)
	n.status(404, "other", "POST", "/_replicate", `{"source":"db","target":"db2","continuous":true,"cancel":true}`)
	n.status(200, "member", "POST", "/_replicate", `{"source":"db","target":"db2","continuous":true,"cancel":true}`)
}

// names lists the databases.
func (n *node) names() []string {
	n.Helper()
	var names []string
	n.must("GET", "/_all_dbs", nil).json(n.TB, &names)
	return names
}

// TestReplicationsOfKeepers: who administers a database of replications, and not the server, has none made with more
// rights than their own.
func TestReplicationsOfKeepers(t *testing.T) {
	n := newAccessNode(t)
	n.must("PUT", "/_replicator/_security", accessSecurity)
	for body, want := range map[string]int{
		`{"source":"_users","target":"db"}`:                                                      403,
		`{"source":"_users","target":"db","user_ctx":null}`:                                      403,
		`{"source":"_users","target":"db","user_ctx":{"name":"admin","roles":[]}}`:               403,
		`{"source":"_users","target":"db","user_ctx":{"name":"keeper","roles":["_admin"]}}`:      403,
		`{"source":"db","target":"db2","owner":"admin","user_ctx":{"name":"keeper","roles":[]}}`: 201,
	} {
		n.status(want, "keeper", "POST", "/_replicator", body)
	}
	n.status(201, adminName, "POST", "/_replicator", `{"source":"db","target":"db2"}`)
}

// TestReplicationsOfOthers: members of a database of replications neither change nor delete what is not theirs.
func TestReplicationsOfOthers(t *testing.T) {
	n := newAccessNode(t)
	n.must("PUT", "/_replicator/_security", `{"admins":{"names":["keeper"]},"members":{"names":["member","other"]}}`)
	const body = `{"source":"none","target":"db","user_ctx":{"name":"NAME","roles":[]}}`
	by := func(name string) string { return strings.Replace(body, "NAME", name, 1) }
	n.status(201, adminName, "PUT", "/_replicator/a", by("nobody"))
	n.status(201, "other", "PUT", "/_replicator/o", by("other"))
	for _, doc := range []string{"/_replicator/a", "/_replicator/o"} {
		rev := n.rev(doc)
		n.status(403, "member", "DELETE", doc+"?rev="+rev, "")
		n.status(403, "keeper", "DELETE", doc+"?rev="+rev, "")
		n.status(403, "member", "PUT", doc+"?rev="+rev, by("member"))
		n.status(409, "member", "DELETE", doc+"?rev=1-0123456789abcdef0123456789abcdef", "")
		id := strings.TrimPrefix(doc, "/_replicator/")
		for _, forged := range []string{
			`{"_id":"` + id + `","_rev":"9-a",` + by("member")[1:],
			`{"_id":"` + id + `","_rev":"9-a","_deleted":true}`,
		} {
			n.status(201, "member", "POST", "/_replicator/_bulk_docs", `{"new_edits":false,"docs":[`+forged+`]}`)
		}
		if n.rev(doc) != rev {
			t.Errorf("%s was changed", doc)
		}
	}
	n.status(200, "other", "DELETE", "/_replicator/o?rev="+n.rev("/_replicator/o"), "")
}
