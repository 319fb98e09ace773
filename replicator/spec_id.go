package replicator

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/mangrove-db/mangrove/auth"
)

// NeedsFilterText tells whether the id depends on the text of a function at the source, which is then to be put into
// FilterText of a copy before ID is called: if the function changes, something else is replicated.
func (s *Spec) NeedsFilterText() bool {
	return s.Filter == "_view" || s.Filter != "" && s.Filter[0] != '_'
}

// ID names the replication's checkpoints: 32 hex digits that are the same whenever the node replicates the same things
// between the same databases on behalf of the same user. Passwords, http or https, and options that only say how fast
// things go do not matter.
func (s *Spec) ID(nodeUUID string) string {
	h := fingerprint{sha256.New()}
	h.add("1", nodeUUID)
	h.endpoint(s.Source)
	h.endpoint(s.Target)
	switch {
	case s.ByDocIDs:
		h.add("doc_ids", strconv.Itoa(len(s.DocIDs)))
		h.add(s.DocIDs...)
	case s.Selector != nil:
		h.add("selector", string(s.Selector))
	case s.Filter != "":
		h.add("filter", s.Filter, s.FilterText)
		h.pairs(s.Query)
	}
	if s.ByUser && !slices.Contains(s.Roles, auth.AdminRole) {
		// What a user may not do is left out, and what is said of a user's job is no other's business: nobody shares a
		// job, or its checkpoints, with others. Administrators share theirs, who may do everything.
		h.add("user", s.User)
		h.add(slices.Sorted(slices.Values(s.Roles))...)
	}
	if s.WinningRevsOnly {
		h.add("winning_revs_only")
	}
	if s.Since != "" {
		h.add("since_seq", s.Since)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// JobID is ID with what else tells jobs apart, as CouchDB writes it.
func (s *Spec) JobID(nodeUUID string) string {
	id := s.ID(nodeUUID)
	if s.Continuous {
		id += "+continuous"
	}
	if s.CreateTarget {
		id += "+create_target"
	}
	return id
}

// checkpointID returns the ID that a JobID begins with.
func checkpointID(jobID string) string {
	id, _, _ := strings.Cut(jobID, "+")
	return id
}

// fingerprint hashes texts so that where one ends and the next begins counts.
type fingerprint struct{ hash.Hash }

func (h fingerprint) add(texts ...string) {
	var n [binary.MaxVarintLen64]byte
	for _, text := range texts {
		h.Write(n[:binary.PutUvarint(n[:], uint64(len(text)))])
		h.Write([]byte(text))
	}
}

func (h fingerprint) pairs(m map[string]string) {
	h.add(strconv.Itoa(len(m)))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		h.add(name, m[name])
	}
}

func (h fingerprint) endpoint(e Endpoint) {
	if e.Local() {
		h.add("local", e.Name)
		return
	}
	user := ""
	if e.Auth != nil {
		user = e.Auth.Username
	}
	u, err := url.Parse(e.URL)
	if err != nil {
		u = &url.URL{Path: e.URL} // it was parsed before
	}
	port := u.Port()
	if u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443" {
		port = ""
	}
	h.add("remote", user, strings.ToLower(u.Hostname()), port, u.EscapedPath())
	others := make(map[string]string, len(e.Headers))
	for name, value := range e.Headers {
		// An authorization of another scheme is a password too.
		if name = strings.ToLower(name); name != "authorization" && name != "cookie" {
			others[name] = value
		}
	}
	h.pairs(others)
}
