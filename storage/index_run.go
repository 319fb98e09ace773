package storage

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/golang/snappy"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// A run is what a part of an index is built from: a section of rows for each tree, in their order. It is blocks of
// packed rows, each behind its length and its checksum, and compressed by snappy. A run lies in memory, or in a blob of
// the index when there are too many.

// blockBytes is the size from which on a block is full, before it is compressed. There is one in memory for each run and
// section that is merged.
const blockBytes = 8 << 10

// maxBlockBytes is more than any block has: that of a row with the largest value.
const maxBlockBytes = 1 << 30

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// runHeader says what is in a run that is a blob.
type runHeader struct {
	number uint64
	pass   uint64   // see buildHeader
	level  uint64   // how often its rows were merged into a larger run
	ends   []uint64 // of the sections
}

func (h *runHeader) append(b []byte) []byte {
	b = binary.AppendUvarint(b, h.number)
	b = binary.AppendUvarint(b, h.pass)
	b = binary.AppendUvarint(b, h.level)
	for _, end := range h.ends {
		b = binary.AppendUvarint(b, end)
	}
	return b
}

func parseRunHeader(c *cursor, sections int) runHeader {
	h := runHeader{number: c.uvarint(), pass: c.uvarint(), level: c.uvarint(), ends: make([]uint64, sections)}
	for i := range h.ends {
		h.ends[i] = c.uvarint()
		c.bad = c.bad || h.ends[i] > math.MaxInt64 || i > 0 && h.ends[i] < h.ends[i-1]
	}
	return h
}

// blob returns the name of the run's blob.
func (h *runHeader) blob() string {
	const digits = 16
	name := strconv.FormatUint(h.number, 16)
	return "0000000000000000"[:digits-len(name)] + name
}

// reader returns a reader of a section.
func (h *runHeader) reader(ctx context.Context, b kv.Blob, i int) *runReader {
	start, size := h.section(i)
	r := bufio.NewReaderSize(io.NewSectionReader(b, start, size), 2*blockBytes)
	return &runReader{ctx: ctx, r: r}
}

// section returns where a section lies.
func (h *runHeader) section(i int) (start, size int64) {
	if i > 0 {
		start = int64(h.ends[i-1])
	}
	return start, int64(h.ends[i]) - start
}

// runWriter writes the rows of a section.
type runWriter struct {
	w      io.Writer
	packer rowPacker
	packed []byte
	size   uint64 // of what was written
	block  int    // size of the largest block, before it was compressed
	err    error
}

func (w *runWriter) add(r *storedRow) {
	if w.packer.add(r); len(w.packer.b) >= blockBytes {
		w.flush()
	}
}

func (w *runWriter) flush() {
	if w.packer.rows == 0 || w.err != nil {
		return
	}
	w.block = max(w.block, len(w.packer.b))
	const head = binary.MaxVarintLen64 + crc32.Size
	if n := head + snappy.MaxEncodedLen(len(w.packer.b)); n > cap(w.packed) {
		w.packed = make([]byte, n)
	}
	text := snappy.Encode(w.packed[head:cap(w.packed)], w.packer.b)
	front := binary.AppendUvarint(w.packed[:0], uint64(len(text)))
	front = binary.LittleEndian.AppendUint32(front, crc32.Checksum(text, castagnoli))
	if _, w.err = w.w.Write(front); w.err == nil {
		_, w.err = w.w.Write(text)
	}
	w.size += uint64(len(front) + len(text))
	w.packer.reset(w.packer.b[:0])
}

// rowSource yields rows in their order.
type rowSource interface {
	next() bool
	// stored returns the row, valid until the next one.
	stored() storedRow
	failure() error
}

// runReader reads the rows of a section.
type runReader struct {
	ctx context.Context
	r   interface {
		io.Reader
		io.ByteReader
	}
	packed, text []byte
	rows         packedRows
	at           int
	err          error
}

func newRunReader(ctx context.Context, section []byte) *runReader {
	return &runReader{ctx: ctx, r: bytes.NewReader(section)}
}

func (r *runReader) failure() error    { return r.err }
func (r *runReader) stored() storedRow { return r.rows.row(r.at) }

func (r *runReader) next() bool {
	if r.at++; r.at < len(r.rows.list) {
		return true
	}
	for r.at = 0; r.err == nil; {
		if !r.block() {
			return false
		}
		if len(r.rows.list) > 0 {
			return true
		}
	}
	return false
}

// block reads the next block, or returns false at the end.
func (r *runReader) block() bool {
	if r.err = r.ctx.Err(); r.err != nil {
		return false
	}
	r.rows.list = r.rows.list[:0]
	size, err := binary.ReadUvarint(r.r)
	if errors.Is(err, io.EOF) {
		return false
	}
	if err == nil && size > maxBlockBytes {
		err = errors.New("a block that is too large")
	}
	var sum [crc32.Size]byte
	if err == nil {
		_, err = io.ReadFull(r.r, sum[:])
	}
	if err == nil {
		r.packed = slices.Grow(r.packed[:0], int(size))[:size]
		_, err = io.ReadFull(r.r, r.packed)
	}
	if err == nil && crc32.Checksum(r.packed, castagnoli) != binary.LittleEndian.Uint32(sum[:]) {
		err = errors.New("a wrong checksum")
	}
	if err == nil {
		r.text, err = snappy.Decode(r.text[:cap(r.text)], r.packed)
	}
	if err == nil {
		err = r.rows.unpack(r.text)
	}
	if err != nil {
		r.err = corrupt("run of an index", err)
	}
	if cap(r.packed)+cap(r.text) > 8*blockBytes {
		r.packed, r.text = nil, nil // of a large row one copy is enough
	}
	return err == nil
}

// partReaders returns readers of a section of each part.
func partReaders(ctx context.Context, parts []*IndexPart, section int) []*runReader {
	list := make([]*runReader, len(parts))
	for i, p := range parts {
		list[i] = newRunReader(ctx, p.sections[section])
	}
	return list
}

// sortRows orders rows by their positions, and those at the same one by their values.
func sortRows(rows []storedRow) []storedRow {
	if len(rows) < 2 {
		return rows
	}
	shared := len(rows[0].position)
	sorted := true
	for i := 1; i < len(rows); i++ {
		shared = min(shared, sharedLen(rows[0].position, rows[i].position))
		sorted = sorted && bytes.Compare(rows[i-1].position, rows[i].position) < 0
	}
	if sorted {
		return rows
	}
	// What comes behind the part that all share tells most of them apart, and is nearer than the rows themselves.
	type handle struct {
		front uint64
		row   int
	}
	list := make([]handle, len(rows))
	for i := range rows {
		var front [8]byte
		copy(front[:], rows[i].position[shared:])
		list[i] = handle{binary.BigEndian.Uint64(front[:]), i}
	}
	slices.SortFunc(list, func(a, b handle) int {
		if a.front != b.front {
			return cmp.Compare(a.front, b.front)
		}
		x, y := &rows[a.row], &rows[b.row]
		return cmp.Or(bytes.Compare(x.position, y.position), bytes.Compare(x.value, y.value))
	})
	out := make([]storedRow, len(rows))
	for i := range list {
		out[i] = rows[list[i].row]
	}
	return out
}
