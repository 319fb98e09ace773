package replicator

import (
	"bytes"
	"context"
	"errors"
	"net/http"

	"github.com/mangrove-db/mangrove/document"
)

// maxCheckpoint is how large a local document may be that is read.
const maxCheckpoint = 16 << 20

// Checkpoint reads a local document.
func (r *Remote) Checkpoint(ctx context.Context, id string) (Checkpoint, error) {
	c := Checkpoint{ID: id}
	err := r.c.do(ctx, &request{method: http.MethodGet, path: docPath(localPrefix + id), unbounded: true}, func(a *answer) error {
		if a.status != http.StatusOK {
			err := a.failure()
			if a.status == http.StatusNotFound && !errors.Is(err, ErrNoDatabase) {
				return ErrNoCheckpoint
			}
			return err
		}
		text, err := a.text(maxCheckpoint)
		if err != nil {
			return err
		}
		c.Rev, c.Body, err = splitLocal(text)
		return err
	})
	if err != nil {
		return Checkpoint{}, err
	}
	return c, nil
}

// splitLocal takes the members that begin with an underscore off a local document.
func splitLocal(text []byte) (rev string, body []byte, err error) {
	canonical, err := document.Canonical(text)
	if err != nil || canonical[0] != '{' {
		return "", nil, malformedAnswer("the checkpoint is no object")
	}
	body = append(make([]byte, 0, len(canonical)), '{')
	for key, value := range rawMembers(canonical) {
		if string(key) == "_rev" {
			rev = seqText(value)
		}
		if len(key) > 0 && key[0] == '_' {
			continue
		}
		if len(body) > 1 {
			body = append(body, ',')
		}
		body = document.AppendString(body, string(key))
		body = append(body, ':')
		body = append(body, value...)
	}
	return rev, append(body, '}'), nil
}

// checkpointTries is how often another's write to the same checkpoint is written over.
const checkpointTries = 5

// SaveCheckpoint writes a local document. A conflict may mean that an earlier try has arrived and its answer was lost:
// if what is there is what was to be written, all is well.
func (r *Remote) SaveCheckpoint(ctx context.Context, c Checkpoint) (rev string, err error) {
	for range checkpointTries {
		var conflict error
		rev, conflict, err = r.putLocal(ctx, c)
		if err != nil || conflict == nil {
			return rev, err
		}
		there, err := r.Checkpoint(ctx, c.ID)
		if errors.Is(err, ErrNoCheckpoint) {
			there, err = Checkpoint{}, nil
		}
		if err != nil {
			return "", err
		}
		if wanted, err := document.Canonical(c.Body); err == nil && bytes.Equal(there.Body, wanted) {
			return there.Rev, nil
		}
		if err = conflict; c.Rev == there.Rev {
			return "", err
		}
		c.Rev = there.Rev
	}
	return "", errors.New("checkpoint: others write to it all the time")
}

// putLocal writes a local document once. A conflict is no error.
func (r *Remote) putLocal(ctx context.Context, c Checkpoint) (rev string, conflict, err error) {
	inner := bytes.TrimSpace(c.Body)
	if len(inner) < 2 || inner[0] != '{' {
		return "", nil, errors.New("checkpoint: the body is no object")
	}
	body := append(make([]byte, 0, len(inner)+len(c.ID)+len(c.Rev)+32), `{"_id":`...)
	body = document.AppendString(body, localPrefix+c.ID)
	if c.Rev != "" {
		body = append(body, `,"_rev":`...)
		body = document.AppendString(body, c.Rev)
	}
	if inner = bytes.TrimSpace(inner[1:]); inner[0] != '}' {
		body = append(body, ',')
	}
	body = append(body, inner...)
	q := &request{method: http.MethodPut, path: docPath(localPrefix + c.ID), body: body, unbounded: true}
	err = r.c.do(ctx, q, func(a *answer) error {
		rev, conflict = "", nil
		switch a.status {
		case http.StatusOK, http.StatusCreated, http.StatusAccepted:
		case http.StatusConflict:
			conflict = a.failure()
			return nil
		default:
			return a.failure()
		}
		text, err := a.text(maxAnswer)
		for key, value := range rawMembers(text) {
			if string(key) == "rev" {
				rev = seqText(value)
			}
		}
		if err == nil && rev == "" {
			err = malformedAnswer("no revision after writing a checkpoint")
		}
		return err
	})
	return rev, conflict, err
}

// Commit asks the server to make everything durable. Some lack the request, as their writes are durable anyhow.
func (r *Remote) Commit(ctx context.Context) (startTime string, err error) {
	lacking := false
	err = r.c.do(ctx, &request{method: http.MethodPost, path: "_ensure_full_commit", unbounded: true}, func(a *answer) error {
		lacking = false
		switch a.status {
		case http.StatusOK, http.StatusCreated, http.StatusAccepted:
		case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
			lacking = true
			return nil
		default:
			return a.failure()
		}
		text, err := a.text(maxAnswer)
		for key, value := range rawMembers(text) {
			if string(key) == "instance_start_time" {
				startTime = seqText(value)
			}
		}
		return err
	})
	if err != nil || startTime != "" && !lacking {
		return startTime, err
	}
	info, err := r.Info(ctx)
	return info.StartTime, err
}
