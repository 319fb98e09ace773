package script

import (
	"runtime"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/dlclark/regexp2/v2"
)

// The watchdog is one goroutine that runs while functions run. It looks at each
// running call every few milliseconds: it ends those that take too long, and
// those during which the process's memory grows too much.
//
// The JavaScript engine does not tell how much a runtime allocates. So the growth
// of the whole heap is put down to a call that has been running all the while;
// nearly all calls are over before the watchdog sees them twice. What counts is
// what a garbage collection leaves; it is asked for when the heap has grown by
// more than a call may. A heap that grows by many times of that at once leaves no
// time to be sure.
const (
	watchInterval = 5 * time.Millisecond
	// idleRounds is after how many rounds without a running call the watchdog
	// goes home.
	idleRounds = 20
	// leaveTime is how long a call that was told to stop may take to do so
	// before its caller is freed.
	leaveTime = 250 * time.Millisecond
	// A process that stands still, because the machine is busy or everything
	// waits for one large allocation, does not use up the time of a call: a
	// round counts no more than longestRound. Overtime is how many times the
	// limit may have passed then.
	longestRound = 4 * watchInterval
	overtime     = 4
	// certainGrowth is how many times the memory of a call the heap may grow
	// before a collection has told what of it is garbage.
	certainGrowth = 4
)

// suspicion is what the watchdog knows of a running call.
type suspicion struct {
	since      int64  // which call
	awake      int64  // heap.awake at the first look
	heap, live uint64 // at the first look
	collected  uint64 // collections until then
}

// watchOver makes sure that the watchdog runs.
func (e *Engine) watchOver() {
	if !e.watching.Load() && e.watching.CompareAndSwap(false, true) {
		go e.watchdog()
	}
}

func (e *Engine) watchdog() {
	t := time.NewTicker(watchInterval)
	defer t.Stop()
	h := newHeap()
	var running []*machine
	last := e.now()
	for idle := 0; ; {
		<-t.C
		now := e.now()
		h.awake += min(now-last, int64(longestRound))
		last = now
		running = e.running(running[:0])
		if len(running) > 0 {
			idle = 0
			e.inspect(running, h)
			clear(running)
			continue
		}
		if idle++; idle < idleRounds {
			continue
		}
		// A call that begins now either sees that nobody watches or is seen.
		e.watching.Store(false)
		if len(e.running(running[:0])) == 0 || !e.watching.CompareAndSwap(false, true) {
			return
		}
		idle = 0
	}
}

func (e *Engine) running(list []*machine) []*machine {
	e.mu.Lock()
	defer e.mu.Unlock()
	for m := range e.machines {
		if m.since.Load() != 0 {
			list = append(list, m)
		}
	}
	return list
}

// inspect looks at running calls.
func (e *Engine) inspect(running []*machine, h *heap) {
	now := e.now()
	fresh := false
	var suspect *machine
	for _, m := range running {
		since := m.since.Load()
		if since == stopped && now-m.stoppedAt.Load() > int64(leaveTime) {
			m.leave()
		}
		if since <= 0 {
			continue
		}
		if now-since < int64(watchInterval)/2 {
			continue
		}
		if !fresh {
			h.read()
			fresh = true
		}
		w := &m.watch
		if w.since != since {
			*w = suspicion{since: since, awake: h.awake, heap: h.objects, live: h.live, collected: h.cycles}
			continue
		}
		if h.awake-w.awake > int64(e.time) || now-since > overtime*int64(e.time) {
			m.stopCall(since, errTimeout())
			continue
		}
		if e.guilty(w, h) && (suspect == nil || since < suspect.watch.since) {
			suspect = m
		}
	}
	if suspect == nil {
		return
	}
	// One at a time, the oldest first; what the others did is seen from now on.
	suspect.stopCall(suspect.watch.since, errMemory(e.memory))
	for _, m := range running {
		w := &m.watch
		w.heap, w.live, w.collected = h.objects, h.live, h.cycles
	}
}

// guilty tells whether the heap has grown too much since the first look at a call.
func (e *Engine) guilty(w *suspicion, h *heap) bool {
	limit := uint64(e.memory)
	if h.objects < w.heap+limit {
		return false
	}
	if h.objects > w.heap+max(certainGrowth*limit, w.live) {
		return true
	}
	// One collection may have begun before the growth; the second has not.
	for h.cycles < w.collected+2 {
		runtime.GC()
		h.read()
	}
	return h.live > w.live+limit && h.objects > w.heap+limit
}

// heap reads the process's memory.
type heap struct {
	awake                 int64 // nanoseconds during which the process was at work
	samples               []metrics.Sample
	objects, live, cycles uint64
}

func newHeap() *heap {
	return &heap{samples: []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"},
	}}
}

func (h *heap) read() {
	metrics.Read(h.samples)
	h.objects, h.live, h.cycles = h.samples[0].Value.Uint64(), h.samples[1].Value.Uint64(), h.samples[2].Value.Uint64()
}

// Backtracking regular expressions cannot be interrupted, but end themselves
// after a time that is one for the whole process. A match that ran into it looks
// as if there were none, so that no call may take longer and be believed
// (mayHaveMissed).
var (
	regexpOnce sync.Once
	regexpTime time.Duration
)

// boundRegexps sets the bound, the first time, and returns it.
func boundRegexps(d time.Duration) time.Duration {
	regexpOnce.Do(func() {
		regexpTime = max(d, defaultTime)
		regexp2.DefaultMatchTimeout = regexpTime
	})
	return regexpTime
}
