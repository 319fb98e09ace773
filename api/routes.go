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
	allow   string // the Allow header of a 405; it is not always complete, as in CouchDB
	get     handler
	put     handler
	post    handler
	delete  handler
	copy    handler
	public  bool // for everybody
	metrics bool // anonymous requests are refused with other words
}

// handler returns the handler for a method, or nil. HEAD is GET of which the body is not sent.
func (r *resource) handler(method string) handler {
	switch method {
	case http.MethodGet, http.MethodHead:
		return r.get
	case http.MethodPut:
		return r.put
	case http.MethodPost:
		return r.post
	case http.MethodDelete:
		return r.delete
	case "COPY":
		return r.copy
	}
	return nil
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

// route is a path and what it names. {db}, {doc}, {att} and {name} are handed to the request.
type route struct {
	path string
	resource
}

// routes are tried in order. The paths of documents come first, because most requests are for them; they leave out
// what starts with an underscore.
var routes = []route{
	{"/{db:[^_/][^/]*}/{doc:[^_/][^/]*}", resource{allow: allowDocument, get: getDocument, put: putDocument, post: postForm, delete: deleteDocument, copy: copyDocument}},

	{"/", resource{allow: allowRead, get: getRoot, public: true}},
	{"/_up", resource{allow: allowRead, get: getUp, public: true}},
	{"/_uuids", resource{allow: allowGet, get: getUUIDs, public: true}},
	{"/_all_dbs", resource{allow: allowRead, get: getAllDBs}},
	{"/_dbs_info", resource{allow: allowListing, get: getDBsInfo, post: postDBsInfo}},
	{"/_active_tasks", resource{allow: allowRead, get: getActiveTasks}},
	{"/_replicate", resource{allow: allowPost, post: postReplicate}},
	{"/_scheduler/jobs", resource{allow: allowRead, get: getSchedulerJobs}},
	{"/_scheduler/jobs/{name:.+}", resource{allow: allowRead, get: getSchedulerJob}},
	{"/_scheduler/docs", resource{allow: allowRead, get: getSchedulerDocs}},
	{"/_scheduler/docs/{name:.+}", resource{allow: allowRead, get: getSchedulerDoc}},
	{"/_membership", resource{allow: allowGet, get: getMembership}},
	{"/_db_updates", resource{allow: allowGet, get: getDBUpdates}},
	{"/_cluster_setup", resource{allow: "GET,POST", get: getClusterSetup, post: postClusterSetup}},
	{"/_node/{node}/_stats", resource{allow: allowGet, get: getStats, metrics: true}},
	{"/_node/{node}/_stats/{name:.+}", resource{allow: allowGet, get: getStats, metrics: true}},
	{"/_node/{node}/_system", resource{allow: allowGet, get: getSystem, metrics: true}},
	{"/_node/{node}/_versions", resource{allow: allowGet, get: getVersions}},
	{"/_node/{node}/_prometheus", resource{allow: allowGet, get: getPrometheus, metrics: true}},
	{"/_utils", resource{allow: allowRead, get: getUtils, public: true}},
	{"/favicon.ico", resource{allow: allowRead, get: getNothing, public: true}},

	{"/{db}", resource{allow: allowDatabase, get: getDatabase, put: putDatabase, post: postDocument, delete: deleteDatabase}},
	{"/{db}/_all_docs", resource{allow: allowListing, get: getAllDocs, post: postAllDocs}},
	{"/{db}/_all_docs/queries", resource{allow: allowPost, post: postAllDocsQueries}},
	{"/{db}/_design_docs", resource{allow: allowListing, get: getDesignDocs, post: postDesignDocs}},
	{"/{db}/_design_docs/queries", resource{allow: allowPost, post: postDesignDocsQueries}},
	{"/{db}/_local_docs", resource{allow: allowListing, get: getLocalDocs, post: postLocalDocs}},
	{"/{db}/_local_docs/queries", resource{allow: allowPost, post: postLocalDocsQueries}},
	{"/{db}/_bulk_docs", resource{allow: allowPost, post: postBulkDocs}},
	{"/{db}/_bulk_get", resource{allow: allowPost, post: postBulkGet}},
	{"/{db}/_changes", resource{allow: allowChanges, get: getChanges, post: getChanges}},
	{"/{db}/_revs_diff", resource{allow: allowPost, post: postRevsDiff}},
	{"/{db}/_missing_revs", resource{allow: allowPost, post: postMissingRevs}},
	{"/{db}/_purge", resource{allow: allowPost, post: postPurge}},
	{"/{db}/_purged_infos", resource{allow: allowGet, get: getPurgedInfos}},
	{"/{db}/_purged_infos_limit", resource{allow: "GET,PUT", get: getPurgedInfosLimit, put: putPurgedInfosLimit}},
	{"/{db}/_revs_limit", resource{allow: allowSetting, get: getRevsLimit, put: putRevsLimit}},
	{"/{db}/_security", resource{allow: allowSetting, get: getSecurity, put: putSecurity}},
	{"/{db}/_compact", resource{allow: allowPost, post: postCompact}},
	{"/{db}/_compact/{name}", resource{allow: allowPost, post: postCompactViews}},
	{"/{db}/_view_cleanup", resource{allow: allowPost, post: postViewCleanup}},
	{"/{db}/_ensure_full_commit", resource{allow: allowPost, post: postFullCommit}},
	{"/{db}/_shards", resource{allow: allowGet, get: getShards}},
	{"/{db}/_shards/{doc:.+}", resource{allow: allowGet, get: getShard}},
	{"/{db}/_sync_shards", resource{allow: allowPost, post: postSyncShards}},
	{"/{db}/_partition", resource{allow: allowGet, get: getPartition}},
	{"/{db}/_partition/{name}", resource{allow: allowGet, get: getPartition}},
	{"/{db}/_partition/{name}/_all_docs", resource{allow: allowListing, get: getPartitionDocs, post: postPartitionDocs}},
	{"/{db}/_temp_view", resource{allow: allowPost, get: getTemporaryView, post: getTemporaryView}},

	{"/{db}/{doc:_local/[^/]+}", resource{allow: allowDocument, get: getLocal, put: putLocal, delete: deleteLocal, copy: copyLocal}},
	{"/{db}/{doc:_local%2[Ff][^/]+}", resource{allow: allowDocument, get: getLocal, put: putLocal, delete: deleteLocal, copy: copyLocal}},
	{"/{db}/_local", resource{get: getBadLocal, put: getBadLocal, post: getBadLocal, delete: getBadLocal, copy: getBadLocal}},
	{"/{db}/{doc:_local(?:/|%2[Ff])[^/]+}/{att:.*}", resource{allow: allowFile, get: getLocalAttachment, put: getLocalAttachment, delete: getLocalAttachment}},
	{"/{db}/{doc:_design/[^/]+}", resource{allow: allowDocument, get: getDocument, put: putDocument, delete: deleteDocument, copy: copyDocument}},
	{"/{db}/{doc:_design%2[Ff][^/]+}", resource{allow: allowDocument, get: redirectDesign, put: putDocument, delete: deleteDocument, copy: copyDocument}},
	{"/{db}/{doc:_design/[^/]+}/{att:[^_].*}", resource{allow: allowFile, get: getAttachment, put: putAttachment, delete: deleteAttachment}},
	{"/{db}/{doc:_design%2[Ff][^/]+}/{att:[^_].*}", resource{allow: allowFile, get: redirectDesign, put: putAttachment, delete: deleteAttachment}},

	{"/{db}/{doc:[^_/][^/]*}", resource{allow: allowDocument, get: getDocument, put: putDocument, post: postForm, delete: deleteDocument, copy: copyDocument}},
	{"/{db}/{doc:[^_/][^/]*}/{att:.+}", resource{allow: allowFile, get: getAttachment, put: putAttachment, delete: deleteAttachment}},
	{"/{db}/{doc:_[^/]*}", resource{allow: allowDocument, get: getUnknown, put: putUnknown, post: getUnknown, delete: getUnknown, copy: getUnknown}},
	{"/{db}/{doc:.*}", resource{allow: allowDocument, get: getUnknown, put: putUnknown, post: getUnknown, delete: getUnknown, copy: getUnknown}},
}

// newRouter registers the routes. Paths stay escaped, because a database's name may hold %2F; and nothing is
// redirected, because a redirect turns a PUT into a GET. No path ends with a slash when it is matched.
func newRouter() *mux.Router {
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
