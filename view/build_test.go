package view

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/script"
	"github.com/mangrove-db/mangrove/storage"
)

// documents returns the texts of documents with the keys 0 to n-1.
func documents(n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf(`{"_id":"d%06d","k":%d,"n":1,"tags":["a","b"]}`, i, i)
	}
	return texts
}

const plain = `{"_id":"_design/d","language":"go","views":{"k":{"map":"k"},"sum":{"map":"k","reduce":"_sum"}}}`

func TestJavaScript(t *testing.T) {
	n := newNode(t)
	n.put(`{"_id":"_design/d","views":{"lib":{"m":"exports.twice = function (n) { return 2 * n; };"},` +
		`"a":{"map":"function (doc) { emit(doc.n, require('views/lib/m').twice(doc.n)); }","reduce":"_sum"},` +
		`"b":{"map":"function (doc) { emit(doc._id); if (doc.n == 2) throw 'no'; }"},` +
		`"c":{"map":"function (doc) { emit('s', doc.n); emit('s', 'b'); emit('s', null); emit(['s'], doc._rev); }"}}}`)
	n.bulk([]string{`{"_id":"x","n":1}`, `{"_id":"y","n":2}`})
	if got := n.rows("d", "a", all); got != "1 2 x\n2 4 y\n" {
		t.Error(got)
	}
	if got := n.groups("d", "a", all); got != "- 6\n" {
		t.Error(got)
	}
	if got := n.rows("d", "b", all); got != "\"x\" null x\n" {
		t.Error(got)
	}
	if got := n.rows("d", "c", Query{StartKey: []byte(`"s"`), EndKey: []byte(`"s"`), EndID: "x", Limit: NoLimit}); got != "\"s\" 1 x\n\"s\" null x\n\"s\" \"b\" x\n" {
		t.Error(got)
	}
}

func TestUpdateModes(t *testing.T) {
	n := newNode(t)
	n.put(plain)
	n.put(`{"_id":"a","k":1}`)
	read := func(u Update) string {
		r := n.reader("d", "k", u)
		defer r.Close()
		text, err := readRows(r, all)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if got := read(UpdateFalse); got != "" {
		t.Error(got)
	}
	if got := read(UpdateTrue); got != "1 null a\n" {
		t.Error(got)
	}
	n.put(`{"_id":"b","k":2}`)
	if got := read(UpdateFalse); got != "1 null a\n" {
		t.Error(got)
	}
	if got := read(UpdateLazy); got != "1 null a\n" {
		t.Error(got)
	}
	eventually(t, func() bool { return read(UpdateFalse) == "1 null a\n2 null b\n" })
}

// eventually waits until a condition holds.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatal("it never happened")
		}
	}
}

// TestBuildGoesOnWithoutItsQuery gives up a query while a document is being mapped.
func TestBuildGoesOnWithoutItsQuery(t *testing.T) {
	n := newNode(t)
	n.put(plain)
	n.bulk(documents(3000))
	release := make(chan struct{})
	var mapped atomic.Int32
	n.fail = func(string) error { mapped.Add(1); <-release; return nil }
	ctx, cancel := context.WithCancel(context.Background())
	d := n.design("d")
	done := make(chan error)
	go func() {
		_, err := n.x.Open(ctx, n.db, d, "k", UpdateTrue)
		done <- err
	}()
	eventually(t, func() bool { return mapped.Load() > 0 })
	info, err := n.x.Info(n.db, d)
	if err != nil || !info.UpdaterRunning || info.WaitingClients != 1 || info.Pending != 3001 {
		t.Errorf("%+v, %v", info, err)
	}
	tasks := n.store.Tasks()
	if len(tasks) != 1 || tasks[0].Type != "indexer" || tasks[0].Design != "_design/d" || tasks[0].Database != "db" {
		t.Errorf("%+v", tasks)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// Others share the build.
	var queries sync.WaitGroup
	for range 4 {
		queries.Go(func() {
			r, err := n.x.Open(context.Background(), n.db, d, "k", UpdateTrue)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			if total, _ := r.Total(); total != 3000 {
				t.Error("rows:", total)
			}
		})
	}
	close(release)
	queries.Wait()
	if got := mapped.Load(); got != 3000 {
		t.Errorf("%d documents were mapped", got)
	}
	if info, err = n.x.Info(n.db, d); err != nil || info.UpdaterRunning || info.Pending != 0 || info.UpdateSeq != 3001 {
		t.Errorf("%+v, %v", info, err)
	}
	if len(n.store.Tasks()) != 0 {
		t.Error("a task is left")
	}
}

func TestBuildResumes(t *testing.T) {
	n := newNode(t)
	n.put(plain)
	n.bulk(documents(5000))
	n.fail = func(id string) error {
		if id == "d004000" {
			return errors.New("stop")
		}
		return nil
	}
	if _, err := n.x.Open(context.Background(), n.db, n.design("d"), "k", UpdateTrue); err == nil {
		t.Fatal("no error")
	}
	info, err := n.x.Info(n.db, n.design("d"))
	if err != nil || info.UpdateSeq != 0 || info.Pending > 1100 || info.Pending < 1000 {
		t.Fatalf("%+v, %v", info, err)
	}
	n.close()
	n.open(storage.DBOptions{})
	var again atomic.Int32
	n.fail = func(string) error { again.Add(1); return nil }
	n.put(`{"_id":"late","k":-1,"n":1}`)
	if got := n.groups("d", "sum", all); got != "- 5001\n" {
		t.Error(got)
	}
	if got := uint64(again.Load()); got != info.Pending+1 {
		t.Errorf("mapped %d documents again, %d were pending", got, info.Pending)
	}
}

// TestPurges purges documents as a whole, once and twice, and in part.
func TestPurges(t *testing.T) {
	n := newNode(t)
	n.put(`{"_id":"_design/d","language":"go","views":{"r":{"map":"rev","reduce":"_count"}}}`)
	purge := func(id string, rev revtree.ID) {
		t.Helper()
		if _, err := n.db.Purge(context.Background(), []storage.Purge{{ID: id, Revs: []revtree.ID{rev}}}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want int) {
		t.Helper()
		if got, want := n.rows("d", "r", all), linesOf(n.expect("rev")); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
		r := n.reader("d", "r", UpdateTrue)
		defer r.Close()
		if total, _ := r.Total(); total != uint64(want) {
			t.Errorf("total %d, want %d", total, want)
		}
	}
	a := n.put(`{"_id":"a"}`)
	n.write(storage.Replicate, `{"_id":"b","_rev":"1-a"}`)
	b := n.write(storage.Replicate, `{"_id":"b","_rev":"1-b"}`)
	n.put(`{"_id":"c"}`)
	check(3)
	purge("a", a)
	purge("b", b)
	check(2)
	a = n.put(`{"_id":"a"}`)
	check(3)
	purge("a", a)
	purge("a", n.put(`{"_id":"a","again":true}`))
	purge("a", a)
	check(2)
}

// TestManyRowsOfOneDocument changes a document whose rows are committed in several pieces.
func TestManyRowsOfOneDocument(t *testing.T) {
	n := newNode(t)
	n.put(`{"_id":"_design/d","language":"go","views":{"t":{"map":"tags","reduce":"_count"}}}`)
	tags := func(count int) string {
		list := make([]string, count)
		for i := range list {
			list[i] = fmt.Sprintf(`[%d,%d]`, i%5, i/2)
		}
		return strings.Join(list, ",")
	}
	n.put(`{"_id":"a","tags":[[0],[5]]}`)
	rev := n.put(`{"_id":"b","tags":[` + tags(9000) + `]}`)
	check := func(want int) {
		t.Helper()
		if got, want := n.rows("d", "t", all), linesOf(n.expect("tags")); got != want {
			t.Errorf("%d rows, want %d", strings.Count(got, "\n"), strings.Count(want, "\n"))
		}
		if got := n.groups("d", "t", all); got != fmt.Sprintf("- %d\n", want) {
			t.Error(got)
		}
	}
	check(9002)
	rev = n.put(fmt.Sprintf(`{"_id":"b","_rev":%q,"tags":[%s]}`, rev.String(), tags(5000)))
	check(5002)
	rev = n.put(fmt.Sprintf(`{"_id":"b","_rev":%q,"tags":[1]}`, rev.String()))
	check(3)
	rev = n.put(fmt.Sprintf(`{"_id":"b","_rev":%q,"tags":[%s]}`, rev.String(), tags(7000)))
	check(7002)
	n.put(fmt.Sprintf(`{"_id":"b","_rev":%q,"_deleted":true}`, rev.String()))
	check(2)
}

// TestNoPartialDocument reads an index, however old it may be, while a document's rows are replaced in several pieces:
// all of the old ones are seen, or all of the new ones.
func TestNoPartialDocument(t *testing.T) {
	n := newNode(t)
	n.put(`{"_id":"_design/d","language":"go","views":{"t":{"map":"tags","reduce":"_count"}}}`)
	const count = 9000
	tags := strings.TrimSuffix(strings.Repeat("1,", count), ",")
	rev := n.put(`{"_id":"a","tags":[` + tags + `]}`)
	n.reader("d", "t", UpdateTrue).Close()
	for i := range 5 {
		rev = n.put(fmt.Sprintf(`{"_id":"a","_rev":%q,"tags":[%s],"n":%d}`, rev.String(), strings.ReplaceAll(tags, "1", fmt.Sprint(i+2)), i))
		built := make(chan struct{})
		go func() {
			defer close(built)
			n.reader("d", "t", UpdateTrue).Close()
		}()
		for building := true; building; {
			select {
			case <-built:
				building = false
			default:
			}
			for _, u := range []Update{UpdateFalse, UpdateLazy} {
				r := n.reader("d", "t", u)
				total, err := r.Total()
				r.Close()
				if err != nil || total != count {
					<-built
					t.Fatalf("%d rows, want %d (%v)", total, count, err)
				}
			}
		}
	}
}

// TestRunawayDocument checks that a document that cannot be mapped costs its time once, until it changes.
func TestRunawayDocument(t *testing.T) {
	n := newNode(t)
	n.x.engine = script.New(script.Options{Time: 100 * time.Millisecond})
	n.put(`{"_id":"_design/d","views":{"u":{"map":"function (doc) { emit(1); }"},` +
		`"v":{"map":"function (doc) { if (doc.loop) for (;;) {} emit(doc._id); }"},"w":{"map":"function (doc) { emit(2); }"}}}`)
	n.put(`{"_id":"a"}`)
	rev := n.put(`{"_id":"b","loop":true}`)
	n.put(`{"_id":"c"}`)
	open := func() error {
		r, err := n.x.Open(context.Background(), n.db, n.design("d"), "v", UpdateTrue)
		if err == nil {
			r.Close()
		}
		return err
	}
	err := open()
	e, ok := errors.AsType[*script.Error](err)
	if !ok || e.Kind != script.Timeout || !strings.Contains(e.Reason, "_design/d") || !strings.Contains(e.Reason, `view "v"`) || !strings.Contains(e.Reason, `document "b"`) {
		t.Fatal(err)
	}
	start := time.Now()
	for range 20 {
		if again := open(); again == nil || again.Error() != err.Error() {
			t.Fatal(again)
		}
	}
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("20 failing queries took %v", d)
	}
	n.put(fmt.Sprintf(`{"_id":"b","_rev":%q}`, rev.String()))
	if got := n.rows("d", "v", all); got != "\"a\" null a\n\"b\" null b\n\"c\" null c\n" {
		t.Error(got)
	}
}

func TestBuildEndsWithItsDatabase(t *testing.T) {
	n := newNode(t)
	n.put(plain)
	n.bulk(documents(2000))
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	n.fail = func(string) error { once.Do(func() { close(entered) }); <-release; return nil }
	d := n.design("d")
	done := make(chan error)
	go func() {
		_, err := n.x.Open(context.Background(), n.db, d, "k", UpdateTrue)
		done <- err
	}()
	<-entered
	if err := n.store.DeleteDB(context.Background(), "db"); err != nil {
		t.Fatal(err)
	}
	close(release)
	if err := <-done; !errors.Is(err, storage.ErrNoDatabase) {
		t.Error(err)
	}
}

func TestCleanup(t *testing.T) {
	n := newNode(t)
	rev := n.put(plain)
	n.put(`{"_id":"_design/e","language":"go","views":{"t":{"map":"tags"}}}`)
	n.put(`{"_id":"a","k":1,"tags":[1]}`)
	n.rows("d", "k", all)
	n.rows("e", "t", all)
	old := n.design("d")
	rev = n.put(fmt.Sprintf(`{"_id":"_design/d","_rev":%q,"language":"go","views":{"r":{"map":"rev"}}}`, rev.String()))
	count := func() int {
		list, err := n.db.Indexes()
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if count() != 2 {
		t.Error("indexes:", count())
	}
	// The old one can still be read by those who know it.
	r, err := n.x.Open(context.Background(), n.db, old, "k", UpdateFalse)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.x.Cleanup(context.Background(), n.db); err != nil {
		t.Fatal(err)
	}
	if got, err := readRows(r, all); err != nil || got != "1 null a\n" {
		t.Error(got, err)
	}
	r.Close()
	if count() != 1 {
		t.Error("indexes:", count())
	}
	// It comes back whole.
	n.put(fmt.Sprintf(strings.Replace(plain, `"language"`, `"_rev":%q,"language"`, 1), rev.String()))
	if got := n.rows("d", "k", all); got != "1 null a\n" {
		t.Error(got)
	}
}

func TestServe(t *testing.T) {
	n := newNode(t)
	n.put(plain)
	n.put(`{"_id":"_design/off","language":"go","autoupdate":false,"views":{"t":{"map":"tags"}}}`)
	n.put(`{"_id":"a","k":1}`)
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { n.x.Serve(ctx) })
	defer serving.Wait()
	defer cancel()
	rows := func(design, view string) string {
		r := n.reader(design, view, UpdateFalse)
		defer r.Close()
		text, err := readRows(r, all)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	eventually(t, func() bool { return rows("d", "k") == "1 null a\n" })
	n.put(`{"_id":"b","k":2}`)
	n.put(`{"_id":"_design/new","language":"go","views":{"r":{"map":"rev"}}}`)
	eventually(t, func() bool {
		return rows("d", "k") == "1 null a\n2 null b\n" && strings.Count(rows("new", "r"), "\n") == 2
	})
	if got := rows("off", "t"); got != "" {
		t.Error(got)
	}
}

// TestOrphans replaces a design document and lets time pass.
func TestOrphans(t *testing.T) {
	n := newNode(t)
	rev := n.put(plain)
	n.put(`{"_id":"a","k":1}`)
	n.rows("d", "k", all)
	old := target{n.db, n.design("d").Signature}
	n.put(fmt.Sprintf(`{"_id":"_design/d","_rev":%q,"language":"go","views":{"r":{"map":"rev"}}}`, rev.String()))
	ctx := context.Background()
	n.x.refresh(ctx, "db")
	n.x.dropOrphans(ctx)
	if list, _ := n.db.Indexes(); len(list) != 2 || !n.x.hasOrphans() {
		t.Fatal(list)
	}
	n.x.orphans[old] = time.Now().Add(-2 * orphanPause)
	n.x.dropOrphans(ctx)
	if list, _ := n.db.Indexes(); len(list) != 1 || list[0].Signature == old.signature || n.x.hasOrphans() {
		t.Fatal(list)
	}
}

// TestReadersAndWriters reads while documents change: each answer must be that of one moment.
func TestReadersAndWriters(t *testing.T) {
	n := newNode(t)
	n.put(plain)
	n.bulk(documents(500))
	d := n.design("d")
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var group sync.WaitGroup
	for w := range 2 {
		group.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				rev := n.put(fmt.Sprintf(`{"_id":"w%d-%d","k":%d,"n":1}`, w, i, i%100))
				if i%3 == 0 {
					n.put(fmt.Sprintf(`{"_id":"w%d-%d","_rev":%q,"_deleted":true}`, w, i, rev.String()))
				}
			}
		})
	}
	for range 3 {
		group.Go(func() {
			for ctx.Err() == nil {
				before, err := n.db.Snapshot()
				if err != nil {
					t.Error(err)
					return
				}
				docs := before.Docs() - 1
				seq := before.Seq()
				before.Close()
				r, err := n.x.Open(context.Background(), n.db, d, "sum", UpdateTrue)
				if err != nil {
					t.Error(err)
					return
				}
				if r.Seq() < seq {
					t.Errorf("asked at %d, got %d", seq, r.Seq())
				}
				total, _ := r.Total()
				text, err := readRows(r, all)
				if rows := strings.Count(text, "\n"); err != nil || uint64(rows) != total {
					t.Errorf("%d rows, total %d, %d documents before, %v", rows, total, docs, err)
				}
				if sum, err := readGroups(r, all); err != nil || sum != fmt.Sprintf("- %d\n", total) {
					t.Errorf("sum %s of %d, %v", sum, total, err)
				}
				r.Close()
			}
		})
	}
	group.Wait()
}
