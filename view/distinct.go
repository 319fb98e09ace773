package view

import (
	"context"
	"crypto/sha1"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// distinctReducer is _approx_count_distinct: a HyperLogLog over the keys with 2^11 registers, with the hash that
// CouchDB takes, so that up to some 1,800 distinct keys, and from some 10,000 on, the numbers are the same. Between
// them CouchDB corrects its estimate with a table, and here it comes from Ertl's estimator ("New cardinality estimation
// algorithms for HyperLogLog sketches", 2017), which needs none.
type distinctReducer struct{}

const (
	precision     = 11
	registerCount = 1 << precision
	maxRun        = 64 - precision
	// linearLimit is up to where CouchDB counts the registers that are empty.
	linearLimit = 1800
)

// registers of a HyperLogLog: the longest run of zeros seen in hashes that begin with a register's number, plus one.
type registers [registerCount]byte

func (distinctReducer) Reduce(_ context.Context, rows []storage.IndexRow) ([]byte, error) {
	var r registers
	var last []byte
	for i := range rows {
		key := rowKey(rows[i].Value)
		if i > 0 && string(key) == string(last) {
			continue
		}
		last = key
		term, err := document.Term(key)
		if err != nil {
			return appendFailure(nil, "invalid_value", "a key is no JSON"), nil
		}
		r.add(sha1.Sum(term))
	}
	return r.append(nil), nil
}

func (distinctReducer) Rereduce(_ context.Context, parts [][]byte) ([]byte, error) {
	if failure, ok := firstFailure(parts); ok {
		return failure, nil
	}
	var r registers
	for _, p := range parts {
		r.merge(parseRegisters(p))
	}
	return r.append(nil), nil
}

func (r *registers) add(hash [sha1.Size]byte) {
	n := binary.BigEndian.Uint64(hash[:])
	i := n >> maxRun
	run := byte(min(bits.LeadingZeros64(n<<precision), maxRun)) + 1
	r[i] = max(r[i], run)
}

func (r *registers) merge(s *registers) {
	for i, v := range s {
		r[i] = max(r[i], v)
	}
}

// The forms of registers: a tag, and all of them, or the number in 2 bytes and the value of those that are not zero.
const (
	denseTag  = 'd'
	sparseTag = 's'
)

func (r *registers) append(b []byte) []byte {
	n := 0
	for _, v := range r {
		if v > 0 {
			n++
		}
	}
	if 3*n >= registerCount {
		return append(append(b, denseTag), r[:]...)
	}
	b = append(slices.Grow(b, 1+3*n), sparseTag)
	for i, v := range r {
		if v > 0 {
			b = append(b, byte(i>>8), byte(i), v)
		}
	}
	return b
}

func parseRegisters(b []byte) *registers {
	var r registers
	switch {
	case len(b) == 1+registerCount && b[0] == denseTag:
		copy(r[:], b[1:])
	case len(b) > 0 && b[0] == sparseTag:
		for b = b[1:]; len(b) >= 3; b = b[3:] {
			r[binary.BigEndian.Uint16(b)%registerCount] = b[2]
		}
	}
	return &r
}

// estimate returns how many distinct hashes there were, about.
func (r *registers) estimate() uint64 {
	const m = float64(registerCount)
	var counts [maxRun + 2]float64 // registers by value
	for _, v := range r {
		counts[min(int(v), maxRun+1)]++
	}
	if zeros := counts[0]; zeros > 0 {
		if linear := m * math.Log(m/zeros); linear <= linearLimit {
			return uint64(math.Round(linear))
		}
	}
	var sum float64
	for v, n := range counts {
		sum += n * math.Ldexp(1, -v)
	}
	if raw := 0.7213 / (1 + 1.079/m) * m * m / sum; raw > 5*m {
		return uint64(math.Round(raw))
	}
	// Ertl's estimator.
	z := m * tau(1-counts[maxRun+1]/m)
	for v := maxRun; v > 0; v-- {
		z = (z + counts[v]) / 2
	}
	z += m * sigma(counts[0]/m)
	return uint64(math.Round(m * m / (2 * math.Ln2) / z))
}

// sigma is x + Σ x^(2^k) 2^(k-1).
func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	z, y := x, 1.0
	for before := math.NaN(); z != before; y *= 2 {
		x *= x
		before = z
		z += x * y
	}
	return z
}

// tau is (1 - x - Σ (1 - x^(2^-k))² 2^-k) / 3.
func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	z, y := 1-x, 1.0
	for before := math.NaN(); z != before; {
		x = math.Sqrt(x)
		before = z
		y /= 2
		z -= (1 - x) * (1 - x) * y
	}
	return z / 3
}
