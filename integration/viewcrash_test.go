package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/integration/harness"
)

const (
	viewDB = "/viewcrash"
	// viewDocs is how many documents the writers share: more than one commit of an index takes.
	viewDocs = 15_000
	viewBulk = 100
	// viewRound is the longest that a node works before it is killed.
	viewRound = 700 * time.Millisecond
)

// TestViewCrash kills the server again and again while documents change, indexes follow them, and another index is
// built from nothing, and checks after each restart that every view has the rows that the documents say, and that its
// reductions are those of its rows. MANGROVE_CRASH_ROUNDS sets the number of crashes, MANGROVE_CRASH_SEED repeats a run
// as far as scheduling allows.
func TestViewCrash(t *testing.T) {
	rounds := setting(t, "MANGROVE_CRASH_ROUNDS", 3, 10)
	seed := uint64(setting(t, "MANGROVE_CRASH_SEED", 1, int(time.Now().UnixNano()&0xffffff)))
	t.Logf("MANGROVE_CRASH_ROUNDS=%d MANGROVE_CRASH_SEED=%d", rounds, seed)
	// With so little memory a build saves what it has again and again.
	c := &viewCrash{t: t, node: harness.Start(t, harness.WithArgs("--memory", "128KiB")), rng: rand.New(rand.NewPCG(seed, 0))}
	c.must(http.MethodPut, viewDB, nil, http.StatusCreated)
	c.must(http.MethodPut, viewDB+"/_design/old", viewDesign(0), http.StatusCreated)
	c.fill(seed)
	for round := range rounds {
		// Every other time the new index hardly has the time to be built.
		fresh, longest := fmt.Sprintf("fresh%d", round), viewRound
		if round%2 == 0 {
			longest /= 8
		}
		c.work(fresh, viewDesign(round+1), time.Duration(c.rng.Int64N(int64(longest))))
		c.node.Restart()
		for _, name := range []string{"old", fresh} {
			c.consistent(name)
		}
		for _, name := range []string{"old", fresh} {
			c.verify(name)
		}
		if logs := c.node.Logs(); strings.Contains(logs, "panic") {
			t.Errorf("the server panicked:\n%s", logs)
		}
		if t.Failed() {
			t.Fatalf("after crash %d", round+1)
		}
	}
	c.tidy(rounds)
}

// tidy lets all builds end, and looks for what they should not leave.
func (c *viewCrash) tidy(rounds int) {
	c.t.Helper()
	for round := range rounds {
		c.must(http.MethodGet, fmt.Sprintf("%s/_design/fresh%d/_view/n?limit=1", viewDB, round), nil, http.StatusOK)
	}
	err := filepath.WalkDir(filepath.Join(c.node.Data(), "blobs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			c.t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		c.t.Error(err)
	}
}

// viewDesign returns a design document. Another number gives another index with the same rows.
func viewDesign(number int) any {
	view := func(mapping, reduce string) any {
		return map[string]string{"map": fmt.Sprintf("// %d\n%s", number, mapping), "reduce": reduce}
	}
	return map[string]any{"views": map[string]any{
		"n":    view("function (doc) { emit(doc.n % 97, doc.n); }", "_sum"),
		"tags": view("function (doc) { doc.tags.forEach(function (t, i) { emit([t, doc.n % 7], i + 1); }); }", "function (keys, values) { return sum(values); }"),
	}}
}

type viewCrash struct {
	t    *testing.T
	node *harness.Node
	rng  *rand.Rand
}

// tagged is a document of the test.
type tagged struct {
	ID      string   `json:"_id"`
	Rev     string   `json:"_rev,omitempty"`
	Deleted bool     `json:"_deleted,omitempty"`
	N       int      `json:"n"`
	Tags    []string `json:"tags"`
}

func (c *viewCrash) must(method, path string, body any, status int) []byte {
	c.t.Helper()
	res, err := c.node.Client().Do(c.t.Context(), method, path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	if res.Status != status {
		c.t.Fatalf("%s %s: %d %s", method, path, res.Status, res.Body)
	}
	return res.Body
}

// fill writes the documents for the first time.
func (c *viewCrash) fill(seed uint64) {
	w := &viewWriter{client: c.node.Client(), rng: rand.New(rand.NewPCG(seed, 1)), revs: map[string]string{}}
	for first := 0; first < viewDocs; first += 500 {
		docs := make([]tagged, 500)
		for i := range docs {
			docs[i] = w.document(first + i)
		}
		if err := w.write(c.t.Context(), docs); err != nil {
			c.t.Fatal(err)
		}
	}
}

// work adds a design document, lets writers and readers work, and kills the node after wait.
func (c *viewCrash) work(fresh string, design any, wait time.Duration) {
	c.t.Helper()
	client := c.node.Client()
	var writers []*viewWriter
	for i := range 3 {
		w := &viewWriter{client: client, rng: rand.New(rand.NewPCG(c.rng.Uint64(), 0)), revs: map[string]string{}, third: i}
		if err := w.learn(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
		writers = append(writers, w)
	}
	c.must(http.MethodPut, viewDB+"/_design/"+fresh, design, http.StatusCreated)
	var killed atomic.Bool
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	run := func(what string, do func(context.Context) error) {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := do(ctx); err != nil {
					if !killed.Load() || errors.Is(err, errRefused) {
						c.t.Errorf("%s: %v", what, err)
					}
					return
				}
			}
		})
	}
	for _, w := range writers {
		run("writer", w.bulk)
	}
	for _, name := range []string{"old", fresh} {
		for _, view := range []string{"n?limit=5", "tags?group_level=1", "n?update=lazy&limit=1"} {
			run("reader", func(ctx context.Context) error {
				path := viewDB + "/_design/" + name + "/_view/" + view
				res, err := client.Do(ctx, http.MethodGet, path, nil)
				if err == nil && res.Status != http.StatusOK {
					err = fmt.Errorf("%w: %s: %d %s", errRefused, path, res.Status, res.Body)
				}
				return err
			})
		}
	}
	time.Sleep(wait) // the random moment is the point of the test
	killed.Store(true)
	c.node.Kill()
	cancel()
	wg.Wait()
}

// viewWriter writes and deletes every third document.
type viewWriter struct {
	client *harness.Client
	rng    *rand.Rand
	revs   map[string]string
	third  int
}

func viewDocID(i int) string { return fmt.Sprintf("d%05d", i) }

// learn reads which revisions there are.
func (w *viewWriter) learn(ctx context.Context) error {
	var list struct {
		Rows []struct {
			ID    string
			Value struct{ Rev string }
		}
	}
	if err := w.client.Get(ctx, viewDB+"/_all_docs", &list); err != nil {
		return err
	}
	for _, row := range list.Rows {
		w.revs[row.ID] = row.Value.Rev
	}
	return nil
}

func (w *viewWriter) document(i int) tagged {
	d := tagged{ID: viewDocID(i), N: w.rng.IntN(100_000), Tags: []string{}}
	d.Rev = w.revs[d.ID]
	for range w.rng.IntN(5) {
		d.Tags = append(d.Tags, string(rune('a'+w.rng.IntN(8))))
	}
	d.Deleted = d.Rev != "" && w.rng.IntN(6) == 0
	return d
}

func (w *viewWriter) bulk(ctx context.Context) error {
	docs := make([]tagged, 0, viewBulk)
	for _, i := range w.rng.Perm(viewDocs / 3)[:viewBulk] {
		docs = append(docs, w.document(3*i+w.third))
	}
	return w.write(ctx, docs)
}

func (w *viewWriter) write(ctx context.Context, docs []tagged) error {
	res, err := w.client.Do(ctx, http.MethodPost, viewDB+"/_bulk_docs", map[string]any{"docs": docs})
	if err != nil {
		return err
	}
	var rows []struct {
		OK      bool
		ID, Rev string
	}
	if err := res.Decode(http.StatusCreated, &rows); err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	for i, row := range rows {
		if !row.OK {
			return fmt.Errorf("%w: %s", errRefused, res.Body)
		}
		w.revs[row.ID] = row.Rev
		if docs[i].Deleted {
			delete(w.revs, row.ID)
		}
	}
	return nil
}

// viewRow is a row of a view, or of its reduction.
type viewRow struct {
	ID    string
	Key   json.RawMessage
	Value int
}

func (r viewRow) String() string { return fmt.Sprintf("%s %s %d", r.Key, r.ID, r.Value) }

type viewAnswer struct {
	Total  int `json:"total_rows"`
	Offset int
	Rows   []viewRow
}

// ask sends several queries, which are answered from the same moment.
func (c *viewCrash) ask(design, view string, queries ...map[string]any) []viewAnswer {
	c.t.Helper()
	var answer struct{ Results []viewAnswer }
	body := c.must(http.MethodPost, viewDB+"/_design/"+design+"/_view/"+view+"/queries", map[string]any{"queries": queries}, http.StatusOK)
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.Results) != len(queries) {
		c.t.Fatalf("%v: %.300s", err, body)
	}
	return answer.Results
}

// consistent checks that an index, as the crash has left it, agrees with itself.
func (c *viewCrash) consistent(design string) {
	c.t.Helper()
	var info struct {
		Index struct {
			Pending struct{ Total int } `json:"updates_pending"`
		} `json:"view_index"`
	}
	if err := json.Unmarshal(c.must(http.MethodGet, viewDB+"/_design/"+design+"/_info", nil, http.StatusOK), &info); err != nil {
		c.t.Fatal(err)
	}
	for _, view := range []string{"n", "tags"} {
		rows := c.compareReductions(design, view, false)
		c.t.Logf("%s/%s has %d rows; the index lacks %d changes", design, view, len(rows), info.Index.Pending.Total)
	}
}

// compareReductions checks that what a view reduces to, whole, in groups, and over some ranges, is the sum of its rows.
// It returns the rows.
func (c *viewCrash) compareReductions(design, view string, update bool) []viewRow {
	c.t.Helper()
	queries := []map[string]any{{"reduce": false}, {}, {"group": true}, {"reduce": false, "descending": true}}
	for _, q := range queries {
		q["update"] = update
	}
	answers := c.ask(design, view, queries...)
	rows, whole, groups, down := answers[0].Rows, answers[1].Rows, answers[2].Rows, answers[3].Rows
	where := design + "/" + view
	if answers[0].Total != len(rows) {
		c.t.Errorf("%s: total_rows is %d of %d rows", where, answers[0].Total, len(rows))
	}
	slices.Reverse(down)
	if !slices.EqualFunc(rows, down, func(a, b viewRow) bool { return a.String() == b.String() }) {
		c.t.Errorf("%s: upwards there are %d rows and downwards %d others", where, len(rows), len(down))
	}
	sums, sum := map[string]int{}, 0
	for _, r := range rows {
		sum += r.Value
		sums[string(r.Key)] += r.Value
	}
	if len(rows) > 0 && (len(whole) != 1 || whole[0].Value != sum) || len(rows) == 0 && len(whole) != 0 {
		c.t.Errorf("%s: the rows' sum is %d, the reduction %v", where, sum, whole)
	}
	if len(groups) != len(sums) {
		c.t.Errorf("%s: %d groups of %d keys", where, len(groups), len(sums))
	}
	for _, g := range groups {
		if sums[string(g.Key)] != g.Value {
			c.t.Errorf("%s: the sum of %s is %d, the reduction %d", where, g.Key, sums[string(g.Key)], g.Value)
		}
	}
	return rows
}

// verify checks that the views of a design document have the rows that the documents say.
func (c *viewCrash) verify(design string) {
	c.t.Helper()
	var list struct {
		Rows []struct{ Doc tagged }
	}
	if err := json.Unmarshal(c.must(http.MethodGet, viewDB+`/_all_docs?include_docs=true&start_key="a"`, nil, http.StatusOK), &list); err != nil {
		c.t.Fatal(err)
	}
	want := map[string]map[string]int{"n": {}, "tags": {}}
	for _, row := range list.Rows {
		d := row.Doc
		want["n"][viewRow{d.ID, fmt.Appendf(nil, "%d", d.N%97), d.N}.String()]++
		for i, tag := range d.Tags {
			want["tags"][viewRow{d.ID, fmt.Appendf(nil, "[%q,%d]", tag, d.N%7), i + 1}.String()]++
		}
	}
	for view, want := range want {
		rows := c.compareReductions(design, view, true)
		got := map[string]int{}
		for _, r := range rows {
			got[r.String()]++
		}
		if maps.Equal(want, got) {
			c.ranges(design, view, rows)
			continue
		}
		for row, n := range want {
			if got[row] != n {
				c.t.Errorf("%s/%s has %d times the row %s, not %d times", design, view, got[row], row, n)
			}
		}
		for row := range got {
			if want[row] == 0 {
				c.t.Errorf("%s/%s has the row %s, which no document gives", design, view, row)
			}
		}
	}
}

// ranges checks reductions of random ranges, and the places that skip leads to.
func (c *viewCrash) ranges(design, view string, rows []viewRow) {
	c.t.Helper()
	if len(rows) == 0 {
		return
	}
	for range 20 {
		from, to := c.rng.IntN(len(rows)), c.rng.IntN(len(rows))
		from, to = min(from, to), max(from, to)
		at := func(i int) string { return string(rows[i].Key) }
		answers := c.ask(design, view,
			map[string]any{"start_key": rows[from].Key, "start_key_doc_id": rows[from].ID, "end_key": rows[to].Key, "end_key_doc_id": rows[to].ID},
			map[string]any{"reduce": false, "skip": from, "limit": 1})
		// The rows of a document with one key are all in the range, or none is.
		same := func(i, j int) bool { return at(i) == at(j) && rows[i].ID == rows[j].ID }
		first, last, sum := from, to, 0
		for first > 0 && same(first-1, from) {
			first--
		}
		for last+1 < len(rows) && same(last+1, to) {
			last++
		}
		for _, r := range rows[first : last+1] {
			sum += r.Value
		}
		if got := answers[0].Rows; len(got) != 1 || got[0].Value != sum {
			c.t.Errorf("%s/%s from %s to %s: the rows' sum is %d, the reduction %v", design, view, rows[from], rows[to], sum, got)
		}
		if got := answers[1]; got.Offset != from || len(got.Rows) != 1 || got.Rows[0].String() != rows[from].String() {
			c.t.Errorf("%s/%s: skipping %d gives %v at offset %d, not %s", design, view, from, got.Rows, got.Offset, rows[from])
		}
	}
}
