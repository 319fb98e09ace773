package metamorphic

import (
	"bytes"
	"context"
	"fmt"
	"os"
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

func TestMain(m *testing.M) {
	code := m.Run()
	if err := harness.RemoveBinary(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// setting reads a number from the environment.
func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// stage is the clusters that scenarios are played on.
type stage struct {
	t        *testing.T
	here     *Cluster
	children *shared
}

// shared is a cluster of child processes that is used by one scenario after the other.
type shared struct {
	sync.Mutex
	*Cluster // nil if no scenario needs one
}

// newStage starts the nodes that the scenarios need.
func newStage(t *testing.T, children bool) *stage {
	t.Helper()
	s := &stage{t: t, here: NewCluster(t, false), children: &shared{}}
	if children {
		s.children.Cluster = NewCluster(t, true)
	}
	return s
}

// beside returns a stage for another goroutine.
func (s *stage) beside() *stage { return &stage{s.t, NewCluster(s.t, false), s.children} }

func (s *stage) play(ctx context.Context, sc *Scenario) (Outcome, error) {
	if !sc.Children {
		return s.here.Play(ctx, sc)
	}
	s.children.Lock()
	defer s.children.Unlock()
	return s.children.Play(ctx, sc)
}

// shrinkBudget is how many times a failing scenario is played again to find a shorter one.
const shrinkBudget = 150

// failed writes a scenario that failed to a file, and a shorter one that fails as well.
func (s *stage) failed(sc *Scenario, err error) {
	s.t.Helper()
	s.t.Errorf("%s: %v", strings.TrimSpace(sc.Note), err)
	s.t.Logf("play it again: MANGROVE_META_OPSFILE=%s go test -run TestOpsFile ./integration/metamorphic", save(s.t, sc))
	short := Shrink(sc, shrinkBudget, func(try *Scenario) bool {
		_, err := s.play(context.Background(), try)
		return err != nil
	})
	if _, err := s.play(context.Background(), short); err == nil {
		s.t.Log("the shortened scenario does not fail each time")
	} else {
		s.t.Logf("with %d instead of %d operations: %v", len(short.Ops), len(sc.Ops), err)
	}
	s.t.Logf("shortened to %s:\n%s", save(s.t, short), short)
}

func save(t *testing.T, sc *Scenario) string {
	t.Helper()
	f, err := os.CreateTemp("", "metamorphic-*.ops")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(sc.String()); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// TestMetamorphic plays random scenarios. MANGROVE_META_SEED repeats a run, MANGROVE_META_SCENARIOS says how many,
// MANGROVE_META_OPS about how many operations each has, and MANGROVE_META_CHILDREN how many of a hundred run in
// child processes that can be killed.
func TestMetamorphic(t *testing.T) {
	scenarios := setting(t, "MANGROVE_META_SCENARIOS", 12)
	seed := setting(t, "MANGROVE_META_SEED", int(time.Now().UnixNano()&0xffffff))
	shape := Shape{Ops: setting(t, "MANGROVE_META_OPS", 24), Children: setting(t, "MANGROVE_META_CHILDREN", 12)}
	t.Logf("MANGROVE_META_SEED=%d MANGROVE_META_SCENARIOS=%d MANGROVE_META_OPS=%d MANGROVE_META_CHILDREN=%d",
		seed, scenarios, shape.Ops, shape.Children)

	all := make([]*Scenario, scenarios)
	for i := range all {
		all[i] = Generate(uint64(seed), uint64(i), shape)
	}
	main := newStage(t, slices.ContainsFunc(all, func(s *Scenario) bool { return s.Children }))
	var next, rounds, ops atomic.Int64
	var failing sync.Mutex // one failure is shown, and shrunk
	began := time.Now()
	var wg sync.WaitGroup
	work := func(s *stage) {
		for {
			i := int(next.Add(1)) - 1
			if i >= scenarios || t.Failed() {
				return
			}
			outcome, err := s.play(t.Context(), all[i])
			if err != nil {
				failing.Lock()
				defer failing.Unlock()
				if !t.Failed() {
					s.failed(all[i], err)
				}
				return
			}
			rounds.Add(int64(outcome.Rounds))
			ops.Add(int64(len(all[i].Ops)))
			if i%200 == 199 {
				t.Logf("%d scenarios after %v", i+1, time.Since(began).Round(time.Second))
			}
		}
	}
	stages := []*stage{main}
	const workers = 3 // more than there are processors at times, since much of it is waiting for disks
	for range workers - 1 {
		beside := main.beside()
		stages = append(stages, beside)
		wg.Go(func() { work(beside) })
	}
	work(main)
	wg.Wait()
	t.Logf("%d operations, %d rounds at the ends, in %v", ops.Load(), rounds.Load(), time.Since(began).Round(time.Millisecond))
	for _, s := range append(stages, &stage{here: main.children.Cluster}) {
		if c := s.here; c != nil {
			t.Logf("%d replications, %d hit by faults, %d failed; %d nodes killed",
				c.syncs.Load(), c.hits.Load(), c.failures.Load(), c.kills.Load())
		}
	}
}

// TestOpsFile plays the scenario in the file that MANGROVE_META_OPSFILE names.
func TestOpsFile(t *testing.T) {
	name := os.Getenv("MANGROVE_META_OPSFILE")
	if name == "" {
		t.Skip("MANGROVE_META_OPSFILE names no file")
	}
	playFiles(t, []string{name})
}

// TestRegress plays the scenarios that have failed once.
func TestRegress(t *testing.T) {
	files, err := filepath.Glob("testdata/regress/*.ops")
	if err != nil {
		t.Fatal(err)
	}
	playFiles(t, files)
}

func playFiles(t *testing.T, files []string) {
	t.Helper()
	var all []*Scenario
	children := false
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sc, err := Parse(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, sc)
		children = children || sc.Children
	}
	s := newStage(t, children)
	for i, sc := range all {
		t.Run(strings.TrimSuffix(filepath.Base(files[i]), ".ops"), func(t *testing.T) {
			if _, err := s.play(t.Context(), sc); err != nil {
				t.Error(err)
			}
		})
	}
}
