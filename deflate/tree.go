package deflate

// maxNodes is the number of nodes of the largest tree: leaves and the inner
// nodes that join them.
const maxNodes = 2*literalSymbols - 1

// tree counts how often the symbols of one alphabet occur and makes the
// Huffman code for that.
type tree struct {
	freq  [fixedSymbols]uint16
	codes [fixedSymbols]code
	max   int // the largest symbol with a code, once built
}

func (t *tree) reset() { clear(t.freq[:]) }

// cost is what a block's symbols take, in bits, extra bits included.
type cost struct {
	dynamic int // in the codes built for the block, without those codes
	fixed   int // in the fixed codes
}

// treeBuilder is the space in which codes are built.
//
// A heap element packs a node's frequency, the height of its subtree and its
// number, from the highest bits down. Elements are compared without the number:
// of nodes equal in the rest either may count as the smaller, and which one does
// decides who gets which code. The order of every heap operation is therefore
// part of the format.
type treeBuilder struct {
	heap   [maxNodes + 1]uint64 // from index 1
	size   int
	sorted [maxNodes]uint16 // the nodes as they left the heap, from the end; the root comes first
	parent [maxNodes]uint16
	length [maxNodes]uint8
	counts [maxCodeLength + 1]uint16 // of symbols, by code length
}

const (
	heightShift = 16
	freqShift   = 32
	nodeMask    = 1<<heightShift - 1
	heightMask  = 1<<(freqShift-heightShift) - 1
)

func heapElement(freq, height uint64, node int) uint64 {
	return freq<<freqShift | height<<heightShift | uint64(node)
}

// smaller reports whether a is to leave the heap before b, or may.
func smaller(a, b uint64) bool { return a>>heightShift <= b>>heightShift }

// build makes t's code and adds to c what the counted symbols take in it.
func (b *treeBuilder) build(t *tree, a *alphabet, c *cost) {
	b.size = 0
	t.max = -1
	for n, f := range t.freq[:a.symbols] {
		t.codes[n] = code{}
		if f != 0 {
			t.max = n
			b.push(f, n)
		}
	}
	// A code must have two symbols at least: some decoders expect one distance
	// code, and a code of one symbol would have no length. The padding does not
	// occur, so it costs nothing in c; the frequency is there for the heap.
	for b.size < 2 {
		n := 0
		if t.max < 2 {
			t.max++
			n = t.max
		}
		b.push(1, n)
	}
	for k := b.size / 2; k >= 1; k-- {
		b.sink(k)
	}

	first := b.join(a.symbols)
	b.measure(t, a, first)
	for n, f := range t.freq[:t.max+1] {
		if f == 0 {
			continue
		}
		extra := 0
		if n >= a.extraFrom {
			extra = int(a.extra[n-a.extraFrom])
		}
		c.dynamic += int(f) * (int(t.codes[n].length) + extra)
		if a.fixed != nil {
			c.fixed += int(f) * (int(a.fixed[n].length) + extra)
		}
	}
	assignCodes(t.codes[:t.max+1])
}

// push appends a leaf, without restoring the heap's order.
func (b *treeBuilder) push(freq uint16, symbol int) {
	b.size++
	b.heap[b.size] = heapElement(uint64(freq), 0, symbol)
}

// sink restores the heap's order below k.
func (b *treeBuilder) sink(k int) {
	v := b.heap[k]
	for j := 2 * k; j <= b.size; j *= 2 {
		if j < b.size && smaller(b.heap[j+1], b.heap[j]) {
			j++
		}
		if smaller(v, b.heap[j]) {
			break
		}
		b.heap[k] = b.heap[j]
		k = j
	}
	b.heap[k] = v
}

// join takes the heap's nodes two by two and puts their new parent in, until
// the root is left. The parents are numbered from node on. It returns where
// sorted begins.
func (b *treeBuilder) join(node int) int {
	first := maxNodes
	for b.size >= 2 {
		x := b.heap[1]
		b.heap[1] = b.heap[b.size]
		b.size--
		b.sink(1)
		y := b.heap[1]

		first -= 2
		b.sorted[first+1], b.sorted[first] = uint16(x&nodeMask), uint16(y&nodeMask)
		b.parent[x&nodeMask], b.parent[y&nodeMask] = uint16(node), uint16(node)
		height := max(x>>heightShift&heightMask, y>>heightShift&heightMask) + 1
		b.heap[1] = heapElement(x>>freqShift+y>>freqShift, height, node)
		node++
		b.sink(1)
	}
	first--
	b.sorted[first] = uint16(b.heap[1] & nodeMask)
	return first
}

// measure sets the lengths of t's codes: the depths of the leaves, none longer
// than the alphabet allows.
func (b *treeBuilder) measure(t *tree, a *alphabet, first int) {
	clear(b.counts[:])
	overflow := 0 // nodes, inner ones too, that are too deep
	b.length[b.sorted[first]] = 0
	for _, n := range b.sorted[first+1:] {
		length := int(b.length[b.parent[n]]) + 1
		if length > a.maxLength {
			length = a.maxLength
			overflow++
		}
		b.length[n] = uint8(length)
		if int(n) < a.symbols {
			b.counts[length]++
			t.codes[n].length = uint8(length)
		}
	}
	if overflow == 0 {
		return
	}

	// Move a leaf one down, and a too deep one beside it: its sibling moves up
	// into their parent's place. Two too deep nodes are gone with that.
	for ; overflow > 0; overflow -= 2 {
		length := a.maxLength - 1
		for b.counts[length] == 0 {
			length--
		}
		b.counts[length]--
		b.counts[length+1] += 2
		b.counts[a.maxLength]--
	}
	// Hand the lengths out anew, the longest to those that left the heap first.
	k := maxNodes
	for length := a.maxLength; length > 0; length-- {
		for left := b.counts[length]; left > 0; {
			k--
			if n := b.sorted[k]; int(n) < a.symbols {
				t.codes[n].length = uint8(length)
				left--
			}
		}
	}
}
