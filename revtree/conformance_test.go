package revtree_test

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mangrove-db/mangrove/revtree"
)

// winnersFile holds writes to CouchDB and the trees that came of them.
const winnersFile = "../integration/testdata/conformance/vectors/winners.json"

type revisions struct {
	Start int      `json:"start"`
	IDs   []string `json:"ids"`
}

func (r revisions) path(t *testing.T) revtree.Path {
	t.Helper()
	p := revtree.Path{Start: r.Start}
	for _, text := range r.IDs {
		hash, err := revtree.ParseHash(text)
		if err != nil {
			t.Fatal(err)
		}
		p.Hashes = append(p.Hashes, hash)
	}
	return p
}

type winnersEntry struct {
	RevsLimit *int `json:"revs_limit"`
	Writes    []struct {
		Revisions revisions `json:"_revisions"`
		Deleted   bool      `json:"_deleted"`
	} `json:"writes"`
	Leaves           []winnersLeaf `json:"leaves"`
	Winner           string        `json:"winner"`
	Deleted          bool          `json:"deleted"`
	Conflicts        []string      `json:"conflicts"`
	DeletedConflicts []string      `json:"deleted_conflicts"`
	RevsInfo         []winnersRev  `json:"revs_info"`
}

type winnersLeaf struct {
	Rev       string    `json:"rev"`
	Deleted   bool      `json:"deleted"`
	Revisions revisions `json:"revisions"`
}

type winnersRev struct {
	Rev    string `json:"rev"`
	Status string `json:"status"`
}

func TestTreesAreThoseOfCouchDB(t *testing.T) {
	text, err := os.ReadFile(winnersFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Entries []winnersEntry `json:"entries"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Entries) == 0 {
		t.Fatal("no entries")
	}
	for i, entry := range file.Entries {
		t.Run(strconv.Itoa(i), func(t *testing.T) { entry.check(t) })
	}
}

func (e winnersEntry) check(t *testing.T) {
	limit := 1000
	if e.RevsLimit != nil {
		limit = *e.RevsLimit
	}
	var tree revtree.Tree
	for i, write := range e.Writes {
		path := write.Revisions.path(t)
		if err := path.Validate(); err != nil {
			t.Fatal(err)
		}
		leaf := revtree.Node{Deleted: write.Deleted, Stored: true, Kept: true, Seq: uint64(i) + 1}
		tree, _ = tree.Add(path, leaf, limit)
	}
	var got winnersEntry
	for _, leaf := range tree.Leaves() {
		found := winnersLeaf{Rev: leaf.ID.String(), Deleted: leaf.Deleted, Revisions: revisions{Start: leaf.ID.Gen}}
		for _, hash := range pathOf(tree, leaf.ID).Newest(limit).Hashes {
			found.Revisions.IDs = append(found.Revisions.IDs, string(revtree.AppendHash(nil, hash)))
		}
		got.Leaves = append(got.Leaves, found)
	}
	// The winner is first; the file has the leaves in ascending order.
	winner, others := got.Leaves[0], slices.Clone(got.Leaves[1:])
	got.Winner, got.Deleted = winner.Rev, winner.Deleted
	slices.SortFunc(got.Leaves, func(a, b winnersLeaf) int { return id(t, a.Rev).Compare(id(t, b.Rev)) })
	if !winner.Deleted {
		for _, leaf := range others {
			if leaf.Deleted {
				got.DeletedConflicts = append(got.DeletedConflicts, leaf.Rev)
			} else {
				got.Conflicts = append(got.Conflicts, leaf.Rev)
			}
		}
		slices.Sort(got.DeletedConflicts)
		got.RevsInfo = revsInfo(t, tree, id(t, winner.Rev))
	}
	e.RevsLimit, e.Writes = nil, nil
	if diff := cmp.Diff(e, got, cmp.Comparer(equalLists)); diff != "" {
		t.Errorf("(-CouchDB +ours):\n%s", diff)
	}
}

// equalLists takes an empty list and none for the same.
func equalLists(a, b []string) bool {
	return slices.Equal(a, b)
}

// revsInfo is what revs_info=true answers while nothing has been compacted.
func revsInfo(t *testing.T, tree revtree.Tree, leaf revtree.ID) []winnersRev {
	t.Helper()
	var info []winnersRev
	path := pathOf(tree, leaf)
	for i := range path.Len() {
		at, _ := tree.Find(path.At(i))
		n := tree.Node(at)
		status := "missing"
		switch {
		case n.Stored && n.Deleted:
			status = "deleted"
		case n.Kept:
			status = "available"
		}
		info = append(info, winnersRev{Rev: n.ID.String(), Status: status})
	}
	return info
}
