// Package auth decides who a request speaks for. It knows names, passwords and
// roles, and nothing of HTTP.
//
// Server administrators live in the configuration's section [admins], name to
// hashed password, as in CouchDB. Without an administrator nobody is one:
// there is no "admin party".
package auth

import (
	"errors"
	"slices"
)

// ErrCredentials says that a name and password do not belong together. The
// text is CouchDB's.
//
//lint:ignore ST1005 this error text is part of the API
var ErrCredentials = errors.New("Name or password is incorrect.")

// AdminRole is the role that server administrators have, and nobody else.
const AdminRole = "_admin"

// Principal is who a request speaks for. The zero value is the anonymous user.
type Principal struct {
	Name  string   // "" for the anonymous user
	Roles []string // not to be changed: principals may share it
}

// Admin reports whether p is a server administrator.
func (p Principal) Admin() bool { return slices.Contains(p.Roles, AdminRole) }

// Anonymous reports whether p is the user without a name.
func (p Principal) Anonymous() bool { return p.Name == "" }
