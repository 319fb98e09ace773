package replicator

import (
	"context"
	"sync"
)

// laters are the last steps of runs that have ended, one for each id. The zero value has none.
type laters struct {
	mu      sync.Mutex
	pending map[string]chan struct{} // closed when the step is over
	working sync.WaitGroup
}

// do takes a step in the background, after which the next run with the same id may begin.
func (l *laters) do(id string, step func(context.Context)) {
	done := make(chan struct{})
	l.mu.Lock()
	if l.pending == nil {
		l.pending = map[string]chan struct{}{}
	}
	l.pending[id] = done
	l.mu.Unlock()
	l.working.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTime)
		defer cancel()
		step(ctx)
		l.mu.Lock()
		if l.pending[id] == done {
			delete(l.pending, id)
		}
		l.mu.Unlock()
		close(done)
	})
}

// wait waits until no step with that id is being taken, or ctx is done.
func (l *laters) wait(ctx context.Context, id string) error {
	l.mu.Lock()
	done := l.pending[id]
	l.mu.Unlock()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
