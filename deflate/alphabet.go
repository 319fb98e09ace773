package deflate

import "math/bits"

// RFC 1951's three alphabets.
const (
	endOfBlock     = 256
	firstLength    = 257 // the symbol of the shortest match
	literalSymbols = 286 // literals, the end of the block, lengths
	distSymbols    = 30
	lengthSymbols  = 19 // what the lengths of the other two codes are sent in
	fixedSymbols   = 288

	maxCodeLength   = 15
	maxLengthLength = 7

	repeatLast  = 16 // the last length 3 to 6 times more
	repeatZero  = 17 // 0, 3 to 10 times
	repeatZeros = 18 // 0, 11 to 138 times
)

// code is the code of one symbol: its bits in the order in which they are sent,
// lowest first, and how many they are. The length is 0 if the symbol has none.
type code struct {
	bits   uint16
	length uint8
}

// alphabet describes what building a code needs to know of its symbols.
type alphabet struct {
	symbols   int
	maxLength int
	extra     []uint8 // how many more bits follow a symbol's code, from the symbol extraFrom on
	extraFrom int
	fixed     []code // the code of blocks that do not send one; nil for lengths
}

var (
	lengthExtra = []uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distExtra   = []uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
	repeatExtra = []uint8{repeatLast: 2, repeatZero: 3, repeatZeros: 7}

	// lengthOrder is the order in which the lengths of the length code are
	// sent, so that those seldom used can be cut off.
	lengthOrder = [lengthSymbols]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

	literalAlphabet = alphabet{
		symbols: literalSymbols, maxLength: maxCodeLength,
		extra: lengthExtra, extraFrom: firstLength, fixed: fixedLiterals[:],
	}
	distAlphabet   = alphabet{symbols: distSymbols, maxLength: maxCodeLength, extra: distExtra, fixed: fixedDists[:]}
	lengthAlphabet = alphabet{symbols: lengthSymbols, maxLength: maxLengthLength, extra: repeatExtra}

	fixedLiterals, fixedDists = fixedCodes()

	lengthSymbol, lengthBase = lengthTables()
	distSymbol, distBase     = distTables()
)

// fixedCodes returns the codes of RFC 1951, section 3.2.6.
func fixedCodes() (literals, dists [fixedSymbols]code) {
	for i := range literals {
		switch {
		case i < 144:
			literals[i].length = 8
		case i < 256:
			literals[i].length = 9
		case i < 280:
			literals[i].length = 7
		default:
			literals[i].length = 8
		}
	}
	assignCodes(literals[:])
	for i := range distSymbols {
		dists[i].length = 5
	}
	assignCodes(dists[:distSymbols])
	return literals, dists
}

// assignCodes gives the symbols of each length consecutive codes, the shorter
// lengths first (RFC 1951, section 3.2.2).
func assignCodes(codes []code) {
	var next [maxCodeLength + 1]uint16
	for _, c := range codes {
		next[c.length]++
	}
	var first uint16
	count := uint16(0)
	for length := 1; length <= maxCodeLength; length++ {
		first = (first + count) << 1
		count, next[length] = next[length], first
	}
	for i := range codes {
		if n := codes[i].length; n != 0 {
			codes[i].bits = bits.Reverse16(next[n]) >> (16 - n)
			next[n]++
		}
	}
}

// lengthTables returns the symbol of each match length less minMatch, counted
// from firstLength, and the shortest length less minMatch of each symbol.
func lengthTables() (symbol [maxMatch - minMatch + 1]uint8, base [literalSymbols - firstLength]uint8) {
	length := 0
	for s, extra := range lengthExtra {
		base[s] = uint8(length)
		for range 1 << extra {
			if length < len(symbol) {
				symbol[length] = uint8(s)
			}
			length++
		}
	}
	// The longest match has a symbol of its own, though the one before could
	// tell it too.
	const longest = maxMatch - minMatch
	symbol[longest] = uint8(len(base) - 1)
	base[len(base)-1] = longest
	return symbol, base
}

// nearDists is how many distances distSymbol tells one by one; further ones
// share symbols by 128 and more.
const (
	nearDists    = 256
	farDistShift = 7
)

// distTables returns the symbols of the distances less 1: at the index of the
// distance below nearDists, else at nearDists plus the distance shifted right
// by farDistShift. And it returns the shortest distance less 1 of each symbol.
func distTables() (symbol [nearDists + windowSize>>farDistShift]uint8, base [distSymbols]uint16) {
	dist := 0
	for s, extra := range distExtra {
		base[s] = uint16(dist)
		for range 1 << extra {
			if dist < nearDists {
				symbol[dist] = uint8(s)
			} else {
				symbol[nearDists+dist>>farDistShift] = uint8(s)
			}
			dist++
		}
	}
	return symbol, base
}

// distSymbolOf returns the symbol of a distance less 1.
func distSymbolOf(dist uint32) uint8 {
	if dist < nearDists {
		return distSymbol[dist]
	}
	return distSymbol[nearDists+(dist>>farDistShift)&(windowSize>>farDistShift-1)]
}
