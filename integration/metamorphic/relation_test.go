package metamorphic

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestRelations makes the same writes at the same databases and then replicates in different ways: another topology,
// other batches and workers, by names or by addresses, jobs that are broken off and begun again, a node's replicator
// or the plain one. The end must be the same.
func TestRelations(t *testing.T) {
	scenarios := max(2, setting(t, "MANGROVE_META_SCENARIOS", 0)/10)
	seed := uint64(setting(t, "MANGROVE_META_SEED", int(time.Now().UnixNano()&0xffffff)))
	t.Logf("MANGROVE_META_SEED=%d", seed)
	s := newStage(t, false)
	for i := range uint64(scenarios) {
		first := Generate(seed, i, Shape{Ops: 30, Additive: true})
		first.Settle.Options = Options{Plain: true}
		want, err := s.play(t.Context(), first)
		if err != nil {
			s.failed(first, err)
			return
		}
		for v := range uint64(3) {
			other := variant(first, rand.New(rand.NewPCG(seed, i<<8|v)), int(v))
			got, err := s.play(t.Context(), other)
			if err != nil {
				s.failed(other, err)
				return
			}
			if diff := cmp.Diff(want.State, got.State); diff != "" {
				t.Fatalf("the end of\n%sis not that of\n%s%s", other, first, diff)
			}
		}
	}
}

// variant is a scenario with the same writes, whose databases replicate in another way.
func variant(s *Scenario, rng *rand.Rand, number int) *Scenario {
	other := *s
	g := &generator{rng: rng, scenario: &other}
	n := len(s.Places)
	other.Edges = topologies[rng.IntN(len(topologies))](rng, n)
	// Which database is which end of an edge must not matter either.
	order := rng.Perm(n)
	for i, e := range other.Edges {
		other.Edges[i] = Edge{order[e.A], order[e.B]}
	}
	other.Settle.Options = g.options()
	if number > 0 {
		other.Settle.Options.Plain = false
	}
	if number < 2 {
		return &other
	}
	// Jobs that break off on their way, with what they have copied and noted so far.
	other.Ops = append([]Op{}, s.Ops...)
	for _, e := range other.Edges {
		for range 3 {
			o := other.Settle
			o.Replica, o.Other, o.Options.Interval = e.A, e.B, 1
			o.Faults = []Fault{{Kind: Gone, At: 1 + rng.IntN(15)}}
			other.Ops = append(other.Ops, o)
		}
	}
	return &other
}
