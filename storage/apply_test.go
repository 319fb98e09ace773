package storage

import (
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/document"
)

// TestLateHistory brings revisions in all orders of which one has the history that joins the others.
func TestLateHistory(t *testing.T) {
	texts := []string{
		`{"_id":"d","_rev":"1-a","v":1}`,
		`{"_id":"d","_rev":"3-c","v":3}`,
		`{"_id":"d","_rev":"3-c","_revisions":{"start":3,"ids":["c","b","a"]},"v":3}`,
	}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		s := openStore(t, t.TempDir())
		db := createDB(t, s, "db")
		for _, i := range order {
			d, err := document.Decode([]byte(texts[i]))
			if err != nil {
				t.Fatal(err)
			}
			if r, err := db.Apply(t.Context(), Write{Docs: []*document.Document{d}, Mode: Replicate}); err != nil || r[0].Err != nil {
				t.Fatal(r, err)
			}
		}
		snap := view(t, db)
		row, err := snap.Lookup("d")
		if err != nil {
			t.Fatal(err)
		}
		tree, err := row.Tree()
		if err != nil {
			t.Fatal(err)
		}
		if leaves := tree.Leaves(); len(leaves) != 1 || tree.Len() != 3 || row.Branching() {
			t.Errorf("order %v: %d leaves, %d revisions", order, len(leaves), tree.Len())
		}
		d, err := row.Document()
		if err != nil || !strings.Contains(string(d.Body), "3") {
			t.Errorf("order %v: %s, %v", order, d.Body, err)
		}
		changes := 0
		for c, err := range snap.Changes(t.Context(), ChangesOptions{}) {
			if err != nil || len(c.Revs) != 1 {
				t.Errorf("order %v: %v, %v", order, c, err)
			}
			changes++
		}
		if changes != 1 {
			t.Errorf("order %v: %d changes", order, changes)
		}
		snap.Close()
	}
}
