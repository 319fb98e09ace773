package collate

import (
	"bytes"
	"strings"
	"sync"
	"testing"
)

func TestCompare(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"null", "false", -1},
		{"false", "true", -1},
		{"true", "-1e300", -1},
		{"1", "1.0", 0},
		{"1", "10e-1", 0},
		{"0", "-0.0", 0},
		{"-0", "0.0", 0},
		{"-2", "-1", -1},
		{"-1.5", "-1", -1},
		{"9007199254740993", "9007199254740992.0", 1},
		{"9007199254740992", "9007199254740992.0", 0},
		{"9007199254740993", "9007199254740992", 1},
		{"-9007199254740993", "-9007199254740992.0", -1},
		{"123456789012345678901234567890", "123456789012345678901234567891", -1},
		{"-123456789012345678901234567890", "-123456789012345678901234567891", 1},
		{"100000000000000000000", "1e20", 0},
		{"100000000000000000001", "1e20", 1},
		{"99999999999999999999999", "1e23", 1}, // the double 1e23 is less than ten to the 23rd
		{"5e-324", "0", 1},
		{"5e-324", "1e-323", -1},
		{"1e308", "1" + strings.Repeat("0", 308), 1}, // the nearest double of ten to the 308th is greater
		{`"a\ufffe"`, `"a"`, 1},
		{`"a\ufffe"`, `"a\t"`, -1},
		{`"a\ufffeé"`, `"aé"`, -1},
		{"1" + strings.Repeat("0", 500), "1.7e308", 1},
		{"-1" + strings.Repeat("0", 500), "-1.7e308", -1},
		{"1e999", "1.7e308", 1},
		{`"a"`, `"A"`, -1},
		{`"A"`, `"b"`, -1},
		{`"aa"`, `"aA"`, -1},
		{`"é"`, `"e\u0301"`, 0},
		{`"a\u0062c"`, `"abc"`, 0},
		{`"\ud83d\ude00"`, `"😀"`, 0},
		{`"a"`, `[]`, -1},
		{`[]`, `[null]`, -1},
		{`[1,2]`, `[1,2,0]`, -1},
		{`[1,[2]]`, `[1,[2],3]`, -1},
		{`[1,[2,3]]`, `[1,[2],3]`, 1},
		{`[[]]`, `[]`, 1},
		{`[]`, `{}`, -1},
		{`{}`, `{"a":1}`, -1},
		{`{"a":1}`, `{"b":0}`, -1},
		{`{"a":1,"b":1}`, `{"a":2}`, -1},
		{`{"b":1,"a":2}`, `{"a":2,"b":1}`, 1},
		{" [ 1 , { \"a\" : 2 } ] ", `[1,{"a":2}]`, 0},
	} {
		check(t, "Compare", Compare, AppendKey, tc.a, tc.b, tc.want)
	}
}

func TestCompareRaw(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"1e300", "false", -1},
		{"false", "null", -1},
		{"null", "true", -1},
		{"true", "{}", -1},
		{`{"z":1}`, "[]", -1},
		{"[]", "[0]", -1},
		{"[[]]", `""`, -1},
		{`"A"`, `"a"`, -1},
		{`"B"`, `"a"`, -1},
		{`"z"`, `"é"`, -1},
		{`"é"`, `"e\u0301"`, 1},
		{`"a"`, `"a\u0000"`, -1},
		{`"a\u0000b"`, `"a\u0001"`, -1},
		{`"\n"`, `"\u000a"`, 0},
		{"2", "10", -1},
		{"1", "1.0", 0},
	} {
		check(t, "CompareRaw", CompareRaw, AppendRawKey, tc.a, tc.b, tc.want)
	}
}

func check(t *testing.T, name string, compare func(a, b []byte) int,
	appendKey func(dst, text []byte) []byte, a, b string, want int,
) {
	t.Helper()
	x, y := []byte(a), []byte(b)
	if got := compare(x, y); got != want {
		t.Errorf("%s(%.40s, %.40s) = %d, want %d", name, a, b, got, want)
	}
	if got := compare(y, x); got != -want {
		t.Errorf("%s(%.40s, %.40s) = %d, want %d", name, b, a, got, -want)
	}
	if got := bytes.Compare(appendKey(nil, x), appendKey(nil, y)); got != want {
		t.Errorf("keys of %.40s and %.40s: %d, want %d", a, b, got, want)
	}
}

// TestDeepNesting shows that depth costs no stack.
func TestDeepNesting(t *testing.T) {
	const depth = 1_000_000
	a := []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))
	b := []byte(strings.Repeat("[", depth) + "1" + strings.Repeat("]", depth))
	if got := Compare(a, b); got != -1 {
		t.Errorf("Compare = %d, want -1", got)
	}
	if got := bytes.Compare(AppendKey(nil, a), AppendKey(nil, b)); got != -1 {
		t.Errorf("keys: %d, want -1", got)
	}
}

// TestLongRuns goes past the length of one run of common weights.
func TestLongRuns(t *testing.T) {
	for _, n := range []int{61, 62, 63, 64, 124, 125, 126, 127, 188, 189, 250, 251, 1000, largeText} {
		a := strings.Repeat("a", n)
		for _, tc := range []struct {
			a, b string
			want int
		}{
			{a, a + "a", -1},
			{a, a[1:] + "A", -1},
			{"A" + a, a + "A", 1},
			{"A" + a, "A" + a[1:] + "A", -1},
			{"A" + a + "A", "A" + a[1:] + "AA", -1},
			{a + "A", a + "Ab", -1},
			{a, a[1:] + "á", -1},
			{"á" + a, a + "á", 1},
		} {
			check(t, "Compare", Compare, AppendKey, `"`+tc.a+`"`, `"`+tc.b+`"`, tc.want)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	texts := []string{`"é"`, `"z\u0301"`, `"日本"`, `"plain"`, `["ü",{"ö":1}]`}
	var want [][]byte
	for _, s := range texts {
		want = append(want, AppendKey(nil, []byte(s)))
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 200 {
				a, b := i%len(texts), (i+1)%len(texts)
				if got := AppendKey(nil, []byte(texts[a])); !bytes.Equal(got, want[a]) {
					t.Errorf("key of %s changed", texts[a])
				}
				if got := Compare([]byte(texts[a]), []byte(texts[b])); got != bytes.Compare(want[a], want[b]) {
					t.Errorf("%s and %s: %d", texts[a], texts[b], got)
				}
			}
		})
	}
	wg.Wait()
}

func TestAllocations(t *testing.T) {
	a, b := []byte(`["city","Oslo",{"n":12.5,"m":3}]`), []byte(`["city","Oslo",{"n":12.5,"m":4}]`)
	key := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		Compare(a, b)
		key = AppendKey(key[:0], a)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
