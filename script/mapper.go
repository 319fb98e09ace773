package script

import (
	"context"
	"errors"

	"github.com/dop251/goja"
)

// Mapper runs the map functions of one design document. It is used by one
// goroutine at a time and holds a machine until Close.
type Mapper struct {
	unit *unit
	maps []string
	run  *mapRun
}

// mapRun is the machine of a Mapper and what it works on. It is left to the
// machine if that does not end.
type mapRun struct {
	m   *machine
	fns []*function

	text    string // of the document
	fn      int    // that is being written
	out     []byte
	rows    []row
	job     func() error // all
	writing func()       // write
}

// row is where a row's key and value end in the output of a function.
type row struct{ fn, key, value int }

// emitted is what a map function emitted, not yet written: what it does to the
// values afterwards still counts, as in CouchDB.
type emitted struct{ key, value goja.Value }

// rowCost is what one row counts before it is written.
const rowCost = 64

// NewMapper compiles map functions. Lib is the JSON text of views.lib, in whose
// modules require("views/lib/…") looks; nil if there is none.
func (e *Engine) NewMapper(lib []byte, maps []string) (*Mapper, error) {
	p := &Mapper{unit: viewUnit(e, lib), maps: maps}
	if err := p.load(context.Background()); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// viewUnit is the unit of functions that see no more of a design document than
// views.lib.
func viewUnit(e *Engine, lib []byte) *unit {
	u := &unit{engine: e, still: true, root: `{"views":{}}`}
	if len(lib) > 0 {
		u.root = `{"views":{"lib":` + string(lib) + `}}`
	}
	return u
}

// load prepares a machine.
func (p *Mapper) load(ctx context.Context) error {
	m := p.unit.borrow()
	m.keepWorker()
	r := &mapRun{m: m}
	r.job, r.writing = r.all, r.write
	p.run = r
	return m.run(ctx, func() error {
		for _, source := range p.maps {
			f, err := m.evaluate(source)
			if err != nil {
				return err
			}
			r.fns = append(r.fns, f)
		}
		return nil
	})
}

// Map calls each map function with a document, given as JSON with _id and
// _rev, and then emit with what they emitted, in order; fn is the index of the
// function. Key and value are JSON texts, printed as CouchDB prints them, and
// valid during the call.
//
// A function that throws is logged and has no rows for the document. What is
// returned is emit's error, ctx's, or an *Error of kind Timeout, Memory or, if the
// function threw "fatal_error" or ["fatal", name, reason], Fault.
func (p *Mapper) Map(ctx context.Context, doc []byte, emit func(fn int, key, value []byte) error) error {
	if p.run == nil || p.run.m.left.Load() || p.run.m.broken {
		p.Close()
		if err := p.load(ctx); err != nil {
			p.Close()
			return err
		}
	}
	r := p.run
	r.text = string(doc)
	if err := r.m.run(ctx, r.job); err != nil {
		return err
	}
	start := 0
	for _, w := range r.rows {
		if err := emit(w.fn, r.out[start:w.key], r.out[w.key:w.value]); err != nil {
			return err
		}
		start = w.value
	}
	if cap(r.out) > keptBuffer {
		r.out = nil
	}
	return nil
}

// all runs the functions and leaves their rows in p.out.
func (p *mapRun) all() error {
	m := p.m
	p.out, p.rows = p.out[:0], p.rows[:0]
	doc := m.feed(p.text, false)
	for fn := range p.fns {
		out, rows := len(p.out), len(p.rows)
		m.rows = m.rows[:0]
		_, err := p.fns[fn].call(undefined, doc)
		if err == nil && len(m.rows) > 0 {
			p.fn = fn
			err = m.try(p.writing)
		}
		clear(m.rows)
		if err != nil {
			p.out, p.rows = p.out[:out], p.rows[:rows]
			if err = m.viewError(err, p.text); err != nil {
				return err
			}
		}
	}
	return nil
}

// write writes what a function emitted.
func (p *mapRun) write() {
	m := p.m
	for _, r := range m.rows {
		p.out = m.encode(p.out, r.key)
		key := len(p.out)
		p.out = m.encode(p.out, r.value)
		p.rows = append(p.rows, row{p.fn, key, len(p.out)})
		if int64(len(p.out)) > m.engine.memory {
			m.abort(errMemory(m.engine.memory))
			return
		}
	}
}

// try calls f, which calls what may panic with JavaScript exceptions.
func (m *machine) try(f func()) error {
	_, err := m.guard.trampoline(f)
	return err
}

// viewError logs what a map or reduce function threw and forgets it, unless it is
// fatal.
func (m *machine) viewError(err error, doc string) error {
	if fatal(err) {
		return err
	}
	var thrown *goja.Exception
	if !errors.As(err, &thrown) {
		return err
	}
	v := thrown.Value()
	if goja.IsString(v) && v.String() == "fatal_error" {
		return &Error{Kind: Fault, Name: "map_runtime_error", Reason: "function raised 'fatal_error'"}
	}
	if name, reason, raw, ok := m.errorList(v, "fatal"); ok {
		return named(name, reason, raw)
	}
	message := "function raised exception " + m.describe(v)
	if doc != "" {
		o := &lazyObject{m: m, text: doc}
		if id := o.Get("_id"); id != nil {
			message += " with doc._id " + id.String()
		}
	}
	m.engine.log(message)
	return nil
}

// Close gives the machine back.
func (p *Mapper) Close() {
	if p.run != nil {
		p.unit.give(p.run.m)
		p.run = nil
	}
}

// Reducer runs one reduce function. It is safe for concurrent use.
type Reducer struct {
	unit   *unit
	source string
}

// NewReducer compiles a reduce function; lib is as for NewMapper.
func (e *Engine) NewReducer(lib []byte, source string) (*Reducer, error) {
	r := &Reducer{unit: viewUnit(e, lib), source: source}
	m := r.unit.borrow()
	defer r.unit.give(m)
	err := m.run(context.Background(), func() error {
		_, err := m.evaluate(source)
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Reduce calls the function with keys and values of rows, which are JSON texts;
// a key is a pair of the row's key and its document's id. The result is a JSON
// text of the caller's. A function that throws is logged and gives null; errors
// are as for Map.
func (r *Reducer) Reduce(ctx context.Context, keys, values [][]byte) ([]byte, error) {
	return r.reduce(ctx, keys, values, false)
}

// Rereduce calls the function with results of it, the third argument being true.
func (r *Reducer) Rereduce(ctx context.Context, values [][]byte) ([]byte, error) {
	return r.reduce(ctx, nil, values, true)
}

func (r *Reducer) reduce(ctx context.Context, keys, values [][]byte, again bool) ([]byte, error) {
	m := r.unit.borrow()
	defer r.unit.give(m)
	var out []byte
	err := m.run(ctx, func() error {
		f, err := m.evaluate(r.source)
		if err != nil {
			return err
		}
		k, flag := goja.Value(null), falseValue
		if again {
			flag = trueValue
		} else {
			k = m.feedList(keys)
		}
		v, err := f.call(undefined, k, m.feedList(values), flag)
		if err == nil {
			err = m.try(func() { m.buf = m.encode(m.buf[:0], v) })
		}
		if err != nil {
			m.buf = append(m.buf[:0], "null"...)
			if err := m.viewError(err, ""); err != nil {
				return err
			}
		}
		out = append([]byte(nil), m.buf...)
		m.trim()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// feedList makes an array of JSON texts.
func (m *machine) feedList(texts [][]byte) goja.Value {
	n := 0
	for _, t := range texts {
		n += len(t)
	}
	all := make([]byte, 0, n)
	for _, t := range texts {
		all = append(all, t...)
	}
	text := string(all)
	a := &lazyArray{m: m, mutable: true, scanned: true, changed: true, parts: make([]member, len(texts))}
	for i, t := range texts {
		a.parts[i].raw, text = text[:len(t)], text[len(t):]
	}
	return m.vm.NewDynamicArray(a)
}

// keptBuffer is the largest buffer that a machine keeps between calls.
const keptBuffer = 1 << 20

func (m *machine) trim() {
	if cap(m.buf) > keptBuffer {
		m.buf = nil
	}
}
