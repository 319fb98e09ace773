package storage

import (
	"sync/atomic"

	"github.com/mangrove-db/mangrove/internal/histogram"
)

// counters are what a store counts while it works. Counting is a few atomic additions.
type counters struct {
	groups    histogram.Histogram // edits committed together
	syncs     histogram.Histogram // microseconds that a sync took
	snapshots atomic.Int64
}

// Counters is what a store has done since it was opened.
type Counters struct {
	// Groups are the commits of edits, by how many edits were written together.
	Groups histogram.Snapshot
	// Syncs are the syncs of the log, by the microseconds that they took.
	Syncs histogram.Snapshot
	// Snapshots are those that are open now; each keeps what was deleted after it from being freed.
	Snapshots int64
	// Databases are those that somebody has used since the start and that were not deleted.
	Databases int
	// Free is the room on the disk in bytes, and Reserve what of it must stay free for writes to be taken.
	Free, Reserve uint64
	// Failed tells that a sync has failed, so that no write is taken until the node was restarted.
	Failed bool
}

// Counters returns what the store has done. It costs a look at the disk.
func (s *Store) Counters() Counters {
	c := Counters{
		Groups: s.counters.groups.Snapshot(), Syncs: s.counters.syncs.Snapshot(),
		Snapshots: s.counters.snapshots.Load(), Failed: s.syncer.failure() != nil,
	}
	c.Free, c.Reserve = s.engine.Space()
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Databases = len(s.mu.open)
	return c
}

// Ready returns why no write can be taken now, if so: ErrNoSpace while the disk is nearly full, another error after a
// sync has failed, ErrClosed when the store is closing.
func (s *Store) Ready() error {
	s.mu.Lock()
	closed := s.mu.closed
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	return s.writable()
}
