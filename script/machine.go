package script

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/dop251/goja"
)

// maxFrames is how deeply functions may call each other.
const maxFrames = 2000

// stopped is the start of a call that was told to stop.
const stopped = -1

// machine is a JavaScript runtime that is prepared for a unit. It is used by one
// goroutine at a time; the watchdog and contexts reach it through since, verdict
// and the runtime's Interrupt alone.
type machine struct {
	unit   *unit
	engine *Engine
	vm     *goja.Runtime

	// since is when the running call began, by Engine.now: 0 if none runs.
	since     atomic.Int64
	verdict   atomic.Pointer[outcome]
	stoppedAt atomic.Int64 // by Engine.now
	broken    bool         // not to be used again

	jobs chan<- func() error // to the worker, if there is one
	done chan error          // the result of a call
	left atomic.Bool         // to itself, for ever
	gone chan struct{}       // closed then

	ctx     context.Context // the one that is watched
	unwatch func()

	used  int64 // bytes that the call brought forth, as far as they are counted
	guard guard
	watch suspicion // the watchdog's own

	functions map[string]*function
	this      goja.Value // the unit's root
	modules   map[string]*goja.Object

	rows    []emitted   // what the running map function emitted
	emits   int         // how often emit was called
	filter  bool        // emitted rows are of no interest
	render  renderState // of shows and lists
	buf     []byte      // for encoding
	encoder encoder
}

// function is one that was evaluated.
type function struct {
	call   goja.Callable
	value  *goja.Object
	source string
}

// outcome is why a call was stopped.
type outcome struct{ err error }

func newMachine(u *unit) *machine {
	m := &machine{unit: u, engine: u.engine, unwatch: func() {}, functions: map[string]*function{}, done: make(chan error, 1), gone: make(chan struct{})}
	m.vm = goja.New()
	m.vm.SetMaxCallStackSize(maxFrames)
	if u.still {
		m.vm.SetTimeSource(func() time.Time { return time.UnixMilli(0) })
	}
	m.encoder.m = m
	m.this = undefined
	m.install()
	if u.root != "" {
		m.this = m.feed(u.root, true)
	}
	return m
}

// run calls f, which runs JavaScript, within the limits. What f returns comes
// back as an *Error if it was thrown in JavaScript, and as it is if not.
//
// F runs in a goroutine of its own, so that the caller need not wait for a builtin
// that does not end: the machine is then left to itself, and nothing that f
// writes to may be read.
func (m *machine) run(ctx context.Context, f func() error) error {
	if m.engine.runaways.Load() >= maxRunaways {
		return &Error{Kind: Timeout, Name: processError, Reason: "Too many functions do not end."}
	}
	if err := m.begin(ctx); err != nil {
		return err
	}
	if m.jobs != nil {
		m.jobs <- f
	} else {
		go m.execute(f)
	}
	select {
	case err := <-m.done:
		return err
	case <-m.gone:
		return m.verdict.Load().err
	}
}

// maxRunaways is how many machines may be left to themselves at a time.
const maxRunaways = 16

// keepWorker keeps a goroutine for the calls to come, until dismiss.
func (m *machine) keepWorker() {
	jobs := make(chan func() error)
	m.jobs = jobs
	go func() {
		for f := range jobs {
			m.execute(f)
		}
	}()
}

func (m *machine) dismiss() {
	if m.jobs != nil {
		close(m.jobs)
		m.jobs = nil
	}
}

// execute runs one call and says that it is done.
func (m *machine) execute(f func() error) {
	err := m.protect(f)
	if m.left.Load() {
		m.engine.runaways.Add(-1)
	}
	m.done <- err
}

func (m *machine) protect(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			// A fault of the JavaScript engine must not end the process.
			m.broken = true
			err = &Error{Kind: Fault, Name: "InternalError", Reason: fmt.Sprint(p)}
		}
		if stop := m.end(); stop != nil {
			err = stop
		}
	}()
	return m.failure(f())
}

// leave leaves a machine to itself that was told to stop and does not.
func (m *machine) leave() {
	if m.left.CompareAndSwap(false, true) {
		m.engine.runaways.Add(1)
		close(m.gone)
	}
}

// begin starts the clock.
func (m *machine) begin(ctx context.Context) error {
	if m.ctx != ctx {
		m.unwatch()
		m.ctx = ctx
		m.unwatch = func() {}
		if ctx.Done() != nil {
			stop := context.AfterFunc(ctx, func() { m.stop(context.Cause(ctx)) })
			m.unwatch = func() { stop(); m.ctx = nil }
		}
	}
	m.used = 0
	m.resume()
	if err := ctx.Err(); err != nil {
		m.end()
		return err
	}
	return nil
}

// end stops the clock; it returns why the call was stopped, if it was.
func (m *machine) end() error {
	switch s := m.since.Swap(0); {
	case s == stopped:
		m.broken = true
		return m.verdict.Load().err
	case s > 0 && m.mayHaveMissed(s):
		m.broken = true
		return errTimeout()
	}
	return nil
}

// mayHaveMissed tells whether a regular expression may have given up since s, and the call taken that for no match. The
// watchdog need not have noticed: for it a busy machine's time passes more slowly.
func (m *machine) mayHaveMissed(s int64) bool { return m.engine.now()-s >= int64(regexpTime) }

func (m *machine) resume() {
	m.since.Store(m.engine.now())
	m.engine.watchOver()
}

// pause stops the clock while Go code waits for others in the midst of a call;
// false if the call was stopped.
func (m *machine) pause() bool {
	for {
		s := m.since.Load()
		if s <= 0 {
			return false
		}
		if m.mayHaveMissed(s) {
			m.stop(errTimeout())
			return false
		}
		if m.since.CompareAndSwap(s, 0) {
			return true
		}
	}
}

// unpause starts it again, unless the call was stopped.
func (m *machine) unpause() {
	if m.since.CompareAndSwap(0, m.engine.now()) {
		m.engine.watchOver()
	}
}

// stop ends the running call, if one runs, from any goroutine. JavaScript cannot
// catch it.
func (m *machine) stop(err error) {
	for {
		s := m.since.Load()
		if s <= 0 {
			return
		}
		if m.stopCall(s, err) {
			return
		}
	}
}

// stopCall ends the call that began at s, unless it has ended.
func (m *machine) stopCall(s int64, err error) bool {
	m.verdict.Store(&outcome{err})
	m.stoppedAt.Store(m.engine.now())
	if !m.since.CompareAndSwap(s, stopped) {
		return false
	}
	m.vm.Interrupt(nil)
	return true
}

// abort ends the running call from within.
func (m *machine) abort(err error) {
	m.stop(err)
}

// count notes that the call brings forth n bytes more; false if those are too
// many and the call is being stopped.
func (m *machine) count(n int) bool {
	m.used += int64(n)
	if m.used <= m.engine.memory {
		return true
	}
	m.abort(errMemory(m.engine.memory))
	return false
}

// failure turns what the JavaScript engine returned into an *Error.
func (m *machine) failure(err error) error {
	if err == nil {
		return nil
	}
	var (
		overflow  *goja.StackOverflowError
		interrupt *goja.InterruptedError
		thrown    *goja.Exception
	)
	switch {
	case errors.As(err, &overflow):
		m.broken = true
		return errRecursion()
	case errors.As(err, &interrupt):
		m.broken = true
		return errTimeout() // end knows better
	case errors.As(err, &thrown):
		return m.thrown(thrown.Value())
	}
	return err
}

// fatal tells whether err ended more than a function.
func fatal(err error) bool {
	var overflow *goja.StackOverflowError
	var interrupt *goja.InterruptedError
	return errors.As(err, &overflow) || errors.As(err, &interrupt)
}

// evaluate returns the function that source stands for in this machine.
func (m *machine) evaluate(source string) (*function, error) {
	if f := m.functions[source]; f != nil {
		return f, nil
	}
	p, err := m.engine.program(source)
	if err != nil {
		return nil, err
	}
	v, err := m.vm.RunProgram(p.program)
	if err != nil {
		var thrown *goja.Exception
		if !errors.As(err, &thrown) {
			return nil, err
		}
		return nil, compilation("%s (%s)", m.describe(thrown.Value()), source)
	}
	call, ok := goja.AssertFunction(v)
	if !ok {
		return nil, noFunction(source)
	}
	f := &function{call: call, value: v.(*goja.Object), source: source}
	m.functions[source] = f
	return f, nil
}

// throw throws a JavaScript value out of a native function.
func (m *machine) throw(v any) { panic(m.vm.ToValue(v)) }

// throwNamed throws ["error", name, reason] as CouchDB's own functions do.
func (m *machine) throwNamed(name, reason string) {
	m.throw(m.vm.NewArray("error", name, reason))
}

// rangeError throws a RangeError.
func (m *machine) rangeError(message string) {
	o, err := m.vm.New(m.guard.rangeError, m.vm.ToValue(message))
	if err != nil {
		panic(err)
	}
	panic(o)
}
