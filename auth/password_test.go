package auth

import (
	"strings"
	"testing"
)

const (
	salt      = "0123456789abcdef0123456789abcdef"
	sha256Key = "329c522be5ebd84ef20057dc108e8829d6ca1f7b11ed9d9dfa7562583bea65c0"
)

// The keys were computed with another implementation of PBKDF2.
var hashes = []string{
	"-pbkdf2:sha256-" + sha256Key + "," + salt + ",1000",
	"-pbkdf2-3689e80753e2b13b9a06d0636ec96cf767be0e87," + salt + ",10",
	"-pbkdf2:sha-3689e80753e2b13b9a06d0636ec96cf767be0e87," + salt + ",10",
	"-pbkdf2:sha512-8ae70665fe0a54089ee5d0dec8db3c4fd299290cb35d4fa1d24363710cf08f957b4d2ebbd9e092a134ff765cdeb33cf03ed2f76a0f72ec71914bfe36026e2cfc," + salt + ",10",
	"-hashed-9228da0f48728d3393292217bad06650d3775c23,7f4a3e05e0cbc6f48a0035e3508eef90",
}

func TestVerifyPassword(t *testing.T) {
	for _, h := range hashes {
		if !Hashed(h) || !verifyPassword(h, "relax") {
			t.Errorf("%s: refused", h)
		}
		for _, wrong := range []string{"", "Relax", "relax ", h} {
			if verifyPassword(h, wrong) {
				t.Errorf("%s: takes %q", h, wrong)
			}
		}
	}
}

func TestHashPassword(t *testing.T) {
	for prf := range pseudorandom {
		for _, password := range []string{"", "relax", "p:w ; ü", strings.Repeat("x", 1000)} {
			a, err := HashPassword(password, prf, 2)
			if err != nil || !Hashed(a) || !verifyPassword(a, password) || verifyPassword(a, password+"x") {
				t.Errorf("%s, %q: %s, %v", prf, password, a, err)
			}
			if b, _ := HashPassword(password, prf, 2); a == b {
				t.Errorf("%s: no salt", prf)
			}
		}
		if d := decoyHash(prf, 1); !Hashed(d) || verifyPassword(d, "") {
			t.Errorf("decoy %s", d)
		}
	}
	if _, err := HashPassword("x", "md5", 1); err == nil {
		t.Error("md5 is taken")
	}
}

func TestMalformedHashes(t *testing.T) {
	for _, h := range []string{
		"", "relax", "-", "-pbkdf2", "-pbkdf2:md5-00,s,1", "-pbkdf2:sha256", "-scrypt-00",
	} {
		if Hashed(h) {
			t.Errorf("%q counts as hashed", h)
		}
		if verifyPassword(h, h) {
			t.Errorf("%q: takes itself", h)
		}
	}
	for _, h := range []string{
		"-hashed-", "-hashed-00,s", "-hashed-zz,s", "-pbkdf2-", "-pbkdf2-,,", "-pbkdf2-00,s,1",
		"-pbkdf2:sha256-" + sha256Key, "-pbkdf2:sha256-" + sha256Key + ",s", "-pbkdf2:sha256-" + sha256Key + ",s,0",
		"-pbkdf2:sha256-" + sha256Key + ",s,-1", "-pbkdf2:sha256-" + sha256Key + ",s,1e3",
		"-pbkdf2:sha256-" + sha256Key + ",s,99999999999", "-pbkdf2:sha256-" + sha256Key + ",s,1,1",
	} {
		if _, err := parseHash(h); err == nil || !Hashed(h) {
			t.Errorf("%q: no error", h)
		}
		if verifyPassword(h, "") {
			t.Errorf("%q: takes the empty password", h)
		}
	}
}

// FuzzParseHash: no text makes it panic, and what is taken has sane bounds.
func FuzzParseHash(f *testing.F) {
	for _, h := range hashes {
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, value string) {
		s, err := parseHash(value)
		if !Hashed(value) || err != nil {
			return
		}
		if s.hash == nil || len(s.key) < 20 || len(s.key) > 64 || s.iterations < 0 || s.iterations > maxIterations {
			t.Errorf("%q: %+v", value, s)
		}
	})
}
