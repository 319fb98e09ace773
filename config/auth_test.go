package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAuthSettings(t *testing.T) {
	a := mustLoad(t, "").Snapshot().Auth
	want := Auth{
		Handlers: []string{"cookie", "default"}, Timeout: 10 * time.Minute, PersistentCookies: true,
		HashAlgorithms: []string{"sha256", "sha"}, MinIterations: 1, MaxIterations: 1_000_000_000, UpgradeHashes: true,
		ProxyUserHeader: "X-Auth-CouchDB-UserName", ProxyRolesHeader: "X-Auth-CouchDB-Roles", ProxyTokenHeader: "X-Auth-CouchDB-Token",
		Lockout: Lockout{"enforce", 5, 10_000, 5 * time.Minute},
		JWT:     JWT{Required: []Claim{{Name: "exp"}}, RolesPath: []string{"_couchdb.roles"}},
	}
	if !reflect.DeepEqual(a, want) {
		t.Errorf("%+v\nwant\n%+v", a, want)
	}
	s := mustLoad(t, `
[chttpd]
authentication_handlers = {chttpd_auth, jwt_authentication_handler}, {chttpd_auth,cookie_authentication_handler}, {couch_httpd_auth, default_authentication_handler}
WWW-Authenticate = Basic realm="x"
[couch_httpd_auth]
timeout = 60
[chttpd_auth]
same_site = LAX
cookie_domain = example.com
hash_algorithms = sha512
public_fields = a, b ,,
password_regexp = [{".{3,}", "At \"least\" 3."}, "[a-z]", {"\\d"}].
[jwt_auth]
required_claims = exp, {iss, "https://x/"}
roles_claim_path = a\.b.c
[couch_peruser]
enable = true
q = 3
`).Snapshot()
	a = s.Auth
	if !slices.Equal(a.Handlers, []string{"jwt", "cookie", "default"}) || a.Challenge != `Basic realm="x"` || a.Timeout != time.Minute || a.SameSite != "Lax" ||
		a.CookieDomain != "example.com" || !slices.Equal(a.HashAlgorithms, []string{"sha512"}) || !slices.Equal(a.PublicFields, []string{"a", "b"}) {
		t.Errorf("%+v", a)
	}
	if len(a.PasswordRules) != 3 || a.PasswordRules[0].Reason != `At "least" 3.` || a.PasswordRules[2].Pattern.String() != `\d` {
		t.Errorf("%+v", a.PasswordRules)
	}
	if !slices.Equal(a.JWT.Required, []Claim{{Name: "exp"}, {"iss", "https://x/", true}}) || !slices.Equal(a.JWT.RolesPath, []string{"a.b", "c"}) {
		t.Errorf("%+v", a.JWT)
	}
	if want := (PerUser{Enable: true, Prefix: "userdb-", Q: 3}); s.PerUser != want {
		t.Errorf("%+v", s.PerUser)
	}
}

func TestAuthSettingsRefused(t *testing.T) {
	for _, tt := range []struct{ section, key, value string }{
		{"chttpd", "authentication_handlers", "{chttpd_auth, null_authentication_handler}"},
		{"chttpd", "authentication_handlers", "cookie"},
		{"chttpd_auth", "timeout", "0"},
		{"chttpd_auth", "same_site", "maybe"},
		{"chttpd_auth", "cookie_domain", "x; Path=/"},
		{"chttpd_auth", "hash_algorithms", "md5"},
		{"chttpd_auth", "allow_persistent_cookies", "1"},
		{"chttpd_auth_lockout", "mode", "on"},
		{"jwt_auth", "required_claims", "{exp}"},
		{"jwt_auth", "required_claims", "exp iat"},
	} {
		r := &reader{raw: sections{tt.section: {tt.key: tt.value}}}
		r.auth()
		if len(r.errors) != 1 {
			t.Errorf("[%s] %s = %s: %v", tt.section, tt.key, tt.value, r.errors)
		}
	}
	for _, rules := range []string{`x`, `["a"`, `["a" "b"]`, `[{"a"]`, `[{"a","b"]`, `["("]`, `["a"]x`, `[a]`, `["a`, `[{"a",5}]`} {
		r := &reader{raw: sections{"chttpd_auth": {"password_regexp": rules}}}
		if a := r.auth(); !a.PasswordRulesBroken || len(r.errors) != 1 {
			t.Errorf("%s: %v", rules, r.errors)
		}
	}
}

func FuzzPasswordRules(f *testing.F) {
	f.Add(`[{".{3,}", "At \"least\" 3."}, "[a-z]"]`)
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := parsePasswordRules(text)
		if err == nil && !strings.HasPrefix(strings.TrimLeft(text, " \t"), "[") || err != nil && rules != nil {
			t.Errorf("%q: %v, %v", text, rules, err)
		}
	})
}
