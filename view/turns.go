package view

import (
	"context"
	"runtime"
	"sync/atomic"
)

// largeBuild is how many changes an index must be behind for its build to wait for its turn. What is less is done in a
// moment, and whoever queries must not wait for it because others build for hours.
const largeBuild = 10_000

// turns lets few large builds run at a time: each holds documents in flight and runtimes of its own, and more of them
// than processors get nothing done sooner. The others wait, without a snapshot.
type turns struct {
	slots chan struct{}
	queue atomic.Int32
}

func newTurns() turns { return turns{slots: make(chan struct{}, max(2, runtime.GOMAXPROCS(0)))} }

// take waits for a turn, which ends with the function that it returns.
func (t *turns) take(ctx context.Context) (release func(), err error) {
	t.queue.Add(1)
	defer t.queue.Add(-1)
	select {
	case t.slots <- struct{}{}:
		return func() { <-t.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// waiting is how many builds wait for their turn.
func (t *turns) waiting() int { return int(t.queue.Load()) }

// takeTurn waits for the build's turn if it is a large one.
func (b *build) takeTurn(ctx context.Context) (release func(), err error) {
	behind, err := b.behind()
	if err != nil {
		return nil, err
	}
	if behind < largeBuild {
		return func() {}, nil
	}
	return b.x.turns.take(ctx)
}

// behind returns how many changes the index does not show.
func (b *build) behind() (uint64, error) {
	snap, err := b.target.db.Snapshot()
	if err != nil {
		return 0, err
	}
	defer snap.Close()
	state, err := stateIn(snap, b.index)
	if err != nil {
		return 0, err
	}
	if state.Stale {
		state.Seq = 0
	}
	return snap.Pending(state.Seq)
}
