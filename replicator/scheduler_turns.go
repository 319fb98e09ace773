package replicator

import (
	"cmp"
	"slices"
	"time"
)

// turn is what happens next: jobs that may run, and places to run in.
type turn struct {
	settings Settings
	now      time.Time
	running  map[string]int    // by database
	waiting  map[string][]*job // by database, those that have waited longest first
	waits    int               // of waiting
}

// reschedule starts jobs whose turn it is. It returns when it is to be called next if nothing happens before, if that
// is known.
func (s *Scheduler) reschedule(now time.Time) (next time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving.Err() != nil {
		return next, false
	}
	t := turn{settings: s.settings(), now: now, running: map[string]int{}, waiting: map[string][]*job{}}
	sooner := func(at time.Time) {
		if !ok || at.Before(next) {
			next, ok = at, true
		}
	}
	for _, j := range s.jobs {
		switch {
		case j.run != nil:
			t.running[j.Database]++
		case j.ready.After(now):
			sooner(j.ready)
		default:
			t.waiting[j.Database] = append(t.waiting[j.Database], j)
			t.waits++
		}
	}
	for _, queue := range t.waiting {
		slices.SortFunc(queue, func(a, b *job) int {
			return cmp.Or(a.waiting.Compare(b.waiting), a.added.Compare(b.added), cmp.Compare(a.key, b.key))
		})
	}
	for started := 0; s.running < t.settings.MaxJobs; started++ {
		j := t.pick()
		if j == nil {
			break
		}
		s.start(j, started, now)
	}
	if t.waits > 0 {
		if at, will := s.churn(&t); will {
			sooner(at)
		}
	}
	return next, ok
}

// pick takes the job out of the queues that is to run next; nil if none waits.
func (t *turn) pick() *job {
	best := ""
	found := false
	for database, queue := range t.waiting {
		if len(queue) == 0 {
			continue
		}
		if !found || t.less(database, 1, best, 1) || !t.less(best, 1, database, 1) && queue[0].waiting.Before(t.waiting[best][0].waiting) {
			best, found = database, true
		}
	}
	if !found {
		return nil
	}
	j := t.waiting[best][0]
	t.waiting[best] = t.waiting[best][1:]
	t.waits--
	t.running[best]++
	return j
}

// less tells whether database a would have less of its share than b if each had so many jobs more running.
func (t *turn) less(a string, moreA int, b string, moreB int) bool {
	return (t.running[a]+moreA)*t.settings.share(b) < (t.running[b]+moreB)*t.settings.share(a)
}

// churn stops jobs that have run long enough so that others have their turn, and returns when to look again. Their
// places are free when they have ended. The caller holds mu.
func (s *Scheduler) churn(t *turn) (next time.Time, ok bool) {
	var stoppable []*job
	stopping := 0
	for _, j := range s.jobs {
		switch {
		case j.run == nil || !j.Spec.Continuous:
		case j.run.stopping:
			stopping++
		default:
			stoppable = append(stoppable, j)
		}
	}
	if len(stoppable) == 0 {
		return next, false // something has to end first
	}
	slices.SortFunc(stoppable, func(a, b *job) int { return a.run.began.Compare(b.run.began) })
	next = s.churned.Add(t.settings.Interval)
	if first := stoppable[0].run.began.Add(t.settings.Interval); first.After(next) {
		next = first
	}
	if next.After(t.now) {
		return next, true
	}
	for range min(t.settings.MaxChurn, t.waits) - stopping {
		worst := -1
		for i, j := range stoppable {
			if t.now.Sub(j.run.began) >= t.settings.Interval && (worst < 0 || t.less(stoppable[worst].Database, 0, j.Database, 0)) {
				worst = i
			}
		}
		if worst < 0 {
			break
		}
		j := stoppable[worst]
		stoppable = slices.Delete(stoppable, worst, worst+1)
		t.running[j.Database]--
		j.run.stopping = true
		j.run.cancel()
	}
	s.churned = t.now
	return t.now.Add(t.settings.Interval), true
}
