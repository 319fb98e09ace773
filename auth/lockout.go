package auth

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/mangrove-db/mangrove/config"
)

// lockout counts failures to sign in, per address, name and stored password:
// with a new password the counting starts anew. What is counted is forgotten
// some time after the first failure, and when there is too much of it, the
// longest unused first.
type lockout struct {
	mu      sync.Mutex // guards the rest
	entries map[[sha256.Size]byte]*list.Element
	recent  *list.List // of *failures, the last used in front
}

type failures struct {
	key   [sha256.Size]byte
	count int
	since time.Time
}

func newLockout() *lockout {
	return &lockout{entries: map[[sha256.Size]byte]*list.Element{}, recent: list.New()}
}

// find returns what is known of a key, nil for nothing.
func (l *lockout) findLocked(c *config.Lockout, key [sha256.Size]byte) *failures {
	e := l.entries[key]
	if e == nil {
		return nil
	}
	f := e.Value.(*failures)
	if time.Since(f.since) >= c.MaxLifetime {
		l.recent.Remove(e)
		delete(l.entries, key)
		return nil
	}
	l.recent.MoveToFront(e)
	return f
}

// reached tells whether a key has as many failures as are allowed.
func (l *lockout) reached(c *config.Lockout, key [sha256.Size]byte) bool {
	if c.Mode == "off" {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.findLocked(c, key)
	return f != nil && f.count >= c.Threshold
}

// failed counts a failure.
func (l *lockout) failed(c *config.Lockout, key [sha256.Size]byte) {
	if c.Mode == "off" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.findLocked(c, key); f != nil {
		f.count++
		return
	}
	l.entries[key] = l.recent.PushFront(&failures{key, 1, time.Now()})
	for l.recent.Len() > c.MaxObjects {
		e := l.recent.Back()
		l.recent.Remove(e)
		delete(l.entries, e.Value.(*failures).key)
	}
}
