package clients

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// TestCouchbackup has backups of one program restored by the other, in both directions.
func TestCouchbackup(t *testing.T) {
	t.Parallel()
	js := javaScript(t)
	n := harness.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), scriptTimeout)
	defer cancel()
	plant(t, n)
	want := leaves(t, n, "garden")
	s := n.Server()
	base := fmt.Sprintf("http://%s:%s@%s", s.User, s.Password, s.Host)
	run := func(program string, args ...string) {
		t.Helper()
		out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	tool := func(name, db string, args ...string) []string {
		script := filepath.Join(js.modules, "@cloudant", "couchbackup", "bin", name+".bin.js")
		return append([]string{script, "--url", base, "--db", db, "--quiet"}, args...)
	}
	mangrove, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()

	theirs := filepath.Join(folder, "theirs.jsonl")
	run(js.program, tool("couchbackup", "garden", "--attachments", "--output", theirs, "--buffer-size", "50")...)
	run(mangrove, "restore", theirs, base+"/from-theirs", "-q")
	same(t, "a backup of couchbackup", leaves(t, n, "from-theirs"), want)

	ours := filepath.Join(folder, "ours.jsonl")
	run(mangrove, "backup", base+"/garden", "-o", ours, "-q")
	do(t, n, http.MethodPut, "/from-ours", nil)
	in, err := os.Open(ours)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	restore := exec.CommandContext(ctx, js.program, tool("couchrestore", "from-ours", "--attachments")...)
	restore.Stdin = in
	if out, err := restore.CombinedOutput(); err != nil {
		t.Fatalf("couchrestore: %v\n%s", err, out)
	}
	same(t, "a backup of ours", leaves(t, n, "from-ours"), want)

	shallow := filepath.Join(folder, "shallow.jsonl")
	run(js.program, tool("couchbackup", "plain", "--mode", "shallow", "--output", shallow)...)
	run(mangrove, "restore", shallow, base+"/from-shallow", "-q")
	if got := len(leaves(t, n, "from-shallow")); got != 30 {
		t.Errorf("of a shallow backup there are %d documents", got)
	}
}

// plant makes the databases that are backed up.
func plant(t *testing.T, n *harness.Node) {
	t.Helper()
	do(t, n, http.MethodPut, "/garden", nil)
	do(t, n, http.MethodPut, "/plain", nil)
	var docs, plain []map[string]any
	for i := range 200 {
		hash := func(c byte) string { return fmt.Sprintf("%c%031x", c, i) }
		id := fmt.Sprintf("doc %d é", i)
		docs = append(docs, map[string]any{"_id": id, "_rev": "2-" + hash('a'), "_revisions": map[string]any{"start": 2, "ids": []string{hash('a'), hash('0')}}, "i": i})
		if i%3 == 0 {
			docs = append(docs, map[string]any{"_id": id, "_rev": "2-" + hash('b'), "_revisions": map[string]any{"start": 2, "ids": []string{hash('b'), hash('0')}}, "_deleted": i%2 == 0, "i": -i})
		}
		if i%10 == 0 {
			docs = append(docs, map[string]any{"_id": id + " gone", "_rev": "1-" + hash('c'), "_deleted": true})
			docs = append(docs, map[string]any{
				"_id": id + " with a file", "_rev": "1-" + hash('d'),
				"_attachments": map[string]any{"f": map[string]any{"content_type": "text/plain", "data": []byte(strings.Repeat(id, 100*i))}},
			})
		}
		if i < 30 {
			plain = append(plain, map[string]any{"_id": id, "i": i})
		}
	}
	do(t, n, http.MethodPost, "/garden/_bulk_docs", map[string]any{"new_edits": false, "docs": docs})
	do(t, n, http.MethodPut, "/garden/_design/d", map[string]any{"views": map[string]any{"v": map[string]any{"map": "function(doc) { emit(doc.i) }"}}})
	do(t, n, http.MethodPost, "/plain/_bulk_docs", map[string]any{"docs": plain})
}

// do sends a request that has to succeed, and returns the answer.
func do(t *testing.T, n *harness.Node, method, path string, body any) []byte {
	t.Helper()
	res, err := n.Client().Do(t.Context(), method, path, body, "Accept", "application/json")
	if err != nil {
		t.Fatal(err)
	}
	if res.Status/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, path, res.Status, res.Body)
	}
	return res.Body
}

// leaves returns all leaves of a database, with their histories and attachments.
func leaves(t *testing.T, n *harness.Node, db string) map[string]string {
	t.Helper()
	var changes struct {
		Results []struct {
			ID      string
			Changes []struct{ Rev string }
		}
	}
	if err := json.Unmarshal(do(t, n, http.MethodGet, "/"+db+"/_changes?style=all_docs", nil), &changes); err != nil {
		t.Fatal(err)
	}
	type ask struct {
		ID  string `json:"id"`
		Rev string `json:"rev"`
	}
	var asks []ask
	for _, row := range changes.Results {
		for _, c := range row.Changes {
			asks = append(asks, ask{row.ID, c.Rev})
		}
	}
	var answer struct {
		Results []struct {
			Docs []struct{ OK json.RawMessage }
		}
	}
	text := do(t, n, http.MethodPost, "/"+db+"/_bulk_get?revs=true&attachments=true", map[string]any{"docs": asks})
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for i, r := range answer.Results {
		for _, d := range r.Docs {
			all[asks[i].ID+" "+asks[i].Rev] = string(d.OK)
		}
	}
	return all
}

// same compares the leaves of two databases.
func same(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	if len(want) < 200 {
		t.Errorf("only %d revisions are there to be compared", len(want))
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got[key] != want[key] {
			t.Errorf("%s: %q is %.200q, want %.200q", what, key, got[key], want[key])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: there are %d revisions, want %d", what, len(got), len(want))
	}
}
