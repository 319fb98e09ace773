package integration

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/backup"
	"github.com/mangrove-db/mangrove/integration/harness"
)

// mixture makes a database with documents of all kinds.
func mixture(t *testing.T, n *harness.Node, db string) {
	t.Helper()
	must(t, n, "PUT", "/"+db, nil)
	must(t, n, "PUT", "/"+db+"/_revs_limit", []byte("20"))
	must(t, n, "PUT", "/"+db+"/_security", map[string]any{"admins": map[string]any{"names": []string{"ann"}}, "members": map[string]any{"roles": []string{"gardener"}}})
	rng := rand.New(rand.NewPCG(1, 2))
	hash := func() string { return fmt.Sprintf("%016x%016x", rng.Uint64(), rng.Uint64()) }
	var docs []map[string]any
	for i := range 900 {
		ids := []string{hash()}
		for range rng.IntN(30) {
			ids = append(ids, hash())
		}
		id := fmt.Sprintf("%c doc/%d+é", 'a'+rng.IntN(26), i)
		doc := map[string]any{"_id": id, "_rev": fmt.Sprintf("%d-%s", len(ids), ids[0]), "_revisions": map[string]any{"start": len(ids), "ids": ids}, "i": i, "text": "line\n\u2028\x01 \"]}\\"}
		docs = append(docs, doc)
		for branch := 0; len(ids) > 1 && branch < rng.IntN(4); branch++ {
			from := 1 + rng.IntN(len(ids)-1)
			other := append([]string{hash()}, ids[from:]...)
			docs = append(docs, map[string]any{
				"_id": id, "_rev": fmt.Sprintf("%d-%s", len(other), other[0]), "_revisions": map[string]any{"start": len(other), "ids": other},
				"branch": branch, "_deleted": rng.IntN(2) == 0,
			})
		}
		if rng.IntN(10) == 0 {
			data := make([]byte, rng.IntN(300_000))
			kind := "text/plain"
			if rng.IntN(2) == 0 {
				kind = "application/octet-stream"
				for j := range data {
					data[j] = byte(rng.Uint32())
				}
			}
			doc["_attachments"] = map[string]any{"a file": map[string]any{"content_type": kind, "revpos": 1, "data": data}, "empty": map[string]any{"content_type": kind, "data": ""}}
		}
	}
	must(t, n, "POST", "/"+db+"/_bulk_docs", map[string]any{"new_edits": false, "docs": docs})
	// A function that would refuse them if it were restored before them.
	must(t, n, "PUT", "/"+db+"/_design/rules", map[string]any{"validate_doc_update": "function(doc, old) { if (!old) throw({forbidden: 'nothing new'}) }"})
	must(t, n, "PUT", "/"+db+"/_local/mine", map[string]any{"salt": "x"})
	must(t, n, "PUT", "/"+db+"/_local/checkpoint", map[string]any{"session_id": "x", "history": []int{}})
}

// TestBackupRoundTrip brings a database back in several ways.
func TestBackupRoundTrip(t *testing.T) {
	t.Parallel()
	n := harness.Start(t)
	mixture(t, n, "garden")
	want := contentsOf(t, n, "garden")
	folder := t.TempDir()
	file := filepath.Join(folder, "garden.jsonl")
	for name, args := range map[string][]string{
		"plain":    {"-o", file},
		"gzip":     {"-o", file + ".gz"},
		"gathered": {"-o", filepath.Join(folder, "gathered.jsonl"), "--changes"},
	} {
		text := runs(t, 0, mangrove(t, n, append([]string{"backup", address(n, "garden")}, args...)...))
		if strings.Contains(text, n.Server().Password) {
			t.Errorf("%s: the password is shown: %s", name, text)
		}
		runs(t, 0, mangrove(t, n, "restore", args[1], address(n, name)))
		compare(t, name, contentsOf(t, n, name), want)
		if text, err := os.ReadFile(args[1]); err != nil || bytes.Contains(text, []byte(n.Server().Password)) {
			t.Errorf("%s: the password is in the file, %v", name, err)
		}
	}

	// Through pipes, where the file is read once.
	out := mangrove(t, n, "backup", address(n, "garden"), "-q")
	in := mangrove(t, n, "restore", "-", address(n, "piped"), "-q")
	pipe, err := out.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in.Stdin = pipe
	if err := out.Start(); err != nil {
		t.Fatal(err)
	}
	runs(t, 0, in)
	if err := out.Wait(); err != nil {
		t.Error(err)
	}
	compare(t, "piped", contentsOf(t, n, "piped"), want)

	if text := runs(t, 1, mangrove(t, n, "restore", file, address(n, "plain"))); !strings.Contains(text, "--merge") {
		t.Errorf("a database with documents: %s", text)
	}
	if text := runs(t, 0, mangrove(t, n, "restore", file, address(n, "plain"), "--merge")); !strings.Contains(text, ", 0 revisions written") {
		t.Errorf("merging what is there: %s", text)
	}
	compare(t, "merged", contentsOf(t, n, "plain"), want)

	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(folder, "bad.jsonl")
	for name, text := range map[string][]byte{
		"cut":     content[:len(content)/2],
		"changed": bytes.Replace(content, []byte(`"i":77,`), []byte(`"i":78,`), 1),
	} {
		if err := os.WriteFile(bad, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if told := runs(t, 1, mangrove(t, n, "restore", bad, address(n, "bad"))); !strings.Contains(told, name) {
			t.Errorf("a file that was %s: %s", name, told)
		}
	}
	if res, err := n.Client().Do(t.Context(), "GET", "/bad", nil); err != nil || res.Status != http.StatusNotFound {
		t.Errorf("of a bad file something was restored: %v", res)
	}
}

// TestBackupOfNode brings all databases of a node to another one.
func TestBackupOfNode(t *testing.T) {
	t.Parallel()
	n, other := harness.Start(t), harness.Start(t)
	mixture(t, n, "garden")
	must(t, n, "PUT", "/a%2Fb", nil)
	must(t, n, "PUT", "/parts?partitioned=true", nil)
	must(t, n, "PUT", "/parts/a:1", map[string]any{})
	must(t, n, "PUT", "/_users/org.couchdb.user:ann", map[string]any{"name": "ann", "password": "pw", "roles": []string{}, "type": "user"})
	must(t, n, "PUT", "/_replicator/job", map[string]any{"source": "garden", "target": "x"})
	folder := filepath.Join(t.TempDir(), "new", "backup")
	runs(t, 0, mangrove(t, n, "backup", n.URL()+"/", "-o", folder, "--gzip"))
	if text := runs(t, 1, mangrove(t, n, "backup", n.URL()+"/", "-o", folder)); !strings.Contains(text, "already") {
		t.Errorf("a folder that has a backup: %s", text)
	}
	text := runs(t, 0, mangrove(t, other, "restore", folder, other.URL()+"/"))
	if !strings.Contains(text, "_replicator is left out") {
		t.Errorf("replications: %s", text)
	}
	compare(t, "garden", contentsOf(t, other, "garden"), contentsOf(t, n, "garden"))
	must(t, other, "GET", "/a%2Fb", nil)
	must(t, other, "GET", "/parts/_partition/a", nil)
	s := other.Server()
	s.User, s.Password = "ann", "pw"
	ann := harness.NewClient(s, time.Minute)
	defer ann.Close()
	if res, err := ann.Do(t.Context(), "GET", "/_session", nil); err != nil || res.Status != 200 {
		t.Errorf("an account that was restored: %+v, %v", res, err)
	}

	if err := os.Remove(filepath.Join(folder, "manifest.json")); err != nil {
		t.Fatal(err)
	}
	if text := runs(t, 1, mangrove(t, other, "restore", folder, other.URL()+"/")); !strings.Contains(text, "manifest.json") {
		t.Errorf("a folder without a manifest: %s", text)
	}
}

// fragile passes connections on to a node, and cuts some of them when so many bytes have come back.
type fragile struct {
	net.Listener
	cuts  atomic.Int64 // how many connections are still to be cut; negative: all
	after int64
}

func newFragile(t *testing.T, to string, cuts, after int64) *fragile {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fragile{Listener: l, after: after}
	f.cuts.Store(cuts)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f.pass(c, to)
		}
	}()
	return f
}

func (f *fragile) pass(c net.Conn, to string) {
	defer c.Close()
	up, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer up.Close()
	go func() {
		_, _ = io.Copy(up, c)
		_ = up.Close()
	}()
	if n, _ := io.CopyN(c, up, f.after); n == f.after && f.cuts.Add(-1) < 0 {
		_, _ = io.Copy(c, up)
	}
}

func (f *fragile) client(t *testing.T, n *harness.Node) *backup.Client {
	t.Helper()
	c := backup.NewClient(
		&url.URL{Scheme: "http", Host: f.Addr().String(), User: url.UserPassword(n.Server().User, n.Server().Password)},
		backup.Options{Pause: time.Millisecond, Version: "test"},
	)
	t.Cleanup(c.Close)
	return c
}

// TestBrokenConnections cuts the connections of backups and restores.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	n := harness.Start(t)
	mixture(t, n, "garden")
	want := contentsOf(t, n, "garden")
	for _, changes := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "file")
		f := newFragile(t, n.Server().Host, 3, 200_000)
		if _, err := f.client(t, n).Save(t.Context(), "garden", path, false, backup.FetchOptions{Changes: changes}); err != nil {
			t.Fatal(err)
		}
		if left := f.cuts.Load(); left >= 0 {
			t.Errorf("%d connections were still to be cut", left)
		}
		in, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		name := fmt.Sprintf("copy-%t", changes)
		r, err := newFragile(t, n.Server().Host, 20, 300).client(t, n).Restore(t.Context(), in, name, backup.RestoreOptions{})
		if err != nil || r.Refused > 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		compare(t, name, contentsOf(t, n, name), want)
	}

	folder := t.TempDir()
	always := newFragile(t, n.Server().Host, 1<<40, 200_000)
	_, err := always.client(t, n).Save(t.Context(), "garden", filepath.Join(folder, "bad"), false, backup.FetchOptions{})
	if !errors.Is(err, backup.ErrCut) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("through a connection that always breaks: %v", err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("%v is left behind, %v", left, err)
	}
}

// TestBackupOfOthers makes a backup of a server that cannot write one by itself, which takes the path for a document's.
func TestBackupOfOthers(t *testing.T) {
	t.Parallel()
	n := harness.Start(t)
	mixture(t, n, "garden")
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: n.Server().Host})
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/_backup") {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"illegal_docid","reason":"Only reserved document ids may start with underscore."}`)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	defer other.Close()
	file := filepath.Join(t.TempDir(), "garden.jsonl")
	if text := runs(t, 0, mangrove(t, n, "backup", other.URL+"/garden", "-o", file)); !strings.Contains(text, "or later") {
		t.Errorf("how the backup was made is not told: %s", text)
	}
	runs(t, 0, mangrove(t, n, "restore", file, address(n, "copy")))
	compare(t, "copy", contentsOf(t, n, "copy"), contentsOf(t, n, "garden"))
	if text := runs(t, 1, mangrove(t, n, "backup", other.URL+"/none", "-o", file)); !strings.Contains(text, "404") {
		t.Errorf("a database that is not there: %s", text)
	}
}

// TestBackupMemory has an attachment that is much larger than the memory that anybody may use.
func TestBackupMemory(t *testing.T) {
	n := harness.Start(t)
	size := int64(setting(t, "MANGROVE_BACKUP_MIB", 40, 300)) << 20
	const limit = 220 << 20
	folder := t.TempDir()
	for file, size := range map[string]int64{"big.jsonl": size, "packed.jsonl.gz": size / 4} {
		db := strings.ReplaceAll(file, ".", "-")
		must(t, n, "PUT", "/"+db, nil)
		sent := sha256.New()
		send(t, n, "/"+db+"/doc/file", io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), size), sent))
		path := filepath.Join(folder, file)
		cmd := mangrove(t, n, "backup", address(n, db), "-q", "-o", path)
		frugal(t, "backup", cmd, limit)
		cmd = mangrove(t, n, "restore", path, address(n, db+"-copy"), "-q")
		frugal(t, "restore", cmd, limit)
		if got := receive(t, n, "/"+db+"-copy/doc/file"); !bytes.Equal(got, sent.Sum(nil)) {
			t.Errorf("%s: the attachment is another", file)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		must(t, n, "DELETE", "/"+db, nil)
		must(t, n, "DELETE", "/"+db+"-copy", nil)
	}
	if peak, ok := peakUntilNow(n.PID()); ok {
		t.Logf("the node had %d MiB", peak>>20)
		if peak > limit {
			t.Errorf("the node had %d MiB", peak>>20)
		}
	}
}

// frugal runs a command that has to succeed, and looks at its memory while it runs: what the system tells of it at its
// end includes that of the process that it was forked from.
func frugal(t *testing.T, what string, cmd *exec.Cmd, limit int64) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var peak int64
	for {
		if now, ok := peakUntilNow(cmd.Process.Pid); ok {
			peak = max(peak, now)
		}
		select {
		case <-tick.C:
			continue
		case err := <-ended:
			if err != nil {
				t.Fatalf("%s: %v\n%s", what, err, out.String())
			}
		}
		break
	}
	t.Logf("%s had %d MiB", what, peak>>20)
	if peak > limit {
		t.Errorf("%s had %d MiB", what, peak>>20)
	}
}

// exchange sends a request whose body and answer may be large. The caller closes the answer's body.
func exchange(t *testing.T, n *harness.Node, method, path string, content io.Reader) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.Server().Host+path, content)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(n.Server().User, n.Server().Password)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func send(t *testing.T, n *harness.Node, path string, content io.Reader) {
	t.Helper()
	res := exchange(t, n, "PUT", path, content)
	defer res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		t.Fatal(res.Status)
	}
}

// receive returns the SHA-256 of an attachment.
func receive(t *testing.T, n *harness.Node, path string) []byte {
	t.Helper()
	res := exchange(t, n, "GET", path, nil)
	defer res.Body.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, res.Body); err != nil {
		t.Fatal(err)
	}
	return sum.Sum(nil)
}
