package mango

import (
	"math"
	"strconv"
	"strings"
)

// erlangTerm prints a JSON value the way CouchDB's errors do: as the Erlang
// term it decodes to, written with ~w. Strings are lists of bytes, <<97,98>>,
// objects {[{<<97>>,1}]}.
func erlangTerm(json []byte) string { return clipTerm(appendErlang, json) }

// clipTerm prints as much of a value as fits into an error. It does not look at
// the rest, so that large values cost no time.
func clipTerm(print func(dst, json []byte) []byte, json []byte) string {
	const enough = 4 * maxReason
	b := print(nil, json[:min(len(json), enough)])
	if len(b) > maxReason || len(json) > enough {
		return strings.ToValidUTF8(string(b[:min(len(b), maxReason)]), "") + "..."
	}
	return string(b)
}

// appendErlang recurses as deep as the value is nested, which clipTerm bounds.
func appendErlang(dst, json []byte) []byte {
	if len(dst) > maxReason {
		return dst
	}
	switch kindOf(json) {
	case kindString:
		return appendBinary(dst, unquote(nil, json))
	case kindNumber:
		if string(json) == "-0" {
			return append(dst, '0')
		}
		if isInteger(json) {
			return append(dst, json...)
		}
		f, _ := strconv.ParseFloat(string(json), 64)
		return append(dst, erlangFloat(f)...)
	case kindArray:
		return appendList(dst, json, appendErlang)
	case kindObject:
		return appendObject(dst, json, appendBinary, appendErlang)
	}
	return append(dst, json...)
}

// appendList writes an array as a list, with print for each element.
func appendList(dst, json []byte, print func(dst, json []byte) []byte) []byte {
	dst = append(dst, '[')
	first := true
	for element := range elements(json) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = print(dst, element)
	}
	return append(dst, ']')
}

// appendObject writes an object as EJSON, with binary for the names and print for the values.
func appendObject(dst, json []byte, binary, print func(dst, b []byte) []byte) []byte {
	dst = append(dst, "{["...)
	first := true
	for name, value := range members(json) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = binary(append(dst, '{'), unquote(nil, name))
		dst = append(print(append(dst, ','), value), '}')
	}
	return append(dst, "]}"...)
}

func appendBinary(dst, s []byte) []byte {
	dst = append(dst, "<<"...)
	for i, c := range s {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, uint64(c), 10)
		if len(dst) > maxReason {
			break
		}
	}
	return append(dst, ">>"...)
}

// erlangFloat writes a float with the fewest digits that read back as it, and
// with an exponent where that is shorter or the value is 2^53 or more.
func erlangFloat(f float64) string {
	if f == 0 {
		if math.Signbit(f) {
			return "-0.0"
		}
		return "0.0"
	}
	// d.ddde±xx: the digits, and the place of the point after the first.
	text := strconv.FormatFloat(math.Abs(f), 'e', -1, 64)
	mantissa, exponentText, _ := strings.Cut(text, "e")
	exponent, _ := strconv.Atoi(exponentText)
	digits := strings.Replace(mantissa, ".", "", 1)
	place := exponent + 1 // the point stands after this many digits

	var s string
	shortExponent := strconv.Itoa(exponent)
	fraction := digits[1:]
	if fraction == "" {
		fraction = "0"
	}
	scientific := digits[:1] + "." + fraction + "e" + shortExponent
	switch {
	case place > 0 && place < len(digits):
		s = digits[:place] + "." + digits[place:]
	case place <= 0:
		if s = "0." + strings.Repeat("0", -place) + digits; len(s) > len(scientific) {
			s = scientific
		}
	default:
		s = digits + strings.Repeat("0", place-len(digits)) + ".0"
		if len(s) > len(scientific) || math.Abs(f) >= 1<<53 {
			s = scientific
		}
	}
	if f < 0 {
		s = "-" + s
	}
	return s
}
