package view

import "sync/atomic"

// counters are what an Indexer counts while it works.
type counters struct {
	mapped atomic.Uint64 // documents
	builds atomic.Uint64
	failed atomic.Uint64
	queued atomic.Int64 // databases that background work has yet to look at
}

// Counters is what an Indexer has done since it was made, and what it is about to do.
type Counters struct {
	// Mapped are documents that map functions were run on, Builds the runs that brought an index up to date, Failed
	// those that did not.
	Mapped, Builds, Failed uint64
	// Running are the indexes that are being built now, Waiting those among them that wait for others to finish first.
	Running, Waiting int
	// Queued are the databases that have changed and whose indexes nobody has looked at since.
	Queued int
	// Broken are the indexes that cannot be built because of a document that a function fails on.
	Broken int
}

// Counters returns what was done.
func (x *Indexer) Counters() Counters {
	c := Counters{
		Mapped: x.counters.mapped.Load(), Builds: x.counters.builds.Load(), Failed: x.counters.failed.Load(),
		Queued: int(max(x.counters.queued.Load(), 0)), Waiting: x.turns.waiting(),
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	c.Running, c.Broken = len(x.builds), len(x.failures)
	return c
}
