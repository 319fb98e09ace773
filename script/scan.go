package script

import (
	"strings"
	"unicode/utf16"
)

// The scanners below read canonical JSON, or at least valid JSON: what the
// node wrote itself. Text that is neither is read as something, without harm.

// skipSpace returns the index of the first byte at or after i that is no white
// space.
func skipSpace(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\n' || s[i] == '\t' || s[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the index behind the string that begins at i, and whether
// it has escapes.
func skipString(s string, i int) (end int, escaped bool) {
	i++
	for i < len(s) {
		n := strings.IndexByte(s[i:], '"')
		if n < 0 {
			return len(s), escaped
		}
		b := strings.IndexByte(s[i:i+n], '\\')
		if b < 0 {
			return i + n + 1, escaped
		}
		escaped = true
		i += b + 2
	}
	return len(s), escaped
}

// skipValue returns the index behind the value that begins at i.
func skipValue(s string, i int) int {
	if i >= len(s) {
		return len(s)
	}
	switch s[i] {
	case '"':
		end, _ := skipString(s, i)
		return end
	case '{', '[':
		for depth := 0; i < len(s); {
			switch s[i] {
			case '"':
				i, _ = skipString(s, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
				if depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return len(s)
	}
	for i < len(s) {
		switch s[i] {
		case ',', '}', ']', ' ', '\n', '\t', '\r':
			return i
		}
		i++
	}
	return i
}

// unquote returns the UTF-16 code units of a JSON string with escapes, given
// with its quotes.
func unquote(s string) []uint16 {
	s = strings.TrimSuffix(strings.TrimPrefix(s, `"`), `"`)
	units := make([]uint16, 0, len(s))
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s):
			i++
			switch s[i] {
			case 'u':
				var u uint16
				for k := 0; k < 4 && i+1 < len(s); k++ {
					i++
					u = u<<4 | hexDigit(s[i])
				}
				units = append(units, u)
			case 'n':
				units = append(units, '\n')
			case 't':
				units = append(units, '\t')
			case 'r':
				units = append(units, '\r')
			case 'b':
				units = append(units, '\b')
			case 'f':
				units = append(units, '\f')
			default:
				units = append(units, uint16(s[i]))
			}
			i++
		case c < 0x80:
			units = append(units, uint16(c))
			i++
		default:
			n := 1
			for i+n < len(s) && s[i+n]&0xc0 == 0x80 {
				n++
			}
			for _, r := range s[i : i+n] {
				if r >= 0x10000 {
					r -= 0x10000
					units = append(units, uint16(0xd800+(r>>10)), uint16(0xdc00+(r&0x3ff)))
				} else {
					units = append(units, uint16(r))
				}
			}
			i += n
		}
	}
	return units
}

func hexDigit(c byte) uint16 {
	switch {
	case '0' <= c && c <= '9':
		return uint16(c - '0')
	case 'a' <= c && c <= 'f':
		return uint16(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return uint16(c-'A') + 10
	}
	return 0
}

// arrayIndex tells whether a member's name is an array index, which objects
// keep before other names.
func arrayIndex(name string) (uint32, bool) {
	if name == "" || len(name) > 10 || name[0] == '0' && len(name) > 1 {
		return 0, false
	}
	var n uint64
	for i := range len(name) {
		c := name[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return uint32(n), n < 1<<32-1
}

// decodeString is the text of a JSON string.
func decodeString(s string) string {
	end, escaped := skipString(s, 0)
	if escaped {
		return string(utf16.Decode(unquote(s[:end])))
	}
	return s[1:max(end-1, 1)]
}
