package storage

import (
	"bytes"
	"encoding/binary"
	"sort"

	"github.com/cespare/xxhash/v2"
)

func hashBytes(b []byte) uint64 { return xxhash.Sum64(b) }

// cutIndexKey appends a key to dst, cut if it is too long for the engine. Of keys that agree in all that is kept, equal
// ones stay equal, and others stand in some order.
func cutIndexKey(dst, key []byte) []byte {
	if len(key) <= maxIndexKey {
		return append(dst, key...)
	}
	dst = append(dst, key[:maxIndexKey]...)
	return binary.BigEndian.AppendUint64(dst, hashBytes(key))
}

// appendIndexID appends a document's id so that it ends by itself.
func appendIndexID(b []byte, id string) []byte {
	for {
		i := -1
		for j := range len(id) {
			if id[j] == 0 {
				i = j
				break
			}
		}
		if i < 0 {
			return append(append(b, id...), 0, 1)
		}
		b = append(append(b, id[:i]...), 0, 0xff)
		id = id[i+1:]
	}
}

// cutIndexID returns what appendIndexID has written at an index of b, or false if that has no end.
func cutIndexID(b []byte, at int) (id []byte, ok bool) {
	rest := b[at:]
	for i := 0; ; {
		j := bytes.IndexByte(rest[i:], 0)
		if j < 0 || i+j+1 >= len(rest) {
			return nil, false
		}
		if i += j + 2; rest[i-1] == 1 {
			return rest[:i], true
		}
	}
}

// parseIndexID reads what appendIndexID has written.
func parseIndexID(b []byte) string { return string(appendParsedID(nil, b)) }

func appendParsedID(dst, b []byte) []byte {
	b = b[:max(len(b)-2, 0)]
	for {
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			return append(dst, b...)
		}
		dst, b = append(dst, b[:i+1]...), b[min(i+2, len(b)):] // without the ff
	}
}

// appendPosition appends where a row stands: its key, which was cut, its document's id, and its number among those of
// the document with that key, unless it is the first.
func appendPosition(b, cut []byte, id string, ordinal uint32) []byte {
	b = appendIndexID(append(b, cut...), id)
	if ordinal > 0 {
		b = append(b, byte(ordinal>>16), byte(ordinal>>8), byte(ordinal))
	}
	return b
}

// source is what an index notes of a row of a document, so that it finds the row again.
type source struct {
	space    int
	position []byte
	key      int // how much of the position is its key
	ordinal  uint32
	sum      uint64 // of the row; it is not noted of each
}

// note says which rows a document has.
type note struct {
	more bool     // there may be further pieces
	sum  uint64   // of the sums of all rows: whether it changes is seen by that
	rows []source // in the order of compareSources
}

func newNote(more bool, rows []source) *note {
	n := &note{more: more, rows: rows}
	for i := range rows {
		n.sum += rows[i].sum
	}
	return n
}

// rowSum returns a hash of a row, without its document.
func rowSum(space int, position, value []byte) uint64 {
	const odd = 0x9e3779b97f4a7c15
	h := (hashBytes(position)+uint64(space))*odd ^ hashBytes(value)
	return (h ^ h>>32) * odd
}

// notePosition is where a piece of the note on a document stands.
func notePosition(b []byte, id string, piece uint32) []byte {
	return binary.BigEndian.AppendUint32(appendIndexID(b, id), piece)
}

// noteID returns the part of a note's position that is the document's.
func noteID(position []byte) []byte { return position[:max(len(position)-4, 0)] }

// A note: flags, sum, then for each row: space, length of key that is shared with the row before at the beginning, and
// at the end, length of what is between, that, ordinal.
const noteMore = 1

func (n *note) append(b []byte) []byte {
	var flags byte
	if n.more {
		flags = noteMore
	}
	b = binary.LittleEndian.AppendUint64(append(b, flags), n.sum)
	var last []byte
	for i := range n.rows {
		s := &n.rows[i]
		key := s.position[:s.key]
		front := sharedLen(last, key)
		back := sharedEnd(last[front:], key[front:])
		b = binary.AppendUvarint(b, uint64(s.space))
		b = binary.AppendUvarint(b, uint64(front))
		b = binary.AppendUvarint(b, uint64(back))
		b = appendText(b, key[front:len(key)-back])
		b = binary.AppendUvarint(b, uint64(s.ordinal))
		last = key
	}
	return b
}

// sharedEnd returns how many bytes two slices have in common at their ends.
func sharedEnd(a, b []byte) (n int) {
	for n < len(a) && n < len(b) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}

func parseNote(b []byte, id string, spaces int) (*note, error) {
	if len(b) < 9 {
		return nil, corrupt("rows of a document in an index", nil)
	}
	n := &note{more: b[0]&noteMore != 0, sum: binary.LittleEndian.Uint64(b[1:])}
	var last []byte
	c := cursor{b: b[9:]}
	for len(c.b) > 0 {
		s := source{space: int(c.uvarint())}
		front, back, middle := c.uvarint(), c.uvarint(), c.bytes()
		s.ordinal = uint32(c.uvarint())
		if c.bad || uint(s.space) >= uint(spaces) || front > uint64(len(last)) || back > uint64(len(last))-front {
			return nil, corrupt("rows of a document in an index", nil)
		}
		s.key = int(front) + len(middle) + int(back)
		cut := make([]byte, 0, s.key+len(id)+5)
		cut = append(append(append(cut, last[:front]...), middle...), last[len(last)-int(back):]...)
		s.position = appendPosition(cut[:0], cut, id, s.ordinal)
		last = s.position[:s.key]
		n.rows = append(n.rows, s)
	}
	return n, nil
}

func compareSources(a, b *source) int {
	if a.space != b.space {
		return a.space - b.space
	}
	return bytes.Compare(a.position, b.position)
}

// isLarge tells whether the rows of a document are too many to be noted, and replaced, at once.
func (d *IndexDoc) isLarge() bool {
	rows, size := 0, 0
	for _, space := range d.Spaces {
		rows += len(space)
		for i := range space {
			size += len(space[i].Key) + len(space[i].Value)
		}
	}
	return rows > pieceRows || size > pieceBytes
}

// piece returns how many of the first sources of a large document make one piece of its note; rows are theirs.
func piece(list []source, rows []*IndexRow) (n int) {
	for size := 0; n < len(list) && n < pieceRows && size < pieceBytes; n++ {
		size += len(list[n].position) + len(rows[n].Value)
	}
	return n
}

// numbering gives the rows of documents their positions. It can be used again and again, by one goroutine.
type numbering struct {
	memory arena // of positions
	rows   []*IndexRow
	list   []source
}

// number numbers and orders the rows of a document. Rows with equal keys keep their order. The results are good until
// the next call, the positions as long as they are needed.
func (n *numbering) number(d *IndexDoc) ([]*IndexRow, []source) {
	n.rows, n.list = n.rows[:0], n.list[:0]
	for space, emitted := range d.Spaces {
		first := len(n.list)
		sorted := true
		for i := range emitted {
			row := &emitted[i]
			key := row.Key
			if len(key) > maxIndexKey {
				key = cutIndexKey(nil, key)
			}
			s := source{space: space, key: len(key)}
			s.position = appendPosition(n.memory.take(len(key)+2*len(d.ID)+5), key, d.ID, 0)
			sorted = sorted && (i == 0 || bytes.Compare(n.list[len(n.list)-1].position, s.position) <= 0)
			n.rows, n.list = append(n.rows, row), append(n.list, s)
		}
		if !sorted {
			sort.Stable(byPosition{n.rows[first:], n.list[first:]})
		}
		for i := first; i < len(n.list); i++ {
			s := &n.list[i]
			if i > first {
				last := &n.list[i-1]
				if s.key == last.key && bytes.Equal(s.position[:s.key], last.position[:s.key]) {
					s.ordinal = last.ordinal + 1
					s.position = append(s.position, byte(s.ordinal>>16), byte(s.ordinal>>8), byte(s.ordinal))
				}
			}
			s.sum = rowSum(space, s.position, n.rows[i].Value)
		}
	}
	return n.rows, n.list
}

// byPosition orders rows and what is noted of them.
type byPosition struct {
	rows []*IndexRow
	list []source
}

func (b byPosition) Len() int { return len(b.list) }
func (b byPosition) Less(i, j int) bool {
	return bytes.Compare(b.list[i].position, b.list[j].position) < 0
}

func (b byPosition) Swap(i, j int) {
	b.rows[i], b.rows[j] = b.rows[j], b.rows[i]
	b.list[i], b.list[j] = b.list[j], b.list[i]
}

// arena is memory for many small things that go away together.
type arena struct{ free []byte }

// take returns an empty slice with room for n bytes.
func (a *arena) take(n int) []byte {
	if n > len(a.free) {
		a.free = make([]byte, max(n, 64<<10))
	}
	b := a.free[:0:n]
	a.free = a.free[n:]
	return b
}
