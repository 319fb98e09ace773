package replicator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

func openTestStore(t testing.TB) *storage.Store {
	t.Helper()
	s, err := storage.Open(storage.Options{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// pair is two databases of one store.
type pair struct {
	testing.TB
	store *storage.Store
	a, b  *storage.DB
}

func newPair(t testing.TB) *pair {
	t.Helper()
	p := &pair{TB: t, store: openTestStore(t)}
	for name, db := range map[string]**storage.DB{"a": &p.a, "b": &p.b} {
		var err error
		if *db, err = p.store.CreateDB(t.Context(), name, storage.DBOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p *pair) peers() (src, dst Peer) { return NewLocal(p.store, "a"), NewLocal(p.store, "b") }

func (p *pair) write(db *storage.DB, mode storage.Mode, texts ...string) []storage.Result {
	p.Helper()
	docs := make([]*document.Document, len(texts))
	for i, text := range texts {
		var err error
		if docs[i], err = document.Decode([]byte(text)); err != nil {
			p.Fatal(err)
		}
		for k := range docs[i].Attachments {
			a := &docs[i].Attachments[k]
			if a.Data == nil {
				continue
			}
			got, err := db.StoreAttachment(p.Context(), io.NewSectionReader(a.Data, 0, a.Data.Size()), storage.Coding{})
			if err != nil {
				p.Fatal(err)
			}
			got.Name, got.ContentType = a.Name, a.ContentType
			*a = got
		}
	}
	results, err := db.Apply(p.Context(), storage.Write{Docs: docs, Mode: mode})
	if err != nil {
		p.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			p.Fatalf("%s: %v", r.ID, r.Err)
		}
	}
	return results
}

func (p *pair) fill(n int) {
	p.Helper()
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf(`{"_id":"doc-%05d","n":%d}`, i, i)
	}
	p.write(p.a, storage.Edit, texts...)
}

// contents describes all documents with their leaves, bodies and attachments.
func contents(t testing.TB, db *storage.DB) map[string]string {
	t.Helper()
	snap, err := db.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	all := map[string]string{}
	for row, err := range snap.Documents(t.Context(), storage.Range{WithDeleted: true}) {
		if err != nil {
			t.Fatal(err)
		}
		tree, err := row.Tree()
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, leaf := range tree.Leaves() {
			i, _ := tree.Find(leaf.ID)
			d, err := row.Revision(tree, i)
			if err != nil {
				t.Fatalf("%s %s: %v", row.ID, leaf.ID, err)
			}
			b.Write(document.AppendJSON(nil, d, document.Members{Revisions: true}))
			for k := range d.Attachments {
				c, err := snap.OpenDecoded(&d.Attachments[k])
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(c)
				if err := errors.Join(err, c.Close()); err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, " %s=%d", d.Attachments[k].Name, len(text))
			}
			b.WriteByte('\n')
		}
		all[row.ID] = b.String()
	}
	return all
}

func (p *pair) same() {
	p.Helper()
	a, b := contents(p, p.a), contents(p, p.b)
	for id := range a {
		if a[id] != b[id] {
			p.Errorf("%s differs:\n%s%s", id, a[id], b[id])
		}
	}
	for id := range b {
		if _, ok := a[id]; !ok {
			p.Errorf("%s has come from nowhere", id)
		}
	}
}

func TestRunCopiesEverything(t *testing.T) {
	p := newPair(t)
	p.fill(1200)
	p.write(p.a, storage.Replicate,
		`{"_id":"conflict","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"v":1}`,
		`{"_id":"conflict","_rev":"2-c","_revisions":{"start":2,"ids":["c","a"]},"v":2}`,
		`{"_id":"conflict","_rev":"3-d","_revisions":{"start":3,"ids":["d","x","a"]},"_deleted":true}`)
	large := strings.Repeat("QUJD", 50_000) // beyond what is kept as a value
	rev := p.write(p.a, storage.Edit, `{"_id":"att","_attachments":{"big":{"data":"`+large+`"},"small":{"data":"QUJD"}}}`)[0].Rev
	src, dst := p.peers()
	out, err := Run(t.Context(), src, dst, Options{ID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	p.same()
	if want := (Stats{Checked: 1204, Found: 1204, Read: 1204, Written: 1204}); out.Stats != want {
		t.Errorf("counted %+v", out.Stats)
	}
	// An edit that keeps one attachment and adds another: only the new one needs to travel.
	p.write(p.a, storage.Edit, `{"_id":"att","_rev":"`+rev.String()+`","_attachments":{"big":{"stub":true},"new":{"data":"QUJDREVG"}}}`)
	var progress Progress
	if _, err = Run(t.Context(), src, dst, Options{ID: "x", Progress: &progress}); err != nil {
		t.Fatal(err)
	}
	p.same()
	if n := progress.Bytes(); n > 1000 {
		t.Errorf("%d bytes travelled for a small change", n)
	}
	out, err = Run(t.Context(), src, dst, Options{ID: "x"})
	if err != nil || !out.NoChanges || len(out.Log.History) != 2 || out.Log.History[0].Checked != 1205 {
		t.Errorf("nothing new: %+v, %v", out, err)
	}
}

// TestMissingStub copies a revision whose attachments the target should have had from an ancestor, but has not.
func TestMissingStub(t *testing.T) {
	p := newPair(t)
	first := p.write(p.a, storage.Edit, `{"_id":"d","_attachments":{"f":{"data":"QUJD"}}}`)[0].Rev
	p.write(p.a, storage.Edit, `{"_id":"d","_rev":"`+first.String()+`","n":1,"_attachments":{"f":{"stub":true}}}`)
	// The target knows the first revision, without its attachment.
	p.write(p.b, storage.Replicate, `{"_id":"d","_rev":"`+first.String()+`"}`)
	src, dst := p.peers()
	out, err := Run(t.Context(), src, dst, Options{ID: "x"})
	if err != nil || out.Stats.Failed != 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	p.same()
}

func TestWinningRevsOnlyAndFilters(t *testing.T) {
	p := newPair(t)
	p.fill(10)
	p.write(p.a, storage.Replicate, `{"_id":"c","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]}}`,
		`{"_id":"c","_rev":"2-c","_revisions":{"start":2,"ids":["c","a"]}}`)
	src, dst := p.peers()
	out, err := Run(t.Context(), src, dst, Options{ID: "x", Filter: FilterSpec{Name: "_selector", Selector: []byte(`{"n":{"$gte":7}}`)}})
	if err != nil || out.Stats.Written != 3 {
		t.Fatalf("%+v, %v", out.Stats, err)
	}
	out, err = Run(t.Context(), src, dst, Options{ID: "y", WinningRevsOnly: true, Filter: FilterSpec{Name: "_doc_ids", DocIDs: []string{"c", "none"}}})
	if err != nil || out.Stats.Written != 1 {
		t.Fatalf("%+v, %v", out.Stats, err)
	}
}

func TestNoDatabase(t *testing.T) {
	p := newPair(t)
	none := NewLocal(p.store, "none")
	for _, peers := range [][2]Peer{{none, NewLocal(p.store, "b")}, {NewLocal(p.store, "a"), none}} {
		if _, err := Run(t.Context(), peers[0], peers[1], Options{ID: "x"}); !errors.Is(err, ErrNoDatabase) {
			t.Errorf("%v", err)
		}
	}
	p.fill(3)
	out, err := Run(t.Context(), NewLocal(p.store, "a"), none, Options{ID: "x", Create: &CreateParams{Partitioned: false}})
	if err != nil || out.Stats.Written != 3 {
		t.Errorf("%+v, %v", out, err)
	}
}

// faulty is a peer that fails now and then, before or after it has done what it was asked for.
type faulty struct {
	Peer
	mu     sync.Mutex
	random *rand.Rand
	rate   float64
	// saving, if set, is called before a checkpoint is written.
	saving func(Checkpoint)
}

var errLine = errors.New("the line was cut")

func (f *faulty) fail() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.random.Float64() < f.rate {
		return errLine
	}
	return nil
}

func (f *faulty) Changes(ctx context.Context, r ChangesRequest) iter.Seq2[ChangeRow, error] {
	return func(yield func(ChangeRow, error) bool) {
		for row, err := range f.Peer.Changes(ctx, r) {
			if row.Seq != "" && strings.HasPrefix(row.Seq, "1") && f.fail() != nil {
				yield(ChangeRow{}, errLine)
				return
			}
			if !yield(row, err) {
				return
			}
		}
	}
}

func (f *faulty) RevsDiff(ctx context.Context, asked []DocRevs) ([]DocRevs, error) {
	if err := f.fail(); err != nil {
		return nil, err
	}
	return f.Peer.RevsDiff(ctx, asked)
}

func (f *faulty) Fetch(ctx context.Context, wanted []DocRevs, visit func(Revision) error) error {
	cut := f.fail()
	n := 0
	return f.Peer.Fetch(ctx, wanted, func(r Revision) error {
		if n++; cut != nil && n > len(wanted)/2 {
			return cut
		}
		return visit(r)
	})
}

func (f *faulty) Store(ctx context.Context, revs []Revision) ([]Refusal, error) {
	if err := f.fail(); err != nil {
		return nil, err
	}
	refused, err := f.Peer.Store(ctx, revs)
	if lost := f.fail(); lost != nil {
		return nil, lost // it was done, but the answer did not arrive
	}
	return refused, err
}

func (f *faulty) SaveCheckpoint(ctx context.Context, c Checkpoint) (string, error) {
	if f.saving != nil {
		f.saving(c)
	}
	if err := f.fail(); err != nil {
		return "", err
	}
	return f.Peer.SaveCheckpoint(ctx, c)
}

// TestFaults cuts everything that can be cut, runs again until all is over, and looks at every checkpoint that is
// written: what it says to be copied must be.
func TestFaults(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			p := newPair(t)
			p.fill(600)
			a, b := p.peers()
			random := rand.New(rand.NewPCG(seed, 1))
			src := &faulty{Peer: a, random: random, rate: 0.02}
			dst := &faulty{Peer: b, random: rand.New(rand.NewPCG(seed, 2)), rate: 0.05, saving: func(c Checkpoint) { p.reached(c) }}
			o := Options{ID: "x", BatchSize: 17, Workers: 5, CheckpointInterval: time.Millisecond}
			for n := 0; ; n++ {
				_, err := Run(t.Context(), src, dst, o)
				if err == nil {
					break
				}
				if !errors.Is(err, errLine) {
					t.Fatal(err)
				}
				if n > 500 {
					t.Fatal("it never gets through")
				}
				p.write(p.a, storage.Edit, fmt.Sprintf(`{"_id":"late-%d"}`, n))
			}
			p.same()
		})
	}
}

// reached checks that everything up to a checkpoint's sequence is on the target.
func (p *pair) reached(c Checkpoint) {
	p.Helper()
	_, through, ok := strings.Cut(string(c.Body), `"source_last_seq":"`)
	if !ok {
		p.Errorf("checkpoint without a sequence: %s", c.Body)
		return
	}
	through, _, _ = strings.Cut(through, `"`)
	snap, err := p.a.Snapshot()
	if err != nil {
		p.Error(err)
		return
	}
	defer snap.Close()
	last, err := snap.ParseSeq(through)
	if err != nil {
		p.Error(err)
		return
	}
	target, err := p.b.Snapshot()
	if err != nil {
		p.Error(err)
		return
	}
	defer target.Close()
	for change, err := range snap.Changes(p.Context(), storage.ChangesOptions{}) {
		if err != nil {
			p.Error(err)
			return
		}
		if change.Seq > last {
			return
		}
		if m, err := target.RevsDiff(change.ID, change.Revs); err != nil || len(m.Revs) > 0 {
			p.Errorf("the checkpoint %s is ahead of %s: %v %v", through, change.ID, m.Revs, err)
			return
		}
	}
}

// readOnly is a source that takes no checkpoints.
type readOnly struct{ Peer }

func (readOnly) SaveCheckpoint(context.Context, Checkpoint) (string, error) {
	return "", ErrUnauthorized
}

func TestReadOnlySource(t *testing.T) {
	p := newPair(t)
	p.fill(50)
	a, b := p.peers()
	if _, err := Run(t.Context(), readOnly{a}, b, Options{ID: "x"}); err != nil {
		t.Fatal(err)
	}
	p.write(p.a, storage.Edit, `{"_id":"more"}`)
	out, err := Run(t.Context(), readOnly{a}, b, Options{ID: "x"})
	if err != nil || out.Stats.Checked != 1 {
		t.Errorf("the second run looked at %d revisions, %v", out.Stats.Checked, err)
	}
	p.same()
}

func TestRecreated(t *testing.T) {
	p := newPair(t)
	p.fill(20)
	a, b := p.peers()
	recreate := func(name string) *storage.DB {
		t.Helper()
		if err := p.store.DeleteDB(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		db, err := p.store.CreateDB(t.Context(), name, storage.DBOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	if _, err := Run(t.Context(), a, b, Options{ID: "x"}); err != nil {
		t.Fatal(err)
	}
	p.b = recreate("b")
	if out, err := Run(t.Context(), a, b, Options{ID: "x"}); err != nil || out.Stats.Written != 20 {
		t.Errorf("to a new target: %+v, %v", out.Stats, err)
	}
	p.a = recreate("a")
	p.write(p.a, storage.Edit, `{"_id":"first"}`)
	if out, err := Run(t.Context(), a, b, Options{ID: "x"}); err != nil || out.Stats.Written != 1 {
		t.Errorf("from a new source: %+v, %v", out.Stats, err)
	}
	// In the middle of a run.
	p.fill(100)
	meddling := &faulty{Peer: b, random: rand.New(rand.NewPCG(1, 1))}
	once := sync.OnceFunc(func() { p.b = recreate("b") })
	_, err := Run(t.Context(), a, storeHook{meddling, once}, Options{ID: "y"})
	if !errors.Is(err, ErrInstanceChanged) && !errors.Is(err, ErrNoDatabase) {
		t.Errorf("a target that was replaced: %v", err)
	}
}

// storeHook calls a function before anything is stored.
type storeHook struct {
	Peer
	before func()
}

func (h storeHook) Store(ctx context.Context, revs []Revision) ([]Refusal, error) {
	h.before()
	return h.Peer.Store(ctx, revs)
}

func TestContinuous(t *testing.T) {
	p := newPair(t)
	p.fill(30)
	a, b := p.peers()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := Run(ctx, a, b, Options{ID: "x", Continuous: true})
		ended <- err
	}()
	for n := range 20 {
		r := p.write(p.a, storage.Edit, fmt.Sprintf(`{"_id":"live-%d"}`, n))[0]
		for {
			snap, err := p.b.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			_, err = snap.Lookup(r.ID)
			seq := snap.Seq()
			snap.Close()
			if err == nil {
				break
			}
			if err := p.b.Wait(t.Context(), seq); err != nil {
				t.Fatal(err)
			}
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	// The run that was told to stop has left a checkpoint.
	out, err := Run(t.Context(), a, b, Options{ID: "x"})
	if err != nil || out.Stats.Checked > 1 {
		t.Errorf("the next run looked at %d revisions, %v", out.Stats.Checked, err)
	}
	p.same()
}

func TestTracker(t *testing.T) {
	tr := tracker{through: "0"}
	order := rand.New(rand.NewPCG(3, 3)).Perm(50)
	done := map[int]bool{}
	for _, n := range order {
		tr.finish(n, fmt.Sprint(n))
		done[n] = true
		want := "0"
		for k := 0; done[k]; k++ {
			want = fmt.Sprint(k)
		}
		if got := tr.reached(); got != want {
			t.Fatalf("after %v: %s instead of %s", slices.Collect(keysOf(done)), got, want)
		}
	}
}

func keysOf(m map[int]bool) iter.Seq[int] {
	return func(yield func(int) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestCommonCheckpoint(t *testing.T) {
	entry := func(id string, seq SeqJSON) HistoryEntry { return HistoryEntry{SessionID: id, RecordedSeq: seq} }
	for _, c := range []struct {
		name     string
		src, dst *Log
		want     string
		ok       bool
	}{
		{"none", nil, nil, "", false},
		{"target alone", nil, &Log{SessionID: "s", SourceLastSeq: "5-x"}, "5-x", false},
		{"same session", &Log{SessionID: "s", SourceLastSeq: "5-x"}, &Log{SessionID: "s", SourceLastSeq: "5-x"}, "5-x", true},
		{
			"older in common", &Log{SessionID: "s3", SourceLastSeq: "9", History: []HistoryEntry{entry("s3", "9"), entry("s1", "3")}},
			&Log{SessionID: "s2", SourceLastSeq: "7", History: []HistoryEntry{entry("s2", "7"), entry("s1", "3")}}, "3", true,
		},
		{"nothing in common", &Log{SessionID: "a", History: []HistoryEntry{entry("a", "1")}}, &Log{SessionID: "b", History: []HistoryEntry{entry("b", "1")}}, "", false},
		{"known instance", nil, &Log{SessionID: "s", SourceLastSeq: "5-x", SourceStart: "now"}, "5-x", true},
	} {
		got, ok := common(c.src, c.dst, "now")
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %q %v", c.name, got, ok)
		}
	}
}

// breaking is a target whose line breaks in the middle of the first attachments that it is sent.
type breaking struct {
	Peer
	breaks int
}

func (b *breaking) Store(ctx context.Context, revs []Revision) ([]Refusal, error) {
	if len(revs) == 1 && revs[0].Content != nil && b.breaks > 0 {
		b.breaks--
		err := revs[0].Content(func(_ *document.Attachment, r io.Reader) error {
			_, err := io.CopyN(io.Discard, r, 2)
			return err
		})
		return nil, errors.Join(ErrInterrupted, err)
	}
	return b.Peer.Store(ctx, revs)
}

// TestInterrupted goes on with what is missing after an upload broke, and gives up when it breaks again and again.
func TestInterrupted(t *testing.T) {
	p := newPair(t)
	p.fill(5)
	p.write(p.a, storage.Edit, `{"_id":"att","_attachments":{"f":{"data":"QUJDREVG"}}}`)
	src, dst := p.peers()
	out, err := Run(t.Context(), src, &breaking{dst, 2}, Options{ID: "x"})
	if err != nil || out.Stats.Checked != 6 || out.Stats.Found != 6 {
		t.Errorf("%+v, %v", out.Stats, err)
	}
	p.same()
	p.write(p.a, storage.Edit, `{"_id":"att2","_attachments":{"f":{"data":"QUJDREVG"}}}`)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Run(ctx, src, &breaking{dst, 1000}, Options{ID: "x"}); err == nil {
		t.Error("a line that always breaks was no error")
	}
}
