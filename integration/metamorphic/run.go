package metamorphic

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// run is a scenario that is being played.
type run struct {
	*Scenario
	cluster *Cluster
	model   *model
	names   []string // of the databases
	cut     map[Edge]bool

	background sync.WaitGroup
	risky      atomic.Int64 // replications with faults, or in the background, that are under way
	mu         sync.Mutex   // for what background replications change: model.must and the following
	failure    error
	running    map[Edge]int // replications by source and target
}

// Outcome is the end of a scenario.
type Outcome struct {
	// State describes every document, one line a revision, if all databases could agree on it.
	State string
	// Rounds is how many rounds of replication it took until nothing was written.
	Rounds int
}

// scenarioTimeout bounds a scenario. What takes longer hangs.
const scenarioTimeout = 5 * time.Minute

// Play runs a scenario and checks what must hold at its end. The error says what does not.
func (c *Cluster) Play(ctx context.Context, s *Scenario) (outcome Outcome, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, scenarioTimeout, fmt.Errorf("not done after %v", scenarioTimeout))
	defer cancel()
	c.used++
	r := &run{Scenario: s, cluster: c, model: newModel(len(s.Places)), cut: map[Edge]bool{}, running: map[Edge]int{}}
	defer r.background.Wait()
	for i := range s.Places {
		r.names = append(r.names, fmt.Sprintf("s%d%s", c.used, letter(i)))
	}
	for i := range s.Places {
		if err := r.request(ctx, i, 201, "PUT", "", nil, nil); err != nil {
			return outcome, err
		}
	}
	defer func() {
		for i := range s.Places {
			if e := r.request(context.WithoutCancel(ctx), i, 200, "DELETE", "", nil, nil); err == nil {
				err = e
			}
		}
	}()
	for i := range s.Ops {
		if err := r.do(ctx, &s.Ops[i]); err != nil {
			return outcome, fmt.Errorf("%s: %w", s.Ops[i], err)
		}
	}
	if err := r.join(); err != nil {
		return outcome, err
	}
	if outcome.Rounds, err = r.settle(ctx); err != nil {
		return outcome, err
	}
	outcome.State, err = r.check(ctx)
	return outcome, err
}

// join waits for the replications in the background and returns what went wrong in them.
func (r *run) join() error {
	r.background.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

func (r *run) site(replica int) *site { return r.cluster.sites[r.Places[replica]] }

// request sends a request about a database and reads the JSON answer, unless that is nil.
func (r *run) request(ctx context.Context, replica, status int, method, path string, body, answer any) error {
	res, err := r.site(replica).do(ctx, method, "/"+r.names[replica]+path, body, "Accept", "application/json")
	if err == nil {
		err = res.Decode(status, answer)
	}
	if err != nil {
		return fmt.Errorf("%s on %s: %s: %w", method, letter(replica), path, err)
	}
	return nil
}

func (r *run) do(ctx context.Context, o *Op) error {
	switch o.Verb {
	case Purge, Recreate, Limit, Wait:
		// What these take away must not be on its way meanwhile.
		if err := r.join(); err != nil {
			return err
		}
	}
	switch o.Verb {
	case Edit, Attach, Delete:
		return r.edit(ctx, o)
	case Graft:
		return r.graft(ctx, o)
	case Compact:
		return r.request(ctx, o.Replica, 202, "POST", "/_compact", map[string]any{}, nil)
	case Purge:
		return r.purge(ctx, o)
	case Limit:
		limit := max(1, o.Limit)
		r.model.limit = min(r.model.limit, limit)
		return r.request(ctx, o.Replica, 200, "PUT", "/_revs_limit", limit, nil)
	case Recreate:
		return r.recreate(ctx, o.Replica)
	case Sync:
		return r.sync(ctx, o)
	case Cut:
		r.cut[Edge{o.Replica, o.Other}] = true
		r.cut[Edge{o.Other, o.Replica}] = true
	case Heal:
		clear(r.cut)
	case Kill:
		r.cluster.kill(o.Node)
	}
	return nil
}

// recreate deletes a database and makes it again. What others have is noted first: they must keep it and send it
// again. What it had alone is gone.
func (r *run) recreate(ctx context.Context, replica int) error {
	for other := range r.Places {
		if other == replica {
			continue
		}
		docs, err := r.read(ctx, other)
		if err != nil {
			return err
		}
		for id, d := range docs {
			for rev := range d.tree {
				r.model.must[other].add(id, rev, letter(other)+" had it")
			}
		}
	}
	clear(r.model.must[replica])
	if err := r.request(ctx, replica, 200, "DELETE", "", nil, nil); err != nil {
		return err
	}
	return r.request(ctx, replica, 201, "PUT", "", nil, nil)
}

// sync replicates along an edge, unless that is cut.
func (r *run) sync(ctx context.Context, o *Op) error {
	if o.Replica == o.Other || r.cut[Edge{o.Replica, o.Other}] {
		return nil
	}
	if !o.Background {
		return r.replicate(ctx, o)
	}
	r.risky.Add(1)
	r.background.Go(func() {
		defer r.risky.Add(-1)
		if err := r.replicate(ctx, o); err != nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.failure == nil {
				r.failure = fmt.Errorf("%s: %w", o, err)
			}
		}
	})
	return nil
}

// replicate runs one replication. It may fail if there are faults, also those of others that run beside it and kill a
// node or spoil requests to the same database; but if it says that it succeeded, then it has.
func (r *run) replicate(ctx context.Context, o *Op) error {
	if len(o.Faults) > 0 {
		r.risky.Add(1)
		defer r.risky.Add(-1)
		plan := &Plan{faults: o.Faults, kill: r.cluster.kill}
		defer func() {
			if plan.happened() {
				r.cluster.hits.Add(1)
			}
		}()
		for _, replica := range []int{o.Replica, o.Other} {
			r.site(replica).proxy.Spoil(r.names[replica], plan)
			defer r.site(replica).proxy.Spoil(r.names[replica], nil)
		}
	}
	mayFail := r.risky.Load() > 0
	promised := r.begin(o)
	err := r.call(ctx, o)
	r.cluster.syncs.Add(1)
	if err != nil {
		r.cluster.failures.Add(1)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[Edge{o.Replica, o.Other}]--
	if err != nil {
		if ctx.Err() == nil && mayFail {
			return nil
		}
		return err
	}
	for _, key := range promised {
		if _, there := r.model.must[o.Other][key]; !there {
			r.model.must[o.Other][key] = o.String() + " succeeded"
		}
	}
	return nil
}

// begin returns what the target must have if the replication succeeds: what the source must have now. If there is one
// from the source to the target already, then both may be one job, which has seen the source as it was earlier.
func (r *run) begin(o *Op) (promised []revKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	edge := Edge{o.Replica, o.Other}
	r.running[edge]++
	if r.running[edge] > 1 {
		return nil
	}
	for key := range r.model.must[o.Replica] {
		if o.Options.Only == 0 || documents[(o.Options.Only-1)%len(documents)] == key.doc {
			promised = append(promised, key)
		}
	}
	return promised
}

// call has the replicator that the options name do it.
func (r *run) call(ctx context.Context, o *Op) error {
	ctx, cancel := context.WithTimeoutCause(ctx, jobTimeout, fmt.Errorf("replication not done after %v", jobTimeout))
	defer cancel()
	source, target := r.site(o.Replica).address(r.names[o.Replica]), r.site(o.Other).address(r.names[o.Other])
	syncer := r.cluster.plain
	if !o.Options.Plain {
		at := o.Replica
		if o.Options.AtTarget {
			at = o.Other
		}
		node := r.site(at)
		if o.Options.Local {
			// By its name, the database is reached without HTTP; so is the other one if it is on the same node.
			if r.Places[o.Replica] == r.Places[at] {
				source = r.names[o.Replica]
			}
			if r.Places[o.Other] == r.Places[at] {
				target = r.names[o.Other]
			}
		}
		node.mu.RLock()
		server := node.server
		if node.child != nil {
			server = node.child.Server()
		}
		node.mu.RUnlock()
		syncer = nodeSyncer{server}
	}
	return syncer.Sync(ctx, source, target, o.Options)
}

// edges are those that are not cut.
func (r *run) edges() []Edge {
	return slices.DeleteFunc(slices.Clone(r.Edges), func(e Edge) bool { return r.cut[e] })
}

// settle replicates along every edge, both ways, until a whole round changes no database.
func (r *run) settle(ctx context.Context) (rounds int, err error) {
	before, err := r.sequences(ctx)
	if err != nil {
		return 0, err
	}
	// A round brings everything at least one step on along each path.
	for rounds = 1; rounds <= len(r.Places)+2; rounds++ {
		for _, e := range r.edges() {
			for _, way := range []Edge{e, {e.B, e.A}} {
				o := r.Settle
				o.Replica, o.Other = way.A, way.B
				if err := r.replicate(ctx, &o); err != nil {
					return rounds, fmt.Errorf("at the end: %s: %w", o, err)
				}
			}
		}
		after, err := r.sequences(ctx)
		if err != nil || slices.Equal(before, after) {
			return rounds, err
		}
		before = after
	}
	return rounds, fmt.Errorf("still written to after %d rounds: %v", rounds-1, before)
}

// sequences are the databases' update sequences.
func (r *run) sequences(ctx context.Context) ([]string, error) {
	seqs := make([]string, len(r.Places))
	for i := range seqs {
		var info struct {
			Seq string `json:"update_seq"`
		}
		if err := r.request(ctx, i, 200, "GET", "", nil, &info); err != nil {
			return nil, err
		}
		seqs[i] = info.Seq
	}
	return seqs, nil
}
