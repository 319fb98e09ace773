package badgerkv

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mangrove-db/mangrove/storage/kv"
)

func putBlob(t *testing.T, b kv.Blobs, space uint32, name, content string) {
	t.Helper()
	w, err := b.Create(space)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(name); err != nil {
		t.Fatal(err)
	}
}

func readBlob(t *testing.T, b kv.Blobs, space uint32, name string) string {
	t.Helper()
	blob, err := b.Open(space, name)
	if errors.Is(err, kv.ErrNotFound) {
		return "none"
	}
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	content, err := io.ReadAll(blob)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(content)) != blob.Size() {
		t.Errorf("%d bytes, Size says %d", len(content), blob.Size())
	}
	return string(content)
}

func listBlobs(t *testing.T, b kv.Blobs, space uint32) (names []string) {
	t.Helper()
	for info, err := range b.List(space) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, info.Name)
	}
	slices.Sort(names)
	return names
}

func TestBlobs(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	b := e.Blobs()
	putBlob(t, b, 1, "abcd", "first")
	putBlob(t, b, 1, "abce", "second")
	putBlob(t, b, 1, "x", "")
	putBlob(t, b, 2, "abcd", "of another space")
	if got := readBlob(t, b, 1, "abcd"); got != "first" {
		t.Errorf("read %q", got)
	}
	old, err := b.Open(1, "abcd")
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	putBlob(t, b, 1, "abcd", "replaced")
	if got := readBlob(t, b, 1, "abcd"); got != "replaced" {
		t.Errorf("read %q", got)
	}
	if got, err := io.ReadAll(old); string(got) != "first" || err != nil {
		t.Errorf("a blob that was open reads %q, %v", got, err)
	}
	part := make([]byte, 3)
	if n, err := old.ReadAt(part, 2); n != 3 || err != nil || string(part) != "rst" {
		t.Errorf("ReadAt: %q, %v", part[:n], err)
	}
	if got := listBlobs(t, b, 1); !slices.Equal(got, []string{"abcd", "abce", "x"}) {
		t.Errorf("list %q", got)
	}
	if got := listBlobs(t, b, 3); len(got) > 0 {
		t.Errorf("an empty space lists %q", got)
	}

	w, err := b.Create(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("never finished")); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	if left, err := os.ReadDir(filepath.Join(dir, "blobs", temporary)); err != nil || len(left) > 0 {
		t.Errorf("aborted, but there is %v, %v", left, err)
	}

	if err := b.Remove(1, "abce"); err != nil {
		t.Error(err)
	}
	if err := b.Remove(1, "abce"); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("removed again: %v", err)
	}
	if err := b.Drop(1); err != nil {
		t.Error(err)
	}
	if err := b.Drop(1); err != nil {
		t.Errorf("dropped again: %v", err)
	}
	if got := readBlob(t, b, 1, "abcd"); got != "none" {
		t.Errorf("of a dropped space: %q", got)
	}
	if got := readBlob(t, b, 2, "abcd"); got != "of another space" {
		t.Errorf("the other space: %q", got)
	}
}

// TestBlobsRestart leaves a blob half received, as a killed process does.
func TestBlobsRestart(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	putBlob(t, e.Blobs(), 1, "abcd", "kept")
	w, err := e.Blobs().Create(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.(*blobWriter).f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, dir)
	if left, err := os.ReadDir(filepath.Join(dir, "blobs", temporary)); err != nil || len(left) > 0 {
		t.Errorf("there is %v, %v", left, err)
	}
	if got := readBlob(t, e.Blobs(), 1, "abcd"); got != "kept" {
		t.Errorf("read %q", got)
	}
}
