package replicator

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/mangrove-db/mangrove/design"
)

// startGap is how far apart jobs begin that are started together.
const startGap = 10 * time.Millisecond

// start runs a job. The caller holds mu. The number says how many were started with it before.
func (s *Scheduler) start(j *job, number int, now time.Time) {
	ctx, cancel := context.WithCancel(s.serving)
	r := &run{cancel: cancel, progress: &Progress{}, began: now, done: make(chan struct{})}
	r.progress.pending.Store(-1)
	j.run = r
	s.running++
	var delay time.Duration
	if most := min(time.Duration(number)*startGap, s.settings().StartupJitter); most > 0 {
		delay = rand.N(most)
	}
	s.note(j, Event{Time: now, Type: "started"})
	s.runs.Add(1)
	go func() {
		defer s.runs.Done()
		defer cancel()
		if delay > 0 {
			timer := time.NewTimer(delay)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		outcome, err := s.execute(ctx, j, r)
		s.finish(ctx, j, r, outcome, err)
	}()
}

// execute finds out the job's id if need be, and runs it.
func (s *Scheduler) execute(ctx context.Context, j *job, r *run) (Outcome, error) {
	if err := ctx.Err(); err != nil {
		return Outcome{}, err
	}
	s.mu.Lock()
	work := j.Job
	s.mu.Unlock()
	if work.ID == "" {
		spec, err := s.runner.Resolve(ctx, work.Spec, design.Subject{Name: work.User, Roles: work.Roles})
		if err != nil {
			return Outcome{}, err
		}
		if err := s.claim(j, s.runner.JobID(spec)); err != nil {
			return Outcome{}, err
		}
		s.mu.Lock()
		work.ID, work.Spec = j.ID, spec
		s.mu.Unlock()
	}
	s.mu.Lock()
	before := s.ending[work.ID]
	s.mu.Unlock()
	if before != nil && before != r {
		<-before.done // which has been told to stop
	}
	if !work.transient() {
		s.runner.Report(Report{Job: work, State: StateRunning})
	}
	outcome, err := s.runner.Run(ctx, work, r.progress)
	if err == nil && work.Spec.Continuous {
		err = errEnded
	}
	return outcome, err
}

// claim gives a job its id, unless another one has it.
func (s *Scheduler) claim(j *job, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone(j) {
		return ErrCancelled
	}
	if other := s.ids[id]; other != nil && other != j {
		return &DuplicateError{id, j.DocID, other.Database, other.DocID}
	}
	j.ID, s.ids[id] = id, j
	return nil
}

// finish notes how a run has ended.
func (s *Scheduler) finish(ctx context.Context, j *job, r *run, outcome Outcome, err error) {
	info := infoOf(r.progress)
	s.mu.Lock()
	stopped := ctx.Err() != nil && err != nil
	gone := s.gone(j)
	r.ending = true
	work := j.Job
	s.mu.Unlock()

	if err != nil {
		err = redacted(work.Spec, err)
	}
	var duplicate *DuplicateError
	final := err == nil || errors.As(err, &duplicate) && duplicate.Database != "" || work.transient() && !work.Spec.Continuous
	report := Report{Job: work, State: StateCrashing, Started: j.added, Info: info, Err: err}
	switch {
	case err == nil:
		report.State = StateCompleted
		if seq := outcome.Log.SourceLastSeq; info.CheckpointedSourceSeq == "" {
			info.CheckpointedSourceSeq = seq
		}
	case final:
		report.State = StateFailed
	}
	if !stopped && !gone && !work.transient() {
		s.runner.Report(report) // before the job is gone, so that there is no moment at which neither it nor the document tells
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	j.run, j.info = nil, info
	if s.ending[j.ID] == r {
		delete(s.ending, j.ID)
	}
	close(r.done)
	s.nudge()
	if s.gone(j) {
		return
	}
	now := time.Now()
	j.waiting = now
	switch {
	case stopped:
		j.err, j.crashes = nil, 0
		s.note(j, Event{Time: now, Type: "stopped"})
	case final:
		s.log.Info("a replication has ended", "id", j.ID, "document", j.DocID, "error", err)
		s.end(j, outcome, err)
	default:
		s.crashed(j, r, err, now)
	}
}

// crashed lets a job wait before it is tried again. The caller holds mu.
func (s *Scheduler) crashed(j *job, r *run, err error, now time.Time) {
	if now.Sub(r.began) > s.settings().HealthThreshold {
		j.crashes = 0
	}
	j.crashes++
	j.err = err
	j.ready = now.Add(backoff(j.crashes))
	s.note(j, Event{Time: now, Type: "crashed", Reason: err.Error()})
	s.log.Warn("a replication failed and will be tried again", "id", j.ID, "document", j.DocID, "crashes", j.crashes, "at", j.ready, "error", err)
}

// redactedError is an error whose text has been rid of credentials.
type redactedError struct {
	text string
	err  error
}

func (e *redactedError) Error() string { return e.text }

func (e *redactedError) Unwrap() error { return e.err }

// redacted returns an error whose text shows no credentials of the Spec.
func redacted(s *Spec, err error) error {
	if err == nil {
		return nil
	}
	return &redactedError{s.redact(err.Error()), err}
}
