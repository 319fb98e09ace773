package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigCommands(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good.ini", "[chttpd]\nport = 6000\n[chttpd_auth]\nsecret = hunter2\n")
	odd := file("odd.ini", "[chttpd]\nprot = 6000\n")
	bad := file("bad.ini", "[chttpd]\nport 6000\n")
	tests := []struct {
		name   string
		env    []string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"check", nil, []string{"config", "check", "--config", good}, 0, "good.ini: nothing to remark", ""},
		{"check without a file", nil, []string{"config", "check"}, 0, "nothing to remark", ""},
		{"check remarks", nil, []string{"config", "check", "--config", odd}, 0, "odd.ini:2: [chttpd] prot is not known: is port meant?", ""},
		{"check refuses", nil, []string{"config", "check", "--config", bad}, exitFailure, "", "bad.ini:2: neither a [section]"},
		{"serve refuses", nil, []string{"serve", "--config", bad}, exitFailure, "", "bad.ini:2: neither a [section]"},
		{"show", []string{"MANGROVE_LISTEN=:7"}, []string{"config", "show", "--config", good}, 0, "port = 7 ; MANGROVE_LISTEN\n", ""},
		{"show a section", nil, []string{"config", "show", "chttpd_auth", "--config", good}, 0, "secret = **** ; " + good + ":4\n", ""},
		{"show no section", nil, []string{"config", "show", "none", "--config", good}, exitFailure, "", "no section [none]"},
		{"show a profile", nil, []string{"config", "show", "cors", "--profile", "livesync"}, 0, "credentials = true ; profile livesync\n", ""},
		{"unknown profile", nil, []string{"serve", "--profile", "none"}, exitFailure, "", "--profile: [mangrove] profile = none: must be one of livesync"},
		{"no command", nil, []string{"config"}, exitUsage, "", "check or show"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := output(t, command(t, tt.env, tt.args...))
			if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) {
				t.Errorf("code %d, want %d\nstdout: %s\nstderr: %s", code, tt.code, stdout, stderr)
			}
			if strings.Contains(stdout+stderr, "hunter2") {
				t.Errorf("a secret shows:\n%s%s", stdout, stderr)
			}
		})
	}
}
