package storage

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/document"
)

// TestHeldSnapshot takes attachments away from a document while somebody reads the whole database.
func TestHeldSnapshot(t *testing.T) {
	db := newTestDB(t)
	large := strings.Repeat("0123456789abcdef", smallContent/8)
	a := attach(t, db, "a", large, Coding{})
	first := put(t, db, &document.Document{ID: "d", Attachments: []document.Attachment{a}})
	_, held, err := db.store.HeldSnapshot(db.Name())
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := db.store.HeldSnapshot(db.Name())
	if err != nil {
		t.Fatal(err)
	}
	put(t, db, &document.Document{ID: "d", Rev: first})
	if err := db.compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if text, err := content(held, &a); text != large || err != nil {
			t.Errorf("%d bytes, %v", len(text), err)
		}
		other.Close()
		other = view(t, db)
	}
	plain, err := db.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	held.Close()
	// What was put off is made up for.
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		c, err := plain.OpenAttachment(&a)
		if errors.Is(err, ErrNotFound) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil || time.Now().After(deadline) {
			t.Fatal("the attachment was not swept", err)
		}
	}
	if _, _, err := db.store.HeldSnapshot("none"); !errors.Is(err, ErrNoDatabase) {
		t.Error(err)
	}
}

func TestSettings(t *testing.T) {
	db := newTestDB(t)
	snap := view(t, db)
	s, err := snap.Settings()
	if err != nil || s.Security != nil || s.RevsLimit != DefaultRevsLimit || s.PurgedInfosLimit != DefaultPurgedInfosLimit || s.Docs != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := errors.Join(
		db.SetSecurity(t.Context(), []byte(`{"x":1}`)), db.SetRevsLimit(t.Context(), 5), db.SetPurgedInfosLimit(t.Context(), 6),
	); err != nil {
		t.Fatal(err)
	}
	put(t, db, &document.Document{ID: "d"})
	if s, err := view(t, db).Settings(); err != nil || string(s.Security) != `{"x":1}` || s.RevsLimit != 5 || s.PurgedInfosLimit != 6 || s.Docs != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := snap.Settings(); err != nil || s.Security != nil || s.RevsLimit != DefaultRevsLimit || s.Docs != 0 {
		t.Errorf("the settings of a snapshot changed: %+v, %v", s, err)
	}
}

// TestReadOnly opens the data of a process that was killed, and changes nothing.
func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	db := createDB(t, s, "db")
	put(t, db, &document.Document{ID: "d"})
	createDB(t, s, "gone")
	epoch := s.epoch
	if err := crash(s); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		o := testOptions(dir)
		o.ReadOnly = true
		r, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if r.UUID() != s.UUID() || r.epoch != epoch+1 {
			t.Errorf("epoch %d, want %d", r.epoch, epoch+1)
		}
		if found := problems(t, r); len(found) > 0 {
			t.Errorf("%v", found)
		}
		rdb, err := r.DB("db")
		if err != nil {
			t.Fatal(err)
		}
		results, applied := rdb.Apply(t.Context(), Write{Docs: []*document.Document{{ID: "e", Body: []byte("{}")}}})
		if applied == nil {
			applied = results[0].Err
		}
		_, created := r.CreateDB(t.Context(), "new", DBOptions{})
		for what, err := range map[string]error{"Apply": applied, "CreateDB": created, "DeleteDB": r.DeleteDB(t.Context(), "db"), "SetRevsLimit": rdb.SetRevsLimit(t.Context(), 3)} {
			if !errors.Is(err, ErrReadOnly) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	o := testOptions(t.TempDir())
	o.ReadOnly = true
	if _, err := Open(o); !errors.Is(err, ErrNotFound) {
		t.Errorf("a folder without data: %v", err)
	}
}
