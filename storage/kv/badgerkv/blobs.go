package badgerkv

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// blobs keeps each blob as a file: blobs/<space>/<first two letters of its name>/<name>. A blob is written under a
// temporary name, synced and renamed, so that a name is never seen with half its content. Files need no memory map
// and no log to be collected: a removed blob gives its room back at once.
type blobs struct {
	dir   string
	space *space
}

const temporary = "incoming"

func openBlobs(dir string, space *space) (*blobs, error) {
	b := &blobs{dir, space}
	// What a killed process was still receiving belongs to nobody.
	if err := os.RemoveAll(filepath.Join(dir, temporary)); err != nil {
		return nil, fmt.Errorf("open blobs: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, temporary), 0o700); err != nil {
		return nil, fmt.Errorf("open blobs: %w", err)
	}
	return b, syncDir(dir)
}

func (b *blobs) folder(space uint32) string {
	return filepath.Join(b.dir, strconv.FormatUint(uint64(space), 10))
}

func (b *blobs) path(space uint32, name string) string {
	return filepath.Join(b.folder(space), name[:min(2, len(name))], name)
}

func (b *blobs) Create(space uint32) (kv.BlobWriter, error) {
	if err := b.space.check(); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Join(b.dir, temporary), "")
	if err != nil {
		return nil, noSpace(err)
	}
	return &blobWriter{b: b, space: space, f: f}, nil
}

func (b *blobs) Open(space uint32, name string) (kv.Blob, error) {
	f, err := os.Open(b.path(space, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, kv.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &blob{f, info.Size()}, nil
}

func (b *blobs) Remove(space uint32, name string) error {
	err := os.Remove(b.path(space, name))
	if errors.Is(err, fs.ErrNotExist) {
		return kv.ErrNotFound
	}
	return err
}

func (b *blobs) List(space uint32) iter.Seq2[kv.BlobInfo, error] {
	return func(yield func(kv.BlobInfo, error) bool) {
		err := filepath.WalkDir(b.folder(space), func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return gone(err)
			}
			info, err := d.Info()
			if err != nil {
				return gone(err)
			}
			if !yield(kv.BlobInfo{Name: d.Name(), Size: info.Size(), Modified: info.ModTime()}, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(kv.BlobInfo{}, err)
		}
	}
}

// gone forgives a file that was removed while its folder was being listed.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (b *blobs) Drop(space uint32) error {
	var err error
	for range dropTries {
		// An upload that was under way when its database went may still put its blob there.
		if err = os.RemoveAll(b.folder(space)); err == nil {
			return nil
		}
	}
	return err
}

const dropTries = 3

type blob struct {
	*os.File
	size int64
}

func (b *blob) Size() int64 { return b.size }

// blobWriter asks for room now and then, so that one large upload cannot eat up the engine's reserve.
type blobWriter struct {
	b       *blobs
	space   uint32
	f       *os.File
	written int64 // since room was last looked for
}

const roomInterval = 4 << 20

func (w *blobWriter) Write(p []byte) (int, error) {
	if w.written += int64(len(p)); w.written >= roomInterval {
		w.written = 0
		if err := w.b.space.check(); err != nil {
			return 0, err
		}
	}
	n, err := w.f.Write(p)
	return n, noSpace(err)
}

func (w *blobWriter) Commit(name string) error {
	if err := errors.Join(w.f.Sync(), w.f.Close()); err != nil {
		return errors.Join(noSpace(err), os.Remove(w.f.Name()))
	}
	path := w.b.path(w.space, name)
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return errors.Join(noSpace(err), os.Remove(w.f.Name()))
	}
	if err := os.Rename(w.f.Name(), path); err != nil {
		return errors.Join(noSpace(err), os.Remove(w.f.Name()))
	}
	for _, dir := range []string{folder, filepath.Dir(folder), w.b.dir} {
		if err := syncDir(dir); err != nil {
			return noSpace(err)
		}
	}
	return nil
}

func (w *blobWriter) Abort() {
	// The file is of no use to anybody; if it cannot be removed now, the next start does it.
	_ = w.f.Close()
	_ = os.Remove(w.f.Name())
}
