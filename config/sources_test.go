package config

import (
	"os"
	"strings"
	"testing"
)

// TestBrokenFile: lines that say nothing are errors with their places, at
// start and when the file is read again; then what was in force stays.
func TestBrokenFile(t *testing.T) {
	tests := []struct{ name, text, line, want string }{
		{"garbage", "[uuids]\nmax_count = 5\n\nmax_count 6\n", "4", "neither a [section], nor key = value"},
		{"no section", "; mine\nport = 1\n", "2", `"port" stands before the first [section]`},
		{"unclosed section", "[chttpd\nport = 1\n", "1", "between brackets"},
		{"text after a section", "[chttpd] x\n", "1", "between brackets"},
		{"empty section", "[]\n", "1", "between brackets"},
		{"no key", "[s]\n= v\n", "2", "neither"},
		{"not UTF-8", "[s]\nk = \xff\n", "2", "not UTF-8"},
		{"nonsense value", "[chttpd]\nport = 1\n[httpd]\nrequire_valid_user = yes\n", "4", "[chttpd] require_valid_user = yes: must be one of true, false"},
		{"unknown profile", "[mangrove]\nprofile = x\n", "2", "must be one of livesync"},
		{"secret", "[s]\nsecret hunter2\n", "2", "neither"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, tt.text, nil, Options{})
			if err == nil || !strings.Contains(err.Error(), "node.ini:"+tt.line+": ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("at start: %v", err)
			}
			c := mustLoad(t, "[uuids]\nmax_count = 7\n")
			if err := os.WriteFile(c.Path(), []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := c.Reload(); err == nil || !strings.Contains(err.Error(), "node.ini:"+tt.line+": ") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("when read again: %v", err)
			}
			if c.Snapshot().UUIDMaxCount != 7 {
				t.Error("what was in force is not")
			}
		})
	}
}

func TestPlaces(t *testing.T) {
	_, err := load(t, "", map[string]string{"MANGROVE_LOG_LEVEL": "loud"}, Options{Memory: "lots"})
	if err == nil || !strings.Contains(err.Error(), "MANGROVE_LOG_LEVEL: [log] level = loud: ") || !strings.Contains(err.Error(), "--memory: [mangrove] memory = lots: ") {
		t.Error(err)
	}
}

func TestProfile(t *testing.T) {
	byFile := "[mangrove]\nprofile = livesync\n"
	for name, c := range map[string]func() (*Config, error){
		"file": func() (*Config, error) { return load(t, byFile, nil, Options{}) },
		"environment": func() (*Config, error) {
			return load(t, "", map[string]string{"MANGROVE_PROFILE": "livesync"}, Options{})
		},
		"flag": func() (*Config, error) { return load(t, "", nil, Options{Profile: "livesync"}) },
	} {
		t.Run(name, func(t *testing.T) {
			c, err := c()
			if err != nil {
				t.Fatal(err)
			}
			check := func() {
				t.Helper()
				s := c.Snapshot()
				if !s.RequireValidUser || !s.CORS.Enabled || !s.CORS.Policy.Credentials || s.MaxDocumentSize != 50_000_000 ||
					strings.Join(s.CORS.Policy.Origins, " ") != "app://obsidian.md capacitor://localhost http://localhost" {
					t.Errorf("%+v", s.Settings)
				}
				if v, _ := s.Get("httpd", "WWW-Authenticate"); v != `Basic realm="couchdb"` {
					t.Errorf("%q", v)
				}
			}
			check()
			if err := c.Reload(); err != nil {
				t.Fatal(err)
			}
			check()
		})
	}
	c := mustLoad(t, byFile+"[cors]\norigins = https://notes.example\n")
	if o := c.Snapshot().CORS.Policy.Origins; len(o) != 1 || o[0] != "https://notes.example" {
		t.Errorf("the file overrules the profile: %v", o)
	}
	if _, _, err := c.Delete("chttpd", "require_valid_user", true); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Snapshot().Get("chttpd", "require_valid_user"); ok {
		t.Error("a deleted value of the profile came back")
	}
}

func TestRequireValidUser(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                      false,
		"[chttpd]\nrequire_valid_user = true\n": true,
		"[chttpd_auth]\nrequire_valid_user = true\n":                                     true,
		"[couch_httpd_auth]\nrequire_valid_user = true\n":                                true,
		"[chttpd]\nrequire_valid_user = false\n[httpd]\nrequire_valid_user = true\n":     false,
		"[chttpd]\nrequire_valid_user = false\n[chttpd_auth]\nrequire_valid_user=true\n": true,
	} {
		if got := mustLoad(t, text).Snapshot().RequireValidUser; got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestSecret(t *testing.T) {
	for _, s := range [][2]string{{"chttpd_auth", "secret"}, {"couch_httpd_auth", "secret"}, {"jwt_keys", "hmac:_default"}, {"ssl", "password"}, {"replicator", "password"}} {
		if !Secret(s[0], s[1]) {
			t.Errorf("%v is no secret", s)
		}
	}
	for _, s := range [][2]string{{"jwt_keys", "rsa:a"}, {"admins", "me"}, {"chttpd_auth", "proxy_use_secret"}, {"chttpd_auth", "password_regexp"}, {"chttpd", "port"}} {
		if Secret(s[0], s[1]) {
			t.Errorf("%v is a secret", s)
		}
	}
	if _, err := load(t, "[chttpd_auth]\nproxy_use_secret = hunter2\n", nil, Options{}); err == nil {
		t.Error("no error")
	}
}
