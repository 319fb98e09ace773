package auth

import (
	"crypto/sha256"
	"sync"
)

// verdicts remembers, for digests of credentials, whether they were right. It
// holds at most twice its limit: when the young half is full the old half is
// forgotten, and what is asked for moves to the young half, so that guessing
// at passwords cannot push out the credentials in use.
type verdicts struct {
	limit int

	mu         sync.Mutex // guards young and old
	young, old map[[sha256.Size]byte]bool
}

func newVerdicts(limit int) *verdicts {
	return &verdicts{limit: limit, young: map[[sha256.Size]byte]bool{}}
}

// get is the verdict on a digest, and whether there is one.
func (v *verdicts) get(key [sha256.Size]byte) (good, seen bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if good, seen = v.young[key]; seen {
		return good, true
	}
	if good, seen = v.old[key]; seen {
		v.putLocked(key, good)
	}
	return good, seen
}

// put remembers a verdict.
func (v *verdicts) put(key [sha256.Size]byte, good bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.putLocked(key, good)
}

func (v *verdicts) putLocked(key [sha256.Size]byte, good bool) {
	if len(v.young) >= v.limit {
		v.old, v.young = v.young, make(map[[sha256.Size]byte]bool, v.limit)
	}
	v.young[key] = good
}
