package view

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/script"
	"github.com/mangrove-db/mangrove/storage"
)

// runawayPause is how long a reduce function that took too much time or memory is not called again.
const runawayPause = 30 * time.Second

// functionReducer is a reduce function in JavaScript. Its reductions are the JSON texts that it returns, null if it
// throws, or a failure if one is too long.
type functionReducer struct {
	x      *Indexer
	design *Design
	source string

	mu       sync.Mutex
	reducer  *script.Reducer
	err      error // of compiling, or of a call that ran away
	runaway  bool
	pausedAt time.Time
}

// get returns the compiled function, or an error if there is none or it has just run away: a build that reduces
// thousands of stretches of rows would otherwise lose that time with each.
func (r *functionReducer) get() (*script.Reducer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.runaway && time.Since(r.pausedAt) > runawayPause {
		r.runaway, r.err = false, nil
	}
	if r.reducer == nil && r.err == nil {
		r.reducer, r.err = r.x.engine.NewReducer(r.design.Lib, r.source)
	}
	return r.reducer, r.err
}

// check sorts out errors of a call: exceptions make null, as in CouchDB.
func (r *functionReducer) check(err error) error {
	e, ok := errors.AsType[*script.Error](err)
	if !ok {
		return err
	}
	if e.Kind != script.Timeout && e.Kind != script.Memory {
		return nil
	}
	err = &script.Error{Kind: e.Kind, Name: e.Name, Reason: e.Reason + " (reduce function of " + r.design.ID + ")"}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err, r.runaway, r.pausedAt = err, true, time.Now()
	return err
}

func (r *functionReducer) Reduce(ctx context.Context, rows []storage.IndexRow) ([]byte, error) {
	f, err := r.get()
	if err != nil {
		return nil, err
	}
	keys, values := make([][]byte, len(rows)), make([][]byte, len(rows))
	var texts []byte
	in := 0
	for i := range rows {
		key, value := parseRow(rows[i].Value)
		start := len(texts)
		texts = append(append(texts, '['), key...)
		texts = document.AppendString(append(texts, ','), rows[i].ID)
		texts = append(texts, ']')
		keys[i], values[i] = texts[start:len(texts):len(texts)], value
		in += len(texts) - start + len(value) + len("[,],")
	}
	out, err := f.Reduce(ctx, keys, values)
	return r.result(in, out, err)
}

func (r *functionReducer) Rereduce(ctx context.Context, parts [][]byte) ([]byte, error) {
	if failure, ok := firstFailure(parts); ok {
		return failure, nil
	}
	f, err := r.get()
	if err != nil {
		return nil, err
	}
	in := 0
	for _, p := range parts {
		in += len(p) + 1
	}
	out, err := f.Rereduce(ctx, parts)
	return r.result(in, out, err)
}

func (r *functionReducer) result(in int, out []byte, err error) ([]byte, error) {
	if err != nil {
		if err := r.check(err); err != nil {
			return nil, err
		}
		out = null
	}
	if len(out) == 0 {
		out = null
	}
	limit := r.x.limit()
	if !limit.exceeded(in, len(out)) {
		return out, nil
	}
	reason := overflowReason(in, len(out))
	if limit.Mode == LimitLog {
		r.x.log.Warn("reduce output exceeds the limit", "design", r.design.ID, "reason", reason)
		return out, nil
	}
	return appendFailure(nil, overflow, reason), nil
}
