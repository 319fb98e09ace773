package storage

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage/kv"
	"github.com/mangrove-db/mangrove/storage/kv/badgerkv"
)

// To write the folder of a new format: go test ./storage -run TestOldFormats -write-format
var writeFormat = flag.Bool("write-format", false, "write testdata of the present format")

const formatContent = "a small attachment"

// largeContent is beyond what is kept as a value, but packs well.
func largeContent() string { return strings.Repeat("a large attachment ", 10_000) }

// TestOldFormats opens a folder written by each version of the store.
func TestOldFormats(t *testing.T) {
	if *writeFormat {
		packFormat(t, formatFile(FormatVersion))
	}
	for v := 1; v <= FormatVersion; v++ {
		t.Run(strconv.Itoa(v), func(t *testing.T) {
			dir := t.TempDir()
			unpack(t, formatFile(v), dir)
			s := openStore(t, dir)
			db, err := s.DB("old")
			if err != nil {
				t.Fatal(err)
			}
			checkFormat(t, db)
			put(t, db, &document.Document{ID: "new"})
			if err := db.compact(t.Context()); err != nil {
				t.Error(err)
			}
			checkCounters(t, db)
		})
	}
}

func formatFile(version int) string {
	return filepath.Join("testdata", fmt.Sprintf("v%d.tar.gz", version))
}

// fillFormat writes something of every kind that a database holds.
func fillFormat(t *testing.T, s *Store) {
	db := createDB(t, s, "old")
	createDB(t, s, "dropped")
	small := attach(t, db, "small", formatContent, Coding{Gzip: 6})
	large := attach(t, db, "large", largeContent(), Coding{})
	rev := put(t, db, &document.Document{ID: "doc", Body: []byte(`{"n":1}`)})
	rev = put(t, db, &document.Document{ID: "doc", Rev: rev, Body: []byte(`{"n":2}`), Attachments: []document.Attachment{small, large}})
	put(t, db, &document.Document{ID: "doc", Rev: rev, Body: []byte(`{"n":3}`), Attachments: []document.Attachment{
		{Name: "small", Stub: true}, {Name: "large", Stub: true},
	}})
	put(t, db, &document.Document{ID: "large", Body: []byte(`{"text":"` + strings.Repeat("text ", 40_000) + `"}`)})
	rev = put(t, db, &document.Document{ID: "gone"})
	put(t, db, &document.Document{ID: "gone", Rev: rev, Deleted: true})
	for _, hash := range []string{"x", "y"} {
		path := revtree.Path{Start: 2, Hashes: []string{hash, "root"}}
		d := &document.Document{ID: "conflict", Rev: path.Leaf(), Revisions: path, Body: []byte(`{"hash":"` + hash + `"}`)}
		if _, err := db.Apply(t.Context(), Write{Docs: []*document.Document{d}, Mode: Replicate}); err != nil {
			t.Fatal(err)
		}
	}
	rev = put(t, db, &document.Document{ID: "purged"})
	_, err := db.Purge(t.Context(), []Purge{{ID: "purged", Revs: []revtree.ID{rev}}})
	if err == nil {
		_, err = db.PutLocal(t.Context(), Local{ID: "_local/checkpoint", Body: []byte(`{"seq":3}`)})
	}
	err = errors.Join(err, db.SetSecurity(t.Context(), []byte(`{"admins":{"names":["a"]}}`)), db.SetRevsLimit(t.Context(), 77))
	if err = errors.Join(err, s.DeleteDB(t.Context(), "dropped")); err != nil {
		t.Fatal(err)
	}
}

func checkFormat(t *testing.T, db *DB) {
	t.Helper()
	s := view(t, db)
	defer s.Close()
	if s.state.docs != 3 || s.state.deleted != 1 || s.state.purgeSeq != 1 || s.state.limit() != 77 {
		t.Errorf("state %+v", s.state)
	}
	row, err := s.Lookup("doc")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := row.Tree()
	if err != nil {
		t.Fatal(err)
	}
	for i := range tree.Len() {
		d, err := row.Revision(tree, i)
		if err != nil || string(d.Body) != fmt.Sprintf(`{"n":%d}`, d.Rev.Gen) {
			t.Errorf("revision %d: %+v, %v", i, d, err)
			continue
		}
		for i := range d.Attachments {
			a := &d.Attachments[i]
			want := map[string]string{"small": formatContent, "large": largeContent()}[a.Name]
			if got, err := content(s, a); got != want || err != nil || a.RevPos != 2 {
				t.Errorf("attachment %q: %d bytes, %v, want %d", a.Name, len(got), err, len(want))
			}
		}
	}
	for id, want := range map[string]string{"conflict": `{"hash":"y"}`, "gone": "{}", "large": `{"text":"` + strings.Repeat("text ", 40_000) + `"}`} {
		row, err := s.Lookup(id)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := row.Document(); err != nil || string(d.Body) != want || d.Deleted != (id == "gone") || row.Branching() != (id == "conflict") {
			t.Errorf("%s: %+v, %v", id, row, err)
		}
	}
	for p, err := range s.Purges(context.Background(), 0) {
		if err != nil || p.ID != "purged" {
			t.Errorf("purge %+v, %v", p, err)
		}
	}
	if l, err := s.Local("_local/checkpoint"); err != nil || l.Rev != 1 || string(l.Body) != `{"seq":3}` {
		t.Errorf("local %+v, %v", l, err)
	}
	if security, err := db.Security(); err != nil || string(security) != `{"admins":{"names":["a"]}}` {
		t.Errorf("security %s, %v", security, err)
	}
}

// packFormat writes a folder of the present format as an archive. The engine gives its files more room than they
// need, but it is all zeros, which pack well.
func packFormat(t *testing.T, name string) {
	dir := t.TempDir()
	s, err := Open(testOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	fillFormat(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(dir, path)
		if err = errors.Join(err, relErr); err != nil || d.IsDir() || rel == "reserve" {
			return err
		}
		content, err := os.ReadFile(path)
		if err == nil {
			err = w.WriteHeader(&tar.Header{Name: filepath.ToSlash(rel), Mode: 0o600, Size: int64(len(content))})
		}
		if err == nil {
			_, err = w.Write(content)
		}
		return err
	})
	if err = errors.Join(err, w.Close(), z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func unpack(t *testing.T, name, dir string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	for _, version := range []string{strconv.Itoa(FormatVersion + 1), "0", "-1", "", "x"} {
		dir := t.TempDir()
		if err := openStore(t, dir).Close(); err != nil {
			t.Fatal(err)
		}
		engine, err := badgerkv.Open(badgerkv.Options{Dir: dir, Memory: 1, Reserve: 1})
		if err != nil {
			t.Fatal(err)
		}
		err = engine.Update(t.Context(), func(tx kv.Tx) error { return tx.Set(nodeKey("format"), []byte(version)) })
		if err = errors.Join(err, engine.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(testOptions(dir)); !errors.Is(err, ErrFormat) {
			t.Errorf("version %q: %v", version, err)
		}
	}
}
