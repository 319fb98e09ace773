package deflate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

var (
	// ErrLevel is returned by NewWriter for a level outside MinLevel to
	// MaxLevel.
	ErrLevel = errors.New("deflate: invalid compression level")

	// ErrClosed is returned by Write after Close.
	ErrClosed = errors.New("deflate: write to a closed writer")
)

// gzipHeader is RFC 1952's header as zlib writes it unasked: no name, no time,
// Unix. The byte before the last is XFL.
var gzipHeader = [10]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3}

const (
	xflIndex    = 8
	xflSlowest  = 2 // RFC 1952: "maximum compression, slowest algorithm"
	trailerSize = 8
)

// Writer compresses what is written to it into one gzip member. It takes about
// 300 KiB, whatever the length of the input, and is worth pooling: see Reset.
//
// A Writer is not safe for concurrent use.
type Writer struct {
	level  int
	tuning tuning

	win   window
	lazy  lazyState
	block block
	out   bitWriter

	crc    uint32 // CRC-32 of the input
	size   uint32 // length of the input, modulo 2^32
	closed bool
}

// NewWriter returns a Writer that writes a gzip stream to w at the given level,
// MinLevel to MaxLevel; another level is an error that wraps ErrLevel. Nothing
// but Close completes the stream.
func NewWriter(w io.Writer, level int) (*Writer, error) {
	if level < MinLevel || level > MaxLevel {
		return nil, fmt.Errorf("%w: %d is not in %d to %d", ErrLevel, level, MinLevel, MaxLevel)
	}
	z := &Writer{level: level, tuning: tunings[level-MinLevel]}
	z.Reset(w)
	return z, nil
}

// Reset discards the Writer's state and makes it write a new stream to w at the
// level it was created with. The stream is the one a new Writer would write.
// Reset(nil) lets go of the last destination; another Reset must follow before
// the Writer is used again.
func (z *Writer) Reset(w io.Writer) {
	z.win.reset()
	z.lazy = lazyState{length: minMatch - 1}
	z.block.reset()
	z.crc, z.size, z.closed = 0, 0, false

	z.out.reset(w)
	header := gzipHeader
	if z.level == MaxLevel {
		header[xflIndex] = xflSlowest
	}
	z.out.writeBytes(header[:])
}

// Write compresses p. It returns the destination's first error, to which the
// Writer then sticks, or ErrClosed. It does not keep p. The destination sees
// the bytes with delay; Close writes the last of them.
func (z *Writer) Write(p []byte) (int, error) {
	if z.closed {
		return 0, ErrClosed
	}
	written := 0
	for written < len(p) && z.out.err == nil {
		n := z.win.fill(p[written:])
		z.crc = crc32.Update(z.crc, crc32.IEEETable, p[written:written+n])
		z.size += uint32(n)
		written += n
		if z.win.full() {
			z.compress(false)
			z.slide()
		}
	}
	return written, z.out.err
}

// Close compresses what is left and writes the stream's end. It does not close
// the destination. Closing again does nothing and returns the same error, if
// any.
func (z *Writer) Close() error {
	if z.closed || z.out.err != nil {
		z.closed = true
		return z.out.err
	}
	z.closed = true
	z.compress(true)
	var trailer [trailerSize]byte
	binary.LittleEndian.PutUint32(trailer[:4], z.crc)
	binary.LittleEndian.PutUint32(trailer[4:], z.size)
	z.out.writeBytes(trailer[:])
	z.out.flush()
	return z.out.err
}
