package collate

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// differs lists the keys of the recorded vectors that stand elsewhere in our
// order than in CouchDB's: its ICU has newer tables than golang.org/x/text.
// Every pair without one of them is ordered as CouchDB orders it.
var differs = map[string]string{
	`"\u20bf"`:       "bitcoin sign: newer than Unicode 6.2, sorts with the unassigned",
	`"\ufffd"`:       "replacement character: a symbol of low weight in CLDR 23, above all scripts since",
	`"\u0967"`:       "Devanagari digit one: a secondary difference from 1 in CLDR 23, none since",
	`"\u0661"`:       "Arabic digit one: a secondary difference from 1 in CLDR 23, none since",
	`"\u3400"`:       "Han of extension A: by code point after the unified block, by radical and stroke since",
	`"\ud840\udc00"`: "Han of extension B: by code point after the unified block, by radical and stroke since",
}

type vectors struct {
	Groups [][]json.RawMessage `json:"groups"`
	Raw    [][]json.RawMessage `json:"raw"`
}

func loadVectors(t *testing.T) vectors {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "integration", "testdata", "conformance", "vectors", "collation.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Groups) < 100 || len(v.Raw) < 100 {
		t.Fatalf("only %d groups and %d raw keys", len(v.Groups), len(v.Raw))
	}
	return v
}

func TestCouchDBOrder(t *testing.T) {
	met := map[string]bool{}
	checkOrder(t, loadVectors(t).Groups, Compare, AppendKey, func(a, b []byte) bool {
		met[string(a)], met[string(b)] = true, true
		return differs[string(a)] != "" || differs[string(b)] != ""
	})
	for key := range differs {
		if !met[key] {
			t.Errorf("differs names %s, which is not in the vectors", key)
		}
	}
}

func TestCouchDBRawOrder(t *testing.T) {
	checkOrder(t, loadVectors(t).Raw, CompareRaw, AppendRawKey, func(a, b []byte) bool { return false })
}

// checkOrder compares every key with every other.
func checkOrder(t *testing.T, groups [][]json.RawMessage, compare func(a, b []byte) int,
	appendKey func(dst, text []byte) []byte, except func(a, b []byte) bool,
) {
	t.Helper()
	type ranked struct {
		text []byte
		key  []byte
		rank int
	}
	var all []ranked
	for rank, group := range groups {
		for _, text := range group {
			all = append(all, ranked{text, appendKey(nil, text), rank})
		}
	}
	for _, a := range all {
		for _, b := range all {
			got := compare(a.text, b.text)
			if byKey := bytes.Compare(a.key, b.key); byKey != got {
				t.Errorf("%s and %s: Compare gives %d, their keys %d", a.text, b.text, got, byKey)
			}
			if except(a.text, b.text) {
				continue
			}
			if want := sign(a.rank - b.rank); got != want {
				t.Errorf("Compare(%s, %s) = %d, CouchDB says %d", a.text, b.text, got, want)
			}
		}
	}
}

// TestDiffers holds the list of exceptions to what it claims: none of them is
// there without need.
func TestDiffers(t *testing.T) {
	groups := loadVectors(t).Groups
	for key, reason := range differs {
		found := false
		for rank, group := range groups {
			for _, text := range group {
				found = found || string(text) == key && misplaced(groups, text, rank)
			}
		}
		if !found {
			t.Errorf("%s (%s) stands where CouchDB has it", key, reason)
		}
	}
}

func misplaced(groups [][]json.RawMessage, text []byte, rank int) bool {
	for other, group := range groups {
		for _, b := range group {
			if Compare(text, b) != sign(rank-other) {
				return true
			}
		}
	}
	return false
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}
