package collate

// AppendKey appends the sortable bytes of a JSON text to dst: bytes.Compare of
// two keys equals Compare of their texts, equal texts have equal keys. See the
// package comment for the format, and Version for its life time.
//
// Keys cannot be turned back into texts. ASCII strings take a byte a character
// and 2 more, with capitals 3 more and one for each; integers of up to seven
// digits 4 to 7, floats up to 11.
func AppendKey(dst, json []byte) []byte { return collated.appendKey(dst, json) }

// AppendRawKey appends the sortable bytes of a JSON text in raw order, that of
// CompareRaw. Raw keys and those of AppendKey are not comparable.
func AppendRawKey(dst, json []byte) []byte { return raw.appendKey(dst, json) }

func (o *order) appendKey(dst, text []byte) []byte {
	var i, depth int
	for {
		i = skipSeparators(text, i)
		rank := o.rankAt(text, i)
		switch c := at(text, i); {
		case rank == tagEnd:
			dst = append(dst, tagEnd)
			depth--
			i++
		case c == '[' || c == '{':
			dst = append(dst, rank)
			depth++
			i++
		case c == '"':
			dst = append(dst, rank)
			if o.raw {
				end := stringEnd(text, i)
				dst = appendRawStringKey(dst, text[i:end])
				i = end
			} else {
				dst, i = appendStringKey(dst, text, i)
			}
		case rank == o.zero:
			end := wordEnd(text, i)
			dst = o.appendNumber(dst, text[i:end])
			i = end
		default:
			dst = append(dst, rank)
			i = wordEnd(text, i)
		}
		if depth <= 0 {
			return dst
		}
	}
}
