package kv_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/storage/kv"
)

func TestPrefixEnd(t *testing.T) {
	for _, c := range []struct{ prefix, end string }{
		{"", ""}, {"a", "b"}, {"a\xff", "b"}, {"a\xff\xff", "b"}, {"\xff", ""}, {"\xff\xff", ""}, {"\x00", "\x01"}, {"a\x00", "a\x01"},
	} {
		if got := kv.PrefixEnd([]byte(c.prefix)); string(got) != c.end || (got == nil) != (c.end == "") {
			t.Errorf("PrefixEnd(%q) = %q, want %q", c.prefix, got, c.end)
		}
	}
}

func TestPrefixEndProperty(t *testing.T) {
	few := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0xfe, 0xff}), 0, 4)
	rapid.Check(t, func(t *rapid.T) {
		prefix, key := few.Draw(t, "prefix"), few.Draw(t, "key")
		end := kv.PrefixEnd(prefix)
		within := bytes.Compare(key, prefix) >= 0 && (end == nil || bytes.Compare(key, end) < 0)
		if within != bytes.HasPrefix(key, prefix) {
			t.Fatalf("prefix %x, end %x, key %x: within %v", prefix, end, key, within)
		}
	})
}
