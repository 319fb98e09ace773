package replicator

import (
	"errors"
	"fmt"
	"time"
)

// Job is a replication that somebody wants.
type Job struct {
	Spec *Spec
	// ID is what Spec.JobID says; empty if that is not known before the filter's text has been read.
	ID string
	// Database and DocID name the document that asks for it; they are empty for a request.
	Database, DocID string
	// User and Roles are on whose behalf it runs.
	User  string
	Roles []string
}

// transient tells whether the job goes with the process.
func (j *Job) transient() bool { return j.Database == "" }

// State is where a job is in its life, in CouchDB's words.
type State string

// The states. A job is gone when it is StateCompleted or StateFailed: its document tells.
const (
	StateInitializing State = "initializing" // what it is to do is being found out
	StateError        State = "error"        // that could not be found out; it will be tried again
	StatePending      State = "pending"      // waits for its turn
	StateRunning      State = "running"
	StateCrashing     State = "crashing" // it failed, and waits before it tries again
	StateCompleted    State = "completed"
	StateFailed       State = "failed"
)

// States are all of them.
var States = []State{StateInitializing, StateError, StatePending, StateRunning, StateCrashing, StateCompleted, StateFailed}

// Event is something that happened to a job.
type Event struct {
	Time   time.Time
	Type   string // "added", "started", "stopped" or "crashed"
	Reason string // of a crash
}

// Info is what a run has done so far, under the names that CouchDB's scheduler shows.
type Info struct {
	RevisionsChecked      int64   `json:"revisions_checked"`
	MissingRevisionsFound int64   `json:"missing_revisions_found"`
	DocsRead              int64   `json:"docs_read"`
	DocsWritten           int64   `json:"docs_written"`
	ChangesPending        *int64  `json:"changes_pending"` // nil: not known
	DocWriteFailures      int64   `json:"doc_write_failures"`
	BulkGetDocs           int64   `json:"bulk_get_docs"`
	BulkGetAttempts       int64   `json:"bulk_get_attempts"`
	CheckpointedSourceSeq SeqJSON `json:"checkpointed_source_seq"`
	SourceSeq             SeqJSON `json:"source_seq"`
	ThroughSeq            SeqJSON `json:"through_seq"`
}

// infoOf reads a run's progress.
func infoOf(p *Progress) *Info {
	s := p.Stats()
	source, through, checkpointed := p.Sequences()
	i := &Info{
		RevisionsChecked: s.Checked, MissingRevisionsFound: s.Found, DocsRead: s.Read, DocsWritten: s.Written, DocWriteFailures: s.Failed,
		BulkGetDocs: s.BulkGetDocs, BulkGetAttempts: s.BulkGetAttempted,
		CheckpointedSourceSeq: SeqJSON(checkpointed), SourceSeq: SeqJSON(source), ThroughSeq: SeqJSON(through),
	}
	if n := p.Pending(); n >= 0 {
		i.ChangesPending = &n
	}
	return i
}

// Status describes a job. It holds no credentials.
type Status struct {
	ID                       string // empty if not known
	Database, DocID, User    string
	Source, Target           string
	SourceProxy, TargetProxy string
	Continuous               bool
	CheckpointInterval       time.Duration
	State                    State
	// Info is what the newest run has done; nil if none has run.
	Info *Info
	// Error is why it failed, if it did.
	Error      string
	ErrorCount int
	Started    time.Time // when it was added
	Updated    time.Time // when its state last changed
	Running    time.Time // since when it runs; zero if it does not
	History    []Event   // newest first
}

// describe fills in what a Status tells of a Spec.
func (s *Status) describe(spec *Spec) {
	s.Source, s.Target = spec.Source.Redacted(), spec.Target.Redacted()
	s.SourceProxy, s.TargetProxy = redactURL(spec.SourceProxy), redactURL(spec.TargetProxy)
	s.Continuous, s.CheckpointInterval = spec.Continuous, spec.CheckpointInterval
}

// Errors of jobs.
var (
	// ErrCancelled says that a job was taken away.
	ErrCancelled = errors.New("the replication was cancelled")
	// ErrStopping says that the node stops.
	ErrStopping = errors.New("the node is stopping")
	// errEnded says that a continuous replication has ended by itself.
	errEnded = errors.New("the source ended its feed of changes")
)

// DuplicateError says that a job is there already.
type DuplicateError struct {
	ID    string
	DocID string // of the one that came later
	// Database and Other name the document of the first; they are empty if it was made by a request.
	Database, Other string
}

func (e *DuplicateError) Error() string {
	if e.Database == "" {
		return fmt.Sprintf("Replication `%s` specified by document `%s` already running as a transient replication, started via `_replicate` API endpoint", e.ID, e.DocID)
	}
	return fmt.Sprintf("Replication `%s` specified by document `%s` already started, triggered by document `%s` from db `%s`", e.ID, e.DocID, e.Other, e.Database)
}

// FilterFetchError says that a filter function could not be read from the source. Its text is CouchDB's.
type FilterFetchError struct {
	DocID, Source string
	Err           error
}

func (e *FilterFetchError) Error() string {
	return fmt.Sprintf("Couldn't open document `%s` from source database `%s`: %s", e.DocID, e.Source, e.Err)
}

func (e *FilterFetchError) Unwrap() error { return e.Err }
