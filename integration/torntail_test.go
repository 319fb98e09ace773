package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/integration/harness"
)

const (
	// tornRequests is the length of the history that tails are torn from.
	tornRequests = 400
	// maxTorn bounds the bytes of data that are cut or zeroed.
	maxTorn = 64 << 10
)

// TestTornTail damages the ends of the newest files of a data folder, as a
// power failure may. The server must then either open a prefix of the history
// or refuse with an error message and an exit code; it must not panic or hang.
// MANGROVE_TORN_COPIES sets the number of damaged folders,
// MANGROVE_CRASH_SEED repeats a run.
func TestTornTail(t *testing.T) {
	copies := setting(t, "MANGROVE_TORN_COPIES", 6, 18)
	seed := uint64(setting(t, "MANGROVE_CRASH_SEED", 1, int(time.Now().UnixNano()&0xffffff)))
	t.Logf("MANGROVE_TORN_COPIES=%d MANGROVE_CRASH_SEED=%d", copies, seed)
	rng := rand.New(rand.NewPCG(seed, 1000))

	c := newCrashTest(t, seed)
	w := c.writers[0]
	w.client, w.mixed = c.node.Client(), true
	for range tornRequests {
		if err := w.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c.node.Kill()

	kinds := []string{".mem", ".vlog", "MANIFEST"}
	for i := range copies {
		dir := filepath.Join(t.TempDir(), "torn")
		if err := copyFolder(dir, c.node.Data()); err != nil {
			t.Fatal(err)
		}
		file, err := newestFile(dir, kinds[i%len(kinds)])
		if err != nil {
			t.Fatal(err)
		}
		what, err := tear(rng, file, i/len(kinds)%2 == 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprintf("%d_%s", i, what), func(t *testing.T) {
			openTorn(t, c.ledger, dir)
		})
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}
}

func openTorn(t *testing.T, l *ledger, dir string) {
	node, err := harness.TryStart(t, harness.WithData(dir))
	var refused *harness.StartError
	switch {
	case errors.As(err, &refused):
		if refused.Hung || refused.Code <= 0 || hasStack(refused.Logs) {
			t.Errorf("not a clean refusal: %v", err)
		}
		t.Logf("refused with exit code %d: %s", refused.Code, lastLine(refused.Logs))
		return
	case err != nil:
		t.Fatal(err)
	}
	ctx, cancel := contextWithTimeout(t, verifyTimeout)
	defer cancel()
	reached, err := isPrefix(ctx, node.Client(), l)
	if err != nil {
		t.Error(err)
	}
	t.Logf("opened with %d of %d requests", reached, l.groups)
	node.Stop()
	if hasStack(node.Logs()) {
		t.Errorf("the server panicked:\n%s", node.Logs())
	}
}

func hasStack(logs string) bool {
	return strings.Contains(logs, "panic:") || strings.Contains(logs, "goroutine ") || strings.Contains(logs, "SIGSEGV") || strings.Contains(logs, "SIGBUS")
}

func lastLine(logs string) string {
	logs = strings.TrimSpace(logs)
	return logs[strings.LastIndexByte(logs, '\n')+1:]
}

// isPrefix checks that the database is as it was after some number of the
// ledger's requests, which it returns; of the last one, a bulk may be there in
// part. Everything that is there must be whole.
func isPrefix(ctx context.Context, c *harness.Client, l *ledger) (int, error) {
	res, err := c.Do(ctx, "GET", "/"+crashDB, nil)
	if err == nil && res.Status == 404 {
		return 0, nil // before the database was made
	}
	s, err := readState(ctx, c)
	if err != nil {
		return 0, err
	}
	now := map[string]*version{}
	reached := 0
	var wrong []error
	for _, id := range l.ids() {
		acked := l.records[id].acked
		var v *version
		if isLocal(id) {
			v, err = readLocal(ctx, c, id, acked)
		} else {
			v, err = s.version(id, acked)
		}
		if err == nil && v != nil && !v.deleted && !isLocal(id) {
			err = readWhole(ctx, c, id, *v)
		}
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		if now[id] = v; v != nil {
			reached = max(reached, v.group)
		}
	}
	for id := range s.byID {
		if l.records[id] == nil {
			wrong = append(wrong, fmt.Errorf("%s was never written", id))
		}
	}
	for id, v := range now {
		if err := fits(id, l.records[id].acked, v, reached); err != nil {
			wrong = append(wrong, err)
		}
	}
	return reached, errors.Join(wrong...)
}

// fits checks that v is what a document was after the first reached requests,
// or, if the last of them was a bulk, before it.
func fits(id string, history []version, v *version, reached int) error {
	after := -1
	for i := range history {
		if history[i].group <= reached {
			after = i
		}
	}
	is := slices.IndexFunc(history, func(h version) bool { return v != nil && h == *v })
	if is == after || after >= 0 && history[after].group == reached && history[after].bulk && is == after-1 {
		return nil
	}
	return fmt.Errorf("%s is version %d of its %d, but should be %d after %d requests", id, is+1, len(history), after+1, reached)
}

// newestFile finds the file of a kind that was written last: the one with the
// highest number in its name, which is how such files are numbered.
func newestFile(dir, kind string) (newest string, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.Base(path)
		if e.Type().IsRegular() && strings.HasSuffix(name, kind) && name >= filepath.Base(newest) {
			newest = path
		}
		return nil
	})
	if err == nil && newest == "" {
		err = fmt.Errorf("no file *%s in %s", kind, dir)
	}
	return newest, err
}

// tear cuts a random number of bytes of data off the file, or zeroes them. The
// zeros that may follow the data in a file laid out in advance do not count as
// data; cutting takes them too.
func tear(rng *rand.Rand, path string, cut bool) (what string, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	end, err := endOfData(f)
	if err != nil {
		return "", err
	}
	n := 1 + rng.Int64N(min(max(end, 1), maxTorn))
	if rng.IntN(3) == 0 {
		n = 1 + rng.Int64N(min(n, 64)) // often only the last record is hurt
	}
	from := max(0, end-n)
	if cut {
		return fmt.Sprintf("%s_cut_by_%d", filepath.Base(path), n), f.Truncate(from)
	}
	_, err = f.WriteAt(make([]byte, end-from), from)
	return fmt.Sprintf("%s_zeroed_by_%d", filepath.Base(path), n), err
}

// endOfData is the offset behind the last byte that is not zero.
func endOfData(f *os.File) (end int64, err error) {
	err = eachExtent(f, func(from int64, data []byte) error {
		for i := len(data) - 1; i >= 0; i-- {
			if data[i] != 0 {
				end = from + int64(i) + 1
				break
			}
		}
		return nil
	})
	return end, err
}

// eachExtent calls do with the file's content, piece by piece. Where the
// system tells, holes are left out: files may be laid out gigabytes ahead.
func eachExtent(f *os.File, do func(from int64, data []byte) error) error {
	const seekData = 3 // SEEK_DATA of Linux: to the next byte that is not in a hole
	buf := make([]byte, 1<<20)
	at := int64(0)
	for {
		if runtime.GOOS == "linux" {
			next, err := f.Seek(at, seekData)
			if err != nil {
				return nil //nolint:nilerr // ENXIO: no data from here on
			}
			at = next
		}
		n, err := f.ReadAt(buf, at)
		if n > 0 {
			if err := do(at, buf[:n]); err != nil {
				return err
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// copyFolder copies a folder's files, holes as holes.
func copyFolder(to, from string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case e.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case e.Type().IsRegular():
			return copyFile(filepath.Join(to, rel), path)
		}
		return nil
	})
}

func copyFile(to, from string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if err := dst.Truncate(info.Size()); err != nil {
		return err
	}
	return eachExtent(src, func(at int64, data []byte) error {
		_, err := dst.WriteAt(data, at)
		return err
	})
}

func TestTear(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 1))
	for _, cut := range []bool{true, false} {
		path := filepath.Join(dir, fmt.Sprint(cut), "data", "000001.mem")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Repeat("x", 5000)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 1<<30); err != nil {
			t.Fatal(err)
		}
		whole := filepath.Join(dir, fmt.Sprint(cut), "copy")
		if err := copyFolder(whole, filepath.Dir(path)); err != nil {
			t.Fatal(err)
		}
		file, err := newestFile(whole, ".mem")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tear(rng, file, cut); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		end, err := endOfData(f)
		info, err2 := f.Stat()
		if err != nil || err2 != nil || end >= 5000 || (info.Size() == 1<<30) == cut {
			t.Errorf("cut %v: data ends at %d, file at %d; %v, %v", cut, end, info.Size(), err, err2)
		}
	}
}

func TestFits(t *testing.T) {
	history := []version{{n: 1, rev: "1-a", group: 2}, {n: 2, rev: "2-a", group: 5, bulk: true}, {n: 3, rev: "3-a", group: 9}}
	tests := []struct {
		is      int // index of the version that is there, -1 for none
		reached int
		ok      bool
	}{
		{-1, 1, true},
		{0, 1, false},
		{0, 2, true},
		{-1, 2, false},
		{0, 4, true},
		{1, 5, true},
		{0, 5, true},
		{-1, 5, false},
		{0, 6, false},
		{1, 8, true},
		{2, 9, true},
		{1, 9, false},
	}
	for _, tt := range tests {
		var v *version
		if tt.is >= 0 {
			v = &history[tt.is]
		}
		if err := fits("x", history, v, tt.reached); (err == nil) != tt.ok {
			t.Errorf("version %d after %d requests: %v", tt.is, tt.reached, err)
		}
	}
}
