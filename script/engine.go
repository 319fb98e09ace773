// Package script runs the functions of design documents: map, reduce,
// validate_doc_update, filters, updates, shows, lists and rewrites, as the query
// server of CouchDB 3.5 does.
//
// # Machines
//
// A machine is a JavaScript runtime with the helpers that functions expect. It
// belongs to one unit, which is a design document's functions (or its map
// functions, or one reduce function): what the functions of one design document
// do to globals and prototypes is seen by no other. Machines are made as they are
// needed and kept for the next call, so that whoever holds one never waits for
// another; the garbage collector takes idle ones. Sources are compiled once, and
// the programs are shared by all machines.
//
// # Limits
//
// A call may take so much time and bring forth so much memory; a watchdog looks
// after those that run (watchdog.go). Builtins that could do much work in one
// step, where nothing can interrupt them, refuse it (guard*.go); of one that
// still does not end the caller is freed. A machine that was stopped is thrown
// away.
//
// # Documents
//
// Functions see a document through an object that reads the document's text as
// its members are asked for (lazy.go). Map functions cannot change it.
//
// # What functions do not have
//
// No eval, no Function constructor, no Proxy, no BigInt, no timers, no network and
// no files. In map and reduce functions the clock stands still at the
// beginning of 1970, so that an index depends on documents alone.
package script

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dop251/goja"
)

// Options bound what functions may do.
type Options struct {
	// Time is how long one call may take; 0 means 5 s. In a list function it
	// counts anew from row to row.
	Time time.Duration
	// Memory is how many bytes one call may bring forth: what it emits, returns,
	// sends and logs exactly, and roughly what it allocates; 0 means 64 MiB.
	Memory int64
	// Log takes what functions log, and the exceptions that do not become
	// errors; nil discards them. It is called from many goroutines.
	Log func(message string)
}

const (
	defaultTime   = 5 * time.Second
	defaultMemory = 64 << 20
)

// Engine runs functions for the whole node. It is safe for concurrent use.
type Engine struct {
	time    time.Duration
	memory  int64
	log     func(string)
	started time.Time

	programs programCache

	mu       sync.Mutex
	machines map[*machine]struct{} // those that are borrowed
	watching atomic.Bool           // a watchdog goroutine runs
	runaways atomic.Int32          // machines that were left to themselves and still run
}

// New returns an engine.
func New(o Options) *Engine {
	if o.Time <= 0 {
		o.Time = defaultTime
	}
	if o.Memory <= 0 {
		o.Memory = defaultMemory
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	return &Engine{
		time: min(o.Time, boundRegexps(o.Time)), memory: o.Memory, log: o.Log,
		started: time.Now(), machines: map[*machine]struct{}{},
	}
}

// now is the time since the engine was made, in nanoseconds, and never 0.
func (e *Engine) now() int64 { return int64(time.Since(e.started)) + 1 }

// FunctionKind is the place of a function in a design document.
type FunctionKind uint8

// The kinds of functions.
const (
	MapFunction FunctionKind = iota + 1
	ReduceFunction
	ValidateFunction
	FilterFunction
	UpdateFunction
	ShowFunction
	ListFunction
	RewriteFunction
)

// Check tells whether source is a function of the kind, for a design document
// that is being saved: nil, or an *Error of kind Compilation. No function is
// called; a source that is more than a function expression is evaluated, within
// the limits. All kinds are alike so far.
func (e *Engine) Check(_ FunctionKind, source string) error {
	p, err := e.program(source)
	if err != nil {
		return err
	}
	if p.function {
		return nil
	}
	u := &unit{engine: e}
	m := u.borrow()
	defer u.give(m)
	return m.run(context.Background(), func() error {
		_, err := m.evaluate(source)
		return err
	})
}

// unit is what a machine is prepared for.
type unit struct {
	engine *Engine
	// root is the JSON text of the object in which require looks for modules
	// and which is the functions' this; "" if there is none.
	root string
	// still stops the clock.
	still bool
	idle  sync.Pool // of *machine
}

func (u *unit) borrow() *machine {
	m, _ := u.idle.Get().(*machine)
	if m == nil {
		m = newMachine(u)
	}
	e := u.engine
	e.mu.Lock()
	e.machines[m] = struct{}{}
	e.mu.Unlock()
	return m
}

func (u *unit) give(m *machine) {
	e := u.engine
	e.mu.Lock()
	delete(e.machines, m)
	e.mu.Unlock()
	m.unwatch()
	m.dismiss()
	if !m.left.Load() && !m.broken {
		u.idle.Put(m)
	}
}

var (
	undefined = goja.Undefined()
	null      = goja.Null()
)
