package collate

import (
	"bytes"
	"math"
	"math/big"
	"math/bits"
	"strconv"
)

const (
	// maxDigits bounds what is read of an integer. CouchDB refuses integers of
	// more than 308 digits, and no float has more before its point, so longer
	// ones need no order among themselves: they count as infinite.
	maxDigits = 400

	// exponentBias makes binary exponents positive. Floats have exponents from
	// -1073 to 1024, integers of maxDigits up to 1329.
	exponentBias = 0x4000

	infinite = 0x3FFF

	// numberSize is enough for the key of any number: a tag, two bytes of
	// exponent and a mantissa of 1329 bits.
	numberSize = 256
)

// compareNumbers compares two number tokens by their exact values.
func compareNumbers(a, b []byte) int {
	if x, ok := smallInteger(a); ok {
		if y, ok := smallInteger(b); ok {
			switch {
			case x < y:
				return -1
			case x > y:
				return 1
			}
			return 0
		}
	}
	var bufA, bufB [numberSize]byte
	return bytes.Compare(
		collated.appendNumber(bufA[:0], a),
		collated.appendNumber(bufB[:0], b))
}

// smallInteger reads an integer of at most 18 digits.
func smallInteger(token []byte) (n int64, ok bool) {
	digits := token
	if len(digits) > 0 && digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if len(digits) != len(token) {
		n = -n
	}
	return n, true
}

// isInteger says whether CouchDB reads the number as an integer: it has
// neither a fraction nor an exponent.
func isInteger(token []byte) bool {
	for _, c := range token {
		if c == '.' || c == 'e' || c == 'E' {
			return false
		}
	}
	return true
}

// appendNumber appends the key of a number token, see the package comment.
func (o *order) appendNumber(dst, token []byte) []byte {
	if n, ok := smallInteger(token); ok {
		if n < 0 {
			return o.appendBinary(dst, true, 0, uint64(-n))
		}
		return o.appendBinary(dst, false, 0, uint64(n))
	}
	if isInteger(token) {
		return o.appendInteger(dst, token)
	}
	f, _ := strconv.ParseFloat(string(token), 64) // out of range: infinite, as it should be
	if math.IsInf(f, 0) {
		return o.appendBinary(dst, f < 0, infinite, 1)
	}
	mantissa, exponent := math.Frexp(math.Abs(f))
	return o.appendBinary(dst, f < 0, exponent-53, uint64(math.Ldexp(mantissa, 53)))
}

// appendBinary appends the key of mantissa × 2^exponent.
func (o *order) appendBinary(dst []byte, negative bool, exponent int, mantissa uint64) []byte {
	if mantissa == 0 {
		return append(dst, o.zero)
	}
	zeros := bits.LeadingZeros64(mantissa)
	mantissa <<= zeros
	dst, start := o.appendExponent(dst, negative, min(exponent+64-zeros, infinite))
	for {
		group := byte(mantissa>>57) << 1
		mantissa <<= 7
		if mantissa == 0 {
			dst = append(dst, group)
			break
		}
		dst = append(dst, group|1)
	}
	return invert(dst, start, negative)
}

// appendInteger appends the key of an integer of any length.
func (o *order) appendInteger(dst, token []byte) []byte {
	negative := len(token) > 0 && token[0] == '-'
	digits := bytes.TrimLeft(token, "-0")
	if len(digits) > maxDigits {
		return o.appendBinary(dst, negative, infinite, 1)
	}
	n, ok := new(big.Int).SetString(string(digits), 10)
	if !ok || n.Sign() == 0 {
		return append(dst, o.zero)
	}
	length := n.BitLen()
	dst, start := o.appendExponent(dst, negative, length)
	last := int(n.TrailingZeroBits())
	for high := length - 1; high >= last; {
		var group byte
		for range 7 {
			group <<= 1
			if high >= 0 {
				group |= byte(n.Bit(high))
			}
			high--
		}
		group <<= 1
		if high >= last {
			group |= 1
		}
		dst = append(dst, group)
	}
	return invert(dst, start, negative)
}

// appendExponent appends the tag and the exponent of a number whose value is
// at least 2^(exponent-1) and less than 2^exponent; start is where the part
// begins that is inverted for negative numbers.
func (o *order) appendExponent(dst []byte, negative bool, exponent int) (key []byte, start int) {
	tag := o.positive
	if negative {
		tag = o.negative
	}
	biased := exponent + exponentBias
	dst = append(dst, tag, byte(biased>>8), byte(biased))
	return dst, len(dst) - 2
}

func invert(key []byte, start int, negative bool) []byte {
	if negative {
		for i := start; i < len(key); i++ {
			key[i] = ^key[i]
		}
	}
	return key
}
