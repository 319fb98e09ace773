package auth

import (
	"crypto/hmac"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"math"
	"strings"
	"time"
)

// totpStep is how long a one-time password is good.
const totpStep = 30 * time.Second

// totp makes one-time passwords from the time (RFC 6238). A user document asks
// for one with its member "totp": {"key": in base 32, "algorithm", "length"}.
type totp struct {
	key    []byte
	hash   func() hash.Hash
	digits int
}

// parseTOTP reads the member of a user document.
func parseTOTP(text []byte) (*totp, error) {
	// The case of letters does not matter here: an account's owner alone loses by it.
	o := struct {
		Key       string `json:"key"`
		Algorithm string `json:"algorithm"`
		Length    int    `json:"length"`
	}{Algorithm: "sha", Length: 6}
	malformed := fmt.Errorf("malformed totp")
	if json.Unmarshal(text, &o) != nil || o.Length < 6 || o.Length > 9 || pseudorandom[o.Algorithm] == nil {
		return nil, malformed
	}
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.TrimRight(strings.ToUpper(o.Key), "="))
	if err != nil || len(key) == 0 {
		return nil, malformed
	}
	return &totp{key, pseudorandom[o.Algorithm], o.Length}, nil
}

// at is the one-time password of a moment (RFC 4226, section 5.3).
func (t *totp) at(moment time.Time) string {
	mac := hmac.New(t.hash, t.key)
	var counter [8]byte
	binary.BigEndian.PutUint64(counter[:], uint64(moment.Unix()/int64(totpStep.Seconds())))
	mac.Write(counter[:])
	sum := mac.Sum(nil)
	// 20 bytes as with SHA-1 count: the last of all says where to look.
	offset := sum[len(sum)-1] & 0xf
	n := binary.BigEndian.Uint32(sum[offset:]) & 0x7fffffff
	return fmt.Sprintf("%0*d", t.digits, n%uint32(math.Pow10(t.digits)))
}

// good reports whether token is the password of now, the step before or the
// one after. It takes the same time whatever differs.
func (t *totp) good(token string) bool {
	now := time.Now()
	found := 0
	for _, moment := range []time.Time{now.Add(-totpStep), now, now.Add(totpStep)} {
		found |= subtle.ConstantTimeCompare([]byte(t.at(moment)), []byte(token))
	}
	return found == 1
}
