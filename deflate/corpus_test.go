package deflate_test

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

// sample is an input for which testdata/zlib.txt holds zlib's output. Its bytes
// depend on its name alone, on every machine and Go version.
type sample struct {
	name string
	data []byte
}

// random is splitmix64: the samples must outlive changes of math/rand.
type random struct{ state uint64 }

func newRandom(name string) *random {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return &random{state: h.Sum64()}
}

func (r *random) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (r *random) below(n int) int { return int(r.next() % uint64(n)) }

// skewed returns a number below n, small ones more often.
func (r *random) skewed(n int) int { return r.below(r.below(n) + 1) }

var kindNames = []string{"noise", "zeros", "coins", "nucleus", "sixbit", "period", "prose", "json", "records", "copies"}

// kinds make about n bytes each, never fewer.
var kinds = map[string]func(r *random, n int) []byte{
	"noise": func(r *random, n int) []byte {
		b := make([]byte, 0, n+8)
		for len(b) < n {
			b = binary.LittleEndian.AppendUint64(b, r.next())
		}
		return b
	},
	"zeros":   func(_ *random, n int) []byte { return make([]byte, n) },
	"coins":   func(r *random, n int) []byte { return letters(r, n, 2) },
	"nucleus": func(r *random, n int) []byte { return letters(r, n, 4) },
	"sixbit":  func(r *random, n int) []byte { return letters(r, n, 64) },
	// One long period of noise, in and out of the window's reach.
	"period": func(r *random, n int) []byte {
		b := make([]byte, n)
		p := 1 + r.below(40000)
		for i := range b {
			if b[i] = byte(r.next()); i >= p {
				b[i] = b[i-p]
			}
		}
		return b
	},
	"prose": func(r *random, n int) []byte {
		words := vocabulary(r, 3000)
		var b []byte
		for len(b) < n {
			for i := range 4 + r.below(14) {
				word := words[r.skewed(len(words))]
				if i == 0 {
					word = strings.ToUpper(word[:1]) + word[1:]
				} else {
					b = append(b, ' ')
				}
				b = append(b, word...)
			}
			b = append(b, ". \n"[r.below(2):][:2]...)
		}
		return b
	},
	"json": func(r *random, n int) []byte {
		words := vocabulary(r, 200)
		b := []byte("[")
		for i := 0; len(b) < n; i++ {
			b = fmt.Appendf(b, `{"_id":"%016x","type":%q,"count":%d,"tags":[%q,%q],"ok":%t},`,
				r.next(), words[r.below(5)], r.skewed(10000), words[r.skewed(200)], words[r.skewed(200)], i%3 == 0)
		}
		return b
	},
	// Records of machine words, like an image or a column of samples.
	"records": func(r *random, n int) []byte {
		var b []byte
		x, y := uint32(r.next()), uint32(0)
		for len(b) < n {
			x += uint32(r.below(900))
			y ^= uint32(1) << r.below(32)
			b = binary.LittleEndian.AppendUint32(b, x)
			b = binary.BigEndian.AppendUint32(b, y)
			b = append(b, 0, 0, byte(r.skewed(256)))
		}
		return b
	},
	// Copies of all lengths from all distances, with noise between.
	"copies": func(r *random, n int) []byte {
		b := []byte{1}
		for len(b) < n {
			for range r.skewed(20) {
				b = append(b, byte(r.next()))
			}
			b = appendCopy(b, 1+r.below(min(len(b), 1<<(1+r.below(16)))), 3+r.below(1<<r.below(10)))
		}
		return b
	},
}

// mixed changes its kind again and again.
func mixed(r *random, n int) []byte {
	var b []byte
	for len(b) < n {
		b = append(b, kinds[kindNames[r.below(len(kindNames))]](r, 1<<r.below(18))...)
	}
	return b
}

func letters(r *random, n, alphabet int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(' ' + r.below(alphabet))
	}
	return b
}

func vocabulary(r *random, n int) []string {
	words := make([]string, n)
	for i := range words {
		words[i] = string(appendWord(nil, r))
	}
	return words
}

func appendWord(b []byte, r *random) []byte {
	const vowels, consonants = "aeiouy", "bcdfghklmnprstvw"
	for range 1 + r.skewed(5) {
		b = append(b, consonants[r.skewed(len(consonants))], vowels[r.skewed(len(vowels))])
	}
	return b
}

func appendCopy(b []byte, distance, length int) []byte {
	for range length {
		b = append(b, b[len(b)-distance])
	}
	return b
}

// linked has ten bytes at position 65274 that occur before at the longest
// distance back and nowhere else. Position 65274 is where the window slides if the input ends within the
// next 261 bytes, and what is then that far back cannot be matched any more.
func linked(r *random, n int) []byte {
	b := letters(r, n, 64)
	const mark = "\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89"
	copy(b[65274:], mark)
	copy(b[65274-32506:], mark)
	return b
}

// reaching repeats strings of 3 to 6 bytes from the given distance.
func reaching(r *random, distance int) []byte {
	b := kinds["noise"](r, distance+100)
	for range 50 {
		b = appendCopy(b, distance, 3+r.below(4))
		for range 1 + r.below(9) {
			b = append(b, byte(r.next()))
		}
	}
	return b
}

// steep uses the distance symbols 29, 28, 27... in its third block about twice
// as often as Fibonacci's numbers say, frequencies that make a tree as deep as
// can be: from 17 symbols on too deep for DEFLATE. Each copy is of a string seen
// once, so that no nearer one can be used.
func steep(r *random, symbolCount int) []byte {
	b := kinds["noise"](r, 33000)
	const twice = -1
	seen := map[uint32]int{} // where four bytes were seen
	note := func(from int) {
		for i := max(from-3, 0); i+4 <= len(b); i++ {
			key := binary.LittleEndian.Uint32(b[i:])
			if _, again := seen[key]; again {
				seen[key] = twice
			} else {
				seen[key] = i
			}
		}
	}
	note(0)
	counts := []int{1, 1, 2, 4}
	for i := len(counts); i < symbolCount; i++ {
		counts = append(counts, counts[i-1]+counts[i-2])
		if i > 8 {
			counts[i] += 6 // some copies turn out otherwise
		}
	}
	var symbols []int
	for i, count := range counts {
		symbols = append(symbols, slices.Repeat([]int{29 - i}, count)...)
	}
	for i := range symbols {
		j := i + r.below(len(symbols)-i)
		symbols[i], symbols[j] = symbols[j], symbols[i]
		extra := symbols[i]/2 - 1
		for range 100 {
			distance := 1 + (2+symbols[i]&1)<<extra + r.below(1<<extra)
			from := len(b) - distance
			if seen[binary.LittleEndian.Uint32(b[from:])] == from {
				old := len(b)
				b = append(appendCopy(b, distance, 4), byte(r.next()))
				note(old)
				break
			}
		}
	}
	return b
}

// walk repeats no three bytes but in copies from one distance, so that this is
// the only one used; with distance 0 none is.
func walk(r *random, distance int) []byte {
	b := []byte("start")
	seen := map[string]bool{}
	// grow takes over a longer b if its first two new strings are new indeed.
	grow := func(longer []byte) {
		from := len(b) - 2
		to := min(len(longer)-2, len(b))
		for i := from; i < to; i++ {
			if seen[string(longer[i:i+3])] {
				return
			}
		}
		b = longer
		for i := from; i < len(b)-2; i++ {
			seen[string(b[i:i+3])] = true
		}
	}
	for len(b) < 900 {
		if distance > 0 && r.below(12) == 0 {
			grow(appendCopy(b, distance, 3+r.below(6)))
		} else if next := byte('a' + r.below(20)); next != b[len(b)-1] {
			grow(append(b, next))
		}
	}
	return b
}

// corpus returns all samples.
func corpus() []sample {
	var all []sample
	add := func(kind string, n int, generate func(*random, int) []byte) {
		name := fmt.Sprintf("%s/%d", kind, n)
		all = append(all, sample{name: name, data: generate(newRandom(name), n)})
	}
	cut := func(f func(*random, int) []byte) func(*random, int) []byte {
		return func(r *random, n int) []byte { return f(r, n)[:n] }
	}
	for _, n := range []int{0, 1, 2, 3, 4, 5, 20, 257, 258, 259, 260, 261, 262, 263, 264} {
		add("zeros", n, cut(kinds["zeros"]))
		add("coins", n, cut(kinds["coins"]))
	}
	for _, name := range kindNames {
		for _, n := range []int{6, 300, 5000, 40000, 100000} {
			add(name, n, cut(kinds[name]))
		}
	}
	for _, n := range []int{16382, 16383, 16384, 32766, 32767, 32768} {
		add("noise", n, cut(kinds["noise"]))
	}
	for _, n := range []int{32505, 32506, 32507, 32768, 32769, 65273, 65274, 65275, 65535, 65536, 65537, 98303, 98304, 98305} {
		add("prose", n, cut(kinds["prose"]))
		add("copies", n, cut(kinds["copies"]))
	}
	for _, n := range []int{65290, 65400, 65535, 65536, 65537, 66000} {
		add("linked", n, cut(linked))
	}
	for _, distance := range []int{4095, 4096, 4097, 32505, 32506, 32507} {
		add("reaching", distance, reaching)
	}
	for distance := range 5 {
		add("walk", distance, walk)
	}
	for n := 15; n <= 17; n++ {
		add("steep", n, steep)
	}
	// At these sizes two forms of the block take the same number of bytes.
	for name, sizes := range map[string][]int{
		"noise":   {33, 35, 40, 50},
		"sixbit":  {85, 98, 110},
		"json":    {79, 98, 150},
		"records": {224, 285, 378},
	} {
		for _, n := range sizes {
			add(name, n, cut(kinds[name]))
		}
	}
	add("mixed", 2200000, cut(mixed))
	return all
}
