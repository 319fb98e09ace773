package collate

import (
	"strings"
	"testing"
)

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

func BenchmarkKeyASCII(b *testing.B)    { benchmarkKey(b, `"the quick brown fox"`) }
func BenchmarkKeyUnicode(b *testing.B)  { benchmarkKey(b, `"große Straße"`) }
func BenchmarkKeyArray(b *testing.B)    { benchmarkKey(b, `["order",2024,11,3,17.25]`) }
func BenchmarkKeyDate(b *testing.B)     { benchmarkKey(b, `[2024,11,3]`) }
func BenchmarkKeyWord(b *testing.B)     { benchmarkKey(b, `"water"`) }
func BenchmarkKeyTitle(b *testing.B)    { benchmarkKey(b, `"The Quick Brown Fox"`) }
func BenchmarkKeyCapitals(b *testing.B) { benchmarkKey(b, `"ORDER-2024-XK"`) }
func BenchmarkKeyEscape(b *testing.B)   { benchmarkKey(b, `"first line\nsecond line"`) }
func BenchmarkKeyChinese(b *testing.B)  { benchmarkKey(b, `"日本語"`) }
func BenchmarkKeyRussian(b *testing.B)  { benchmarkKey(b, `"вода"`) }
func BenchmarkKeyAccents(b *testing.B)  { benchmarkKey(b, `"crème brûlée"`) }
func BenchmarkKeyEvent(b *testing.B)    { benchmarkKey(b, `["water","2026-03-04T05:06:07Z"]`) }
func BenchmarkKeyUUID(b *testing.B)     { benchmarkKey(b, `"6e1295ed6c29495e54cc05947f18c8af"`) }
func BenchmarkKeyLong(b *testing.B) {
	benchmarkKey(b, `"`+strings.Repeat("all of a text that is long ", 40)+`"`)
}

func BenchmarkArrayPrefix(b *testing.B) {
	key := AppendKey(nil, []byte(`["water","2026-03-04T05:06:07Z",3]`))
	for b.Loop() {
		ArrayPrefix(key, 2)
	}
}
