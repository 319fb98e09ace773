package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// optionsFor are options that name a file with this text.
func optionsFor(t *testing.T, text string, env map[string]string) Options {
	t.Helper()
	file := filepath.Join(t.TempDir(), "node.ini")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Options{File: file, Getenv: func(name string) string { return env[name] }}
}

func TestDescribe(t *testing.T) {
	o := optionsFor(t, "[admins]\nann = hunter2\n[chttpd_auth]\nsecret = hunter2\n[httpd]\nmax_uri_length = 9\n[mine]\nk = v ; w\n[log]\nlevel = debug\n", map[string]string{"MANGROVE_LISTEN": ":80"})
	o.LogLevel, o.Profile = "warn", "livesync"
	entries, err := Describe(o)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		got[e.Section+" "+e.Key] = e.Value + " ; " + filepath.Base(e.From)
		if strings.Contains(e.Value, "hunter2") {
			t.Errorf("a secret shows: %v", e)
		}
	}
	for key, want := range map[string]string{
		"admins ann":                "**** ; node.ini:2",
		"chttpd_auth secret":        "**** ; node.ini:4",
		"httpd max_uri_length":      "9 ; node.ini:6",
		"mine k":                    "v ; node.ini:8",
		"log level":                 "warn ; --log-level",
		"chttpd port":               "80 ; MANGROVE_LISTEN",
		"chttpd bind_address":       "any ; MANGROVE_LISTEN",
		"cors credentials":          "true ; profile livesync",
		"uuids max_count":           "1000 ; default",
		"couchdb max_document_size": "50000000 ; profile livesync",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if s := (Entry{Key: "k", Value: "a ; b"}).String(); s != `k = a \; b` {
		t.Errorf("%q would be read as another value", s)
	}
	if _, ok := got["chttpd max_uri_length"]; ok {
		t.Error("a default shows that the older section overrules")
	}
}

func TestCheck(t *testing.T) {
	const text = `[chttpd]
prot = 5984
require_valid_user = false
backlog = 512
port = 1
port = 5984
[admins]
ann = clear
bob = -pbkdf2-x
[cors]
orgins = *
[cors:a.example]
origin = *
[cluster]
q = 2
[mine]
anything = goes
[couch_httpd_auth]
iterations = 10
[replicator]
max_jobs = 5
entirely_different = 1
[jwt_keys]
hmac:a = YQ==
[log]
level = debug
`
	o := optionsFor(t, text, map[string]string{"MANGROVE_LOG_LEVEL": "info"})
	file, remarks, err := Check(o)
	if err != nil || file != o.File {
		t.Fatal(file, err)
	}
	var got []string
	for _, r := range remarks {
		got = append(got, strings.TrimPrefix(r.Place, o.File+":")+" "+strings.ReplaceAll(r.Text, o.File, "FILE"))
	}
	want := []string{
		"2 [chttpd] prot is not known: is port meant?; it is kept",
		"4 [chttpd] backlog is one of CouchDB's keys that mean nothing here; it is kept",
		"6 [chttpd] port stands at FILE:5 already; the later one counts",
		"8 [admins] ann: the password stands in clear; the next start hashes it",
		"11 [cors] orgins is not known: is origins meant?; it is kept",
		"13 [cors:a.example] origin is not known: is origins meant?; it is kept",
		"15 [cluster] q is one of CouchDB's keys that mean nothing here; it is kept",
		"22 [replicator] entirely_different is not known; it is kept",
		"26 [log] level is overruled by MANGROVE_LOG_LEVEL",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCheckFails(t *testing.T) {
	for text, want := range map[string]string{
		"nonsense\n":              "node.ini:1: neither",
		"[chttpd]\nport = many\n": "node.ini:2: [chttpd] port = many: must be a number",
		"[ssl]\nenable = true\n":  "needs cert_file",
	} {
		if _, _, err := Check(optionsFor(t, text, nil)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"port", "port", 0}, {"prot", "port", 1}, {"port", "", 4}, {"orgins", "origins", 1}, {"abc", "xyz", 3}} {
		if got := distance(tt.a, tt.b); got != tt.want || distance(tt.b, tt.a) != tt.want {
			t.Errorf("%q to %q: %d", tt.a, tt.b, got)
		}
	}
}

// FuzzFile: no file makes the node panic, and one that is taken is whole.
func FuzzFile(f *testing.F) {
	f.Add("[chttpd]\nport = 1\nauthentication_handlers = {chttpd_auth, cookie_authentication_handler}\n")
	f.Add("[cors:http://[::1]:1]\norigins = *, x\nmax_age = 5\n[chttpd]\nenable_cors = true\n[ssl]\ntls_versions = ['tlsv1.3']\n")
	f.Add("[chttpd_auth]\npassword_regexp = [{\"a.*\", \"reason\"}]\n[jwt_auth]\nrequired_claims = exp, {iss, \"x\"}\n[mangrove]\nprofile = livesync\nmemory = 1g\n")
	path := filepath.Join(f.TempDir(), "node.ini")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o := Options{File: path, Getenv: func(string) string { return "" }}
		c, err := Load(o)
		if err != nil {
			return
		}
		before := c.Snapshot().raw
		if err := c.Reload(); err != nil {
			t.Fatalf("taken once and then not: %v", err)
		}
		if diff := cmp.Diff(before, c.Snapshot().raw); diff != "" {
			t.Fatal(diff)
		}
		c.Snapshot().CORS.For(text)
		if _, _, err := Check(o); err != nil && c.Snapshot().CheckTLS() == nil {
			t.Fatal(err)
		}
	})
}
