package auth

import "sync/atomic"

// counters are what an Authenticator counts while it works.
type counters struct {
	hits, misses, failures, locked atomic.Uint64
}

// Counters is what an Authenticator has done since it was made.
type Counters struct {
	// Hits and Misses are checks of a name and a password whose outcome was remembered, or had to be derived.
	Hits, Misses uint64
	// Failures are wrong names and passwords, Locked the attempts that were refused because there were too many.
	Failures, Locked uint64
}

// Counters returns what was done.
func (a *Authenticator) Counters() Counters {
	c := &a.counters
	return Counters{Hits: c.hits.Load(), Misses: c.misses.Load(), Failures: c.failures.Load(), Locked: c.locked.Load()}
}
