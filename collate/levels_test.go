package collate

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// xtextKey draws a key as golang.org/x/text makes them, of weights about which
// our codes change their form. There are never fewer weights on a further level.
func xtextKey() *rapid.Generator[[]byte] {
	primary := rapid.OneOf(
		rapid.SampledFrom([]uint32{
			1, 2, 0xFF, 0x100, 0x101, 0x109, 0x10A, 0x10B, 0x14E6, 0x15EF, 0x15F0, 0x1895, 0x1896, 0x1995, 0x1996,
			twoByteLimit - 1, twoByteLimit, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x10001, 0x1FFFF, 0x20000, 1<<primaryBits - 1,
		}),
		rapid.Uint32Range(1, 1<<primaryBits-1),
		rapid.Uint32Range(0x100, 0x1900),
	)
	secondary := rapid.SampledFrom([]uint16{
		commonSecondary, commonSecondary + 1, 0xEF, 0xF0, 0xF1, 0xFE, 0xFF, 0x100, 0x120, 0x177, 0xFFF,
	})
	tertiary := rapid.SampledFrom([]byte{
		commonTertiary, commonTertiary + 1, capitalTertiary - 1, capitalTertiary, capitalTertiary + 1, 0x1F, 0xFF,
	})
	return rapid.Custom(func(t *rapid.T) (key []byte) {
		n := rapid.IntRange(0, 3).Draw(t, "primary weights")
		if rapid.IntRange(0, 3).Draw(t, "long") == 0 {
			n += rapid.SampledFrom([]int{maxCase - 2, maxCase, maxRun - 2, maxRun, 2*maxCase - 1, 2 * maxRun}).Draw(t, "more")
		}
		for i := range n {
			p := uint32(0x15EF)
			if i < 2 {
				p = primary.Draw(t, "primary")
			}
			if p > 0x7FFF {
				key = append(key, byte(p>>16)|0x80)
			}
			key = append(key, byte(p>>8), byte(p))
		}
		key = append(key, 0, 0)
		n += rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "secondary without primary")
		changed := rapid.SliceOfN(rapid.IntRange(0, n), 0, 2).Draw(t, "accents")
		for i := range n {
			weight := uint16(commonSecondary)
			if slices.Contains(changed, i) {
				weight = secondary.Draw(t, "secondary")
			}
			key = append(key, byte(weight>>8), byte(weight))
		}
		key = append(key, 0, 0)
		n += rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "tertiary without secondary")
		changed = rapid.SliceOfN(rapid.IntRange(0, n), 0, 2).Draw(t, "cases")
		for i := range n {
			weight := byte(commonTertiary)
			if slices.Contains(changed, i) {
				weight = tertiary.Draw(t, "tertiary")
			}
			key = append(key, weight)
		}
		return key
	})
}

// TestAppendWeights holds our form of golang.org/x/text's keys to the order of
// these, also for weights and numbers of them that its tables do not have.
func TestAppendWeights(t *testing.T) {
	c := table()
	rapid.Check(t, func(t *rapid.T) {
		a := xtextKey().Draw(t, "a")
		b := xtextKey().Draw(t, "b")
		if rapid.Bool().Draw(t, "close") { // differ in a weight of the last level, or by one
			b = bytes.Clone(a)
			last := rapid.IntRange(1, min(5, len(b))).Draw(t, "last")
			if b[len(b)-last] >= commonTertiary && bytes.IndexByte(b[len(b)-last:], 0) < 0 {
				b[len(b)-last] = rapid.SampledFrom([]byte{2, 3, 7, 8, 9}).Draw(t, "other")
			} else {
				b = append(b, commonTertiary)
			}
		}
		keyA, keyB := c.appendWeights(nil, a), c.appendWeights(nil, b)
		want := bytes.Compare(a, b)
		if got := bytes.Compare(keyA, keyB); got != want {
			t.Fatalf("% x and % x: %d, ours %d: % x and % x", a, b, want, got, keyA, keyB)
		}
		if want != 0 && (bytes.HasPrefix(keyA, keyB) || bytes.HasPrefix(keyB, keyA)) {
			t.Fatalf("% x and % x: % x and % x, one begins with the other", a, b, keyA, keyB)
		}
		for _, key := range [][]byte{keyA, keyB} {
			if end := c.skipString(append(bytes.Clone(key), key...), 0); end != len(key) {
				t.Fatalf("the end of % x was found at %d", key, end)
			}
			for cut := range key {
				if end := c.skipString(key[:cut], 0); end <= cut {
					t.Fatalf("the end of % x was found at %d", key[:cut], end)
				}
			}
		}
	})
}

// TestFewWeights compares all keys of few and few different weights.
func TestFewWeights(t *testing.T) {
	// words are all that have a length from shortest to longest.
	words := func(letters string, shortest, longest int) (all []string) {
		layer := []string{""}
		for length := 0; length <= longest; length++ {
			if length >= shortest {
				all = append(all, layer...)
			}
			var next []string
			for _, word := range layer {
				for i := range letters {
					next = append(next, word+letters[i:i+1])
				}
			}
			layer = next
		}
		return all
	}
	type pair struct{ text, key []byte }
	var all []pair
	c := table()
	for primaries := range 3 {
		for _, secondary := range words("\x20\x32", primaries, primaries+1) {
			for _, tertiary := range words("\x02\x08", len(secondary), len(secondary)+1) {
				text := bytes.Repeat([]byte{0x15, 0xEF}, primaries)
				text = append(text, 0, 0)
				for i := range len(secondary) {
					text = append(text, 0, secondary[i])
				}
				text = append(append(text, 0, 0), tertiary...)
				all = append(all, pair{text, c.appendWeights(nil, text)})
			}
		}
	}
	for _, a := range all {
		for _, b := range all {
			if got, want := bytes.Compare(a.key, b.key), bytes.Compare(a.text, b.text); got != want {
				t.Errorf("% x and % x: %d, ours %d: % x and % x", a.text, b.text, want, got, a.key, b.key)
			}
		}
	}
}
