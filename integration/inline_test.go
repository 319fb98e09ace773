package integration

import (
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/replicator"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// TestInlineRevisions pulls from a node into databases that are empty and from one that is not: small revisions come
// along with the rows of the feed in the first case alone, and what arrives is the same.
func TestInlineRevisions(t *testing.T) {
	source, target := newPeerNode(t), newPeerNode(t)
	db, err := source.store.CreateDB(t.Context(), "source", storage.DBOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var docs []*document.Document
	for _, text := range []string{
		`{"_id":"a","_rev":"3-c","_revisions":{"start":3,"ids":["c","b","a"]},"v":"\u00e9"}`,
		`{"_id":"a","_rev":"2-x","_revisions":{"start":2,"ids":["x","a"]},"v":[1.0,{}]}`,
		`{"_id":"gone","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"_deleted":true}`,
		`{"_id":"_design/d","_rev":"1-a","_revisions":{"start":1,"ids":["a"]},"language":"none"}`,
		`{"_id":"large","_rev":"1-a","_revisions":{"start":1,"ids":["a"]},"text":"` + strings.Repeat("x", 9000) + `"}`,
	} {
		d, err := document.Decode([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, d)
	}
	if _, err := db.Apply(t.Context(), storage.Write{Docs: docs, Mode: storage.Replicate}); err != nil {
		t.Fatal(err)
	}
	pull := func(name string) (replicator.Stats, map[string]string) {
		t.Helper()
		src := newRemote(t, source, replicator.RemoteOptions{URL: source.url + "/source", UseBulkGet: true})
		dst := replicator.NewLocal(target.store, name)
		out, err := replicator.Run(t.Context(), src, dst, replicator.Options{ID: name, Create: &replicator.CreateParams{}})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		var wanted []replicator.DocRevs
		for row, err := range dst.Changes(t.Context(), replicator.ChangesRequest{Filter: replicator.FilterSpec{AllLeaves: true}}) {
			if err != nil {
				t.Fatal(err)
			}
			if row.ID != "" && row.ID != "first" {
				wanted = append(wanted, replicator.DocRevs{ID: row.ID, Revs: row.Revs})
			}
		}
		if err := dst.Fetch(t.Context(), wanted, func(r replicator.Revision) error {
			got[r.Doc.ID+" "+r.Doc.Rev.String()] = string(document.AppendJSON(nil, r.Doc, document.Members{Revisions: true}))
			return r.Err
		}); err != nil {
			t.Fatal(err)
		}
		return out.Stats, got
	}
	stats, inline := pull("empty")
	if want := (replicator.Stats{Checked: 5, Found: 5, Read: 5, Written: 5, BulkGetAttempted: 1, BulkGetDocs: 1}); stats != want {
		t.Errorf("%+v", stats)
	}
	other, err := target.store.CreateDB(t.Context(), "other", storage.DBOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first := &document.Document{ID: "first", Rev: revtree.ID{}, Body: []byte(`{}`)}
	if _, err := other.Apply(t.Context(), storage.Write{Docs: []*document.Document{first}, Mode: storage.Edit}); err != nil {
		t.Fatal(err)
	}
	stats, bulk := pull("other")
	if want := (replicator.Stats{Checked: 5, Found: 5, Read: 5, Written: 5, BulkGetAttempted: 4, BulkGetDocs: 4}); stats != want {
		t.Errorf("%+v", stats)
	}
	if len(inline) != 5 || len(bulk) != 5 {
		t.Errorf("%d and %d revisions", len(inline), len(bulk))
	}
	for rev, text := range bulk {
		if inline[rev] != text {
			t.Errorf("%s is %s, and got singly %s", rev, inline[rev], text)
		}
	}
}
