package collate

import (
	"bytes"
	"encoding/json"
	"testing"

	"golang.org/x/text/collate"
	"golang.org/x/text/language"
	"pgregory.net/rapid"
)

// jsonText draws JSON texts that are often close to each other: few kinds of
// characters, few numbers, prefixes of one another.
func jsonText(depth int) *rapid.Generator[string] {
	text := rapid.Map(rapid.OneOf(
		near(),
		rapid.StringOfN(rapid.RuneFrom([]rune("aAbB -_.é\u0301\u00ad\x00\x01\n\"\\ßüλД日😀\uffff\ufffe")), 0, 6, -1),
		rapid.StringOfN(rapid.RuneFrom([]rune("abAB1 .")), 0, 8, -1),
		rapid.StringN(0, 8, -1),
	), quote)
	text = rapid.OneOf(text, rapid.Custom(func(t *rapid.T) string { return spelled(t, near().Draw(t, "text")) }))
	leaf := rapid.OneOf(
		rapid.SampledFrom([]string{
			"null", "false", "true", "0", "-0", "0.0", "-0.0", "1", "1.0", "10e-1", "-1", "1.5",
			"9007199254740991", "9007199254740992", "9007199254740993", "9007199254740992.0",
			"-9007199254740993", "-9007199254740992.0", "1e21", "1000000000000000000000",
			"1000000000000000000001", "1e-320", "1.7976931348623157e308", "[]", "{}",
		}),
		rapid.Map(rapid.Int64(), func(n int64) string { b, _ := json.Marshal(n); return string(b) }),
		rapid.Map(rapid.Float64(), func(f float64) string { b, _ := json.Marshal(f); return string(b) }),
		rapid.StringMatching(`-?[1-9][0-9]{0,40}(\.[0-9]{1,5})?`),
		text,
	)
	if depth == 0 {
		return leaf
	}
	inner := jsonText(depth - 1)
	return rapid.OneOf(leaf,
		rapid.Map(rapid.SliceOfN(inner, 0, 3), func(s []string) string {
			b := []byte{'['}
			for i, v := range s {
				if i > 0 {
					b = append(b, ',')
				}
				b = append(b, v...)
			}
			return string(append(b, ']'))
		}),
		rapid.Custom(func(t *rapid.T) string {
			b := []byte{'{'}
			for i := range rapid.IntRange(0, 3).Draw(t, "members") {
				if i > 0 {
					b = append(b, ',')
				}
				b = append(b, text.Draw(t, "name")...)
				b = append(append(b, ':'), inner.Draw(t, "value")...)
			}
			return string(append(b, '}'))
		}))
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func TestTotalOrder(t *testing.T) {
	for name, o := range map[string]*order{"collated": &collated, "raw": &raw} {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			gen := jsonText(2)
			texts := [3]string{gen.Draw(t, "a"), gen.Draw(t, "b"), gen.Draw(t, "c")}
			a, b, c := []byte(texts[0]), []byte(texts[1]), []byte(texts[2])
			ab, bc, ac := o.compare(a, b), o.compare(b, c), o.compare(a, c)
			if o.compare(a, a) != 0 {
				t.Fatal("not reflexive")
			}
			if o.compare(b, a) != -ab {
				t.Fatal("not antisymmetric")
			}
			if ab <= 0 && bc <= 0 && ac > 0 || ab >= 0 && bc >= 0 && ac < 0 {
				t.Fatal("not transitive")
			}
		}))
	}
}

func TestKeysOrderAsTexts(t *testing.T) {
	for name, o := range map[string]*order{"collated": &collated, "raw": &raw} {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			gen := jsonText(2)
			a, b := []byte(gen.Draw(t, "a")), []byte(gen.Draw(t, "b"))
			keyA, keyB := o.appendKey(nil, a), o.appendKey(nil, b)
			want := o.compare(a, b)
			if got := bytes.Compare(keyA, keyB); got != want {
				t.Fatalf("texts %d, keys %d: % x and % x", want, got, keyA, keyB)
			}
			if want != 0 && (bytes.HasPrefix(keyA, keyB) || bytes.HasPrefix(keyB, keyA)) {
				t.Fatalf("one key is a prefix of the other: % x and % x", keyA, keyB)
			}
			if keyA[0] == 0 || keyA[0] == 0xFF {
				t.Fatalf("key starts with %x", keyA[0])
			}
		}))
	}
}

// TestStringsAsXText holds the fast paths and the key format to the order of
// golang.org/x/text's own comparison.
func TestStringsAsXText(t *testing.T) {
	c := collate.New(language.Und)
	rapid.Check(t, func(t *rapid.T) {
		gen := rapid.OneOf(
			rapid.StringOfN(rapid.RuneFrom([]rune("aAbB -_.\x00\x01~")), 0, 8, -1),
			rapid.StringOfN(rapid.RuneFrom([]rune("aAlL·é\u0301\u0327\u00ad\x00ß \u030a")), 0, 8, -1),
			rapid.StringOf(rapid.Map(rapid.IntRange(0x20, 0x7E), func(i int) rune { return rune(i) })),
			rapid.String(),
		)
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		want := c.CompareString(a, b)
		if got := Compare([]byte(quote(a)), []byte(quote(b))); got != want {
			t.Fatalf("Compare(%q, %q) = %d, x/text says %d", a, b, got, want)
		}
	})
}
