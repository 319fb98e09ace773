package deflate_test

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/deflate"
)

var inputsDir = flag.String("inputs", "", "write the samples of TestZlib to this folder, for testdata/record.py")

// TestZlib compares with the digests of what zlib itself wrote, and reads what
// was written back.
func TestZlib(t *testing.T) {
	samples := corpus()
	if *inputsDir != "" {
		writeInputs(t, *inputsDir, samples)
		t.Skip("samples written, nothing compared")
	}
	want := readDigests(t)
	for _, s := range samples {
		input := fmt.Sprintf("%08x", crc32.ChecksumIEEE(s.data))
		for level := deflate.MinLevel; level <= deflate.MaxLevel; level++ {
			key := fmt.Sprintf("%s %d", s.name, level)
			d, ok := want[key]
			if !ok {
				t.Errorf("%s: no digest recorded", key)
				continue
			}
			delete(want, key)
			if d.input != input {
				t.Errorf("%s: the sample is not the one recorded", key)
				continue
			}
			got := compress(t, level, s.data)
			if fmt.Sprintf("%d", len(got)) != d.length || fmt.Sprintf("%x", sha256.Sum256(got)) != d.sum {
				t.Errorf("%s: %d bytes that are not zlib's %s", key, len(got), d.length)
			}
			if back, err := decompress(got); err != nil || !bytes.Equal(back, s.data) {
				t.Errorf("%s: not what was written (%v)", key, err)
			}
		}
	}
	for key := range want {
		t.Errorf("%s: digest without a sample", key)
	}
}

// digest is a line of testdata/zlib.txt: the CRC-32 of the sample, and the
// length and SHA-256 of zlib's output.
type digest struct{ input, length, sum string }

func readDigests(t *testing.T) map[string]digest {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "zlib.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	digests := map[string]digest{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		var name, level string
		var d digest
		if _, err := fmt.Sscan(line, &name, &level, &d.input, &d.length, &d.sum); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		digests[name+" "+level] = d
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return digests
}

func writeInputs(t *testing.T, dir string, samples []sample) {
	t.Helper()
	for _, s := range samples {
		path := filepath.Join(dir, filepath.FromSlash(s.name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, s.data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCouchDB compares with digests of attachments a CouchDB 3 gave.
func TestCouchDB(t *testing.T) {
	tests := []struct {
		text   string
		repeat int
		want   string
	}{
		{"compressible text 0 ", 1, "MI0msFzXSky20b27yLrzjg=="},
		{"compressible text 1 ", 21, "iEkhX821rD6/gQM7UXytDw=="},
		{"compressible text 2 ", 41, "ldwc1km/tsQ8ZU4YfScQwA=="},
		{"compressible text 3 ", 61, "mUw9HA6lAtpQ0CIit3134g=="},
	}
	for _, test := range tests {
		sum := md5.Sum(compress(t, 8, bytes.Repeat([]byte(test.text), test.repeat)))
		if got := base64.StdEncoding.EncodeToString(sum[:]); got != test.want {
			t.Errorf("%d times %q: digest %s, want %s", test.repeat, test.text, got, test.want)
		}
	}
}

// TestHeader pins the bytes that do not come from compression.
func TestHeader(t *testing.T) {
	const empty = "\x03\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"
	for level := deflate.MinLevel; level <= deflate.MaxLevel; level++ {
		want := "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + empty
		if level == 9 {
			want = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03" + empty
		}
		if got := compress(t, level, nil); string(got) != want {
			t.Errorf("level %d: % x, want % x", level, got, want)
		}
	}
}
