package replicator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mangrove-db/mangrove/design"
)

var errBroken = errors.New("the line to joe:secret is broken")

// stage is a Runner whose replications do what a test says.
type stage struct {
	run     func(ctx context.Context, j Job) (Outcome, error)
	resolve func(s *Spec) (*Spec, error)

	mu      sync.Mutex
	reports []string
	starts  map[string][]time.Time // by document
}

func (st *stage) JobID(s *Spec) string { return s.JobID("node") }

func (st *stage) Resolve(_ context.Context, s *Spec, _ design.Subject) (*Spec, error) {
	return st.resolve(s)
}

func (st *stage) Run(ctx context.Context, j Job, _ *Progress) (Outcome, error) {
	st.mu.Lock()
	st.starts[j.DocID] = append(st.starts[j.DocID], time.Now())
	st.mu.Unlock()
	return st.run(ctx, j)
}

func (st *stage) Report(r Report) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if r.State != StateRunning {
		st.reports = append(st.reports, fmt.Sprintf("%s %s", r.Job.DocID, r.State))
	}
}

func (st *stage) reported() []string {
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.Clone(st.reports)
}

func (st *stage) started(doc string) int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.starts[doc])
}

// forever is a continuous replication without trouble.
func forever(ctx context.Context, _ Job) (Outcome, error) {
	<-ctx.Done()
	return Outcome{}, ctx.Err()
}

func done(context.Context, Job) (Outcome, error) { return Outcome{Stats: Stats{Written: 1}}, nil }

// stageTest runs a test with a Scheduler in a bubble of synthetic time.
func stageTest(t *testing.T, run func(context.Context, Job) (Outcome, error), settings Settings, test func(t *testing.T, s *Scheduler, st *stage)) {
	synctest.Test(t, func(t *testing.T) {
		st := &stage{run: run, starts: map[string][]time.Time{}, resolve: func(s *Spec) (*Spec, error) { return s, nil }}
		s := NewScheduler(st, func() Settings { return settings }, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan struct{})
		go func() { s.Serve(ctx); close(served) }()
		synctest.Wait()
		test(t, s, st)
		cancel()
		<-served
	})
}

func oneShot(t testing.TB, source string) *Spec {
	return mustSpec(t, `{"source":"`+source+`","target":"b"}`)
}

func continuous(t testing.TB, source string) *Spec {
	return mustSpec(t, `{"source":"`+source+`","target":"b","continuous":true}`)
}

// jobOf is the job of a document of _replicator that has the name of its source.
func jobOf(s *Spec) Job {
	return Job{Spec: s, ID: s.JobID("node"), Database: "_replicator", DocID: s.Source.Name}
}

func mustAdd(t testing.TB, s *Scheduler, j Job) *Ticket {
	t.Helper()
	ticket, err := s.Add(j)
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

func state(s *Scheduler, doc string) State {
	st, _ := s.Doc("_replicator", doc)
	return st.State
}

func TestJobCompletes(t *testing.T) {
	stageTest(t, done, Settings{}, func(t *testing.T, s *Scheduler, st *stage) {
		spec := oneShot(t, "a")
		outcome, err := mustAdd(t, s, Job{Spec: spec, ID: spec.JobID("node")}).Wait(t.Context())
		if err != nil || outcome.Stats.Written != 1 {
			t.Errorf("%+v %v", outcome, err)
		}
		if _, err := mustAdd(t, s, jobOf(spec)).Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if got := st.reported(); !slices.Equal(got, []string{"a completed"}) {
			t.Errorf("reported %v", got)
		}
		if len(s.Jobs()) > 0 {
			t.Errorf("left over: %v", s.Jobs())
		}
	})
}

func TestRequestFails(t *testing.T) {
	broken := func(context.Context, Job) (Outcome, error) { return Outcome{}, errBroken }
	stageTest(t, broken, Settings{}, func(t *testing.T, s *Scheduler, _ *stage) {
		spec := mustSpec(t, `{"source":"http://joe:secret@h/a","target":"b"}`)
		_, err := mustAdd(t, s, Job{Spec: spec, ID: spec.JobID("node")}).Wait(t.Context())
		if !errors.Is(err, errBroken) || err.Error() != "the line to joe:***** is broken" {
			t.Errorf("%v", err)
		}
		if len(s.Jobs()) > 0 {
			t.Errorf("left over: %v", s.Jobs())
		}
	})
}

func TestRequestsJoin(t *testing.T) {
	stageTest(t, forever, Settings{}, func(t *testing.T, s *Scheduler, st *stage) {
		spec := continuous(t, "a")
		first := mustAdd(t, s, Job{Spec: spec, ID: spec.JobID("node")})
		second := mustAdd(t, s, Job{Spec: spec, ID: spec.JobID("node")})
		synctest.Wait()
		if first.ID != second.ID || st.started("") != 1 {
			t.Errorf("%s and %s, started %d times", first.ID, second.ID, st.started(""))
		}
		if !s.Remove(first.ID) || s.Remove(first.ID) {
			t.Error("it is not removed once")
		}
		if _, err := second.Wait(t.Context()); !errors.Is(err, ErrCancelled) {
			t.Error(err)
		}
	})
}

func TestCrashesBackOff(t *testing.T) {
	broken := func(context.Context, Job) (Outcome, error) { return Outcome{}, errBroken }
	stageTest(t, broken, Settings{}, func(t *testing.T, s *Scheduler, st *stage) {
		mustAdd(t, s, jobOf(continuous(t, "a")))
		time.Sleep(40 * 24 * time.Hour)
		synctest.Wait()
		starts := st.starts["a"]
		for i, want := 1, 30*time.Second; i < len(starts); i++ {
			if gap := starts[i].Sub(starts[i-1]); gap < want || gap > want+want/10 {
				t.Fatalf("%d crashes: waited %v, want about %v", i, gap, want)
			}
			want = min(2*want, 30720*time.Second)
		}
		if len(starts) < 90 {
			t.Errorf("tried %d times", len(starts))
		}
		status, _ := s.Doc("_replicator", "a")
		if status.State != StateCrashing || status.ErrorCount != len(starts) || status.Error == "" || len(status.History) != 20 || status.History[0].Type != "crashed" {
			t.Errorf("%+v", status)
		}
	})
}

func TestHealthForgivesCrashes(t *testing.T) {
	long := func(context.Context, Job) (Outcome, error) {
		time.Sleep(3 * time.Minute)
		return Outcome{}, errBroken
	}
	stageTest(t, long, Settings{}, func(t *testing.T, s *Scheduler, _ *stage) {
		mustAdd(t, s, jobOf(continuous(t, "a")))
		time.Sleep(24 * time.Hour)
		if status, _ := s.Doc("_replicator", "a"); status.ErrorCount > 1 {
			t.Errorf("%d crashes count", status.ErrorCount)
		}
	})
}

func TestContinuousThatEnds(t *testing.T) {
	stageTest(t, done, Settings{}, func(t *testing.T, s *Scheduler, _ *stage) {
		mustAdd(t, s, jobOf(continuous(t, "a")))
		synctest.Wait()
		if got := state(s, "a"); got != StateCrashing {
			t.Error(got)
		}
	})
}

func TestDuplicates(t *testing.T) {
	stageTest(t, forever, Settings{}, func(t *testing.T, s *Scheduler, _ *stage) {
		spec := continuous(t, "a")
		mustAdd(t, s, jobOf(spec))
		second := jobOf(spec)
		second.DocID = "other"
		_, err := s.Add(second)
		want := "Replication `" + second.ID + "` specified by document `other` already started, triggered by document `a` from db `_replicator`"
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	})
}

func TestDuplicateOfRequest(t *testing.T) {
	stageTest(t, forever, Settings{}, func(t *testing.T, s *Scheduler, _ *stage) {
		spec := continuous(t, "a")
		request := mustAdd(t, s, Job{Spec: spec, ID: spec.JobID("node")})
		mustAdd(t, s, jobOf(spec))
		time.Sleep(time.Second)
		if got := state(s, "a"); got != StateError {
			t.Error(got)
		}
		s.Remove(request.ID)
		time.Sleep(time.Minute)
		if got := state(s, "a"); got != StateRunning {
			t.Error(got)
		}
	})
}

func TestResolving(t *testing.T) {
	stageTest(t, forever, Settings{}, func(t *testing.T, s *Scheduler, st *stage) {
		var works atomic.Bool
		st.resolve = func(s *Spec) (*Spec, error) {
			if !works.Load() {
				return nil, errBroken
			}
			resolved := *s
			resolved.FilterText = "function"
			return &resolved, nil
		}
		filtered := func(doc string) Job {
			j := jobOf(mustSpec(t, `{"source":"x","target":"b","continuous":true,"filter":"d/f"}`))
			j.ID, j.DocID = "", doc
			return j
		}
		mustAdd(t, s, filtered("a"))
		if got := state(s, "a"); got != StateInitializing {
			t.Error(got)
		}
		synctest.Wait()
		if got := state(s, "a"); got != StateError {
			t.Error(got)
		}
		works.Store(true)
		time.Sleep(time.Minute)
		status, _ := s.Doc("_replicator", "a")
		if status.State != StateRunning {
			t.Errorf("%+v", status)
		}
		if _, ok := s.Job(status.ID); !ok {
			t.Error("it is not found by its id")
		}
		mustAdd(t, s, filtered("b")) // whose id is known too late
		synctest.Wait()
		if got := st.reported(); !slices.Contains(got, "b failed") {
			t.Errorf("reported %v", got)
		}
		if _, ok := s.Doc("_replicator", "b"); ok {
			t.Error("the duplicate stays")
		}
	})
}

func TestReplacedJobWaits(t *testing.T) {
	var mu sync.Mutex
	running, most := 0, 0
	slow := func(ctx context.Context, _ Job) (Outcome, error) {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		<-ctx.Done()
		time.Sleep(time.Second) // for its checkpoint
		mu.Lock()
		running--
		mu.Unlock()
		return Outcome{}, ctx.Err()
	}
	stageTest(t, slow, Settings{}, func(t *testing.T, s *Scheduler, st *stage) {
		j := jobOf(continuous(t, "a"))
		for range 3 {
			mustAdd(t, s, j)
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if most != 1 || running != 1 || state(s, "a") != StateRunning {
			t.Errorf("%d ran at once, %d do, %s", most, running, state(s, "a"))
		}
		s.RemoveDoc("_replicator", "a")
		if _, ok := s.Doc("_replicator", "a"); ok {
			t.Error("it is still there")
		}
	})
}

func TestTurns(t *testing.T) {
	settings := Settings{MaxJobs: 3, MaxChurn: 2, Interval: time.Minute}
	stageTest(t, forever, settings, func(t *testing.T, s *Scheduler, st *stage) {
		const jobs = 7
		for i := range jobs {
			mustAdd(t, s, jobOf(continuous(t, fmt.Sprintf("a%d", i))))
		}
		for range 50 {
			time.Sleep(10 * time.Second)
			synctest.Wait()
			n := 0
			for _, status := range s.Jobs() {
				if status.State == StateRunning {
					n++
				}
			}
			if n != settings.MaxJobs {
				t.Fatalf("%d run", n)
			}
		}
		least, most := 1000, 0
		for i := range jobs {
			n := st.started(fmt.Sprintf("a%d", i))
			least, most = min(least, n), max(most, n)
		}
		if least < 2 || most-least > 1 {
			t.Errorf("jobs were started %d to %d times", least, most)
		}
	})
}

func TestOneShotsKeepTheirPlaces(t *testing.T) {
	stageTest(t, forever, Settings{MaxJobs: 1}, func(t *testing.T, s *Scheduler, st *stage) {
		mustAdd(t, s, jobOf(oneShot(t, "a")))
		synctest.Wait()
		mustAdd(t, s, jobOf(oneShot(t, "b")))
		time.Sleep(time.Hour)
		if st.started("a") != 1 || st.started("b") != 0 {
			t.Error("a job that is not continuous was stopped")
		}
		s.RemoveDoc("_replicator", "a")
		synctest.Wait()
		if st.started("b") != 1 {
			t.Error("its place was not taken")
		}
	})
}

func TestShares(t *testing.T) {
	settings := Settings{MaxJobs: 12, MaxChurn: 12, Interval: time.Minute, Shares: map[string]int{"x/_replicator": 200}}
	stageTest(t, forever, settings, func(t *testing.T, s *Scheduler, _ *stage) {
		running := func() map[string]int {
			n := map[string]int{}
			for _, status := range s.Jobs() {
				if status.State == StateRunning {
					n[status.Database]++
				}
			}
			return n
		}
		add := func(database string, n int) {
			for i := range n {
				j := jobOf(continuous(t, fmt.Sprintf("a%d", i)))
				j.Database, j.ID = database, database+j.ID
				mustAdd(t, s, j)
			}
		}
		add("_replicator", 30)
		time.Sleep(time.Second)
		if n := running(); n["_replicator"] != 12 {
			t.Errorf("alone: %v", n)
		}
		add("x/_replicator", 30)
		time.Sleep(10 * time.Minute)
		if n := running(); n["_replicator"] != 4 || n["x/_replicator"] != 8 {
			t.Errorf("together: %v", n)
		}
		s.RemoveDatabase("x/_replicator")
		time.Sleep(time.Second)
		if n := running(); n["_replicator"] != 12 || len(s.Jobs()) != 30 {
			t.Errorf("alone again: %v", n)
		}
	})
}

func TestStopWaitsForJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := 0
		st := &stage{starts: map[string][]time.Time{}, run: func(ctx context.Context, _ Job) (Outcome, error) {
			<-ctx.Done()
			time.Sleep(time.Second)
			ended++
			return Outcome{}, ctx.Err()
		}}
		s := NewScheduler(st, func() Settings { return Settings{} }, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		spec := oneShot(t, "a")
		ticket := mustAdd(t, s, Job{Spec: spec, ID: spec.JobID("node")})
		time.AfterFunc(time.Minute, cancel)
		s.Serve(ctx)
		if ended != 1 {
			t.Errorf("%d have ended", ended)
		}
		if _, err := ticket.Wait(t.Context()); !errors.Is(err, ErrStopping) {
			t.Error(err)
		}
		mustAdd(t, s, jobOf(continuous(t, "late"))) // is not run, and does no harm
	})
}

func TestIdleSchedulerSleeps(t *testing.T) {
	rounds := 0
	synctest.Test(t, func(t *testing.T) {
		st := &stage{starts: map[string][]time.Time{}, run: forever}
		s := NewScheduler(st, func() Settings { return Settings{} }, slog.New(slog.DiscardHandler))
		for i := range 100 {
			mustAdd(t, s, jobOf(continuous(t, fmt.Sprintf("a%d", i))))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		before := s.settings
		s.settings = func() Settings { rounds++; return before() }
		s.Serve(ctx)
	})
	if rounds > 1000 {
		t.Errorf("the scheduler woke up again and again: %d", rounds)
	}
}
