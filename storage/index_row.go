package storage

import (
	"bytes"
	"encoding/binary"
	"sort"

	"github.com/cespare/xxhash/v2"
	"github.com/golang/snappy"
)

// An index row's value: the length of its key, which the rest of the position follows, and the row's value.
func appendIndexRow(b []byte, row *IndexRow) []byte {
	key := len(row.Key)
	if key > maxIndexKey {
		key = cutIndexKeyLen
	}
	return append(binary.AppendUvarint(b, uint64(key)), row.Value...)
}

// parseIndexRow reads a row; it shares the memory of its position and value.
func parseIndexRow(position, value []byte) (IndexRow, error) {
	n, w := binary.Uvarint(value)
	if w <= 0 || n > uint64(len(position)) {
		return IndexRow{}, corrupt("row of an index", nil)
	}
	rest := position[n:]
	for i := 0; ; i++ {
		j := bytes.IndexByte(rest[i:], 0)
		if j < 0 || i+j+1 >= len(rest) {
			return IndexRow{}, corrupt("row of an index", nil)
		}
		if i += j + 1; rest[i] == 1 {
			return IndexRow{Key: position[:n:n], ID: parseIndexID(rest[:i+1]), Value: value[w:]}, nil
		}
	}
}

// source is what an index remembers of a row of a document, so that it finds the row again and sees whether it changes.
type source struct {
	space   int
	key     []byte // cut
	ordinal uint32
	size    uint64 // of the value
	hash    uint64 // of the value
	brief   []byte // what reducers have to know of it; see appendBriefs
	rowKey  []byte // of the engine
}

func (s *source) position() []byte { return s.rowKey[rowPrefixLen:] }

func hashBytes(b []byte) uint64 { return xxhash.Sum64(b) }

// A source record: flags, then, compressed by snappy if that pays, for each row: space, length of key, key, ordinal, size
// and hash of the value, length of brief, brief. The keys of one document have much in common.
const (
	sourceMore   = 1 // there may be further pieces
	sourceSnappy = 2
)

func appendSources(b []byte, list []source) []byte {
	for i := range list {
		s := &list[i]
		b = binary.AppendUvarint(b, uint64(s.space))
		b = binary.AppendUvarint(b, uint64(len(s.key)))
		b = append(b, s.key...)
		b = binary.AppendUvarint(b, uint64(s.ordinal))
		b = binary.AppendUvarint(b, s.size)
		b = binary.LittleEndian.AppendUint64(b, s.hash)
		b = binary.AppendUvarint(b, uint64(len(s.brief)))
		b = append(b, s.brief...)
	}
	return b
}

// packSources makes a record in b, which must have room for one.
func packSources(b []byte, flags byte, text []byte) []byte {
	room := b[1:cap(b)]
	if packed := snappy.Encode(room, text); len(packed) < len(text) {
		return append(append(b, flags|sourceSnappy), packed...)
	}
	return append(append(b, flags), text...)
}

func parseSources(b []byte, keys keyspace, id string, spaces int) (flags byte, list []source, err error) {
	if len(b) == 0 {
		return 0, nil, corrupt("rows of a document in an index", nil)
	}
	flags, b = b[0], b[1:]
	if flags&sourceSnappy != 0 {
		if b, err = snappy.Decode(nil, b); err != nil {
			return 0, nil, corrupt("rows of a document in an index", err)
		}
	}
	c := cursor{b: b}
	for len(c.b) > 0 {
		s := source{space: int(c.uvarint()), key: c.bytes(), ordinal: uint32(c.uvarint()), size: c.uvarint()}
		if c.bad || len(c.b) < 8 || s.space >= spaces {
			return 0, nil, corrupt("rows of a document in an index", nil)
		}
		s.hash, c.b = binary.LittleEndian.Uint64(c.b), c.b[8:]
		if s.brief = c.bytes(); c.bad {
			return 0, nil, corrupt("rows of a document in an index", nil)
		}
		s.rowKey = appendPosition(keys.appendRows(make([]byte, 0, rowPrefixLen+len(s.key)+len(id)+5), s.space), s.key, id, s.ordinal)
		list = append(list, s)
	}
	return flags, list, nil
}

func appendPosition(b, cut []byte, id string, ordinal uint32) []byte {
	b = appendIndexID(append(b, cut...), id)
	if ordinal > 0 {
		b = append(b, byte(ordinal>>16), byte(ordinal>>8), byte(ordinal))
	}
	return b
}

// number gives rows their positions and orders them. Rows with equal keys keep their order. The results are appended to
// rows and list; what they point to lies in memory.
func (c *indexCommit) number(d *IndexDoc, rows []*IndexRow, list []source, memory *arena) ([]*IndexRow, []source) {
	for space, emitted := range d.Spaces {
		first := len(list)
		sorted := true
		for i := range emitted {
			row := &emitted[i]
			row.ID = d.ID
			s := source{space: space, key: row.Key, size: uint64(len(row.Value)), hash: hashBytes(row.Value)}
			if len(s.key) > maxIndexKey {
				s.key = cutIndexKey(nil, s.key)
			}
			c.briefs, c.brief = appendBriefs(c.briefs[:0], c.ix.spec.Spaces[space].Reducers, row, c.brief)
			s.brief = append(memory.take(len(c.briefs)), c.briefs...)
			sorted = sorted && (i == 0 || bytes.Compare(list[len(list)-1].key, s.key) <= 0)
			rows, list = append(rows, row), append(list, s)
		}
		if !sorted {
			sort.Stable(byKey{rows[first:], list[first:]})
		}
		for i := first; i < len(list); i++ {
			s := &list[i]
			if i > first && bytes.Equal(list[i-1].key, s.key) {
				s.ordinal = list[i-1].ordinal + 1
			}
			s.rowKey = appendPosition(c.keys.appendRows(memory.take(rowPrefixLen+len(s.key)+len(d.ID)+5), s.space), s.key, d.ID, s.ordinal)
		}
	}
	return rows, list
}

// byKey orders rows and what is remembered of them by their keys.
type byKey struct {
	rows []*IndexRow
	list []source
}

func (b byKey) Len() int           { return len(b.list) }
func (b byKey) Less(i, j int) bool { return bytes.Compare(b.list[i].key, b.list[j].key) < 0 }
func (b byKey) Swap(i, j int) {
	b.rows[i], b.rows[j] = b.rows[j], b.rows[i]
	b.list[i], b.list[j] = b.list[j], b.list[i]
}

func compareSources(a, b *source) int {
	return bytes.Compare(a.rowKey, b.rowKey)
}
