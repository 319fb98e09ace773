package api

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/backup"
)

func TestBackup(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/a", `{"x":1}`)
	n.must("PUT", "/db/_local/mine", `{"x":1}`)
	n.must("PUT", "/db/b/file", []byte("content"), "Content-Type: text/plain")

	head := n.must("HEAD", "/db/_backup", nil)
	if len(head.body) > 0 || head.Header.Get("X-Mangrove-Documents") != "2" || head.Header.Get("X-Mangrove-Deleted") != "0" ||
		!strings.HasPrefix(head.Header.Get("X-Mangrove-Update-Seq"), "2-") || head.Header.Get("Content-Type") != backup.ContentType {
		t.Errorf("HEAD: %v", head.Header)
	}
	for query, locals := range map[string]uint64{"": 1, "?local=false": 0} {
		a := n.must("GET", "/db/_backup"+query, nil)
		s, err := backup.Verify(bytes.NewReader(a.body), nil)
		if err != nil || s.Documents != 2 || s.Revisions != 2 || s.Local != locals || s.Origin.Database != "db" {
			t.Errorf("%s: %+v, %v\n%s", query, s, err, a.body)
		}
	}
	a := n.do("POST", "/db/_backup", nil)
	if a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "GET,HEAD" {
		t.Errorf("POST: %s, %s", a.Status, a.Header.Get("Allow"))
	}
	n.refused(404, "not_found", "Database does not exist.", "GET", "/none/_backup", nil)
}

// TestBackupBreaks loses an attachment's content, which is met when the answer has begun.
func TestBackupBreaks(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/a/file", bytes.Repeat([]byte("content"), 100_000), "Content-Type: application/octet-stream")
	blobs := filepath.Join(n.config.Snapshot().DataDir, "blobs")
	err := filepath.WalkDir(blobs, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			err = os.Remove(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	response, err := n.client.Do(n.request("GET", "/db/_backup", nil))
	if err != nil {
		return // cut before anything was sent
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("the answer has an end:\n%s", text)
	}
}
