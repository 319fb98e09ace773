package collate

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/collate"
	"golang.org/x/text/language"
	"pgregory.net/rapid"
)

// TestKeyFormat pins keys. If it fails, keys that are stored are in another
// format than new ones, and Version has to change.
func TestKeyFormat(t *testing.T) {
	for text, want := range map[string]string{
		`""`:                                 "3000",
		`"a"`:                                "305c00",
		`"A"`:                                "305c01fc00",
		`"water"`:                            "30885c82647e00",
		`["water","2026-03-04T05:06:07Z"]`:   "4030885c82647e0030535153570e51540e51558251561451571451588e01dee40000",
		`"\t\u0000_-~$09z"`:                  "30040c0e3e4f515a8e00",
		`"ÅÆéß"`:                             "305c5c6464808002fd43fdf139fc32fdf13902fcfa0afb04fd0af504fb04fb0400",
		`"a\ufffe"`:                          "305c030001f80500",
		`"日本"`:                               "30c865e5c8672c00",
		`"вода"`:                             "30901790e1902f8ffb00",
		`"\ud83d\ude00"`:                     "304cf000",
		`"` + strings.Repeat("a", 64) + `É"`: "30" + strings.Repeat("5c", 64) + "6402bd320140f901",
	} {
		if got := fmt.Sprintf("%x", AppendKey(nil, []byte(text))); got != want {
			t.Errorf("key of %s is %s, want %s", text, got, want)
		}
	}
	if !strings.HasPrefix(Version, "2/") {
		t.Errorf("Version is %s: pin its keys", Version)
	}
}

// neighbours are characters whose primary weights are near those of ASCII, or
// near the ends of other ranges of weights that share a lead byte: where a
// wrong code would put them on the wrong side.
var neighbours = sync.OnceValue(func() []rune {
	table := table()
	c := collate.New(language.Und)
	var buf collate.Buffer
	var all []rune
	for r := rune(0x80); r <= utf8.MaxRune; r++ {
		if r >= 0xD800 && r < 0xE000 {
			continue
		}
		buf.Reset()
		key := c.KeyFromString(&buf, string(r))
		weight := uint32(key[0])<<8 | uint32(key[1])
		if key[0]&0x80 != 0 {
			weight = (weight&0x7FFF)<<8 | uint32(key[2])
		}
		if weight == 0 || weight > 1<<primaryBits-3 {
			continue
		}
		for near := max(weight, 3) - 2; near <= weight+2; near++ {
			code := table.appendPrimary(nil, near)
			first := table.first[code[0]]
			if len(code) == 1 && near != weight || len(code) > 1 && near == first {
				all = append(all, r)
				break
			}
		}
	}
	return all
})

// samples are characters of every kind.
var samples = []rune("aAbBzZ09 _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$\t\n\x00\x01\x1f\x7f" +
	"éÉåÅßæÆøłŁđıſ\u0301\u0327\u030a\u0345\u00ad\u034f·²₂½①ⅷª１ａＡ＿" +
	"٠१๑፩¢£€₤₿©™°¿¡«»‘“–—…‐\u00a0\u2003\u3000αΩДяשعकกあアｱ가각ㄱ日本㐀\U00020000" +
	"😀👍🏽\ufe0f\u200d\u200b\ufeff\ufffd\uffff\ufffe\u0378\ue000\U0010ffff\U000e0001ﬁﷺ\ufcf2")

func TestNeighbours(t *testing.T) {
	// Those of the letters alone are some hundred.
	if n := len(neighbours()); n < 300 {
		t.Fatalf("only %d", n)
	}
}

// near draws strings of characters that lie close together in the order.
func near() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringOfN(rapid.SampledFrom(neighbours()), 0, 3, -1),
		rapid.StringOfN(rapid.SampledFrom(samples), 0, 6, -1),
		rapid.StringOfN(rapid.OneOf(rapid.SampledFrom(samples), rapid.SampledFrom(neighbours()), rapid.RuneFrom([]rune("aAeEz19 "))), 0, 5, -1),
	)
}

// nearPair draws two strings, the second of which is often the first with a
// small change, or the start of it.
func nearPair() *rapid.Generator[[2]string] {
	return rapid.Custom(func(t *rapid.T) [2]string {
		a := near().Draw(t, "a")
		runes := []rune(a)
		at := rapid.IntRange(0, len(runes)).Draw(t, "at")
		head, tail := string(runes[:at]), string(runes[at:])
		var b string
		switch rapid.IntRange(0, 6).Draw(t, "change") {
		case 0:
			b = head
		case 1:
			b = head + near().Draw(t, "inserted") + tail
		case 2:
			b = head + strings.ToUpper(tail)
		case 3:
			b = strings.ToLower(head) + tail
		case 4:
			b = head + near().Draw(t, "end")
		case 5: // past the length of one run of common weights
			fill := strings.Repeat("a", rapid.IntRange(55, 135).Draw(t, "length"))
			a, b = head+fill+tail, fill+head+tail
		default:
			b = near().Draw(t, "b")
		}
		return [2]string{a, b}
	})
}

// spelled draws a JSON string: some characters as escapes, bytes that are not
// UTF-8 as they stand.
func spelled(t *rapid.T, s string) string {
	style := rapid.IntRange(0, 3).Draw(t, "escapes")
	b := []byte{'"'}
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(b, s[i])
		case r < ' ' || r == '"' || r == '\\' || style == 1 && i%2 == 0:
			if r > 0xFFFF {
				b = append(b, s[i:i+size]...)
			} else {
				b = fmt.Appendf(b, `\u%04x`, r)
			}
		default:
			b = append(b, s[i:i+size]...)
		}
		i += size
	}
	return string(append(b, '"'))
}

// checkStrings holds Compare and the keys of two strings to golang.org/x/text's
// comparison, alone and as members, and the ends of keys to their uses.
func checkStrings(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, c *collate.Collator, a, b, jsonA, jsonB string,
) {
	t.Helper()
	want := c.CompareString(a, b)
	if got := Compare([]byte(jsonA), []byte(jsonB)); got != want {
		t.Fatalf("Compare(%s, %s) = %d, x/text says %d", jsonA, jsonB, got, want)
	}
	keyA, keyB := AppendKey(nil, []byte(jsonA)), AppendKey(nil, []byte(jsonB))
	if got := bytes.Compare(keyA, keyB); got != want {
		t.Fatalf("%s and %s: %d, keys %d: % x and % x", jsonA, jsonB, want, got, keyA, keyB)
	}
	if want != 0 && (bytes.HasPrefix(keyA, keyB) || bytes.HasPrefix(keyB, keyA)) {
		t.Fatalf("%s and %s: % x and % x, one begins with the other", jsonA, jsonB, keyA, keyB)
	}
	for _, format := range []string{`[%s,{%s:1}]`, `[%[2]s,%[1]s,%[2]s]`, `{%[1]s:%[2]s}`} {
		x, y := fmt.Appendf(nil, format, jsonA, jsonB), fmt.Appendf(nil, format, jsonB, jsonA)
		if got, want := bytes.Compare(AppendKey(nil, x), AppendKey(nil, y)), Compare(x, y); got != want {
			t.Fatalf("%s and %s: %d, keys %d", x, y, want, got)
		}
	}
	array := AppendKey(nil, fmt.Appendf(nil, "[%s,%s,null]", jsonA, jsonB))
	if n := ArrayPrefix(array, 1); !bytes.Equal(array[1:n], keyA) {
		t.Fatalf("% x: the first member is % x, found % x", array, keyA, array[1:n])
	}
	if n := ArrayPrefix(array, 2); n != 1+len(keyA)+len(keyB) {
		t.Fatalf("% x: the members % x and % x end at %d", array, keyA, keyB, n)
	}
}

func TestStringKeys(t *testing.T) {
	c := collate.New(language.Und)
	rapid.Check(t, func(t *rapid.T) {
		pair := nearPair().Draw(t, "pair")
		if rapid.IntRange(0, 9).Draw(t, "broken") == 0 {
			pair[0] += string([]byte{rapid.Byte().Draw(t, "byte")})
		}
		checkStrings(t, c, pair[0], pair[1], spelled(t, pair[0]), spelled(t, pair[1]))
	})
}

// TestEveryPair compares characters of every kind with each other, behind and
// before others.
func TestEveryPair(t *testing.T) {
	var texts []string
	for _, r := range samples {
		texts = append(texts, string(r), "a"+string(r), string(r)+"b", "A"+string(r))
	}
	for i, r := range neighbours() {
		if i%4 == 0 {
			texts = append(texts, string(r))
		}
	}
	c := collate.New(language.Und)
	keys := make([][]byte, len(texts))
	for i, s := range texts {
		keys[i] = AppendKey(nil, []byte(quote(s)))
	}
	for i, a := range texts {
		for j, b := range texts[:i] {
			if got, want := bytes.Compare(keys[i], keys[j]), c.CompareString(a, b); got != want {
				t.Errorf("%q and %q: %d, keys %d: % x and % x", a, b, want, got, keys[i], keys[j])
			}
		}
	}
}

// TestEveryCharacter sorts all characters by their keys and compares each with
// the one that comes before it.
func TestEveryCharacter(t *testing.T) {
	type placed struct {
		text string
		key  []byte
	}
	var all []placed
	for r := rune(1); r <= utf8.MaxRune; r++ {
		if r >= 0xD800 && r < 0xE000 || r >= 0x30000 && r%16 != 0 { // few are assigned there
			continue
		}
		key := AppendKey(nil, []byte(quote(string(r))))
		if end := table().skipString(key, 1); end != len(key) {
			t.Errorf("%+q: the end of % x was found at %d", r, key, end)
		}
		all = append(all, placed{string(r), key})
	}
	slices.SortFunc(all, func(a, b placed) int { return bytes.Compare(a.key, b.key) })
	c := collate.New(language.Und)
	for i, b := range all[1:] {
		a := all[i]
		if got, want := bytes.Compare(a.key, b.key), c.CompareString(a.text, b.text); got != want {
			t.Errorf("%+q and %+q: %d, keys %d: % x and % x", a.text, b.text, want, got, a.key, b.key)
		}
	}
}

// FuzzStrings holds keys of strings to golang.org/x/text's order.
func FuzzStrings(f *testing.F) {
	for _, s := range [][2]string{
		{"water", "Water"},
		{"a", "á"},
		{"e\u0301", "é"},
		{"z", "ʒ"},
		{"a\ufffe", "a\t"},
		{"日本", "\U00020000"},
		{"l·", "lm"},
		{"2026-03-04T05:06:07Z", "2026-03-04t05:06:07z"},
		{"\x80", "\ufffd"},
		{strings.Repeat("a", 70) + "A", strings.Repeat("a", 71)},
	} {
		f.Add(s[0], s[1])
	}
	c := collate.New(language.Und)
	f.Fuzz(func(t *testing.T, a, b string) {
		a, b = strings.ToValidUTF8(a, "\ufffd"), strings.ToValidUTF8(b, "\ufffd")
		checkStrings(t, c, a, b, quote(a), quote(b))
	})
}
