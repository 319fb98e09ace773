package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/mangrove-db/mangrove/config"
)

// newConfig loads a configuration whose file holds text; hashing is quick.
func newConfig(t testing.TB, text string) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "node.ini")
	if err := os.WriteFile(path, []byte("[chttpd_auth]\niterations = 10\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Options{File: path, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBasic(t *testing.T) {
	cfg := newConfig(t, "[admins]\nann = "+hashes[0]+"\nold = "+hashes[4]+"\nclear = relax\n")
	a := New(cfg)
	tests := []struct {
		name, password string
		want           error
	}{
		{"ann", "relax", nil},
		{"ann", "relax", nil}, // remembered
		{"old", "relax", nil},
		{"ann", "wrong", ErrCredentials},
		{"ann", "wrong", ErrCredentials}, // remembered
		{"Ann", "relax", ErrCredentials},
		{"nobody", "relax", ErrCredentials},
		{"", "", ErrCredentials},
		{"clear", "relax", ErrCredentials}, // never compared in clear
		{"annrelax", "", ErrCredentials},
	}
	for _, tt := range tests {
		p, err := a.Basic(t.Context(), tt.name, tt.password)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s:%s: %v", tt.name, tt.password, err)
		}
		if err == nil && (p.Name != tt.name || !p.Admin()) || err != nil && (p.Admin() || !p.Anonymous()) {
			t.Errorf("%s:%s is %+v", tt.name, tt.password, p)
		}
	}
}

func TestChangedPassword(t *testing.T) {
	cfg := newConfig(t, "[admins]\nann = "+hashes[0]+"\n")
	a := New(cfg)
	check := func(password string, want error) {
		t.Helper()
		if _, err := a.Basic(t.Context(), "ann", password); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", password, err, want)
		}
	}
	check("relax", nil)
	other, err := HashPassword("other", "sha256", 10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.Set("admins", "ann", other, true); err != nil {
		t.Fatal(err)
	}
	check("relax", ErrCredentials)
	check("other", nil)
	if _, _, err := cfg.Delete("admins", "ann", true); err != nil {
		t.Fatal(err)
	}
	check("other", ErrCredentials)
}

func TestBasicGivesUp(t *testing.T) {
	a := New(newConfig(t, "[admins]\nann = "+hashes[0]+"\n"))
	for range cap(a.slots) {
		a.slots <- struct{}{} // all derivations are busy
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Basic(ctx, "ann", "relax"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for range cap(a.slots) {
		<-a.slots
	}
	if _, err := a.Basic(t.Context(), "ann", "relax"); err != nil {
		t.Error(err)
	}
}

func TestBasicConcurrently(t *testing.T) {
	a := New(newConfig(t, "[admins]\nann = "+hashes[0]+"\n"))
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			password, want := "relax", error(nil)
			if i%2 == 1 {
				password, want = "wrong", ErrCredentials
			}
			if _, err := a.Basic(t.Context(), "ann", password); !errors.Is(err, want) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestDigestsDiffer(t *testing.T) {
	cfg := newConfig(t, "")
	a, b := New(cfg), New(cfg)
	seen := map[[sha256.Size]byte]string{}
	for _, s := range [][3]string{{"a", "b", "c"}, {"ab", "", "c"}, {"", "ab", "c"}, {"a", "bc", ""}, {"a", "b", "c\x00"}} {
		d := a.digest(s[0], s[1], s[2])
		if other, ok := seen[d]; ok {
			t.Errorf("%q and %q", s, other)
		}
		if d != a.digest(s[0], s[1], s[2]) || d == b.digest(s[0], s[1], s[2]) {
			t.Errorf("%q", s)
		}
		seen[d] = strings.Join(s[:], ",")
	}
}

func TestVerdictsAreBounded(t *testing.T) {
	v := newVerdicts(4)
	key := func(i int) (k [sha256.Size]byte) { k[0], k[1] = byte(i), byte(i>>8); return k }
	v.put(key(0), true)
	for i := 1; i < 1000; i++ {
		v.put(key(i), false)
		if good, seen := v.get(key(0)); !good || !seen {
			t.Fatalf("what is in use was forgotten after %d", i)
		}
		if len(v.young)+len(v.old) > 2*v.limit {
			t.Fatalf("%d verdicts", len(v.young)+len(v.old))
		}
	}
	if _, seen := v.get(key(1)); seen {
		t.Error("nothing was forgotten")
	}
}

// BenchmarkBasic is what every request pays once its credentials are known.
func BenchmarkBasic(b *testing.B) {
	a := New(newConfig(b, "[admins]\nann = "+hashes[0]+"\n"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Basic(b.Context(), "ann", "relax"); err != nil {
			b.Fatal(err)
		}
	}
}
