// Package histogram counts durations and sizes where they happen, cheaply
// enough for every request: observing one is two atomic additions. What is
// wanted of them, such as percentiles, is computed by whoever asks.
package histogram

import (
	"math"
	"math/bits"
	"sync/atomic"
)

// A power of two is divided into this many buckets, so that a value read back
// is off by a sixteenth at most. Values below it have buckets of their own.
const (
	subBits = 3
	sub     = 1 << subBits
)

// buckets cover values up to 2^42: fifty days in microseconds, four terabytes.
const (
	maxBits = 42
	buckets = (maxBits - subBits + 1) * sub
)

// Histogram counts values. Its zero value is empty. All methods may be called
// by any goroutine.
type Histogram struct {
	counts [buckets]atomic.Uint64
	sum    atomic.Uint64
}

// Observe counts a value. One above the greatest that can be told apart counts
// as that.
func (h *Histogram) Observe(v uint64) {
	h.counts[place(v)].Add(1)
	h.sum.Add(v)
}

// place is the bucket of a value.
func place(v uint64) int {
	if v < sub {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return min((shift+1)*sub+int(v>>shift)-sub, buckets-1)
}

// least is the smallest value of a bucket. That of the one behind the last is
// the bound of all.
func least(bucket int) uint64 {
	if bucket < sub {
		return uint64(bucket)
	}
	return uint64(bucket%sub+sub) << (bucket/sub - 1)
}

// middle stands for all values of a bucket.
func middle(bucket int) float64 {
	from, to := least(bucket), least(bucket+1)
	return float64(from) + float64(to-from-1)/2
}

// Snapshot is what a Histogram has counted up to some moment.
type Snapshot struct {
	Count uint64
	Sum   uint64 // of the values
	// counts of the buckets from first on; empty if nothing was counted.
	first  int
	counts []uint64
}

// Snapshot returns what has been counted. Values that are observed meanwhile
// may be in Sum and not in Count, or the other way round.
func (h *Histogram) Snapshot() Snapshot {
	s := Snapshot{Sum: h.sum.Load()}
	var all [buckets]uint64
	first, last := buckets, -1
	for i := range h.counts {
		if all[i] = h.counts[i].Load(); all[i] > 0 {
			first, last = min(first, i), i
			s.Count += all[i]
		}
	}
	if last >= 0 {
		s.first, s.counts = first, append([]uint64(nil), all[first:last+1]...)
	}
	return s
}

// Below returns how many values were less than bound. It is exact for powers of
// two.
func (s *Snapshot) Below(bound uint64) (n uint64) {
	end := place(bound) - s.first
	for i, count := range s.counts {
		if i < end {
			n += count
		}
	}
	return n
}

// Quantile returns a value that the part q of all values does not exceed, about;
// 0 if there are none.
func (s *Snapshot) Quantile(q float64) float64 {
	if s.Count == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(s.Count)))
	var seen uint64
	for i, n := range s.counts {
		if seen += n; n > 0 && seen >= rank {
			return middle(s.first + i)
		}
	}
	return s.Max()
}

// Min returns the least value, about; 0 if there is none.
func (s *Snapshot) Min() float64 {
	if s.Count == 0 {
		return 0
	}
	return middle(s.first)
}

// Max returns the greatest value, about; 0 if there is none.
func (s *Snapshot) Max() float64 {
	if s.Count == 0 {
		return 0
	}
	return middle(s.first + len(s.counts) - 1)
}

// Each calls f with what stands for the values of each bucket, and their
// number, from the least on.
func (s *Snapshot) Each(f func(value float64, n uint64)) {
	for i, n := range s.counts {
		if n > 0 {
			f(middle(s.first+i), n)
		}
	}
}

// Shape is how values are distributed.
type Shape struct {
	Mean, GeometricMean, HarmonicMean   float64
	Variance, Deviation, Skew, Kurtosis float64
}

// Shape computes the distribution's moments, about; all are 0 if there are no
// values.
func (s *Snapshot) Shape() (sh Shape) {
	if s.Count == 0 {
		return sh
	}
	n := float64(s.Count)
	var logs, inverse float64
	zero := false
	s.Each(func(v float64, count uint64) {
		c := float64(count)
		sh.Mean += c * v / n
		if v == 0 {
			zero = true
			return
		}
		logs += c * math.Log(v) / n
		inverse += c / v / n
	})
	if !zero {
		sh.GeometricMean, sh.HarmonicMean = math.Exp(logs), 1/inverse
	}
	var third, fourth float64
	s.Each(func(v float64, count uint64) {
		d := v - sh.Mean
		c := float64(count) / n
		sh.Variance += c * d * d
		third += c * d * d * d
		fourth += c * d * d * d * d
	})
	if sh.Variance > 0 {
		sh.Deviation = math.Sqrt(sh.Variance)
		sh.Skew = third / (sh.Variance * sh.Deviation)
		sh.Kurtosis = fourth/(sh.Variance*sh.Variance) - 3
	}
	return sh
}
