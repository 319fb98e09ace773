package view

import (
	"bytes"
	"encoding/binary"

	"github.com/mangrove-db/mangrove/collate"
)

// The value of a stored row is the length of the key's text, that text, and the value's text, of which nothing is left
// if it is null. The key's text cannot be told from the sortable bytes, which have no room for its spelling.

// appendRow appends a row's stored value.
func appendRow(b, key, value []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(b, key...)
	if string(value) == "null" {
		return b
	}
	return append(b, value...)
}

var null = []byte("null")

// parseRow returns the texts of a row's key and value, which share the memory of the stored value.
func parseRow(stored []byte) (key, value []byte) {
	n, size := binary.Uvarint(stored)
	if size <= 0 || n > uint64(len(stored)-size) {
		return null, null
	}
	stored = stored[size:]
	if len(stored) == int(n) {
		return stored[:n:n], null
	}
	return stored[:n:n], stored[n:]
}

func rowKey(stored []byte) []byte {
	key, _ := parseRow(stored)
	return key
}

func rowValue(stored []byte) []byte {
	_, value := parseRow(stored)
	return value
}

// appendKey appends the sortable bytes of a key.
func (s *Space) appendKey(b, key []byte) []byte {
	if s.Raw {
		return collate.AppendRawKey(b, key)
	}
	return collate.AppendKey(b, key)
}

// groupPrefix cuts sortable bytes of a key, which stand behind size bytes of a partition, to what all keys of its group
// begin with.
func (s *Space) groupPrefix(key []byte, size, group int) []byte {
	if group == GroupExact || size > len(key) {
		return key
	}
	if s.Raw {
		return key[:size+collate.RawArrayPrefix(key[size:], group)]
	}
	return key[:size+collate.ArrayPrefix(key[size:], group)]
}

// groupKey is the key of a group as clients see it: the first elements of an array, any other key itself.
func groupKey(key []byte, group int) []byte {
	if group == GroupExact || len(key) == 0 || key[0] != '[' {
		return key
	}
	n, end := 0, 0
	elements(key, func(e []byte) bool {
		if n == group {
			return false
		}
		n++
		end = cap(key) - cap(e) + len(e)
		return true
	})
	if n < group || end == 0 {
		return key
	}
	return append(bytes.Clone(key[:end]), ']')
}

// appendPartition appends what stands before the keys of a partition: its bytes in a form that ends by itself.
func appendPartition(b []byte, partition string) []byte {
	for _, c := range []byte(partition) {
		if b = append(b, c); c == 0 {
			b = append(b, 0xff)
		}
	}
	return append(b, 0, 1)
}
