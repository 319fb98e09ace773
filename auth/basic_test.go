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
	"testing/synctest"

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
	a := New(Options{Config: cfg})
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
		p, err := a.Basic(t.Context(), "peer", tt.name, tt.password)
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
	a := New(Options{Config: cfg})
	check := func(password string, want error) {
		t.Helper()
		if _, err := a.Basic(t.Context(), "peer", "ann", password); !errors.Is(err, want) {
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
	a := New(Options{Config: newConfig(t, "[admins]\nann = "+hashes[0]+"\n")})
	for range cap(a.slots) {
		a.slots <- struct{}{} // all derivations are busy
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Basic(ctx, "peer", "ann", "relax"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for range cap(a.slots) {
		<-a.slots
	}
	if _, err := a.Basic(t.Context(), "peer", "ann", "relax"); err != nil {
		t.Error(err)
	}
}

// TestBasicLeft: no key is derived for clients that have gone, and others who wait for the same one get it.
func TestBasicLeft(t *testing.T) {
	cfg := newConfig(t, "[admins]\nann = "+hashes[0]+"\n")
	synctest.Test(t, func(t *testing.T) {
		a := New(Options{Config: cfg})
		for range cap(a.slots) {
			a.slots <- struct{}{} // all derivations are busy
		}
		gone, leave := context.WithCancel(t.Context())
		left, stayed := make(chan error, 2), make(chan error, 1)
		for _, password := range []string{"relax", "wrong"} {
			go func() {
				_, err := a.Basic(gone, "peer", "ann", password)
				left <- err
			}()
		}
		synctest.Wait()
		go func() {
			_, err := a.Basic(t.Context(), "peer", "ann", "relax")
			stayed <- err
		}()
		synctest.Wait()
		leave()
		for range 2 {
			if err := <-left; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		synctest.Wait()
		for range cap(a.slots) {
			<-a.slots
		}
		if err := <-stayed; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := len(a.verdicts.young); n != 1 {
			t.Errorf("%d keys were derived for one who waited", n)
		}
	})
}

func TestBasicConcurrently(t *testing.T) {
	a := New(Options{Config: newConfig(t, "[admins]\nann = "+hashes[0]+"\n[chttpd_auth_lockout]\nmode = off\n")})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			password, want := "relax", error(nil)
			if i%2 == 1 {
				password, want = "wrong", ErrCredentials
			}
			if _, err := a.Basic(t.Context(), "peer", "ann", password); !errors.Is(err, want) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestDigestsDiffer(t *testing.T) {
	cfg := newConfig(t, "")
	a, b := New(Options{Config: cfg}), New(Options{Config: cfg})
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
	a := New(Options{Config: newConfig(b, "[admins]\nann = "+hashes[0]+"\n")})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Basic(b.Context(), "peer", "ann", "relax"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUser is what every request of a user pays, whose document is looked up each time.
func BenchmarkUser(b *testing.B) {
	p := newPlace(b, "")
	p.user("ann", "relax", `["a"]`)
	for b.Loop() {
		if _, err := p.Basic(b.Context(), "peer", "ann", "relax"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCookie is what every request with a cookie pays.
func BenchmarkCookie(b *testing.B) {
	p := newPlace(b, "")
	p.user("ann", "relax", `["a"]`)
	_, cookie, err := p.Login(b.Context(), "peer", "ann", "relax", "")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if who, _, err := p.Cookie(cookie); err != nil || who.Anonymous() {
			b.Fatal(err)
		}
	}
}
