package script

import (
	"context"
	"errors"

	"github.com/dop251/goja"
)

// ListSink takes what a list function sends. Start is called once, with the
// response object (headers, code), before the first Send; also if nothing is
// sent. An error ends the function and is what List returns.
type ListSink interface {
	Start(response []byte) error
	Send(chunk []byte) error
}

// flushedBytes is how much a list function may send between rows before it goes
// out.
const flushedBytes = 64 << 10

// listState is where a running list function gets rows and sends to.
type listState struct {
	m       *machine
	rows    func() ([]byte, bool, error)
	sink    ListSink
	started bool
	ended   bool
}

// listError is an error of a sink or of rows, as opposed to JavaScript's.
type listError struct{ err error }

func (e *listError) Error() string { return e.err.Error() }
func (e *listError) Unwrap() error { return e.err }

// List calls lists.name(head, req). Rows gives the next row as JSON, valid until
// it is called again; ok is false behind the last one. What the function sends
// goes to the sink when it asks for the next row, as in CouchDB; an error before
// that comes with nothing sent. The limits count from row to row.
func (d *Design) List(ctx context.Context, name string, head, req []byte, rows func() (row []byte, ok bool, err error), sink ListSink) error {
	err := d.call(ctx, []string{"lists", name}, func(m *machine, f *function) error {
		l := &listState{m: m, rows: rows, sink: sink}
		m.render = renderState{list: l}
		defer func() { m.render = renderState{} }()
		request := m.feed(string(req), true)
		tail, err := f.call(m.this, m.feed(string(head), true), request)
		if err == nil && m.render.used {
			tail, err = m.runProvides(request)
		}
		if err == nil {
			err = m.try(func() { l.end(tail) })
		}
		if err == nil {
			return nil
		}
		return m.renderError(err)
	})
	var outside *listError
	if errors.As(err, &outside) {
		return outside.err
	}
	return err
}

// getRow is getRow().
func (m *machine) getRow(goja.FunctionCall) goja.Value {
	l := m.render.list
	if l == nil || l.ended {
		return null
	}
	l.flush()
	row, ok := l.read()
	if !ok {
		return null
	}
	return m.feed(row, true)
}

// read gets the next row.
func (l *listState) read() (string, bool) {
	var row []byte
	var ok bool
	l.outside(func() (err error) {
		row, ok, err = l.rows()
		return err
	})
	if !ok {
		l.ended = true
		return "", false
	}
	return string(row), true
}

// flush sends what is waiting, after the response if that has not been sent.
func (l *listState) flush() {
	r := &l.m.render
	var response []byte
	if !l.started {
		o := r.response
		if o == nil {
			o = l.m.vm.NewObject()
		}
		l.m.applyType(o)
		response = l.m.encode(nil, o)
	}
	chunks := r.chunks
	r.clearChunks()
	l.outside(func() error {
		if !l.started {
			l.started = true
			if err := l.sink.Start(response); err != nil {
				return err
			}
		}
		for _, c := range chunks {
			if err := l.sink.Send([]byte(c)); err != nil {
				return err
			}
		}
		return nil
	})
}

// outside calls f with the clock standing still; an error ends the function.
func (l *listState) outside(f func() error) {
	m := l.m
	if !m.pause() {
		panic(m.vm.NewTypeError("stopped"))
	}
	err := f()
	m.used = 0
	m.unpause()
	if err != nil {
		m.abort(&listError{err})
	}
}

// end sends what the function returned.
func (l *listState) end(tail goja.Value) {
	if !l.started {
		l.flush()
		if !l.ended {
			l.read()
		}
	}
	if !goja.IsUndefined(tail) && !goja.IsNull(tail) {
		l.m.push(tail.String())
	}
	l.flush()
}
