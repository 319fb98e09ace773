// Package spool holds bytes that are written once and read again, any number of
// times: in memory while they are few, else in a temporary file. A request body
// whose length nobody knows yet can pass through it with bounded memory.
package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// firstBuffer is the least that is allocated for bytes in memory.
const firstBuffer = 512

// Spool takes bytes by Write and gives them back by ReadAt. Writing is for one
// goroutine; once it has ended, any number may read. It must be closed.
type Spool struct {
	dir    string
	limit  int64  // of len(memory)
	memory []byte // all bytes while file is nil
	file   *os.File
	size   int64
	linked bool // file still has a name, which Close must remove
	closed bool
}

var (
	_ io.WriteCloser = (*Spool)(nil)
	_ io.ReaderAt    = (*Spool)(nil)
)

// New returns an empty Spool that keeps up to memory bytes on the heap. With
// more it makes a file in dir, or in the system's folder for temporary files if
// dir is empty, and loses the file's name at once where the system allows, so
// that nothing stays behind after a crash.
func New(dir string, memory int64) *Spool {
	return &Spool{dir: dir, limit: max(memory, 0)}
}

// Write appends p. What a failed Write has kept of p is the count it returns;
// the bytes before remain readable. Errors, such as that of a full disk, wrap
// the operating system's.
func (s *Spool) Write(p []byte) (int, error) {
	if s.closed {
		return 0, fmt.Errorf("write to spool: %w", os.ErrClosed)
	}
	if s.file == nil {
		if int64(len(p)) <= s.limit-s.size {
			s.keep(p)
			return len(p), nil
		}
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	n, err := s.file.WriteAt(p, s.size)
	s.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("write to spool: %w", err)
	}
	return n, nil
}

// keep appends p to the bytes in memory. The buffer doubles like any slice, but
// never past the limit.
func (s *Spool) keep(p []byte) {
	if need := len(s.memory) + len(p); need > cap(s.memory) {
		size := min(int64(max(2*cap(s.memory), need, firstBuffer)), s.limit)
		s.memory = append(make([]byte, 0, size), s.memory...)
	}
	s.memory = append(s.memory, p...)
	s.size = int64(len(s.memory))
}

// spill moves the bytes in memory to a new file. If that fails they stay.
func (s *Spool) spill() error {
	file, err := os.CreateTemp(s.dir, "spool-*")
	if err != nil {
		return fmt.Errorf("create spool file: %w", err)
	}
	// Where an open file cannot be removed, as on Windows, it waits for Close.
	linked := os.Remove(file.Name()) != nil
	if _, err := file.WriteAt(s.memory, 0); err != nil {
		return fmt.Errorf("write to spool: %w", errors.Join(err, discard(file, linked)))
	}
	s.file, s.linked, s.memory = file, linked, nil
	return nil
}

// discard closes file and, if it still has a name, removes it.
func discard(file *os.File, linked bool) error {
	err := file.Close()
	if linked {
		err = errors.Join(err, os.Remove(file.Name()))
	}
	return err
}

// Size is the number of bytes written so far.
func (s *Spool) Size() int64 {
	return s.size
}

// ReadAt reads from offset off, as [io.ReaderAt] says:
// io.NewSectionReader(s, 0, s.Size()) reads everything.
func (s *Spool) ReadAt(p []byte, off int64) (int, error) {
	switch {
	case s.closed:
		return 0, fmt.Errorf("read from spool: %w", os.ErrClosed)
	case off < 0:
		return 0, fmt.Errorf("read from spool: %w: negative offset", os.ErrInvalid)
	case off >= s.size:
		return 0, io.EOF
	case s.file == nil:
		n := copy(p, s.memory[off:])
		if n < len(p) {
			return n, io.EOF
		}
		return n, nil
	}
	n, err := s.file.ReadAt(p, off)
	if err != nil && err != io.EOF {
		return n, fmt.Errorf("read from spool: %w", err)
	}
	return n, err
}

// Close gives back memory and file; the bytes are gone. A second Close does
// nothing.
func (s *Spool) Close() error {
	if s.closed {
		return nil
	}
	s.closed, s.memory = true, nil
	if s.file == nil {
		return nil
	}
	if err := discard(s.file, s.linked); err != nil {
		return fmt.Errorf("close spool: %w", err)
	}
	return nil
}
