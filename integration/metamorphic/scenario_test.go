package metamorphic

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestScenarioReadsBack(t *testing.T) {
	for i := range uint64(200) {
		s := Generate(1, i, Shape{Ops: 40, Children: 50})
		got, err := Parse(strings.NewReader(s.String()))
		if err != nil {
			t.Fatalf("%v in\n%s", err, s)
		}
		if diff := cmp.Diff(s.String(), got.String()); diff != "" {
			t.Fatal(diff)
		}
		s.Note, got.Note = "", ""
		if diff := cmp.Diff(s, got); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	const head = "database a 0\ndatabase b 1\nedge a b\n"
	for _, line := range []string{
		"frobnicate a", "edit a", "edit c d0", "edit a d99", "edit a d0 n=x", "edit a d0 nonsense", "sync a", "kill x",
		"kill 9", "sync a b drop@x:1", "sync a b melt@1:1", "sync a b killed@1:7", "edge a c", "edge a a", "database d 0",
		"database c 7",
	} {
		if _, err := Parse(strings.NewReader(head + line)); err == nil {
			t.Errorf("%q was taken", line)
		}
	}
}

func TestTopologiesJoinAll(t *testing.T) {
	for i := range uint64(100) {
		s := Generate(2, i, Shape{})
		if group := components(len(s.Places), s.Edges); slices.Max(group) > 0 {
			t.Fatalf("databases that nobody reaches: %v", s.Edges)
		}
	}
	if got := components(5, []Edge{{1, 2}, {4, 3}}); !slices.Equal(got, []int{0, 1, 1, 3, 3}) {
		t.Errorf("components: %v", got)
	}
}

func TestShrink(t *testing.T) {
	s := Generate(3, 0, Shape{Ops: 60})
	s.Ops = append(s.Ops, Op{Verb: Purge, Doc: 1}, Op{Verb: Edit, Doc: 2}, Op{Verb: Purge, Doc: 3})
	purges := func(s *Scenario) (docs []int) {
		for _, o := range s.Ops {
			if o.Verb == Purge {
				docs = append(docs, o.Doc)
			}
		}
		return docs
	}
	short := Shrink(s, 1000, func(try *Scenario) bool {
		docs := purges(try)
		return slices.Contains(docs, 1) && slices.Contains(docs, 3)
	})
	if got := purges(short); len(short.Ops) != 2 || len(got) != 2 {
		t.Errorf("shrunk to\n%s", short)
	}
}
