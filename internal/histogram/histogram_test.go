package histogram

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestBucketsFollowEachOther(t *testing.T) {
	for i := range buckets {
		if got := place(least(i)); got != i {
			t.Fatalf("the least value of bucket %d is in bucket %d", i, got)
		}
		if i > 0 && place(least(i)-1) != i-1 {
			t.Fatalf("bucket %d does not begin where the one before ends", i)
		}
	}
	if place(math.MaxUint64) != buckets-1 {
		t.Error("values without bound have no bucket")
	}
}

func TestEmpty(t *testing.T) {
	var h Histogram
	s := h.Snapshot()
	if s.Count != 0 || s.Quantile(0.5) != 0 || s.Min() != 0 || s.Max() != 0 || s.Below(8) != 0 || s.Shape() != (Shape{}) {
		t.Errorf("%+v", s)
	}
}

// near tells whether a figure is as exact as buckets allow.
func near(got, want float64) bool { return math.Abs(got-want) <= want/sub+1 }

func TestAgainstSorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Uint64Range(0, 1<<40), 1, 200).Draw(t, "values")
		var h Histogram
		var sum uint64
		for _, v := range values {
			h.Observe(v)
			sum += v
		}
		slices.Sort(values)
		s := h.Snapshot()
		if s.Count != uint64(len(values)) || s.Sum != sum {
			t.Fatalf("%d values, sum %d", s.Count, s.Sum)
		}
		if least, greatest := float64(values[0]), float64(values[len(values)-1]); !near(s.Min(), least) || !near(s.Max(), greatest) {
			t.Fatalf("from %g to %g", s.Min(), s.Max())
		}
		q := rapid.Float64Range(0.01, 1).Draw(t, "q")
		want := float64(values[int(math.Ceil(q*float64(len(values))))-1])
		if got := s.Quantile(q); !near(got, want) {
			t.Fatalf("quantile %g is %g, not %g", q, got, want)
		}
		if mean := float64(sum) / float64(len(values)); !near(s.Shape().Mean, mean) {
			t.Fatalf("mean %g, not %g", s.Shape().Mean, mean)
		}
		bound := uint64(1) << rapid.IntRange(0, 41).Draw(t, "bits")
		n := 0
		for _, v := range values {
			if v < bound {
				n++
			}
		}
		if got := s.Below(bound); got != uint64(n) {
			t.Fatalf("%d values below %d, not %d", got, bound, n)
		}
	})
}

func TestShape(t *testing.T) {
	var h Histogram
	for _, v := range []uint64{1, 2, 4, 5} {
		h.Observe(v)
	}
	s := h.Snapshot()
	got := s.Shape()
	want := Shape{Mean: 3, GeometricMean: math.Pow(40, 0.25), HarmonicMean: 4 / 1.95, Variance: 2.5, Deviation: math.Sqrt(2.5), Kurtosis: 8.5/6.25 - 3}
	for _, pair := range [][2]float64{
		{got.Mean, want.Mean},
		{got.GeometricMean, want.GeometricMean},
		{got.HarmonicMean, want.HarmonicMean},
		{got.Variance, want.Variance},
		{got.Deviation, want.Deviation},
		{got.Skew, 0},
		{got.Kurtosis, want.Kurtosis},
	} {
		if math.Abs(pair[0]-pair[1]) > 1e-9 {
			t.Fatalf("%+v, want %+v", got, want)
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	var h Histogram
	for i := 0; b.Loop(); i++ {
		h.Observe(uint64(i) & 0xffff)
	}
}
