package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// largest returns the largest file below a folder whose name ends so.
func largest(t *testing.T, folder, end string) string {
	t.Helper()
	found, size := "", int64(-1)
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, end) {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > size {
			found, size = path, info.Size()
		}
		return err
	})
	if err != nil || found == "" {
		t.Fatalf("no file %s in %s: %v", end, folder, err)
	}
	return found
}

// flip changes a byte of a file.
func flip(t *testing.T, path string, at int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[at] ^= 0x55
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCheck damages the data of a stopped node in several ways.
func TestCheck(t *testing.T) {
	t.Parallel()
	n := harness.Start(t)
	mixture(t, n, "garden")
	must(t, n, "PUT", "/blobs", nil)
	must(t, n, "PUT", "/blobs/blob/file", bytes.Repeat([]byte("noise"), 100_000), "Content-Type", "application/octet-stream")
	check := func(code int, args ...string) string {
		t.Helper()
		return runs(t, code, mangrove(t, n, append([]string{"check", "--data", n.Data()}, args...)...))
	}
	if text := check(1); !strings.Contains(text, "stop it first") {
		t.Errorf("of a running node: %s", text)
	}
	n.Stop()
	for _, args := range [][]string{nil, {"--contents"}} {
		if text := check(0, args...); !strings.Contains(text, "everything is sound") {
			t.Errorf("nothing is wrong: %s", text)
		}
	}
	if none := filepath.Join(t.TempDir(), "none"); !strings.Contains(runs(t, 1, mangrove(t, n, "check", "--data", none)), "no data") {
		t.Error("a folder that is not there")
	} else if _, err := os.Stat(none); err == nil {
		t.Error("the folder was made")
	}

	blob := largest(t, filepath.Join(n.Data(), "blobs"), "")
	flip(t, blob, 1000)
	if text := check(0); !strings.Contains(text, "everything is sound") {
		t.Errorf("without reading contents: %s", text)
	}
	if text := check(1, "--contents"); !strings.Contains(text, "SHA-256") || !strings.Contains(text, "restore a backup") {
		t.Errorf("a blob was changed: %s", text)
	}
	if err := os.Remove(blob); err != nil {
		t.Fatal(err)
	}
	text := check(1, "--json", "-q")
	lines := bufio.NewScanner(strings.NewReader(text))
	var last map[string]any
	problems := 0
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "mangrove: ") {
			continue
		}
		last = nil
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			t.Fatalf("%v in %q", err, lines.Text())
		}
		if _, ok := last["remedy"]; ok {
			problems++
		}
	}
	if problems == 0 || last["sound"] != false || last["problems"] != float64(problems) {
		t.Errorf("%d problems were told: %s", problems, text)
	}

	// The node starts on what has been checked.
	n.Restart()
	must(t, n, "POST", "/garden/_compact", nil, "Content-Type", "application/json")
	must(t, n, "GET", "/garden", nil)
	n.Stop()

	table := largest(t, filepath.Join(n.Data(), "keys"), ".sst")
	flip(t, table, 5000)
	if text := check(1); !strings.Contains(text, "restore a backup") {
		t.Errorf("a table was changed: %s", text)
	}
	if err := os.Truncate(table, 10); err != nil {
		t.Fatal(err)
	}
	if text := check(1); !strings.Contains(text, "data directory") || !strings.Contains(text, "backup") {
		t.Errorf("a table was cut: %s", text)
	}
}
