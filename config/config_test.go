package config

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// load reads a configuration whose file holds text, with these variables.
func load(t *testing.T, text string, env map[string]string, o Options) (*Config, error) {
	t.Helper()
	o.File = filepath.Join(t.TempDir(), "node.ini")
	if err := os.WriteFile(o.File, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Getenv = func(name string) string { return env[name] }
	return Load(o)
}

func mustLoad(t *testing.T, text string) *Config {
	t.Helper()
	c, err := load(t, text, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	got := mustLoad(t, "").Snapshot().Settings
	want := Settings{
		DataDir: "data", BindAddress: "127.0.0.1", Port: 5984,
		LogLevel: slog.LevelInfo, LogFormat: "text",
		MaxDocumentSize: 8000000, MaxAttachmentSize: 1 << 30, MaxRequestSize: 4 << 30,
		MaxURILength: 8000, MaxDBsInfo: 100, ChangesTimeout: time.Minute,
		AdminOnlyAllDBs: true, MaintenanceMode: "false", DefaultSecurity: "admin_only",
		UUIDAlgorithm: "sequential", UUIDMaxCount: 1000, CompressionLevel: 8,
		CompressibleTypes:  []string{"text/*", "application/javascript", "application/json", "application/xml"},
		PasswordIterations: 600000, PasswordPRF: "sha256",
		// These have tests of their own.
		Auth: got.Auth, PerUser: got.PerUser, CORS: got.CORS, TLS: got.TLS, ACME: got.ACME, Replicator: got.Replicator,
		Log: got.Log, Prometheus: got.Prometheus, Limits: got.Limits,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.Address() != "127.0.0.1:5984" {
		t.Error(got.Address())
	}
}

func TestPrecedence(t *testing.T) {
	const file = "[chttpd]\nport = 1\n[couchdb]\ndatabase_dir = f\n[log]\nlevel = debug\n[mangrove]\nmemory = 1g\n"
	env := map[string]string{"MANGROVE_LISTEN": ":2", "MANGROVE_DATA": "e"}
	c, err := load(t, file, env, Options{Listen: "[::1]:3", Memory: "64 MiB"})
	if err != nil {
		t.Fatal(err)
	}
	s := c.Snapshot()
	if s.Address() != "[::1]:3" || s.DataDir != "e" || s.LogLevel != slog.LevelDebug || s.Memory != 64<<20 {
		t.Errorf("got %s %s %s %d", s.Address(), s.DataDir, s.LogLevel, s.Memory)
	}
	if v, _ := s.Get("chttpd", "bind_address"); v != "::1" {
		t.Errorf("the raw value is %q", v)
	}
	if err := c.Reload(); err != nil || c.Snapshot().Port != 3 {
		t.Errorf("after a reload: %v, port %d", err, c.Snapshot().Port)
	}
}

func TestListen(t *testing.T) {
	tests := []struct{ listen, want string }{
		{"10.0.0.1:80", "10.0.0.1:80"},
		{":80", ":80"},
		{"80", "127.0.0.1:80"},
		{"0", "127.0.0.1:0"},
		{"localhost", "localhost:5984"},
		{"::1", "[::1]:5984"},
		{"[::]:80", "[::]:80"},
		{"any:80", ":80"},
		{"a:b:c", ""},
		{"h:x", ""},
		{"h:70000", ""},
	}
	for _, tt := range tests {
		c, err := load(t, "", nil, Options{Listen: tt.listen})
		switch {
		case err != nil && tt.want != "":
			t.Errorf("%s: %v", tt.listen, err)
		case err == nil && c.Snapshot().Address() != tt.want:
			t.Errorf("%s: got %s, want %s", tt.listen, c.Snapshot().Address(), tt.want)
		}
	}
}

func TestFileIsSought(t *testing.T) {
	dir := t.TempDir()
	none := func(string) string { return "" }
	c, err := Load(Options{Data: dir, Getenv: none})
	if err != nil || c.Path() != filepath.Join(dir, "mangrove.ini") {
		t.Fatalf("%v, path %q", err, c.Path())
	}
	if _, err := Load(Options{File: filepath.Join(dir, "none.ini"), Getenv: none}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a named file that is missing: %v", err)
	}
}

func TestOlderSections(t *testing.T) {
	s := mustLoad(t, "[httpd]\nmax_http_request_size = 5\nport = 5986\n[couch_httpd_auth]\niterations = 10\n").Snapshot()
	if s.MaxRequestSize != 5 || s.PasswordIterations != 10 || s.Port != 5984 {
		t.Errorf("got %d %d %d", s.MaxRequestSize, s.PasswordIterations, s.Port)
	}
	s = mustLoad(t, "[httpd]\nmax_uri_length = 5\n[chttpd]\nmax_uri_length = 6\n").Snapshot()
	if s.MaxURILength != 6 {
		t.Errorf("got %d", s.MaxURILength)
	}
}

func TestValues(t *testing.T) {
	good := "[couchdb]\nmax_attachment_size = infinity\n[attachments]\ncompressible_types = ,\ncompression_level = 0\n" +
		"[log]\nlevel = warning\n[chttpd]\nbind_address = any\nchanges_timeout = 1500\n[couchdb]\nmaintenance_mode = nolb\n"
	s := mustLoad(t, good).Snapshot()
	if s.MaxAttachmentSize != Infinity || s.CompressibleTypes != nil || s.CompressionLevel != 0 ||
		s.LogLevel != slog.LevelWarn || s.Address() != ":5984" || s.ChangesTimeout != 1500*time.Millisecond || s.MaintenanceMode != "nolb" {
		t.Errorf("%+v", s.Settings)
	}
	for _, bad := range []string{
		"[chttpd]\nport = many", "[chttpd]\nport = 65536", "[mangrove]\nmemory = lots", "[couchdb]\ndefault_security = some",
		"[chttpd]\nrequire_valid_user = yes", "[replicator]\nverify_ssl_certificates = yes", "[mangrove]\nmemory = 1k1",
	} {
		_, key, _ := strings.Cut(bad, "\n")
		if _, err := load(t, bad, nil, Options{}); err == nil || !strings.Contains(err.Error(), key+": must be") && !strings.Contains(err.Error(), key+": must lie") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestDoubts: for values that make no sense and do no harm the defaults stand in, as in CouchDB.
func TestDoubts(t *testing.T) {
	c := mustLoad(t, "[attachments]\ncompression_level = 10\n[uuids]\nalgorithm = lucky\n[log]\nlevel = loud\n[httpd]\nmax_uri_length = infinity\n")
	s := c.Snapshot()
	if s.CompressionLevel != 8 || s.UUIDAlgorithm != "sequential" || s.LogLevel != slog.LevelInfo || s.MaxURILength != 8000 || len(s.Doubts) != 4 {
		t.Errorf("%+v", s)
	}
	if err := s.Doubt("uuids", "algorithm"); err == nil || !strings.HasPrefix(err.Error(), c.Path()+":4: [uuids] algorithm = lucky: must be one of sequential,") {
		t.Error(err)
	}
	if s.Doubt("httpd", "max_uri_length") == nil || s.Doubt("uuids", "max_count") != nil {
		t.Error("a doubt is not found, or one that is none")
	}
	if _, err := c.Set("uuids", "max_count", "many", true); err != nil || c.Snapshot().UUIDMaxCount != 1000 || c.Snapshot().Doubt("uuids", "max_count") == nil {
		t.Error(err)
	}
	if got, _ := c.Snapshot().Get("uuids", "max_count"); got != "many" {
		t.Errorf("%q", got)
	}
	var refused *ValueError
	if _, err := c.Set("chttpd_auth", "timeout", "long", true); !errors.As(err, &refused) {
		t.Error(err)
	}
	if err := c.Reload(); err != nil || len(c.Snapshot().Doubts) != 5 {
		t.Error(err, c.Snapshot().Doubts)
	}
	if _, err := c.Set("uuids", "max_count", "5", true); err != nil || c.Snapshot().UUIDMaxCount != 5 || c.Snapshot().Doubt("uuids", "max_count") != nil {
		t.Error(err)
	}
	if _, err := load(t, "", nil, Options{LogLevel: "loud"}); err == nil {
		t.Error("a flag that makes no sense is passed over")
	}
	_, remarks, err := Check(Options{File: c.Path(), Getenv: func(string) string { return "" }})
	if err != nil || len(remarks) != 4 || !strings.HasSuffix(remarks[0].Text, "; the default counts") {
		t.Errorf("%v %q", err, remarks)
	}
	entries, err := Describe(Options{File: c.Path(), Getenv: func(string) string { return "" }})
	if i := slices.IndexFunc(entries, func(e Entry) bool { return e.Section == "log" && e.Key == "level" }); err != nil || i < 0 || !strings.HasSuffix(entries[i].From, "makes no sense; the default counts") {
		t.Error(err, i)
	}
}

func TestSetAndDelete(t *testing.T) {
	c := mustLoad(t, "; kept\n[conf]\na = 1\n")
	before := c.Snapshot()
	if old, err := c.Set("conf", "a", "  two words ", true); old != "1" || err != nil {
		t.Errorf("%q, %v", old, err)
	}
	if old, err := c.Set("conf", "b", "x = y ; z", false); old != "" || err != nil {
		t.Errorf("%q, %v", old, err)
	}
	want := map[string]string{"a": "two words", "b": "x = y ; z"}
	if diff := cmp.Diff(want, c.Snapshot().Section("conf")); diff != "" {
		t.Error(diff)
	}
	if v, _ := before.Get("conf", "a"); v != "1" {
		t.Errorf("a snapshot changed: %q", v)
	}
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "two words"}, c.Snapshot().Section("conf")); diff != "" {
		t.Error(diff)
	}
	if old, found, err := c.Delete("conf", "a", true); old != "two words" || !found || err != nil {
		t.Errorf("%q, %v, %v", old, found, err)
	}
	if _, found, err := c.Delete("conf", "a", true); found || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	if text, _ := os.ReadFile(c.Path()); string(text) != "; kept\n[conf]\n" {
		t.Errorf("%q", text)
	}
	if got := c.Snapshot().Section("conf"); got == nil || len(got) != 0 {
		t.Errorf("%v", got)
	}
	if _, err := c.Set("conf", "", "v", true); !errors.Is(err, ErrInvalidKey) {
		t.Errorf("%v", err)
	}
}

func TestSetTakesEffect(t *testing.T) {
	c := mustLoad(t, "")
	if _, err := c.Set("uuids", "max_count", "5", true); err != nil || c.Snapshot().UUIDMaxCount != 5 {
		t.Errorf("%v, %d", err, c.Snapshot().UUIDMaxCount)
	}
	var bad *ValueError
	if _, err := c.Set("chttpd", "port", "nonsense", true); !errors.As(err, &bad) || c.Snapshot().Port != 5984 {
		t.Errorf("%v, %d", err, c.Snapshot().Port)
	}
	if text, _ := os.ReadFile(c.Path()); string(text) != "[uuids]\nmax_count = 5\n" {
		t.Errorf("nonsense was written: %q", text)
	}
	if old, _, err := c.Delete("uuids", "max_count", true); err != nil || old != "5" || c.Snapshot().UUIDMaxCount != 1000 {
		t.Errorf("%q, %v, %d", old, err, c.Snapshot().UUIDMaxCount)
	}
	if _, found, err := c.Delete("uuids", "max_count", true); err != nil || found {
		t.Errorf("a default that nobody has set shows: %v, %v", found, err)
	}
	if _, err := c.Set("attachments", "compressible_types", "", false); err != nil || c.Snapshot().CompressibleTypes != nil {
		t.Errorf("%v, %v", err, c.Snapshot().CompressibleTypes)
	}
	if _, err := c.Set("uuids", "max_count", "", false); err != nil || c.Snapshot().UUIDMaxCount != 1000 {
		t.Errorf("an empty value stands for the default: %v, %d", err, c.Snapshot().UUIDMaxCount)
	}
}

func TestShownDefaults(t *testing.T) {
	c := mustLoad(t, "")
	want := sections{"couchdb": {"database_dir": "data"}, "chttpd": {"bind_address": "127.0.0.1", "port": "5984"}}
	if diff := cmp.Diff(want, c.Snapshot().raw); diff != "" {
		t.Error(diff)
	}
	// A shown default that was deleted stays so: the file says it.
	if old, found, err := c.Delete("chttpd", "port", true); old != "5984" || !found || err != nil {
		t.Errorf("%q, %v, %v", old, found, err)
	}
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	if v, ok := c.Snapshot().Get("chttpd", "port"); ok || c.Snapshot().Port != 5984 {
		t.Errorf("%q, %d", v, c.Snapshot().Port)
	}
}

func TestFileModeAndLink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	dir := t.TempDir()
	c, err := Load(Options{Data: filepath.Join(dir, "new"), Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Set("admins", "a", "-x", true); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(c.Path()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", err, info.Mode())
	}
	link := filepath.Join(dir, "link.ini")
	if err := os.Symlink(c.Path(), link); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(c.Path(), 0o640); err != nil {
		t.Fatal(err)
	}
	c, err = Load(Options{File: link})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Set("admins", "a", "-y", true); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	if info, err := os.Stat(link); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", err, info.Mode())
	}
	if entries, _ := os.ReadDir(filepath.Join(dir, "new")); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

// TestLeftovers: what a writer that was killed has left behind goes, what another is just writing stays.
func TestLeftovers(t *testing.T) {
	c := mustLoad(t, "")
	older := time.Now().Add(-2 * leftoverAge)
	for name, stays := range map[string]bool{".123.new": false, ".124.new": true, ".old": true, "x.125.new": true} {
		path := c.Path() + name
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if name != ".124.new" {
			if err := os.Chtimes(path, older, older); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Set("a", "b", name, true); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSetFailsWhole(t *testing.T) {
	c := mustLoad(t, "")
	if err := os.Remove(c.Path()); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(c.Path(), 0o700); err != nil { // a directory in the file's place
		t.Fatal(err)
	}
	if _, err := c.Set("a", "b", "c", true); err == nil {
		t.Error("no error")
	}
	if _, ok := c.Snapshot().Get("a", "b"); ok {
		t.Error("set although it could not be written")
	}
}

func TestConcurrentSets(t *testing.T) {
	c := mustLoad(t, "")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, err := c.Set("s", strconv.Itoa(i), "v", true); err != nil {
				t.Error(err)
			}
			c.Snapshot().Sections()
		})
	}
	wg.Wait()
	if err := c.Reload(); err != nil || len(c.Snapshot().Section("s")) != 8 {
		t.Errorf("%v, %v", err, c.Snapshot().Section("s"))
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "1": 1, "10b": 10, "1k": 1 << 10, "64MiB": 64 << 20, "256 MB": 256 << 20, "2G": 2 << 30,
		"-1": -1, "": -1, "MiB": -1, "1t": -1, "1kk": -1, "9223372036854775807k": -1, "1.5g": -1,
	} {
		got, err := parseSize(s)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("parseSize(%q) = %d, %v", s, got, err)
		}
	}
}
