package collate

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/collate"
	"golang.org/x/text/language"
)

// TestASCIIWeights checks what the fast path assumes of golang.org/x/text: its
// order of ASCII strings follows from the weights of single characters.
func TestASCIIWeights(t *testing.T) {
	c := collate.New(language.Und)
	var buf collate.Buffer
	var token []byte
	verify := func(s []byte) {
		buf.Reset()
		want := table().appendWeights(nil, c.Key(&buf, s))
		got, ok := table().appendASCIIKey(nil, s)
		if !ok || !bytes.Equal(got, want) {
			t.Errorf("key of %q is % x, by x/text % x", s, got, want)
		}
		// The pass over the string as it stands in JSON.
		quoted := []byte(quote(string(s)))
		got, end := appendStringKey(nil, quoted, 0)
		if end != len(quoted) || !bytes.Equal(got, want) {
			t.Errorf("key of %s is % x, by x/text % x", quoted, got, want)
		}
	}
	for i := range 128 {
		for j := range 128 {
			token = append(token[:0], byte(i), byte(j))
			verify(token)
			for _, k := range []byte("a.-' \x00\x1f1Z\"\\") {
				verify(append(token, k))
			}
		}
	}
}

// TestSingleBytes shows that the codes suit x/text: of ASCII nothing but control
// characters is ignored, and everything else has a byte of its own.
func TestSingleBytes(t *testing.T) {
	chars := table().chars
	for i, c := range chars {
		switch {
		case i >= utf8.RuneSelf:
			if c != beyond {
				t.Errorf("%x is not beyond ASCII", rune(i))
			}
		case c >= beyond:
			t.Errorf("%q has no byte of its own", rune(i))
		case c&ignored != 0 && i >= ' ' && i != 0x7F:
			t.Errorf("%q is ignored", rune(i))
		case c&ignored == 0 && byte(c) < firstLead:
			t.Errorf("%q has the code %x", rune(i), byte(c))
		case c&syntax != 0 != (i == '"' || i == '\\'):
			t.Errorf("%q: syntax %v", rune(i), c&syntax != 0)
		}
	}
	for i := byte('A'); i <= 'Z'; i++ {
		if chars[i].tertiary() != capitalTertiary || chars[i+'a'-'A'].tertiary() != commonTertiary {
			t.Errorf("%q has the tertiary weight %x", i, chars[i].tertiary())
		}
		if byte(chars[i]) != byte(chars[i+'a'-'A']) {
			t.Errorf("%q has another code than in lower case", rune(i))
		}
	}
}

// TestPrimaryCodes goes through all primary weights there can be: their codes
// ascend, and tell their size. It does so too for weights of ASCII that x/text
// does not have, which may make codes long, but not wrong.
func TestPrimaryCodes(t *testing.T) {
	far := [128]weight{}
	for i := range far {
		far[i] = weight{primary: uint32(i+1) * 100, tertiary: commonTertiary}
	}
	high := asciiWeights()
	high['a'].primary = twoByteLimit
	high['b'].primary = 1<<primaryBits - 1
	high['c'].primary = twoByteLimit - 1
	high['d'].primary = 1
	high['e'].tertiary = 0xFF
	high['f'].complex = true
	for name, weights := range map[string][128]weight{
		"x/text": asciiWeights(), "none": {}, "far apart": far, "high": high,
	} {
		c := newCodes(weights)
		var last, code [4]byte
		before := last[:0]
		for p := uint32(1); p < 1<<primaryBits; p++ {
			now := c.appendPrimary(code[:0], p)
			if now[0] < firstLead || int(c.sizes[now[0]]) != len(now) {
				t.Fatalf("%s: the code of %x is % x", name, p, now)
			}
			if bytes.Compare(before, now) >= 0 {
				t.Fatalf("%s: the code of %x is % x, after % x", name, p, now, before)
			}
			before = append(last[:0], now...)
		}
		for i, w := range weights {
			char := c.chars[i]
			switch code := c.appendPrimary(code[:0], max(w.primary, 1)); {
			case char >= beyond: // always right
			case w.complex, char&ignored != 0 != (w.primary == 0):
				t.Errorf("%s: %q is ignored: %v", name, rune(i), char&ignored != 0)
			case char&ignored == 0 && (len(code) != 1 || code[0] != byte(char) || char.tertiary() != w.tertiary):
				t.Errorf("%s: %q is %x, its primary weight % x", name, rune(i), char, code)
			}
		}
	}
}

// TestWeights checks what the format assumes of x/text's weights: none are less
// than the common secondary and tertiary ones or longer than there is room for,
// and where there is a weight there are those of the further levels.
func TestWeights(t *testing.T) {
	c := collate.New(language.Und)
	var buf collate.Buffer
	for r := rune(0); r <= utf8.MaxRune; r++ {
		buf.Reset()
		key := c.KeyFromString(&buf, string(r))
		var primaries, secondaries, tertiaries, i int
		for ; key[i] != 0 || key[i+1] != 0; primaries++ {
			size := 2
			if key[i]&0x80 != 0 {
				size = 3
			}
			if weight := int(key[i])<<8 | int(key[i+1]); size == 2 && weight >= twoByteLimit {
				t.Fatalf("%U: primary weight of 3 bytes in % x", r, key)
			}
			if size == 3 && key[i]&0x7F >= 1<<(primaryBits-16) {
				t.Fatalf("%U: primary weight too great in % x", r, key)
			}
			i += size
		}
		for i += 2; key[i] != 0 || key[i+1] != 0; i += 2 {
			if key[i] == 0 && key[i+1] < commonSecondary {
				t.Fatalf("%U: secondary weight below the common one in % x", r, key)
			}
			if key[i] >= 0x10 {
				t.Fatalf("%U: secondary weight too great in % x", r, key)
			}
			secondaries++
		}
		for i += 2; i < len(key); i++ {
			if key[i] < commonTertiary {
				t.Fatalf("%U: tertiary weight below the common one in % x", r, key)
			}
			tertiaries++
		}
		if primaries > secondaries || secondaries > tertiaries {
			t.Fatalf("%U: further levels have fewer weights in % x", r, key)
		}
	}
}
