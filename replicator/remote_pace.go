package replicator

import (
	"context"
	"sync"
	"time"
)

// pace keeps requests apart after the server has said that they are too many: the distance between them grows by half
// with each such answer and shrinks with each good one. Its zero value lets everything pass.
type pace struct {
	mu      sync.Mutex
	gap     time.Duration
	next    time.Time // when the next request may go
	changed time.Time // when the gap grew last
}

const (
	leastGap = 20 * time.Millisecond
	// greatestGap is where a server that still refuses is given up.
	greatestGap = 25 * time.Second
	// gapWindow is the time within which several refusals count as one: requests of the same moment meet the same fate.
	gapWindow = 100 * time.Millisecond
)

// wait waits for the request's turn.
func (p *pace) wait(ctx context.Context) error {
	p.mu.Lock()
	now := time.Now()
	at := p.next
	if at.Before(now) {
		at = now
	}
	if p.gap > 0 || at.After(now) {
		p.next = at.Add(p.gap)
	}
	p.mu.Unlock()
	if !at.After(now) {
		return nil
	}
	return sleep(ctx, at.Sub(now))
}

// slower notes a refusal, with the time the server wants to be left alone, if it told. It reports false if nothing
// helps.
func (p *pace) slower(after time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.changed) >= gapWindow || p.gap == 0 {
		if p.gap >= greatestGap {
			return false
		}
		p.gap = min(max(leastGap, p.gap*3/2), greatestGap)
		p.changed = now
	}
	if at := now.Add(max(after, p.gap)); at.After(p.next) {
		p.next = at
	}
	return true
}

// faster notes a request that was served.
func (p *pace) faster() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gap = p.gap * 19 / 20; p.gap < leastGap/2 {
		p.gap = 0
	}
}
