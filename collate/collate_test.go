package collate

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/collate"
	"golang.org/x/text/language"
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

// TestASCIIWeights checks what the fast path assumes of golang.org/x/text: its
// order of ASCII strings follows from the weights of single characters.
func TestASCIIWeights(t *testing.T) {
	c := collate.New(language.Und)
	var buf collate.Buffer
	var token []byte
	verify := func(s []byte) {
		buf.Reset()
		want := appendWeights(nil, c.Key(&buf, s))
		if got := appendASCIIKey(nil, s); !bytes.Equal(got, want) {
			t.Errorf("key of %q is % x, by x/text % x", s, got, want)
		}
	}
	for i := range 128 {
		for j := range 128 {
			token = append(token[:0], byte(i), byte(j))
			verify(token)
			for _, k := range []byte("a.-' \x00\x1f1Z\"\\") {
				verify(append(token, k))
			}
		}
	}
	if n := len(ascii()); n != 128 {
		t.Fatal(n)
	}
}

// TestCommonWeights checks the other assumption: nothing weighs less than the
// common secondary and tertiary weights, and only U+FFFE has a low primary one.
func TestCommonWeights(t *testing.T) {
	c := collate.New(language.Und)
	var buf collate.Buffer
	for r := rune(0); r <= utf8.MaxRune; r++ {
		buf.Reset()
		key := c.KeyFromString(&buf, string(r))
		i := 0
		for i+1 < len(key) && (key[i] != 0 || key[i+1] != 0) {
			if key[i] == 0 && r != 0xFFFE {
				t.Fatalf("%U: primary weight below 0x100 in % x", r, key)
			}
			if i += 2; key[i-2]&0x80 != 0 {
				i++
			}
		}
		for i += 2; key[i] != 0 || key[i+1] != 0; i += 2 {
			if key[i] == 0 && key[i+1] < commonSecondary {
				t.Fatalf("%U: secondary weight below the common one in % x", r, key)
			}
		}
		for i += 2; i < len(key); i++ {
			if key[i] < commonTertiary {
				t.Fatalf("%U: tertiary weight below the common one in % x", r, key)
			}
		}
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
	for _, n := range []int{124, 125, 126, 250, 251, 1000, largeText} {
		a := strings.Repeat("a", n)
		for _, tc := range []struct {
			a, b string
			want int
		}{
			{a, a + "a", -1},
			{a, a[1:] + "A", -1},
			{"A" + a, a + "A", 1},
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

func benchmarkCompare(b *testing.B, x, y string) {
	s, t := []byte(x), []byte(y)
	b.ReportAllocs()
	for b.Loop() {
		Compare(s, t)
	}
}

func BenchmarkCompareNumbers(b *testing.B) { benchmarkCompare(b, "990", "1024") }
func BenchmarkCompareFloats(b *testing.B)  { benchmarkCompare(b, "990.25", "1024") }
func BenchmarkCompareASCII(b *testing.B) {
	benchmarkCompare(b, `"the quick brown fox"`, `"the quick brown fix"`)
}

func BenchmarkCompareUnicode(b *testing.B) {
	benchmarkCompare(b, `"große Straße"`, `"große Strasse"`)
}

func benchmarkKey(b *testing.B, text string) {
	s := []byte(text)
	var key []byte
	b.ReportAllocs()
	for b.Loop() {
		key = AppendKey(key[:0], s)
	}
	b.ReportMetric(float64(len(key)), "key-bytes")
}

func BenchmarkKeyASCII(b *testing.B)   { benchmarkKey(b, `"the quick brown fox"`) }
func BenchmarkKeyUnicode(b *testing.B) { benchmarkKey(b, `"große Straße"`) }
func BenchmarkKeyArray(b *testing.B)   { benchmarkKey(b, `["order",2024,11,3,17.25]`) }
