package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// The users of TestAccess, in the order of the expected statuses: nobody in particular, somebody whom the database does
// not name, a member and an administrator of the database, and one of the server.
var accessUsers = []string{"", "other", "member", "keeper", adminName}

// accessRow is a request to a route, and what each user is answered. In the path and the body USER stands for the
// user's name.
type accessRow struct {
	method, path, body string
	want               string // five statuses
}

// What most routes answer where everything is well.
const (
	everybody = "200 200 200 200 200"
	members   = "401 403 200 200 200"
	keepers   = "401 403 401 200 200"
	servers   = "401 401 401 401 200"
)

// accessTable has what each route answers: a route, then its requests. Every method that it has a handler for is there.
var accessTable = map[string][]accessRow{
	"/{db:[^_/][^/]*}/{doc:[^_/][^/]*}": {
		{"GET", "/db/doc", "", members},
		{"HEAD", "/db/doc", "", members},
		{"PUT", "/db/put-USER", "{}", "401 403 201 201 201"},
		{"POST", "/db/doc", "", "401 403 400 400 400"},
		{"DELETE", "/db/put-USER", "", "401 403 409 409 409"},
		{"COPY", "/db/doc", "", "401 403 400 400 400"},
	},
	"/":                          {{"GET", "/", "", everybody}},
	"/_up":                       {{"GET", "/_up", "", everybody}},
	"/_session":                  {{"GET", "/_session", "", everybody}, {"POST", "/_session", `{"name":"member","password":"pw"}`, everybody}, {"DELETE", "/_session", "", everybody}},
	"/_uuids":                    {{"GET", "/_uuids", "", everybody}},
	"/_all_dbs":                  {{"GET", "/_all_dbs", "", servers}},
	"/_dbs_info":                 {{"GET", "/_dbs_info", "", servers}, {"POST", "/_dbs_info", `{"keys":["db"]}`, servers}},
	"/_active_tasks":             {{"GET", "/_active_tasks", "", servers}},
	"/_replicate":                {{"POST", "/_replicate", `{"source":"db","target":"db2"}`, "401 500 200 200 200"}},
	"/_scheduler/jobs":           {{"GET", "/_scheduler/jobs", "", servers}},
	"/_scheduler/jobs/{name:.+}": {{"GET", "/_scheduler/jobs/x", "", "401 401 401 401 404"}},
	"/_scheduler/docs":           {{"GET", "/_scheduler/docs", "", servers}},
	"/_scheduler/docs/{name:.+}": {{"GET", "/_scheduler/docs/_replicator/x", "", "401 401 401 401 404"}},
	"/_membership":               {{"GET", "/_membership", "", servers}},
	"/_db_updates":               {{"GET", "/_db_updates", "", servers}},
	"/_cluster_setup":            {{"GET", "/_cluster_setup", "", servers}, {"POST", "/_cluster_setup", "{}", "401 401 401 401 400"}},
	"/_node":                     {{"ANY", "/_node", "", "401 401 401 401 400"}},
	"/_node/{node}":              {{"GET", "/_node/_local", "", servers}},
	"/_node/{node}/_config":      {{"GET", "/_node/_local/_config", "", servers}},
	"/_node/{node}/_config/_reload": {
		{"POST", "/_node/_local/_config/_reload", "", servers},
	},
	"/_node/{node}/_config/{section}": {{"GET", "/_node/_local/_config/couchdb", "", servers}},
	"/_node/{node}/_config/{section}/{key}": {
		{"GET", "/_node/_local/_config/couchdb/none", "", "401 401 401 401 404"},
		{"PUT", "/_node/_local/_config/test/key", `"x"`, servers},
		{"DELETE", "/_node/_local/_config/test/key", "", servers},
	},
	"/_node/{node}/_config/{section}/{key}/{rest:.+}": {{"ANY", "/_node/_local/_config/a/b/c", "", "401 401 401 401 404"}},
	"/_node/{node}/_stats":                            {{"GET", "/_node/_local/_stats", "", servers}},
	"/_node/{node}/_stats/{name:.+}":                  {{"GET", "/_node/_local/_stats/couchdb", "", servers}},
	"/_node/{node}/_system":                           {{"GET", "/_node/_local/_system", "", servers}},
	"/_node/{node}/_versions":                         {{"GET", "/_node/_local/_versions", "", servers}},
	"/_node/{node}/_prometheus":                       {{"GET", "/_node/_local/_prometheus", "", servers}},
	"/_utils":                                         {{"GET", "/_utils", "", "301 301 301 301 301"}},
	"/favicon.ico":                                    {{"GET", "/favicon.ico", "", "404 404 404 404 404"}},

	"/{db}": {
		{"GET", "/db", "", members},
		{"PUT", "/db-USER", "", "401 401 401 401 201"},
		{"POST", "/db", "{}", "401 403 201 201 201"},
		{"DELETE", "/db-USER", "", servers},
	},
	"/{db}/_all_docs":            {{"GET", "/db/_all_docs", "", members}, {"POST", "/db/_all_docs", "{}", members}},
	"/{db}/_all_docs/queries":    {{"POST", "/db/_all_docs/queries", `{"queries":[]}`, members}},
	"/{db}/_design_docs":         {{"GET", "/db/_design_docs", "", members}, {"POST", "/db/_design_docs", "{}", members}},
	"/{db}/_design_docs/queries": {{"POST", "/db/_design_docs/queries", `{"queries":[]}`, members}},
	"/{db}/_local_docs":          {{"GET", "/db/_local_docs", "", members}, {"POST", "/db/_local_docs", "{}", members}},
	"/{db}/_local_docs/queries":  {{"POST", "/db/_local_docs/queries", `{"queries":[]}`, members}},
	"/{db}/_backup":              {{"GET", "/db/_backup", "", keepers}},
	"/{db}/_bulk_docs":           {{"POST", "/db/_bulk_docs", `{"docs":[]}`, "401 403 201 201 201"}},
	"/{db}/_bulk_get":            {{"POST", "/db/_bulk_get", `{"docs":[]}`, members}},
	"/{db}/_find":                {{"POST", "/db/_find", `{"selector":{}}`, members}},
	"/{db}/_explain":             {{"POST", "/db/_explain", `{"selector":{}}`, members}},
	"/{db}/_index": {
		{"GET", "/db/_index", "", members},
		{"POST", "/db/_index", `{"index":{"fields":["USER"]}}`, "401 403 403 200 200"},
	},
	"/{db}/_index/_bulk_delete": {{"POST", "/db/_index/_bulk_delete", `{"docids":[]}`, members}},
	"/{db}/_index/{doc:_design/[^/]+}/{att:[^/]+}/{name:[^/]+}": {
		{"DELETE", "/db/_index/_design/none/json/none", "", "401 403 404 404 404"},
	},
	"/{db}/_index/{doc:[^/]+}/{att:[^/]+}/{name:[^/]+}": {{"DELETE", "/db/_index/none/json/none", "", "401 403 404 404 404"}},
	"/{db}/_changes":               {{"GET", "/db/_changes", "", members}, {"POST", "/db/_changes", "{}", members}},
	"/{db}/_revs_diff":             {{"POST", "/db/_revs_diff", "{}", members}},
	"/{db}/_missing_revs":          {{"POST", "/db/_missing_revs", "{}", members}},
	"/{db}/_purge":                 {{"POST", "/db/_purge", "{}", "401 401 401 401 201"}},
	"/{db}/_purged_infos":          {{"GET", "/db/_purged_infos", "", members}},
	"/{db}/_purged_infos_limit":    {{"GET", "/db/_purged_infos_limit", "", members}, {"PUT", "/db/_purged_infos_limit", "1000", keepers}},
	"/{db}/_revs_limit":            {{"GET", "/db/_revs_limit", "", members}, {"PUT", "/db/_revs_limit", "1000", keepers}},
	"/{db}/_security":              {{"GET", "/db/_security", "", members}, {"PUT", "/db/_security", accessSecurity, keepers}},
	"/{db}/_compact":               {{"POST", "/db/_compact", "{}", "401 403 401 202 202"}},
	"/{db}/_compact/{name}":        {{"POST", "/db/_compact/d", "{}", "401 403 401 202 202"}},
	"/{db}/_view_cleanup":          {{"POST", "/db/_view_cleanup", "{}", "401 403 401 202 202"}},
	"/{db}/_ensure_full_commit":    {{"POST", "/db/_ensure_full_commit", "{}", "401 403 201 201 201"}},
	"/{db}/_shards":                {{"GET", "/db/_shards", "", members}},
	"/{db}/_shards/{doc:.+}":       {{"GET", "/db/_shards/doc", "", members}},
	"/{db}/_sync_shards":           {{"POST", "/db/_sync_shards", "{}", "401 401 401 401 202"}},
	"/{db}/_partition":             {{"GET", "/db/_partition", "", "401 403 400 400 400"}},
	"/{db}/_partition/{partition}": {{"GET", "/db/_partition/p", "", "401 403 400 400 400"}},
	"/{db}/_partition/{partition}/_all_docs": {
		{"GET", "/db/_partition/p/_all_docs", "", "401 403 400 400 400"},
		{"POST", "/db/_partition/p/_all_docs", "{}", "401 403 400 400 400"},
	},
	"/{db}/_partition/{partition}/_find":    {{"POST", "/db/_partition/p/_find", `{"selector":{}}`, "401 403 400 400 400"}},
	"/{db}/_partition/{partition}/_explain": {{"POST", "/db/_partition/p/_explain", `{"selector":{}}`, "401 403 400 400 400"}},
	"/{db}/_temp_view":                      {{"GET", "/db/_temp_view", "", "401 403 410 410 410"}, {"POST", "/db/_temp_view", "{}", "401 403 410 410 410"}},

	"/{db}/{doc:_local/[^/]+}": {
		{"PUT", "/db/_local/USER", "{}", "401 403 201 201 201"},
		{"GET", "/db/_local/USER", "", members},
		{"COPY", "/db/_local/USER", "", "401 403 400 400 400"},
		{"DELETE", "/db/_local/USER", "", members},
	},
	"/{db}/{doc:_local%2[Ff][^/]+}": {
		{"PUT", "/db/_local%2FUSER", "{}", "401 403 201 201 201"},
		{"GET", "/db/_local%2FUSER", "", members},
		{"COPY", "/db/_local%2FUSER", "", "401 403 400 400 400"},
		{"DELETE", "/db/_local%2FUSER", "", members},
	},
	"/{db}/_local": allMethods("/db/_local", "401 403 400 400 400"),
	"/{db}/{doc:_local(?:/|%2[Ff])[^/]+}/{att:.*}": {
		{"GET", "/db/_local/x/a", "", "401 403 400 400 400"},
		{"PUT", "/db/_local/x/a", "", "401 403 400 400 400"},
		{"DELETE", "/db/_local/x/a", "", "401 403 400 400 400"},
	},
	"/{db}/{doc:_design/[^/]+}": {
		{"GET", "/db/_design/d", "", members},
		{"PUT", "/db/_design/USER", "{}", "401 403 403 201 201"},
		{"DELETE", "/db/_design/d?rev=1-00000000000000000000000000000000", "", "401 403 403 409 409"},
		{"COPY", "/db/_design/d", "", "401 403 400 400 400"},
	},
	"/{db}/{doc:_design%2[Ff][^/]+}": {
		{"GET", "/db/_design%2Fd", "", "401 403 301 301 301"},
		{"PUT", "/db/_design%2Fesc-USER", "{}", "401 403 403 201 201"},
		{"DELETE", "/db/_design%2Fd?rev=1-00000000000000000000000000000000", "", "401 403 403 409 409"},
		{"COPY", "/db/_design%2Fd", "", "401 403 400 400 400"},
	},
	"/{db}/{doc:_design/[^/]+}/_show":                                       {{"ANY", "/db/_design/d/_show", "", "401 403 404 404 404"}},
	"/{db}/{doc:_design/[^/]+}/_show/{name:[^/]+}":                          {{"ANY", "/db/_design/d/_show/s", "", members}},
	"/{db}/{doc:_design/[^/]+}/_show/{name:[^/]+}/{att:.+}":                 {{"ANY", "/db/_design/d/_show/s/doc", "", members}},
	"/{db}/{doc:_design/[^/]+}/_list":                                       listMethods("/db/_design/d/_list", "404"),
	"/{db}/{doc:_design/[^/]+}/_list/{name:[^/]+}":                          listMethods("/db/_design/d/_list/l", "404"),
	"/{db}/{doc:_design/[^/]+}/_list/{name:[^/]+}/{view:[^/]+}":             listMethods("/db/_design/d/_list/l/v", "200"),
	"/{db}/{doc:_design/[^/]+}/_list/{name:[^/]+}/{att:[^/]+}/{view:[^/]+}": listMethods("/db/_design/d/_list/l/d/v", "200"),
	"/{db}/{doc:_design/[^/]+}/_update":                                     {{"ANY", "/db/_design/d/_update", "", "401 403 404 404 404"}},
	"/{db}/{doc:_design/[^/]+}/_update/{name:[^/]+}":                        {{"ANY", "/db/_design/d/_update/u", "", "401 403 200 200 200"}},
	"/{db}/{doc:_design/[^/]+}/_update/{name:[^/]+}/{att:.+}":               {{"ANY", "/db/_design/d/_update/u/doc", "", "401 403 200 200 200"}},
	"/{db}/{doc:_design/[^/]+}/_rewrite":                                    {{"ANY", "/db/_design/d/_rewrite", "", members}},
	"/{db}/{doc:_design/[^/]+}/_rewrite/{rest:.+}":                          {{"ANY", "/db/_design/d/_rewrite/security", "", members}},
	"/{db}/{doc:_design/[^/]+}/_view/{view:[^/]+}":                          {{"GET", "/db/_design/d/_view/v", "", members}, {"POST", "/db/_design/d/_view/v", "{}", members}, {"ANY", "/db/_design/d/_view/v", "", "401 403 405 405 405"}},
	"/{db}/{doc:_design/[^/]+}/_view/{view:[^/]+}/queries":                  {{"POST", "/db/_design/d/_view/v/queries", `{"queries":[]}`, members}, {"ANY", "/db/_design/d/_view/v/queries", "", "401 403 405 405 405"}},
	"/{db}/{doc:_design/[^/]+}/_view":                                       {{"ANY", "/db/_design/d/_view", "", "401 403 405 405 405"}},
	"/{db}/{doc:_design/[^/]+}/_view/{rest:.+}":                             {{"ANY", "/db/_design/d/_view/v/x", "", "401 403 405 405 405"}},
	"/{db}/{doc:_design/[^/]+}/_info":                                       {{"GET", "/db/_design/d/_info", "", members}, {"ANY", "/db/_design/d/_info", "", "401 403 405 405 405"}},
	"/{db}/_partition/{partition}/{doc:_design/[^/]+}/_view/{view:[^/]+}": {
		{"GET", "/db/_partition/p/_design/d/_view/v", "", "401 403 400 400 400"},
		{"POST", "/db/_partition/p/_design/d/_view/v", "{}", "401 403 400 400 400"},
		{"ANY", "/db/_partition/p/_design/d/_view/v", "", "401 403 400 400 400"},
	},
	"/{db}/_partition/{partition}/{doc:_design/[^/]+}/_view/{view:[^/]+}/queries": {
		{"POST", "/db/_partition/p/_design/d/_view/v/queries", `{"queries":[]}`, "401 403 400 400 400"},
		{"ANY", "/db/_partition/p/_design/d/_view/v/queries", "", "401 403 400 400 400"},
	},
	"/{db}/{doc:_design/[^/]+}/{att:.+}": {
		{"GET", "/db/_design/d/file", "", "401 403 404 404 404"},
		{"PUT", "/db/_design/att-USER/file", "x", "401 403 403 201 201"},
		{"DELETE", "/db/_design/none/file?rev=1-00000000000000000000000000000000", "", "401 403 409 409 409"},
	},
	"/{db}/{doc:_design%2[Ff][^/]+}/{att:.+}": {
		{"GET", "/db/_design%2Fd/file", "", "401 403 301 301 301"},
		{"PUT", "/db/_design%2Fatt2-USER/file", "x", "401 403 403 201 201"},
		{"DELETE", "/db/_design%2Fnone/file?rev=1-00000000000000000000000000000000", "", "401 403 409 409 409"},
	},

	"/{db}/{doc:[^_/][^/]*}": {
		{"GET", "/_users/org.couchdb.user:member", "", "401 403 403 403 200"},
		{"PUT", "/_users/org.couchdb.user:new", `{"name":"new","type":"user","roles":[]}`, "401 403 403 403 201"},
		{"POST", "/_users/org.couchdb.user:member", "", "401 403 403 403 400"},
		{"DELETE", "/_users/org.couchdb.user:new", "", "401 403 403 403 409"},
		{"COPY", "/_users/org.couchdb.user:member", "", "401 403 403 403 400"},
	},
	"/{db}/{doc:[^_/][^/]*}/{att:.+}": {
		{"GET", "/db/doc/file", "", "401 403 404 404 404"},
		{"PUT", "/db/att-USER/file", "x", "401 403 201 201 201"},
		{"DELETE", "/db/att-USER/file", "", "401 403 409 409 409"},
	},
	"/{db}/{doc:_[^/]*}": allMethods("/db/_nothing", "401 403 404 404 404", "PUT", "401 403 400 400 400"),
	"/{db}/{doc:.*}":     allMethods("/db/_nothing/at/all", "401 403 404 404 404", "PUT", "401 403 400 400 400"),
}

// allMethods is rows of the methods of documents with one answer. Others follow by method.
func allMethods(path, want string, others ...string) []accessRow {
	var rows []accessRow
	for _, method := range []string{"GET", "PUT", "POST", "DELETE", "COPY"} {
		row := accessRow{method, path, "", want}
		if i := slices.Index(others, method); i >= 0 {
			row.want = others[i+1]
		}
		rows = append(rows, row)
	}
	return rows
}

// listMethods is rows of the methods of list functions.
func listMethods(path, status string) []accessRow {
	want := "401 403 " + status + " " + status + " " + status
	return []accessRow{{"GET", path, "", want}, {"POST", path, "{}", want}, {"ANY", path, "", "401 403 405 405 405"}}
}

const accessSecurity = `{"admins":{"names":["keeper"],"roles":[]},"members":{"names":["member"],"roles":[]}}`

const accessDesign = `{"views":{"v":{"map":"function(doc){emit(doc._id)}"}},
	"shows":{"s":"function(doc,req){return 'shown'}"},
	"lists":{"l":"function(head,req){send('listed')}"},
	"updates":{"u":"function(doc,req){return [null,'done']}"},
	"rewrites":[{"from":"","to":"_show/s"},{"from":"security","to":"../../_security"}]}`

// newAccessNode is a node with a database and all users.
func newAccessNode(t *testing.T) *node {
	t.Helper()
	n := newNode(t, setting("chttpd", "authentication_handlers", "{chttpd_auth, cookie_authentication_handler}, {chttpd_auth, default_authentication_handler}"))
	n.withDatabases("db", "db2", "_users", "_replicator")
	for _, name := range []string{"other", "member", "keeper"} {
		n.must("PUT", "/_users/org.couchdb.user:"+name, fmt.Sprintf(`{"name":%q,"type":"user","roles":[],"password":"pw"}`, name))
	}
	n.must("PUT", "/db/_design/d", accessDesign)
	n.must("PUT", "/db/_security", accessSecurity)
	n.must("PUT", "/db2/_security", accessSecurity)
	return n
}

// as sends a request on behalf of a user, "" for nobody.
func (n *node) as(user, method, path, body string) *answer {
	n.Helper()
	var content any
	if body != "" {
		content = body
	}
	r := n.request(method, path, content)
	r.Header.Del("Authorization")
	switch user {
	case "":
	case adminName:
		r.SetBasicAuth(adminName, adminPassword)
	default:
		r.SetBasicAuth(user, "pw")
	}
	return n.send(r)
}

// TestAccess walks every route with every user.
func TestAccess(t *testing.T) {
	n := newAccessNode(t)
	router := newRouter()
	for i := range routes {
		res := &routes[i].resource
		rows, ok := accessTable[routes[i].path]
		if !ok {
			t.Errorf("%s: nothing says who may use it", routes[i].path)
			continue
		}
		for method, h := range map[string]handler{"GET": res.get, "PUT": res.put, "POST": res.post, "DELETE": res.delete, "COPY": res.copy, "ANY": res.any} {
			if h != nil && !slices.ContainsFunc(rows, func(r accessRow) bool { return r.method == method }) {
				t.Errorf("%s: nothing says who may %s it", routes[i].path, method)
			}
		}
		for _, row := range rows {
			wants := strings.Fields(row.want)
			for u, user := range accessUsers {
				path := strings.ReplaceAll(row.path, "USER", "u"+user)
				method := row.method
				if method == "ANY" {
					method = "GET"
					if res.get != nil || res.post != nil {
						method = "PUT"
					}
					if strings.Contains(path, "_update") {
						method = "POST"
					}
				}
				sent, err := http.NewRequestWithContext(t.Context(), method, n.url+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if found, _ := find(router, sent); found != res {
					t.Errorf("%s %s does not lead to %s", method, path, routes[i].path)
					break
				}
				a := n.as(user, method, path, strings.ReplaceAll(row.body, "USER", "u"+user))
				if fmt.Sprint(a.StatusCode) != wants[u] {
					t.Errorf("%s %s by %q: %d %s; want %s", method, path, user, a.StatusCode, strings.TrimSpace(string(a.body)), wants[u])
				}
			}
		}
	}
	for path := range accessTable {
		if !slices.ContainsFunc(routes, func(r route) bool { return r.path == path }) {
			t.Errorf("there is no route %s", path)
		}
	}
}
