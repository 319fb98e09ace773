package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gorilla/mux"
)

// resource is what a path names: its handlers by method, and how CouchDB lists its methods.
type resource struct {
	allow  string // the Allow header of a 405; it is not always complete, as in CouchDB
	get    handler
	put    handler
	post   handler
	delete handler
	copy   handler
	any    handler // for every method that has none of its own
	access access  // who may use it; see access.go
	class  class   // given by classifyRoutes
}

// handler returns the handler for a method, or nil. HEAD is GET of which the body is not sent.
func (r *resource) handler(method string) handler {
	var h handler
	switch method {
	case http.MethodGet, http.MethodHead:
		h = r.get
	case http.MethodPut:
		h = r.put
	case http.MethodPost:
		h = r.post
	case http.MethodDelete:
		h = r.delete
	case "COPY":
		h = r.copy
	}
	if h == nil {
		h = r.any
	}
	return h
}

// How CouchDB lists the methods of its kinds of resources.
const (
	allowGet      = "GET"
	allowPost     = "POST"
	allowRead     = "GET,HEAD"
	allowListing  = "GET,HEAD,POST"
	allowSetting  = "PUT,GET"
	allowChanges  = "GET,POST,HEAD"
	allowDatabase = "DELETE,GET,HEAD,POST"
	allowDocument = "DELETE,GET,HEAD,POST,PUT,COPY"
	allowFile     = "DELETE,GET,HEAD,PUT"
)

// route is a path and what it names. {db}, {doc}, {att}, {name}, {view} and {partition} are handed to the request.
type route struct {
	path string
	resource
}

// routes are tried in order. The paths of documents come first, because most requests are for them; they leave out
// what starts with an underscore.
var routes = []route{
	{"/{db:[^_/][^/]*}/{doc:[^_/][^/]*}", resource{allow: allowDocument, get: getDocument, put: putDocument, post: postForm, delete: deleteDocument, copy: copyDocument}},

	{"/", resource{allow: allowRead, get: getRoot, access: accessPublic}},
	{"/_up", resource{allow: allowRead, get: getUp, access: accessUp}},
	{"/_session", resource{allow: "GET,HEAD,POST,DELETE", get: getSession, post: postSession, delete: deleteSession, access: accessSession}},
	{"/_uuids", resource{allow: allowGet, get: getUUIDs, access: accessPublic}},
	{"/_all_dbs", resource{allow: allowRead, get: getAllDBs, access: accessNames}},
	{"/_dbs_info", resource{allow: allowListing, get: getDBsInfo, post: postDBsInfo, access: accessNames}},
	{"/_active_tasks", resource{allow: allowRead, get: getActiveTasks}},
	{"/_replicate", resource{allow: allowPost, post: postReplicate, access: accessUser}},
	{"/_scheduler/jobs", resource{allow: allowRead, get: getSchedulerJobs}},
	{"/_scheduler/jobs/{name:.+}", resource{allow: allowRead, get: getSchedulerJob}},
	{"/_scheduler/docs", resource{allow: allowRead, get: getSchedulerDocs}},
	{"/_scheduler/docs/{name:.+}", resource{allow: allowRead, get: getSchedulerDoc}},
	{"/_membership", resource{allow: allowGet, get: getMembership}},
	{"/_db_updates", resource{allow: allowGet, get: getDBUpdates}},
	{"/_cluster_setup", resource{allow: "GET,POST", get: getClusterSetup, post: postClusterSetup}},
	{"/_node", resource{any: anyNodes}},
	{"/_node/{node}", resource{allow: allowGet, get: getNode}},
	{"/_node/{node}/_config", resource{allow: allowGet, get: getConfig}},
	{"/_node/{node}/_config/_reload", resource{allow: allowPost, post: postReload}},
	{"/_node/{node}/_config/{section}", resource{allow: allowGet, get: getConfigSection}},
	{"/_node/{node}/_config/{section}/{key}", resource{allow: "GET,PUT,DELETE", get: getConfigKey, put: putConfigKey, delete: deleteConfigKey}},
	{"/_node/{node}/_config/{section}/{key}/{rest:.+}", resource{any: getNothing}},
	{"/_node/{node}/_stats", resource{allow: allowGet, get: getStats, access: accessMetrics}},
	{"/_node/{node}/_stats/{name:.+}", resource{allow: allowGet, get: getStats, access: accessMetrics}},
	{"/_node/{node}/_system", resource{allow: allowGet, get: getSystem, access: accessMetrics}},
	{"/_node/{node}/_versions", resource{allow: allowGet, get: getVersions}},
	{"/_node/{node}/_prometheus", resource{allow: allowGet, get: getPrometheus, access: accessMetrics}},
	{"/_utils", resource{allow: allowRead, get: getUtils, access: accessPublic}},
	{"/favicon.ico", resource{allow: allowRead, get: getNothing, access: accessPublic}},

	{"/{db}", resource{allow: allowDatabase, get: getDatabase, put: putDatabase, post: postDocument, delete: deleteDatabase, access: accessDatabase}},
	{"/{db}/_all_docs", resource{allow: allowListing, get: getAllDocs, post: postAllDocs, access: accessRows}},
	{"/{db}/_all_docs/queries", resource{allow: allowPost, post: postAllDocsQueries, access: accessRows}},
	{"/{db}/_design_docs", resource{allow: allowListing, get: getDesignDocs, post: postDesignDocs, access: accessRows}},
	{"/{db}/_design_docs/queries", resource{allow: allowPost, post: postDesignDocsQueries, access: accessRows}},
	{"/{db}/_local_docs", resource{allow: allowListing, get: getLocalDocs, post: postLocalDocs, access: accessRows}},
	{"/{db}/_local_docs/queries", resource{allow: allowPost, post: postLocalDocsQueries, access: accessRows}},
	{"/{db}/_backup", resource{allow: allowRead, get: getBackup, access: accessKeeping}},
	{"/{db}/_bulk_docs", resource{allow: allowPost, post: postBulkDocs}},
	{"/{db}/_bulk_get", resource{allow: allowPost, post: postBulkGet}},
	{"/{db}/_find", resource{allow: allowPost, post: postFind}},
	{"/{db}/_explain", resource{allow: allowPost, post: postExplain}},
	{"/{db}/_index", resource{allow: "GET,POST", get: getIndexes, post: postIndex}},
	{"/{db}/_index/_bulk_delete", resource{allow: allowPost, post: postIndexDeletions}},
	{"/{db}/_index/{doc:_design/[^/]+}/{att:[^/]+}/{name:[^/]+}", resource{allow: "DELETE", delete: deleteIndex}},
	{"/{db}/_index/{doc:[^/]+}/{att:[^/]+}/{name:[^/]+}", resource{allow: "DELETE", delete: deleteIndex}},
	{"/{db}/_changes", resource{allow: allowChanges, get: getChanges, post: getChanges, access: accessFeed}},
	{"/{db}/_revs_diff", resource{allow: allowPost, post: postRevsDiff}},
	{"/{db}/_missing_revs", resource{allow: allowPost, post: postMissingRevs}},
	{"/{db}/_purge", resource{allow: allowPost, post: postPurge, access: accessServer}},
	{"/{db}/_purged_infos", resource{allow: allowGet, get: getPurgedInfos}},
	{"/{db}/_purged_infos_limit", resource{allow: "GET,PUT", get: getPurgedInfosLimit, put: putPurgedInfosLimit, access: accessSetting}},
	{"/{db}/_revs_limit", resource{allow: allowSetting, get: getRevsLimit, put: putRevsLimit, access: accessSetting}},
	{"/{db}/_security", resource{allow: allowSetting, get: getSecurity, put: putSecurity, access: accessSetting}},
	{"/{db}/_compact", resource{allow: allowPost, post: postCompact, access: accessKeeping}},
	{"/{db}/_compact/{name}", resource{allow: allowPost, post: postCompactViews, access: accessKeeping}},
	{"/{db}/_view_cleanup", resource{allow: allowPost, post: postViewCleanup, access: accessKeeping}},
	{"/{db}/_ensure_full_commit", resource{allow: allowPost, post: postFullCommit}},
	{"/{db}/_shards", resource{allow: allowGet, get: getShards}},
	{"/{db}/_shards/{doc:.+}", resource{allow: allowGet, get: getShard}},
	{"/{db}/_sync_shards", resource{allow: allowPost, post: postSyncShards, access: accessServer}},
	{"/{db}/_partition", resource{allow: allowGet, get: getPartition}},
	{"/{db}/_partition/{partition}", resource{allow: allowGet, get: getPartition}},
	{"/{db}/_partition/{partition}/_all_docs", resource{allow: allowListing, get: getPartitionDocs, post: postPartitionDocs, access: accessRows}},
	{"/{db}/_partition/{partition}/_find", resource{allow: allowPost, post: postFind}},
	{"/{db}/_partition/{partition}/_explain", resource{allow: allowPost, post: postExplain}},
	{"/{db}/_temp_view", resource{allow: allowPost, get: getTemporaryView, post: getTemporaryView}},

	{"/{db}/{doc:_local/[^/]+}", resource{allow: allowDocument, get: getLocal, put: putLocal, delete: deleteLocal, copy: copyLocal}},
	{"/{db}/{doc:_local%2[Ff][^/]+}", resource{allow: allowDocument, get: getLocal, put: putLocal, delete: deleteLocal, copy: copyLocal}},
	{"/{db}/_local", resource{get: getBadLocal, put: getBadLocal, post: getBadLocal, delete: getBadLocal, copy: getBadLocal}},
	{"/{db}/{doc:_local(?:/|%2[Ff])[^/]+}/{att:.*}", resource{allow: allowFile, get: getLocalAttachment, put: getLocalAttachment, delete: getLocalAttachment}},
	{"/{db}/{doc:_design/[^/]+}", resource{allow: allowDocument, get: getDocument, put: putDocument, delete: deleteDocument, copy: copyDocument}},
	{"/{db}/{doc:_design%2[Ff][^/]+}", resource{allow: allowDocument, get: redirectDesign, put: putDocument, delete: deleteDocument, copy: copyDocument}},
	{"/{db}/{doc:_design/[^/]+}/_show", resource{any: noFunction("show_error")}},
	{"/{db}/{doc:_design/[^/]+}/_show/{name:[^/]+}", resource{any: anyShow}},
	{"/{db}/{doc:_design/[^/]+}/_show/{name:[^/]+}/{att:.+}", resource{any: anyShow}},
	{"/{db}/{doc:_design/[^/]+}/_list", resource{get: getListFunction, post: postListFunction, any: refuseListFunction}},
	{"/{db}/{doc:_design/[^/]+}/_list/{name:[^/]+}", resource{get: getListFunction, post: postListFunction, any: refuseListFunction}},
	{"/{db}/{doc:_design/[^/]+}/_list/{name:[^/]+}/{view:[^/]+}", resource{get: getListFunction, post: postListFunction, any: refuseListFunction}},
	{"/{db}/{doc:_design/[^/]+}/_list/{name:[^/]+}/{att:[^/]+}/{view:[^/]+}", resource{get: getListFunction, post: postListFunction, any: refuseListFunction}},
	{"/{db}/{doc:_design/[^/]+}/_update", resource{any: noFunction("update_error")}},
	{"/{db}/{doc:_design/[^/]+}/_update/{name:[^/]+}", resource{any: anyUpdate}},
	{"/{db}/{doc:_design/[^/]+}/_update/{name:[^/]+}/{att:.+}", resource{any: anyUpdate}},
	{"/{db}/{doc:_design/[^/]+}/_rewrite", resource{any: anyRewrite}},
	{"/{db}/{doc:_design/[^/]+}/_rewrite/{rest:.+}", resource{any: anyRewrite}},
	{"/{db}/{doc:_design/[^/]+}/_view/{view:[^/]+}", resource{get: getView, post: postView, any: refuseView(allowChanges)}},
	{"/{db}/{doc:_design/[^/]+}/_view/{view:[^/]+}/queries", resource{post: postViewQueries, any: refuseView(allowPost)}},
	{"/{db}/{doc:_design/[^/]+}/_view", resource{any: refuseView(allowChanges)}},
	{"/{db}/{doc:_design/[^/]+}/_view/{rest:.+}", resource{any: refuseView(allowChanges)}},
	{"/{db}/{doc:_design/[^/]+}/_info", resource{get: getViewInfo, any: refuseView(allowGet)}},
	{"/{db}/_partition/{partition}/{doc:_design/[^/]+}/_view/{view:[^/]+}", resource{get: getView, post: postView, any: refuseView(allowChanges)}},
	{"/{db}/_partition/{partition}/{doc:_design/[^/]+}/_view/{view:[^/]+}/queries", resource{post: postViewQueries, any: refuseView(allowPost)}},
	{"/{db}/{doc:_design/[^/]+}/{att:.+}", resource{allow: allowFile, get: getAttachment, put: putAttachment, delete: deleteAttachment}},
	{"/{db}/{doc:_design%2[Ff][^/]+}/{att:.+}", resource{allow: allowFile, get: redirectDesign, put: putAttachment, delete: deleteAttachment}},

	{"/{db}/{doc:[^_/][^/]*}", resource{allow: allowDocument, get: getDocument, put: putDocument, post: postForm, delete: deleteDocument, copy: copyDocument}},
	{"/{db}/{doc:[^_/][^/]*}/{att:.+}", resource{allow: allowFile, get: getAttachment, put: putAttachment, delete: deleteAttachment}},
	{"/{db}/{doc:_[^/]*}", resource{allow: allowDocument, get: getUnknown, put: putUnknown, post: getUnknown, delete: getUnknown, copy: getUnknown}},
	{"/{db}/{doc:.*}", resource{allow: allowDocument, get: getUnknown, put: putUnknown, post: getUnknown, delete: getUnknown, copy: getUnknown}},
}

// newRouter registers the routes. Paths stay escaped, because a database's name may hold %2F; and nothing is
// redirected, because a redirect turns a PUT into a GET. No path ends with a slash when it is matched.
func newRouter() *mux.Router {
	classifyRoutes()
	m := mux.NewRouter().UseEncodedPath().SkipClean(true)
	for i := range routes {
		m.Path(routes[i].path).Handler(&routes[i].resource)
	}
	return m
}

// ServeHTTP makes a resource something that mux can hold; find takes it out again, and nobody calls it.
func (r *resource) ServeHTTP(http.ResponseWriter, *http.Request) {}

// nowhere is what is found under paths that no route has.
var nowhere = resource{get: getUnknown, put: getUnknown, post: getUnknown, delete: getUnknown, copy: getUnknown}

// find returns the resource of the request's path and what the path names.
func find(m *mux.Router, r *http.Request) (*resource, map[string]string) {
	var match mux.RouteMatch
	if path := r.URL.EscapedPath(); strings.Contains(path, "//") || strings.HasSuffix(path, "/") {
		r = withoutEmptyParts(r, path)
	}
	if m.Match(r, &match) {
		if res, ok := match.Handler.(*resource); ok {
			return res, match.Vars
		}
	}
	return &nowhere, nil
}

// withoutEmptyParts returns a request whose path lacks the empty parts of another's. They mean nothing to CouchDB, so
// clients that put a slash too much between an address and a path work. Below the console paths are those of files.
func withoutEmptyParts(r *http.Request, path string) *http.Request {
	if strings.HasPrefix(path, "/_utils/") {
		return r
	}
	parts := slices.DeleteFunc(strings.Split(path, "/"), func(part string) bool { return part == "" })
	tidy := url.URL{RawPath: "/" + strings.Join(parts, "/")}
	var err error
	if tidy.Path, err = url.PathUnescape(tidy.RawPath); err != nil {
		return r
	}
	return &http.Request{Method: r.Method, Host: r.Host, URL: &tidy}
}

// getUnknown answers for paths that mean nothing below a database; if there is no such database it says so.
func getUnknown(q *request) error {
	if _, err := q.db(); err != nil {
		return err
	}
	return errMissing
}
