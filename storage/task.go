package storage

import (
	"sync"
	"time"
)

// Task is background work, as _active_tasks shows it.
type Task struct {
	Type     string
	Database string // empty: the whole node
	Design   string // whose index it is about; empty: none
	Started  time.Time

	tasks *tasks
	mu    sync.Mutex
	done  uint64
	total uint64
	moved time.Time
}

// Advance counts done steps on; total, if it is not 0, is their number at the end.
func (t *Task) Advance(done, total uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done += done
	t.total = max(t.total, total)
	t.moved = time.Now()
}

// Progress returns the steps done, their number at the end (0 if that is not known), and when the last was done.
func (t *Task) Progress() (done, total uint64, updated time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done, t.total, t.moved
}

// End takes the task off the list.
func (t *Task) End() {
	t.tasks.mu.Lock()
	defer t.tasks.mu.Unlock()
	delete(t.tasks.running, t)
}

type tasks struct {
	mu      sync.Mutex
	running map[*Task]struct{}
}

func (ts *tasks) begin(kind, database string) *Task {
	return ts.add(&Task{Type: kind, Database: database})
}

func (ts *tasks) add(t *Task) *Task {
	t.tasks, t.Started = ts, time.Now()
	t.moved = t.Started
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.running == nil {
		ts.running = map[*Task]struct{}{}
	}
	ts.running[t] = struct{}{}
	return t
}

// BeginTask puts background work on the list that somebody does to the index of a design document. It must be ended.
func (s *Store) BeginTask(kind, database, design string) *Task {
	return s.tasks.add(&Task{Type: kind, Database: database, Design: design})
}

// Tasks returns the background work that goes on now, in no order.
func (s *Store) Tasks() []*Task {
	s.tasks.mu.Lock()
	defer s.tasks.mu.Unlock()
	out := make([]*Task, 0, len(s.tasks.running))
	for t := range s.tasks.running {
		out = append(out, t)
	}
	return out
}
