package document

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// maxIntegerDigits is the longest integer that is accepted; of one digit more
// CouchDB makes an error, as the number no longer fits a double.
const maxIntegerDigits = 308

// number reads a number. Integers keep every digit; floats are written as
// AppendFloat does. It reports whether the number is an integer from 0 to 255.
func (p *parser) number() (small, ok bool) {
	in, start := p.in, p.pos
	i := start
	negative := i < len(in) && in[i] == '-'
	if negative {
		i++
	}
	digits := i
	var v uint64 // of up to 19 digits, which cannot overflow
	for i < len(in) && in[i]-'0' <= 9 {
		if i-digits < 19 {
			v = v*10 + uint64(in[i]-'0')
		}
		i++
	}
	n := i - digits
	if n == 0 || in[digits] == '0' && n > 1 {
		return false, false
	}
	if i < len(in) && (in[i] == '.' || in[i] == 'e' || in[i] == 'E') {
		return false, p.float(i)
	}
	p.pos = i
	switch {
	case n > maxIntegerDigits:
		return false, false
	case n > 19:
		p.text = append(p.text, in[start:i]...)
		p.term = appendTermBig(p.term, negative, string(in[digits:i]))
		return false, true
	case v == 0:
		negative, start = false, digits
	}
	p.text = append(p.text, in[start:i]...)
	p.term = appendTermInt(p.term, negative, v)
	return !negative && v <= math.MaxUint8, true
}

// float reads on from the first byte after the integer part.
func (p *parser) float(i int) bool {
	in := p.in
	digits, short := i-p.pos, false
	if in[i] == '.' {
		i++
		first := i
		for i < len(in) && in[i]-'0' <= 9 {
			i++
		}
		if i == first {
			return false
		}
		digits += i - first
		short = in[i-1] != '0' || i == first+1
	}
	if i < len(in) && in[i]|0x20 == 'e' {
		short = false
		i++
		if i < len(in) && (in[i] == '+' || in[i] == '-') {
			i++
		}
		first := i
		for i < len(in) && in[i]-'0' <= 9 {
			i++
		}
		if i == first {
			return false
		}
	}
	f, err := strconv.ParseFloat(string(in[p.pos:i]), 64)
	if err != nil { // beyond the range of a double
		return false
	}
	if short && digits <= 15 && math.Abs(f) >= 1e-6 {
		// No two numbers of 15 digits are the same double, so that these
		// digits are the shortest.
		p.text = append(p.text, in[p.pos:i]...)
	} else {
		p.text = AppendFloat(p.text, f)
	}
	p.pos = i
	p.term = appendFloatTerm(p.term, f)
	return true
}

// AppendFloat appends a finite float as CouchDB prints it: the shortest digits
// that read back as f, with a point or an exponent, and no sign before zero.
func AppendFloat(b []byte, f float64) []byte {
	a := math.Abs(f)
	switch {
	case a == 0:
		return append(b, "0.0"...)
	case a >= 1e-6 && a < 1e21:
		start := len(b)
		b = strconv.AppendFloat(b, f, 'f', -1, 64)
		for _, c := range b[start:] {
			if c == '.' {
				return b
			}
		}
		return append(b, ".0"...)
	}
	b = strconv.AppendFloat(b, f, 'e', -1, 64)
	// Go pads the exponent to two digits, CouchDB does not.
	if n := len(b); b[n-2] == '0' && (b[n-3] == '-' || b[n-3] == '+') {
		b[n-2] = b[n-1]
		b = b[:n-1]
	}
	return b
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plain returns the index of the first byte at or after i that is a quote, a
// backslash, a control character or not ASCII; len(in) if there is none.
func plain(in []byte, i int) int {
	for ; i+8 <= len(in); i += 8 {
		w := binary.LittleEndian.Uint64(in[i:])
		// In each of these a byte's high bit is set if it is below 0x20, a
		// quote, a backslash, or above 0x7f. Borrows reach higher bytes alone,
		// so the lowest bit found is right.
		m := (w - ones*0x20) | ((w ^ ones*'"') - ones) | ((w ^ ones*'\\') - ones) | w
		if m &= highs; m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for ; i < len(in); i++ {
		if c := in[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			break
		}
	}
	return i
}

// textRun returns the index of the first byte at or after i that ends a run of
// valid UTF-8 without quotes, backslashes and control characters.
func textRun(in []byte, i int) int {
	for {
		i = plain(in, i)
		if i == len(in) || in[i] < utf8.RuneSelf {
			return i
		}
		for i < len(in) && in[i] >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(in[i:])
			if r == utf8.RuneError && n == 1 {
				return i
			}
			i += n
		}
	}
}

// str reads a string whose opening quote is the next byte.
func (p *parser) str() bool {
	in, start := p.in, p.pos+1
	i := textRun(in, start)
	if i == len(in) {
		return false
	}
	if in[i] != '"' {
		return p.escapedStr(start, i)
	}
	p.text = append(p.text, in[start-1:i+1]...)
	p.term = appendBinaryHeader(p.term, i-start)
	p.term = append(p.term, in[start:i]...)
	p.pos = i + 1
	return true
}

// escapedStr reads a string that begins at start, of which the run up to i
// needs no care.
func (p *parser) escapedStr(start, i int) bool {
	in := p.in
	header := len(p.term)
	p.term = appendBinaryHeader(p.term, 0)
	p.text = append(p.text, '"')
	for {
		p.text = append(p.text, in[start:i]...)
		p.term = append(p.term, in[start:i]...)
		if i == len(in) {
			return false
		}
		switch {
		case in[i] == '"':
			p.text = append(p.text, '"')
			p.pos = i + 1
			binary.BigEndian.PutUint32(p.term[header+1:], uint32(len(p.term)-header-5))
			return true
		case in[i] == '\\':
			r, n := unescape(in[i:])
			if n == 0 {
				return false
			}
			i += n
			p.text = appendEscaped(p.text, r)
			p.term = utf8.AppendRune(p.term, r)
		case in[i] == 0 && p.placeholders:
			p.text = append(p.text, 0)
			p.term = append(p.term, 0)
			i++
		default:
			return false
		}
		start = i
		i = textRun(in, start)
	}
}

// unescape reads the escape at the start of in and returns its length, or 0 if
// it is none. Surrogates must come in pairs.
func unescape(in []byte) (r rune, n int) {
	if len(in) < 2 {
		return 0, 0
	}
	switch in[1] {
	case '"', '\\', '/':
		return rune(in[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r, ok := hex4(in[2:])
		switch {
		case !ok || r >= 0xdc00 && r < 0xe000:
			return 0, 0
		case r < 0xd800 || r >= 0xe000:
			return r, 6
		case len(in) < 12 || in[6] != '\\' || in[7] != 'u':
			return 0, 0
		}
		low, ok := hex4(in[8:])
		if !ok || low < 0xdc00 || low >= 0xe000 {
			return 0, 0
		}
		return (r-0xd800)<<10 + (low - 0xdc00) + 0x10000, 12
	}
	return 0, 0
}

func hex4(in []byte) (r rune, ok bool) {
	if len(in) < 4 {
		return 0, false
	}
	for _, c := range in[:4] {
		switch {
		case c-'0' <= 9:
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// appendEscaped appends a character as it stands in a canonical string.
func appendEscaped(b []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(b, '\\', byte(r))
	case '\b':
		return append(b, '\\', 'b')
	case '\f':
		return append(b, '\\', 'f')
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	if r < 0x20 {
		const hex = "0123456789ABCDEF"
		return append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
	}
	return utf8.AppendRune(b, r)
}

// AppendString appends s as a canonical JSON string. Bytes that are not UTF-8
// become U+FFFD.
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	b = appendChars(b, s)
	return append(b, '"')
}

// appendChars appends s as it stands between a string's quotes.
func appendChars(b []byte, s string) []byte {
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' {
				i++
				continue
			}
			b = append(b, s[from:i]...)
			b = appendEscaped(b, rune(c))
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			b = append(b, s[from:i]...)
			b = utf8.AppendRune(b, r)
			from = i + 1
		}
		i += n
	}
	return append(b, s[from:]...)
}

// unquote returns the value of a canonical JSON string, quotes included.
func unquote(text []byte) string {
	text = text[1 : len(text)-1]
	if bytes.IndexByte(text, '\\') < 0 {
		return string(text)
	}
	return string(appendUnescaped(make([]byte, 0, len(text)), text))
}

// appendUnescaped appends the inner part of a canonical JSON string.
func appendUnescaped(b, text []byte) []byte {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return append(b, text...)
		}
		r, n := unescape(text[i:])
		b = append(b, text[:i]...)
		b = utf8.AppendRune(b, r)
		text = text[i+max(n, 1):]
	}
}
