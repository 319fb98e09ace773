package collate

// A string's key is the codes of its primary weights (see weights.go) and then
// what it is beside them, which also ends them, being less than any lead byte:
//
//	endCommon    nothing: all secondary and tertiary weights are common, and
//	             there is one of each for every primary weight
//	endTertiary  the same of the secondary weights, and the tertiary ones
//	endLevels    the secondary and the tertiary weights
//
// Nothing is less than the common weights, and there are never fewer of them
// than of primary weights: so these three are in the order of what they stand
// for.
const (
	endCommon = iota
	endTertiary
	endLevels
)

// Within secondary and tertiary weights the common ones are counted, not
// written. A run that ends its level is followed by less than a common weight,
// and is less than any run that a greater weight follows; of two runs that end
// their levels the shorter is less, of two that greater weights follow the longer.
const (
	// Secondary weights: a run is one byte or more, a weight one or two.
	runMore      = 0x7F // maxRun common weights of a last run, more to come
	runLast      = 0x01 // plus up to maxRun-1: the last run of the level
	runHigher    = 0xFE // minus up to maxRun-1: a run, then a greater weight
	runHigherMax = 0x80 // maxRun common weights, more to come before a greater weight
	maxRun       = 0x7D

	// longSecondary starts the secondary weights of two bytes, those from
	// longSecondary on: few marks of European alphabets, and none has 13 bits.
	longSecondary = 0xF0

	// Tertiary weights: a run and the weight of capitals that follows it are
	// one byte together, for they are by far the most; of the byte before and
	// after that a lesser or greater weight follows.
	caseLast      = 0x00 // plus up to maxCase-1: the last run of the level
	caseMore      = 0x3F // maxCase common weights of a last run, more to come
	caseHigherMax = 0x40 // maxCase common weights, more to come before a greater weight
	caseHigher    = 0xFC // minus up to 3*(maxCase-1): a run, then capitalTertiary
	maxCase       = 0x3F

	capitalTertiary = 0x08
)

// appendWeights appends a key of golang.org/x/text/collate in our format. That
// key has 2-byte primary weights (3 if the first has its highest bit set), 0 0,
// 2-byte secondary weights, 0 0, and 1-byte tertiary weights; weights are not 0.
func (c *codes) appendWeights(dst, key []byte) []byte {
	i, primaries := 0, 0
	for ; i+1 < len(key) && (key[i] != 0 || key[i+1] != 0); primaries++ {
		weight := uint32(key[i]&0x7F)<<8 | uint32(key[i+1])
		if key[i]&0x80 != 0 && i+2 < len(key) {
			weight = weight<<8 | uint32(key[i+2])
			i++
		}
		i += 2
		dst = c.appendPrimary(dst, weight)
	}
	i = min(i+2, len(key))
	start, plain := i, true
	for ; i+1 < len(key) && (key[i] != 0 || key[i+1] != 0); i += 2 {
		plain = plain && key[i] == 0 && key[i+1] <= commonSecondary
	}
	secondary, tertiary := key[start:i], key[min(i+2, len(key)):]
	if !plain || len(secondary) != 2*primaries {
		return appendTertiary(appendSecondary(append(dst, endLevels), secondary), tertiary)
	}
	plain = len(tertiary) == primaries
	for _, weight := range tertiary {
		plain = plain && weight <= commonTertiary
	}
	if !plain {
		return appendTertiary(append(dst, endTertiary), tertiary)
	}
	return append(dst, endCommon)
}

// appendSecondary appends secondary weights of 2 bytes each.
func appendSecondary(dst, weights []byte) []byte {
	run := 0
	for i := 0; i+1 < len(weights); i += 2 {
		high, low := weights[i], weights[i+1]
		if high == 0 && low <= commonSecondary {
			run++
			continue
		}
		for ; run >= maxRun; run -= maxRun {
			dst = append(dst, runHigherMax)
		}
		dst = append(dst, runHigher-byte(run))
		if high > 0 || low >= longSecondary {
			dst = append(dst, longSecondary|high)
		}
		dst = append(dst, low)
		run = 0
	}
	for ; run >= maxRun; run -= maxRun {
		dst = append(dst, runMore)
	}
	return append(dst, runLast+byte(run))
}

// appendTertiary appends tertiary weights of one byte each.
func appendTertiary(dst, weights []byte) []byte {
	run := 0
	for _, weight := range weights {
		if weight <= commonTertiary {
			run++
			continue
		}
		dst = appendCase(dst, run, weight)
		run = 0
	}
	return appendLastCase(dst, run)
}

// appendCase appends a run of common tertiary weights and the greater one that follows it.
func appendCase(dst []byte, run int, weight byte) []byte {
	for ; run >= maxCase; run -= maxCase {
		dst = append(dst, caseHigherMax)
	}
	code := caseHigher - 3*byte(run)
	switch {
	case weight == capitalTertiary:
		return append(dst, code)
	case weight < capitalTertiary:
		return append(dst, code-1, weight)
	default:
		return append(dst, code+1, weight)
	}
}

// appendLastCase appends a run of common tertiary weights that ends them.
func appendLastCase(dst []byte, run int) []byte {
	for ; run >= maxCase; run -= maxCase {
		dst = append(dst, caseMore)
	}
	return append(dst, caseLast+byte(run))
}

// skipString returns the end of a string's weights, or an index past the end of
// the key if that was cut.
func (c *codes) skipString(key []byte, i int) int {
	for i < len(key) {
		switch size := c.sizes[key[i]]; size {
		case 0:
			switch key[i] {
			case endCommon:
				return i + 1
			case endTertiary:
				return skipTertiary(key, i+1)
			}
			return skipTertiary(key, skipSecondary(key, i+1))
		case 1: // apart from the rest: the processor guesses it, and need not wait for the size
			i++
		default:
			i += int(size)
		}
	}
	return len(key) + 1
}

func skipSecondary(key []byte, i int) int {
	for i < len(key) {
		switch c := key[i]; {
		case c == runMore, c == runHigherMax:
			i++
		case c < runMore:
			return i + 1
		case i+1 < len(key) && key[i+1] >= longSecondary:
			i += 3
		default:
			i += 2
		}
	}
	return len(key) + 1
}

func skipTertiary(key []byte, i int) int {
	for i < len(key) {
		switch c := key[i]; {
		case c == caseMore, c == caseHigherMax:
			i++
		case c < caseMore:
			return i + 1
		case (caseHigher-int(c))%3 == 0:
			i++
		default:
			i += 2
		}
	}
	return len(key) + 1
}
