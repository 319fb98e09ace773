package deflate_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/deflate"
)

func compress(t testing.TB, level int, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := deflate.NewWriter(&out, level)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := z.Write(data); n != len(data) || err != nil {
		t.Fatalf("Write: %d, %v", n, err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func decompress(compressed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func TestLevels(t *testing.T) {
	for _, level := range []int{-2, -1, 0, 3, 10} {
		if z, err := deflate.NewWriter(io.Discard, level); z != nil || !errors.Is(err, deflate.ErrLevel) {
			t.Errorf("NewWriter at level %d: %v, %v, want ErrLevel", level, z, err)
		}
	}
}

func TestClosed(t *testing.T) {
	var out bytes.Buffer
	z, err := deflate.NewWriter(&out, 8)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	length := out.Len()
	if n, err := z.Write([]byte("late")); n != 0 || !errors.Is(err, deflate.ErrClosed) {
		t.Errorf("Write after Close: %d, %v, want ErrClosed", n, err)
	}
	if out.Len() != length {
		t.Error("something was written after Close")
	}
}

// limitedWriter fails, or writes short, once it has taken limit bytes.
type limitedWriter struct {
	limit int
	err   error
}

func (w *limitedWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.limit)
	w.limit -= n
	if n < len(p) {
		return n, w.err
	}
	return n, nil
}

func TestDestinationErrors(t *testing.T) {
	full := errors.New("disk full")
	noise := newRandom("errors")
	data := kinds["noise"](noise, 300000)
	tests := []struct {
		name  string
		limit int
		give  error
		want  error
	}{
		{"at once", 0, full, full},
		{"in the middle", 100000, full, full},
		{"in the trailer", len(compress(t, 8, data)) - 1, full, full},
		{"short write", 100000, nil, io.ErrShortWrite},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			z, err := deflate.NewWriter(&limitedWriter{limit: test.limit, err: test.give}, 8)
			if err != nil {
				t.Fatal(err)
			}
			_, writeErr := io.Copy(z, bytes.NewReader(data))
			if writeErr != nil && !errors.Is(writeErr, test.want) {
				t.Errorf("Write: %v, want %v", writeErr, test.want)
			}
			for range 2 {
				if err := z.Close(); !errors.Is(err, test.want) {
					t.Errorf("Close: %v, want %v", err, test.want)
				}
			}

			var out bytes.Buffer
			z.Reset(&out)
			if _, err := z.Write(data); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out.Bytes(), compress(t, 8, data)) {
				t.Error("after Reset the stream is another one")
			}
		})
	}
}

// TestCuts writes the samples that make the window slide byte by byte.
func TestCuts(t *testing.T) {
	for _, s := range corpus() {
		if len(s.data) < 65536 || len(s.data) > 99000 {
			continue
		}
		var out bytes.Buffer
		z, err := deflate.NewWriter(&out, 8)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(z, iotest.OneByteReader(bytes.NewReader(s.data))); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), compress(t, 8, s.data)) {
			t.Errorf("%s: written byte by byte it is another stream", s.name)
		}
	}
}

// TestProperties checks on arbitrary input, with a Writer that has a past, that
// what was written can be read, and that neither that past nor the cuts show.
func TestProperties(t *testing.T) {
	piece := rapid.Custom(func(t *rapid.T) []byte {
		r := newRandom(rapid.String().Draw(t, "seed"))
		name := rapid.SampledFrom([]string{"noise", "zeros", "coins", "period", "prose", "copies"}).Draw(t, "kind")
		n := rapid.OneOf(rapid.IntRange(0, 600), rapid.IntRange(0, 70000)).Draw(t, "length")
		return kinds[name](r, n)
	})
	used := map[int]*deflate.Writer{}
	rapid.Check(t, func(t *rapid.T) {
		level := rapid.IntRange(deflate.MinLevel, deflate.MaxLevel).Draw(t, "level")
		data := bytes.Join(rapid.SliceOfN(piece, 0, 5).Draw(t, "pieces"), nil)
		largest := rapid.SampledFrom([]int{1, 3, 262, 4096, 65536, 1 << 20}).Draw(t, "largest write")
		cuts := newRandom("cuts")

		var out bytes.Buffer
		z := used[level]
		if z == nil {
			var err error
			if z, err = deflate.NewWriter(&out, level); err != nil {
				t.Fatal(err)
			}
			used[level] = z
		} else {
			z.Reset(&out)
		}
		for rest := data; len(rest) > 0; {
			n := min(1+cuts.below(largest), len(rest))
			if m, err := z.Write(rest[:n]); m != n || err != nil {
				t.Fatalf("Write: %d, %v", m, err)
			}
			rest = rest[n:]
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}

		got, err := decompress(out.Bytes())
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("not what was written (%v)", err)
		}
		var fresh bytes.Buffer
		z, err = deflate.NewWriter(&fresh, level)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := z.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(fresh.Bytes(), out.Bytes()) {
			t.Fatal("a new Writer's stream, written at once, is another one")
		}
	})
}

// FuzzWriter repeats data, cuts it in two and checks the round trip and that
// the cut does not show.
func FuzzWriter(f *testing.F) {
	f.Add([]byte("abcabcabc"), uint8(8), uint16(3), uint16(4))
	f.Add([]byte{}, uint8(4), uint16(0), uint16(0))
	f.Add([]byte{0}, uint8(9), uint16(40000), uint16(65535))
	f.Fuzz(func(t *testing.T, data []byte, level uint8, repeat, cut uint16) {
		const longest = 1 << 18
		if len(data) > 0 {
			data = bytes.Repeat(data, 1+min(int(repeat), longest/len(data)))
		}
		l := deflate.MinLevel + int(level)%(deflate.MaxLevel-deflate.MinLevel+1)
		whole := compress(t, l, data)
		if got, err := decompress(whole); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("not what was written (%v)", err)
		}
		var out bytes.Buffer
		z, err := deflate.NewWriter(&out, l)
		if err != nil {
			t.Fatal(err)
		}
		at := min(int(cut), len(data))
		for _, p := range [][]byte{data[:at], data[at:]} {
			if _, err := z.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), whole) {
			t.Fatal("the cut shows")
		}
	})
}

func TestAllocations(t *testing.T) {
	data := mixed(newRandom("allocations"), 300000)
	z, err := deflate.NewWriter(io.Discard, 8)
	if err != nil {
		t.Fatal(err)
	}
	allocs := testing.AllocsPerRun(3, func() {
		z.Reset(io.Discard)
		_, _ = z.Write(data)
		_ = z.Close()
	})
	if allocs != 0 {
		t.Errorf("%v allocations per stream", allocs)
	}
}

func BenchmarkWriter(b *testing.B) {
	for _, kind := range []string{"prose", "json", "records", "noise", "zeros"} {
		data := kinds[kind](newRandom(kind), 1<<20)
		b.Run(kind, func(b *testing.B) {
			z, err := deflate.NewWriter(io.Discard, 8)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				z.Reset(io.Discard)
				if _, err := z.Write(data); err != nil {
					b.Fatal(err)
				}
				if err := z.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
