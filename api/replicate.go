package api

import (
	"context"
	"net/http"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/replicator"
)

// Replications are those of the node. A *replicator.Service has them.
type Replications interface {
	// Start begins one, or finds that it is going on.
	Start(ctx context.Context, spec *replicator.Spec, user auth.Principal) (*replicator.Ticket, error)
	// Cancel ends one of the user's, a server administrator any, and tells whether there was one.
	Cancel(ctx context.Context, spec *replicator.Spec, user auth.Principal) (id string, found bool, err error)
	// Jobs describes all, in no order.
	Jobs() []replicator.Status
	// Job describes one, and tells whether it is there.
	Job(id string) (replicator.Status, bool)
	// Doc describes what has become of a document of a replicator database.
	Doc(database, docID string, body []byte) replicator.Status
}

// postReplicate begins or cancels a replication. One that is not continuous is waited for.
func postReplicate(q *request) error {
	if err := q.requireJSON(); err != nil {
		return err
	}
	text, err := q.readJSON()
	if err != nil {
		return err
	}
	if name, bad := replicator.BadQueryParam(text); bad {
		return badRequest(name + " value must be a string.")
	}
	spec, err := replicator.ParseSpec(text)
	if err != nil {
		return err
	}
	if spec.Cancel {
		return q.cancelReplication(spec)
	}
	ticket, err := q.api.replications.Start(q.Context(), spec, q.user)
	if err != nil {
		return replicationError(err)
	}
	if spec.Continuous {
		return q.reply(http.StatusAccepted, localID{true, ticket.ID})
	}
	outcome, err := ticket.Wait(q.Context())
	if err != nil {
		return replicationError(err)
	}
	return q.replyReplicated(spec, &outcome)
}

// localID is the answer that names a replication.
type localID struct {
	OK bool   `json:"ok"`
	ID string `json:"_local_id"`
}

func (q *request) cancelReplication(spec *replicator.Spec) error {
	id, found, err := q.api.replications.Cancel(q.Context(), spec, q.user)
	if err != nil {
		return replicationError(err)
	}
	if !found {
		return errMissing
	}
	return q.reply(http.StatusOK, localID{true, id})
}

// replyReplicated answers with the record of a replication that has ended.
func (q *request) replyReplicated(spec *replicator.Spec, o *replicator.Outcome) error {
	recorded := !q.config.Replicator.NoCheckpoints
	if spec.UseCheckpoints != nil {
		recorded = *spec.UseCheckpoints
	}
	if !recorded {
		return q.reply(http.StatusOK, struct {
			OK             bool `json:"ok"`
			UseCheckpoints bool `json:"use_checkpoints"`
		}{true, false})
	}
	type summary struct {
		StartTime        string `json:"start_time"`
		EndTime          string `json:"end_time"`
		DocsRead         int64  `json:"docs_read"`
		DocsWritten      int64  `json:"docs_written"`
		DocWriteFailures int64  `json:"doc_write_failures"`
	}
	answer := struct {
		OK        bool `json:"ok"`
		NoChanges bool `json:"no_changes,omitempty"`
		*summary
		replicator.Log
	}{OK: true, NoChanges: o.NoChanges, Log: o.Log}
	if spec.ByDocIDs && len(o.Log.History) > 0 {
		last := &o.Log.History[0]
		answer.summary = &summary{last.StartTime, last.EndTime, last.Read, last.Written, last.Failed}
	}
	return q.reply(http.StatusOK, answer)
}
