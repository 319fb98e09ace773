package auth

import (
	"encoding/base64"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mangrove-db/mangrove/config"
)

// cookieSecret signs the cookies of these tests.
const cookieSecret = "9d29c1f2b0d94e4a8d4e5e6a2c5d5f11"

// newCookies is an Authenticator with an administrator, ann, whose password is relax.
func newCookies(t *testing.T) (*Authenticator, *config.Config) {
	t.Helper()
	cfg := newConfig(t, "[admins]\nann = "+hashes[0]+"\n[chttpd_auth]\nsecret = "+cookieSecret+"\n")
	a := New(Options{Config: cfg})
	t.Cleanup(a.Close)
	return a, cfg
}

func login(t *testing.T, a *Authenticator) string {
	t.Helper()
	who, cookie, err := a.Login(t.Context(), "peer", "ann", "relax", "")
	if err != nil || who.Name != "ann" || !who.Admin() || who.Handler != "cookie" {
		t.Fatalf("%+v, %v", who, err)
	}
	return cookie
}

func TestCookieForm(t *testing.T) {
	a, _ := newCookies(t)
	text, err := base64.RawURLEncoding.DecodeString(login(t, a))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(string(text), ":", 3)
	if len(parts) != 3 || parts[0] != "ann" || len(parts[1]) != 8 || strings.ToUpper(parts[1]) != parts[1] || len(parts[2]) != 32 {
		t.Errorf("%q", text)
	}
	if hexTime(0x5F60ABCD) != "5F60ABCD" {
		t.Error(hexTime(0x5F60ABCD))
	}
}

func TestForgedCookies(t *testing.T) {
	a, cfg := newCookies(t)
	good := login(t, a)
	text, _ := base64.RawURLEncoding.DecodeString(good)
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	nobody := func(what, value string) {
		t.Helper()
		if who, renewed, err := a.Cookie(value); err != nil || !who.Anonymous() || renewed != "" {
			t.Errorf("%s: %+v, %v", what, who, err)
		}
	}
	for i := range text {
		forged := []byte(string(text))
		forged[i] ^= 1
		who, _, err := a.Cookie(encode(string(forged)))
		if err == nil && !who.Anonymous() {
			t.Errorf("byte %d: taken for %q", i, who.Name)
		}
	}
	nobody("none", "")
	nobody("another's", encode("bob"+string(text[3:])))
	nobody("no mac", encode(string(text[:13])))
	nobody("a later time", encode("ann:7FFFFFFF:"+string(text[13:])))
	nobody("a negative time", encode("ann:-1:"+string(text[13:])))
	nobody("no time", encode("ann:zz:"+string(text[13:])))
	for _, malformed := range []string{"nonsense", "%%%", encode("ann"), encode("ann:1"), "a"} {
		if _, _, err := a.Cookie(malformed); err != errCookie {
			t.Errorf("%q: %v", malformed, err)
		}
	}
	if who, _, err := a.Cookie(good); err != nil || who.Name != "ann" {
		t.Error("the good one is refused")
	}
	if who, _, err := a.Cookie(good + "="); err != nil || who.Name != "ann" {
		t.Error("padding is refused")
	}
	// Signed with a hash that is no longer accepted.
	if _, err := cfg.Set("chttpd_auth", "hash_algorithms", "sha512", false); err != nil {
		t.Fatal(err)
	}
	nobody("another hash", good)
	// A new password ends the cookies of the one before.
	if _, err := cfg.Set("chttpd_auth", "hash_algorithms", "sha, sha256", false); err != nil {
		t.Fatal(err)
	}
	other, _ := HashPassword("other", "sha256", 10)
	if _, err := cfg.Set("admins", "ann", other, false); err != nil {
		t.Fatal(err)
	}
	nobody("another password", good)
	if _, _, err := cfg.Delete("admins", "ann", false); err != nil {
		t.Fatal(err)
	}
	nobody("no account", good)
}

func TestCookieExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := newCookies(t)
		cookie := login(t, a)
		check := func(after time.Duration, alive, renewed bool) string {
			t.Helper()
			time.Sleep(after)
			who, fresh, err := a.Cookie(cookie)
			if err != nil || who.Anonymous() == alive || (fresh != "") != renewed {
				t.Errorf("%v later: %+v, renewed %q, %v", after, who, fresh, err)
			}
			return fresh
		}
		check(0, true, false)
		check(55*time.Second, true, false)
		fresh := check(10*time.Second, true, true)
		check(534*time.Second, true, true)
		check(2*time.Second, false, false)
		cookie = fresh
		check(0, true, true)
		check(time.Minute, true, true)
		check(10*time.Minute, false, false)
	})
}

func TestSecretRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, cfg := newCookies(t)
		first := login(t, a)
		rotate := func(secret string) {
			t.Helper()
			if _, err := cfg.Set("chttpd_auth", "secret", secret, false); err != nil {
				t.Fatal(err)
			}
			a.Observe()
		}
		taken := func(cookie string, want bool) string {
			t.Helper()
			who, renewed, err := a.Cookie(cookie)
			if err != nil || who.Anonymous() == want {
				t.Errorf("%+v, %v, want %v", who, err, want)
			}
			return renewed
		}
		a.Observe()
		time.Sleep(2 * time.Minute)
		rotate("another")
		renewed := taken(first, true)
		// Whoever knows the old secret cannot make cookies of now.
		time.Sleep(2 * time.Second)
		acc, err := a.accounts.find(cfg.Snapshot(), "ann")
		if err != nil {
			t.Fatal(err)
		}
		taken(sign(&cfg.Snapshot().Auth, cookieSecret, acc), false)
		taken(sign(&cfg.Snapshot().Auth, "another", acc), true)
		time.Sleep(9 * time.Minute)
		taken(first, false)
		taken(renewed, true)
		for range 3 * maxOlder {
			rotate(newSalt())
		}
		if len(a.secrets.older) > maxOlder {
			t.Errorf("%d secrets are remembered", len(a.secrets.older))
		}
		// Without a secret there are no cookies, until somebody signs in.
		if _, _, err := cfg.Delete("chttpd_auth", "secret", false); err != nil {
			t.Fatal(err)
		}
		taken(renewed, false)
		taken(login(t, a), true)
	})
}

func TestLockout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, cfg := newCookies(t)
		try := func(peer, name, password string, want error) {
			t.Helper()
			if _, err := a.Basic(t.Context(), peer, name, password); err != want {
				t.Errorf("%s, %s:%s: %v, want %v", peer, name, password, err, want)
			}
		}
		for range 5 {
			try("a", "ann", "wrong", ErrCredentials)
			try("a", "nobody", "wrong", ErrCredentials)
		}
		try("a", "ann", "wrong", ErrLocked)
		try("a", "ann", "relax", ErrLocked)
		try("a", "nobody", "x", ErrLocked) // unknown names look like known ones
		try("b", "ann", "relax", nil)      // another address
		if _, _, err := a.Login(t.Context(), "a", "ann", "relax", ""); err != ErrLocked {
			t.Error(err)
		}
		time.Sleep(5*time.Minute - time.Second)
		try("a", "ann", "relax", ErrLocked)
		time.Sleep(time.Second)
		try("a", "ann", "relax", nil)
		for range 6 {
			_, _ = a.Basic(t.Context(), "a", "ann", "wrong")
		}
		try("a", "ann", "relax", ErrLocked)
		set := func(key, value string) {
			t.Helper()
			if _, err := cfg.Set("chttpd_auth_lockout", key, value, false); err != nil {
				t.Fatal(err)
			}
		}
		set("mode", "warn")
		try("a", "ann", "relax", nil)
		set("mode", "off")
		try("a", "ann", "wrong", ErrCredentials)
		set("mode", "enforce")
		set("threshold", "100")
		try("a", "ann", "relax", nil)
		set("threshold", "5")
		try("a", "ann", "relax", ErrLocked)
		other, _ := HashPassword("relax", "sha256", 10)
		if _, err := cfg.Set("admins", "ann", other, false); err != nil {
			t.Fatal(err)
		}
		try("a", "ann", "relax", nil) // a new password begins anew
	})
}

func TestLockoutIsBounded(t *testing.T) {
	l := newLockout()
	c := config.Lockout{Mode: "enforce", Threshold: 2, MaxObjects: 10, MaxLifetime: time.Hour}
	key := func(i int) (k [32]byte) { k[0], k[1] = byte(i), byte(i>>8); return k }
	for i := range 1000 {
		l.failed(&c, key(i))
		l.failed(&c, key(0))
	}
	if len(l.entries) > c.MaxObjects || l.recent.Len() != len(l.entries) {
		t.Errorf("%d entries", len(l.entries))
	}
	if !l.reached(&c, key(0)) || l.reached(&c, key(1)) {
		t.Error("what is in use was forgotten")
	}
}

// TestTOTP has the vectors of RFC 6238.
func TestTOTP(t *testing.T) {
	for _, tt := range []struct {
		seconds int64
		hash    string
		want    string
	}{
		{59, "sha", "94287082"}, {1111111109, "sha", "07081804"}, {20000000000, "sha", "65353130"},
	} {
		o, err := parseTOTP([]byte(`{"key":"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ","algorithm":"` + tt.hash + `","length":8}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := o.at(time.Unix(tt.seconds, 0)); got != tt.want {
			t.Errorf("%d: %s, want %s", tt.seconds, got, tt.want)
		}
	}
	for _, bad := range []string{`{}`, `5`, `{"key":"1"}`, `{"key":"GEZDGNBV","length":99}`, `{"key":"GEZDGNBV","algorithm":"md5"}`} {
		if _, err := parseTOTP([]byte(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestSecondPassword(t *testing.T) {
	p := newPlace(t, "")
	p.put("ann", strings.Replace(storedUsers["sha256"], "{", `{"totp":{"key":"GEZDGNBVGY3TQOJQ"},`, 1))
	p.attempt("ann", "pw", ErrCredentials) // the Basic scheme cannot bring it
	if _, _, err := p.Login(t.Context(), "peer", "ann", "pw", ""); err != ErrCredentials {
		t.Error(err)
	}
	o, _ := parseTOTP([]byte(`{"key":"GEZDGNBVGY3TQOJQ"}`))
	if _, cookie, err := p.Login(t.Context(), "peer", "ann", "pw", o.at(time.Now())); err != nil || cookie == "" {
		t.Error(err)
	}
	p.put("ann", strings.Replace(storedUsers["sha256"], "{", `{"totp":"broken",`, 1))
	if _, _, err := p.Login(t.Context(), "peer", "ann", "pw", ""); err != ErrCredentials {
		t.Error(err)
	}
}
