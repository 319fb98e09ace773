package design

import "sync/atomic"

// counters are what a Cache counts while it works.
type counters struct{ hits, misses atomic.Uint64 }

// Counters is how often a design document was found in a Cache since it was made, and how often it had to be read.
type Counters struct{ Hits, Misses uint64 }

// Counters returns how the cache was used.
func (c *Cache) Counters() Counters {
	return Counters{Hits: c.counters.hits.Load(), Misses: c.counters.misses.Load()}
}
