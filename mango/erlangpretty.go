package mango

// erlangPretty prints a JSON value the way CouchDB's errors about sorting do: as
// erlangTerm, but as ~p writes it, with binaries and lists of printable bytes
// as text. Erlang would break lines longer than 80 columns; this does not.
func erlangPretty(json []byte) string { return clipTerm(appendPretty, json) }

// appendPretty recurses as deep as the value is nested, which clipTerm bounds.
func appendPretty(dst, json []byte) []byte {
	if len(dst) > maxReason {
		return dst
	}
	switch kindOf(json) {
	case kindString:
		return appendPrettyBinary(dst, unquote(nil, json))
	case kindArray:
		if text, ok := printableList(json); ok {
			return appendPrettyText(dst, text)
		}
		return appendList(dst, json, appendPretty)
	case kindObject:
		return appendObject(dst, json, appendPrettyBinary, appendPretty)
	}
	return appendErlang(dst, json)
}

func appendPrettyBinary(dst, s []byte) []byte {
	if len(s) == 0 || !printable(s) {
		return appendBinary(dst, s)
	}
	return append(appendPrettyText(append(dst, "<<"...), s), ">>"...)
}

// printableList returns the text that Erlang takes a list of small integers for.
// Bytes beyond ASCII are left as numbers, because they would make no UTF-8.
func printableList(array []byte) (text []byte, ok bool) {
	for element := range elements(array) {
		n, ok := readInteger(element)
		if !ok || !n.IsUint64() || n.Uint64() > 0x7E {
			return nil, false
		}
		text = append(text, byte(n.Uint64()))
	}
	return text, len(text) > 0 && printable(text)
}

// printable tells whether Erlang takes bytes for text, by default of Latin-1.
func printable(s []byte) bool {
	for _, c := range s {
		if c < 0x20 && (c < '\b' || c > '\r') && c != 0x1B || c >= 0x7F && c < 0xA0 {
			return false
		}
	}
	return true
}

// prettyEscapes are the letters that stand for control characters.
var prettyEscapes = map[byte]byte{'\b': 'b', '\t': 't', '\n': 'n', '\v': 'v', '\f': 'f', '\r': 'r', 0x1B: 'e', '"': '"', '\\': '\\'}

func appendPrettyText(dst, s []byte) []byte {
	dst = append(dst, '"')
	for _, c := range s {
		if letter, ok := prettyEscapes[c]; ok {
			dst = append(dst, '\\', letter)
		} else {
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
