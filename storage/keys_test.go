package storage

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/revtree"
)

// FuzzKeys checks that keys of the body space come apart as they were put together, and that no document's bodies
// share a prefix with another's.
func FuzzKeys(f *testing.F) {
	f.Add("a", "ab", 1, "hash", []byte("x"))
	f.Add("", "\x00", 0, "", []byte{})
	f.Add("a\x00", "a", 1<<40, strings.Repeat("\xff", 16), []byte{0x80, 0x80})
	keys := newKeyspace(7)
	f.Fuzz(func(t *testing.T, id, other string, gen int, hash string, raw []byte) {
		if gen < 0 {
			gen = 0
		}
		key := keys.body(id, revtree.ID{Gen: gen, Hash: hash})
		gotID, rev, ok := parseBody(key)
		if !ok || gotID != id || rev != (revtree.ID{Gen: gen, Hash: hash}) {
			t.Fatalf("%q %d-%q became %q %v, %v", id, gen, hash, gotID, rev, ok)
		}
		if bytes.HasPrefix(key, keys.bodies(other)) != (id == other) {
			t.Fatalf("the bodies of %q and %q lie together", id, other)
		}
		// Any bytes at all must come apart without a panic.
		_, _, _ = parseBody(append(keys.space(spaceBody, 0), raw...))
		if cmp.Compare(id, other) != bytes.Compare(keys.doc(id), keys.doc(other)) {
			t.Fatalf("%q and %q do not sort as their ids", id, other)
		}
	})
}

// TestIDRanges compares ranges of keys with filtering by hand.
func TestIDRanges(t *testing.T) {
	s := &Snapshot{db: &DB{keys: newKeyspace(7)}}
	text := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 'a', 'b', 0xff}), 0, 3), func(b []byte) string { return string(b) })
	rapid.Check(t, func(t *rapid.T) {
		r := Range{
			Start: text.Draw(t, "start"), End: text.Draw(t, "end"), Prefix: text.Draw(t, "prefix"),
			HasEnd: rapid.Bool().Draw(t, "hasEnd"), ExclusiveEnd: rapid.Bool().Draw(t, "exclusive"), Descending: rapid.Bool().Draw(t, "descending"),
		}
		kr := s.idRange(spaceDoc, r)
		for _, id := range rapid.SliceOfN(text, 1, 20).Draw(t, "ids") {
			if id == "" {
				continue
			}
			key := s.db.keys.doc(id)
			within := bytes.HasPrefix(key, kr.Prefix) && (kr.Start == nil || bytes.Compare(key, kr.Start) >= 0) && (kr.End == nil || bytes.Compare(key, kr.End) < 0)
			if within != r.contains(id) {
				t.Fatalf("%+v as %+v: %q is within: %v", r, kr, id, within)
			}
		}
	})
}

func TestKeySpacesAreApart(t *testing.T) {
	keys := newKeyspace(1)
	var prefixes [][]byte
	for _, space := range []byte{spaceMeta, spaceDoc, spaceSeq, spaceBody, spaceLocal, spaceAttachment, spaceContent, spaceReference, spacePurge, spaceRank} {
		prefixes = append(prefixes, keys.space(space, 0))
	}
	slices.SortFunc(prefixes, bytes.Compare)
	if n := len(slices.CompactFunc(prefixes, bytes.Equal)); n != 10 {
		t.Errorf("%d spaces have prefixes of their own, want 10", n)
	}
}
