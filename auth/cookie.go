package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mangrove-db/mangrove/config"
)

// A cookie is CouchDB's: base64url, without padding, of "name:time:mac". Time
// is that of signing in, in seconds, as hex; mac, in raw bytes, is the HMAC of
// "name:time" under the node's secret followed by the account's salt. So nodes
// that share a secret and accounts take each other's cookies, and a new
// password ends them.

var errCookie = &Error{Malformed, "Malformed AuthSession cookie. Please clear your cookies."}

// renewAt is the part of a cookie's time that has to be over before it is renewed.
const renewAt = 0.1

// Login checks a name, a password and, for accounts that ask for it, a one-time
// password. It returns the value of a cookie. Errors are those of Basic.
func (a *Authenticator) Login(ctx context.Context, peer, name, password, token string) (p Principal, cookie string, err error) {
	acc, err := a.signIn(ctx, peer, name, password)
	if err != nil {
		return p, "", err
	}
	if acc.totp != nil && !a.spend(acc, peer, token) {
		return p, "", ErrCredentials
	}
	c := a.config.Snapshot()
	secret, err := a.secrets.current(a.config)
	if err != nil {
		return p, "", err
	}
	return Principal{Name: name, Roles: acc.roles, Handler: "cookie"}, sign(&c.Auth, secret, acc), nil
}

// spend checks a one-time password. A wrong one counts as a wrong password.
func (a *Authenticator) spend(acc *account, peer, token string) bool {
	if acc.totp.good(token) {
		return true
	}
	c := a.config.Snapshot()
	a.failures.failed(&c.Auth.Lockout, a.digest("lockout", peer, acc.name, string(acc.salt())))
	return false
}

// Cookie tells whose a cookie is. A cookie that is too old or was not made here
// is nobody's. If it is time for a new one, that is renewed. The error is an
// *Error if the cookie is malformed, or one of the store.
func (a *Authenticator) Cookie(value string) (p Principal, renewed string, err error) {
	if value == "" {
		return p, "", nil
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(value, "="))
	if err != nil {
		return p, "", errCookie
	}
	name, rest, ok := strings.Cut(string(text), ":")
	stamp, mac, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 {
		return p, "", errCookie
	}
	c := a.config.Snapshot()
	seconds, err := strconv.ParseInt(stamp, 16, 64)
	made := time.Unix(seconds, 0)
	age := time.Since(made)
	if err != nil || seconds < 0 || age >= c.Auth.Timeout {
		return p, "", nil
	}
	acc, err := a.accounts.find(c, name)
	if err != nil || acc == nil {
		return p, "", err
	}
	if acc.fault != nil {
		return p, "", nil
	}
	secret, ok := a.secrets.verify(a.config, c.Auth.Timeout, made, func(secret string) bool {
		for _, algorithm := range c.Auth.HashAlgorithms {
			if h := pseudorandom[algorithm]; h().Size() == len(mac) && hmac.Equal(seal(h, secret, acc.salt(), name+":"+stamp), []byte(mac)) {
				return true
			}
		}
		return false
	})
	if !ok {
		return p, "", nil
	}
	if age > time.Duration(renewAt*float64(c.Auth.Timeout)) {
		renewed = sign(&c.Auth, secret, acc)
	}
	return Principal{Name: name, Roles: acc.roles, Handler: "cookie"}, renewed, nil
}

// sign makes a cookie of now.
func sign(c *config.Auth, secret string, acc *account) string {
	text := acc.name + ":" + hexTime(time.Now().Unix())
	mac := seal(pseudorandom[c.HashAlgorithms[0]], secret, acc.salt(), text)
	return base64.RawURLEncoding.EncodeToString(append([]byte(text+":"), mac...))
}

func seal(h func() hash.Hash, secret string, salt []byte, text string) []byte {
	m := hmac.New(h, append([]byte(secret), salt...))
	m.Write([]byte(text))
	return m.Sum(nil)
}

// secrets knows the secret of now and those of before. A cookie that was made
// under an older secret is good for the rest of its time, but nothing made
// later is: whoever got hold of a secret can do nothing with it once there is
// another.
type secrets struct {
	mu    sync.Mutex // guards the rest
	now   string
	older []olderSecret
}

type olderSecret struct {
	text  string
	until time.Time // it was in force
}

// maxOlder bounds the secrets remembered: changing it often does not make them many.
const maxOlder = 16

// Observe takes notice of a changed secret. It is called for every request, so
// that the moment of the change is known.
func (a *Authenticator) Observe() { a.secrets.observe(a.config) }

func (s *secrets) observe(cfg *config.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	secret := cfg.Snapshot().Auth.Secret // which is read here, so that no older one comes after it
	if s.now == secret {
		return
	}
	if s.now != "" {
		if s.older = append(s.older, olderSecret{s.now, time.Now()}); len(s.older) > maxOlder {
			s.older = s.older[1:]
		}
	}
	s.now = secret
}

// verify asks good about the secrets that may have signed a cookie made at a
// moment, and returns the one to sign its successor with.
func (s *secrets) verify(cfg *config.Config, timeout time.Duration, made time.Time, good func(secret string) bool) (string, bool) {
	s.observe(cfg)
	s.mu.Lock()
	now := s.now
	var older []string
	kept := s.older[:0]
	for _, o := range s.older {
		if time.Since(o.until) < timeout {
			kept = append(kept, o)
			if !made.After(o.until) {
				older = append(older, o.text)
			}
		}
	}
	s.older = kept
	s.mu.Unlock()
	if now == "" {
		return "", false
	}
	if good(now) {
		return now, true
	}
	for _, secret := range older {
		if good(secret) {
			return now, true
		}
	}
	return "", false
}

// current returns the secret to sign with. If somebody has taken it out of the
// configuration it makes another.
func (s *secrets) current(cfg *config.Config) (string, error) {
	if secret := cfg.Snapshot().Auth.Secret; secret != "" {
		return secret, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if secret := cfg.Snapshot().Auth.Secret; secret != "" {
		return secret, nil
	}
	if err := PrepareSecret(cfg); err != nil {
		return "", fmt.Errorf("the secret of cookies: %w", err)
	}
	return cfg.Snapshot().Auth.Secret, nil
}

// PrepareSecret sees to it that there is a secret to sign cookies with, in the
// configuration's file if it can be written.
func PrepareSecret(cfg *config.Config) error {
	if cfg.Snapshot().Auth.Secret != "" {
		return nil
	}
	random := make([]byte, 32)
	rand.Read(random) // never fails
	secret := hex.EncodeToString(random)
	if _, err := cfg.Set("chttpd_auth", "secret", secret, true); err != nil {
		_, err = cfg.Set("chttpd_auth", "secret", secret, false)
		return err
	}
	return nil
}
