package revtree_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/revtree"
)

const digest = "731bef401491606a3b246ed178e697c1"

func TestParseID(t *testing.T) {
	for _, test := range []struct {
		text string
		want revtree.ID
		back string // if it is not text
	}{
		{"1-" + digest, revtree.ID{Gen: 1, Hash: "\x73\x1b\xef\x40\x14\x91\x60\x6a\x3b\x24\x6e\xd1\x78\xe6\x97\xc1"}, ""},
		{"1-" + strings.ToUpper(digest), revtree.ID{Gen: 1, Hash: "\x73\x1b\xef\x40\x14\x91\x60\x6a\x3b\x24\x6e\xd1\x78\xe6\x97\xc1"}, "1-" + digest},
		{"12-abc", revtree.ID{Gen: 12, Hash: "abc"}, ""},
		{"3-a-b", revtree.ID{Gen: 3, Hash: "a-b"}, ""},
		{"1-", revtree.ID{Gen: 1}, ""},
		{"0-abc", revtree.ID{Hash: "abc"}, ""},
		{"007-x", revtree.ID{Gen: 7, Hash: "x"}, "7-x"},
		{"1-é", revtree.ID{Gen: 1, Hash: "é"}, ""},
		{"1-" + digest[1:] + "g", revtree.ID{Gen: 1, Hash: digest[1:] + "g"}, ""},
		{"1-abcdefghijklmnop", revtree.ID{Gen: 1, Hash: "abcdefghijklmnop"}, "1-6162636465666768696a6b6c6d6e6f70"},
		{"9007199254740991-a", revtree.ID{Gen: revtree.MaxGen, Hash: "a"}, ""},
	} {
		got, err := revtree.ParseID(test.text)
		if err != nil || got != test.want {
			t.Errorf("ParseID(%q) = %v, %v; want %v", test.text, got, err, test.want)
		}
		back := test.back
		if back == "" {
			back = test.text
		}
		if got.String() != back {
			t.Errorf("ParseID(%q).String() = %q, want %q", test.text, got.String(), back)
		}
		if text, err := got.AppendText([]byte("x")); string(text) != "x"+back || err != nil {
			t.Errorf("AppendText of %q = %q, %v", test.text, text, err)
		}
	}
}

func TestParseIDRefuses(t *testing.T) {
	for _, text := range []string{
		"", "abc", "1", "-", "-abc", "x-abc", "1.5-abc", "+1-abc", "-1-abc", " 1-abc", "1 -abc", "0x1-abc", "0-",
		"9007199254740992-a", "18446744073709551617-a", strings.Repeat("9", 1000) + "-a",
		"1-a\nb", "1-\x7f", "1-\xff", "1-" + strings.Repeat("x", revtree.MaxHash+1),
	} {
		if got, err := revtree.ParseID(text); !errors.Is(err, revtree.ErrInvalidID) {
			t.Errorf("ParseID(%q) = %v, %v", text, got, err)
		}
	}
}

func TestZeroID(t *testing.T) {
	var zero revtree.ID
	if !zero.IsZero() || zero.String() != "" {
		t.Errorf("zero ID is %q", zero.String())
	}
	if (revtree.ID{Gen: 1}).IsZero() || (revtree.ID{Hash: "a"}).IsZero() {
		t.Error("half an ID is taken for none")
	}
}

func TestCompare(t *testing.T) {
	sorted := ids(t, "0-z 1- 1-A 1-a 1-ab 1-b 2-a 10-a")
	for i, a := range sorted {
		for j, b := range sorted {
			got := a.Compare(b)
			if (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%v.Compare(%v) = %d", a, b, got)
			}
		}
	}
	if !slices.IsSortedFunc(sorted, revtree.ID.Compare) {
		t.Error("not sorted")
	}
}

func TestPath(t *testing.T) {
	p := revtree.Path{Start: 3, Hashes: []string{"c", "b", "a"}}
	if p.Len() != 3 || p.At(2) != id(t, "1-a") || p.Leaf() != id(t, "3-c") {
		t.Errorf("path is %v … %v of %d", p.Leaf(), p.At(2), p.Len())
	}
	if leaf := (revtree.Path{}).Leaf(); !leaf.IsZero() {
		t.Errorf("leaf of no path is %v", leaf)
	}
}

func TestPathNewest(t *testing.T) {
	p := revtree.Path{Start: 3, Hashes: []string{"c", "b", "a"}}
	for limit, want := range map[int]int{-1: 0, 0: 0, 1: 1, 3: 3, 4: 3} {
		got := p.Newest(limit)
		if got.Start != 3 || !slices.Equal(got.Hashes, p.Hashes[:want]) {
			t.Errorf("Newest(%d) = %v", limit, got)
		}
	}
}

func TestPathValidate(t *testing.T) {
	tooHigh := revtree.MaxGen
	tooHigh++
	for _, test := range []struct {
		path  revtree.Path
		valid bool
	}{
		{revtree.Path{Start: 1, Hashes: []string{"a"}}, true},
		{revtree.Path{Start: 9, Hashes: []string{"b", ""}}, true},
		{revtree.Path{Start: revtree.MaxGen, Hashes: []string{"a"}}, true},
		{revtree.Path{}, false},
		{revtree.Path{Start: 3}, false},
		{revtree.Path{Start: 0, Hashes: []string{"a"}}, false},
		{revtree.Path{Start: -1, Hashes: []string{"a"}}, false},
		{revtree.Path{Start: 1, Hashes: []string{"b", "a"}}, false},
		{revtree.Path{Start: tooHigh, Hashes: []string{"a"}}, false},
		{revtree.Path{Start: 2, Hashes: []string{"b", strings.Repeat("x", revtree.MaxHash+1)}}, false},
	} {
		err := test.path.Validate()
		if (err == nil) != test.valid || err != nil && !errors.Is(err, revtree.ErrInvalidID) {
			t.Errorf("Validate of %d %.40q: %v", test.path.Start, test.path.Hashes, err)
		}
	}
}

func FuzzParseID(f *testing.F) {
	for _, seed := range []string{"1-" + digest, "12-abc", "0-1", "1-abcdefghijklmnop", "007-é", "x-1", "1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := revtree.ParseID(text)
		if err != nil {
			if !errors.Is(err, revtree.ErrInvalidID) {
				t.Fatalf("unmarked error %v", err)
			}
			return
		}
		again, err := revtree.ParseID(got.String())
		if err != nil || again != got {
			t.Fatalf("%q reads as %q, and that as %q, %v", text, got, again, err)
		}
	})
}
