package mango

import (
	"bytes"
	"iter"
	"unicode/utf16"
	"unicode/utf8"
)

// What follows reads JSON in place. It expects valid JSON; of anything else it
// reads something or nothing, but stays inside the text.

// kind is a JSON value's type.
type kind byte

const (
	kindNone kind = iota // not a value
	kindNull
	kindBoolean
	kindNumber
	kindString
	kindArray
	kindObject
)

// kindNames are the arguments of $type.
var kindNames = map[string]kind{
	"null": kindNull, "boolean": kindBoolean, "number": kindNumber,
	"string": kindString, "array": kindArray, "object": kindObject,
}

func kindOf(value []byte) kind {
	if len(value) == 0 {
		return kindNone
	}
	switch c := value[0]; c {
	case 'n':
		return kindNull
	case 't', 'f':
		return kindBoolean
	case '"':
		return kindString
	case '[':
		return kindArray
	case '{':
		return kindObject
	default:
		if c == '-' || c >= '0' && c <= '9' {
			return kindNumber
		}
	}
	return kindNone
}

// isInteger says whether a number has neither fraction nor exponent.
func isInteger(number []byte) bool {
	return kindOf(number) == kindNumber && !bytes.ContainsAny(number, ".eE")
}

func skipSpace(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r') {
		i++
	}
	return i
}

// stringEnd returns the index after the string that starts at i.
func stringEnd(text []byte, i int) int {
	i++
	for i < len(text) {
		n := bytes.IndexByte(text[i:], '"')
		if n < 0 {
			return len(text)
		}
		end := i + n
		if text[end-1] != '\\' {
			return end + 1
		}
		backslashes := 0
		for k := end - 1; k >= i && text[k] == '\\'; k-- {
			backslashes++
		}
		if backslashes%2 == 0 {
			return end + 1
		}
		i = end + 1
	}
	return len(text)
}

// valueEnd returns the index after the value that starts at i.
func valueEnd(text []byte, i int) int {
	if i >= len(text) {
		return len(text)
	}
	switch text[i] {
	case '"':
		return stringEnd(text, i)
	case '{', '[':
	default:
		for ; i < len(text); i++ {
			switch text[i] {
			case ',', '}', ']', ' ', '\n', '\t', '\r':
				return i
			}
		}
		return i
	}
	depth := 0
	for i < len(text) {
		switch text[i] {
		case '"':
			i = stringEnd(text, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return i
}

// nextMember reads the member at i, which is after the opening brace or the
// end of the member before; ok is false at the closing brace. The name is
// text[start:end] with its quotes, the value starts at value.
func nextMember(text []byte, i int) (start, end, value int, ok bool) {
	i = skipSpace(text, i)
	if i < len(text) && text[i] == ',' {
		i = skipSpace(text, i+1)
	}
	if i >= len(text) || text[i] != '"' {
		return 0, 0, 0, false
	}
	end = stringEnd(text, i)
	value = skipSpace(text, end)
	if value >= len(text) || text[value] != ':' {
		return 0, 0, 0, false
	}
	value = skipSpace(text, value+1)
	return i, end, value, value < len(text)
}

// nextElement returns where the array element at i starts; i is after the
// opening bracket or the end of the element before.
func nextElement(text []byte, i int) (value int, ok bool) {
	i = skipSpace(text, i)
	if i < len(text) && text[i] == ',' {
		i = skipSpace(text, i+1)
	}
	return i, i < len(text) && kindOf(text[i:]) != kindNone
}

// members yields the names (with their quotes) and values of an object.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		i := 1
		for {
			start, end, value, ok := nextMember(object, i)
			if !ok {
				return
			}
			i = valueEnd(object, value)
			if !yield(object[start:end], object[value:i]) {
				return
			}
		}
	}
}

// elements yields the elements of an array.
func elements(array []byte) iter.Seq[[]byte] {
	return func(yield func(element []byte) bool) {
		i := 1
		for {
			value, ok := nextElement(array, i)
			if !ok {
				return
			}
			i = valueEnd(array, value)
			if !yield(array[value:i]) {
				return
			}
		}
	}
}

// depthOf returns how deep a text is nested.
func depthOf(text []byte) int {
	depth, deepest := 0, 0
	for i := 0; i < len(text); {
		switch text[i] {
		case '"':
			i = stringEnd(text, i)
			continue
		case '{', '[':
			depth++
			deepest = max(deepest, depth)
		case '}', ']':
			depth--
		}
		i++
	}
	return deepest
}

// inside returns what is between a string's quotes.
func inside(token []byte) []byte {
	if len(token) > 0 {
		token = token[1:]
	}
	if n := len(token); n > 0 && token[n-1] == '"' {
		token = token[:n-1]
	}
	return token
}

// unquote appends a string's text to dst, without quotes and escapes. Halves
// of surrogate pairs become U+FFFD.
func unquote(dst, token []byte) []byte {
	s := inside(token)
	for {
		n := bytes.IndexByte(s, '\\')
		if n < 0 || n+1 == len(s) {
			return append(dst, s...)
		}
		dst = append(dst, s[:n]...)
		c := s[n+1]
		s = s[n+2:]
		switch c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, ok := hex4(s)
			if !ok {
				dst = utf8.AppendRune(dst, utf8.RuneError)
				continue
			}
			s = s[4:]
			if utf16.IsSurrogate(r) {
				var low rune
				if len(s) >= 6 && s[0] == '\\' && s[1] == 'u' {
					low, _ = hex4(s[2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					s = s[6:]
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
	}
}

func hex4(s []byte) (r rune, ok bool) {
	if len(s) < 4 {
		return 0, false
	}
	for _, c := range s[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

const hexDigits = "0123456789ABCDEF"

// appendQuoted appends s as a JSON string.
func appendQuoted[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
