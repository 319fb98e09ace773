package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mangrove-db/mangrove/config"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/internal/dbname"
	"github.com/mangrove-db/mangrove/storage"
)

// UserPrefix begins the ids of user documents; the name follows.
const UserPrefix = "org.couchdb.user:"

// longestName is how many bytes a name may have that is looked for.
const longestName = 4 << 10

// shortName is how many bytes a name may have of which it is remembered that
// nobody has it: whoever makes up names must not fill the memory with them.
const shortName = 64

// account is what is known of a name. It is not changed.
type account struct {
	name   string
	roles  []string
	hash   storedHash
	stored string // tells hash from all others
	// fault, if not nil, is why nobody can sign in with the account.
	fault error
	totp  *totp
	// user is set for those who have a document.
	user bool
}

// salt is what goes into the account's cookies beside the secret, so that they
// end with the password.
func (a *account) salt() []byte { return a.hash.salt }

// userDoc is what counts in a user document.
type userDoc struct {
	roles                              []string
	scheme, prf, salt, derivedKey, sha string
	iterations                         json.Number
	totp                               json.RawMessage
}

// read reads members by their exact names: that JSON's letters need not be of
// one case in Go would let users give themselves roles, as "Roles".
func (d *userDoc) read(body []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return err
	}
	for name, to := range map[string]any{
		"roles": &d.roles, "password_scheme": &d.scheme, "pbkdf2_prf": &d.prf, "iterations": &d.iterations,
		"salt": &d.salt, "derived_key": &d.derivedKey, "password_sha": &d.sha, "totp": &d.totp,
	} {
		if value, ok := members[name]; ok {
			if err := json.Unmarshal(value, to); err != nil {
				return err
			}
		}
	}
	return nil
}

var (
	errFewIterations  = &Error{Forbidden, "Iteration count is too low for this server"}
	errManyIterations = &Error{Forbidden, "Iteration count is too high for this server"}
	errPRF            = &Error{Forbidden, "PRF is invalid"}
	errConflicts      = &Error{Unauthorized, "User document conflicts must be resolved before the document is used for authentication purposes."}
)

// parseUser reads a user document for those who sign in. Documents need not be
// in order: replication may bring any.
func parseUser(name string, body []byte) *account {
	a := &account{name: name, user: true}
	var d userDoc
	if d.read(body) != nil {
		a.fault = ErrCredentials
		return a
	}
	// Roles of the system are given by the configuration, not by documents,
	// wherever those come from.
	a.roles = slices.DeleteFunc(d.roles, func(role string) bool { return strings.HasPrefix(role, "_") && role != MetricsRole })
	h := storedHash{prf: "sha", salt: []byte(d.salt)}
	key := d.derivedKey
	switch d.scheme {
	case "", "simple":
		key = d.sha
	case "simple+pbkdf2":
		h.wrapped = true
		fallthrough
	case "pbkdf2":
		if d.prf != "" {
			h.prf = d.prf
		}
		h.iterations = 10_000
		if d.iterations != "" {
			n, err := d.iterations.Int64()
			if err != nil || n < 1 || n > maxIterations {
				a.fault = errManyIterations
			}
			h.iterations = int(n)
		}
	default:
		a.fault = ErrCredentials
	}
	if h.hash = pseudorandom[h.prf]; h.hash == nil {
		a.fault = errPRF
	}
	if a.fault == nil && !h.setKey(key) {
		a.fault = ErrCredentials
	}
	if a.fault == nil && len(d.totp) > 0 && string(d.totp) != "null" {
		var err error
		if a.totp, err = parseTOTP(d.totp); err != nil {
			a.fault = ErrCredentials
		}
	}
	a.hash = h
	a.stored = fmt.Sprintf("%s %s %d %t %x %s", d.scheme, h.prf, h.iterations, h.wrapped, h.key, h.salt)
	return a
}

// refused is why the account cannot be used under the settings c, nil if it can.
func (a *account) refused(c *config.Auth) error {
	switch {
	case a.fault != nil:
		return a.fault
	case a.hash.iterations == 0: // another scheme
	case a.hash.iterations < c.MinIterations:
		return errFewIterations
	case a.hash.iterations > c.MaxIterations:
		return errManyIterations
	}
	return nil
}

// accounts finds accounts. What it remembers counts while the sequence of the
// database is the same, or that of the document, which are looked up each time:
// a change is seen at once, wherever it was made.
type accounts struct {
	store *storage.Store // nil: there are administrators alone
	users atomic.Pointer[storage.DB]

	mu         sync.Mutex // guards young and old
	young, old map[string]seenUser
}

// seenUser is an account as it was at a sequence of a database.
type seenUser struct {
	db       *storage.DB
	database storage.Seq // the newest at which it was seen to be so
	document storage.Seq // 0: there is none
	account  *account    // nil: there is none
}

// maxUsers bounds the accounts remembered, twice.
const maxUsers = 4096

// find returns the account of a name, nil if there is none.
func (s *accounts) find(c *config.Snapshot, name string) (*account, error) {
	if name == "" || len(name) > longestName {
		return nil, nil
	}
	user, err := s.user(name)
	if err != nil {
		return nil, err
	}
	stored, ok := c.Get("admins", name)
	if !ok || !Hashed(stored) {
		return user, nil
	}
	admin := &account{name: name, roles: adminRoles, stored: stored}
	if admin.hash, err = parseHash(stored); err != nil {
		admin.fault = ErrCredentials
	}
	if user != nil && user.fault == nil && len(user.roles) > 0 {
		admin.roles = slices.Concat(adminRoles, user.roles) // an administrator's document adds roles
	}
	return admin, nil
}

// user returns the account of a user document, nil if there is none.
func (s *accounts) user(name string) (*account, error) {
	if s.store == nil {
		return nil, nil
	}
	db, snap, err := s.snapshot()
	if errors.Is(err, storage.ErrNoDatabase) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	now := seenUser{db: db, database: snap.Seq()}
	seen, ok := s.remembered(name)
	ok = ok && seen.db == db
	if ok && seen.database == now.database {
		return seen.account, nil
	}
	row, err := snap.Lookup(UserPrefix + name)
	if errors.Is(err, storage.ErrNotFound) || err == nil && row.Deleted {
		if len(name) <= shortName {
			s.remember(name, now)
		}
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	now.document = row.Seq
	if ok && seen.document == row.Seq {
		now.account = seen.account
		s.remember(name, now)
		return seen.account, nil
	}
	var doc document.Document
	if err := row.Read(&doc); errors.Is(err, storage.ErrNotFound) {
		return nil, nil // a forged revision without a body
	} else if err != nil {
		return nil, err
	}
	a := parseUser(name, doc.Body)
	conflicts, err := row.Conflicts()
	if err != nil {
		return nil, err
	}
	if len(conflicts) > 0 {
		a.fault = errConflicts // nobody knows which of the passwords is the right one
	}
	now.account = a
	s.remember(name, now)
	return a, nil
}

// snapshot opens a snapshot of the database of users.
func (s *accounts) snapshot() (*storage.DB, *storage.Snapshot, error) {
	if db := s.users.Load(); db != nil {
		if snap, err := db.Snapshot(); err == nil {
			return db, snap, nil
		}
		s.users.Store(nil) // deleted, and perhaps made again
	}
	db, snap, err := s.store.Snapshot(dbname.Users)
	if err == nil {
		s.users.Store(db)
	}
	return db, snap, err
}

func (s *accounts) remembered(name string) (seenUser, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, ok := s.young[name]; ok {
		return u, true
	}
	u, ok := s.old[name]
	if ok {
		s.rememberLocked(name, u)
	}
	return u, ok
}

func (s *accounts) remember(name string, u seenUser) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rememberLocked(name, u)
}

func (s *accounts) rememberLocked(name string, u seenUser) {
	if s.young == nil || len(s.young) >= maxUsers {
		s.old, s.young = s.young, map[string]seenUser{}
	}
	s.young[name] = u
}
