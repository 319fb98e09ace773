package api

import (
	"strings"
	"sync"
)

// class is a kind of requests, to tell their times apart.
type class uint8

const (
	classServer class = iota // what is about no database
	classDatabase
	classDocument
	classLocal
	classAttachment
	classBulk
	classListing
	classChanges
	classView
	classFind
	classFunction
	classReplication // what replicators of others ask
	classSession
	classWaiting // a replication or a backup, which takes its time
	classCount
)

// classNames are how metrics call them.
var classNames = [classCount]string{
	"server", "database", "document", "local", "attachment", "bulk", "listing", "changes", "view", "find", "function", "replication", "session", "waiting",
}

// classWords are the words of a route's path that tell its class; the first that is found counts.
var classWords = []struct {
	word  string
	class class
}{
	{"/_session", classSession},
	{"/_replicate", classWaiting},
	{"/_backup", classWaiting},
	{"/_restore", classWaiting},
	{"/_view", classView},
	{"/_show", classFunction},
	{"/_list", classFunction},
	{"/_update", classFunction},
	{"/_rewrite", classFunction},
	{"/_find", classFind},
	{"/_explain", classFind},
	{"/_index", classFind},
	{"_docs/queries", classListing},
	{"/_all_docs", classListing},
	{"/_design_docs", classListing},
	{"/_local_docs", classListing},
	{"/_bulk_docs", classBulk},
	{"/_bulk_get", classBulk},
	{"/_changes", classChanges},
	{"/_revs_diff", classReplication},
	{"/_missing_revs", classReplication},
	{"/_ensure_full_commit", classReplication},
	{"{att:", classAttachment},
	{"{doc:_local", classLocal},
	{"{doc:", classDocument},
	{"/{db", classDatabase},
}

// classOf returns the class of a route.
func classOf(path string) class {
	for _, w := range classWords {
		if strings.Contains(path, w.word) {
			return w.class
		}
	}
	return classServer
}

// classifyRoutes gives every route its class, once.
var classifyRoutes = sync.OnceFunc(func() {
	for i := range routes {
		routes[i].class = classOf(routes[i].path)
	}
})
