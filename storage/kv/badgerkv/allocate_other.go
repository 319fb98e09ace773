//go:build !linux

package badgerkv

import "os"

// allocate gives a file blocks on the disk, by writing them.
func allocate(f *os.File, size int64) error {
	block := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(block)) {
		if _, err := f.WriteAt(block[:min(int64(len(block)), size-off)], off); err != nil {
			return err
		}
	}
	return nil
}
