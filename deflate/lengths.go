package deflate

// lengthRuns reads a code's lengths as the symbols of the length code: each
// length by itself, or a repetition. It calls emit for every symbol, with the
// value of its extra bits.
//
// The rules are zlib's and not the tightest: a run ends when it has reached the
// most one symbol can tell, and a run too short to be worth a repetition is
// sent length by length.
func lengthRuns(t *tree, emit func(symbol uint8, extra uint32)) {
	const (
		minRepeat, maxRepeat = 3, 6 // beside the length that is repeated
		minZeros, maxZeros   = 3, 138
		manyZeros            = 11 // from here on repeatZeros tells them, not repeatZero

		none = maxCodeLength + 1 // differs from every length
	)
	last := uint8(none)
	count := 0
	for n := 0; n <= t.max; n++ {
		length, next := t.codes[n].length, uint8(none)
		if n < t.max {
			next = t.codes[n+1].length
		}
		most, fewest := maxRepeat+1, minRepeat+1
		switch {
		case length == 0:
			most, fewest = maxZeros, minZeros
		case length == last:
			most, fewest = maxRepeat, minRepeat
		}
		count++
		if count < most && length == next {
			continue
		}
		switch {
		case count < fewest:
			for range count {
				emit(length, 0)
			}
		case length != 0:
			if length != last {
				emit(length, 0)
				count--
			}
			emit(repeatLast, uint32(count-minRepeat))
		case count < manyZeros:
			emit(repeatZero, uint32(count-minZeros))
		default:
			emit(repeatZeros, uint32(count-manyZeros))
		}
		count = 0
		last = length
	}
}
