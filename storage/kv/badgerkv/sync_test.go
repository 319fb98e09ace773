package badgerkv

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// syncs notes which files an engine flushes by name.
type syncs struct {
	mu    sync.Mutex
	names map[string]int
}

func watchSyncs(e *engine) *syncs {
	s := &syncs{names: map[string]int{}}
	e.syncing.Lock()
	defer e.syncing.Unlock()
	e.syncFile = func(name string) error {
		s.mu.Lock()
		s.names[filepath.Base(name)]++
		s.mu.Unlock()
		return syncFile(name)
	}
	return s
}

// TestSyncRotated writes until logs of both kinds have been left behind, with a sync now and then: each log that was
// left behind must have been flushed, or be gone because it has become a table.
func TestSyncRotated(t *testing.T) {
	e := open(t, t.TempDir())
	seen := watchSyncs(e)
	small, large := bytes.Repeat([]byte("x"), 100<<10), make([]byte, e.threshold+1)
	sync := func() {
		t.Helper()
		if err := e.Sync(); err != nil {
			t.Fatal(err)
		}
		newest, logs, err := findLogs(e.dir)
		if err != nil {
			t.Fatal(err)
		}
		if e.logs.mem != newest.mem || e.logs.value != newest.value {
			t.Fatalf("synced up to %+v, there is %+v", e.logs, newest)
		}
		for kind, numbers := range logs {
			for _, n := range numbers {
				name := filepath.Base(kind.path("", n))
				if n != newest.mem && kind == memLog || n != newest.value && kind == valueLog {
					if seen.names[name] == 0 {
						t.Fatalf("%s was left behind and not flushed", name)
					}
				}
			}
		}
	}
	sync()
	first := e.logs
	n := 0
	put := func(value []byte, times int) {
		for range times {
			n++
			set(t, e, fmt.Sprintf("%08d", n), string(value))
		}
	}
	for range 6 {
		put(small, 30) // 3 MB: about a third of a memtable
		sync()
	}
	put(small, 300) // several memtables without any sync
	sync()
	put(large, 140) // more than a value log
	sync()
	if e.logs.mem < first.mem+3 || e.logs.value <= first.value {
		t.Errorf("logs went from %+v to %+v only", first, e.logs)
	}
	if len(seen.names) == 0 {
		t.Error("no log was flushed by name")
	}
}

// TestSyncSkippedNumbers has logs come and go between two syncs.
func TestSyncSkippedNumbers(t *testing.T) {
	e := &engine{dir: t.TempDir()}
	seen := watchSyncs(e)
	touch := func(names ...string) {
		t.Helper()
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(e.dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(wantMem, wantValue int, want ...string) {
		t.Helper()
		clear(seen.names)
		if err := e.syncOlder(); err != nil {
			t.Fatal(err)
		}
		if e.logs.mem != wantMem || e.logs.value != wantValue {
			t.Errorf("newest logs %+v, want %d and %d", e.logs, wantMem, wantValue)
		}
		for _, name := range want {
			if seen.names[name] == 0 {
				t.Errorf("%s was not flushed", name)
			}
		}
		if len(seen.names) != len(want) {
			t.Errorf("flushed %v, want %v", seen.names, want)
		}
	}
	touch("00001.mem", "000001.vlog", "000007.sst", "MANIFEST", "x.mem")
	check(1, 1)
	touch("00002.mem")
	check(2, 1, "00001.mem")
	check(2, 1)
	// 3 came and went; an iterator keeps 2 from going.
	touch("00004.mem", "00005.mem", "000002.vlog", "000003.vlog")
	check(5, 3, "00002.mem", "00004.mem", "000001.vlog", "000002.vlog")
	for _, name := range []string{"00001.mem", "00002.mem", "00004.mem", "00005.mem"} {
		if err := os.Remove(filepath.Join(e.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	touch("00009.mem", "00012.mem")
	check(12, 3, "00009.mem")

	// Once the folder has been at rest, its time of modification tells that nothing is new, or that something is.
	rest := time.Now().Add(-time.Minute)
	if err := os.Chtimes(e.dir, rest, rest); err != nil {
		t.Fatal(err)
	}
	check(12, 3)
	if e.logs.modified.IsZero() {
		t.Error("the time of a folder at rest is not trusted")
	}
	check(12, 3)
	touch("00013.mem")
	check(13, 3, "00012.mem")
}

// TestSyncBesideWriters has syncs race with writers that rotate the logs.
func TestSyncBesideWriters(t *testing.T) {
	e := open(t, t.TempDir())
	value := bytes.Repeat([]byte("x"), 200<<10)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for i := range 100 {
				err := e.Update(context.Background(), func(tx kv.Tx) error { return tx.Set(fmt.Appendf(nil, "%d-%d", w, i), value) })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	for {
		select {
		case <-done:
			return
		default:
			if err := e.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
