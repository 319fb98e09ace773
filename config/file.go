package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// newEnd ends the name of a file that is to be put in the place of another.
const newEnd = ".new"

// replaceFile writes text in place of the file at path so that, whatever
// happens, either the old or the new text is there. A new file is readable by
// its owner alone (it holds password hashes); an old one keeps its mode. A
// symbolic link stays one.
func replaceFile(path, text string) (err error) {
	mode := os.FileMode(0o600)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		mode = info.Mode().Perm()
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*"+newEnd)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	removeLeftovers(path)
	return syncDir(dir)
}

// leftoverAge is how old a file is that nobody is still about to put in place.
const leftoverAge = time.Minute

// removeLeftovers removes what writers left beside the file at path that were
// killed before they could put it in place: it holds older password hashes.
func removeLeftovers(path string) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return
	}
	for _, e := range entries {
		if middle, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+"."); !ok || !strings.HasSuffix(middle, newEnd) {
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > leftoverAge {
			os.Remove(filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
}

// syncDir makes a rename in dir last. Not every file system can sync a
// directory; that is no reason to fail, for the rename itself is done.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	d.Sync()
	return d.Close()
}
