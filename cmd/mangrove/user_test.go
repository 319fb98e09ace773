package main

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// startNode runs "mangrove serve" until the test ends and returns its address.
// It has the administrator "root", password "secret".
func startNode(t *testing.T, data string) (address string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be signalled")
	}
	quick := []byte("[chttpd_auth]\niterations = 10\n")
	if err := os.WriteFile(filepath.Join(data, "mangrove.ini"), quick, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, []string{"COUCHDB_USER=root", "COUCHDB_PASSWORD=secret"}, "serve", "--data", data, "--listen", "127.0.0.1:0")
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(log)
	listening := regexp.MustCompile(`msg=listening addr=(\S+)`)
	for lines.Scan() {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			go io.Copy(io.Discard, log)
			return m[1]
		}
	}
	t.Fatal("the node does not listen")
	return ""
}

func TestUserCommands(t *testing.T) {
	address := startNode(t, t.TempDir())
	node := "http://" + address
	asRoot := []string{"COUCHDB_USER=root", "COUCHDB_PASSWORD=secret"}
	signsIn := func(name, password string) bool {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, node+"/_session", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(name, password)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	}
	steps := []struct {
		name   string
		env    []string
		input  string
		args   []string
		code   int
		output string
	}{
		{"add", asRoot, "ann's\n", []string{"add", "ann", "--role", "gardener"}, 0, "account ann was made"},
		{"add twice", asRoot, "other\n", []string{"add", "ann"}, exitFailure, "ann exists already"},
		{"passwd", asRoot, "new one", []string{"passwd", "ann"}, 0, "account ann has its new password"},
		{"passwd of nobody", asRoot, "x\n", []string{"passwd", "bob"}, exitFailure, "there is no account bob"},
		{"odd name", asRoot, "x/y\n", []string{"add", "b/ö?#"}, 0, "was made"},
		{"add administrator", asRoot, "boss's\r\n", []string{"add", "boss", "--admin"}, 0, "administrator boss was made"},
		{"add administrator twice", asRoot, "x\n", []string{"add", "boss", "--admin"}, exitFailure, "boss exists already"},
		{"passwd of an administrator", asRoot, "boss 2\n", []string{"passwd", "boss", "--admin"}, 0, "has its new password"},
		{"passwd of no administrator", asRoot, "x\n", []string{"passwd", "ann", "--admin"}, exitFailure, "there is no administrator ann"},
		{"empty password", asRoot, "\n", []string{"add", "cat"}, exitFailure, "the password is empty"},
		{"no password", asRoot, "", []string{"add", "cat"}, exitFailure, "nothing to read"},
		{"wrong administrator", []string{"COUCHDB_USER=root", "COUCHDB_PASSWORD=hunter2"}, "x\n", []string{"add", "cat"}, exitFailure, "401 unauthorized: Name or password is incorrect."},
		{"no administrator", nil, "x\n", []string{"add", "cat"}, exitFailure, "Set COUCHDB_USER and COUCHDB_PASSWORD"},
		{"by the URL", nil, "x\n", []string{"add", "cat", "--node", "http://root:secret@" + address}, 0, "account cat was made"},
		{"colon", asRoot, "x\n", []string{"add", "a:b"}, exitUsage, "nor have a colon"},
		{"roles of an administrator", asRoot, "x\n", []string{"add", "a", "--admin", "--role", "r"}, exitUsage, "exclude each other"},
		{"offline account", nil, "x\n", []string{"add", "a", "--offline"}, exitUsage, "--offline needs --admin"},
		{"no name", nil, "", []string{"add"}, exitUsage, "accepts 1 arg"},
		{"bad URL", asRoot, "x\n", []string{"add", "a", "--node", "ftp://x"}, exitFailure, "--node must be the URL"},
		{"no command", nil, "", nil, exitUsage, "add or passwd"},
	}
	for _, s := range steps {
		args := append([]string{"user"}, s.args...)
		if len(s.args) > 0 && !strings.Contains(strings.Join(s.args, " "), "--node") {
			args = append(args, "--node", node)
		}
		cmd := command(t, s.env, args...)
		cmd.Stdin = strings.NewReader(s.input)
		code, stdout, stderr := output(t, cmd)
		if code != s.code || !strings.Contains(stdout+stderr, s.output) {
			t.Errorf("%s: code %d, want %d\n%s%s", s.name, code, s.code, stdout, stderr)
		}
		if strings.Contains(stdout+stderr, "hunter2") {
			t.Errorf("%s: a password shows: %s%s", s.name, stdout, stderr)
		}
	}
	for _, p := range []struct {
		name, password string
		good           bool
	}{{"ann", "new one", true}, {"ann", "ann's", false}, {"b/ö?#", "x/y", true}, {"boss", "boss 2", true}, {"cat", "x", true}} {
		if got := signsIn(p.name, p.password); got != p.good {
			t.Errorf("%s with %q: %v", p.name, p.password, got)
		}
	}
}

func TestUserWithoutNode(t *testing.T) {
	data := t.TempDir()
	var address string
	t.Run("node", func(t *testing.T) { address = startNode(t, data) }) // ends with the subtest
	env := []string{"COUCHDB_USER=root", "COUCHDB_PASSWORD=secret"}
	cmd := command(t, env, "user", "passwd", "root", "--admin", "--node", "http://"+address)
	cmd.Stdin = strings.NewReader("x\n")
	if code, _, stderr := output(t, cmd); code != exitFailure || !strings.Contains(stderr, "no node answers at http://") || !strings.Contains(stderr, "--offline") {
		t.Errorf("%d %s", code, stderr)
	}
	for _, args := range [][]string{{"passwd", "root"}, {"add", "boss"}} {
		cmd := command(t, nil, append(append([]string{"user"}, args...), "--admin", "--offline", "--data", data)...)
		cmd.Stdin = strings.NewReader("found again\n")
		if code, stdout, stderr := output(t, cmd); code != 0 {
			t.Errorf("%d %s%s", code, stdout, stderr)
		}
	}
	text, err := os.ReadFile(filepath.Join(data, "mangrove.ini"))
	if err != nil {
		t.Fatal(err)
	}
	if s := string(text); strings.Contains(s, "found again") || strings.Count(s, "root = -pbkdf2:") != 1 || !strings.Contains(s, "boss = -pbkdf2:") || !strings.Contains(s, "iterations = 10") {
		t.Errorf("the file:\n%s", s)
	}
}
