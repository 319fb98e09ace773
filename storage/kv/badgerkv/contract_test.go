package badgerkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/storage/kv"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Of a library of Badger, started by its init and never stopped.
		goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
	)
}

// reserve keeps tests from holding room on the disk.
const reserve = 1

func open(t testing.TB, dir string) *engine {
	t.Helper()
	e, err := Open(Options{Dir: dir, Memory: 1, Reserve: reserve})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e.(*engine)
}

func set(t testing.TB, e kv.Engine, pairs ...string) {
	t.Helper()
	err := e.Update(t.Context(), func(tx kv.Tx) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := tx.Set([]byte(pairs[i]), []byte(pairs[i+1])); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, r kv.Reader, key string) string {
	t.Helper()
	value, err := r.Get([]byte(key))
	if errors.Is(err, kv.ErrNotFound) {
		return "none"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(value)
}

func snapshot(t testing.TB, e kv.Engine) kv.Snapshot {
	t.Helper()
	s, err := e.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func walk(t testing.TB, r kv.Reader, kr kv.Range) (keys []string) {
	t.Helper()
	it := r.Iterate(kr)
	defer it.Close()
	for it.Next() {
		value, err := it.Value()
		if err != nil {
			t.Fatal(err)
		}
		if string(value) != "v"+string(it.Key()) {
			t.Fatalf("key %q has value %q", it.Key(), value)
		}
		keys = append(keys, string(it.Key()))
	}
	if it.Next() {
		t.Fatal("Next after the end")
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestIterate(t *testing.T) {
	e := open(t, t.TempDir())
	all := []string{"\x00", "a", "a\x00", "a\xff", "a\xff\xff", "ab", "abc", "b", "b\x00", "\xfe", "\xff", "\xff\x00", "\xff\xff", "\xff\xff\xff"}
	for _, k := range all {
		set(t, e, k, "v"+k)
	}
	s := snapshot(t, e)
	for _, c := range []struct {
		prefix     string
		start, end string // "-": none
		want       []string
	}{
		{"", "-", "-", all},
		{"", "a", "b", []string{"a", "a\x00", "a\xff", "a\xff\xff", "ab", "abc"}[:]},
		{"a", "-", "-", []string{"a", "a\x00", "ab", "abc", "a\xff", "a\xff\xff"}},
		{"a", "ab", "-", []string{"ab", "abc", "a\xff", "a\xff\xff"}},
		{"a", "-", "ab", []string{"a", "a\x00"}},
		{"a", "a", "a\x00", []string{"a"}},
		{"a", "\x00", "b", []string{"a", "a\x00", "ab", "abc", "a\xff", "a\xff\xff"}},
		{"a", "b", "-", nil},
		{"a", "-", "a", nil},
		{"a", "-", "", nil},
		{"a\xff", "-", "-", []string{"a\xff", "a\xff\xff"}},
		{"\xff", "-", "-", []string{"\xff", "\xff\x00", "\xff\xff", "\xff\xff\xff"}},
		{"\xff\xff", "-", "-", []string{"\xff\xff", "\xff\xff\xff"}},
		{"\xff", "\xff\x00", "\xff\xff", []string{"\xff\x00"}},
		{"nothing", "-", "-", nil},
		{"", "b\x00", "a", nil},
	} {
		want := slices.Clone(c.want)
		slices.Sort(want)
		kr := kv.Range{Prefix: []byte(c.prefix)}
		if c.start != "-" {
			kr.Start = []byte(c.start)
		}
		if c.end != "-" {
			kr.End = []byte(c.end)
		}
		if got := walk(t, s, kr); !slices.Equal(got, want) {
			t.Errorf("%q [%q,%q): %q, want %q", c.prefix, c.start, c.end, got, want)
		}
		kr.Reverse = true
		slices.Reverse(want)
		if got := walk(t, s, kr); !slices.Equal(got, want) {
			t.Errorf("%q [%q,%q) downwards: %q, want %q", c.prefix, c.start, c.end, got, want)
		}
	}
}

// TestIterateProperty compares iterators, in snapshots and in transactions with writes of their own, with a sorted list.
func TestIterateProperty(t *testing.T) {
	e := open(t, t.TempDir())
	text := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 0xff}), 1, 3), func(b []byte) string { return string(b) })
	bound := rapid.OneOf(rapid.Just(""), text)
	rapid.Check(t, func(t *rapid.T) {
		err := e.Update(context.Background(), func(tx kv.Tx) error {
			old := allKeys(tx)
			for _, k := range old {
				if err := tx.Delete([]byte(k)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		before := rapid.SliceOfNDistinct(text, 0, 12, rapid.ID).Draw(t, "before")
		added := rapid.SliceOfN(text, 0, 4).Draw(t, "added")
		gone := rapid.SliceOfN(text, 0, 4).Draw(t, "gone")
		write := func(tx kv.Tx, keys []string) error {
			for _, k := range keys {
				if err := tx.Set([]byte(k), []byte("v"+k)); err != nil {
					return err
				}
			}
			return nil
		}
		if err := e.Update(context.Background(), func(tx kv.Tx) error { return write(tx, before) }); err != nil {
			t.Fatal(err)
		}
		model := map[string]bool{}
		for _, k := range before {
			model[k] = true
		}
		err = e.Update(context.Background(), func(tx kv.Tx) error {
			for _, k := range added {
				model[k] = true
			}
			if err := write(tx, added); err != nil {
				return err
			}
			for _, k := range gone {
				delete(model, k)
				if err := tx.Delete([]byte(k)); err != nil {
					return err
				}
			}
			return compareWalks(t, tx, model, bound)
		})
		if err != nil {
			t.Fatal(err)
		}
		s, err := e.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := compareWalks(t, s, model, bound); err != nil {
			t.Fatal(err)
		}
	})
}

func allKeys(r kv.Reader) (keys []string) {
	it := r.Iterate(kv.Range{})
	defer it.Close()
	for it.Next() {
		keys = append(keys, string(it.Key()))
	}
	return keys
}

func compareWalks(t *rapid.T, r kv.Reader, model map[string]bool, bound *rapid.Generator[string]) error {
	for range 4 {
		prefix, start, end := bound.Draw(t, "prefix"), bound.Draw(t, "start"), bound.Draw(t, "end")
		kr := kv.Range{Prefix: []byte(prefix), Reverse: rapid.Bool().Draw(t, "reverse")}
		if rapid.Bool().Draw(t, "hasStart") {
			kr.Start = []byte(start)
		}
		if rapid.Bool().Draw(t, "hasEnd") {
			kr.End = []byte(end)
		}
		var want []string
		for k := range model {
			if bytes.HasPrefix([]byte(k), kr.Prefix) && (kr.Start == nil || k >= start) && (kr.End == nil || k < end) {
				want = append(want, k)
			}
		}
		slices.Sort(want)
		if kr.Reverse {
			slices.Reverse(want)
		}
		it := r.Iterate(kr)
		// Now and then a seek, always forwards.
		for i := 0; ; {
			if rapid.IntRange(0, 3).Draw(t, "seek") == 0 {
				to := bound.Draw(t, "to")
				j := i
				for j < len(want) && (!kr.Reverse && want[j] < to || kr.Reverse && want[j] > to) {
					j++
				}
				if j > i || i == 0 {
					it.Seek([]byte(to))
					i = j
				}
			}
			more := it.Next()
			if more != (i < len(want)) || more && string(it.Key()) != want[i] {
				it.Close()
				return fmt.Errorf("range %+v: place %d of %q: %v", kr, i, want, more)
			}
			if !more {
				break
			}
			i++
		}
		it.Close()
	}
	return nil
}

func TestSnapshotIsolation(t *testing.T) {
	e := open(t, t.TempDir())
	set(t, e, "a", "va", "b", "vb")
	s := snapshot(t, e)
	it := s.Iterate(kv.Range{})
	defer it.Close()
	if !it.Next() {
		t.Fatal("nothing there")
	}
	set(t, e, "a", "changed", "aa", "new")
	if err := e.Update(t.Context(), func(tx kv.Tx) error { return tx.Delete([]byte("b")) }); err != nil {
		t.Fatal(err)
	}
	if a, b, aa := get(t, s, "a"), get(t, s, "b"), get(t, s, "aa"); a != "va" || b != "vb" || aa != "none" {
		t.Errorf("the snapshot shows %q %q %q", a, b, aa)
	}
	if !it.Next() || string(it.Key()) != "b" || it.Next() {
		t.Error("the iterator shows what came later")
	}
	now := snapshot(t, e)
	if a, b, aa := get(t, now, "a"), get(t, now, "b"), get(t, now, "aa"); a != "changed" || b != "none" || aa != "new" {
		t.Errorf("a new snapshot shows %q %q %q", a, b, aa)
	}
}

func TestUpdateReadsItsWrites(t *testing.T) {
	e := open(t, t.TempDir())
	refused := errors.New("refused")
	err := e.Update(t.Context(), func(tx kv.Tx) error {
		if err := tx.Set([]byte("k"), []byte("v")); err != nil {
			return err
		}
		if got := get(t, tx, "k"); got != "v" {
			t.Errorf("own write: %q", got)
		}
		return refused
	})
	if !errors.Is(err, refused) {
		t.Error(err)
	}
	if got := get(t, snapshot(t, e), "k"); got != "none" {
		t.Errorf("a refused transaction has left %q", got)
	}
}

// TestUpdateConflicts has goroutines count in one key: each must read what the one before wrote.
func TestUpdateConflicts(t *testing.T) {
	e := open(t, t.TempDir())
	const workers, each = 8, 50
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				err := e.Update(context.Background(), func(tx kv.Tx) error {
					value, err := tx.Get([]byte("n"))
					if err != nil && !errors.Is(err, kv.ErrNotFound) {
						return err
					}
					return tx.Set([]byte("n"), append(value, 1))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(get(t, snapshot(t, e), "n")); n != workers*each {
		t.Errorf("counted to %d", n)
	}
}

func TestUpdateGivesUpWithContext(t *testing.T) {
	e := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	tries := 0
	err := e.Update(ctx, func(tx kv.Tx) error {
		tries++
		if _, err := tx.Get([]byte("k")); !errors.Is(err, kv.ErrNotFound) && tries == 1 {
			return err
		}
		set(t, e, "k", "mine") // always comes first
		if tries == 3 {
			cancel()
		}
		return tx.Set([]byte("k"), []byte("late"))
	})
	if !errors.Is(err, context.Canceled) || tries != 3 {
		t.Errorf("%v after %d tries", err, tries)
	}
}

func TestTooBig(t *testing.T) {
	e := open(t, t.TempDir())
	for name, fn := range map[string]func(tx kv.Tx) error{
		"many": func(tx kv.Tx) error {
			value := bytes.Repeat([]byte("x"), 100<<10)
			for i := range 1000 {
				if err := tx.Set(fmt.Appendf(nil, "k%d", i), value); err != nil {
					return err
				}
			}
			return nil
		},
		"key":   func(tx kv.Tx) error { return tx.Set(bytes.Repeat([]byte("k"), maxKey+1), nil) },
		"value": func(tx kv.Tx) error { return tx.Set([]byte("k"), make([]byte, maxValue+1)) },
	} {
		if err := e.Update(t.Context(), fn); !errors.Is(err, kv.ErrTooBig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if keys := walk(t, snapshot(t, e), kv.Range{}); len(keys) > 0 {
		t.Errorf("%d keys are left of transactions that were too big", len(keys))
	}
}

// TestLargeValues reads values around the size from which they lie in the value log, before and after a restart.
func TestLargeValues(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	sizes := []int{0, 1, 1000, int(e.threshold) / 2}
	for d := -20; d <= 20; d++ {
		sizes = append(sizes, int(e.threshold)/2+d)
	}
	for d := -20; d <= 20; d += 4 {
		sizes = append(sizes, int(e.threshold)+d)
	}
	sizes = append(sizes, 8<<20)
	value := func(i int) []byte { return bytes.Repeat([]byte{byte(i), byte(i + 1)}, sizes[i]/2+1)[:sizes[i]] }
	for i := range sizes {
		set(t, e, fmt.Sprintf("k%03d", i), string(value(i)))
	}
	check := func(e kv.Engine) {
		t.Helper()
		s, err := e.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		it := s.Iterate(kv.Range{Prefix: []byte("k")})
		defer it.Close()
		for i := range sizes {
			got, err := s.Get(fmt.Appendf(nil, "k%03d", i))
			if err != nil || !bytes.Equal(got, value(i)) {
				t.Errorf("value of %d bytes: %d, %v", sizes[i], len(got), err)
			}
			if !it.Next() {
				t.Fatal("the walk ends early")
			}
			if got, err := it.Value(); err != nil || !bytes.Equal(got, value(i)) {
				t.Errorf("walk, value of %d bytes: %d, %v", sizes[i], len(got), err)
			}
		}
	}
	check(e)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	check(open(t, dir))
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	if _, err := Open(Options{Dir: dir, Reserve: reserve}); !errors.Is(err, kv.ErrLocked) {
		t.Errorf("a second open: %v", err)
	}
	set(t, e, "k", "v")
}

// A folder that has lost its manifest must not be taken for an empty one.
func TestMissingManifest(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	set(t, e, "k", "v")
	if err := e.Close(); err != nil { // which writes a table
		t.Fatal(err)
	}
	manifest := filepath.Join(dir, "keys", "MANIFEST")
	if err := os.Rename(manifest, manifest+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir, Reserve: reserve}); err == nil || !strings.Contains(err.Error(), "MANIFEST") {
		t.Errorf("open without a manifest: %v", err)
	}
	if err := os.Rename(manifest+".away", manifest); err != nil {
		t.Fatal(err)
	}
	s := snapshot(t, open(t, dir))
	if got := get(t, s, "k"); got != "v" {
		t.Errorf("k is %q", got)
	}
}

// Who only looks must not have tables removed because the list of them was cut.
func TestTornManifest(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	set(t, e, "k", "v")
	if err := e.Close(); err != nil { // which writes a table
		t.Fatal(err)
	}
	manifest := filepath.Join(dir, "keys", "MANIFEST")
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(manifest, text[:len(text)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir, Reserve: reserve, Existing: true}); err == nil || !strings.Contains(err.Error(), ".sst") {
		t.Errorf("open with half a manifest: %v", err)
	}
	if err := os.WriteFile(manifest, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := get(t, snapshot(t, open(t, dir)), "k"); got != "v" {
		t.Errorf("k is %q", got)
	}
}

func TestMemtableSize(t *testing.T) {
	for memory, want := range map[int64]int64{1: 8 << 20, 64 << 20: 16 << 20, 1 << 30: 256 << 20, 1 << 60: 1 << 30} {
		if got := memtableSize(memory); got != want {
			t.Errorf("%d bytes of memory make tables of %d, want %d", memory, got, want)
		}
	}
}

func TestRoom(t *testing.T) {
	dir := t.TempDir()
	free, err := freeSpace(dir)
	if err != nil {
		t.Fatal(err)
	}
	// Nearly full: less than the reserve is free, and more than its last quarter.
	e, err := Open(Options{Dir: dir, Reserve: int64(free) * 2})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Room(); !errors.Is(err, kv.ErrNoSpace) {
		t.Errorf("Room: %v", err)
	}
	if _, err := e.Blobs().Create(1); !errors.Is(err, kv.ErrNoSpace) {
		t.Errorf("Create: %v", err)
	}
	// Removals go on.
	if err := e.Update(t.Context(), func(tx kv.Tx) error { return tx.Delete([]byte("k")) }); err != nil {
		t.Error(err)
	}
}

func TestFull(t *testing.T) {
	e, err := Open(Options{Dir: t.TempDir(), Reserve: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Update(t.Context(), func(tx kv.Tx) error { return tx.Delete([]byte("k")) }); !errors.Is(err, kv.ErrNoSpace) {
		t.Errorf("an update on a full disk: %v", err)
	}
	s, err := e.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// TestClose closes while snapshots are open and updates go on: each of them either works or is told.
func TestClose(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	set(t, e, "k", "vk")
	s, err := e.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- e.Close() }()
	n := 0
	for ; ; n++ {
		err := e.Update(t.Context(), func(tx kv.Tx) error { return tx.Set(fmt.Appendf(nil, "n%d", n), nil) })
		if errors.Is(err, kv.ErrClosed) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := walk(t, s, kv.Range{}); !slices.Equal(got, []string{"k"}) {
		t.Errorf("the open snapshot shows %q", got)
	}
	s.Close()
	s.Close()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if _, err := e.Snapshot(); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("Snapshot: %v", err)
	}
	if err := e.Sync(); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("Sync: %v", err)
	}
	if got := allKeys(snapshot(t, open(t, dir))); len(got) != n+1 {
		t.Errorf("%d of %d keys are there", len(got), n+1)
	}
}
