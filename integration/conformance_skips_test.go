package integration

// sequential are the modules whose transcripts change the state of the whole
// server; they are replayed one after the other.
var sequential = map[string]bool{
	"auth": true, "config": true, "cors": true, "server": true,
}

// later are the modules of transcripts that wait for a capability which the
// server does not have yet.
var later = map[string]string{
	"auth":             "users, sessions and cookies",
	"collation":        "map/reduce views",
	"config":           "configuration over HTTP",
	"cors":             "cross-origin requests and configuration over HTTP",
	"design_functions": "the functions of design documents",
	"mango":            "_find and its indexes",
	"reduces":          "map/reduce views",
	"security":         "users and database security",
	"views":            "map/reduce views",
}

// skips are single transcripts that are not replayed, and why.
// docs/compatibility.md names each of them.
var skips = map[string]string{
	"changes/filter-design-and-view":   "filters by view run JavaScript map functions",
	"changes/filter-functions":         "filter functions are JavaScript",
	"replication_api/replicate-filter": "the filter function is JavaScript",
	"server/db-updates":                "the feed needs no _global_changes database to be made first; also needs the _users database",
	"server/up":                        "sets the maintenance mode through configuration over HTTP",
}
