package collate

import (
	"bytes"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/collate"
	"golang.org/x/text/language"
)

// The weights of golang.org/x/text's root collation. Every character has a
// primary weight of 2 or 3 bytes, or none if it is ignored; secondary weights
// (accents) and tertiary ones (case) are nearly always the common ones, which
// are the least of their level.
const (
	commonSecondary = 0x20
	commonTertiary  = 0x02
)

// Common weights are run-length coded: a run that ends its level is followed by
// less than a common weight, and is less than any run that a greater weight
// follows; of two runs that end their levels the shorter is less, of two that
// greater weights follow the longer.
const (
	runMore      = 0x7F // maxRun common weights of a last run, more to come
	runLast      = 0x01 // plus up to maxRun-1: the last run of the level
	runHigher    = 0xFE // minus up to maxRun-1: a run, then a greater weight
	runHigherMax = 0x80 // maxRun common weights, more to come before a greater weight
	maxRun       = 0x7D

	// lowPrimary follows the 0 of a primary weight below 0x100 (that of U+FFFE
	// alone), to tell it from the 0 that ends the level: no run starts so.
	lowPrimary = 0xFF
)

// largeText is the size of strings, in bytes, from which on a collator's
// buffers are not kept for others.
const largeText = 1 << 16

// ascii holds the weights of ASCII characters: each is one collation element
// with common secondary weight, or ignored (primary 0), and takes part in no
// contraction with others of ASCII. TestASCIIWeights checks this.
var ascii = sync.OnceValue(func() *[128]weight {
	var table [128]weight
	c := collate.New(language.Und)
	var buf collate.Buffer
	for i := range table {
		buf.Reset()
		key := c.Key(&buf, []byte{byte(i)})
		// Primary weight, 0 0, secondary weight, 0 0, tertiary weight.
		if len(key) == 9 {
			table[i] = weight{uint16(key[0])<<8 | uint16(key[1]), key[8]}
		}
	}
	return &table
})

type weight struct {
	primary  uint16
	tertiary byte
}

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
	if d, ok := compareASCII(a, b); ok {
		return d
	}
	c := collators.Get().(*collator)
	defer c.release(len(a) + len(b))
	c.a = appendUnescaped(c.a[:0], a)
	c.b = appendUnescaped(c.b[:0], b)
	return c.unicode.Compare(c.a, c.b)
}

// compareASCII compares the insides of two string tokens; ok is false if it
// met anything but plain ASCII before they were decided.
func compareASCII(a, b []byte) (d int, ok bool) {
	table := ascii()
	var i, j, tertiary int
	for {
		var x, y weight
		for i < len(a) {
			c := a[i]
			if c >= utf8.RuneSelf || c == '\\' {
				return 0, false
			}
			i++
			if x = table[c]; x.primary != 0 {
				break
			}
		}
		for j < len(b) {
			c := b[j]
			if c >= utf8.RuneSelf || c == '\\' {
				return 0, false
			}
			j++
			if y = table[c]; y.primary != 0 {
				break
			}
		}
		if x.primary != y.primary {
			// A combining character further on may change what stands
			// here, so the rest has to be ASCII too: only the next
			// character can combine with one of ASCII.
			if beyondASCII(a, i) || beyondASCII(b, j) {
				return 0, false
			}
			if x.primary < y.primary {
				return -1, true
			}
			return 1, true
		}
		if x.primary == 0 {
			return tertiary, true
		}
		if tertiary == 0 && x.tertiary != y.tertiary {
			tertiary = 1
			if x.tertiary < y.tertiary {
				tertiary = -1
			}
		}
	}
}

// beyondASCII says whether the characters that could combine with the one
// before i are something else than plain ASCII.
func beyondASCII(s []byte, i int) bool {
	return i < len(s) && (s[i] >= utf8.RuneSelf || s[i] == '\\')
}

// appendStringKey appends the weights of a string token.
func appendStringKey(dst, token []byte) []byte {
	s := inside(token)
	if isASCII(s) {
		return appendASCIIKey(dst, s)
	}
	c := collators.Get().(*collator)
	defer c.release(len(s))
	c.a = appendUnescaped(c.a[:0], s)
	c.buf.Reset()
	return appendWeights(dst, c.unicode.Key(&c.buf, c.a))
}

func isASCII(s []byte) bool {
	for _, c := range s {
		if c >= utf8.RuneSelf || c == '\\' {
			return false
		}
	}
	return true
}

// appendASCIIKey appends what appendWeights would, for plain ASCII.
func appendASCIIKey(dst, s []byte) []byte {
	table := ascii()
	n := 0
	for _, c := range s {
		if p := table[c].primary; p != 0 {
			dst = append(dst, byte(p>>8), byte(p))
			n++
		}
	}
	dst = append(dst, 0)
	dst = appendLastRun(dst, n)
	run := 0
	for _, c := range s {
		w := table[c]
		switch {
		case w.primary == 0:
		case w.tertiary <= commonTertiary:
			run++
		default:
			dst = append(appendRun(dst, run), w.tertiary)
			run = 0
		}
	}
	return appendLastRun(dst, run)
}

// appendWeights appends a key of golang.org/x/text/collate in our format. That
// key has 2-byte primary weights (3 if the first has its highest bit set), 0 0,
// 2-byte secondary weights, 0 0, and 1-byte tertiary weights; weights are not 0.
func appendWeights(dst, key []byte) []byte {
	i := 0
	for i+1 < len(key) && (key[i] != 0 || key[i+1] != 0) {
		size := 2
		if key[i]&0x80 != 0 {
			size = 3
		}
		end := min(i+size, len(key))
		if key[i] == 0 {
			dst = append(dst, 0, lowPrimary)
			i++
		}
		dst = append(dst, key[i:end]...)
		i = end
	}
	dst = append(dst, 0)
	run := 0
	for i += 2; i+1 < len(key) && (key[i] != 0 || key[i+1] != 0); i += 2 {
		if key[i] == 0 && key[i+1] <= commonSecondary {
			run++
			continue
		}
		dst = append(appendRun(dst, run), key[i], key[i+1])
		run = 0
	}
	dst = appendLastRun(dst, run)
	run = 0
	for i += 2; i < len(key); i++ {
		if key[i] <= commonTertiary {
			run++
			continue
		}
		dst = append(appendRun(dst, run), key[i])
		run = 0
	}
	return appendLastRun(dst, run)
}

// appendRun appends a run of n common weights that a greater one follows.
func appendRun(dst []byte, n int) []byte {
	for ; n >= maxRun; n -= maxRun {
		dst = append(dst, runHigherMax)
	}
	return append(dst, runHigher-byte(n))
}

// appendLastRun appends a run of n common weights, and the end of the level.
func appendLastRun(dst []byte, n int) []byte {
	for ; n >= maxRun; n -= maxRun {
		dst = append(dst, runMore)
	}
	return append(dst, runLast+byte(n))
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
