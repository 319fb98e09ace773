package collate

import (
	"bytes"
	"sync"

	"golang.org/x/text/collate"
	"golang.org/x/text/language"
)

// largeText is the size of strings, in bytes, from which on a collator's
// buffers are not kept for others.
const largeText = 1 << 16

// collators are not safe for concurrent use, and big; so they are pooled.
var collators = sync.Pool{New: func() any {
	return &collator{unicode: collate.New(language.Und)}
}}

type collator struct {
	unicode *collate.Collator
	buf     collate.Buffer
	a, b    []byte // unescaped strings
}

// release gives the collator back unless the text it served made it too big.
func (c *collator) release(size int) {
	if size <= largeText {
		collators.Put(c)
	}
}

// compareStrings compares two string tokens in collation order.
func compareStrings(a, b []byte) int {
	a, b = inside(a), inside(b)
	if d, ok := compareASCII(a, b, syntax); ok {
		return d
	}
	c := collators.Get().(*collator)
	defer c.release(len(a) + len(b))
	c.a = appendUnescaped(c.a[:0], a)
	c.b = appendUnescaped(c.b[:0], b)
	if d, ok := compareASCII(c.a, c.b, beyond); ok {
		return d
	}
	return c.unicode.Compare(c.a, c.b)
}

// compareASCII compares two strings; ok is false if it met anything from the
// limit on, so anything but plain ASCII, before they were decided.
func compareASCII(a, b []byte, limit char) (d int, ok bool) {
	chars := &table().chars
	var i, j, tertiary int
	for {
		var x, y char
		for i < len(a) {
			c := chars[a[i]]
			if c >= limit {
				return 0, false
			}
			i++
			if c&ignored == 0 {
				x = c
				break
			}
		}
		for j < len(b) {
			c := chars[b[j]]
			if c >= limit {
				return 0, false
			}
			j++
			if c&ignored == 0 {
				y = c
				break
			}
		}
		if byte(x) != byte(y) {
			// A combining character further on may change what stands
			// here, so the rest has to be ASCII too: only the next
			// character can combine with one of ASCII.
			if i < len(a) && chars[a[i]] >= limit || j < len(b) && chars[b[j]] >= limit {
				return 0, false
			}
			if byte(x) < byte(y) {
				return -1, true
			}
			return 1, true
		}
		if x == 0 {
			return tertiary, true
		}
		if tertiary == 0 && x.tertiary() != y.tertiary() {
			tertiary = 1
			if x.tertiary() < y.tertiary() {
				tertiary = -1
			}
		}
	}
}

// appendStringKey appends the weights of the string that starts at text[i], and
// returns the index after it. One pass over plain ASCII finds its end, writes
// its primary weights, and sees whether it has any others to write.
func appendStringKey(dst, text []byte, i int) (key []byte, end int) {
	t := table()
	start := len(dst)
	var all char
	for k := i + 1; k < len(text); k++ {
		c := t.chars[text[k]]
		if c.special() {
			if text[k] != '"' {
				break
			}
			if all < firstCased {
				return append(dst, endCommon), k + 1
			}
			return t.appendASCIITertiary(dst, text[i+1:k]), k + 1
		}
		all |= c
		dst = append(dst, byte(c))
	}
	end = stringEnd(text, i)
	return t.appendUnicodeKey(dst[:start], inside(text[i:end])), end
}

// appendUnicodeKey appends the weights of the inside of any string token.
func (t *codes) appendUnicodeKey(dst, s []byte) []byte {
	c := collators.Get().(*collator)
	defer c.release(len(s))
	c.a = appendUnescaped(c.a[:0], s)
	if key, ok := t.appendASCIIKey(dst, c.a); ok { // line breaks are often all it had
		return key
	}
	c.buf.Reset()
	return t.appendWeights(dst, c.unicode.Key(&c.buf, c.a))
}

// appendASCIIKey appends what appendWeights would, for a string without escapes;
// ok is false if it has anything but ASCII.
func (t *codes) appendASCIIKey(dst, s []byte) (key []byte, ok bool) {
	start := len(dst)
	var all char
	for _, b := range s {
		c := t.chars[b]
		switch {
		case c >= beyond:
			return dst[:start], false
		case c&ignored == 0:
			all |= c &^ syntax
			dst = append(dst, byte(c))
		}
	}
	if all < firstCased {
		return append(dst, endCommon), true
	}
	return t.appendASCIITertiary(dst, s), true
}

// appendASCIITertiary ends a key of ASCII that not all has common weights.
func (t *codes) appendASCIITertiary(dst, s []byte) []byte {
	dst = append(dst, endTertiary)
	run := 0
	for _, b := range s {
		c := t.chars[b]
		switch {
		case c&ignored != 0:
		case c.tertiary() == commonTertiary:
			run++
		default:
			dst = appendCase(dst, run, c.tertiary())
			run = 0
		}
	}
	return appendLastCase(dst, run)
}

// compareRawStrings compares two string tokens by their bytes.
func compareRawStrings(a, b []byte) int {
	a, b = inside(a), inside(b)
	if bytes.IndexByte(a, '\\') < 0 && bytes.IndexByte(b, '\\') < 0 {
		return bytes.Compare(a, b)
	}
	var bufA, bufB [128]byte
	return bytes.Compare(appendUnescaped(bufA[:0], a), appendUnescaped(bufB[:0], b))
}

// appendRawStringKey appends a string token's bytes in a form that ends.
func appendRawStringKey(dst, token []byte) []byte {
	s := inside(token)
	if bytes.IndexByte(s, '\\') >= 0 {
		var buf [128]byte
		s = appendUnescaped(buf[:0], s)
	}
	for {
		n := bytes.IndexByte(s, 0)
		if n < 0 {
			break
		}
		dst = append(append(dst, s[:n]...), 0, 1)
		s = s[n+1:]
	}
	return append(append(dst, s...), 0, 0)
}
