package storage

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage/kv"
)

// copyFolder copies the files of a running store, as a crash would leave them if all that was written had reached the
// disk.
func copyFolder(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func parseSeqs(t *testing.T, db *DB, wants map[string]Seq) {
	t.Helper()
	s, err := db.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for text, want := range wants {
		if got, err := s.ParseSeq(text); got != want || err != nil {
			t.Errorf("ParseSeq(%s) = %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestParseSeq(t *testing.T) {
	s := openStore(t, t.TempDir())
	db := createDB(t, s, "db")
	other := createDB(t, s, "other")
	for _, id := range []string{"a", "b", "c"} {
		put(t, db, &document.Document{ID: id})
	}
	snap := view(t, db)
	two := snap.FormatSeq(2)
	opaque := strings.TrimPrefix(two, "2-")
	if opaque == two || len(opaque) < 17 {
		t.Fatalf("sequence %q", two)
	}
	quoted, _ := json.Marshal(two)
	parseSeqs(t, db, map[string]Seq{
		"": 0, "0": 0, "2": 2, " 2 ": 2, `"2"`: 2, "99": 3, two: 2, string(quoted): 2,
		`[2,"` + opaque + `"]`: 2, `[99, "` + opaque + `"]`: 3, "99-" + opaque: 3, "0-" + opaque: 0,
		strconv.FormatUint(1<<62, 10): 3, "1-": 1,
		// Of another incarnation, of an epoch that is still to come, or not ours at all: from the beginning.
		view(t, other).FormatSeq(2): 0, "2-" + opaque + "1": 0, "2-g1AAAACTeJzLYWBgYMpg": 0, "2-" + opaque[:16]: 0,
	})
	for _, text := range []string{"x", "-1", "1.5", "1e3", "-", `"`, "[", "[]", "[1]", `["1","x"]`, `[1,"x",2]`, "{}", "null", "9223372036854775808", "99999999999999999999"} {
		if got, err := snap.ParseSeq(text); !errors.Is(err, ErrBadSeq) {
			t.Errorf("ParseSeq(%s) = %d, %v, want ErrBadSeq", text, got, err)
		}
	}
}

// TestEpochs goes back to a copy of the folder from before the newest updates, as after a crash that has lost them:
// their numbers are given out again, and whoever has seen the lost ones must see those.
func TestEpochs(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	db := createDB(t, s, "db")
	for _, id := range []string{"a", "b"} {
		put(t, db, &document.Document{ID: id})
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	dir = copyFolder(t, dir)
	for _, id := range []string{"lost1", "lost2", "lost3"} {
		put(t, db, &document.Document{ID: id})
	}
	of := func(db *DB, n Seq) string {
		s := view(t, db)
		defer s.Close()
		return s.FormatSeq(n)
	}
	first := []string{"", of(db, 1), of(db, 2), of(db, 3), of(db, 4), of(db, 5)}
	uuid := s.UUID()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = openStore(t, dir)
	if s.epoch != 1 || s.UUID() != uuid {
		t.Fatalf("epoch %d of %s, want 1 of %s", s.epoch, s.UUID(), uuid)
	}
	db, err := s.DB("db")
	if err != nil {
		t.Fatal(err)
	}
	before := map[string]Seq{first[1]: 1, first[2]: 2, first[3]: 2, first[5]: 2}
	parseSeqs(t, db, before)
	for _, id := range []string{"c", "d", "e", "f"} {
		put(t, db, &document.Document{ID: id})
	}
	parseSeqs(t, db, before)
	second := []string{"", of(db, 1), of(db, 2), of(db, 3), of(db, 4), of(db, 5), of(db, 6)}
	parseSeqs(t, db, map[string]Seq{second[2]: 2, second[5]: 5, second[6]: 6})

	// A crash without writes on either side starts an epoch of the store that the database never notices.
	if err := crash(s); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	if err := crash(s); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	if s.epoch != 3 {
		t.Errorf("epoch %d, want 3", s.epoch)
	}
	if db, err = s.DB("db"); err != nil {
		t.Fatal(err)
	}
	parseSeqs(t, db, before)
	parseSeqs(t, db, map[string]Seq{second[6]: 6})
	// What was seen in an epoch of which nothing survived goes on from what has.
	ahead := strings.TrimSuffix(second[6], "1")
	parseSeqs(t, db, map[string]Seq{"9" + ahead[1:] + "2": 6, "4" + ahead[1:] + "2": 4, "4" + ahead[1:] + "9": 0})
	put(t, db, &document.Document{ID: "g"})
	parseSeqs(t, db, before)
	parseSeqs(t, db, map[string]Seq{second[6]: 6, "9" + ahead[1:] + "2": 6, of(db, 7): 7})

	// A clean stop keeps the epoch.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s = openStore(t, dir); s.epoch != 3 {
		t.Errorf("epoch %d after a clean stop, want 3", s.epoch)
	}
}

func TestEpochsAreBounded(t *testing.T) {
	var es []epoch
	for i := range 3 * maxEpochs {
		es = append(es, epoch{uint64(i), Seq(i)})
	}
	got, err := parseEpochs(appendEpochs(nil, es))
	if err != nil || len(got) != maxEpochs || got[maxEpochs-1] != es[len(es)-1] {
		t.Errorf("%d epochs, %v", len(got), err)
	}
	// A sequence of an epoch that is forgotten means the beginning.
	db := newTestDB(t)
	err = db.store.engine.Update(t.Context(), func(tx kv.Tx) error { return tx.Set(db.keys.meta(metaEpochs), appendEpochs(nil, es)) })
	if err != nil {
		t.Fatal(err)
	}
	s := view(t, db)
	s.state.epoch, s.state.seq = 3*maxEpochs-1, 1000
	if end := s.endOf(1); end != 0 {
		t.Errorf("epoch 1 ends at %d", end)
	}
	if end := s.endOf(3*maxEpochs - 10); end != 3*maxEpochs-9 {
		t.Errorf("epoch %d ends at %d", 3*maxEpochs-10, end)
	}
}

func TestUpdatesFeed(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	ctx := t.Context()
	feed := func(since uint64, descending bool) string {
		t.Helper()
		s.UpdateSeq()
		var b strings.Builder
		last := uint64(0)
		for up, err := range s.Updates(since, descending) {
			if err != nil {
				t.Fatal(err)
			}
			if !descending && up.Seq <= last {
				t.Errorf("number %d after %d", up.Seq, last)
			}
			last = up.Seq
			b.WriteString(up.Name + " " + string(up.Kind) + "; ")
		}
		return b.String()
	}
	expect := func(want string) {
		t.Helper()
		if got := feed(0, false); got != want {
			t.Errorf("feed %q, want %q", got, want)
		}
	}
	a, b := createDB(t, s, "a"), createDB(t, s, "b")
	expect("a created; b created; ")
	seq := s.UpdateSeq()
	waited := make(chan error)
	go func() { waited <- s.WaitUpdate(ctx, seq) }()
	put(t, a, &document.Document{ID: "x"})
	if err := <-waited; err != nil {
		t.Error(err)
	}
	expect("b created; a updated; ")
	if got := feed(seq, false); got != "a updated; " {
		t.Errorf("since %d: %q", seq, got)
	}
	if got := feed(0, true); got != "a updated; b created; " {
		t.Errorf("descending: %q", got)
	}
	// Nothing was changed, so nothing is told.
	if r, err := b.Apply(ctx, Write{Docs: []*document.Document{{ID: "x", Rev: mustRev("1-a"), Body: []byte("{}")}}}); err != nil || r[0].Err == nil {
		t.Errorf("%v, %v", r, err)
	}
	expect("b created; a updated; ")

	// What happens just before a crash is told at the next start.
	s.updates.flushing.Lock()
	put(t, b, &document.Document{ID: "y"})
	createDB(t, s, "c")
	if err := s.DeleteDB(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	left := copyFolder(t, dir)
	s.updates.flushing.Unlock()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, left)
	s.UpdateSeq()
	expect("b updated; c created; a deleted; ")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, left)
	expect("b updated; c created; a deleted; ")
}

// TestUpdateNumbers has several flushes at once, of this process and as if of another.
func TestUpdateNumbers(t *testing.T) {
	s := openStore(t, t.TempDir())
	done := make(chan error)
	const writers, each = 4, 20
	for w := range writers {
		go func() {
			other := &updates{store: s, pending: map[string]UpdateKind{}, flushed: make(chan struct{})}
			for i := range each {
				name := strconv.Itoa(w*each + i)
				if err := other.write([]string{name}, map[string]UpdateKind{name: UpdateCreated}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for _, err := range s.Updates(0, false) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != writers*each {
		t.Errorf("%d updates, want %d", n, writers*each)
	}
}

func FuzzParseSeq(f *testing.F) {
	db := newTestDB(f)
	put(f, db, &document.Document{ID: "a"})
	s := view(f, db)
	for _, text := range []string{"", "1", `"1"`, "1-", s.FormatSeq(1), `[1,"x"]`, `[1,"` + s.FormatSeq(1)[2:] + `"]`, "[[1]]", `"\ud800"`, "-0", "1-" + strings.Repeat("z", 99)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		seq, err := s.ParseSeq(text)
		if err != nil && !errors.Is(err, ErrBadSeq) {
			t.Fatal(err)
		}
		if seq > s.Seq() {
			t.Fatalf("%q is %d, ahead of %d", text, seq, s.Seq())
		}
		if err == nil {
			if again, err := s.ParseSeq(s.FormatSeq(seq)); again != seq || err != nil {
				t.Fatalf("%q is %d, and that %d, %v", text, seq, again, err)
			}
		}
	})
}
