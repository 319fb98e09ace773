package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"runtime"
	"sync"

	"golang.org/x/sync/singleflight"

	"github.com/mangrove-db/mangrove/config"
)

// adminRoles is what every administrator's Principal shares.
var adminRoles = []string{AdminRole}

// Authenticator checks credentials against the configuration in force. It is
// safe for concurrent use.
//
// Deriving a key from a password is slow by design, so the outcome is
// remembered: not with the password but under an HMAC of name, password and
// stored hash, keyed with a secret of this process. A changed password thus
// never meets an old outcome.
type Authenticator struct {
	// Constant or safe for concurrent use.
	config    *config.Config
	verdicts  *verdicts
	digesters sync.Pool          // of *digester, keyed with the secret
	deriving  singleflight.Group // same credentials at the same time: one derivation
	slots     chan struct{}      // bounds the derivations that run at once
	decoy     string             // stored hash that unknown names are checked against
}

// maxVerdicts bounds the outcomes remembered, at about 40 bytes each, twice.
const maxVerdicts = 4096

// New returns an Authenticator for the administrators of cfg.
func New(cfg *config.Config) *Authenticator {
	secret := make([]byte, sha256.Size)
	rand.Read(secret) // never fails
	s := cfg.Snapshot()
	return &Authenticator{
		config:    cfg,
		verdicts:  newVerdicts(maxVerdicts),
		digesters: sync.Pool{New: func() any { return &digester{mac: hmac.New(sha256.New, secret)} }},
		slots:     make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1)),
		decoy:     decoyHash(s.PasswordPRF, s.PasswordIterations),
	}
}

// Basic checks a name and a password as HTTP's Basic scheme brings them
// (RFC 7617). The error is ErrCredentials if they do not belong together, or
// ctx's if it ended while the check waited for its turn.
//
// A name that does not exist costs as much time as one that does.
func (a *Authenticator) Basic(ctx context.Context, name, password string) (Principal, error) {
	stored, known := a.config.Snapshot().Get("admins", name)
	if !known || !Hashed(stored) {
		stored, known = a.decoy, false
	}
	key := a.digest(name, password, stored)
	good, seen := a.verdicts.get(key)
	if !seen {
		done := a.deriving.DoChan(string(key[:]), func() (any, error) {
			a.slots <- struct{}{}
			defer func() { <-a.slots }()
			good := verifyPassword(stored, password)
			a.verdicts.put(key, good)
			return good, nil
		})
		select {
		case r := <-done:
			good = r.Val.(bool)
		case <-ctx.Done():
			return Principal{}, ctx.Err()
		}
	}
	if !good || !known {
		return Principal{}, ErrCredentials
	}
	return Principal{Name: name, Roles: adminRoles}, nil
}

// digest identifies a triple of texts to this process and to nobody else.
func (a *Authenticator) digest(name, password, stored string) [sha256.Size]byte {
	d := a.digesters.Get().(*digester)
	defer a.digesters.Put(d)
	return d.sum(name, password, stored)
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
