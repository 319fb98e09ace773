// Package collate orders JSON texts as CouchDB orders the keys of its views,
// and turns them into bytes that a key-value store sorts in the same order.
//
// There are two orders. The usual one is
//
//	null < false < true < numbers < strings < arrays < objects
//
// with strings in the order of the Unicode Collation Algorithm's root
// collation, so that "é" written with one rune or with two is the same string
// and "a" < "A" < "b". The raw one, CouchDB's options.collation "raw", is the
// order of Erlang's terms:
//
//	numbers < false < null < true < objects < arrays < strings
//
// with strings compared byte by byte. In both, numbers are compared by their
// exact value (1 equals 1.0, and 9007199254740993 is greater than
// 9007199254740992.0), arrays member by member, and objects member by member
// in the order written, first the name and then the value; of two that agree
// as far as they go the shorter is less.
//
// [Compare] and [CompareRaw] take JSON texts, [AppendKey] and [AppendRawKey]
// make sortable bytes of them: bytes.Compare of two keys is what the
// comparison of their texts gives. Keys are self-delimiting, that is, none is
// a proper prefix of another, so they can be joined; their first byte is
// neither 0x00 nor 0xFF, which leaves room for bounds before and after all of
// them.
//
// # Texts
//
// All functions expect valid JSON, as checked when it entered the server.
// White space is allowed. Of anything else they make some order without
// failing: nothing here panics, recurses, or takes more than linear time and
// memory.
//
// # Key format
//
// A key is a sequence of tokens, each starting with a byte that names its
// type; the tags' values follow the order of types.
//
//	null, false, true   the tag alone
//	zero                the tag alone
//	other numbers       tag for the sign, 2 bytes of binary exponent, then the
//	                    mantissa from its highest bit down, 7 bits a byte with
//	                    the lowest bit saying whether more follow; everything
//	                    after the tag is inverted for negative numbers
//	string              tag, a code of 1 byte for the primary weight of every
//	                    character of ASCII and of 2 or 3 for others (see
//	                    weights.go), then 0x00 if nothing else is to say, or 0x01
//	                    and tertiary weights, or 0x02 and secondary and tertiary
//	                    weights, each run-length coded (see levels.go);
//	                    raw: the bytes with 0x00 as 0x00 0x01, then 0x00 0x00
//	array, object       tag, the members' tokens, 0x00
//
// The format, and the collation it came from, is named by [Version].
package collate

import (
	"bytes"

	"golang.org/x/text/collate"
)

// Version names the order of keys and their format. Whoever stores keys must
// record it beside them, and build them anew if it has changed: the Unicode
// tables are those of an old CLDR and a later version will have newer ones.
const Version = "2/cldr-" + collate.CLDRVersion

// The tags of both orders. A token's first byte also decides between values of
// different types, so the numbers must follow the order of types.
const (
	tagEnd = 0x00

	tagNull     = 0x08
	tagFalse    = 0x10
	tagTrue     = 0x18
	tagNegative = 0x20
	tagZero     = 0x21
	tagPositive = 0x22
	tagString   = 0x30
	tagArray    = 0x40
	tagObject   = 0x50

	rawNegative = 0x08
	rawZero     = 0x09
	rawPositive = 0x0A
	rawFalse    = 0x10
	rawNull     = 0x18
	rawTrue     = 0x20
	rawObject   = 0x30
	rawArray    = 0x40
	rawString   = 0x50
)

// order is what the two orders differ in.
type order struct {
	// rank gives, by a token's first byte, its tag (that of zero for numbers):
	// tagEnd for closing brackets and for bytes that start no token.
	rank [256]byte
	// tags of numbers.
	negative, zero, positive byte
	// raw says that strings are compared byte by byte.
	raw bool
}

var (
	collated = order{
		rank:     ranks(tagNull, tagFalse, tagTrue, tagZero, tagString, tagArray, tagObject),
		negative: tagNegative, zero: tagZero, positive: tagPositive,
	}
	raw = order{
		rank:     ranks(rawNull, rawFalse, rawTrue, rawZero, rawString, rawArray, rawObject),
		negative: rawNegative, zero: rawZero, positive: rawPositive,
		raw: true,
	}
)

func ranks(null, no, yes, number, text, array, object byte) (r [256]byte) {
	r['n'], r['f'], r['t'] = null, no, yes
	r['"'], r['['], r['{'] = text, array, object
	for _, c := range []byte("-0123456789") {
		r[c] = number
	}
	return r
}

// Compare says whether the JSON text a is less than (-1), equal to (0) or
// greater than (+1) b in the order of CouchDB's views. Texts of different
// spelling may be equal: 1 and 1.0, or "é" composed and decomposed.
//
// It is safe for concurrent use, and allocates only for strings with runes
// beyond ASCII or with escapes, rarely.
func Compare(a, b []byte) int { return collated.compare(a, b) }

// CompareRaw compares as Compare does, but in the order of Erlang's terms.
func CompareRaw(a, b []byte) int { return raw.compare(a, b) }

// compare walks both texts side by side. What was read of them so far is
// equal, so both are always at the same place of the same structure, and a
// depth is all that needs to be remembered.
func (o *order) compare(a, b []byte) int {
	var i, j, depth int
	for {
		i, j = skipSeparators(a, i), skipSeparators(b, j)
		ra, rb := o.rankAt(a, i), o.rankAt(b, j)
		if ra != rb {
			if ra < rb {
				return -1
			}
			return 1
		}
		switch c := at(a, i); {
		case ra == tagEnd:
			depth--
			i, j = i+1, j+1
		case c == '[' || c == '{':
			depth++
			i, j = i+1, j+1
		case c == '"':
			ea, eb := stringEnd(a, i), stringEnd(b, j)
			if d := o.compareStrings(a[i:ea], b[j:eb]); d != 0 {
				return d
			}
			i, j = ea, eb
		case ra == o.zero:
			ea, eb := wordEnd(a, i), wordEnd(b, j)
			if d := compareNumbers(a[i:ea], b[j:eb]); d != 0 {
				return d
			}
			i, j = ea, eb
		default: // null, false and true are decided by their rank
			i, j = wordEnd(a, i), wordEnd(b, j)
		}
		if depth <= 0 {
			return 0
		}
	}
}

func (o *order) compareStrings(a, b []byte) int {
	if bytes.Equal(a, b) {
		return 0
	}
	if o.raw {
		return compareRawStrings(a, b)
	}
	return compareStrings(a, b)
}

func (o *order) rankAt(text []byte, i int) byte {
	if i < len(text) {
		return o.rank[text[i]]
	}
	return tagEnd
}
