package main

import (
	"slices"
	"strings"
	"testing"
)

func TestReplicateSpec(t *testing.T) {
	t.Setenv("COUCHDB_USER", "ann")
	t.Setenv("COUCHDB_PASSWORD", "a:b")
	f := replicateFlags{
		node: "http://127.0.0.1:5984/", docIDs: []string{"elm", "oak"}, headers: []string{"X-Trace: 7"},
		workers: 3, batch: 9, connections: 5, since: "12-x", createTarget: true, partitioned: true,
	}
	s, err := f.spec("a/b", "https://bob:secret@far.example/db")
	if err != nil {
		t.Fatal(err)
	}
	if s.Source.URL != "http://127.0.0.1:5984/a%2Fb/" || s.Source.Auth == nil || s.Source.Auth.Password != "a:b" {
		t.Errorf("a bare name became %s", s.Source.URL)
	}
	if s.Target.Auth == nil || s.Target.Auth.Username != "bob" || strings.Contains(s.Target.Redacted(), "secret") {
		t.Errorf("the target became %s", s.Target.Redacted())
	}
	if !slices.Equal(s.DocIDs, []string{"elm", "oak"}) || s.Source.Headers["X-Trace"] != "7" || s.Workers != 3 || s.BatchSize != 9 ||
		s.Connections != 5 || s.Since != "12-x" || !s.CreateTarget || !s.CreateParams.Partitioned || s.Continuous {
		t.Errorf("the flags became %+v", s)
	}
	for _, wrong := range []replicateFlags{{headers: []string{"no colon"}}, {selector: "{"}, {selector: "[]"}, {workers: -1}} {
		if _, err := wrong.spec("http://h/a", "http://h/b"); err == nil {
			t.Errorf("%+v was taken", wrong)
		}
	}
}

func TestBytesOf(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 5 << 30: "5.0 GiB"} {
		if got := bytesOf(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
