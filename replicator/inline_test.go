package replicator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// fakeSource is a script that has documents doc1, doc2 and so on, each with one revision.
type fakeSource struct {
	*script
	docs    int
	inlines bool                                                                     // it sends revisions along with the feed
	inline  func(i int) string                                                       // what it sends of document i in the place of its revisions
	feed    func(w http.ResponseWriter, r *http.Request, from int, inline bool) bool // answers instead, if it reports true
	info    func()                                                                   // called before it is described
	log     string                                                                   // its checkpoint
}

func newFakeSource(t testing.TB, docs int) *fakeSource {
	s := &fakeSource{docs: docs, inlines: true}
	s.inline = func(i int) string { return "[" + fakeDoc(i) + "]" }
	s.script = newScript(t, s.handle)
	return s
}

func fakeRev(i int) string { return fmt.Sprintf("2-%032x", i) }

func fakeDoc(i int) string {
	return fmt.Sprintf(`{"_id":"doc%d","_rev":"%s","n":%d,"_revisions":{"start":2,"ids":["%032x","%032x"]}}`, i, fakeRev(i), i, i, i+1)
}

func (s *fakeSource) row(i int, inline bool) string {
	row := fmt.Sprintf(`{"seq":"%d-s","id":"doc%d","changes":[{"rev":"%s"}]`, i, i, fakeRev(i))
	if inline {
		row += `,"revisions":` + s.inline(i)
	}
	return row + "}"
}

func (s *fakeSource) changes(from int, inline bool) string {
	var rows []string
	for i := from + 1; i <= s.docs; i++ {
		rows = append(rows, s.row(i, inline))
	}
	return fmt.Sprintf("{\"results\":[\n%s\n],\n\"last_seq\":\"%d-s\",\"pending\":0}\n", strings.Join(rows, ",\r\n"), s.docs)
}

func (s *fakeSource) handle(w http.ResponseWriter, r *http.Request) {
	switch path := strings.TrimPrefix(r.URL.Path, "/db/"); {
	case path == "":
		if s.info != nil {
			s.info()
		}
		reply(w, 200, fmt.Sprintf(`{"update_seq":"%d-s","instance_start_time":"7","doc_count":%d,"doc_del_count":0}`, s.docs, s.docs))
	case path == "_changes":
		from, _ := strconv.Atoi(strings.TrimSuffix(r.URL.Query().Get("since"), "-s"))
		inline := s.inlines && r.URL.Query().Get(inlineParam) != ""
		if s.feed == nil || !s.feed(w, r, from, inline) {
			reply(w, 200, s.changes(from, inline))
		}
	case path == "_bulk_get":
		reply(w, 200, s.bulk(r))
	case path == "_ensure_full_commit":
		reply(w, 201, `{"ok":true,"instance_start_time":"7"}`)
	case r.Method == http.MethodPut:
		b, _ := io.ReadAll(r.Body)
		s.log = string(b)
		reply(w, 201, `{"ok":true,"rev":"0-1"}`)
	case s.log == "":
		reply(w, 404, `{"error":"not_found","reason":"missing"}`)
	default:
		reply(w, 200, s.log)
	}
}

func (s *fakeSource) bulk(r *http.Request) string {
	var asked struct{ Docs []struct{ ID, Rev string } }
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		s.Error(err)
	}
	var results []string
	for _, d := range asked.Docs {
		i, _ := strconv.Atoi(strings.TrimPrefix(d.ID, "doc"))
		results = append(results, fmt.Sprintf(`{"id":"%s","docs":[{"ok":%s}]}`, d.ID, fakeDoc(i)))
	}
	return `{"results":[` + strings.Join(results, ",") + `]}`
}

// set changes the source between runs, of which a request may still be under way that nobody waits for.
func (s *fakeSource) set(change func()) {
	s.serial.Lock()
	defer s.serial.Unlock()
	change()
}

// count returns how many requests since the last call have such a part.
func (s *fakeSource) count(parts ...string) map[string]int {
	n := map[string]int{}
	for _, line := range s.requests() {
		for _, part := range parts {
			if strings.Contains(line, part) {
				n[part]++
			}
		}
	}
	return n
}

// check compares a database with what the source has.
func (s *fakeSource) check(db *storage.DB) {
	s.Helper()
	got := contents(s, db)
	for i := 1; i <= s.docs; i++ {
		d, err := document.Decode([]byte(fakeDoc(i)))
		if err != nil {
			s.Fatal(err)
		}
		if want := string(document.AppendJSON(nil, d, document.Members{Revisions: true})) + "\n"; got[d.ID] != want {
			s.Errorf("%s is %s, want %s", d.ID, got[d.ID], want)
		}
	}
	if len(got) != s.docs {
		s.Errorf("%d documents", len(got))
	}
}

func TestInline(t *testing.T) {
	const n = 700
	for _, inlines := range []bool{true, false} {
		p := newPair(t)
		s := newFakeSource(t, n)
		s.inlines = inlines
		src := s.remote(RemoteOptions{UseBulkGet: true})
		out, err := Run(t.Context(), src, NewLocal(p.store, "b"), Options{ID: "x"})
		if err != nil {
			t.Fatal(err)
		}
		want := Stats{Checked: n, Found: n, Read: n, Written: n}
		if !inlines {
			want.BulkGetAttempted, want.BulkGetDocs = n, n
		}
		if out.Stats != want {
			t.Errorf("%+v", out.Stats)
		}
		asked := s.count(inlineParam+"=8192", "_bulk_get")
		if asked[inlineParam+"=8192"] != 1 || (asked["_bulk_get"] == 0) != inlines {
			t.Errorf("asked %v", asked)
		}
		s.check(p.b)
		// A target that has something is not sent what it may have.
		s.set(func() { s.docs += 3 })
		out, err = Run(t.Context(), src, NewLocal(p.store, "b"), Options{ID: "x"})
		if err != nil || out.Log.History[0].Written != n+3 {
			t.Errorf("%+v, %v", out, err)
		}
		if asked := s.count(inlineParam, "_changes?feed=normal", "_bulk_get"); asked[inlineParam] != 0 || asked["_changes?feed=normal"] != 1 || asked["_bulk_get"] != 1 {
			t.Errorf("asked %v", asked)
		}
		s.check(p.b)
	}
}

// TestInlineContinuous checks that revisions come along only until the target has caught up.
func TestInlineContinuous(t *testing.T) {
	p := newPair(t)
	s := newFakeSource(t, 20)
	ctx, cancel := context.WithCancel(t.Context())
	s.feed = func(_ http.ResponseWriter, r *http.Request, from int, inline bool) bool {
		if r.URL.Query().Get("feed") != "continuous" {
			return false
		}
		if from != 20 || r.URL.Query().Get(inlineParam) != "" {
			t.Error(r.URL)
		}
		defer cancel()
		for {
			snap, err := p.b.Snapshot()
			if err != nil {
				t.Error(err)
				return true
			}
			snap.Close()
			if snap.Docs() == 20 {
				return true
			}
			if err := p.b.Wait(ctx, snap.Seq()); err != nil {
				t.Error(err)
				return true
			}
		}
	}
	if _, err := Run(ctx, s.remote(RemoteOptions{UseBulkGet: true}), NewLocal(p.store, "b"), Options{ID: "x", Continuous: true}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.check(p.b)
}

// TestInlineCutAnywhere breaks the feed at every byte.
func TestInlineCutAnywhere(t *testing.T) {
	p := newPair(t)
	s := newFakeSource(t, 3)
	src := s.remote(RemoteOptions{UseBulkGet: true})
	for at := range len(s.changes(0, true)) {
		name := fmt.Sprintf("t%d", at)
		first := true
		s.set(func() {
			s.log = ""
			s.feed = func(w http.ResponseWriter, r *http.Request, from int, inline bool) bool {
				if !first || r.URL.Query().Get("limit") == "0" {
					return false
				}
				first = false
				cut(w, s.changes(from, inline), at)
				return true
			}
		})
		out, err := Run(t.Context(), src, NewLocal(p.store, name), Options{ID: name, Create: &CreateParams{}})
		if err != nil || out.Stats.Written != 3 || out.Stats.BulkGetDocs != 0 {
			t.Fatalf("cut at %d: %+v, %v", at, out.Stats, err)
		}
		db, err := p.store.DB(name)
		if err != nil {
			t.Fatal(err)
		}
		s.check(db)
	}
}

// TestInlineLies gives what was not asked for along with every other row. It is got otherwise.
func TestInlineLies(t *testing.T) {
	for name, lie := range map[string]func(i int) string{
		"nothing":          func(int) string { return `[]` },
		"null":             func(int) string { return `null` },
		"no list":          fakeDoc,
		"no document":      func(int) string { return `[1]` },
		"another document": func(i int) string { return "[" + fakeDoc(i+1) + "]" },
		"one too many":     func(i int) string { return "[" + fakeDoc(i) + "," + fakeDoc(i) + "]" },
		"another revision": func(i int) string {
			return "[" + strings.ReplaceAll(fakeDoc(i), fmt.Sprintf("%032x", i), fmt.Sprintf("%032x", i+7)) + "]"
		},
		"another history": func(i int) string { return "[" + strings.Replace(fakeDoc(i), `"start":2`, `"start":3`, 1) + "]" },
		"attachment": func(i int) string {
			return "[" + strings.Replace(fakeDoc(i), `"n"`, `"_attachments":{"a":{"stub":true,"revpos":2,"digest":"md5-","length":2}},"n"`, 1) + "]"
		},
		"inline attachment": func(i int) string {
			return "[" + strings.Replace(fakeDoc(i), `"n"`, `"_attachments":{"a":{"data":"aGk="}},"n"`, 1) + "]"
		},
		"unknown member": func(i int) string { return "[" + strings.Replace(fakeDoc(i), `"n"`, `"_n"`, 1) + "]" },
		"too large":      func(i int) string { return "[" + fakeDoc(i) + strings.Repeat(" ", inlineBytes) + "]" },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			s := newFakeSource(t, 10)
			s.inline = func(i int) string {
				if i%2 == 0 {
					return lie(i)
				}
				return "[" + fakeDoc(i) + "]"
			}
			out, err := Run(t.Context(), s.remote(RemoteOptions{UseBulkGet: true}), NewLocal(p.store, "b"), Options{ID: "x"})
			if want := (Stats{Checked: 10, Found: 10, Read: 10, Written: 10, BulkGetAttempted: 5, BulkGetDocs: 5}); err != nil || out.Stats != want {
				t.Errorf("%+v, %v", out.Stats, err)
			}
			s.check(p.b)
		})
	}
}

// TestInlineShared has another write what the run brings. What is there is not counted as lacking, and not sent any more.
func TestInlineShared(t *testing.T) {
	p := newPair(t)
	const there = 40
	s := newFakeSource(t, 60)
	var texts []string
	for i := 1; i <= there; i++ {
		texts = append(texts, fakeDoc(i))
	}
	var again atomic.Int64
	s.feed = func(w http.ResponseWriter, r *http.Request, from int, inline bool) bool {
		switch {
		case r.URL.Query().Get("limit") == "0":
			return false
		case !inline:
			again.Store(int64(from))
			return false
		}
		p.write(p.b, storage.Replicate, texts...)
		_, _ = io.WriteString(w, `{"results":[`)
		for i := 1; r.Context().Err() == nil && i <= there; i++ {
			_, _ = io.WriteString(w, s.row(i, true)+",")
			_ = http.NewResponseController(w).Flush()
			if i >= 20 {
				// The reader has time to notice.
				select {
				case <-r.Context().Done():
				default:
					i = 20 - 1
				}
			}
		}
		return true
	}
	out, err := Run(t.Context(), s.remote(RemoteOptions{UseBulkGet: true}), NewLocal(p.store, "b"), Options{ID: "x", BatchSize: 5})
	if err != nil || out.Stats.Found != 20 || out.Stats.Written != 20 || out.Stats.BulkGetDocs != 20 {
		t.Errorf("%+v, %v", out.Stats, err)
	}
	if n := again.Load(); n < 5 || n > 20 {
		t.Errorf("it went on from %d", again.Load())
	}
	s.check(p.b)
}

// TestGuess checks that a run that has a log asks for changes before the source has answered, and begins elsewhere if
// the source's log is another one.
func TestGuess(t *testing.T) {
	p := newPair(t)
	s := newFakeSource(t, 10)
	src, dst := s.remote(RemoteOptions{UseBulkGet: true}), NewLocal(p.store, "b")
	if _, err := Run(t.Context(), src, dst, Options{ID: "x"}); err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	var sinces []int
	s.set(func() {
		s.feed = func(_ http.ResponseWriter, r *http.Request, from int, _ bool) bool {
			if r.URL.Query().Get("limit") != "0" {
				if sinces = append(sinces, from); len(sinces) == 1 {
					close(asked)
				}
			}
			return false
		}
		s.info = func() {
			before := asked
			s.serial.Unlock()
			<-before
			s.serial.Lock()
		}
	})
	for _, test := range []struct {
		more    int
		forget  bool
		sinces  string
		checked int64
	}{
		{0, false, "[10]", 0}, {2, false, "[10]", 2}, {0, true, "[12 0]", 12}, {3, true, "[12 0]", 15},
	} {
		s.set(func() {
			s.docs += test.more
			asked, sinces = make(chan struct{}), nil
			if test.forget {
				s.log = ""
			}
		})
		out, err := Run(t.Context(), src, dst, Options{ID: "x"})
		if err != nil || fmt.Sprint(sinces) != test.sinces || out.Stats.Checked != test.checked {
			t.Errorf("%+v: %v, %+v, %v", test, sinces, out.Stats, err)
		}
		s.check(p.b)
	}
	if out, err := Run(t.Context(), src, dst, Options{ID: "x"}); err != nil || !out.NoChanges || out.Log.SourceLastSeq != "15-s" {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestLater checks the order of what is written at the end of a run over a long line.
func TestLater(t *testing.T) {
	p := newPair(t)
	p.fill(3)
	a, b := p.peers()
	var step func(context.Context) error
	s := newSession(a, b, Options{ID: "x", Later: func(f func(context.Context) error) { step = f }})
	if err := errors.Join(s.open(t.Context()), s.settle()); err != nil {
		t.Fatal(err)
	}
	run := &pipeline{session: s, progress: &Progress{}}
	if err := run.lastCheckpoint(t.Context(), "1-x", Stats{}); err != nil || step != nil {
		t.Fatalf("a short line: %v", err)
	}
	s.distance = longLine
	if err := run.lastCheckpoint(t.Context(), "2-x", Stats{}); err != nil || step == nil {
		t.Fatalf("a long line: %v", err)
	}
	told := func() (through [2]string) {
		for i, peer := range []Peer{a, b} {
			l, _, err := readLog(t.Context(), peer, "x")
			if err != nil {
				t.Fatal(err)
			}
			through[i] = string(l.SourceLastSeq)
		}
		return through
	}
	if got := told(); got != [2]string{"1-x", "2-x"} {
		t.Error(got)
	}
	if err := step(t.Context()); err != nil {
		t.Error(err)
	}
	if got := told(); got != [2]string{"2-x", "2-x"} {
		t.Error(got)
	}
}

func TestLaters(t *testing.T) {
	var l laters
	if err := l.wait(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	over := make(chan struct{})
	l.do("a", func(context.Context) { <-over })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.wait(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := l.wait(t.Context(), "b"); err != nil {
		t.Error(err)
	}
	close(over)
	if err := l.wait(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	l.working.Wait()
	if len(l.pending) > 0 {
		t.Error(l.pending)
	}
}
