package collate

import (
	"slices"
	"sync"

	"golang.org/x/text/collate"
	"golang.org/x/text/language"
)

// The weights of golang.org/x/text's root collation. Every character has a
// primary weight of up to 21 bits, or none if it is ignored; secondary weights
// (accents) and tertiary ones (case) are nearly always the common ones, which
// are the least of their level. What has a primary weight has a secondary one,
// and what has a secondary weight a tertiary one.
const (
	commonSecondary = 0x20
	commonTertiary  = 0x02
)

// Primary weights are written as a lead byte, which stands for a range of
// weights, and the distance from the first weight of that range in as many
// bytes as the range needs. The ranges follow one another from weight 1 up, so
// the order stays; and the lead byte tells the size, so no code begins another.
//
// Each weight that a character of ASCII has is a range of its own and takes the
// lead byte alone. What lies between those, below them and above them up to
// twoByteLimit is cut into ranges of 256 weights and takes 2 bytes: the other
// alphabets, punctuation and symbols. The rest, Chinese characters and those
// that Unicode 6.2 had not assigned, takes 3.
const (
	firstLead = endLevels + 1

	// twoByteLimit is above all weights of x/text that are not computed from a
	// code point (they end at 0x432A). A greater one leaves too few lead bytes.
	twoByteLimit = 0x5000

	primaryBits = 21
)

// char is what there is to know of a byte within a string: the code of its
// primary weight in the lowest 8 bits, how far its tertiary weight is above the
// common one in the next 5, and then, for those that are not written as such,
// what they are.
type char uint16

const (
	tertiaryShift = 8
	tertiaryBits  = 5

	// firstCased is the least that has more to say than a primary code.
	firstCased char = 1 << tertiaryShift
	// ignored have no weights.
	ignored char = 1 << (tertiaryShift + tertiaryBits)
	// syntax are the quote and the backslash, which mean something else before
	// the string's escapes are replaced. They have weights.
	syntax char = ignored << 1
	// beyond are bytes of characters beyond ASCII, whose weights depend on
	// their neighbours.
	beyond char = syntax << 1
)

// special says whether the char is not to be written as it stands in JSON.
func (c char) special() bool { return c >= ignored }

func (c char) tertiary() byte {
	return byte(c>>tertiaryShift)&(1<<tertiaryBits-1) + commonTertiary
}

// codes is how weights are written.
type codes struct {
	chars [256]char
	// sizes of the codes of primary weights, by lead byte; 0 for the bytes that
	// end them.
	sizes [256]uint8
	// first weights of the lead bytes' ranges.
	first [256]uint32
	// leads are the lead bytes of weights below twoByteLimit.
	leads [twoByteLimit]uint8
	// longLead is that of greater ones below 0x10000, and followed by those of
	// the weights from 0x10000, 0x20000 and so on.
	longLead uint8
}

// weightRange is the primary weights that share a lead byte. It ends where the
// next one begins.
type weightRange struct {
	first uint32
	size  uint8 // of the code: 1, 2 or 3
}

// weight is that of a character of ASCII.
type weight struct {
	primary  uint32 // 0 if the character is ignored
	tertiary byte
	complex  bool // anything but one element with a common secondary weight
}

var (
	tableOnce  sync.Once
	tableCodes *codes
)

// table returns the codes of x/text's weights. It is called for every string:
// the compiler puts its first line in place, unlike a call of sync.OnceValue's.
func table() *codes {
	tableOnce.Do(fillTable)
	return tableCodes
}

func fillTable() { tableCodes = newCodes(asciiWeights()) }

// asciiWeights asks x/text. That characters of ASCII take part in no contraction
// with one another cannot be asked for; TestASCIIWeights checks it.
func asciiWeights() (weights [128]weight) {
	c := collate.New(language.Und)
	var buf collate.Buffer
	for i := range weights {
		buf.Reset()
		key := c.Key(&buf, []byte{byte(i)})
		switch {
		// Primary weight, 0 0, secondary weight, 0 0, tertiary weight.
		case len(key) == 9 && key[4] == 0 && key[5] == commonSecondary && key[8] >= commonTertiary:
			weights[i] = weight{primary: uint32(key[0])<<8 | uint32(key[1]), tertiary: key[8]}
		case len(key) > 4:
			weights[i].complex = true
		}
	}
	return weights
}

// newCodes makes codes that suit characters of such weights. They are right for
// any weights; short, and fast for ASCII, for those that x/text has.
func newCodes(weights [128]weight) *codes {
	var single []uint32
	for _, w := range weights {
		if w.primary != 0 && w.primary < twoByteLimit {
			single = append(single, w.primary)
		}
	}
	slices.Sort(single)
	ranges := weightRanges(slices.Compact(single))
	if len(ranges) > 256-firstLead {
		ranges = weightRanges(nil)
	}
	c := new(codes)
	c.setRanges(ranges)
	for i := range c.chars {
		c.chars[i] = beyond
	}
	for i, w := range weights {
		if w.complex {
			continue
		}
		if w.primary == 0 {
			c.chars[i] = ignored
			continue
		}
		code := c.appendPrimary(nil, w.primary)
		above := w.tertiary - commonTertiary
		if len(code) == 1 && above < 1<<tertiaryBits {
			c.chars[i] = char(code[0]) | char(above)<<tertiaryShift
		}
	}
	c.chars['"'] |= syntax
	c.chars['\\'] |= syntax
	return c
}

func (c *codes) setRanges(ranges []weightRange) {
	for lead := firstLead; lead < len(c.sizes); lead++ {
		c.sizes[lead] = 1 // keys that have been damaged may have any bytes
	}
	for i, r := range ranges {
		lead := uint8(firstLead + i)
		c.sizes[lead], c.first[lead] = r.size, r.first
		if r.first >= twoByteLimit {
			if c.longLead == 0 {
				c.longLead = lead
			}
			continue
		}
		for weight := r.first; weight < min(ranges[i+1].first, twoByteLimit); weight++ {
			c.leads[weight] = lead
		}
	}
}

// weightRanges divides all primary weights, with a range for each of the single
// ones, which ascend and are less than twoByteLimit.
func weightRanges(single []uint32) (ranges []weightRange) {
	next := uint32(1)
	fill := func(end uint32) {
		for ; next < end; next += 256 {
			ranges = append(ranges, weightRange{next, 2})
		}
		next = end
	}
	for _, w := range single {
		fill(w)
		ranges = append(ranges, weightRange{w, 1})
		next = w + 1
	}
	fill(twoByteLimit)
	for ; next < 1<<primaryBits; next = (next>>16 + 1) << 16 {
		ranges = append(ranges, weightRange{next, 3})
	}
	return ranges
}

// appendPrimary appends the code of a primary weight, which is not 0.
func (c *codes) appendPrimary(dst []byte, primary uint32) []byte {
	var lead uint8
	if primary < twoByteLimit {
		lead = c.leads[primary]
	} else {
		lead = c.longLead + uint8(primary>>16)
	}
	distance := primary - c.first[lead]
	switch c.sizes[lead] {
	case 1:
		return append(dst, lead)
	case 2:
		return append(dst, lead, byte(distance))
	default:
		return append(dst, lead, byte(distance>>8), byte(distance))
	}
}
