package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindDatabase(t *testing.T) {
	t.Setenv("COUCHDB_USER", "ann")
	t.Setenv("COUCHDB_PASSWORD", "a:b")
	f := placeFlags{node: "http://127.0.0.1:5984"}
	tests := []struct {
		args     []string
		base, db string
	}{
		{nil, "http://ann:a%3Ab@127.0.0.1:5984", ""},
		{[]string{"garden"}, "http://ann:a%3Ab@127.0.0.1:5984", "garden"},
		{[]string{"a/b"}, "http://ann:a%3Ab@127.0.0.1:5984", "a/b"},
		{[]string{"http://h"}, "http://ann:a%3Ab@h", ""},
		{[]string{"http://h/"}, "http://ann:a%3Ab@h", ""},
		{[]string{"https://bob:pw@h:6984/db"}, "https://bob:pw@h:6984", "db"},
		{[]string{"http://h/a%2Fb+c"}, "http://ann:a%3Ab@h", "a/b+c"},
		{[]string{"http://h/couch/"}, "http://ann:a%3Ab@h/couch", ""},
		{[]string{"http://h/couch/db"}, "http://ann:a%3Ab@h/couch", "db"},
	}
	for _, tt := range tests {
		base, db, err := f.find(tt.args)
		if err != nil || strings.TrimSuffix(base.String(), "/") != tt.base || db != tt.db {
			t.Errorf("%v: %v, %q, %v", tt.args, base, db, err)
		}
	}
	for _, wrong := range []string{"", "ftp://h/db", "http:///db", "http://h:port:pw/db", "http://h/%zz"} {
		if _, _, err := f.find([]string{wrong}); err == nil || strings.Contains(err.Error(), "pw") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

func TestPrintable(t *testing.T) {
	const hostile = "caf\u00e9\x1b[2J\r\u009b31m\tx\ny"
	if got, want := printable(hostile), "caf\u00e9\ufffd[2J\ufffd\ufffd31m\ufffdx\ny"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestBackupCommandLines(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "file.jsonl")
	if err := os.WriteFile(file, []byte("[]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const nobody = "http://ann:secret@127.0.0.1:1"
	tests := []struct {
		name   string
		args   []string
		code   int
		stderr string
	}{
		{"all to nowhere", []string{"backup"}, exitUsage, "-o"},
		{"all to standard output", []string{"backup", "-o", "-"}, exitUsage, "folder"},
		{"two databases", []string{"backup", "a", "b"}, exitUsage, "at most 1"},
		{"no address", []string{"backup", "ftp://h/db", "-o", "x"}, exitUsage, "not the URL"},
		{"nothing to restore", []string{"restore"}, exitUsage, "between 1 and 2"},
		{"no such file", []string{"restore", filepath.Join(folder, "none"), "db"}, exitFailure, "none"},
		{"a file to a node", []string{"restore", file}, exitUsage, "which database"},
		{"a folder to a database", []string{"restore", folder, "db"}, exitUsage, "is a folder"},
		{"a folder that is none", []string{"restore", folder, nobody}, exitFailure, "manifest.json"},
		{"no connections", []string{"restore", file, "db", "--connections", "0"}, exitUsage, "--connections"},
		{"a healthy nobody", []string{"health", "--node", nobody}, exitFailure, "no node answers"},
		{"health of no address", []string{"health", "--node", "x"}, exitUsage, "must be the URL"},
		{"check with an argument", []string{"check", "x"}, exitUsage, "unknown command"},
		{"check of nothing", []string{"check", "--data", filepath.Join(folder, "none")}, exitFailure, "no data"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, _, stderr := output(t, command(t, nil, tt.args...))
			if code != tt.code || !strings.Contains(stderr, tt.stderr) || strings.Contains(stderr, "secret") {
				t.Errorf("code %d, want %d\n%s", code, tt.code, stderr)
			}
		})
	}
}
