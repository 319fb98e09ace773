package uuid

import (
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func newGenerator(t testing.TB, algorithm, suffix string) *Generator {
	t.Helper()
	g, err := New(algorithm, suffix)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

var algorithms = []string{Random, Sequential, UTCRandom, UTCID, V7}

func TestUnknownAlgorithm(t *testing.T) {
	for _, name := range []string{"", "RANDOM", "uuid_v4"} {
		if _, err := New(name, ""); !errors.Is(err, ErrUnknownAlgorithm) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestClockBeforeEpoch(t *testing.T) {
	for _, algorithm := range []string{UTCRandom, UTCID, V7} {
		g := newGenerator(t, algorithm, "")
		g.now = func() time.Time { return time.Unix(-5, 0) }
		if a, b := g.Next(), g.Next(); a[:12] != "000000000000" || a >= b {
			t.Errorf("%s: %s, %s", algorithm, a, b)
		}
	}
}

// TestFormat also asserts uniqueness, and order where it is promised, across
// several prefixes of the sequential algorithm.
func TestFormat(t *testing.T) {
	patterns := map[string]string{
		Random:     `^[0-9a-f]{32}$`,
		Sequential: `^[0-9a-f]{32}$`,
		UTCRandom:  `^0[0-9a-f]{31}$`,
		UTCID:      `^0[0-9a-f]{13}-node\.1$`,
		V7:         `^0[0-9a-f]{11}7[0-9a-f]{3}[89ab][0-9a-f]{15}$`,
	}
	for _, algorithm := range algorithms {
		t.Run(algorithm, func(t *testing.T) {
			g := newGenerator(t, algorithm, "-node.1")
			pattern := regexp.MustCompile(patterns[algorithm])
			seen := make(map[string]bool)
			prefixes := make(map[string]bool)
			last := ""
			for range 40_000 {
				id := g.Next()
				if !pattern.MatchString(id) {
					t.Fatalf("%q does not match %s", id, pattern)
				}
				if seen[id] {
					t.Fatalf("%q twice", id)
				}
				seen[id] = true
				ordered := algorithm != Random
				if algorithm == Sequential {
					ordered = prefixes[id[:26]]
					prefixes[id[:26]] = true
				}
				if ordered && id <= last {
					t.Fatalf("%q after %q", id, last)
				}
				last = id
			}
			// A counter of 24 bits in steps of 2047 on average lasts for about
			// 8200 ids.
			if n := len(prefixes); algorithm == Sequential && (n < 4 || n > 7) {
				t.Errorf("%d prefixes", n)
			}
		})
	}
}

func TestSequentialOverflow(t *testing.T) {
	g := newGenerator(t, Sequential, "")
	g.count = lastCount - 1
	before, at, after := g.Next(), g.Next(), g.Next()
	if !strings.HasSuffix(before, "ffefff") || at[:26] != before[:26] || at <= before {
		t.Errorf("%q then %q", before, at)
	}
	if after[:26] == at[:26] || after[26:29] != "000" {
		t.Errorf("%q after %q: want a new prefix and a small counter", after, at)
	}
}

func TestClock(t *testing.T) {
	start := time.Date(2026, 5, 4, 3, 2, 1, 123_456_789, time.UTC)
	clock := start
	tests := []struct {
		algorithm string
		digits    int // compared, of those that show the time
		want      []string
	}{
		// 1777863721123456 µs; again; an hour back; 2 µs on
		{UTCID, 14, []string{"0650f5278e7e80", "0650f5278e7e81", "0650f5278e7e82", "0650f5278e7e83"}},
		{UTCRandom, 14, []string{"0650f5278e7e80", "0650f5278e7e81", "0650f5278e7e82", "0650f5278e7e83"}},
		// 1777863721123 ms and 456789 ns, which is 1871/4096 ms
		{V7, 16, []string{"019df0ef80a3774f", "019df0ef80a37750", "019df0ef80a37751", "019df0ef80a37757"}},
	}
	for _, tt := range tests {
		t.Run(tt.algorithm, func(t *testing.T) {
			g := newGenerator(t, tt.algorithm, "")
			g.now = func() time.Time { return clock }
			for i, at := range []time.Duration{0, 0, -time.Hour, 2 * time.Microsecond} {
				clock = start.Add(at)
				if got := g.Next()[:tt.digits]; got != tt.want[i] {
					t.Errorf("id %d is %s, want %s", i, got, tt.want[i])
				}
			}
		})
	}
}

func TestConcurrency(t *testing.T) {
	for _, algorithm := range algorithms {
		t.Run(algorithm, func(t *testing.T) {
			g := newGenerator(t, algorithm, "")
			const workers, each = 8, 2000
			ids := make([][]string, workers)
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					for range each {
						ids[w] = append(ids[w], g.Next())
					}
				})
			}
			wg.Wait()
			seen := make(map[string]bool)
			for _, list := range ids {
				for _, id := range list {
					seen[id] = true
				}
			}
			if len(seen) != workers*each {
				t.Errorf("%d different ids of %d", len(seen), workers*each)
			}
		})
	}
}

func BenchmarkNext(b *testing.B) {
	for _, algorithm := range algorithms {
		b.Run(algorithm, func(b *testing.B) {
			g := newGenerator(b, algorithm, "")
			b.ReportAllocs()
			for b.Loop() {
				g.Next()
			}
		})
	}
}
