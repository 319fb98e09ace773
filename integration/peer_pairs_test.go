package integration

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/replicator"
)

// TestPeerPairs replicates between every two kinds of peers: documents with long and short attachments, conflicts and
// deletions. Then the target lacks nothing, and gives the same as the source.
func TestPeerPairs(t *testing.T) {
	for from, newSource := range peerKinds {
		for to, newTarget := range peerKinds {
			t.Run(from+" to "+to, func(t *testing.T) {
				src, dst := newSource(t, newPeerNode(t), "a"), newTarget(t, newPeerNode(t), "b")
				for _, p := range []replicator.Peer{src, dst} {
					if err := p.Create(t.Context(), replicator.CreateParams{}); err != nil {
						t.Fatal(err)
					}
				}
				texts, all := pairDocuments()
				if refused := storeRevisions(t, src, texts...); refused != nil {
					t.Fatal(refused)
				}
				o := replicator.Options{ID: "x", Filter: replicator.FilterSpec{AllLeaves: true}, BatchSize: 20, Workers: 4}
				if _, err := replicator.Run(t.Context(), src, dst, o); err != nil {
					t.Fatal(err)
				}
				if missing, err := dst.RevsDiff(t.Context(), all); err != nil || len(missing) > 0 {
					t.Errorf("%v, %v", missing, err)
				}
				if got, want := fetchRevisions(t, dst, all...), fetchRevisions(t, src, all...); !slices.Equal(got, want) || len(got) != len(texts) {
					t.Errorf("%d revisions, want %d of %d; they differ", len(got), len(want), len(texts))
				}
				again, err := replicator.Run(t.Context(), src, dst, o)
				if err != nil || !again.NoChanges {
					t.Errorf("the second run: %+v, %v", again, err)
				}
			})
		}
	}
}

// pairDocuments returns documents and what their revisions are.
func pairDocuments() (texts []string, all []replicator.DocRevs) {
	for i := range 100 {
		id := fmt.Sprintf("doc %d+", i)
		revs := []string{"2-b"}
		attachments := ""
		switch i % 5 {
		case 1:
			attachments = fmt.Sprintf(`,"_attachments":{"f":{"data":"aGVsbG8=","content_type":"image/png"},"g":{"data":%q,"content_type":"text/plain"}}`,
				base64.StdEncoding.EncodeToString([]byte(strings.Repeat(fmt.Sprint(i), 200_000))))
		case 2:
			revs = append(revs, "2-c")
			texts = append(texts, fmt.Sprintf(`{"_id":%q,"_revisions":{"start":2,"ids":["c","a"]},"_deleted":true}`, id))
		}
		texts = append(texts, fmt.Sprintf(`{"_id":%q,"_revisions":{"start":2,"ids":["b","a"]},"n":%d%s}`, id, i, attachments))
		all = append(all, replicator.DocRevs{ID: id, Revs: ids(revs...)})
	}
	return texts, all
}
