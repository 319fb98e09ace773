package revtree_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/revtree"
)

// The bytes are what disks hold: they may change only with the version.
func TestEncoding(t *testing.T) {
	stored := revtree.New(revtree.Path{Start: 1, Hashes: []string{"0123456789abcdef"}},
		revtree.Node{Stored: true, Deleted: true, Kept: true, Seq: 300, Size: 2})
	for _, test := range []struct {
		name string
		tree revtree.Tree
		want string
	}{
		{"empty", revtree.Tree{}, "01 00"},
		{"one", stored, "01 01 73 30313233343536373839616263646566 ac02 02"},
		{"fragment", grow(t, "7 g f"), "01 02 00 06 01 66 5e 01 67 00 00"},
		{"conflict", grow(t, "2 b a", "2 c a"), "01 03 02 01 61 5e 01 62 00 00 54 00 02 01 63 00 00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			want, err := hex.DecodeString(strings.ReplaceAll(test.want, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			if got := test.tree.AppendBinary([]byte("x")); !bytes.Equal(got[1:], want) || got[0] != 'x' {
				t.Errorf("encoded as %x, want %x", got[1:], want)
			}
			got, err := revtree.Decode(want)
			if err != nil || !got.Equal(test.tree) {
				t.Errorf("decoded as %s, %v", showTree(got), err)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                         "",
		"unknown version":                 "02 00",
		"no count":                        "01",
		"overlong count":                  "01 80 00",
		"endless count":                   "01 ff ff ff ff ff ff ff ff ff ff ff",
		"count beyond the bytes":          "01 ff ff ff ff 0f 02 01 61",
		"trailing bytes":                  "01 00 00",
		"fewer nodes than said":           "01 02 02 01 61",
		"cut off in a hash":               "01 01 02 03 61 62",
		"cut off in a digest":             "01 01 03 30 31 32",
		"cut off before seq":              "01 01 12 01 61",
		"cut off before size":             "01 01 12 01 61 05",
		"overlong seq":                    "01 01 12 01 61 85 00 00",
		"unknown flag":                    "01 01 82 01 61",
		"deleted but not stored":          "01 01 22 01 61",
		"kept but not stored":             "01 01 42 01 61",
		"digest written as text":          "01 01 02 10 30313233343536373839616263646566",
		"next generation written out":     "01 01 00 01 01 61",
		"generation overflows":            "01 02 00 ff ff ff ff ff ff ff ff 7f 01 61 00 02 01 62",
		"generation out of range":         "01 01 00 ff ff ff ff ff ff ff ff ff 01 01 61",
		"the same node twice":             "01 02 02 01 61 00 00 01 61",
		"descending":                      "01 02 02 01 62 00 00 01 61",
		"root with a parent":              "01 01 0e 01 61",
		"previous without parent":         "01 02 02 01 61 0a 01 62",
		"its own parent":                  "01 02 02 01 61 06 00 01 62",
		"parent before the first":         "01 02 02 01 61 06 02 01 62",
		"previous written out":            "01 02 02 01 61 06 01 01 62",
		"parent of the same generation":   "01 02 02 01 61 0c 00 01 62",
		"parent two generations back":     "01 02 02 01 61 0c 02 01 62",
		"parent offset out of range":      "01 02 02 01 61 06 ff ff ff ff ff ff ff ff ff 01 01 62",
		"hash length larger than integer": "01 01 02 ff ff ff ff ff ff ff ff ff 01 61",
	} {
		t.Run(name, func(t *testing.T) {
			b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			if tree, err := revtree.Decode(b); !errors.Is(err, revtree.ErrCorrupt) {
				t.Errorf("decoded as %q, %v", showTree(tree), err)
			}
		})
	}
}

func TestDecodeReversesAppendBinary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := drawTree(t)
		if rapid.Bool().Draw(t, "forged") {
			tree = drawForgery(t)
		}
		b := tree.AppendBinary(nil)
		got, err := revtree.Decode(b)
		if err != nil || !got.Equal(tree) {
			t.Fatalf("%s decoded as %s, %v", showTree(tree), showTree(got), err)
		}
		for i := range b {
			if _, err := revtree.Decode(b[:i]); !errors.Is(err, revtree.ErrCorrupt) {
				t.Fatalf("the first %d of %d bytes decode: %v", i, len(b), err)
			}
		}
	})
}

func TestDecodeCopiesItsInput(t *testing.T) {
	tree := grow(t, "3 c b a")
	b := tree.AppendBinary(nil)
	got, err := revtree.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if !got.Equal(tree) {
		t.Errorf("tree became %s", showTree(got))
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(revtree.Tree{}.AppendBinary(nil))
	f.Add(grow(f, "3 c b a", "-3 x b a", "7 g f").AppendBinary(nil))
	f.Add(grow(f, "2 0123456789abcdef a", "4 d c").AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		tree, err := revtree.Decode(b)
		if err != nil {
			if !errors.Is(err, revtree.ErrCorrupt) {
				t.Fatalf("unmarked error %v", err)
			}
			return
		}
		if again := tree.AppendBinary(nil); !bytes.Equal(again, b) {
			t.Fatalf("%x encodes as %x", b, again)
		}
		if same := revtree.Merge(tree, tree); !same.Equal(tree) {
			t.Fatalf("merged with itself %s becomes %s", showTree(tree), showTree(same))
		}
		kept, _ := tree.Stem(2)
		if len(kept.Leaves()) != len(tree.Leaves()) {
			t.Fatalf("stemming %s changes its leaves", showTree(tree))
		}
		tree.MergeBases()
	})
}
