package deflate

import "testing"

// TestLengthSymbols checks against rows of RFC 1951's table of lengths.
func TestLengthSymbols(t *testing.T) {
	tests := []struct{ length, symbol, extra int }{
		{3, 257, 0},
		{10, 264, 0},
		{11, 265, 0},
		{12, 265, 1},
		{13, 266, 0},
		{114, 279, 15},
		{115, 280, 0},
		{226, 283, 31},
		{227, 284, 0},
		{257, 284, 30},
		{258, 285, 0},
	}
	for _, test := range tests {
		l := test.length - minMatch
		symbol := int(lengthSymbol[l])
		extra := l - int(lengthBase[symbol])
		if firstLength+symbol != test.symbol || extra != test.extra {
			t.Errorf("length %d: symbol %d, extra %d, want %d, %d", test.length, firstLength+symbol, extra, test.symbol, test.extra)
		}
	}
}

// TestDistSymbols checks that every distance can be told by its symbol and
// extra bits, and rows of RFC 1951's table of distances.
func TestDistSymbols(t *testing.T) {
	for dist := range uint32(windowSize) {
		symbol := distSymbolOf(dist)
		extra := int(dist) - int(distBase[symbol])
		if extra < 0 || extra >= 1<<distExtra[symbol] {
			t.Fatalf("distance %d: symbol %d, extra %d", dist+1, symbol, extra)
		}
	}
	tests := []struct {
		dist   uint32
		symbol uint8
	}{
		{1, 0},
		{4, 3},
		{5, 4},
		{7, 5},
		{256, 15},
		{257, 16},
		{384, 16},
		{385, 17},
		{24576, 28},
		{24577, 29},
		{32768, 29},
	}
	for _, test := range tests {
		if got := distSymbolOf(test.dist - 1); got != test.symbol {
			t.Errorf("distance %d: symbol %d, want %d", test.dist, got, test.symbol)
		}
	}
}
