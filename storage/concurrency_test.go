package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage/kv"
)

// acknowledged are the revisions that writers were told are durable, by document id.
type acknowledged struct {
	mu   sync.Mutex
	revs map[string]revtree.ID
}

func (a *acknowledged) add(id string, rev revtree.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.revs == nil {
		a.revs = map[string]revtree.ID{}
	}
	if a.revs[id].Compare(rev) < 0 {
		a.revs[id] = rev
	}
}

// check looks for all of them: each is its document's winner or an ancestor of it.
func (a *acknowledged) check(t *testing.T, db *DB) {
	t.Helper()
	s := view(t, db)
	defer s.Close()
	for id, rev := range a.revs {
		row, err := s.Lookup(id)
		if err != nil {
			t.Errorf("%s %s: %v", id, rev, err)
			continue
		}
		tree, err := row.Tree()
		if err != nil {
			t.Error(err)
		}
		if _, ok := tree.Find(rev); !ok {
			t.Errorf("%s has lost %s", id, rev)
		}
	}
}

// write edits a document of the worker's own, and one that all workers share, n times, or until it is told that the
// database has ended.
func write(db *DB, worker, n int, acked *acknowledged) error {
	ctx := context.Background()
	own := fmt.Sprintf("own-%03d", worker)
	var rev, shared revtree.ID
	for i := range n {
		results, err := db.Apply(ctx, Write{Docs: []*document.Document{
			{ID: own, Rev: rev, Body: fmt.Appendf(nil, `{"i":%d}`, i)},
			{ID: "shared", Rev: shared, Body: fmt.Appendf(nil, `{"worker":%d,"i":%d}`, worker, i)},
		}})
		if err != nil {
			return err
		}
		if results[0].Err != nil {
			return results[0].Err
		}
		rev = results[0].Rev
		acked.add(own, rev)
		switch {
		case results[1].Err == nil:
			shared = results[1].Rev
			acked.add("shared", shared)
		case errors.Is(results[1].Err, ErrConflict):
			s, err := db.Snapshot()
			if err != nil {
				return err
			}
			if row, err := s.Lookup("shared"); err == nil {
				shared = row.Rev
			}
			s.Close()
		default:
			return results[1].Err
		}
	}
	return nil
}

// follow reads changes as a continuous feed does, until it has seen the update that ends it. It fails if a document
// that was in one round is not in a later one of another snapshot, or if sequences do not ascend.
func follow(db *DB, last Seq, done *atomic.Bool) error {
	ctx := context.Background()
	since := Seq(0)
	for !done.Load() || since < last {
		s, err := db.Snapshot()
		if err != nil {
			return err
		}
		for c, err := range s.Changes(ctx, ChangesOptions{Since: since}) {
			if err == nil && c.Seq <= since {
				err = fmt.Errorf("sequence %d after %d", c.Seq, since)
			}
			if err == nil {
				var row Row
				row, err = s.Lookup(c.ID)
				if err == nil && (row.Seq != c.Seq || row.Rev != c.Revs[0]) {
					err = fmt.Errorf("change %+v, document %+v", c, row)
				}
			}
			if err != nil {
				s.Close()
				return err
			}
			since = c.Seq
		}
		pending, err := s.Pending(since)
		s.Close()
		if err != nil || pending != 0 {
			return fmt.Errorf("%d are pending at the end: %w", pending, err)
		}
		if done.Load() {
			return nil
		}
		if err := db.Wait(ctx, since); err != nil {
			return err
		}
	}
	return nil
}

func ended(err error) bool {
	return err == nil || errors.Is(err, ErrClosed) || errors.Is(err, ErrNoDatabase)
}

func TestManyWritersOneDatabase(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	db := createDB(t, s, "db")
	var acked acknowledged
	var writers, readers sync.WaitGroup
	var done atomic.Bool
	for range 3 {
		readers.Go(func() {
			if err := follow(db, 0, &done); err != nil {
				t.Error(err)
			}
		})
	}
	for w := range 64 {
		writers.Go(func() {
			if err := write(db, w, 20, &acked); err != nil {
				t.Error(err)
			}
		})
	}
	readers.Go(func() { // compaction beside it all
		for !done.Load() {
			if err := db.compact(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	writers.Wait()
	done.Store(true)
	put(t, db, &document.Document{ID: "last"}) // wakes the readers
	readers.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	db, err := s.DB("db")
	if err != nil {
		t.Fatal(err)
	}
	acked.check(t, db)
	checkCounters(t, db)
}

// checkCounters compares a database's counters with a walk over it.
func checkCounters(t *testing.T, db *DB) {
	t.Helper()
	s := view(t, db)
	defer s.Close()
	var live, deleted, changes uint64
	for row, err := range s.Documents(t.Context(), Range{WithDeleted: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if row.Deleted {
			deleted++
		} else {
			offset, err := s.Offset(row.ID)
			if err != nil || offset != live {
				t.Errorf("offset of %s: %d, %v, want %d", row.ID, offset, err, live)
			}
			live++
		}
	}
	for c, err := range s.Changes(t.Context(), ChangesOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		changes++
		if pending, err := s.Pending(c.Seq); err != nil || pending != live+deleted-changes {
			t.Errorf("%d pending after %d, %v, want %d", pending, c.Seq, err, live+deleted-changes)
		}
	}
	if s.state.docs != live || s.state.deleted != deleted || changes != live+deleted {
		t.Errorf("state %+v, counted %d and %d, and %d changes", s.state, live, deleted, changes)
	}
}

func TestManyWritersManyDatabases(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	const databases = 100
	acked := make([]acknowledged, databases)
	dbs := make([]*DB, databases)
	for i := range dbs {
		dbs[i] = createDB(t, s, fmt.Sprintf("db%03d", i))
	}
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := range 4 {
				n := (w*7 + i*29) % databases
				if err := write(dbs[n], w, 3, &acked[n]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	for i := range dbs {
		db, err := s.DB(fmt.Sprintf("db%03d", i))
		if err != nil {
			t.Fatal(err)
		}
		acked[i].check(t, db)
		checkCounters(t, db)
	}
}

// TestEndUnderLoad deletes a database, or closes the store, while it is written, read and waited for.
func TestEndUnderLoad(t *testing.T) {
	for name, end := range map[string]func(s *Store) error{
		"delete": func(s *Store) error { return s.DeleteDB(context.Background(), "db") },
		"close":  func(s *Store) error { return s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openStore(t, dir)
			db := createDB(t, s, "db")
			var acked acknowledged
			var done atomic.Bool
			var wg sync.WaitGroup
			begun := make(chan struct{}, 1)
			worker := func(f func() error) {
				wg.Go(func() {
					if err := f(); !ended(err) {
						t.Error(err)
					}
				})
			}
			for w := range 16 {
				worker(func() error {
					err := write(db, w, 10, &acked)
					select {
					case begun <- struct{}{}:
					default:
					}
					if err != nil {
						return err
					}
					return write(db, 100+w, 1<<30, &acked)
				})
			}
			for range 2 {
				worker(func() error { return follow(db, 1<<62, &done) })
			}
			worker(func() error { return db.Wait(context.Background(), 1<<62) })
			worker(func() error {
				for {
					if err := db.compact(context.Background()); err != nil {
						return err
					}
				}
			})
			worker(func() error {
				for i := 0; ; i++ {
					text := strings.Repeat(fmt.Sprint(i), smallContent)
					if _, err := db.StoreAttachment(context.Background(), strings.NewReader(text), Coding{}); err != nil {
						return err
					}
				}
			})
			worker(func() error {
				for {
					if _, err := db.PutLocal(context.Background(), Local{ID: "_local/x"}); err != nil {
						return err
					}
				}
			})
			<-begun
			if err := end(s); err != nil {
				t.Error(err)
			}
			wg.Wait()
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			s = openStore(t, dir)
			again, err := s.DB("db")
			if name == "close" {
				if err != nil {
					t.Fatal(err)
				}
				acked.check(t, again)
				checkCounters(t, again)
				return
			}
			if !errors.Is(err, ErrNoDatabase) {
				t.Errorf("the deleted database: %v", err)
			}
			s.removeDropped(t.Context())
			if keys, err := s.someKeys(kv.Range{Prefix: databasePrefix(db.ID)}); err != nil || len(keys) > 0 {
				t.Errorf("%d keys are left, %v", len(keys), err)
			}
			for info, err := range s.engine.Blobs().List(db.ID) {
				t.Errorf("blob %s is left, %v", info.Name, err)
			}
		})
	}
}

// TestRecreateUnderLoad deletes and creates a database of one name again and again, while others open and write it.
func TestRecreateUnderLoad(t *testing.T) {
	s := openStore(t, t.TempDir())
	ctx := t.Context()
	var done atomic.Bool
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; !done.Load(); i++ {
				db, err := s.DB("db")
				if err == nil {
					_, err = db.Apply(ctx, Write{Docs: []*document.Document{{ID: fmt.Sprint(w, " ", i), Body: []byte("{}")}}})
				}
				if err == nil {
					var snap *Snapshot
					if snap, err = db.Snapshot(); err == nil {
						snap.Close()
					}
				}
				if !ended(err) {
					t.Error(err)
				}
			}
		})
	}
	for range 30 {
		createDB(t, s, "db")
		if err := s.DeleteDB(ctx, "db"); err != nil {
			t.Error(err)
		}
	}
	done.Store(true)
	wg.Wait()
	s.mu.Lock()
	if n := len(s.mu.open); n > 0 {
		t.Errorf("%d databases that are gone are still known", n)
	}
	s.mu.Unlock()
}

// TestApplyGivenUp takes the documents back while the writer may be at them.
func TestApplyGivenUp(t *testing.T) {
	db := newTestDB(t)
	small := attach(t, db, "x", "content", Coding{})
	for range 50 {
		d := &document.Document{ID: "a", Body: []byte("{}"), Attachments: []document.Attachment{small}}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := db.Apply(ctx, Write{Docs: []*document.Document{d}}); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		d.Rev, d.Attachments[0] = revtree.ID{Gen: 9, Hash: "other"}, document.Attachment{}
	}
	if err := db.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	row, err := view(t, db).Lookup("a")
	if err != nil || row.Rev.Gen != 1 {
		t.Errorf("%+v, %v", row, err)
	}
}

// TestCommitUnderLoad waits for what was written later, while others keep the writer busy.
func TestCommitUnderLoad(t *testing.T) {
	db := newTestDB(t)
	var acked acknowledged
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := write(db, w*1_000_000+i, 1, &acked); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 20 {
		id := fmt.Sprint("later", i)
		if err := db.ApplyLater(t.Context(), Write{Docs: []*document.Document{{ID: id, Body: []byte("{}")}}}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := db.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		s := view(t, db)
		if _, err := s.Lookup(id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		s.Close()
	}
	close(stop)
	wg.Wait()
}

// TestCloseWritesWhatWasTaken closes right behind ApplyLater.
func TestCloseWritesWhatWasTaken(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	db := createDB(t, s, "db")
	const n = 5000
	for i := range n {
		if err := db.ApplyLater(t.Context(), Write{Docs: []*document.Document{{ID: fmt.Sprint(i), Body: []byte("{}")}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := openStore(t, dir).DB("db")
	if err != nil {
		t.Fatal(err)
	}
	if docs := view(t, db).Docs(); docs != n {
		t.Errorf("%d of %d documents are there", docs, n)
	}
}
