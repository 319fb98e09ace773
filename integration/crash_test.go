package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/integration/harness"
)

const (
	// crashRound is the longest that writers write before the server is killed.
	crashRound = time.Second
	// verifyTimeout bounds reading everything back.
	verifyTimeout = 2 * time.Minute
	// wholeReads is how many changed documents are read singly after a crash;
	// the others are read in lists. At the end all are.
	wholeReads = 200
)

// TestCrash writes through several clients, kills the server at random
// moments, and checks after each restart that all acknowledged writes are
// there and nothing is half written. MANGROVE_CRASH_ROUNDS sets the number of
// crashes, MANGROVE_CRASH_SEED repeats a run as far as scheduling allows.
func TestCrash(t *testing.T) {
	rounds := setting(t, "MANGROVE_CRASH_ROUNDS", 5, 20)
	seed := uint64(setting(t, "MANGROVE_CRASH_SEED", 1, int(time.Now().UnixNano()&0xffffff)))
	t.Logf("MANGROVE_CRASH_ROUNDS=%d MANGROVE_CRASH_SEED=%d", rounds, seed)
	c := newCrashTest(t, seed)
	for round := range rounds {
		wait := 30*time.Millisecond + time.Duration(c.rng.Int64N(int64(crashRound)))
		c.writeUntilKilled(wait)
		c.node.Restart()
		c.verify(false)
		if t.Failed() {
			t.Fatalf("after crash %d", round+1)
		}
	}
	c.verify(true)
	t.Logf("%d requests acknowledged, %d documents, sequence %s", c.ledger.groups, len(c.ledger.records), c.follower.since)
}

type crashTest struct {
	t        *testing.T
	node     *harness.Node
	rng      *rand.Rand
	ledger   *ledger
	writers  []*writer
	follower *follower
}

func newCrashTest(t *testing.T, seed uint64, options ...harness.Option) *crashTest {
	t.Helper()
	c := &crashTest{
		t:      t,
		node:   harness.Start(t, options...),
		rng:    rand.New(rand.NewPCG(seed, 0)),
		ledger: newLedger(),
		follower: &follower{
			since: "0", revs: map[string]string{}, seen: map[int64]change{},
		},
	}
	res, err := c.node.Client().Do(t.Context(), "PUT", "/"+crashDB, nil)
	if err == nil {
		err = res.Decode(201, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		c.writers = append(c.writers, &writer{
			name: fmt.Sprintf("w%d", i), ledger: c.ledger, bulks: i == 5,
			rng: rand.New(rand.NewPCG(seed, uint64(i+1))),
		})
	}
	return c
}

// writeUntilKilled lets all writers and the follower work, and kills the node
// after wait.
func (c *crashTest) writeUntilKilled(wait time.Duration) {
	c.t.Helper()
	var killed atomic.Bool
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	work := func(what string, run func(context.Context) error) {
		wg.Go(func() {
			if err := run(ctx); err != nil && (!killed.Load() || errors.Is(err, errRefused)) {
				c.t.Errorf("%s: %v", what, err)
			}
		})
	}
	client := c.node.Client()
	for _, w := range c.writers {
		w.client = client
		work("writer "+w.name, w.run)
	}
	work("follower", func(ctx context.Context) error { return c.follower.run(ctx, client) })
	time.Sleep(wait) // the random moment is the point of the test
	killed.Store(true)
	c.node.Kill()
	cancel()
	wg.Wait()
}

// verify reads everything back and compares it with the ledger.
func (c *crashTest) verify(all bool) {
	c.t.Helper()
	ctx, cancel := contextWithTimeout(c.t, verifyTimeout)
	defer cancel()
	client := c.node.Client()
	s, err := readState(ctx, client)
	if err != nil {
		c.t.Error(err)
	}
	if s == nil {
		return
	}
	c.follower.verify(ctx, c.t, client, s)
	for id := range s.byID {
		if c.ledger.records[id] == nil {
			c.t.Errorf("%s was never written", id)
		}
	}
	var dirty []string
	for _, id := range c.ledger.ids() {
		r := c.ledger.records[id]
		inFlight := r.pending != nil
		found, err := c.now(ctx, client, s, id, r)
		if err != nil {
			c.t.Error(err)
			continue
		}
		r.settle(found)
		switch {
		case found == nil || found.deleted || isLocal(id):
			r.dirty = false
		case inFlight:
			c.readWhole(ctx, client, id, r)
		case r.dirty || all:
			dirty = append(dirty, id)
		}
	}
	c.rng.Shuffle(len(dirty), func(i, j int) { dirty[i], dirty[j] = dirty[j], dirty[i] })
	if !all {
		dirty = dirty[:min(len(dirty), wholeReads)]
	}
	for _, id := range dirty {
		c.readWhole(ctx, client, id, c.ledger.records[id])
	}
	if logs := c.node.Logs(); strings.Contains(logs, "panic") {
		c.t.Errorf("the server panicked:\n%s", logs)
	}
}

// now tells which version of a document is there: the newest acknowledged one,
// or that in flight when the server was killed.
func (c *crashTest) now(ctx context.Context, client *harness.Client, s *state, id string, r *record) (*version, error) {
	var candidates []version
	must := len(r.acked) > 0
	if must {
		candidates = append(candidates, r.acked[len(r.acked)-1])
	}
	if r.pending != nil {
		candidates = append(candidates, *r.pending)
	}
	var found *version
	var err error
	if isLocal(id) {
		found, err = readLocal(ctx, client, id, candidates)
	} else {
		found, err = s.version(id, candidates)
	}
	if err == nil && found == nil && must {
		err = fmt.Errorf("%s is gone; acknowledged: %+v", id, r.acked[len(r.acked)-1])
	}
	return found, err
}

func (c *crashTest) readWhole(ctx context.Context, client *harness.Client, id string, r *record) {
	c.t.Helper()
	if err := readWhole(ctx, client, id, r.acked[len(r.acked)-1]); err != nil {
		c.t.Error(err)
	}
	r.dirty = false
}

// follower is a client that keeps up with _changes across crashes.
type follower struct {
	since seq
	revs  map[string]string // by document, as it has seen them
	seen  map[int64]change  // by sequence number
}

func (f *follower) run(ctx context.Context, c *harness.Client) error {
	for ctx.Err() == nil {
		rows, last, err := changesSince(ctx, c, f.since, "&feed=longpoll&timeout=500&limit=200")
		if err != nil {
			return err
		}
		f.apply(rows, last)
	}
	return nil
}

func (f *follower) apply(rows []change, last seq) {
	for _, row := range rows {
		f.seen[row.Seq.number()] = row
		f.revs[row.ID] = row.rev()
	}
	f.since = last
}

// verify checks that no sequence number it saw means something else now, and
// that what it sees from where it stood brings it to the present state.
func (f *follower) verify(ctx context.Context, t *testing.T, c *harness.Client, s *state) {
	t.Helper()
	for _, row := range s.changes {
		if old, ok := f.seen[row.Seq.number()]; ok && (old.ID != row.ID || old.rev() != row.rev()) {
			t.Errorf("sequence %s was %s %s before the crash, and is %s %s", row.Seq, old.ID, old.rev(), row.ID, row.rev())
		}
	}
	for n, old := range f.seen {
		if now, ok := s.byID[old.ID]; !ok || now.Seq.number() < n {
			t.Errorf("%s was seen at sequence %d before the crash, and is now at %q", old.ID, n, now.Seq)
		}
	}
	rows, last, err := changesSince(ctx, c, f.since, "")
	if err != nil {
		t.Errorf("_changes since %s: %v", f.since, err)
		return
	}
	after := slices.IndexFunc(s.changes, func(r change) bool { return r.Seq.number() > f.since.number() })
	if want := len(s.changes) - after; after >= 0 && want != len(rows) || after < 0 && len(rows) > 0 {
		t.Errorf("_changes since %s gives %d of %d rows; from the beginning, those after it begin at %d", f.since, len(rows), len(s.changes), after)
	}
	f.apply(rows, last)
	for id, row := range s.byID {
		if f.revs[id] != row.rev() {
			t.Errorf("following _changes across the crash gives %s revision %q instead of %s", id, f.revs[id], row.rev())
		}
	}
	if len(f.revs) != len(s.byID) {
		t.Errorf("following _changes across the crash gives %d documents instead of %d", len(f.revs), len(s.byID))
	}
	f.seen = map[int64]change{}
	for _, row := range s.changes {
		f.seen[row.Seq.number()] = row
	}
}
