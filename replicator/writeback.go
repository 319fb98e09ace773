package replicator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"time"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// The members of a document in which the node tells what has become of the replication.
const (
	memberState  = "_replication_state"
	memberTime   = "_replication_state_time"
	memberReason = "_replication_state_reason"
	memberID     = "_replication_id"
	memberStats  = "_replication_stats"
)

// docStats is the value of memberStats.
type docStats struct {
	RevisionsChecked      int64   `json:"revisions_checked"`
	MissingRevisionsFound int64   `json:"missing_revisions_found"`
	DocsRead              int64   `json:"docs_read"`
	DocsWritten           int64   `json:"docs_written"`
	ChangesPending        *int64  `json:"changes_pending"`
	DocWriteFailures      int64   `json:"doc_write_failures"`
	BulkGetDocs           int64   `json:"bulk_get_docs"`
	BulkGetAttempts       int64   `json:"bulk_get_attempts"`
	CheckpointedSourceSeq SeqJSON `json:"checkpointed_source_seq"`
	StartTime             string  `json:"start_time"`
}

// stateTime is how documents and listings show a time.
func stateTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Report writes what has become of a job into its document.
func (e *engine) Report(r Report) {
	var changes []member
	switch r.State {
	case StateCompleted:
		i := r.Info
		stats, _ := json.Marshal(docStats{ // cannot fail
			i.RevisionsChecked, i.MissingRevisionsFound, i.DocsRead, i.DocsWritten, i.ChangesPending, i.DocWriteFailures,
			i.BulkGetDocs, i.BulkGetAttempts, i.CheckpointedSourceSeq, stateTime(r.Started),
		})
		changes = stateMembers("completed", "", r.Job.ID, stats)
	case StateFailed:
		changes = stateMembers("failed", r.Err.Error(), r.Job.ID, nil)
	case StateRunning, StateCrashing:
		if !e.settings().UpdateDocs {
			return
		}
		if r.State == StateRunning {
			changes = stateMembers("triggered", "", r.Job.ID, nil)
		} else {
			changes = stateMembers("error", r.Err.Error(), r.Job.ID, nil)
		}
	default:
		return
	}
	e.write(r.Job, changes)
}

// stateMembers returns the members that tell a state.
func stateMembers(state, reason, id string, stats []byte) []member {
	text := func(s string) []byte {
		if s == "" {
			return nil
		}
		return document.AppendString(nil, s)
	}
	return []member{
		{memberState, text(state)},
		{memberTime, text(stateTime(time.Now()))},
		{memberReason, text(reason)},
		{memberID, text(id)},
		{memberStats, stats},
	}
}

const (
	// writeTime is how long a state may take to be written.
	writeTime = 10 * time.Second
	// writeTries is how often a state is written anew if somebody else changes the document meanwhile.
	writeTries = 20
)

// write changes members of the document of a job. It does not touch a document that by now asks for something else.
func (e *engine) write(j Job, changes []member) {
	ctx, cancel := context.WithTimeout(context.Background(), writeTime)
	defer cancel()
	var err error
	for range writeTries {
		if err = e.writeOnce(ctx, j, changes); !errors.Is(err, storage.ErrConflict) {
			break
		}
	}
	switch {
	case err == nil, errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrNoDatabase):
		// A document that is gone need not be told.
	default:
		e.log.Error("a replication's state could not be written into its document", "database", j.Database, "document", j.DocID, "error", err)
	}
}

func (e *engine) writeOnce(ctx context.Context, j Job, changes []member) error {
	db, snap, err := e.store.Snapshot(j.Database)
	if err != nil {
		return err
	}
	defer snap.Close()
	row, err := snap.Lookup(j.DocID)
	if err != nil {
		return err
	}
	if row.Deleted {
		return storage.ErrDeleted
	}
	d, err := row.Document()
	if err != nil {
		return err
	}
	if spec, err := ParseSpec(d.Body); (err == nil) != (j.Spec != nil) || err == nil && !spec.same(j.Spec) {
		return nil
	}
	body, err := withMembers(d.Body, changes)
	if err != nil || bytes.Equal(body, d.Body) {
		return err
	}
	edit := &document.Document{ID: d.ID, Rev: row.Rev, Body: body, Attachments: d.Attachments}
	results, err := db.Apply(ctx, storage.Write{Docs: []*document.Document{edit}, Mode: storage.Edit})
	if err != nil {
		return err
	}
	return results[0].Err
}

// same tells whether two Specs ask for the same, whatever the filter's text may be.
func (s *Spec) same(o *Spec) bool {
	a, b := *s, *o
	a.FilterText, b.FilterText = "", ""
	return reflect.DeepEqual(&a, &b)
}

// member is a member of a JSON object; without a text it is to be taken away.
type member struct {
	name string
	text []byte
}

// withMembers returns a JSON object with members put in the place of those of the same names, or at the end, or taken
// away.
func withMembers(object []byte, changes []member) ([]byte, error) {
	var members []member
	decoder := json.NewDecoder(bytes.NewReader(object))
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		var text json.RawMessage
		if err := decoder.Decode(&text); err != nil {
			return nil, err
		}
		members = append(members, member{name.(string), text})
	}
next:
	for _, c := range changes {
		for i := range members {
			if members[i].name == c.name {
				members[i].text = c.text
				continue next
			}
		}
		members = append(members, c)
	}
	b := []byte{'{'}
	for _, m := range members {
		if m.text == nil {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = document.AppendString(b, m.name)
		b = append(b, ':')
		b = append(b, m.text...)
	}
	return document.Canonical(append(b, '}'))
}
