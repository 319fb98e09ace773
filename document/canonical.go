package document

import (
	"bytes"
	"iter"
)

// The functions here walk canonical text, which was checked when it was made.

// membersOf yields the members of an object: the key with its quotes, and the
// text of the value.
func membersOf(text []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for i := 1; i < len(text) && text[i] != '}'; i++ {
			k := skip(text, i)
			v := skip(text, k+1)
			if !yield(text[i:k], text[k+1:v]) {
				return
			}
			if i = v; text[i] == '}' {
				return
			}
		}
	}
}

// elementsOf yields the texts of an array's elements.
func elementsOf(text []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := 1; i < len(text) && text[i] != ']'; i++ {
			v := skip(text, i)
			if !yield(text[i:v]) {
				return
			}
			if i = v; text[i] == ']' {
				return
			}
		}
	}
}

// skip returns the end of the value that begins at i.
func skip(text []byte, i int) int {
	depth := 0
	for {
		switch text[i] {
		case '"':
			i = skipString(text, i)
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			} else if depth < 0 { // the end of what a scalar stands in
				return i
			}
		case ',':
			if depth == 0 {
				return i
			}
		}
		if i++; i == len(text) {
			return i
		}
	}
}

// skipString returns the end of the string that begins at i.
func skipString(text []byte, i int) int {
	i++
	for {
		i += bytes.IndexAny(text[i:], `"\`)
		if text[i] == '"' {
			return i + 1
		}
		i += 2
	}
}

// TypeName names the type of a canonical JSON value as CouchDB's messages do: "object", "array", "string", "boolean",
// "null" or "number", and "undefined" for no text at all.
func TypeName(text []byte) string {
	if len(text) == 0 {
		return "undefined"
	}
	switch text[0] {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}
