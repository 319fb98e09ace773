package script

import (
	"strings"

	"github.com/dop251/goja"
)

// untouched returns the text of an object or array of a document that is as it
// was fed, if it can be written from that.
func (e *encoder) untouched(o *goja.Object) (string, bool) {
	if e.plain {
		return "", false
	}
	var text string
	if x, ok := lazyObjectOf(o); ok && !x.mutable {
		text = x.text
	} else if x, ok := lazyArrayOf(o); ok && !x.mutable {
		text = x.text
	} else {
		return "", false
	}
	// Prototypes may have got a toJSON; objects within the text may have one,
	// too, but no function.
	if v := e.m.guard.arrays.Get("toJSON"); v != nil && !goja.IsUndefined(v) {
		return "", false
	}
	return text, true
}

// copy appends the canonical text of the value at i as if it had been read into
// JavaScript and written again: numbers are what JavaScript makes of them, and
// members that look like array indexes would come first; false if that asks for
// more than copying. It returns the index behind the value.
func (e *encoder) copy(b []byte, s string, i int) ([]byte, int, bool) {
	e.room(b, len(s)-i)
	depth := 0
	for i < len(s) {
		switch c := s[i]; c {
		case '{', '[':
			depth++
			b = append(b, c)
			i++
		case '}', ']':
			depth--
			b = append(b, c)
			i++
			if depth == 0 {
				return b, i, true
			}
		case ',', ':':
			b = append(b, c)
			i++
		case ' ', '\n', '\t', '\r':
			i++
		case '"':
			end, _ := skipString(s, i)
			if end < len(s) && s[end] == ':' && i+1 < end && '0' <= s[i+1] && s[i+1] <= '9' {
				if _, index := arrayIndex(s[i+1 : end-1]); index {
					return b, i, false
				}
			}
			b = append(b, s[i:end]...)
			i = end
		default:
			end := skipValue(s, i)
			if end == i {
				return b, i, false
			}
			raw := s[i:end]
			if c == '-' || '0' <= c && c <= '9' {
				if len(raw) <= 15 && raw != "-0" && !strings.ContainsAny(raw, ".eE") {
					b = append(b, raw...)
				} else {
					b = e.number(b, e.m.feedNumber(raw))
				}
			} else {
				b = append(b, raw...)
			}
			i = end
		}
		if depth == 0 {
			return b, i, true
		}
	}
	return b, i, false
}
