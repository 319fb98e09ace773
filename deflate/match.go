package deflate

import (
	"encoding/binary"
	"math/bits"
)

// tooFar is the distance beyond which a match of minMatch bytes is dropped: its
// distance would take more bits than the three literals.
const tooFar = 4096

// lazyState is the match that waits for the next byte to do better.
type lazyState struct {
	length  int  // its length, minMatch-1 if there is none
	start   int  // where it was found; goes with the window when that slides
	pending bool // the byte before pos is not written yet
}

// compress turns input into symbols and full blocks of them, until less than
// minLookahead bytes are left ahead. With last it takes all of them and ends
// the final block.
func (z *Writer) compress(last bool) {
	w := &z.win
	for {
		if w.lookahead() < minLookahead {
			if !last {
				return
			}
			if w.spent() {
				z.slide()
			}
			if w.lookahead() == 0 {
				break
			}
		}
		z.step()
	}
	if z.lazy.pending {
		// Even if this fills the block: the final block takes it along.
		z.block.addLiteral(w.buf[w.pos-1])
		z.lazy.pending = false
	}
	z.endBlock(true)
}

// slide slides the window, and what refers to it.
func (z *Writer) slide() {
	z.win.slide()
	z.lazy.start -= windowSize
}

// step decides on the byte before pos, with the help of the match at pos, and
// moves pos on: by one, or past the match that began at the byte before.
func (z *Writer) step() {
	w := &z.win
	previous := z.lazy
	length, start := minMatch-1, previous.start

	if w.lookahead() >= minMatch {
		newest := w.insert(w.pos)
		if newest != 0 && previous.length < z.tuning.maxLazy && w.pos-newest <= maxDistance {
			length, start = z.longestMatch(newest, previous)
			if length == minMatch && w.pos-start > tooFar {
				length = minMatch - 1
			}
		}
	}

	switch {
	case previous.length >= minMatch && length <= previous.length:
		full := z.block.addMatch(w.pos-1-previous.start, previous.length)
		// The match's first two strings are in their chains already.
		end := w.pos - 1 + previous.length
		w.insertRange(w.pos+1, min(end, w.end-minMatch+1))
		w.pos = end
		z.lazy = lazyState{length: minMatch - 1}
		if full {
			z.endBlock(false)
		}
	case previous.pending:
		if z.block.addLiteral(w.buf[w.pos-1]) {
			z.endBlock(false)
		}
		w.pos++
		z.lazy = lazyState{length: length, start: start, pending: true}
	default:
		w.pos++
		z.lazy = lazyState{length: length, start: start, pending: true}
	}
}

// longestMatch follows the chain that begins at candidate, for a match with the
// string at pos that is longer than the waiting one. It returns the waiting
// one's length and start if there is none.
//
// A match may run past the input's end into what the buffer held before; its
// length is then cut to the lookahead. Such a match always ends the search, so
// what it ran into does not matter.
func (z *Writer) longestMatch(candidate int, waiting lazyState) (length, start int) {
	w := &z.win
	buf := &w.buf
	pos := w.pos
	lookahead := w.lookahead()
	nice := min(z.tuning.niceMatch, lookahead)
	chain := z.tuning.maxChain
	if waiting.length >= z.tuning.goodMatch {
		chain >>= 2
	}
	limit := max(pos-maxDistance, 0)
	scan := buf[pos : pos+maxMatch]
	best, start := waiting.length, waiting.start

	// Strings of a chain can differ: the hash forgets bits of the first byte.
	// A longer match has the four bytes that end right after the best one in
	// common, or the first three if there is none.
	offset, mask := 0, uint32(1<<24-1)
	if best >= minMatch {
		offset, mask = best-minMatch, 1<<32-1
	}
	tail := binary.LittleEndian.Uint32(scan[offset:])
	for {
		if (binary.LittleEndian.Uint32(buf[candidate+offset:])^tail)&mask == 0 {
			if n := matchLength(scan, buf[candidate:candidate+maxMatch]); n > best {
				best, start = n, candidate
				if best >= nice {
					break
				}
				offset, mask = best-minMatch, 1<<32-1
				tail = binary.LittleEndian.Uint32(scan[offset:])
			}
		}
		candidate = int(w.prev[candidate&windowMask])
		chain--
		if candidate <= limit || chain == 0 {
			break
		}
	}
	return min(best, lookahead), start
}

// matchLength counts the bytes a and b have in common from their beginnings.
// Both are maxMatch long.
func matchLength(a, b []byte) int {
	const word = 8
	a, b = a[:maxMatch], b[:maxMatch]
	i := 0
	for ; i <= maxMatch-word; i += word {
		x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:])
		if x != 0 {
			return i + bits.TrailingZeros64(x)/8
		}
	}
	for i < maxMatch && a[i] == b[i] {
		i++
	}
	return i
}
