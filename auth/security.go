package auth

import (
	"encoding/json"
	"sync"
)

// Security is the security object of a database: who are its administrators
// and members. The zero value has none of either, so that everybody counts as
// a member and nobody but server administrators as an administrator. It is not
// changed.
type Security struct {
	admins, members group
}

// group is who is named by name or by role.
type group struct{ names, roles map[string]struct{} }

// parseGroup reads a member of a security object. Names of members count as
// they are written: Go would take "Names" for "names".
func parseGroup(text []byte) (g group, err error) {
	if text == nil {
		return g, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return g, err
	}
	if g.names, err = parseSet(members["names"]); err != nil {
		return g, err
	}
	g.roles, err = parseSet(members["roles"])
	return g, err
}

func parseSet(text []byte) (map[string]struct{}, error) {
	if text == nil {
		return nil, nil
	}
	var list []string
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	m := make(map[string]struct{}, len(list))
	for _, s := range list {
		m[s] = struct{}{}
	}
	return m, nil
}

func (g *group) empty() bool { return len(g.names) == 0 && len(g.roles) == 0 }

func (g *group) has(p Principal) bool {
	if _, ok := g.names[p.Name]; ok && !p.Anonymous() {
		return true
	}
	for _, role := range p.Roles {
		if _, ok := g.roles[role]; ok {
			return true
		}
	}
	return false
}

// ParseSecurity reads a security object: {"admins": {"names", "roles"},
// "members": {"names", "roles"}}, of which everything may be missing. Before
// there were members they were called readers, which still counts.
func ParseSecurity(object []byte) (Security, error) {
	var o map[string]json.RawMessage
	if err := json.Unmarshal(object, &o); err != nil {
		return Security{}, err
	}
	members, ok := o["members"]
	if !ok {
		members = o["readers"]
	}
	var s Security
	var err error
	if s.admins, err = parseGroup(o["admins"]); err != nil {
		return Security{}, err
	}
	if s.members, err = parseGroup(members); err != nil {
		return Security{}, err
	}
	return s, nil
}

// Admin reports whether p administers the database. Server administrators
// administer all.
func (s Security) Admin(p Principal) bool { return p.Admin() || s.admins.has(p) }

// Member reports whether p may read and write documents. Where no members are
// named everybody may; administrators always may.
func (s Security) Member(p Principal) bool {
	return s.members.empty() || s.members.has(p) || s.Admin(p)
}

// ClosedSecurity is the security object, as JSON, of a database that has none
// of its own: it is for server administrators alone.
const ClosedSecurity = `{"members":{"roles":["_admin"]},"admins":{"roles":["_admin"]}}`

// DefaultSecurity is the security object, as JSON, that a database is given
// when it is made, by the configuration's word: "everyone", "admin_local" or
// "admin_only".
func DefaultSecurity(word string) string {
	switch word {
	case "everyone":
		return `{}`
	case "admin_local":
		return `{"members":{"roles":[]},"admins":{"roles":["_admin"]}}`
	}
	return ClosedSecurity
}

// Securities remembers security objects that were parsed, by their text, so
// that a database's need not be parsed for each request. The zero value is
// ready; it is safe for concurrent use.
type Securities struct {
	mu         sync.Mutex // guards young and old
	young, old map[string]Security
}

// Objects longer than securityText are not remembered, nor more than twice
// maxSecurities.
const (
	securityText  = 64 << 10
	maxSecurities = 512
)

// Parse is ParseSecurity, from memory if it can.
func (c *Securities) Parse(object []byte) (Security, error) {
	c.mu.Lock()
	s, ok := c.young[string(object)]
	if !ok {
		if s, ok = c.old[string(object)]; ok {
			c.putLocked(string(object), s)
		}
	}
	c.mu.Unlock()
	if ok {
		return s, nil
	}
	s, err := ParseSecurity(object)
	if err == nil && len(object) <= securityText {
		c.mu.Lock()
		c.putLocked(string(object), s)
		c.mu.Unlock()
	}
	return s, err
}

func (c *Securities) putLocked(object string, s Security) {
	if c.young == nil || len(c.young) >= maxSecurities {
		c.old, c.young = c.young, map[string]Security{}
	}
	c.young[object] = s
}
