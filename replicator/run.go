package replicator

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Options say what Run copies and how.
type Options struct {
	// ID names the checkpoints. Two replications that copy other things must have other ids.
	ID string
	// Since is where to begin if there is no checkpoint, or if none is to be used; empty: the beginning.
	Since string
	// Continuous goes on with what comes later, until the context is done.
	Continuous bool
	// Filter says which documents are copied; its AllLeaves is set by Run.
	Filter FilterSpec
	Query  map[string]string // parameters for a filter function
	// WinningRevsOnly leaves conflicts behind.
	WinningRevsOnly bool
	// Create makes the target's database first, if it is not nil.
	Create *CreateParams

	NoCheckpoints      bool
	CheckpointInterval time.Duration // 0: 30 s
	Workers            int           // batches that are copied at the same time; 0: 20
	BatchSize          int           // changes of a batch; 0: 500

	// Later, if it is not nil, takes the last step of a run that may be done when Run has returned: it can take seconds,
	// and should be over before the next run with the same ID begins. Both peers are still used by it.
	Later func(step func(context.Context) error)

	// Progress, if it is not nil, is kept up to date.
	Progress *Progress
}

// Stats count what a replication has done, under CouchDB's names.
type Stats struct {
	Checked int64 `json:"missing_checked"` // revisions the target was asked for
	Found   int64 `json:"missing_found"`   // of these, what it lacked
	Read    int64 `json:"docs_read"`
	Written int64 `json:"docs_written"`
	Failed  int64 `json:"doc_write_failures"`
	// Documents that came by _bulk_get. What it does not give is got singly, and is counted as read alone, so that
	// attempts and documents are the same here.
	BulkGetAttempted int64 `json:"bulk_get_attempts"`
	BulkGetDocs      int64 `json:"bulk_get_docs"`
}

// Progress is what a replication tells of itself while it runs. It may be read by any goroutine.
type Progress struct {
	checked, found, read, written, failed atomic.Int64
	bulkGet                               atomic.Int64
	bytes                                 atomic.Int64 // of documents and attachments that were copied
	pending                               atomic.Int64 // changes that the source still has; -1: not known

	mu           sync.Mutex
	sourceSeq    string // the newest change read
	throughSeq   string // everything before it is on the target
	checkpointed string // the last checkpoint
}

// Stats returns the counts.
func (p *Progress) Stats() Stats {
	return Stats{
		Checked: p.checked.Load(), Found: p.found.Load(), Read: p.read.Load(), Written: p.written.Load(), Failed: p.failed.Load(),
		BulkGetAttempted: p.bulkGet.Load(), BulkGetDocs: p.bulkGet.Load(),
	}
}

// Bytes returns how much was copied: texts of documents and contents of attachments.
func (p *Progress) Bytes() int64 { return p.bytes.Load() }

// Pending returns how many changes the source still has, or -1 if that is not known.
func (p *Progress) Pending() int64 { return p.pending.Load() }

// Sequences returns the newest sequence read from the source, that up to which everything is on the target, and that
// of the last checkpoint.
func (p *Progress) Sequences() (source, through, checkpointed string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sourceSeq, p.throughSeq, p.checkpointed
}

// HistoryEntry is one session in a checkpoint's history.
type HistoryEntry struct {
	SessionID    string  `json:"session_id"`
	StartTime    string  `json:"start_time"` // RFC 1123, GMT
	EndTime      string  `json:"end_time"`
	StartLastSeq SeqJSON `json:"start_last_seq"`
	EndLastSeq   SeqJSON `json:"end_last_seq"`
	RecordedSeq  SeqJSON `json:"recorded_seq"`
	Stats
}

// Log is the record of a replication: the body of its checkpoints, and the answer to POST /_replicate.
type Log struct {
	SessionID     string         `json:"session_id"`
	SourceLastSeq SeqJSON        `json:"source_last_seq"`
	Version       int            `json:"replication_id_version"`
	History       []HistoryEntry `json:"history"`
	// SourceStart is set where the source takes no checkpoints: the start time of its instance, by which a target's
	// checkpoint is known to be of that source. Other replicators do not know it.
	SourceStart string `json:"source_instance_start_time,omitempty"`
}

// Outcome is what a replication that ended by itself has done.
type Outcome struct {
	Log       Log
	NoChanges bool // there was nothing new: Log is that of the last time
	Stats     Stats
}
