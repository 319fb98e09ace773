// Package dbname knows which names databases may have, by CouchDB's rules.
package dbname

import (
	"slices"
	"strings"
)

// The names of system databases.
const (
	Users      = "_users"
	Replicator = "_replicator"
)

// system are names that start with an underscore and are allowed all the same.
var system = []string{Users, Replicator, "_global_changes"}

// Longest is how many bytes a part of a name, between slashes, may have: what CouchDB has room for in the names of its
// files.
const Longest = 238

// Legal tells whether a database may have the name, but for the length of its parts.
func Legal(name string) bool {
	// CouchDB's databases may live below a folder: what is behind the last slash may be a system name.
	folder, base, below := cutLast(name)
	return plain(name) || slices.Contains(system, name) || below && slices.Contains(system, base) && plain(folder)
}

// TooLong tells whether a part of the name is too long.
func TooLong(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > Longest {
			return true
		}
	}
	return false
}

// IsReplicator tells whether the documents of a database of that name are replications: "_replicator", and that name
// below a folder.
func IsReplicator(name string) bool {
	return name == Replicator || strings.HasSuffix(name, "/"+Replicator)
}

// IsUsers tells whether the documents of a database of that name are accounts, which is to say that they may hold
// passwords: "_users", and that name below a folder.
func IsUsers(name string) bool {
	return name == Users || strings.HasSuffix(name, "/"+Users)
}

func cutLast(name string) (folder, base string, below bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

func plain(name string) bool {
	if name == "" || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte("_$()+-/", c) < 0 {
			return false
		}
	}
	return true
}
