package integration

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/integration/harness"
)

const (
	// largeBlob is the size of the attachments that fill a disk, smallBlob that
	// of those which fill its last corner.
	largeBlob = 1 << 20
	smallBlob = 1 << 10
	// recoverTimeout is how long writes may still fail once there is room.
	recoverTimeout = 30 * time.Second
)

// smallDisk mounts a file system of its own for the test's data. MANGROVE_DISK_MIB
// sets its size.
func smallDisk(t *testing.T) (dir string, size int64) {
	t.Helper()
	mib := setting(t, "MANGROVE_DISK_MIB", 256, 256)
	if runtime.GOOS != "linux" {
		t.Skip("needs a tmpfs of its own, which only Linux mounts")
	}
	dir = filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", mib), "mangrove-test", dir).CombinedOutput(); err != nil {
		t.Skipf("mounting a tmpfs is not permitted here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir, int64(mib) << 20
}

// diskTest is a node on a small disk and what it has acknowledged.
type diskTest struct {
	t     *testing.T
	node  *harness.Node
	acked map[string]int // size of the attachment by document
	next  int
}

func newDiskTest(t *testing.T, disk string) *diskTest {
	t.Helper()
	d := &diskTest{t: t, node: harness.Start(t, harness.WithData(filepath.Join(disk, "data"))), acked: map[string]int{}}
	res, err := d.node.Client().Do(t.Context(), http.MethodPut, "/"+crashDB, nil)
	if err == nil {
		err = res.Decode(http.StatusCreated, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func blobOf(id string, size int) []byte { return random(source("blob", id, size), size) }

// write writes a document with an attachment and returns the status. Any but
// 201 must be 507, or 500, with a reason; no answer at all fails the test at
// once.
func (d *diskTest) write(size int) int {
	d.t.Helper()
	d.next++
	id := fmt.Sprintf("d%05d", d.next)
	res, err := d.node.Client().Do(d.t.Context(), http.MethodPut, "/"+crashDB+"/"+id+"/f", blobOf(id, size), "Content-Type", "application/octet-stream")
	if err != nil {
		d.t.Fatalf("write %d got no answer (node running: %v): %v\n%s", d.next, d.node.Running(), err, d.node.Logs())
	}
	if res.Status == http.StatusCreated {
		d.acked[id] = size
		return res.Status
	}
	var refusal struct{ Error, Reason string }
	err = res.Decode(res.Status, &refusal)
	full := res.Status == http.StatusInsufficientStorage || res.Status == http.StatusInternalServerError
	if err != nil || !full || refusal.Error == "" || refusal.Reason == "" {
		d.t.Fatalf("write %d: status %d: %s (%v)", d.next, res.Status, res.Body, err)
	}
	return res.Status
}

// writeUntilFull writes attachments, smaller ones after each refusal, until
// several of the smallest in a row are refused.
func (d *diskTest) writeUntilFull(limit int64) {
	d.t.Helper()
	written := int64(0)
	size := largeBlob
	for refusals := 0; refusals < 5; {
		switch {
		case d.write(size) == http.StatusCreated:
			refusals = 0
			written += int64(size)
		case size > smallBlob:
			size /= 2
		default:
			refusals++
		}
		if written > limit {
			d.t.Fatalf("%d bytes acknowledged on a disk of %d", written, limit)
		}
	}
	d.t.Logf("full after %d documents, %d KiB of attachments", len(d.acked), written>>10)
}

// readAll reads back all that was acknowledged.
func (d *diskTest) readAll(when string) {
	d.t.Helper()
	ctx, cancel := contextWithTimeout(d.t, verifyTimeout)
	defer cancel()
	client := d.node.Client()
	var list struct{ Rows []struct{ ID string } }
	if err := client.Get(ctx, "/"+crashDB+"/_all_docs", &list); err != nil {
		d.t.Fatalf("%s: _all_docs: %v", when, err)
	}
	listed := map[string]bool{}
	for _, row := range list.Rows {
		listed[row.ID] = true
	}
	for id, size := range d.acked {
		if !listed[id] {
			d.t.Errorf("%s: %s was acknowledged and is not in _all_docs", when, id)
		}
		res, err := client.Do(ctx, http.MethodGet, "/"+crashDB+"/"+id+"/f", nil)
		if err != nil {
			d.t.Fatalf("%s: %s: attachment: %v", when, id, err)
		}
		if res.Status != http.StatusOK || digestOf(res.Body) != digestOf(blobOf(id, size)) {
			d.t.Errorf("%s: %s: attachment: status %d, %d bytes", when, id, res.Status, len(res.Body))
		}
	}
	if logs := d.node.Logs(); hasStack(logs) {
		d.t.Errorf("%s: the server panicked:\n%s", when, logs)
	}
}

// crash kills the node and starts it again.
func (d *diskTest) crash() {
	d.t.Helper()
	d.node.Kill()
	d.node.Restart()
}

// TestFullDisk fills the disk under the server. Writes are then refused with a
// reason, reads go on, also after a crash, and nothing acknowledged is lost.
func TestFullDisk(t *testing.T) {
	t.Run("filled by documents", func(t *testing.T) {
		disk, size := smallDisk(t)
		d := newDiskTest(t, disk)
		d.writeUntilFull(size)
		d.readAll("on the full disk")
		d.crash()
		d.readAll("after a crash on the full disk")
	})
	t.Run("filled by another file", func(t *testing.T) {
		disk, size := smallDisk(t)
		d := newDiskTest(t, disk)
		for range 20 {
			if status := d.write(largeBlob); status != http.StatusCreated {
				t.Fatalf("status %d with room left", status)
			}
		}
		ballast := filepath.Join(disk, "ballast")
		fill(t, ballast)
		d.writeUntilFull(size)
		d.readAll("on the full disk")
		d.crash()
		d.readAll("after a crash on the full disk")
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		d.writeAgain()
		d.readAll("with room again")
		d.crash()
		d.readAll("after a crash with room again")
	})
}

// fill writes a file until the disk has not one byte left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := []byte(strings.Repeat("ballast.", 128<<10))
	for len(block) > 0 {
		if _, err = f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
}

// writeAgain waits until writes are accepted, large and small.
func (d *diskTest) writeAgain() {
	d.t.Helper()
	until := time.Now().Add(recoverTimeout)
	for d.write(largeBlob) != http.StatusCreated || d.write(smallBlob) != http.StatusCreated {
		if time.Now().After(until) {
			d.t.Fatalf("writes are still refused %v after room was made", recoverTimeout)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
