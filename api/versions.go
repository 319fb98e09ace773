package api

import (
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/mangrove-db/mangrove/collate"
	"github.com/mangrove-db/mangrove/storage"
)

// getVersions answers with what the node is made of.
func getVersions(q *request) error {
	if err := q.thisNode(); err != nil {
		return err
	}
	type part struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	type collation struct {
		Name     string `json:"name"`
		Library  string `json:"library_version"`
		Collator string `json:"collator_version"`
	}
	return q.reply(http.StatusOK, struct {
		Mangrove   string    `json:"mangrove"`
		Compatible string    `json:"couchdb"`
		Format     int       `json:"disk_format_version"`
		Go         string    `json:"go"`
		JavaScript part      `json:"javascript_engine"`
		Collation  collation `json:"collation_driver"`
		Engine     part      `json:"storage_engine"`
	}{
		q.api.version, compatible, storage.FormatVersion, runtime.Version(),
		part{"goja", libraryVersion("github.com/dop251/goja")},
		collation{"golang.org/x/text/collate", libraryVersion("golang.org/x/text"), collate.Version},
		part{"badger", libraryVersion("github.com/dgraph-io/badger/v4")},
	})
}

// libraries are the versions of the modules that the program was built with.
var libraries = sync.OnceValue(func() map[string]string {
	list := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			list[m.Path] = m.Version
		}
	}
	return list
})

// libraryVersion is the version of a module, "unknown" in a program that does not tell, such as a test.
func libraryVersion(path string) string {
	if v := libraries()[path]; v != "" {
		return v
	}
	return "unknown"
}
