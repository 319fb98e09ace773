package spool

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestSpool(t *testing.T) {
	for _, test := range []struct {
		name   string
		memory int64
		writes []int // lengths
		file   bool
	}{
		{"nothing", 10, nil, false},
		{"an empty write", 0, []int{0}, false},
		{"in memory", 10, []int{3, 4}, false},
		{"up to the limit", 10, []int{3, 7}, false},
		{"one byte more", 10, []int{3, 8}, true},
		{"at once too much", 10, []int{11}, true},
		{"on and on", 10, []int{3, 8, 100, 0, 1}, true},
		{"no memory", 0, []int{1, 1}, true},
		{"negative memory", -5, []int{1}, true},
		{"many small ones", 5000, []int{1, 600, 2000, 2399}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := New(t.TempDir(), test.memory)
			defer closeSpool(t, s)
			want := write(t, s, test.writes)
			if s.Size() != int64(len(want)) {
				t.Errorf("size is %d, want %d", s.Size(), len(want))
			}
			if (s.file != nil) != test.file {
				t.Errorf("has a file: %t", s.file != nil)
			}
			if int64(cap(s.memory)) > max(test.memory, 0) {
				t.Errorf("%d bytes of memory taken", cap(s.memory))
			}
			for range 2 {
				got, err := io.ReadAll(io.NewSectionReader(s, 0, s.Size()))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("read %d bytes, %v; want %d", len(got), err, len(want))
				}
			}
		})
	}
}

// write writes bytes of these lengths and returns all of them.
func write(t *testing.T, s *Spool, lengths []int) []byte {
	t.Helper()
	var all []byte
	for _, length := range lengths {
		p := make([]byte, length)
		for i := range p {
			p[i] = byte(rand.Uint32())
		}
		if n, err := s.Write(p); n != length || err != nil {
			t.Fatalf("Write of %d bytes: %d, %v", length, n, err)
		}
		all = append(all, p...)
	}
	return all
}

func closeSpool(t *testing.T, s *Spool) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestReadAt(t *testing.T) {
	for name, memory := range map[string]int64{"memory": 100, "file": 2} {
		t.Run(name, func(t *testing.T) {
			s := New(t.TempDir(), memory)
			defer closeSpool(t, s)
			if _, err := io.WriteString(s, "hello"); err != nil {
				t.Fatal(err)
			}
			for _, test := range []struct {
				off, length int64
				want        string
				err         error
			}{
				{0, 5, "hello", nil},
				{1, 3, "ell", nil},
				{3, 5, "lo", io.EOF},
				{5, 1, "", io.EOF},
				{9, 1, "", io.EOF},
				{-1, 1, "", os.ErrInvalid},
			} {
				p := make([]byte, test.length)
				n, err := s.ReadAt(p, test.off)
				if string(p[:n]) != test.want || !errors.Is(err, test.err) {
					t.Errorf("ReadAt %d: %q, %v; want %q, %v", test.off, p[:n], err, test.want, test.err)
				}
			}
		})
	}
}

func TestManyReaders(t *testing.T) {
	for name, memory := range map[string]int64{"memory": 1 << 16, "file": 0} {
		t.Run(name, func(t *testing.T) {
			s := New(t.TempDir(), memory)
			defer closeSpool(t, s)
			want := write(t, s, []int{1 << 10, 1 << 14})
			var readers sync.WaitGroup
			for range 8 {
				readers.Go(func() {
					got, err := io.ReadAll(io.NewSectionReader(s, 0, s.Size()))
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("read %d bytes, %v", len(got), err)
					}
				})
			}
			readers.Wait()
		})
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	s := New(dir, 0)
	write(t, s, []int{10})
	closeSpool(t, s)
	closeSpool(t, s)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
	if _, err := s.ReadAt(make([]byte, 1), 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("ReadAt after Close: %v", err)
	}
}

// As on systems that cannot remove an open file.
func TestCloseRemovesAFileThatIsStillThere(t *testing.T) {
	dir := t.TempDir()
	s := New(dir, 0)
	file, err := os.CreateTemp(dir, "spool-*")
	if err != nil {
		t.Fatal(err)
	}
	s.file, s.linked = file, true
	write(t, s, []int{10})
	closeSpool(t, s)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestWriteWithoutFolder(t *testing.T) {
	s := New(filepath.Join(t.TempDir(), "missing"), 4)
	defer closeSpool(t, s)
	write(t, s, []int{3})
	if n, err := s.Write([]byte("more")); n != 0 || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Write: %d, %v", n, err)
	}
	// What fitted is still there, and what fits still goes.
	write(t, s, []int{1})
	if got, err := io.ReadAll(io.NewSectionReader(s, 0, s.Size())); len(got) != 4 || err != nil {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

// A file that cannot be written to stands for a full disk.
func TestWriteFails(t *testing.T) {
	s := New(t.TempDir(), 0)
	defer closeSpool(t, s)
	want := write(t, s, []int{10})
	path := filepath.Join(t.TempDir(), "read-only")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	readOnly, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	writable := s.file
	s.file = readOnly
	var pathError *fs.PathError
	if n, err := s.Write([]byte("x")); n != 0 || !errors.As(err, &pathError) {
		t.Errorf("Write: %d, %v", n, err)
	}
	if got, err := io.ReadAll(io.NewSectionReader(s, 0, s.Size())); !bytes.Equal(got, want) || err != nil {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if err := errors.Join(readOnly.Close(), os.Remove(path)); err != nil {
		t.Error(err)
	}
	s.file = writable
}

func BenchmarkWrite(b *testing.B) {
	for name, size := range map[string]int{"memory": 32 << 10, "file": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			dir, p := b.TempDir(), make([]byte, 4<<10)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				s := New(dir, 64<<10)
				for range size / len(p) {
					if _, err := s.Write(p); err != nil {
						b.Fatal(err)
					}
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
