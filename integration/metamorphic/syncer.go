package metamorphic

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// Syncer replicates once, from the database at source to that at target. Both are URLs, or names of databases of
// the node that does it.
type Syncer interface {
	Sync(ctx context.Context, source, target string, o Options) error
}

// nodeSyncer has a node replicate: POST /_replicate.
type nodeSyncer struct{ server harness.Server }

// jobTimeout bounds a replication. None of these is large: what takes longer hangs.
const jobTimeout = 60 * time.Second

// Sync returns once the node has answered.
func (n nodeSyncer) Sync(ctx context.Context, source, target string, o Options) error {
	job := map[string]any{
		"source": source, "target": target,
		"use_bulk_get": !o.NoBulkGet, "use_checkpoints": !o.NoCheckpoints,
		// Faults are over soon or never: a job need not be patient.
		"retries_per_request": 2, "connection_timeout": 5000,
	}
	for name, value := range map[string]int{
		"worker_batch_size": o.Batch, "worker_processes": o.Workers, "checkpoint_interval": o.Interval,
	} {
		if value > 0 {
			job[name] = value
		}
	}
	if o.Only > 0 {
		job["doc_ids"] = []string{documents[(o.Only-1)%len(documents)]}
	}
	client := harness.NewClient(n.server, jobTimeout)
	defer client.Close()
	res, err := client.Do(ctx, "POST", "/_replicate", job)
	if err != nil {
		return err
	}
	if err := res.Decode(200, nil); err != nil {
		return err
	}
	var answer struct {
		OK      bool
		History []struct {
			Refused int `json:"doc_write_failures"`
		}
	}
	if err := json.Unmarshal(res.Body, &answer); err != nil {
		return err
	}
	if !answer.OK || len(answer.History) > 0 && answer.History[0].Refused > 0 {
		return fmt.Errorf("replication answered %s", res.Body)
	}
	return nil
}
