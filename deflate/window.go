package deflate

const (
	windowSize = 1 << 15 // how far back DEFLATE can refer
	windowMask = windowSize - 1
	bufferSize = 2 * windowSize

	minMatch = 3
	maxMatch = 258

	// minLookahead is what must be known of the input before the next byte is
	// decided on, unless the input ends: a match of full length at the byte
	// after it, and the string after that.
	minLookahead = maxMatch + minMatch + 1

	// maxDistance is the longest distance used. What is further back may be
	// gone from the window while the lookahead is used up.
	maxDistance = windowSize - minLookahead

	hashBits  = 15
	hashSize  = 1 << hashBits
	hashMask  = hashSize - 1
	hashShift = (hashBits + minMatch - 1) / minMatch
)

// window holds the input that matches can be found in, the input still to be
// compressed, and the chains that lead from a string to its earlier
// occurrences. Positions are indexes into buf; 0 also means "none".
type window struct {
	buf   [bufferSize]byte
	pos   int // the next byte to compress
	end   int // end of the input read so far
	block int // where the current block began; negative if that has slid away

	// head is the newest position of each hash, prev the next older position
	// for a position, modulo windowSize.
	head [hashSize]uint16
	prev [windowSize]uint16
}

// reset empties the window. The bytes and links left behind in buf and prev are
// reached through pos and head alone.
func (w *window) reset() {
	w.pos, w.end, w.block = 0, 0, 0
	clear(w.head[:])
}

// fill takes as much of p as there is room for and returns how much it was.
func (w *window) fill(p []byte) int {
	n := copy(w.buf[w.end:], p)
	w.end += n
	return n
}

func (w *window) full() bool { return w.end == bufferSize }

func (w *window) lookahead() int { return w.end - w.pos }

// spent reports whether the second half is used up, and slide to be called.
func (w *window) spent() bool { return w.pos >= windowSize+maxDistance }

// slide drops the older half of a spent window.
func (w *window) slide() {
	copy(w.buf[:windowSize], w.buf[windowSize:w.end])
	w.pos -= windowSize
	w.end -= windowSize
	w.block -= windowSize
	slidePositions(&w.head)
	slidePositions(&w.prev)
}

// slidePositions subtracts windowSize from each position, down to 0 for those
// that slide away.
func slidePositions(positions *[windowSize]uint16) {
	for i, p := range positions {
		positions[i] = max(p, windowSize) - windowSize
	}
}

// insert enters the string at pos into its chain and returns the position that
// was the newest before.
func (w *window) insert(pos int) int {
	s := w.buf[pos : pos+minMatch : bufferSize]
	h := (uint32(s[0])<<(2*hashShift) ^ uint32(s[1])<<hashShift ^ uint32(s[2])) & hashMask
	older := w.head[h]
	w.prev[pos&windowMask] = older
	w.head[h] = uint16(pos)
	return int(older)
}

// insertRange enters the strings at from up to but not including to.
func (w *window) insertRange(from, to int) {
	if from >= to {
		return
	}
	h := uint32(w.buf[from])<<hashShift ^ uint32(w.buf[from+1])
	for i, c := range w.buf[from+minMatch-1 : to+minMatch-1] {
		pos := from + i
		h = (h<<hashShift ^ uint32(c)) & hashMask
		w.prev[pos&windowMask] = w.head[h]
		w.head[h] = uint16(pos)
	}
}
