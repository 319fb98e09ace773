package replicator

import (
	"context"
	"errors"
	"log/slog"

	"github.com/mangrove-db/mangrove/design"
)

// ReplicateOptions say how Replicate goes about it.
type ReplicateOptions struct {
	UserAgent string
	Insecure  bool // certificates are not checked
}

// commandIdentity stands for the node in the ids of replications that no node runs: whoever runs the same one, on
// whatever machine, goes on where the last one left off.
const commandIdentity = "mangrove replicate"

// Replicate runs a Spec whose sides are both URLs in this process, without a node.
func Replicate(ctx context.Context, s *Spec, o ReplicateOptions, p *Progress) (Outcome, error) {
	if s.Source.Local() || s.Target.Local() {
		return Outcome{}, errors.New("both sides must be URLs")
	}
	e := &engine{
		settings: func() Settings { return Settings{InsecureTLS: o.Insecure} },
		log:      slog.New(slog.DiscardHandler), agent: o.UserAgent,
	}
	s, err := e.Resolve(ctx, s, design.Subject{})
	if err != nil {
		return Outcome{}, err
	}
	defer e.laters.working.Wait() // the process may end with this
	return e.Run(ctx, Job{Spec: s, ID: s.JobID(commandIdentity)}, p)
}
