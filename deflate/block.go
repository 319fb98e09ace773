package deflate

// maxSymbols is how many literals and matches a block holds at most: one less
// than zlib's buffer for them at memLevel 8.
const maxSymbols = 1<<14 - 1

// Block types, RFC 1951, section 3.2.3.
const (
	storedBlock  = 0
	fixedBlock   = 1
	dynamicBlock = 2

	blockHeaderBits = 3
)

// The head of a dynamic block, RFC 1951, section 3.2.7: how many lengths are
// sent of each code, less the fewest possible, in how many bits.
const (
	minLiterals, literalCountBits = 257, 5
	minDists, distCountBits       = 1, 5
	minLengths, lengthCountBits   = 4, 4

	lengthBits = 3 // of each length of the length code
)

// storedOverhead is what zlib counts as the cost of a stored block beside its
// bytes, in bytes: their number, twice. The block's header bits are left out.
const storedOverhead = 4

// block collects the symbols of the current block. An entry of symbols is a
// literal, or a match's length less minMatch with its distance above that.
type block struct {
	symbols [maxSymbols]uint32
	n       int

	literals, dists, lengths tree
	builder                  treeBuilder
}

const distShift = 8

func (b *block) reset() {
	b.n = 0
	b.literals.reset()
	b.dists.reset()
	b.lengths.reset()
	b.literals.freq[endOfBlock] = 1
}

// addLiteral appends a literal. It reports whether the block is full: it must
// be ended then before more is added.
func (b *block) addLiteral(c byte) bool {
	b.symbols[b.n] = uint32(c)
	b.n++
	b.literals.freq[c]++
	return b.n == maxSymbols
}

// addMatch appends a match. Its result is addLiteral's.
func (b *block) addMatch(dist, length int) bool {
	l := uint8(length - minMatch)
	b.symbols[b.n] = uint32(dist)<<distShift | uint32(l)
	b.n++
	b.literals.freq[firstLength+int(lengthSymbol[l])]++
	b.dists.freq[distSymbolOf(uint32(dist-1))]++
	return b.n == maxSymbols
}

// endBlock writes the current block in its shortest form and begins the next
// one at pos.
func (z *Writer) endBlock(last bool) {
	b, out := &z.block, &z.out
	var c cost
	b.builder.build(&b.literals, &literalAlphabet, &c)
	b.builder.build(&b.dists, &distAlphabet, &c)
	lengths := b.buildLengths(&c)

	var final uint32
	if last {
		final = 1
	}
	dynamicBytes := (c.dynamic + blockHeaderBits + 7) / 8
	fixedBytes := (c.fixed + blockHeaderBits + 7) / 8
	stored := z.win.pos - z.win.block
	switch {
	case stored+storedOverhead <= min(dynamicBytes, fixedBytes) && z.win.block >= 0:
		out.put(final|storedBlock<<1, blockHeaderBits)
		out.align()
		out.put(uint32(stored)|uint32(^uint16(stored))<<16, 32)
		out.writeBytes(z.win.buf[z.win.block:z.win.pos])
	case fixedBytes <= dynamicBytes:
		out.put(final|fixedBlock<<1, blockHeaderBits)
		b.writeSymbols(out, &fixedLiterals, &fixedDists)
	default:
		out.put(final|dynamicBlock<<1, blockHeaderBits)
		b.writeCodes(out, lengths)
		b.writeSymbols(out, &b.literals.codes, &b.dists.codes)
	}
	if last {
		out.align()
	}
	b.reset()
	z.win.block = z.win.pos
}

// buildLengths makes the code for the lengths of the other two codes and adds
// to c what sending all three takes. It returns how many lengths of the length
// code are sent.
func (b *block) buildLengths(c *cost) int {
	count := func(symbol uint8, _ uint32) { b.lengths.freq[symbol]++ }
	lengthRuns(&b.literals, count)
	lengthRuns(&b.dists, count)
	b.builder.build(&b.lengths, &lengthAlphabet, c)

	n := lengthSymbols
	for n > minLengths && b.lengths.codes[lengthOrder[n-1]].length == 0 {
		n--
	}
	c.dynamic += literalCountBits + distCountBits + lengthCountBits + n*lengthBits
	return n
}

// writeCodes writes the block's codes, of the length code the first n lengths.
func (b *block) writeCodes(out *bitWriter, n int) {
	out.put(uint32(b.literals.max+1-minLiterals), literalCountBits)
	out.put(uint32(b.dists.max+1-minDists), distCountBits)
	out.put(uint32(n-minLengths), lengthCountBits)
	for _, symbol := range lengthOrder[:n] {
		out.put(uint32(b.lengths.codes[symbol].length), lengthBits)
	}
	write := func(symbol uint8, extra uint32) {
		c := b.lengths.codes[symbol]
		out.add(uint32(c.bits), uint(c.length))
		if symbol >= repeatLast {
			out.add(extra, uint(repeatExtra[symbol]))
		}
		out.flushBits()
	}
	lengthRuns(&b.literals, write)
	lengthRuns(&b.dists, write)
}

// writeSymbols writes the block's symbols and its end in the given codes.
func (b *block) writeSymbols(out *bitWriter, literals, dists *[fixedSymbols]code) {
	for _, s := range b.symbols[:b.n] {
		dist := s >> distShift
		if dist == 0 {
			c := literals[s]
			out.add(uint32(c.bits), uint(c.length))
			out.flushBits()
			continue
		}
		length := uint8(s)
		symbol := lengthSymbol[length]
		c := literals[firstLength+int(symbol)]
		out.add(uint32(c.bits), uint(c.length))
		out.add(uint32(length-lengthBase[symbol]), uint(lengthExtra[symbol]))

		dist--
		symbol = distSymbolOf(dist)
		c = dists[symbol]
		out.add(uint32(c.bits), uint(c.length))
		out.add(dist-uint32(distBase[symbol]), uint(distExtra[symbol]))
		out.flushBits()
	}
	c := literals[endOfBlock]
	out.put(uint32(c.bits), uint(c.length))
}
