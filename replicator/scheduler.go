package replicator

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/mangrove-db/mangrove/design"
)

// Runner runs replications for a Scheduler.
type Runner interface {
	// Resolve reads what a Spec lacks for its id, which is the text of its filter function, and returns the Spec with it.
	Resolve(ctx context.Context, s *Spec, reader design.Subject) (*Spec, error)
	// JobID returns the id of a Spec that lacks nothing for it.
	JobID(s *Spec) string
	// Run replicates until it is done, or ctx is.
	Run(ctx context.Context, j Job, p *Progress) (Outcome, error)
	// Report is told what happens to jobs that documents asked for. It may take its time: the job's place is free only
	// when it returns.
	Report(Report)
}

// Report tells what has become of a job: running, crashing, completed or failed.
type Report struct {
	Job     Job
	State   State
	Started time.Time // when the job was added
	Info    *Info     // when it is completed
	Err     error     // when it is crashing or failed, without credentials
}

// Scheduler decides which replications run when. It alone decides about trying again and waiting.
//
// Each job that runs has a goroutine; the scheduler itself sleeps until something happens to a job, the time of one
// that crashed has come, or jobs that have waited long enough are to take the place of others.
//
// Where more jobs want to run than may, the databases whose documents asked for them get places in proportion to their
// shares; requests count as one more database. Of one database, the job that has waited longest comes first. A job that
// is not continuous keeps its place until it is done.
type Scheduler struct {
	runner   Runner
	settings func() Settings
	log      *slog.Logger

	wake chan struct{} // has room for one

	mu       sync.Mutex
	jobs     map[string]*job // by key
	ids      map[string]*job // by id, of those that have one
	ending   map[string]*run // runs of jobs that have been taken away, by id
	running  int
	churned  time.Time // when jobs were last stopped for others
	serving  context.Context
	finished chan struct{} // closed when Serve has ended
	runs     sync.WaitGroup
}

// job is a Job in a Scheduler. Its fields are guarded by the Scheduler's mu.
type job struct {
	Job
	key     string
	added   time.Time
	waiting time.Time // since when it does not run
	ready   time.Time // when it may run again
	crashes int       // one after the other
	err     error     // of the last crash
	history []Event   // newest first
	info    *Info     // of the last run
	run     *run

	over    chan struct{} // closed when the job is gone; then the next two are set
	outcome Outcome
	failure error
}

// run is one running of a job.
type run struct {
	cancel   context.CancelFunc
	progress *Progress
	began    time.Time
	stopping bool // to let others run
	ending   bool // it is over, which is being reported
	done     chan struct{}
}

// NewScheduler returns a Scheduler. The settings are asked for whenever they are needed, so that they may change.
func NewScheduler(r Runner, settings func() Settings, log *slog.Logger) *Scheduler {
	return &Scheduler{
		runner: r, settings: func() Settings { return settings().filled() }, log: log, wake: make(chan struct{}, 1), finished: make(chan struct{}),
		jobs: map[string]*job{}, ids: map[string]*job{}, ending: map[string]*run{},
	}
}

// Serve runs jobs until ctx is done. It returns when all of them have ended, with their checkpoints written. It can be
// called once.
func (s *Scheduler) Serve(ctx context.Context) {
	s.mu.Lock()
	s.serving = ctx
	s.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Stop()
		if next, ok := s.reschedule(time.Now()); ok {
			timer.Reset(time.Until(next))
		}
		select {
		case <-timer.C:
		case <-s.wake:
		case <-ctx.Done():
			s.runs.Wait()
			close(s.finished)
			return
		}
	}
}

func (s *Scheduler) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Ticket stands for a job that was added.
type Ticket struct {
	ID string // of the job, if it was known
	s  *Scheduler
	j  *job
}

// Wait waits until the job has ended, and returns what has become of it.
func (t *Ticket) Wait(ctx context.Context) (Outcome, error) {
	select {
	case <-t.j.over:
		return t.j.outcome, t.j.failure
	case <-ctx.Done():
		return Outcome{}, ctx.Err()
	case <-t.s.finished:
		return Outcome{}, ErrStopping
	}
}

func documentKey(database, docID string) string { return database + "\x00" + docID }

// Add takes a job. A request for what is there already gets the ticket of that. A document whose job is that of another
// document gets a *DuplicateError; where a request was first, its job is tried again later.
func (s *Scheduler) Add(j Job) (*Ticket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.transient() {
		if other := s.ids[j.ID]; other != nil {
			return &Ticket{j.ID, s, other}, nil
		}
	}
	now := time.Now()
	added := &job{Job: j, key: j.ID, added: now, waiting: now, over: make(chan struct{})}
	if !j.transient() {
		added.key = documentKey(j.Database, j.DocID)
	}
	if other := s.ids[j.ID]; j.ID != "" && other != nil && other.key != added.key {
		if !other.transient() {
			return nil, &DuplicateError{j.ID, j.DocID, other.Database, other.DocID}
		}
		added.ID = "" // until the other is gone
	}
	if old := s.jobs[added.key]; old != nil {
		s.drop(old)
	}
	s.jobs[added.key] = added
	if added.ID != "" {
		s.ids[added.ID] = added
	}
	s.note(added, Event{Time: now, Type: "added"})
	s.nudge()
	return &Ticket{added.ID, s, added}, nil
}

// Remove takes the job of that id away and tells whether there was one. If it runs it is told to stop, and leaves a
// checkpoint; a job of the same id that is added meanwhile waits for it.
func (s *Scheduler) Remove(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.ids[id]
	if j != nil {
		s.drop(j)
	}
	return j != nil
}

// RemoveDoc is Remove for the job of a document.
func (s *Scheduler) RemoveDoc(database, docID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[documentKey(database, docID)]; j != nil {
		s.drop(j)
	}
}

// settle takes away the job of a document that says it is done, unless that was the job's own report.
func (s *Scheduler) settle(database, docID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[documentKey(database, docID)]; j != nil && (j.run == nil || !j.run.ending) {
		s.drop(j)
	}
}

// RemoveDatabase takes away the jobs of all documents of a database.
func (s *Scheduler) RemoveDatabase(database string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.jobs {
		if j.Database == database && !j.transient() {
			s.drop(j)
		}
	}
}

// drop takes a job away. The caller holds mu.
func (s *Scheduler) drop(j *job) {
	if j.run != nil {
		j.run.cancel()
		if j.ID != "" {
			s.ending[j.ID] = j.run
		}
	}
	s.end(j, Outcome{}, ErrCancelled)
	s.nudge()
}

// end takes a job off the lists and lets those know who wait for it. The caller holds mu.
func (s *Scheduler) end(j *job, outcome Outcome, failure error) {
	if s.jobs[j.key] == j {
		delete(s.jobs, j.key)
	}
	if s.ids[j.ID] == j {
		delete(s.ids, j.ID)
	}
	j.outcome, j.failure = outcome, failure
	close(j.over)
}

// gone tells whether the job has been taken away. The caller holds mu.
func (s *Scheduler) gone(j *job) bool { return s.jobs[j.key] != j }

// note remembers an event. The caller holds mu.
func (s *Scheduler) note(j *job, e Event) {
	most := s.settings().MaxHistory
	j.history = append([]Event{e}, j.history[:min(len(j.history), max(most-1, 0))]...)
}

// Jobs describes all jobs, in no order.
func (s *Scheduler) Jobs() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Status, 0, len(s.jobs))
	for _, j := range s.jobs {
		list = append(list, s.status(j))
	}
	return list
}

// Job describes the job of that id.
func (s *Scheduler) Job(id string) (Status, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.ids[id]; j != nil {
		return s.status(j), true
	}
	return Status{}, false
}

// Doc describes the job of a document.
func (s *Scheduler) Doc(database, docID string) (Status, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[documentKey(database, docID)]; j != nil {
		return s.status(j), true
	}
	return Status{}, false
}

// spec returns what the job of a document replicates, or nil if there is none that goes on.
func (s *Scheduler) spec(database, docID string) *Spec {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[documentKey(database, docID)]; j != nil && (j.run == nil || !j.run.ending) {
		return j.Spec
	}
	return nil
}

// status describes a job. The caller holds mu.
func (s *Scheduler) status(j *job) Status {
	st := Status{
		ID: j.ID, Database: j.Database, DocID: j.DocID, User: j.User, Started: j.added, Updated: j.history[0].Time,
		ErrorCount: j.crashes, Info: j.info, History: j.history,
	}
	st.describe(j.Spec)
	switch {
	case j.run != nil && j.ID != "":
		st.State, st.Running, st.Info = StateRunning, j.run.began, infoOf(j.run.progress)
		if time.Since(j.run.began) > s.settings().HealthThreshold {
			st.ErrorCount = 0
		}
	case j.ID == "" && j.err == nil:
		st.State = StateInitializing
	case j.err == nil:
		st.State = StatePending
	case j.ID == "":
		st.State = StateError
	default:
		st.State = StateCrashing
	}
	if j.err != nil && st.State != StateRunning {
		st.Error = j.err.Error()
	}
	return st
}

// The wait after a crash is doubled with each that follows, from firstBackoff, up to so many times.
const (
	firstBackoff = 30 * time.Second
	mostDoubling = 10
)

// backoff returns how long to wait after so many crashes, a little different each time, so that jobs that crashed
// together do not all come back together.
func backoff(crashes int) time.Duration {
	d := firstBackoff << min(max(crashes-1, 0), mostDoubling)
	return d + rand.N(d/10)
}
