package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// mangrove is a command in the name of a node's administrator.
func mangrove(t *testing.T, n *harness.Node, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MANGROVE_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "COUCHDB_USER="+n.Server().User, "COUCHDB_PASSWORD="+n.Server().Password)
	return cmd
}

// runs runs a command and checks its exit code. It returns what was written to standard output and standard error.
func runs(t *testing.T, code int, cmd *exec.Cmd) string {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("%s: exit code %d, want %d\n%s", strings.Join(cmd.Args[1:], " "), got, code, out.String())
	}
	return out.String()
}

// address is that of a database, without credentials.
func address(n *harness.Node, db string) string { return "http://" + n.Server().Host + "/" + db }

// must sends a request that has to succeed.
func must(t *testing.T, n *harness.Node, method, path string, body any, headers ...string) []byte {
	t.Helper()
	res, err := n.Client().Do(t.Context(), method, path, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	if res.Status/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, path, res.Status, res.Body)
	}
	return res.Body
}

// counting is a client that writes documents of its own, one after the other, and each time counts in another one.
type counting struct {
	name  string
	acked atomic.Int64
}

func (c *counting) run(ctx context.Context, client *harness.Client, db string) error {
	rev := ""
	for i := 1; ctx.Err() == nil; i++ {
		whole := context.WithoutCancel(ctx)
		if err := write(whole, client, fmt.Sprintf("/%s/%s-%d", db, c.name, i), map[string]any{"n": i}, new(string)); err != nil {
			return err
		}
		c.acked.Store(int64(i))
		count := map[string]any{"n": i}
		if rev != "" {
			count["_rev"] = rev
		}
		if err := write(whole, client, "/"+db+"/"+c.name, count, &rev); err != nil {
			return err
		}
	}
	return nil
}

func write(ctx context.Context, client *harness.Client, path string, doc any, rev *string) error {
	res, err := client.Do(ctx, http.MethodPut, path, doc)
	if err != nil {
		return err
	}
	var answer struct{ Rev string }
	if err := res.Decode(http.StatusCreated, &answer); err != nil {
		return err
	}
	*rev = answer.Rev
	return nil
}

// TestBackupWhileWriting makes backups while 64 clients write. Each must be the database at one point of its update
// sequence, with everything that was acknowledged before the backup began.
func TestBackupWhileWriting(t *testing.T) {
	t.Parallel()
	n := harness.Start(t)
	const db, clients = "busy", 64
	must(t, n, "PUT", "/"+db, nil)
	// So much is there before, that the backup takes its time.
	docs := make([]map[string]any, 2000)
	for i := range docs {
		docs[i] = map[string]any{"_id": fmt.Sprintf("old-%d", i), "pad": strings.Repeat("x", 4000)}
	}
	must(t, n, "POST", "/"+db+"/_bulk_docs", map[string]any{"docs": docs})

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	writers := make([]*counting, clients)
	var working sync.WaitGroup
	var failed atomic.Pointer[error]
	for i := range writers {
		writers[i] = &counting{name: fmt.Sprintf("c%d", i)}
		working.Go(func() {
			client := harness.NewClient(n.Server(), time.Minute)
			defer client.Close()
			if err := writers[i].run(ctx, client, db); err != nil {
				failed.Store(&err)
			}
		})
	}
	folder := t.TempDir()
	const backups = 3
	var before [backups][]int64
	for round := range backups {
		for _, w := range writers {
			for w.acked.Load() < int64(10*(round+1)) && failed.Load() == nil {
				time.Sleep(time.Millisecond)
			}
			before[round] = append(before[round], 0)
		}
		for i, w := range writers {
			before[round][i] = w.acked.Load()
		}
		runs(t, 0, mangrove(t, n, "backup", address(n, db), "-q", "-o", filepath.Join(folder, fmt.Sprintf("%d.jsonl", round))))
	}
	stop()
	working.Wait()
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
	written := seqsOf(t, n, db)
	for round := range backups {
		file := filepath.Join(folder, fmt.Sprintf("%d.jsonl", round))
		name := fmt.Sprintf("restored-%d", round)
		runs(t, 0, mangrove(t, n, "restore", file, address(n, name), "-q"))
		checkPoint(t, n, name, upTo(t, file), written, before[round])
	}
}

// seqsOf returns the numbers of the last changes of all documents.
func seqsOf(t *testing.T, n *harness.Node, db string) map[string]int64 {
	t.Helper()
	rows, _, err := changesOf(t.Context(), n.Client(), db)
	if err != nil {
		t.Fatal(err)
	}
	seqs := map[string]int64{}
	for _, r := range rows {
		seqs[r.ID] = r.Seq.number()
	}
	return seqs
}

func changesOf(ctx context.Context, c *harness.Client, db string) (rows []change, last seq, err error) {
	var answer struct {
		Results []change
		Last    seq `json:"last_seq"`
	}
	err = c.Get(ctx, "/"+db+"/_changes?style=all_docs", &answer)
	return answer.Results, answer.Last, err
}

// upTo returns the number of the update sequence that a file says it goes up to.
func upTo(t *testing.T, file string) int64 {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	var head struct {
		Mangrove struct {
			UpdateSeq string `json:"update_seq"`
		}
	}
	if err := json.Unmarshal(first, &head); err != nil {
		t.Fatal(err)
	}
	number, _, _ := strings.Cut(head.Mangrove.UpdateSeq, "-")
	point, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return point
}

// checkPoint checks that a restored database is that of which the changes are known at a point of its update sequence.
func checkPoint(t *testing.T, n *harness.Node, db string, point int64, written map[string]int64, before []int64) {
	t.Helper()
	var answer struct {
		Rows []struct {
			ID  string
			Doc struct{ N int64 }
		}
	}
	if err := n.Client().Get(t.Context(), "/"+db+"/_all_docs?include_docs=true", &answer); err != nil {
		t.Fatal(err)
	}
	found := map[string]int64{}
	for _, row := range answer.Rows {
		found[row.ID] = row.Doc.N
		if seq, ok := written[row.ID]; !ok || strings.Contains(row.ID, "-") && seq > point {
			t.Errorf("%s has %s, which was written at %d, after %d", db, row.ID, seq, point)
		}
	}
	for id, seq := range written {
		if _, ok := found[id]; !ok && seq <= point {
			t.Errorf("%s lacks %s, which was written at %d, before %d", db, id, seq, point)
		}
	}
	total := int64(0)
	for i, acked := range before {
		name := fmt.Sprintf("c%d", i)
		last := int64(0)
		for found[fmt.Sprintf("%s-%d", name, last+1)] == last+1 {
			last++
		}
		total += last
		if last < acked {
			t.Errorf("%s: of %s's documents there are %d, but %d were acknowledged before", db, name, last, acked)
		}
		if n := found[name]; n != last && n != last-1 {
			t.Errorf("%s: %s has written %d documents and counted %d", db, name, last, n)
		}
	}
	t.Logf("%s: %d documents of the writers, at %d", db, total, point)
}

// contentsOf returns all leaves of a database, with histories and attachments, and its local documents and settings.
func contentsOf(t *testing.T, n *harness.Node, db string) map[string]string {
	t.Helper()
	rows, _, err := changesOf(t.Context(), n.Client(), db)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, row := range rows {
		var revs []string
		for _, c := range row.Changes {
			revs = append(revs, c.Rev)
			id := strings.ReplaceAll(url.PathEscape(row.ID), "+", "%2B")
			path := "/" + db + "/" + strings.Replace(id, "_design%2F", "_design/", 1) + "?revs=true&attachments=true&rev=" + c.Rev
			all[row.ID+" "+c.Rev] = string(must(t, n, "GET", path, nil, "Accept", "application/json"))
		}
		// The winner is first.
		all[row.ID] = fmt.Sprint(row.Deleted, revs[0], slices.Sorted(slices.Values(revs)))
	}
	for _, setting := range []string{"_security", "_revs_limit", "_local/mine"} {
		var v map[string]any
		text := must(t, n, "GET", "/"+db+"/"+setting, nil)
		if json.Unmarshal(text, &v) == nil {
			delete(v, "_rev")
			text, _ = json.Marshal(v)
		}
		all[setting] = string(text)
	}
	return all
}

// compare compares two databases.
func compare(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for key, text := range want {
		if got[key] != text {
			t.Errorf("%s: %q is %.300q, want %.300q", what, key, got[key], text)
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%s: there is %q", what, key)
		}
	}
}
