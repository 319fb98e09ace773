package revtree

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// MaxGen is the highest generation that is accepted from outside: the
	// largest integer that JSON readers everywhere hold exactly (or the
	// largest int, where that is less).
	MaxGen = min(1<<53-1, math.MaxInt)

	// MaxHash is the length, in bytes, of the longest hash text that is
	// accepted from outside. CouchDB's own hashes are 32 hexadecimal digits.
	MaxHash = 1 << 10

	// digestLen is the length of CouchDB's own hashes: they are MD5 digests.
	digestLen = 16
)

// ErrInvalidID is wrapped by the errors for text that is not a revision and for
// paths that no history has.
var ErrInvalidID = errors.New("invalid revision")

// ID names a revision: how many edits led to it, and a hash that tells it from
// others of that generation. The zero ID stands for no revision.
//
// Hash holds raw bytes: the 16 decoded ones where the text is 32 hexadecimal
// digits of either case, else the text as it was sent. As in CouchDB, a text of
// exactly 16 bytes is therefore the same revision as the hexadecimal form of
// these bytes, and reads back as that.
type ID struct {
	Gen  int
	Hash string
}

// ParseID reads a revision in its text form, a decimal generation and a hash
// joined by a hyphen. Like CouchDB it takes generation 0, which revisions of
// local documents have, and an empty hash, though not both: that is the zero
// ID. Errors wrap [ErrInvalidID].
func ParseID(s string) (ID, error) {
	digits, text, found := strings.Cut(s, "-")
	if !found {
		return ID{}, fmt.Errorf("%w: no hyphen", ErrInvalidID)
	}
	gen, err := parseGen(digits)
	if err != nil {
		return ID{}, err
	}
	hash, err := ParseHash(text)
	if err != nil {
		return ID{}, err
	}
	id := ID{Gen: gen, Hash: hash}
	if id.IsZero() {
		return ID{}, fmt.Errorf("%w: neither generation nor hash", ErrInvalidID)
	}
	return id, nil
}

// parseGen reads decimal digits and nothing else: strconv would take a sign.
func parseGen(s string) (int, error) {
	if s == "" {
		return 0, fmt.Errorf("%w: no generation", ErrInvalidID)
	}
	gen := uint64(0)
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 {
			return 0, fmt.Errorf("%w: generation is not a decimal number", ErrInvalidID)
		}
		gen = gen*10 + uint64(c)
		if gen > MaxGen {
			return 0, fmt.Errorf("%w: generation is too high", ErrInvalidID)
		}
	}
	return int(gen), nil
}

// ParseHash turns the text of a hash, without its generation as _revisions has
// it, into the form that [ID] holds. It refuses text longer than [MaxHash], text
// that is not UTF-8, and control characters, since a revision is also written
// into headers. Errors wrap [ErrInvalidID].
func ParseHash(s string) (string, error) {
	if raw, ok := decodeDigest(s); ok {
		return string(raw[:]), nil
	}
	if len(s) > MaxHash {
		return "", fmt.Errorf("%w: hash is longer than %d bytes", ErrInvalidID, MaxHash)
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return "", fmt.Errorf("%w: control character in hash", ErrInvalidID)
		}
	}
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%w: hash is not UTF-8", ErrInvalidID)
	}
	return s, nil
}

func decodeDigest(s string) (raw [digestLen]byte, ok bool) {
	if len(s) != 2*digestLen {
		return raw, false
	}
	for i := range raw {
		high, low := hexDigit(s[2*i]), hexDigit(s[2*i+1])
		if high > 15 || low > 15 {
			return raw, false
		}
		raw[i] = high<<4 | low
	}
	return raw, true
}

// hexDigit is the value of a hexadecimal digit, or 255.
func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// AppendHash appends the text of a hash, as [ParseHash] reads it, to b: 16 raw
// bytes as lower-case hexadecimal digits, anything else as it is.
func AppendHash(b []byte, hash string) []byte {
	if len(hash) != digestLen {
		return append(b, hash...)
	}
	const digits = "0123456789abcdef"
	for i := range len(hash) {
		b = append(b, digits[hash[i]>>4], digits[hash[i]&15])
	}
	return b
}

// AppendText appends what String returns to b. The error is always nil; it is
// there for [encoding.TextAppender].
func (id ID) AppendText(b []byte) ([]byte, error) {
	return id.appendText(b), nil
}

func (id ID) appendText(b []byte) []byte {
	if id.IsZero() {
		return b
	}
	b = strconv.AppendInt(b, int64(id.Gen), 10)
	b = append(b, '-')
	return AppendHash(b, id.Hash)
}

// String returns the text form that ParseID reads, and "" for the zero ID.
func (id ID) String() string {
	var buf [64]byte
	return string(id.appendText(buf[:0]))
}

// IsZero tells whether id stands for no revision.
func (id ID) IsZero() bool {
	return id == ID{}
}

// Compare orders revisions by generation and then by the bytes of their hashes:
// negative if id is the lower one, 0 if both are the same.
func (id ID) Compare(o ID) int {
	if id.Gen != o.Gen {
		return cmp.Compare(id.Gen, o.Gen)
	}
	return strings.Compare(id.Hash, o.Hash)
}
