package metamorphic

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Verb says what an operation does.
type Verb string

// The operations. Edits choose among the leaves that the database has at that moment.
const (
	Edit     Verb = "edit"     // changes or creates a document; with keep, attachments stay as stubs
	Delete   Verb = "delete"   // writes a tombstone
	Graft    Verb = "graft"    // writes a forged branch with new_edits=false: back steps down, grow steps up
	Attach   Verb = "attach"   // an edit that adds or replaces an attachment
	Compact  Verb = "compact"  // compacts the database
	Purge    Verb = "purge"    // purges a leaf
	Limit    Verb = "limit"    // sets the revisions limit
	Recreate Verb = "recreate" // deletes the database and makes it again
	Sync     Verb = "sync"     // replicates from one database to its neighbour
	Wait     Verb = "wait"     // waits for replications in the background
	Cut      Verb = "cut"      // takes an edge away
	Heal     Verb = "heal"     // brings all edges back
	Kill     Verb = "kill"     // SIGKILL to a node, which is started again; does nothing to a node of this process
)

// operands says what stands behind a verb before its options.
var operands = map[Verb]struct {
	replicas  int
	doc, node bool
}{
	Edit: {replicas: 1, doc: true}, Delete: {replicas: 1, doc: true}, Graft: {replicas: 1, doc: true},
	Attach: {replicas: 1, doc: true}, Purge: {replicas: 1, doc: true},
	Compact: {replicas: 1}, Limit: {replicas: 1}, Recreate: {replicas: 1},
	Sync: {replicas: 2}, Cut: {replicas: 2}, Heal: {}, Wait: {}, Kill: {node: true},
}

// Op is one operation. Which fields count depends on the verb.
type Op struct {
	Verb           Verb
	Replica, Other int // numbers of databases; Other is the target of a sync
	Doc            int
	Node           int

	Number int // what is written follows from it
	Leaf   int // which leaf, counted from the winner and around
	Back   int
	Grow   int
	Dead   bool // the graft ends in a tombstone
	Keep   bool
	Limit  int

	File int    // name of the attachment is "f" and this
	Kind string // of the attachment: text or noise
	Size int
	Form string // how it is sent: inline, put, related

	Options    Options
	Faults     []Fault
	Background bool
}

// Options of one replication. Their zero value is the replicator's default.
type Options struct {
	Plain         bool // by the plain replicator of the tests instead of a node's
	AtTarget      bool // run by the node that has the target, not by that of the source
	Local         bool // the database on the node that runs it is named, not addressed
	Batch         int
	Workers       int
	Interval      int // between checkpoints, milliseconds
	NoBulkGet     bool
	NoCheckpoints bool
	Only          int // only the document with this number, counted from 1
}

// Fault is something that happens to a request of a replication: the At-th, counted from 1, or one after that.
type Fault struct {
	Kind FaultKind
	At   int
	Arg  int
}

// FaultKind says what happens to a request.
type FaultKind string

// The faults.
const (
	Drop   FaultKind = "drop"   // Arg requests (at least one) do not arrive: their connections end
	Lose   FaultKind = "lose"   // the request is done, the connection ends without an answer
	Cutoff FaultKind = "cutoff" // the first answer longer than Arg bytes ends there
	Tear   FaultKind = "tear"   // the first request whose body is longer than Arg bytes ends there
	Delay  FaultKind = "delay"  // the answer comes Arg milliseconds late
	Repeat FaultKind = "repeat" // the request arrives twice
	Busy   FaultKind = "busy"   // the answer is status Arg
	Gone   FaultKind = "gone"   // no request arrives any more
	Stuck  FaultKind = "stuck"  // this request and all equal ones do not arrive, while others do
	Killed FaultKind = "killed" // the node with number Arg is killed and started again
)

var faultKinds = []FaultKind{Drop, Lose, Cutoff, Tear, Delay, Repeat, Busy, Gone, Stuck, Killed}

// String gives the form kind@at:arg.
func (f Fault) String() string { return fmt.Sprintf("%s@%d:%d", f.Kind, f.At, f.Arg) }

func parseFault(s string) (Fault, error) {
	kind, rest, _ := strings.Cut(s, "@")
	at, arg, _ := strings.Cut(rest, ":")
	f := Fault{Kind: FaultKind(kind)}
	var err1, err2 error
	f.At, err1 = strconv.Atoi(at)
	f.Arg, err2 = strconv.Atoi(arg)
	if err1 != nil || err2 != nil || !slices.Contains(faultKinds, f.Kind) {
		return f, fmt.Errorf("fault %q is not kind@request:argument", s)
	}
	return f, nil
}

// option is a part of an operation's line behind the operands. It points to an int, a string or a bool.
type option struct {
	name string
	at   any
}

func (o *Op) options() []option {
	return []option{
		{"n", &o.Number},
		{"leaf", &o.Leaf},
		{"back", &o.Back},
		{"grow", &o.Grow},
		{"dead", &o.Dead},
		{"keep", &o.Keep},
		{"limit", &o.Limit},
		{"file", &o.File},
		{"kind", &o.Kind},
		{"size", &o.Size},
		{"form", &o.Form},
		{"plain", &o.Options.Plain},
		{"at-target", &o.Options.AtTarget},
		{"local", &o.Options.Local},
		{"batch", &o.Options.Batch},
		{"workers", &o.Options.Workers},
		{"interval", &o.Options.Interval},
		{"no-bulk-get", &o.Options.NoBulkGet},
		{"no-checkpoints", &o.Options.NoCheckpoints},
		{"only", &o.Options.Only},
		{"background", &o.Background},
	}
}

// String gives the operation's line, without its end. Options that are zero are left out.
func (o Op) String() string {
	words := []string{string(o.Verb)}
	with := operands[o.Verb]
	for _, r := range []int{o.Replica, o.Other}[:with.replicas] {
		words = append(words, letter(r))
	}
	if with.doc {
		words = append(words, "d"+strconv.Itoa(o.Doc))
	}
	if with.node {
		words = append(words, strconv.Itoa(o.Node))
	}
	for _, p := range o.options() {
		switch v := p.at.(type) {
		case *int:
			if *v != 0 {
				words = append(words, fmt.Sprintf("%s=%d", p.name, *v))
			}
		case *string:
			if *v != "" {
				words = append(words, p.name+"="+*v)
			}
		case *bool:
			if *v {
				words = append(words, p.name)
			}
		}
	}
	for _, f := range o.Faults {
		words = append(words, f.String())
	}
	return strings.Join(words, " ")
}

// ParseOp reads what [Op.String] writes.
func ParseOp(line string) (Op, error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return Op{}, fmt.Errorf("no operation")
	}
	o := Op{Verb: Verb(words[0])}
	with, ok := operands[o.Verb]
	if !ok {
		return o, fmt.Errorf("unknown operation %q", words[0])
	}
	words = words[1:]
	take := func() string {
		if len(words) == 0 {
			return ""
		}
		w := words[0]
		words = words[1:]
		return w
	}
	for _, to := range []*int{&o.Replica, &o.Other}[:with.replicas] {
		if *to = letterIndex(take()); *to < 0 {
			return o, fmt.Errorf("no database in %q", line)
		}
	}
	if with.doc {
		text, found := strings.CutPrefix(take(), "d")
		doc, err := strconv.Atoi(text)
		if !found || err != nil || doc < 0 || doc >= len(documents) {
			return o, fmt.Errorf("no document in %q", line)
		}
		o.Doc = doc
	}
	if with.node {
		node, err := strconv.Atoi(take())
		if err != nil || node < 0 {
			return o, fmt.Errorf("no node in %q", line)
		}
		o.Node = node
	}
	for _, w := range words {
		if err := o.setOption(w); err != nil {
			return o, fmt.Errorf("%w in %q", err, line)
		}
	}
	return o, nil
}

func (o *Op) setOption(word string) error {
	if strings.Contains(word, "@") {
		f, err := parseFault(word)
		o.Faults = append(o.Faults, f)
		return err
	}
	name, value, _ := strings.Cut(word, "=")
	for _, p := range o.options() {
		if p.name != name {
			continue
		}
		switch v := p.at.(type) {
		case *int:
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				return fmt.Errorf("%q has no number", word)
			}
			*v = n
		case *string:
			*v = value
		case *bool:
			*v = true
		}
		return nil
	}
	return fmt.Errorf("unknown option %q", word)
}

// letter names a database of a scenario: a, b, c, …
func letter(i int) string { return string(rune('a' + i)) }

func letterIndex(s string) int {
	if len(s) != 1 || s[0] < 'a' || s[0] >= 'a'+maxReplicas {
		return -1
	}
	return int(s[0] - 'a')
}

// maxReplicas is how many databases a scenario can have.
const maxReplicas = 8

// documents are the ids that scenarios use: plain ones, and those that need care on their way.
var documents = []string{"plain", "a/b c", "_design/app", "naïve+α&β=γ?", "0", "colon:semi;%41"}

// Scenario is what happens to a few databases.
type Scenario struct {
	Note     string // where it comes from, for people
	Children bool   // nodes are child processes, which can be killed
	Places   []int  // the node of each database
	Edges    []Edge // neighbours
	Settle   Op     // a sync: how everybody replicates at the end
	Ops      []Op
}

// Edge joins two databases that replicate with each other.
type Edge struct{ A, B int }

// String writes the scenario as a file that [Parse] reads.
func (s *Scenario) String() string {
	var b strings.Builder
	for line := range strings.Lines(s.Note) {
		fmt.Fprintf(&b, "# %s\n", strings.TrimSpace(line))
	}
	if s.Children {
		b.WriteString("children\n")
	}
	for i, node := range s.Places {
		fmt.Fprintf(&b, "database %s %d\n", letter(i), node)
	}
	for _, e := range s.Edges {
		fmt.Fprintf(&b, "edge %s %s\n", letter(e.A), letter(e.B))
	}
	settle := strings.TrimPrefix(s.Settle.String(), "sync a a")
	fmt.Fprintf(&b, "settle%s\n", settle)
	for _, o := range s.Ops {
		b.WriteString(o.String() + "\n")
	}
	return b.String()
}

// Parse reads a scenario. Lines that begin with # are left out.
func Parse(r io.Reader) (*Scenario, error) {
	s := &Scenario{Settle: Op{Verb: Sync}}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		if err := s.parseLine(strings.TrimSpace(lines.Text())); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return s, s.check()
}

func (s *Scenario) parseLine(line string) (err error) {
	words := strings.Fields(line)
	switch {
	case line == "":
	case line[0] == '#':
		s.Note += strings.TrimSpace(line[1:]) + "\n"
	case words[0] == "children":
		s.Children = true
	case words[0] == "settle":
		s.Settle, err = ParseOp("sync a a" + strings.TrimPrefix(line, "settle"))
	case words[0] == "database" && len(words) == 3:
		var node int
		if node, err = strconv.Atoi(words[2]); letterIndex(words[1]) != len(s.Places) {
			return fmt.Errorf("databases out of order")
		}
		s.Places = append(s.Places, node)
	case words[0] == "edge" && len(words) == 3:
		s.Edges = append(s.Edges, Edge{letterIndex(words[1]), letterIndex(words[2])})
	default:
		var o Op
		o, err = ParseOp(line)
		s.Ops = append(s.Ops, o)
	}
	return err
}

// check refuses a scenario that names databases or nodes which it does not have.
func (s *Scenario) check() error {
	known := func(replicas ...int) bool {
		return !slices.ContainsFunc(replicas, func(r int) bool { return r < 0 || r >= len(s.Places) })
	}
	for _, node := range s.Places {
		if node < 0 || node >= nodesPerCluster {
			return fmt.Errorf("there is no node %d", node)
		}
	}
	for _, e := range s.Edges {
		if !known(e.A, e.B) || e.A == e.B {
			return fmt.Errorf("edge between databases that are not there")
		}
	}
	for _, o := range s.Ops {
		if !known(o.Replica, o.Other) || o.Node >= nodesPerCluster {
			return fmt.Errorf("%q names what is not there", o)
		}
		for _, f := range o.Faults {
			if f.Kind == Killed && (f.Arg < 0 || f.Arg >= nodesPerCluster) {
				return fmt.Errorf("%q names what is not there", o)
			}
		}
	}
	return nil
}
