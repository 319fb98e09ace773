package integration

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/integration/harness"
)

const (
	partitionDB = "partitioned"
	// partitionNodes is how many nodes there are; each pulls from all others, continuously.
	partitionNodes = 3
	// partitionStep is the longest time that the lines stay as they are.
	partitionStep = 1500 * time.Millisecond
	// convergeTimeout is how long nodes may take to agree once all lines are whole.
	convergeTimeout = 90 * time.Second
)

// TestPartition breaks and mends the lines between nodes that replicate continuously while clients write to all of
// them. When all lines are whole the nodes must come to agree, and all that was acknowledged must be everywhere.
// MANGROVE_PARTITION_STEPS sets how often the lines change, MANGROVE_PARTITION_SEED which ones.
func TestPartition(t *testing.T) {
	steps := setting(t, "MANGROVE_PARTITION_STEPS", 4, 10)
	seed := uint64(setting(t, "MANGROVE_PARTITION_SEED", 1, int(time.Now().UnixNano()&0xffffff)))
	t.Logf("MANGROVE_PARTITION_STEPS=%d MANGROVE_PARTITION_SEED=%d", steps, seed)
	p := &partitionTest{t: t, network: newNetwork(t, partitionNodes), acked: map[string][]string{}}
	for _, n := range p.network.nodes() {
		p.do(n, 201, "PUT", "/"+partitionDB, nil, nil)
	}
	p.breakable()
	p.replicate()
	p.disturb(steps, seed)
	p.converge()
}

type partitionTest struct {
	t       *testing.T
	network network

	mu    sync.Mutex
	acked map[string][]string // revisions by document
}

// job describes the replication by which a node pulls from another.
func (p *partitionTest) job(from, to int) map[string]any {
	p.t.Helper()
	source, err := url.Parse(p.network.address(to, from) + "/" + partitionDB)
	if err != nil {
		p.t.Fatal(err)
	}
	server := p.network.nodes()[from].Server()
	source.User = url.UserPassword(server.User, server.Password)
	return map[string]any{
		"source": source.String(), "target": partitionDB,
		"connection_timeout": 3000, "checkpoint_interval": 500, "retries_per_request": 10,
	}
}

// breakable checks that nodes reach each other over a whole line, and over a broken one do not.
func (p *partitionTest) breakable() {
	p.t.Helper()
	for _, way := range [][2]int{{0, 1}, {1, 0}} {
		job := p.job(way[0], way[1])
		job["connection_timeout"], job["retries_per_request"] = 500, 0
		for _, whole := range []bool{true, false} {
			p.network.set(0, 1, whole)
			res, err := p.network.nodes()[way[1]].Client().Do(p.t.Context(), "POST", "/_replicate", job)
			if err != nil {
				p.t.Fatal(err)
			}
			if (res.Status == 200) != whole {
				p.t.Fatalf("line whole: %t; pulling over it: status %d: %s", whole, res.Status, res.Body)
			}
		}
	}
}

// replicate makes each node pull from all others.
func (p *partitionTest) replicate() {
	p.t.Helper()
	for to, n := range p.network.nodes() {
		for from := range p.network.nodes() {
			if from != to {
				job := p.job(from, to)
				job["continuous"] = true
				p.do(n, 202, "POST", "/_replicate", job, nil)
			}
		}
	}
}

// do sends a request that has to succeed and reads its answer, unless that is nil.
func (p *partitionTest) do(n *harness.Node, status int, method, path string, body, answer any) {
	p.t.Helper()
	res, err := n.Client().Do(p.t.Context(), method, path, body)
	if err == nil {
		err = res.Decode(status, answer)
	}
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
}

// disturb changes the lines at random while clients write, and leaves them whole.
func (p *partitionTest) disturb(steps int, seed uint64) {
	p.t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	ctx, cancel := context.WithCancel(p.t.Context())
	var writers sync.WaitGroup
	for i, n := range p.network.nodes() {
		writers.Go(func() { p.write(ctx, n, fmt.Sprintf("n%d", i), rand.New(rand.NewPCG(seed, uint64(i+1)))) })
	}
	lines := func(change func(a, b int)) {
		for b := range p.network.nodes() {
			for a := range b {
				change(a, b)
			}
		}
	}
	for range steps {
		lines(func(a, b int) { p.network.set(a, b, rng.IntN(2) == 0) })
		wait := partitionStep/4 + time.Duration(rng.Int64N(int64(partitionStep*3/4)))
		time.Sleep(wait) // how long a line is broken is what the test is about
	}
	lines(func(a, b int) { p.network.set(a, b, true) })
	cancel()
	writers.Wait()
}

// write is a client of one node: it makes documents of its own, and edits some that the clients of the other nodes
// edit, too.
func (p *partitionTest) write(ctx context.Context, n *harness.Node, name string, rng *rand.Rand) {
	for i := 0; ctx.Err() == nil; i++ {
		doc := map[string]any{"writer": name, "i": i, "pad": strings.Repeat("x", rng.IntN(600))}
		id := fmt.Sprintf("%s-%d", name, i)
		if i%4 == 0 {
			id = fmt.Sprintf("shared-%d", rng.IntN(10))
			var old struct {
				Rev string `json:"_rev"`
			}
			if err := n.Client().Get(ctx, "/"+partitionDB+"/"+id, &old); err == nil {
				doc["_rev"] = old.Rev
			}
		}
		if i%10 == 5 {
			doc["_attachments"] = map[string]any{"f": map[string]any{
				"content_type": "application/octet-stream", "data": strings.Repeat("AAAA", rng.IntN(5000)),
			}}
		}
		// Not cancelled on its way: an answer that nobody waits for tells nothing.
		res, err := n.Client().Do(context.WithoutCancel(ctx), "PUT", "/"+partitionDB+"/"+id, doc)
		if err != nil {
			p.t.Errorf("writing %s: %v", id, err)
			return
		}
		var answer struct{ Rev string }
		switch res.Status {
		case 201:
			if err := res.Decode(201, &answer); err != nil {
				p.t.Error(err)
				return
			}
			p.mu.Lock()
			p.acked[id] = append(p.acked[id], answer.Rev)
			p.mu.Unlock()
		case 409: // a replication was faster
		default:
			p.t.Errorf("writing %s: status %d: %s", id, res.Status, res.Body)
			return
		}
		select { // a load that leaves the replications some of the machine
		case <-ctx.Done():
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// converge waits until all nodes have the same leaves and what was acknowledged.
func (p *partitionTest) converge() {
	p.t.Helper()
	began := time.Now()
	for {
		problem := p.disagreement()
		if problem == "" {
			break
		}
		if time.Since(began) > convergeTimeout {
			p.t.Fatalf("%v after the last line was mended: %s", convergeTimeout, problem)
		}
		time.Sleep(100 * time.Millisecond) // polls: there is no event for "nothing more comes"
	}
	revs := 0
	for _, r := range p.acked {
		revs += len(r)
	}
	p.t.Logf("%d revisions of %d documents everywhere %v after the last line was mended",
		revs, len(p.acked), time.Since(began).Round(10*time.Millisecond))
}

// disagreement says what the nodes do not agree on yet; nothing if they do.
func (p *partitionTest) disagreement() string {
	p.t.Helper()
	var first map[string][]string
	for i, n := range p.network.nodes() {
		var feed struct {
			Results []struct {
				ID      string
				Changes []struct{ Rev string }
			}
		}
		p.do(n, 200, "GET", "/"+partitionDB+"/_changes?style=all_docs", nil, &feed)
		leaves := map[string][]string{}
		for _, row := range feed.Results {
			for _, c := range row.Changes {
				leaves[row.ID] = append(leaves[row.ID], c.Rev)
			}
		}
		if i == 0 {
			first = leaves
			continue
		}
		if !maps.EqualFunc(first, leaves, slices.Equal) {
			return fmt.Sprintf("node %d has %d documents, node 0 has %d, or they have other leaves", i, len(leaves), len(first))
		}
	}
	for i, n := range p.network.nodes() {
		var missing map[string]any
		p.do(n, 200, "POST", "/"+partitionDB+"/_revs_diff", p.acked, &missing)
		if len(missing) > 0 {
			return fmt.Sprintf("node %d lacks acknowledged revisions of %d documents", i, len(missing))
		}
	}
	return ""
}
