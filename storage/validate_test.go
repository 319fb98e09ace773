package storage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
)

// checker is a Validator and its Rules in one: a function that is asked about every document.
type checker func(d, old *document.Document) error

func (c checker) Rules(_ context.Context, db *DB, _ uint64) (Rules, uint64, error) {
	s, err := db.Snapshot()
	if err != nil {
		return nil, 0, err
	}
	defer s.Close()
	generation, err := s.Designs()
	return c, generation, err
}

func (c checker) Check(_ context.Context, d, old *document.Document) error { return c(d, old) }

func one(t *testing.T, db *DB, mode Mode, v Validator, text string) Result {
	t.Helper()
	d, err := document.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	results, err := db.Apply(t.Context(), Write{Docs: []*document.Document{d}, Mode: mode, Validator: v})
	if err != nil {
		t.Fatal(err)
	}
	return results[0]
}

var errNo = errors.New("no")

// TestValidationSees tells which documents rules are asked about, what they are shown, and what becomes of a refusal.
func TestValidationSees(t *testing.T) {
	db := newTestDB(t)
	hash := func(c string) string { return strings.Repeat(c, 32) }
	setup := []struct {
		mode Mode
		text string
	}{
		{Edit, `{"_id":"live","n":1}`},
		{Replicate, `{"_id":"gone","_rev":"2-` + hash("b") + `","_deleted":true,"_revisions":{"start":2,"ids":["` + hash("b") + `","` + hash("a") + `"]}}`},
		{Replicate, `{"_id":"long","n":3,"_revisions":{"start":3,"ids":["` + hash("c") + `","` + hash("b") + `","` + hash("a") + `"]}}`},
	}
	revs := map[string]string{}
	for _, s := range setup {
		r := one(t, db, s.mode, nil, s.text)
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		revs[r.ID] = r.Rev.String()
	}
	tests := []struct {
		name  string
		mode  Mode
		text  string
		shown string // rev, start of the history, old revision; empty: the rules are not asked
		err   error  // of the write when the rules refuse everything
	}{
		{"new", Edit, `{"_id":"x"}`, "- 0 -", errNo},
		{"an update", Edit, `{"_id":"live","_rev":"` + revs["live"] + `"}`, revs["live"] + " 1 " + revs["live"], errNo},
		{"a deletion", Edit, `{"_id":"live","_rev":"` + revs["live"] + `","_deleted":true}`, revs["live"] + " 1 " + revs["live"], errNo},
		{"a conflict", Edit, `{"_id":"live","_rev":"1-` + hash("e") + `"}`, "", ErrConflict},
		{"one without a revision", Edit, `{"_id":"live"}`, "", ErrConflict},
		{"one that starts anew", Edit, `{"_id":"gone"}`, "- 0 -", errNo},
		{"a tombstone's", Edit, `{"_id":"gone","_rev":"` + revs["gone"] + `"}`, "", ErrConflict},
		{"a design document", Edit, `{"_id":"_design/x"}`, "", nil},
		{"replicated", Replicate, `{"_id":"y","_rev":"2-` + hash("b") + `"}`, "2-" + hash("b") + " 2 -", errNo},
		{"replicated onto another", Replicate, `{"_id":"long","_revisions":{"start":4,"ids":["` + hash("d") + `","` + hash("c") + `"]}}`, "4-" + hash("d") + " 4 3-" + hash("c"), errNo},
		{"replicated, its parent is unknown", Replicate, `{"_id":"long","_revisions":{"start":5,"ids":["` + hash("e") + `","` + hash("d") + `","` + hash("c") + `"]}}`, "5-" + hash("e") + " 5 3-" + hash("c"), errNo},
		{"replicated, is there", Replicate, `{"_id":"long","_rev":"3-` + hash("c") + `"}`, "", nil},
		{"replicated, an ancestor", Replicate, `{"_id":"long","_revisions":{"start":2,"ids":["` + hash("b") + `","` + hash("a") + `"]}}`, "2-" + hash("b") + " 2 -", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			shown := ""
			r := one(t, db, test.mode, checker(func(d, old *document.Document) error {
				name := func(rev revtree.ID) string {
					if rev.IsZero() {
						return "-"
					}
					return rev.String()
				}
				var before revtree.ID
				if old != nil {
					before = old.Rev
				}
				shown += fmt.Sprint(name(d.Rev), " ", d.Revisions.Start, " ", name(before))
				return errNo
			}), test.text)
			if shown != test.shown {
				t.Errorf("shown %q, want %q", shown, test.shown)
			}
			if !errors.Is(r.Err, test.err) {
				t.Errorf("%v, want %v", r.Err, test.err)
			}
		})
	}
	// The refused ancestor was not taken.
	s := view(t, db)
	row, err := s.Lookup("long")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := row.Tree()
	if err != nil {
		t.Fatal(err)
	}
	if i, ok := tree.Find(revtree.ID{Gen: 2, Hash: strings.Repeat("\xbb", 16)}); !ok || tree.Node(i).Stored {
		t.Error("an ancestor that was refused has been written")
	}
}

// TestValidatedAgain: what happens between validation and writing is not overlooked.
func TestValidatedAgain(t *testing.T) {
	a, b := strings.Repeat("a", 32), strings.Repeat("b", 32)
	second := `{"_id":"x","_revisions":{"start":2,"ids":["` + b + `","` + a + `"]}}`
	tests := []struct {
		name   string
		mode   Mode
		text   string
		mean   Mode
		then   string // is written while the document is validated
		rounds int
		err    error
	}{
		{"an ancestor comes", Replicate, second, Replicate, `{"_id":"x","_rev":"1-` + a + `"}`, 2, nil},
		{"another document comes", Replicate, second, Replicate, `{"_id":"z","_rev":"1-` + a + `"}`, 1, nil},
		{"a design document comes", Edit, `{"_id":"y"}`, Edit, `{"_id":"_design/d"}`, 2, nil},
		{"the document comes", Edit, `{"_id":"w"}`, Edit, `{"_id":"w","n":1}`, 1, ErrConflict},
		{"it is made and deleted", Edit, `{"_id":"v"}`, Replicate, `{"_id":"v","_rev":"1-` + a + `","_deleted":true}`, 1, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			db := newTestDB(t)
			rounds := 0
			r := one(t, db, test.mode, checker(func(*document.Document, *document.Document) error {
				if rounds++; rounds == 1 {
					if r := one(t, db, test.mean, nil, test.then); r.Err != nil {
						t.Error(r.Err)
					}
				}
				return nil
			}), test.text)
			if rounds != test.rounds || !errors.Is(r.Err, test.err) {
				t.Errorf("%d rounds, %v; want %d, %v", rounds, r.Err, test.rounds, test.err)
			}
		})
	}
	t.Run("design documents never rest", func(t *testing.T) {
		db := newTestDB(t)
		n := 0
		r := one(t, db, Edit, checker(func(*document.Document, *document.Document) error {
			n++
			one(t, db, Edit, nil, fmt.Sprintf(`{"_id":"_design/%d"}`, n))
			return nil
		}), `{"_id":"x"}`)
		if n != rounds || !errors.Is(r.Err, ErrConflict) {
			t.Errorf("%d rounds, %v", n, r.Err)
		}
	})
}

// TestPredictedParent: an edit of a revision that is on its way is validated against it.
func TestPredictedParent(t *testing.T) {
	db := newTestDB(t)
	first := &document.Document{ID: "x", Body: []byte(`{"n":1}`)}
	rev, err := first.NextRev()
	if err != nil {
		t.Fatal(err)
	}
	var wrong atomic.Int64
	v := checker(func(d, old *document.Document) error {
		if d.Rev.IsZero() != (old == nil) || old != nil && string(old.Body) != `{"n":1}` {
			wrong.Add(1)
		}
		return nil
	})
	var writing sync.WaitGroup
	for _, d := range []*document.Document{first, {ID: "x", Rev: rev, Body: []byte(`{"n":2}`)}} {
		writing.Go(func() {
			for {
				results, err := db.Apply(t.Context(), Write{Docs: []*document.Document{d}, Validator: v})
				if err != nil {
					t.Error(err)
				} else if results[0].Err != nil {
					continue // too early
				}
				return
			}
		})
	}
	writing.Wait()
	if wrong.Load() > 0 {
		t.Error("an edit was validated against something else than its parent")
	}
}

// minimum is the rule of TestRulesChange: design documents name the least number that is taken.
type minimum int

func (m minimum) Check(_ context.Context, d, _ *document.Document) error {
	n := 0
	if _, err := fmt.Sscanf(string(d.Body), `{"n":%d}`, &n); err != nil || n < int(m) {
		return errNo
	}
	return nil
}

// leastNumber finds the rule.
type leastNumber struct{}

func (leastNumber) Rules(ctx context.Context, db *DB, _ uint64) (Rules, uint64, error) {
	s, err := db.Snapshot()
	if err != nil {
		return nil, 0, err
	}
	defer s.Close()
	generation, err := s.Designs()
	m := 0
	for row, rowErr := range s.Documents(ctx, Range{Prefix: "_design/"}) {
		if rowErr != nil {
			return nil, 0, rowErr
		}
		n := 0
		if _, err := fmt.Sscanf(row.ID, "_design/%d", &n); err != nil {
			return nil, 0, err
		}
		m = max(m, n)
	}
	if m == 0 {
		return nil, generation, err
	}
	return minimum(m), generation, err
}

// TestRulesChange: while rules come, no document is written after a rule that it breaks.
func TestRulesChange(t *testing.T) {
	db := newTestDB(t)
	const rules, writers = 40, 8
	done := make(chan struct{})
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				var docs []*document.Document
				for j := range 1 + rand.IntN(4) {
					docs = append(docs, &document.Document{ID: fmt.Sprintf("%d-%d-%d", w, i, j), Body: fmt.Appendf(nil, `{"n":%d}`, rand.IntN(2*rules))})
				}
				if _, err := db.Apply(context.Background(), Write{Docs: docs, Validator: leastNumber{}}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for n := 1; n <= rules; n++ {
		if r := one(t, db, Edit, leastNumber{}, fmt.Sprintf(`{"_id":"_design/%d"}`, n)); r.Err != nil {
			t.Error(r.Err)
		}
	}
	close(done)
	writing.Wait()

	s := view(t, db)
	least, written := 0, 0
	for c, err := range s.Changes(t.Context(), ChangesOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		if _, err := fmt.Sscanf(c.ID, "_design/%d", &n); err == nil {
			least = n
			continue
		}
		row, err := s.Lookup(c.ID)
		if err != nil {
			t.Fatal(err)
		}
		d, err := row.Document()
		if err != nil {
			t.Fatal(err)
		}
		written++
		if minimum(least).Check(t.Context(), d, nil) != nil {
			t.Errorf("%s %s was written when at least %d was asked for", d.ID, d.Body, least)
		}
	}
	if least != rules || written == 0 {
		t.Errorf("%d rules, %d documents", least, written)
	}
}

// TestPurgedRules: design documents that are purged change the rules too.
func TestPurgedRules(t *testing.T) {
	db := newTestDB(t)
	rule := one(t, db, Edit, leastNumber{}, `{"_id":"_design/7"}`)
	if r := one(t, db, Edit, leastNumber{}, `{"_id":"x","n":1}`); !errors.Is(r.Err, errNo) {
		t.Fatal(r.Err)
	}
	if _, err := db.Purge(t.Context(), []Purge{{ID: "_design/7", Revs: []revtree.ID{rule.Rev}}}); err != nil {
		t.Fatal(err)
	}
	if r := one(t, db, Edit, leastNumber{}, `{"_id":"x","n":1}`); r.Err != nil {
		t.Error(r.Err)
	}
	if err := db.ApplyLater(t.Context(), Write{Docs: []*document.Document{{ID: "later", Body: []byte("{}")}}, Validator: leastNumber{}}); err != nil {
		t.Error(err)
	}
}

// mindful is a leastNumber that remembers the rules of the newest generation that it was asked about.
type mindful struct {
	rules      Rules
	generation uint64
	asked      bool
}

func (v *mindful) Rules(ctx context.Context, db *DB, generation uint64) (_ Rules, _ uint64, err error) {
	if !v.asked || v.generation < generation {
		v.rules, v.generation, err = leastNumber{}.Rules(ctx, db, generation)
		v.asked = true
	}
	return v.rules, v.generation, err
}

// TestPurgedRulesRemembered: design documents that are purged change the rules for those who remember them too, and a
// database that never had any rules goes on.
func TestPurgedRulesRemembered(t *testing.T) {
	for _, design := range []string{"_design/7", "_design/0"} {
		db := newTestDB(t)
		v := &mindful{}
		rule := one(t, db, Edit, v, `{"_id":"`+design+`"}`)
		if r := one(t, db, Edit, v, `{"_id":"x","n":1}`); errors.Is(r.Err, errNo) != (design == "_design/7") {
			t.Fatalf("%s: %v", design, r.Err)
		}
		if _, err := db.Purge(t.Context(), []Purge{{ID: design, Revs: []revtree.ID{rule.Rev}}}); err != nil {
			t.Fatal(err)
		}
		if r := one(t, db, Edit, v, `{"_id":"y","n":1}`); r.Err != nil {
			t.Errorf("%s: %v", design, r.Err)
		}
	}
}
