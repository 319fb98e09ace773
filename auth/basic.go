package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"log/slog"
	"runtime"
	"strconv"
	"sync"

	"golang.org/x/sync/singleflight"

	"github.com/mangrove-db/mangrove/config"
	"github.com/mangrove-db/mangrove/storage"
)

// adminRoles is what every administrator's Principal shares.
var adminRoles = []string{AdminRole}

// Options are what an Authenticator is made of.
type Options struct {
	Config *config.Config
	Store  *storage.Store // nil: nobody has an account but administrators
	Logger *slog.Logger   // is told of failures; nil discards
}

// Authenticator checks credentials against the configuration in force and the
// accounts in the store. It is safe for concurrent use.
//
// Deriving a key from a password is slow by design, so the outcome is
// remembered: not with the password but under an HMAC of name, password and
// stored hash, keyed with a secret of this process. A changed password thus
// never meets an old outcome.
type Authenticator struct {
	// Constant or safe for concurrent use.
	config    *config.Config
	log       *slog.Logger
	accounts  accounts
	verdicts  *verdicts
	failures  *lockout
	secrets   secrets
	tokenKeys tokenKeys
	digesters sync.Pool          // of *digester, keyed with the secret
	deriving  singleflight.Group // same credentials at the same time: one derivation
	slots     chan struct{}      // bounds the derivations that run at once
	counters  counters
	upgrades  upgrades

	mu    sync.Mutex
	decoy *account // that unknown names are checked against; guarded by mu
}

// maxVerdicts bounds the outcomes remembered, at about 40 bytes each, twice.
const maxVerdicts = 4096

// New returns an Authenticator. Close it before the store.
func New(o Options) *Authenticator {
	secret := make([]byte, sha256.Size)
	rand.Read(secret) // never fails
	a := &Authenticator{
		config:    o.Config,
		log:       o.Logger,
		accounts:  accounts{store: o.Store},
		verdicts:  newVerdicts(maxVerdicts),
		failures:  newLockout(),
		digesters: sync.Pool{New: func() any { return &digester{mac: hmac.New(sha256.New, secret)} }},
		slots:     make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1)),
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.upgrades.start()
	return a
}

// Close waits for what goes on in the background. Nothing may be asked later.
func (a *Authenticator) Close() { a.upgrades.stop() }

// Basic checks a name and a password as HTTP's Basic scheme brings them
// (RFC 7617), from a peer: a text that stands for the client's address. The
// error is ErrCredentials if they do not belong together, ErrLocked if that was
// so too often, another *Error if the account is not in order, ctx's if it
// ended while the check waited for its turn, or one of the store.
//
// A name that does not exist costs as much time as one that does.
func (a *Authenticator) Basic(ctx context.Context, peer, name, password string) (Principal, error) {
	acc, err := a.signIn(ctx, peer, name, password)
	if err != nil {
		return Principal{}, err
	}
	if acc.totp != nil {
		return Principal{}, ErrCredentials // the scheme has no room for the second password
	}
	return Principal{Name: name, Roles: acc.roles, Handler: "default"}, nil
}

// signIn returns the account that name and password belong to.
func (a *Authenticator) signIn(ctx context.Context, peer, name, password string) (*account, error) {
	c := a.config.Snapshot()
	acc, err := a.accounts.find(c, name)
	if err != nil {
		return nil, err
	}
	known := acc != nil
	var fault error
	if known {
		fault = acc.refused(&c.Auth)
	}
	if !known || fault != nil {
		acc = a.standIn(c) // so that it takes as long
	}
	salt := acc.salt()
	if !known {
		salt = nil
	}
	attempts := a.digest("lockout", peer, name, string(salt))
	if err := a.locked(&c.Auth.Lockout, attempts, peer, name); err != nil {
		return nil, err
	}
	good, err := a.check(ctx, acc, name, password, func() error { return a.locked(&c.Auth.Lockout, attempts, peer, name) })
	if err != nil {
		return nil, err
	}
	if fault != nil {
		return nil, fault
	}
	if !good || !known {
		a.failures.failed(&c.Auth.Lockout, attempts)
		a.counters.failures.Add(1)
		a.log.Warn("somebody failed to sign in", "name", name, "peer", peer)
		return nil, ErrCredentials
	}
	a.upgrade(c, acc, password)
	return acc, nil
}

// locked returns ErrLocked if there were too many failures.
func (a *Authenticator) locked(c *config.Lockout, attempts [sha256.Size]byte, peer, name string) error {
	if !a.failures.reached(c, attempts) {
		return nil
	}
	if c.Mode == "warn" {
		a.log.Warn("somebody has failed to sign in too often", "name", name, "peer", peer)
		return nil
	}
	a.counters.locked.Add(1)
	a.log.Warn("somebody who is locked out tries to sign in", "name", name, "peer", peer)
	return ErrLocked
}

// errLeft says that the one who had a key derived did not wait for it.
var errLeft = errors.New("nobody waits for the key")

// check tells whether a password is an account's, from memory if it can. Once
// its turn has come to derive a key it asks whether it still may. Of those whose
// clients have gone no key is derived: else somebody who sends wrong passwords
// and does not wait could keep all others waiting for ever.
func (a *Authenticator) check(ctx context.Context, acc *account, name, password string, may func() error) (bool, error) {
	key := a.digest("password", name, password, acc.stored)
	if good, seen := a.verdicts.get(key); seen {
		a.counters.hits.Add(1)
		return good, nil
	}
	a.counters.misses.Add(1)
	for {
		done := a.deriving.DoChan(string(key[:]), func() (any, error) {
			select {
			case a.slots <- struct{}{}:
			case <-ctx.Done():
				return false, errLeft
			}
			defer func() { <-a.slots }()
			if err := may(); err != nil {
				return false, err
			}
			good := acc.hash.verify(password)
			a.verdicts.put(key, good)
			return good, nil
		})
		select {
		case r := <-done:
			if r.Err != errLeft {
				return r.Val.(bool), r.Err
			}
			if err := ctx.Err(); err != nil {
				return false, err
			}
			// Another has left who had the same key derived.
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// standIn is an account that nobody has, as costly to check as a new one.
func (a *Authenticator) standIn(c *config.Snapshot) *account {
	a.mu.Lock()
	defer a.mu.Unlock()
	if d := a.decoy; d == nil || d.hash.prf != c.PasswordPRF || d.hash.iterations != c.PasswordIterations {
		stored := decoyHash(c.PasswordPRF, c.PasswordIterations)
		a.decoy = &account{stored: stored}
		a.decoy.hash, _ = parseHash(stored) // it is well-formed
	}
	return a.decoy
}

// derive does what takes time and memory bandwidth in its turn.
func (a *Authenticator) derive(ctx context.Context, work func()) error {
	select {
	case a.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-a.slots }()
	work()
	return nil
}

// digest identifies a list of texts to this process and to nobody else.
func (a *Authenticator) digest(texts ...string) [sha256.Size]byte {
	d := a.digesters.Get().(*digester)
	defer a.digesters.Put(d)
	return d.sum(texts...)
}

// digester holds what computing a digest needs, to be used again.
type digester struct {
	mac hash.Hash
	buf []byte
	out [sha256.Size]byte
}

// sum leaves no copy of the texts behind.
func (d *digester) sum(texts ...string) [sha256.Size]byte {
	b := d.buf[:0]
	for _, s := range texts {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	d.mac.Reset()
	d.mac.Write(b)
	d.mac.Sum(d.out[:0])
	clear(b)
	d.buf = b
	return d.out
}

// hexTime writes a time as cookies have it: seconds, upper-case hex.
func hexTime(seconds int64) string {
	const digits = "0123456789ABCDEF"
	text := []byte(strconv.FormatInt(seconds, 16))
	for i, c := range text {
		if c >= 'a' {
			text[i] = digits[c-'a'+10]
		}
	}
	return string(text)
}
