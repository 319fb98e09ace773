package view

import (
	"encoding/json"
	"strconv"
	"strings"
)

// maxTerm is how long a value in an error message may get.
const maxTerm = 1000

// formatTerm prints a JSON value as Erlang does, which is how CouchDB's messages show values. Strings are lists of
// bytes, or text if pretty is set and they are ASCII.
func formatTerm(value []byte, pretty bool) string {
	var b strings.Builder
	writeTerm(&b, value, pretty)
	return cutTerm(b.String())
}

// formatProperties prints the members of an object as Erlang prints the list that they are in CouchDB.
func formatProperties(list []member, pretty bool) string {
	var b strings.Builder
	writeProperties(&b, list, pretty)
	return cutTerm(b.String())
}

func cutTerm(s string) string {
	if len(s) > maxTerm {
		return s[:maxTerm] + "..."
	}
	return s
}

func writeTerm(b *strings.Builder, value []byte, pretty bool) {
	if len(value) == 0 || b.Len() > maxTerm {
		return
	}
	switch value[0] {
	case '"':
		writeBinary(b, value, pretty)
	case '[':
		b.WriteByte('[')
		first := true
		elements(value, func(e []byte) bool {
			if !first {
				b.WriteByte(',')
			}
			first = false
			writeTerm(b, e, pretty)
			return b.Len() <= maxTerm
		})
		b.WriteByte(']')
	case '{':
		b.WriteByte('{')
		writeProperties(b, members(value), pretty)
		b.WriteByte('}')
	default:
		b.Write(value)
	}
}

func writeProperties(b *strings.Builder, list []member, pretty bool) {
	b.WriteByte('[')
	for i, m := range list {
		if b.Len() > maxTerm {
			break
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('{')
		writeBinary(b, m.name, pretty)
		b.WriteByte(',')
		writeTerm(b, m.value, pretty)
		b.WriteByte('}')
	}
	b.WriteByte(']')
}

// writeBinary prints a string: <<"text">> or <<116,101,120,116>>.
func writeBinary(b *strings.Builder, token []byte, pretty bool) {
	var s string
	if json.Unmarshal(token, &s) != nil {
		return
	}
	printable := pretty && s != ""
	for i := range len(s) {
		printable = printable && s[i] >= ' ' && s[i] < 0x7f
	}
	b.WriteString("<<")
	if printable {
		b.WriteString(strconv.Quote(s))
	} else {
		for i := range min(len(s), maxTerm) {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strconv.Itoa(int(s[i])))
		}
	}
	b.WriteString(">>")
}
