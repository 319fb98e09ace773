package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage/kv"
	"github.com/mangrove-db/mangrove/storage/kv/badgerkv"
)

func TestMain(m *testing.M) {
	rankFull = 16 // small enough for tests to cut and join ranges
	testShape.set()
	removalRows, mergedRuns = 30, 3
	goleak.VerifyTestMain(m,
		// Of a library of Badger, started by its init and never stopped.
		goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
	)
}

func testOptions(dir string) Options { return Options{Path: dir, Memory: 1, Reserve: 1} }

// openStore opens a store that is closed with the test.
func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(testOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// newTestDB creates a database in a store of its own.
func newTestDB(t testing.TB) *DB {
	t.Helper()
	return createDB(t, openStore(t, t.TempDir()), "db")
}

func createDB(t testing.TB, s *Store, name string) *DB {
	t.Helper()
	db, err := s.CreateDB(context.Background(), name, DBOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// view opens a snapshot that ends with the test; before the store is closed it must be closed by hand.
func view(t testing.TB, db *DB) *Snapshot {
	t.Helper()
	s, err := db.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// put edits a document and returns its new revision.
func put(t testing.TB, db *DB, d *document.Document) revtree.ID {
	t.Helper()
	if d.Body == nil {
		d.Body = []byte("{}")
	}
	results, err := db.Apply(context.Background(), Write{Docs: []*document.Document{d}})
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		t.Fatalf("put %s: %v", d.ID, err)
	}
	return results[0].Rev
}

func attach(t testing.TB, db *DB, name, content string, c Coding) document.Attachment {
	t.Helper()
	a, err := db.StoreAttachment(context.Background(), strings.NewReader(content), c)
	if err != nil {
		t.Fatal(err)
	}
	a.Name, a.ContentType = name, "text/plain"
	return a
}

// crash stops a store without the mark of a clean stop. What was committed stays, as after kill -9.
func crash(s *Store) error {
	s.syncer.mu.Lock()
	s.syncer.mu.failed = errCrash // keeps Close from marking
	s.syncer.mu.Unlock()
	if err := s.Close(); !errors.Is(err, errCrash) {
		return fmt.Errorf("closed with %w", err)
	}
	return nil
}

var errCrash = errors.New("crash")

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	if _, err := Open(testOptions(dir)); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	uuid := s.UUID()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if _, err := s.DB("db"); !errors.Is(err, ErrClosed) {
		t.Errorf("DB of a closed store: %v", err)
	}
	if _, err := s.CreateDB(t.Context(), "db", DBOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("CreateDB of a closed store: %v", err)
	}
	if s = openStore(t, dir); s.UUID() != uuid || len(uuid) != 32 {
		t.Errorf("uuid was %q, is %q", uuid, s.UUID())
	}
}

func TestDatabases(t *testing.T) {
	s := openStore(t, t.TempDir())
	ctx := t.Context()
	if _, err := s.DB("a"); !errors.Is(err, ErrNoDatabase) {
		t.Errorf("no such database: %v", err)
	}
	if err := s.DeleteDB(ctx, "a"); !errors.Is(err, ErrNoDatabase) {
		t.Errorf("delete what is not there: %v", err)
	}
	for _, name := range []string{"b", "a", "c", "b/d", "bb"} {
		createDB(t, s, name)
	}
	if _, err := s.CreateDB(ctx, "a", DBOptions{}); !errors.Is(err, ErrExists) {
		t.Errorf("create twice: %v", err)
	}
	for want, r := range map[string]NameRange{
		"a b b/d bb c": {Limit: -1},
		"c bb b/d b a": {Limit: -1, Descending: true},
		"b/d bb":       {Skip: 2, Limit: 2},
		"b b/d bb":     {Start: "b", End: "bb", HasEnd: true, Limit: -1},
		"b b/d":        {Start: "b", End: "bb", HasEnd: true, ExclusiveEnd: true, Limit: -1},
		"bb b/d":       {Start: "bb", End: "b", HasEnd: true, ExclusiveEnd: true, Descending: true, Limit: 1 << 62},
		"c":            {Skip: 4, Limit: 1 << 62},
		"":             {Skip: 1 << 62, Limit: 1 << 62},
	} {
		var names []string
		for name, err := range s.Names(r) {
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%+v: %q, want %q", r, got, want)
		}
	}
	old, err := s.DB("a")
	if err != nil {
		t.Fatal(err)
	}
	put(t, old, &document.Document{ID: "x"})
	if err := s.DeleteDB(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Apply(ctx, Write{Docs: []*document.Document{{ID: "y", Body: []byte("{}")}}}); !errors.Is(err, ErrNoDatabase) {
		t.Errorf("write to a deleted database: %v", err)
	}
	if _, err := old.Snapshot(); !errors.Is(err, ErrNoDatabase) {
		t.Errorf("read a deleted database: %v", err)
	}
	now := createDB(t, s, "a")
	if info, err := now.Info(); err != nil || info.Docs != 0 || info.Seq != 0 {
		t.Errorf("the new one has %+v, %v", info, err)
	}
	if now.incarnation == old.incarnation {
		t.Error("the new one is the old incarnation")
	}
}

// TestDroppedKeysGo deletes a database with more keys, and longer ones, than one transaction can remove.
func TestDroppedKeysGo(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	db := createDB(t, s, "db")
	var docs []*document.Document
	for i := range 300 {
		docs = append(docs, &document.Document{ID: strings.Repeat("x", 29_000) + fmt.Sprint(i), Body: []byte("{}")})
	}
	if _, err := db.Apply(t.Context(), Write{Docs: docs}); err != nil {
		t.Fatal(err)
	}
	big := attach(t, db, "big", strings.Repeat("0123456789", 10_000), Coding{})
	put(t, db, &document.Document{ID: "with", Attachments: []document.Attachment{big}})
	if err := s.DeleteDB(t.Context(), "db"); err != nil {
		t.Fatal(err)
	}
	s.removeDropped(t.Context()) // waits for the one in the background
	if keys, err := s.someKeys(kv.Range{Prefix: databasePrefix(db.ID)}); err != nil || len(keys) > 0 {
		t.Errorf("%d keys are left, %v", len(keys), err)
	}
	if keys, err := s.someKeys(kv.Range{Prefix: []byte{familyDropped}}); err != nil || len(keys) > 0 {
		t.Errorf("%d notes are left, %v", len(keys), err)
	}
	if _, err := s.engine.Blobs().Open(db.ID, blobName(big.Address)); err == nil {
		t.Error("the blob is left")
	}
}

// fullEngine has no room for writes, but some for removals.
type fullEngine struct{ kv.Engine }

func (fullEngine) Room() error { return kv.ErrNoSpace }

func TestNoSpace(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	db := createDB(t, s, "db")
	rev := put(t, db, &document.Document{ID: "a"})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	engine, err := badgerkv.Open(badgerkv.Options{Dir: dir, Memory: 1, Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	if s, err = newStore(fullEngine{engine}, s.log); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if db, err = s.DB("db"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Apply(t.Context(), Write{Docs: []*document.Document{{ID: "b", Body: []byte("{}")}}}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("Apply: %v", err)
	}
	if r, err := db.Apply(t.Context(), Write{Docs: []*document.Document{{ID: "a", Rev: rev, Deleted: true, Body: []byte("{}")}}}); err != nil || r[0].Err != nil {
		t.Errorf("a tombstone: %v, %v", r, err)
	}
	if _, err := db.StoreAttachment(t.Context(), strings.NewReader("x"), Coding{}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("StoreAttachment: %v", err)
	}
	if _, err := s.CreateDB(t.Context(), "other", DBOptions{}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("CreateDB: %v", err)
	}
	snap := view(t, db)
	if _, err := snap.Lookup("a"); err != nil {
		t.Errorf("Lookup: %v", err)
	}
	snap.Close()
	if err := s.DeleteDB(t.Context(), "db"); err != nil {
		t.Errorf("DeleteDB: %v", err)
	}
}

// TestNoSpaceAtAll opens a store whose disk is too full even for removals.
func TestNoSpaceAtAll(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	put(t, createDB(t, s, "db"), &document.Document{ID: "a"})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	engine, err := badgerkv.Open(badgerkv.Options{Dir: dir, Reserve: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	if s, err = newStore(engine, s.log); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteDB(t.Context(), "db"); !errors.Is(err, ErrNoSpace) {
		t.Errorf("DeleteDB: %v", err)
	}
	db, err := s.DB("db")
	if err != nil {
		t.Fatal(err)
	}
	snap := view(t, db)
	if _, err := snap.Lookup("a"); err != nil {
		t.Errorf("Lookup: %v", err)
	}
	snap.Close()
	epoch := s.epoch
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	// With room again all goes on, in an epoch that is not older than what was shown meanwhile.
	s = openStore(t, dir)
	if s.epoch < epoch {
		t.Errorf("epoch %d after %d", s.epoch, epoch)
	}
	if db, err = s.DB("db"); err != nil {
		t.Fatal(err)
	}
	put(t, db, &document.Document{ID: "b"})
}

func mustRev(text string) revtree.ID {
	id, err := revtree.ParseID(text)
	if err != nil {
		panic(err)
	}
	return id
}

// content reads an attachment to its end.
func content(s *Snapshot, a *document.Attachment) (string, error) {
	r, err := s.OpenDecoded(a)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(r)
	return string(text), errors.Join(err, r.Close())
}
