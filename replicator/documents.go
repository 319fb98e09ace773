package replicator

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/internal/dbname"
	"github.com/mangrove-db/mangrove/storage"
)

// documents turns the documents of replicator databases into jobs. At the start it looks at all of them, so that jobs
// survive a restart; then it follows their changes.
type documents struct {
	*engine
	scheduler *Scheduler

	mu       sync.Mutex
	followed map[string]bool // databases
	follows  sync.WaitGroup
}

// retryPause is how long to wait after a database could not be read.
const retryPause = time.Second

// serve follows all replicator databases, those there are and those that come, until ctx is done.
func (d *documents) serve(ctx context.Context) {
	defer d.follows.Wait()
	since := d.store.UpdateSeq()
	for name, err := range d.store.Names(storage.NameRange{Limit: -1}) {
		if err != nil {
			d.log.Error("the databases could not be listed for replications", "error", err)
			break
		}
		d.follow(ctx, name)
	}
	for d.store.WaitUpdate(ctx, since) == nil {
		for u, err := range d.store.Updates(since, false) {
			if err != nil {
				d.log.Error("the database updates could not be read for replications", "error", err)
				pause(ctx, retryPause)
				break
			}
			since = u.Seq
			if u.Kind != storage.UpdateDeleted {
				d.follow(ctx, u.Name)
			}
		}
	}
}

func pause(ctx context.Context, t time.Duration) {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// follow follows a database if it is a replicator's and is not followed yet.
func (d *documents) follow(ctx context.Context, name string) {
	if !dbname.IsReplicator(name) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.followed[name] {
		return
	}
	d.followed[name] = true
	d.follows.Go(func() {
		f := follower{documents: d, name: name}
		f.serve(ctx)
	})
}

// leave ends the following of a database, unless there is one of that name again.
func (d *documents) leave(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.store.DB(name); err == nil {
		return false
	}
	delete(d.followed, name)
	return true
}

// follower follows one database.
type follower struct {
	*documents
	name    string
	created time.Time
	since   storage.Seq
}

func (f *follower) serve(ctx context.Context) {
	for ctx.Err() == nil {
		err := f.round(ctx)
		switch {
		case err == nil, ctx.Err() != nil:
		case errors.Is(err, storage.ErrNoDatabase):
			f.scheduler.RemoveDatabase(f.name)
			if f.leave(f.name) {
				return
			}
		default:
			f.log.Error("a replicator database could not be read", "database", f.name, "error", err)
			pause(ctx, retryPause)
		}
	}
}

// round looks at what has changed and waits for more.
func (f *follower) round(ctx context.Context) error {
	db, snap, err := f.store.Snapshot(f.name)
	if err != nil {
		return err
	}
	if created := db.Created(); !created.Equal(f.created) {
		f.scheduler.RemoveDatabase(f.name) // jobs of one that had the name before
		f.created, f.since = created, 0
	}
	err = f.look(ctx, snap)
	snap.Close()
	if err != nil {
		return err
	}
	return db.Wait(ctx, f.since)
}

func (f *follower) look(ctx context.Context, snap *storage.Snapshot) error {
	for c, err := range snap.Changes(ctx, storage.ChangesOptions{Since: f.since}) {
		if err != nil {
			return err
		}
		if !document.IsDesign(c.ID) {
			if err := f.changed(snap, c); err != nil {
				return err
			}
		}
		f.since = c.Seq
	}
	f.since = snap.Seq()
	return nil
}

// changed makes the jobs agree with a document.
func (f *follower) changed(snap *storage.Snapshot, c storage.Change) error {
	if c.Deleted {
		f.scheduler.RemoveDoc(f.name, c.ID)
		return nil
	}
	row, err := snap.Lookup(c.ID)
	if err != nil {
		return err
	}
	d, err := row.Document()
	if errors.Is(err, storage.ErrNotFound) {
		return nil // a revision without a body, which asks for nothing
	}
	if err != nil {
		return err
	}
	if stateOf(d.Body).over() {
		f.scheduler.settle(f.name, c.ID)
		return nil
	}
	j := Job{Database: f.name, DocID: c.ID}
	if j.Spec, err = ParseSpec(d.Body); err != nil {
		f.scheduler.RemoveDoc(f.name, c.ID)
		f.Report(Report{Job: j, State: StateFailed, Err: err})
		return nil
	}
	if old := f.scheduler.spec(f.name, c.ID); old != nil && old.same(j.Spec) {
		return nil
	}
	if j.User, j.Roles = j.Spec.User, j.Spec.Roles; !j.Spec.ByUser {
		j.Roles = []string{auth.AdminRole}
	}
	if !j.Spec.NeedsFilterText() {
		j.ID = f.JobID(j.Spec)
	}
	if _, err := f.scheduler.Add(j); err != nil {
		f.scheduler.RemoveDoc(f.name, c.ID)
		f.Report(Report{Job: j, State: StateFailed, Err: err})
	}
	return nil
}

// docState is what a document tells of its replication.
type docState struct {
	State  string    `json:"_replication_state"`
	Time   string    `json:"_replication_state_time"`
	Reason string    `json:"_replication_state_reason"`
	ID     string    `json:"_replication_id"`
	Stats  *docStats `json:"_replication_stats"`
}

// stateOf reads what a document tells; members that nobody but a user can have written so count as none.
func stateOf(body []byte) docState {
	var s docState
	if json.Unmarshal(body, &s) != nil {
		var only struct {
			State string `json:"_replication_state"`
		}
		_ = json.Unmarshal(body, &only) // another type is no state
		s = docState{State: only.State}
	}
	return s
}

// over tells whether the document says that there is nothing left to do.
func (s docState) over() bool { return s.State == "completed" || s.State == "failed" }
