package document

import (
	"encoding/binary"
	"math"
	"math/big"
)

// Tags of the Erlang external term format.
const (
	termVersion    = 131
	termNewFloat   = 70  // 8 bytes, IEEE 754, big endian
	termSmallInt   = 97  // 1 byte, unsigned
	termInt        = 98  // 4 bytes, signed
	termAtom       = 100 // 2 bytes of length, Latin-1
	termSmallTuple = 104 // 1 byte of arity
	termNil        = 106
	termString     = 107 // 2 bytes of length: a list of integers 0 to 255
	termList       = 108 // 4 bytes of length, elements, tail
	termBinary     = 109 // 4 bytes of length
	termSmallBig   = 110 // 1 byte of length, sign, magnitude in little endian
)

// maxTermString is the longest list of bytes that is written as a string.
const maxTermString = 65535

func appendAtom(b []byte, v bool) []byte {
	if v {
		return append(b, termAtom, 0, 4, 't', 'r', 'u', 'e')
	}
	return append(b, termAtom, 0, 5, 'f', 'a', 'l', 's', 'e')
}

func appendNull(b []byte) []byte {
	return append(b, termAtom, 0, 4, 'n', 'u', 'l', 'l')
}

func appendListHeader(b []byte, n int) []byte {
	b = append(b, termList)
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

func appendBinaryHeader(b []byte, n int) []byte {
	return append(b, termBinary, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

func appendBinary(b []byte, s string) []byte {
	return append(appendBinaryHeader(b, len(s)), s...)
}

func appendFloatTerm(b []byte, f float64) []byte {
	b = append(b, termNewFloat)
	return binary.BigEndian.AppendUint64(b, math.Float64bits(f))
}

// appendTermInt appends an integer in the shortest form that Erlang chooses:
// one unsigned byte, four signed bytes, or a big integer.
func appendTermInt(b []byte, negative bool, magnitude uint64) []byte {
	switch {
	case !negative && magnitude <= math.MaxUint8:
		return append(b, termSmallInt, byte(magnitude))
	case !negative && magnitude <= math.MaxInt32:
		return binary.BigEndian.AppendUint32(append(b, termInt), uint32(magnitude))
	case negative && magnitude <= -math.MinInt32:
		return binary.BigEndian.AppendUint32(append(b, termInt), -uint32(magnitude))
	}
	at := len(b) + 1
	b = append(b, termSmallBig, 0, sign(negative))
	for ; magnitude != 0; magnitude >>= 8 {
		b = append(b, byte(magnitude))
		b[at]++
	}
	return b
}

// appendTermBig appends an integer beyond 64 bits. digits are decimal and at
// most maxIntegerDigits, so that 255 bytes hold the magnitude.
func appendTermBig(b []byte, negative bool, digits string) []byte {
	n, _ := new(big.Int).SetString(digits, 10)
	m := n.Bytes()
	b = append(b, termSmallBig, byte(len(m)), sign(negative))
	for i := len(m) - 1; i >= 0; i-- {
		b = append(b, m[i])
	}
	return b
}

func sign(negative bool) byte {
	if negative {
		return 1
	}
	return 0
}
