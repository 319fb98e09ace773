// Package repolint states the rules about this repository's own code that a
// compiler does not check, and tests them: who may import whom, where outside
// libraries and HTTP statuses may be named, how large a file may grow.
package repolint

import "strings"

// row is a step of the import order. Packages of one row do not import each
// other, except that those of a family, listed lowest first, import the ones
// before them.
type row []family

type family []string

// order is who may import whom, lowest first: a package imports packages of
// the rows above its own. Every package of the repository stands here.
var order = []row{
	{
		{"revtree"},
		{"collate"},
		{"config"},
		{"console"},
		{"deflate"},
		{"internal/dbname"},
		{"internal/histogram"},
		{"internal/httprange"},
		{"internal/repolint"},
		{"internal/spool"},
		{"internal/testutil"},
		{"internal/uuid"},
	},
	{{"document"}},
	{{"script"}, {"storage/kv", "storage/kv/badgerkv", "storage"}},
	{{"view"}, {"auth"}, {"design"}},
	{{"mango"}},
	{{"replicator"}, {"backup"}},
	{{"api"}},
	{{"server"}},
	{{"cmd/mangrove"}},
	{{"integration/harness", "integration/clients", "integration/metamorphic", "integration"}},
}

// testOnly are packages that nothing but tests imports.
var testOnly = []string{"internal/testutil", "integration/harness", "integration/metamorphic"}

// owners names the packages that may import an outside library, by a prefix
// of its path, or one of our own.
var owners = map[string][]string{
	"github.com/dgraph-io/badger":   {"storage/kv/badgerkv"},
	"github.com/gorilla/mux":        {"api"},
	"github.com/dop251/goja":        {"script"},
	"github.com/prometheus/":        {"server", "api"},
	"github.com/spf13/cobra":        {"cmd/mangrove"},
	module + "/storage/kv":          {"storage"},
	module + "/storage/kv/badgerkv": {"storage"},
}

const module = "github.com/mangrove-db/mangrove"

// longest is how many lines a Go file may have. Past it, split by noun.
const longest = 600

// shunned are package names that give no reason to say no to anything.
var shunned = []string{"util", "utils", "common", "base", "helper", "helpers", "manager", "misc", "shared"}

// position is a package's place in the order: its row, its family, and its
// index there.
func position(pkg string) (r, f, i int, ok bool) {
	for r, row := range order {
		for f, family := range row {
			for i, name := range family {
				if name == pkg {
					return r, f, i, true
				}
			}
		}
	}
	return 0, 0, 0, false
}

// mayImport reports whether the order lets one package import another.
func mayImport(from, to string) bool {
	fr, ff, fi, ok1 := position(from)
	tr, tf, ti, ok2 := position(to)
	if !ok1 || !ok2 {
		return false
	}
	return tr < fr || tr == fr && tf == ff && ti < fi
}

// owned reports whether a path is one of owners' and, if so, who may import
// it. The longest prefix counts.
func owned(path string) (by []string, ok bool) {
	best := ""
	for prefix, names := range owners {
		if path == prefix || strings.HasPrefix(path, strings.TrimSuffix(prefix, "/")+"/") {
			if len(prefix) > len(best) {
				best, by, ok = prefix, names, true
			}
		}
	}
	return by, ok
}
