package auth

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// The hashes of the section [admins] come in the forms CouchDB writes, with
// everything but the counts and names in lower-case hex:
//
//	-pbkdf2:sha256-key,salt,iterations   since 3.4; also sha, sha224, sha384, sha512
//	-pbkdf2-key,salt,iterations          before: PBKDF2 over SHA-1
//	-hashed-key,salt                     before 1.3: SHA-1 of password and salt
//
// The salt goes into the hash as the text it is, not decoded.

const saltBytes = 16

// maxIterations bounds the work that a stored hash can ask for, to about two
// minutes: beyond that it is a mistake.
const maxIterations = 1_000_000_000

// pseudorandom maps CouchDB's names of PBKDF2's hash to the hash.
var pseudorandom = map[string]func() hash.Hash{
	"sha":    sha1.New,
	"sha224": sha256.New224,
	"sha256": sha256.New,
	"sha384": sha512.New384,
	"sha512": sha512.New,
}

// HashPassword hashes a password for the section [admins], with a fresh salt.
// The prf is "sha", "sha224", "sha256", "sha384" or "sha512".
func HashPassword(password, prf string, iterations int) (string, error) {
	h, ok := pseudorandom[prf]
	if !ok {
		return "", fmt.Errorf("unknown hash %q", prf)
	}
	salt := newSalt()
	key, err := pbkdf2.Key(h, password, []byte(salt), iterations, h().Size())
	if err != nil {
		return "", fmt.Errorf("hashing a password: %w", err)
	}
	return fmt.Sprintf("-pbkdf2:%s-%x,%s,%d", prf, key, salt, iterations), nil
}

// newSalt makes a salt, in hex.
func newSalt() string {
	random := make([]byte, saltBytes)
	rand.Read(random) // never fails
	return hex.EncodeToString(random)
}

// decoyHash is a hash that no known password has, made without deriving one
// and as costly to check as any.
func decoyHash(prf string, iterations int) string {
	random := make([]byte, pseudorandom[prf]().Size())
	rand.Read(random) // never fails
	return fmt.Sprintf("-pbkdf2:%s-%x,%x,%d", prf, random, random[:saltBytes], iterations)
}

// Hashed reports whether a value of the section [admins] is a hash already, as
// opposed to a password in clear.
func Hashed(value string) bool {
	if strings.HasPrefix(value, "-hashed-") || strings.HasPrefix(value, "-pbkdf2-") {
		return true
	}
	rest, ok := strings.CutPrefix(value, "-pbkdf2:")
	prf, _, found := strings.Cut(rest, "-")
	return ok && found && pseudorandom[prf] != nil
}

// storedHash is a hash taken apart.
type storedHash struct {
	prf        string // CouchDB's name of hash
	hash       func() hash.Hash
	key        []byte
	salt       []byte
	iterations int  // 0 for the form without PBKDF2
	wrapped    bool // PBKDF2 was put over the form without it: the scheme simple+pbkdf2
}

// parseHash reads a value for which Hashed is true.
func parseHash(value string) (storedHash, error) {
	malformed := fmt.Errorf("malformed password hash")
	s := storedHash{prf: "sha", hash: sha1.New}
	var fields []string
	if rest, ok := strings.CutPrefix(value, "-hashed-"); ok {
		if fields = strings.Split(rest, ","); len(fields) != 2 {
			return s, malformed
		}
	} else {
		form, rest, _ := strings.Cut(strings.TrimPrefix(value, "-"), "-")
		if _, prf, ok := strings.Cut(form, ":"); ok {
			s.prf, s.hash = prf, pseudorandom[prf]
		}
		if fields = strings.Split(rest, ","); len(fields) != 3 || s.hash == nil {
			return s, malformed
		}
		n, err := strconv.Atoi(fields[2])
		if err != nil || n < 1 || n > maxIterations {
			return s, malformed
		}
		s.iterations = n
	}
	if !s.setKey(fields[0]) {
		return s, malformed
	}
	s.salt = []byte(fields[1])
	return s, nil
}

// setKey takes over a key in hex, and reports whether it is one of the length
// that the scheme gives keys, or may give them.
func (s *storedHash) setKey(text string) bool {
	key, err := hex.DecodeString(text)
	if err != nil || len(key) < sha1.Size || len(key) > sha512.Size || s.iterations == 0 && len(key) != sha1.Size {
		return false
	}
	s.key = key
	return true
}

// verify reports whether password is the one that was hashed. It does the work
// of the derivation, and takes the same time whatever differs.
func (s *storedHash) verify(password string) bool {
	if s.iterations == 0 {
		return subtle.ConstantTimeCompare(simpleHash(password, s.salt), s.key) == 1
	}
	if s.wrapped {
		password = hex.EncodeToString(simpleHash(password, s.salt))
	}
	key, err := pbkdf2.Key(s.hash, password, s.salt, s.iterations, len(s.key))
	return err == nil && subtle.ConstantTimeCompare(key, s.key) == 1
}

// simpleHash is the scheme "simple".
func simpleHash(password string, salt []byte) []byte {
	sum := sha1.Sum(append([]byte(password), salt...))
	return sum[:]
}

// verifyPassword reports whether password is the one that was hashed for the
// section [admins]. A value that is no well-formed hash belongs to no password.
func verifyPassword(stored, password string) bool {
	if !Hashed(stored) {
		return false
	}
	s, err := parseHash(stored)
	return err == nil && s.verify(password)
}
