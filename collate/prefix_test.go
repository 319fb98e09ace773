package collate

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestArrayPrefix cuts keys of arrays and compares with the keys of the cut arrays.
func TestArrayPrefix(t *testing.T) {
	orders := []struct {
		appendKey func(dst, json []byte) []byte
		prefix    func(key []byte, n int) int
	}{{AppendKey, ArrayPrefix}, {AppendRawKey, RawArrayPrefix}}
	rapid.Check(t, func(t *rapid.T) {
		elements := rapid.SliceOfN(jsonText(2), 0, 5).Draw(t, "elements")
		n := rapid.IntRange(1, 6).Draw(t, "n")
		for _, o := range orders {
			array := func(e []string) []byte { return o.appendKey(nil, []byte("["+strings.Join(e, ",")+"]")) }
			key := array(elements)
			got := key[:o.prefix(key, n)]
			want := key
			if n <= len(elements) {
				want = array(elements[:n])
				want = want[:len(want)-1] // without the end
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("prefix of % x with %d elements is % x, want % x", key, n, got, want)
			}
			for cut := range key {
				if got := o.prefix(key[:cut], n); got > cut {
					t.Fatalf("prefix of a key cut to %d bytes has %d", cut, got)
				}
			}
			scalar := o.appendKey(nil, []byte(`{"a":[1,2,3]}`))
			if got := o.prefix(scalar, n); got != len(scalar) {
				t.Fatalf("prefix of an object's key has %d bytes of %d", got, len(scalar))
			}
		}
	})
}

// FuzzArrayPrefix feeds bytes that are no keys.
func FuzzArrayPrefix(f *testing.F) {
	f.Add([]byte{tagArray, tagString, 0, 0x7f, 0x7f}, 2)
	f.Add(AppendKey(nil, []byte(`["aA\ufffe",-1.5,{"é":[]}]`)), 3)
	f.Fuzz(func(t *testing.T, key []byte, n int) {
		for _, got := range []int{ArrayPrefix(key, n), RawArrayPrefix(key, n)} {
			if got < 0 || got > len(key) {
				t.Errorf("prefix of %d bytes of %d", got, len(key))
			}
		}
	})
}
