package collate

import "bytes"

// ArrayPrefix returns how long the part of a key is that all keys of arrays with the same first n elements begin with,
// and no others. For a key of anything but an array, or of a shorter array, or one that has been cut, that is all of it.
// The key is one that AppendKey made.
func ArrayPrefix(key []byte, n int) int { return collated.arrayPrefix(key, n) }

// RawArrayPrefix is ArrayPrefix for keys that AppendRawKey made.
func RawArrayPrefix(key []byte, n int) int { return raw.arrayPrefix(key, n) }

func (o *order) arrayPrefix(key []byte, n int) int {
	if len(key) == 0 || key[0] != o.rank['['] {
		return len(key)
	}
	i := 1
	for ; n > 0; n-- {
		if i >= len(key) || key[i] == tagEnd {
			return len(key)
		}
		if i = o.skip(key, i); i > len(key) {
			return len(key)
		}
	}
	return i
}

// skip returns the end of the value that begins at i, or an index past the end of the key if that was cut.
func (o *order) skip(key []byte, i int) int {
	for depth := 0; i < len(key); {
		switch c := key[i]; c {
		case tagEnd:
			depth--
			i++
		case o.rank['['], o.rank['{']:
			depth++
			i++
		case o.rank['"']:
			if o.raw {
				i = skipRawString(key, i+1)
			} else {
				i = table().skipString(key, i+1)
			}
		case o.positive, o.negative:
			// The exponent, then bytes until one whose lowest bit says that it is the last.
			last := byte(0)
			if c == o.negative {
				last = 1
			}
			for i += 3; i < len(key) && key[i]&1 != last; i++ {
			}
			i++
		default: // null, false, true and zero
			i++
		}
		if depth <= 0 {
			return i
		}
	}
	return len(key) + 1
}

// skipRawString goes over the bytes of a string in raw order.
func skipRawString(key []byte, i int) int {
	for i < len(key) {
		n := bytes.IndexByte(key[i:], 0)
		if n < 0 || i+n+1 >= len(key) {
			break
		}
		if i += n + 2; key[i-1] == 0 {
			return i
		}
	}
	return len(key) + 1
}
