package auth

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/config"
)

func prepare(t *testing.T, cfg *config.Config, given *Account) Prepared {
	t.Helper()
	p, err := PrepareAdmins(cfg, given)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func signsIn(t *testing.T, cfg *config.Config, name, password string) bool {
	t.Helper()
	p, err := New(Options{Config: cfg}).Basic(t.Context(), "peer", name, password)
	return err == nil && p.Admin()
}

func TestFirstAdministrator(t *testing.T) {
	cfg := newConfig(t, "")
	p := prepare(t, cfg, nil)
	if p.Created == nil || p.Created.Name != "admin" || len(p.Created.Password) < 20 {
		t.Fatalf("%+v", p.Created)
	}
	if !signsIn(t, cfg, "admin", p.Created.Password) || signsIn(t, cfg, "admin", "") {
		t.Error("the printed password must work, and no other")
	}
	text, err := os.ReadFile(cfg.Path())
	if err != nil || strings.Contains(string(text), p.Created.Password) || !strings.Contains(string(text), "admin = -pbkdf2:sha256-") {
		t.Errorf("%v, %s", err, text)
	}
	if err := cfg.Reload(); err != nil {
		t.Fatal(err)
	}
	if again := prepare(t, cfg, nil); again.Created != nil {
		t.Error("a second one was made")
	}
}

func TestClearPasswordsAreHashed(t *testing.T) {
	cfg := newConfig(t, "[admins]\nann = relax ; a comment\nbob = "+hashes[0]+"\nbad = -pbkdf2-xyz\n")
	p := prepare(t, cfg, nil)
	if p.Created != nil || len(p.Unwritten) > 0 || !slices.Equal(p.Malformed, []string{"bad"}) {
		t.Errorf("%+v", p)
	}
	if !signsIn(t, cfg, "ann", "relax") || !signsIn(t, cfg, "bob", "relax") {
		t.Error("refused")
	}
	text, _ := os.ReadFile(cfg.Path())
	if strings.Contains(string(text), "relax") || !strings.Contains(string(text), hashes[0]) {
		t.Errorf("%s", text)
	}
}

func TestGivenAdministrator(t *testing.T) {
	cfg := newConfig(t, "")
	given := &Account{"ops", "secret"}
	if p := prepare(t, cfg, given); p.Created != nil || !signsIn(t, cfg, "ops", "secret") {
		t.Errorf("%+v", p)
	}
	first, _ := cfg.Snapshot().Get("admins", "ops")
	prepare(t, cfg, given)
	if same, _ := cfg.Snapshot().Get("admins", "ops"); same != first {
		t.Error("hashed again although nothing changed")
	}
	prepare(t, cfg, &Account{"ops", "new"})
	if !signsIn(t, cfg, "ops", "new") || signsIn(t, cfg, "ops", "secret") {
		t.Error("the new password must replace the old one")
	}
	for _, half := range []*Account{{"", "x"}, {"x", ""}} {
		if _, err := PrepareAdmins(cfg, half); err == nil {
			t.Errorf("%+v: no error", half)
		}
	}
	for _, name := range []string{"a[b]", "a:b"} {
		if _, err := PrepareAdmins(cfg, &Account{name, "x"}); err == nil {
			t.Errorf("the name %s: no error", name)
		}
	}
}

func TestFileCannotBeWritten(t *testing.T) {
	unwritable := func(text string) *config.Config {
		cfg := newConfig(t, text)
		if err := os.Remove(cfg.Path()); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(cfg.Path(), "in-the-way"), 0o700); err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	cfg := unwritable("[admins]\nann = relax\n")
	p := prepare(t, cfg, &Account{"ops", "secret"})
	if p.Unwritten["ann"] == nil || p.Unwritten["ops"] == nil || !signsIn(t, cfg, "ann", "relax") || !signsIn(t, cfg, "ops", "secret") {
		t.Errorf("%+v", p)
	}
	if _, err := PrepareAdmins(unwritable(""), nil); err == nil {
		t.Error("a random password that is stored nowhere is lost: it must be an error")
	}
}
