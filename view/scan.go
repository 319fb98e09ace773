package view

import "bytes"

// The functions here walk over JSON texts that were checked when they were made: by the script engine, or by a reducer.
// Of other texts they make something, without failing.

// elements calls yield with the text of each element of an array.
func elements(array []byte, yield func(element []byte) bool) {
	for i := 1; i < len(array); i++ {
		if i = skipSpace(array, i); i >= len(array) || array[i] == ']' {
			return
		}
		end := skipValue(array, i)
		if !yield(bytes.TrimRight(array[i:end], " \t\r\n")) {
			return
		}
		if i = skipSpace(array, end); i >= len(array) || array[i] == ']' {
			return
		}
	}
}

// member is a member of an object: its name with quotes, and its value.
type member struct{ name, value []byte }

// members returns the members of an object as they were written.
func members(object []byte) []member {
	var list []member
	for i := 1; i < len(object); i++ {
		if i = skipSpace(object, i); i >= len(object) || object[i] == '}' {
			break
		}
		colon := skipSpace(object, skipValue(object, i))
		name := bytes.TrimRight(object[i:min(colon, len(object))], " \t\r\n")
		start := skipSpace(object, min(colon+1, len(object)))
		end := skipValue(object, start)
		list = append(list, member{name, bytes.TrimRight(object[start:end], " \t\r\n")})
		if i = skipSpace(object, end); i >= len(object) || object[i] == '}' {
			break
		}
	}
	return list
}

func skipSpace(s []byte, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns the end of the value that begins at i, or for scalars that of the white space behind it.
func skipValue(s []byte, i int) int {
	for depth := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			if i = skipString(s, i); depth == 0 {
				return i
			}
			i--
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ':':
			if depth == 0 {
				return i
			}
		}
	}
	return len(s)
}

// skipString returns the end of the string that begins at i.
func skipString(s []byte, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}
