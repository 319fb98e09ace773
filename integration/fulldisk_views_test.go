package integration

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// TestFullDiskViews fills the disk of a node that has a view which is built and one which is not. The first goes on
// being read, building the second is refused, and both are read once there is room.
func TestFullDiskViews(t *testing.T) {
	disk, _ := smallDisk(t)
	node := harness.Start(t, harness.WithData(filepath.Join(disk, "data")))
	do := func(method, path string, body any) *harness.Response {
		t.Helper()
		res, err := node.Client().Do(t.Context(), method, path, body)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	must := func(method, path string, body any) {
		t.Helper()
		if res := do(method, path, body); res.Status >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, res.Status, res.Body)
		}
	}
	const built, unbuilt = "/db/_design/built/_view/v?limit=1", "/db/_design/unbuilt/_view/v?limit=1"
	must("PUT", "/db", nil)
	c := dial(t, node.Server().Host)
	c.must(t, "POST", "/db/_bulk_docs", bulkBody(seeded(1), 0, 2000))
	for name, source := range map[string]string{"built": "function (doc) { emit(doc.votes) }", "unbuilt": "function (doc) { emit(doc.title) }"} {
		must("PUT", "/db/_design/"+name, map[string]any{"autoupdate": false, "views": map[string]any{"v": map[string]string{"map": source}}})
	}
	must("GET", built, nil)
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)
	for until := time.Now().Add(recoverTimeout); ; time.Sleep(20 * time.Millisecond) {
		if res := do("GET", "/_up", nil); res.Status == http.StatusServiceUnavailable && strings.Contains(string(res.Body), "disk_full") {
			break
		}
		if time.Now().After(until) {
			t.Fatal("the node does not notice")
		}
	}
	for range 2 {
		if res := do("PUT", "/db/doc", map[string]any{}); res.Status != http.StatusInsufficientStorage {
			t.Errorf("a write: %d %s", res.Status, res.Body)
		}
		must("GET", "/db/_all_docs?limit=1", nil)
		must("GET", built, nil)
		must("GET", built+"&update=false", nil)
		if res := do("GET", unbuilt, nil); res.Status != http.StatusInsufficientStorage {
			t.Errorf("an index that is not built: %d %s", res.Status, res.Body)
		}
		node.Kill()
		node.Restart()
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(recoverTimeout); do("GET", "/_up", nil).Status != http.StatusOK; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the node does not notice that there is room")
		}
	}
	must("PUT", "/db/doc", map[string]any{})
	must("GET", built, nil)
	must("GET", unbuilt, nil)
}
