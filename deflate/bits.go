package deflate

import (
	"encoding/binary"
	"io"
)

const (
	outputSize = 16 << 10
	// wordSize is how many bytes one flushBits may store.
	wordSize = 8
)

// bitWriter packs bits into bytes, lowest bit first, and hands the bytes to w
// in pieces. After an error of w it goes on without writing, and keeps the
// error.
type bitWriter struct {
	w   io.Writer
	err error

	acc uint64 // bits not in buf yet
	n   uint   // how many; below 8 after flushBits

	buf [outputSize]byte
	len int
}

func (b *bitWriter) reset(w io.Writer) {
	b.w, b.err = w, nil
	b.acc, b.n, b.len = 0, 0, 0
}

// add appends the low n bits of v, whose other bits are 0. Between two calls of
// flushBits there is room for 57 bits.
func (b *bitWriter) add(v uint32, n uint) {
	b.acc |= uint64(v) << (b.n & 63)
	b.n += n
}

// flushBits moves the whole bytes among the bits to buf.
func (b *bitWriter) flushBits() {
	if b.len > outputSize-wordSize {
		b.flush()
	}
	binary.LittleEndian.PutUint64(b.buf[b.len:b.len+wordSize], b.acc)
	b.len += int(b.n >> 3)
	b.acc >>= b.n &^ 7
	b.n &= 7
}

// put is add for callers that need not count bits. n is at most 32.
func (b *bitWriter) put(v uint32, n uint) {
	b.add(v, n)
	b.flushBits()
}

// align fills up the last byte with zeros.
func (b *bitWriter) align() {
	b.n = (b.n + 7) &^ 7
	b.flushBits()
}

// writeBytes appends p, with the bits at a byte boundary.
func (b *bitWriter) writeBytes(p []byte) {
	for len(p) > 0 {
		if b.len == outputSize {
			b.flush()
		}
		n := copy(b.buf[b.len:], p)
		b.len += n
		p = p[n:]
	}
}

// flush writes out the whole bytes.
func (b *bitWriter) flush() {
	if b.err == nil && b.len > 0 {
		var n int
		n, b.err = b.w.Write(b.buf[:b.len])
		if b.err == nil && n < b.len {
			b.err = io.ErrShortWrite
		}
	}
	b.len = 0
}
