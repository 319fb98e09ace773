// Package auth decides who a request speaks for and what they may do. It
// knows names, passwords, cookies, tokens and roles, and nothing of HTTP.
//
// Server administrators live in the configuration's section [admins], name to
// hashed password, as in CouchDB; everybody else has a document in the database
// _users, in CouchDB's form. Without an administrator nobody is one: there is
// no "admin party".
package auth

import "slices"

// Kind says what an Error means to whoever caused it.
type Kind int

// Kinds of errors.
const (
	// Malformed credentials cannot be read.
	Malformed Kind = iota
	// Unauthorized credentials are wrong, or missing.
	Unauthorized
	// Forbidden is what must not be, whoever asks for it.
	Forbidden
	// Misconfigured is the node's own fault.
	Misconfigured
)

// Error says why somebody is not let in, or an account not written. The
// reasons are CouchDB's and are meant for clients: they hold no secrets.
type Error struct {
	Kind   Kind
	Reason string
}

func (e *Error) Error() string { return e.Reason }

// ErrCredentials says that a name and password do not belong together.
var ErrCredentials error = &Error{Unauthorized, "Name or password is incorrect."}

// ErrLocked says that there were too many attempts with wrong passwords.
var ErrLocked error = &Error{Forbidden, "Account is temporarily locked due to multiple authentication failures"}

// AdminRole is the role of server administrators. No account has it by its
// document; tokens and proxies may vouch for it.
const AdminRole = "_admin"

// MetricsRole is the role of accounts that may read the node's figures.
const MetricsRole = "_metrics"

// Principal is who a request speaks for. The zero value is the anonymous user.
type Principal struct {
	Name  string   // "" for the anonymous user
	Roles []string // not to be changed: principals may share it
	// Handler is how the principal was recognised, in CouchDB's words:
	// "default" (the Basic scheme), "cookie", "jwt" or "proxy".
	Handler string
}

// Admin reports whether p is a server administrator.
func (p Principal) Admin() bool { return slices.Contains(p.Roles, AdminRole) }

// Metrics reports whether p may read the node's figures.
func (p Principal) Metrics() bool { return p.Admin() || slices.Contains(p.Roles, MetricsRole) }

// Anonymous reports whether p is the user without a name.
func (p Principal) Anonymous() bool { return p.Name == "" }
