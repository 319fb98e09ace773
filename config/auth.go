package config

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Auth says how requests prove who they speak for, and what accounts may do.
// Keys are those of [chttpd_auth] (and of [couch_httpd_auth], where CouchDB
// had them before) unless the comment names a section. Where CouchDB names no
// value in its defaults, none shows in Sections.
type Auth struct {
	// Handlers are tried in order: "cookie", "default" (the Basic scheme),
	// "jwt", "proxy": [chttpd] authentication_handlers, cookie and default.
	Handlers []string
	// RequireUserExceptForUp refuses anonymous requests but for _up:
	// [chttpd] require_valid_user_except_for_up, false.
	RequireUserExceptForUp bool
	// Challenge is the WWW-Authenticate header of answers 401, "" for none:
	// [chttpd] or [httpd] WWW-Authenticate.
	Challenge string

	// Secret signs cookies and proxies' tokens: secret. It is made at the first start.
	Secret string
	// Timeout is how long a cookie is good: timeout (seconds), 600.
	Timeout time.Duration
	// PersistentCookies lets cookies outlive the browser: allow_persistent_cookies, true.
	PersistentCookies bool
	// CookieDomain is the cookie's Domain, "" for none: cookie_domain.
	CookieDomain string
	// SameSite is "", "None", "Lax" or "Strict": same_site.
	SameSite string
	// HashAlgorithms sign cookies, the first, or are accepted: hash_algorithms, "sha256, sha".
	HashAlgorithms []string

	// MinIterations and MaxIterations bound what a stored hash may ask for:
	// min_iterations, 1, and max_iterations, 1000000000.
	MinIterations, MaxIterations int
	// UpgradeHashes derives keys anew as the settings of today ask for when
	// their owners sign in: upgrade_hash_on_auth, true.
	UpgradeHashes bool
	// PasswordRules are what new passwords have to match: password_regexp.
	PasswordRules []PasswordRule
	// PasswordRulesBroken says that password_regexp makes no sense: then there
	// can be no new passwords.
	PasswordRulesBroken bool
	// PublicFields are shown to everybody of anybody's account: public_fields, none.
	PublicFields []string
	// UsersPublic lets everybody who may use the database of accounts list it,
	// if there are public fields: users_db_public, false.
	UsersPublic bool
	// UsersSecurityEditable lets that database's security object be changed:
	// [couchdb] users_db_security_editable, false.
	UsersSecurityEditable bool

	// ProxyUserHeader, ProxyRolesHeader and ProxyTokenHeader are what a proxy
	// that authenticates sends: x_auth_username, x_auth_roles, x_auth_token.
	ProxyUserHeader, ProxyRolesHeader, ProxyTokenHeader string
	// ProxyUseSecret asks proxies for a token: proxy_use_secret, false.
	ProxyUseSecret bool

	// Lockout is the section [chttpd_auth_lockout].
	Lockout Lockout
	// JWT is the section [jwt_auth].
	JWT JWT
}

// PasswordRule is a part of password_regexp.
type PasswordRule struct {
	Pattern *regexp.Regexp
	Reason  string // shown to whoever chose a password that does not match, if not ""
}

// Lockout says what failing to sign in leads to.
type Lockout struct {
	Mode        string        // "off", "warn" or "enforce": mode, enforce
	Threshold   int           // failures: threshold, 5
	MaxObjects  int           // addresses and names remembered: max_objects, 10000
	MaxLifetime time.Duration // of what is remembered: max_lifetime (milliseconds), 300000
}

// JWT says which tokens are taken. Their keys are in [jwt_keys].
type JWT struct {
	// Required are claims that must be there: required_claims, exp.
	Required []Claim
	// RequiredBroken says that required_claims makes no sense: then no token is taken.
	RequiredBroken bool
	// RolesPath leads to the claim with the roles: roles_claim_path, its parts
	// between dots, or roles_claim_name, one part, "_couchdb.roles".
	RolesPath []string
}

// Claim is a claim that a token must have.
type Claim struct {
	Name  string
	Value string // that it must have, if HasValue
	// HasValue is set for {name, "value"}.
	HasValue bool
}

// PerUser is the section [couch_peruser].
type PerUser struct {
	// Enable gives every account a database of its own: enable, false.
	Enable bool
	// DeleteDBs deletes it with the account: delete_dbs, false.
	DeleteDBs bool
	// Prefix begins its name: database_prefix, "userdb-".
	Prefix string
	// Q is the q it is made with, 0 for the default: q.
	Q int
}

// sayOr is what is said of a key, or fallback.
func (r *reader) sayOr(section, key, fallback string) string {
	if value, ok := r.said(section, key); ok && value != "" {
		return value
	}
	return fallback
}

// flagOr is what is said of a key that is true or false, or fallback.
func (r *reader) flagOr(section, key string, fallback bool) bool {
	switch value, ok := r.said(section, key); {
	case !ok:
	case value == "true":
		return true
	case value == "false":
		return false
	default:
		r.wrong(section, key, value, fmt.Errorf("must be one of true, false"))
	}
	return fallback
}

// numberOr is what is said of a key that is a number, or fallback.
func (r *reader) numberOr(section, key string, fallback, least, most int) int {
	value, ok := r.said(section, key)
	if !ok {
		return fallback
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		r.wrong(section, key, value, fmt.Errorf("must be a number between %d and %d", least, most))
		return fallback
	}
	return n
}

// auth reads the settings of credentials and accounts.
func (r *reader) auth() Auth {
	a := Auth{
		Handlers:               r.handlers(),
		RequireUserExceptForUp: r.flagOr("chttpd", "require_valid_user_except_for_up", false),
		Challenge:              r.sayOr("chttpd", "WWW-Authenticate", ""),
		Secret:                 r.sayOr("chttpd_auth", "secret", ""),
		Timeout:                time.Duration(r.numberOr("chttpd_auth", "timeout", 600, 1, math.MaxInt32)) * time.Second,
		PersistentCookies:      r.flagOr("chttpd_auth", "allow_persistent_cookies", true),
		CookieDomain:           r.cookieDomain(),
		SameSite:               r.sameSite(),
		HashAlgorithms:         r.hashAlgorithms(),
		MinIterations:          r.numberOr("chttpd_auth", "min_iterations", 1, 1, math.MaxInt32),
		MaxIterations:          r.numberOr("chttpd_auth", "max_iterations", 1_000_000_000, 1, math.MaxInt32),
		UpgradeHashes:          r.flagOr("chttpd_auth", "upgrade_hash_on_auth", true),
		PublicFields:           splitList(r.sayOr("chttpd_auth", "public_fields", "")),
		UsersPublic:            r.flagOr("chttpd_auth", "users_db_public", false),
		UsersSecurityEditable:  r.flagOr("couchdb", "users_db_security_editable", false),
		ProxyUserHeader:        r.sayOr("chttpd_auth", "x_auth_username", "X-Auth-CouchDB-UserName"),
		ProxyRolesHeader:       r.sayOr("chttpd_auth", "x_auth_roles", "X-Auth-CouchDB-Roles"),
		ProxyTokenHeader:       r.sayOr("chttpd_auth", "x_auth_token", "X-Auth-CouchDB-Token"),
		ProxyUseSecret:         r.flagOr("chttpd_auth", "proxy_use_secret", false),
		Lockout:                r.lockout(),
		JWT:                    r.jwt(),
	}
	a.PasswordRules, a.PasswordRulesBroken = r.passwordRules()
	return a
}

// perUser reads the settings of databases per user.
func (r *reader) perUser() PerUser {
	return PerUser{
		Enable:    r.flagOr("couch_peruser", "enable", false),
		DeleteDBs: r.flagOr("couch_peruser", "delete_dbs", false),
		Prefix:    r.sayOr("couch_peruser", "database_prefix", "userdb-"),
		Q:         r.numberOr("couch_peruser", "q", 0, 1, math.MaxInt32),
	}
}

var handlerPattern = regexp.MustCompile(`\{\s*(?:chttpd_auth|couch_httpd_auth)\s*,\s*([a-z]+)_authentication_handler\s*\}`)

// handlers reads CouchDB's list of Erlang tuples, of which the functions are known by name.
func (r *reader) handlers() []string {
	standard := []string{"cookie", "default"}
	value, ok := r.said("chttpd", "authentication_handlers")
	if !ok || value == "" {
		return standard
	}
	known := []string{"cookie", "default", "jwt", "proxy"}
	var names []string
	for _, match := range handlerPattern.FindAllStringSubmatch(value, -1) {
		if slices.Contains(known, match[1]) && !slices.Contains(names, match[1]) {
			names = append(names, match[1])
		}
	}
	if rest := handlerPattern.ReplaceAllString(value, ""); strings.Trim(rest, ", \t[]") != "" || len(names) == 0 {
		r.wrong("chttpd", "authentication_handlers", value, fmt.Errorf("must be a list of {chttpd_auth, NAME_authentication_handler}, NAME one of %s", strings.Join(known, ", ")))
	}
	if len(names) == 0 {
		return standard
	}
	return names
}

// cookieDomain is checked because it becomes a part of a header.
func (r *reader) cookieDomain() string {
	value := r.sayOr("chttpd_auth", "cookie_domain", "")
	for _, c := range []byte(value) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-':
		default:
			r.wrong("chttpd_auth", "cookie_domain", value, fmt.Errorf("must be a domain name"))
			return ""
		}
	}
	return value
}

func (r *reader) sameSite() string {
	switch value := r.sayOr("chttpd_auth", "same_site", ""); strings.ToLower(value) {
	case "":
	case "none":
		return "None"
	case "lax":
		return "Lax"
	case "strict":
		return "Strict"
	default:
		r.wrong("chttpd_auth", "same_site", value, fmt.Errorf("must be one of none, lax, strict"))
	}
	return ""
}

// HashNames are the names of hashes that settings may use.
var HashNames = []string{"sha", "sha224", "sha256", "sha384", "sha512"}

func (r *reader) hashAlgorithms() []string {
	value := r.sayOr("chttpd_auth", "hash_algorithms", "sha256, sha")
	var names []string
	for _, name := range splitList(value) {
		if slices.Contains(HashNames, name) {
			names = append(names, name)
		} else {
			r.wrong("chttpd_auth", "hash_algorithms", value, fmt.Errorf("must be a list of %s", strings.Join(HashNames, ", ")))
		}
	}
	if len(names) == 0 {
		return []string{"sha256", "sha"}
	}
	return names
}

func (r *reader) lockout() Lockout {
	const section = "chttpd_auth_lockout"
	l := Lockout{
		Mode:        r.sayOr(section, "mode", "enforce"),
		Threshold:   r.numberOr(section, "threshold", 5, 1, math.MaxInt32),
		MaxObjects:  r.numberOr(section, "max_objects", 10_000, 1, math.MaxInt32),
		MaxLifetime: time.Duration(r.numberOr(section, "max_lifetime", 300_000, 1, math.MaxInt32)) * time.Millisecond,
	}
	if !slices.Contains([]string{"off", "warn", "enforce"}, l.Mode) {
		r.wrong(section, "mode", l.Mode, fmt.Errorf("must be one of off, warn, enforce"))
		l.Mode = "enforce"
	}
	return l
}

var (
	claimsPattern = regexp.MustCompile(`^\s*(?:` + claimText + `)(?:\s*,\s*(?:` + claimText + `))*\s*$`)
	claimPattern  = regexp.MustCompile(claimText)
)

// claimText is one of required_claims: a name, or a name and the value it must have.
const claimText = `([A-Za-z0-9_]+)|\{\s*([A-Za-z0-9_]+)\s*,\s*"([^"]+)"\s*\}`

func (r *reader) jwt() JWT {
	const section = "jwt_auth"
	var j JWT
	required, ok := r.said(section, "required_claims")
	if !ok {
		required = "exp"
	}
	if strings.TrimSpace(required) != "" {
		if j.RequiredBroken = !claimsPattern.MatchString(required); j.RequiredBroken {
			r.wrong(section, "required_claims", required, fmt.Errorf(`must be a list such as exp, {iss, "issuer"}`))
		}
		for _, m := range claimPattern.FindAllStringSubmatch(required, -1) {
			if m[1] != "" {
				j.Required = append(j.Required, Claim{Name: m[1]})
			} else {
				j.Required = append(j.Required, Claim{Name: m[2], Value: m[3], HasValue: true})
			}
		}
	}
	if path, ok := r.said(section, "roles_claim_path"); ok && path != "" {
		j.RolesPath = claimPath(path)
	} else {
		j.RolesPath = []string{r.sayOr(section, "roles_claim_name", "_couchdb.roles")}
	}
	return j
}

// claimPath splits a path at the dots that no backslash stands before.
func claimPath(path string) []string {
	var parts []string
	var part strings.Builder
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '\\' && i+1 < len(path) && path[i+1] == '.':
			i++
			part.WriteByte('.')
		case path[i] == '.':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(path[i])
		}
	}
	return append(parts, part.String())
}
