package metamorphic

import (
	"fmt"
	"math/rand/v2"
)

// Shape bounds what [Generate] makes.
type Shape struct {
	Ops      int // about how many operations
	Children int // how many of a hundred scenarios run in child processes
	// Additive leaves out what makes the end depend on the order of things: replications before the end, purges,
	// limits and databases made again.
	Additive bool
}

// Generate makes the scenario with this number of a seed.
func Generate(seed, number uint64, shape Shape) *Scenario {
	g := &generator{rng: rand.New(rand.NewPCG(seed, number)), shape: shape}
	s := &Scenario{
		Note:     fmt.Sprintf("scenario %d of seed %d", number, seed),
		Children: g.rng.IntN(100) < shape.Children,
	}
	n := 2 + g.rng.IntN(4)
	for range n {
		s.Places = append(s.Places, g.rng.IntN(nodesPerCluster))
	}
	s.Edges = topologies[g.rng.IntN(len(topologies))](g.rng, n)
	g.usual = Options{Plain: g.rng.IntN(8) == 0, AtTarget: g.rng.IntN(2) == 0, Local: g.rng.IntN(2) == 0}
	s.Settle = Op{Verb: Sync, Options: g.options()}
	s.Settle.Options.Plain, s.Settle.Options.AtTarget, s.Settle.Options.Local = g.usual.Plain, g.usual.AtTarget, g.usual.Local
	s.Settle.Options.NoCheckpoints = false
	g.scenario = s
	for range shape.Ops/2 + g.rng.IntN(shape.Ops+1) {
		g.add()
	}
	if !shape.Additive {
		g.end()
	}
	return s
}

type generator struct {
	rng      *rand.Rand
	shape    Shape
	scenario *Scenario
	usual    Options // how most replications are addressed: others have other checkpoints
	number   int
	limits   int
}

// choice is an operation and how often it comes, compared with the others.
type choice struct {
	weight int
	make   func() []Op
}

func (g *generator) add() {
	choices := []choice{
		{24, func() []Op { return g.edit(Edit) }},
		{7, func() []Op { return g.edit(Delete) }},
		{10, func() []Op { return g.edit(Graft) }},
		{12, func() []Op { return g.edit(Attach) }},
		{3, func() []Op { return []Op{{Verb: Compact, Replica: g.replica()}} }},
		{3, g.twins},
	}
	if !g.shape.Additive {
		choices = append(choices,
			choice{28, g.sync}, choice{4, g.partition}, choice{3, g.heal}, choice{3, g.purge},
			choice{2, g.limit}, choice{2, g.recreate}, choice{4, g.burst}, choice{2, func() []Op { return []Op{{Verb: Wait}} }})
		if g.scenario.Children {
			choices = append(choices, choice{4, func() []Op { return []Op{{Verb: Kill, Node: g.rng.IntN(nodesPerCluster)}} }})
		}
	}
	total := 0
	for _, c := range choices {
		total += c.weight
	}
	at := g.rng.IntN(total)
	for _, c := range choices {
		if at -= c.weight; at < 0 {
			g.scenario.Ops = append(g.scenario.Ops, c.make()...)
			return
		}
	}
}

func (g *generator) replica() int { return g.rng.IntN(len(g.scenario.Places)) }

// document prefers the first ones, so that there are conflicts.
func (g *generator) document() int {
	return min(g.rng.IntN(len(documents)), g.rng.IntN(len(documents)))
}

func (g *generator) edit(v Verb) []Op {
	g.number++
	o := Op{Verb: v, Replica: g.replica(), Doc: g.document(), Number: g.number}
	if g.rng.IntN(4) == 0 {
		o.Leaf = g.rng.IntN(4)
	}
	switch v {
	case Edit:
		o.Keep = g.rng.IntN(2) == 0
	case Graft:
		o.Back, o.Grow, o.Dead = g.rng.IntN(5), 1+g.rng.IntN(4), g.rng.IntN(5) == 0
		if !o.Dead && g.rng.IntN(3) == 0 {
			g.file(&o)
		}
	case Attach:
		g.file(&o)
		o.Form = []string{"inline", "put", "related"}[g.rng.IntN(3)]
	}
	return []Op{o}
}

func (g *generator) file(o *Op) {
	o.File = 1 + g.rng.IntN(2)
	o.Kind = []string{"text", "noise"}[g.rng.IntN(2)]
	switch g.rng.IntN(8) {
	case 0: // empty
	case 1:
		o.Size = 60_000 + g.rng.IntN(20_000) // about where storage stops to keep content small
	case 2:
		o.Size = 250_000 + g.rng.IntN(300_000) // more than one chunk
	default:
		o.Size = 1 + g.rng.IntN(3_000)
	}
}

// twins is the same edit at two places: one revision, not a conflict.
func (g *generator) twins() []Op {
	a := g.edit([]Verb{Edit, Attach, Delete}[g.rng.IntN(3)])[0]
	b := a
	b.Replica = g.replica()
	return []Op{a, b}
}

// burst is many edits of one branch in a row, more than a low limit remembers.
func (g *generator) burst() (ops []Op) {
	first := g.edit(Edit)[0]
	for range 2 + g.rng.IntN(6) {
		g.number++
		first.Number = g.number
		ops = append(ops, first)
	}
	return ops
}

func (g *generator) purge() []Op {
	return []Op{{Verb: Purge, Replica: g.replica(), Doc: g.document(), Leaf: g.rng.IntN(3)}}
}

// limit comes once at most in three of four scenarios, since it weakens what can be checked.
func (g *generator) limit() []Op {
	g.limits++
	if g.limits > 1 && g.rng.IntN(4) > 0 {
		return nil
	}
	return []Op{{Verb: Limit, Replica: g.replica(), Limit: 1 + g.rng.IntN(6)}}
}

func (g *generator) recreate() []Op { return []Op{{Verb: Recreate, Replica: g.replica()}} }

func (g *generator) partition() (ops []Op) {
	for _, e := range split(g.rng, len(g.scenario.Places), g.scenario.Edges) {
		ops = append(ops, Op{Verb: Cut, Replica: e.A, Other: e.B})
	}
	return ops
}

func (g *generator) heal() []Op { return []Op{{Verb: Heal}} }

func (g *generator) sync() []Op {
	e := g.scenario.Edges[g.rng.IntN(len(g.scenario.Edges))]
	if g.rng.IntN(2) == 0 {
		e.A, e.B = e.B, e.A
	}
	o := Op{Verb: Sync, Replica: e.A, Other: e.B, Options: g.options(), Background: g.rng.IntN(5) == 0}
	if g.rng.IntN(12) == 0 {
		o.Options.Only = 1 + g.document()
	}
	if g.rng.IntN(2) == 0 {
		return []Op{o}
	}
	for range 1 + g.rng.IntN(2) {
		o.Faults = append(o.Faults, g.fault(e))
	}
	return []Op{o}
}

func (g *generator) fault(e Edge) Fault {
	f := Fault{Kind: faultKinds[g.rng.IntN(len(faultKinds))], At: 1 + g.rng.IntN(1+g.rng.IntN(20))}
	switch f.Kind {
	case Drop:
		f.Arg = 1 << g.rng.IntN(4) // more than a job tries again: it breaks off, and finds all well when it ends
	case Cutoff, Tear:
		f.Arg = g.rng.IntN(1 << g.rng.IntN(19))
	case Delay:
		f.Arg = g.rng.IntN(30)
	case Busy:
		f.Arg = []int{500, 503, 429, 502}[g.rng.IntN(4)]
	case Killed:
		if !g.scenario.Children {
			f.Kind = Gone
			break
		}
		f.Arg = g.scenario.Places[[]int{e.A, e.B}[g.rng.IntN(2)]]
	}
	return f
}

func (g *generator) options() Options {
	o := g.usual
	if g.rng.IntN(4) == 0 {
		o = Options{Plain: g.rng.IntN(3) == 0, AtTarget: g.rng.IntN(2) == 0, Local: g.rng.IntN(2) == 0}
	}
	if g.rng.IntN(2) == 0 {
		o.Batch = 1 + g.rng.IntN(1+g.rng.IntN(6))
	}
	if g.rng.IntN(2) == 0 {
		o.Workers = 1 + g.rng.IntN(4)
	}
	if g.rng.IntN(3) == 0 {
		o.Interval = 1
	}
	o.NoBulkGet = g.rng.IntN(4) == 0
	o.NoCheckpoints = g.rng.IntN(10) == 0
	return o
}

// end heals what is cut, but for one scenario in eight.
func (g *generator) end() {
	if g.rng.IntN(8) > 0 {
		g.scenario.Ops = append(g.scenario.Ops, Op{Verb: Heal})
	}
}
