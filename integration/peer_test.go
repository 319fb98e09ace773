package integration

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/api"
	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/config"
	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/replicator"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/script"
	"github.com/mangrove-db/mangrove/storage"
)

// peerNode is a node within this process, whose databases can be reached as peers in several ways.
type peerNode struct {
	store *storage.Store
	url   string
}

const peerAdmin, peerPassword = "admin", "secret"

func newPeerNode(t *testing.T) *peerNode {
	t.Helper()
	cfg, err := config.Load(config.Options{Data: filepath.Join(t.TempDir(), "data"), Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.Set("chttpd_auth", "iterations", "1", false); err != nil {
		t.Fatal(err)
	}
	store, err := storage.Open(storage.Options{Path: cfg.Snapshot().DataDir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := auth.PrepareAdmins(cfg, &auth.Account{Name: peerAdmin, Password: peerPassword}); err != nil {
		t.Fatal(err)
	}
	a := api.New(api.Options{Store: store, Config: cfg, Auth: auth.New(auth.Options{Config: cfg}), Version: "test", Designs: design.NewCache(script.New(script.Options{}), nil)})
	server := httptest.NewServer(a)
	t.Cleanup(func() {
		a.Close()
		server.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &peerNode{store, server.URL}
}

// peerKinds are the ways to reach a database as a peer.
var peerKinds = map[string]func(t *testing.T, n *peerNode, db string) replicator.Peer{
	"local": func(_ *testing.T, n *peerNode, db string) replicator.Peer { return replicator.NewLocal(n.store, db) },
	"remote": func(t *testing.T, n *peerNode, db string) replicator.Peer {
		return newRemote(t, n, replicator.RemoteOptions{URL: n.url + "/" + db, UseBulkGet: true})
	},
	"remote without _bulk_get": func(t *testing.T, n *peerNode, db string) replicator.Peer {
		return newRemote(t, n, replicator.RemoteOptions{URL: n.url + "/" + db, Connections: 2})
	},
}

func newRemote(t *testing.T, _ *peerNode, o replicator.RemoteOptions) replicator.Peer {
	t.Helper()
	o.Auth = &replicator.BasicAuth{Username: peerAdmin, Password: peerPassword}
	o.Retries = -1
	r, err := replicator.NewRemote(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// TestPeers is what every peer must do, wherever its database is.
func TestPeers(t *testing.T) {
	for name, kind := range peerKinds {
		t.Run(name, func(t *testing.T) {
			testPeer(t, func(t *testing.T) replicator.Peer { return kind(t, newPeerNode(t), "db") })
		})
	}
}

func testPeer(t *testing.T, newPeer func(t *testing.T) replicator.Peer) {
	tests := map[string]func(t *testing.T, p replicator.Peer){
		"revisions":   testPeerRevisions,
		"attachments": testPeerAttachments,
		"changes":     testPeerChanges,
		"continuous":  testPeerContinuous,
		"checkpoints": testPeerCheckpoints,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t)
			if err := p.Create(t.Context(), replicator.CreateParams{}); err != nil {
				t.Fatal(err)
			}
			test(t, p)
		})
	}
	t.Run("database", func(t *testing.T) { testPeerDatabase(t, newPeer(t)) })
}

func testPeerDatabase(t *testing.T, p replicator.Peer) {
	ctx := t.Context()
	if strings.Contains(p.Name(), peerPassword) {
		t.Errorf("name %q", p.Name())
	}
	for name, call := range map[string]func() error{
		"Info":     func() error { _, err := p.Info(ctx); return err },
		"Changes":  func() error { _, err := readChanges(ctx, p, replicator.ChangesRequest{}, -1); return err },
		"Pending":  func() error { _, err := p.Pending(ctx, ""); return err },
		"RevsDiff": func() error { _, err := p.RevsDiff(ctx, []replicator.DocRevs{{ID: "a", Revs: ids("1-x")}}); return err },
		"Fetch": func() error {
			return p.Fetch(ctx, []replicator.DocRevs{{ID: "a", Revs: ids("1-x")}}, func(replicator.Revision) error { return nil })
		},
		"Store": func() error {
			_, err := p.Store(ctx, []replicator.Revision{peerRevision(t, `{"_id":"a","_rev":"1-x"}`)})
			return err
		},
		"SaveCheckpoint": func() error {
			_, err := p.SaveCheckpoint(ctx, replicator.Checkpoint{ID: "x", Body: []byte(`{}`)})
			return err
		},
		"Commit": func() error { _, err := p.Commit(ctx); return err },
	} {
		if err := call(); !errors.Is(err, replicator.ErrNoDatabase) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for range 2 {
		if err := p.Create(ctx, replicator.CreateParams{}); err != nil {
			t.Fatal(err)
		}
	}
	info, err := p.Info(ctx)
	if err != nil || info.UpdateSeq == "" || info.StartTime == "" || info.Docs != 0 {
		t.Errorf("%+v, %v", info, err)
	}
	if start, err := p.Commit(ctx); start != info.StartTime || err != nil {
		t.Errorf("committed to %q, %v; it began %q", start, err, info.StartTime)
	}
}

func ids(texts ...string) []revtree.ID {
	list := make([]revtree.ID, len(texts))
	for i, text := range texts {
		list[i], _ = revtree.ParseID(text)
	}
	return list
}

// peerRevision makes a revision from its text. Inline attachments follow.
func peerRevision(t *testing.T, text string) replicator.Revision {
	t.Helper()
	d, err := document.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if d.Revisions.Len() == 0 {
		d.Revisions = revtree.Path{Start: d.Rev.Gen, Hashes: []string{d.Rev.Hash}}
	}
	r := replicator.Revision{Doc: d}
	for i := range d.Attachments {
		if a := &d.Attachments[i]; a.Data != nil {
			a.Follows, a.RevPos = true, d.Rev.Gen
			r.Content = func(visit func(*document.Attachment, io.Reader) error) error {
				for i := range d.Attachments {
					if a := &d.Attachments[i]; a.Data != nil {
						if err := visit(a, io.NewSectionReader(a.Data, 0, a.Data.Size())); err != nil {
							return err
						}
					}
				}
				return nil
			}
		}
	}
	return r
}

func storeRevisions(t *testing.T, p replicator.Peer, texts ...string) []replicator.Refusal {
	t.Helper()
	var all []replicator.Revision
	for _, text := range texts {
		all = append(all, peerRevision(t, text))
	}
	refused, err := p.Store(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	return refused
}

// fetchRevisions returns what a peer gives, as sorted texts.
func fetchRevisions(t *testing.T, p replicator.Peer, wanted ...replicator.DocRevs) []string {
	t.Helper()
	var got []string
	err := p.Fetch(t.Context(), wanted, func(r replicator.Revision) error {
		if r.Err != nil {
			if !errors.Is(r.Err, storage.ErrNotFound) {
				t.Errorf("%s %s: %v", r.Doc.ID, r.Doc.Rev, r.Err)
			}
			got = append(got, fmt.Sprintf("%s %s missing", r.Doc.ID, r.Doc.Rev))
			return nil
		}
		text := string(document.AppendJSON(nil, r.Doc, document.Members{Revisions: true}))
		text, _, _ = strings.Cut(text, `,"_attachments"`)
		for _, a := range r.Doc.Attachments {
			if !a.Follows {
				text += " " + a.Name + "=stub"
			}
		}
		var err error
		if r.Content != nil {
			err = r.Content(func(a *document.Attachment, content io.Reader) error {
				if a.Encoding == "gzip" { // what can be packed is, when it comes in
					var err error
					if content, err = gzip.NewReader(content); err != nil {
						return err
					}
				}
				b, err := io.ReadAll(content)
				text += fmt.Sprintf(" %s=%s", a.Name, b)
				return err
			})
		}
		got = append(got, text)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	slices.Sort(got)
	return got
}

func sameLists(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func testPeerRevisions(t *testing.T, p replicator.Peer) {
	refused := storeRevisions(t, p,
		`{"_id":"a","_revisions":{"start":2,"ids":["b","a"]},"n":1}`,
		`{"_id":"a","_revisions":{"start":2,"ids":["c","a"]},"n":2,"_deleted":true}`,
		`{"_id":"odd / ?+&é","_rev":"1-x"}`,
		`{"_id":"_design/d","_rev":"1-x","views":{}}`,
	)
	if refused != nil {
		t.Error(refused)
	}
	missing, err := p.RevsDiff(t.Context(), []replicator.DocRevs{
		{ID: "a", Revs: ids("2-b", "3-d", "2-c")}, {ID: "odd / ?+&é", Revs: ids("1-x")}, {ID: "new", Revs: ids("1-q")},
	})
	if err != nil || len(missing) != 2 || missing[0].ID != "a" || !slices.Equal(missing[0].Revs, ids("3-d")) || len(missing[0].Known) != 2 || missing[1].ID != "new" {
		t.Errorf("%v, %v", missing, err)
	}
	storeRevisions(t, p, `{"_id":"a","_revisions":{"start":3,"ids":["d","b"]},"n":3}`)
	got := fetchRevisions(
		t, p,
		replicator.DocRevs{ID: "a", Revs: ids("2-b", "2-c", "9-z")}, // 2-b has been superseded
		replicator.DocRevs{ID: "odd / ?+&é", Revs: ids("1-x")},
		replicator.DocRevs{ID: "_design/d", Revs: ids("1-x")},
		replicator.DocRevs{ID: "new", Revs: ids("1-q")},
	)
	sameLists(
		t, "fetched", got, `a 9-z missing`, `new 1-q missing`,
		`{"_id":"_design/d","_rev":"1-x","views":{},"_revisions":{"start":1,"ids":["x"]}}`,
		`{"_id":"a","_rev":"2-c","n":2,"_deleted":true,"_revisions":{"start":2,"ids":["c","a"]}}`,
		`{"_id":"a","_rev":"3-d","n":3,"_revisions":{"start":3,"ids":["d","b","a"]}}`,
		`{"_id":"odd / ?+&é","_rev":"1-x","_revisions":{"start":1,"ids":["x"]}}`,
	)
}

func testPeerAttachments(t *testing.T, p replicator.Peer) {
	storeRevisions(
		t, p,
		`{"_id":"a","_revisions":{"start":1,"ids":["a"]},"_attachments":{"f":{"data":"aGVsbG8=","content_type":"image/png"}}}`,
		`{"_id":"a","_revisions":{"start":2,"ids":["b","a"]},"_attachments":{"f":{"stub":true,"revpos":1},"g \"/x":{"data":"YWJj","content_type":"text/plain"}}}`,
	)
	refused := storeRevisions(t, p, `{"_id":"new","_revisions":{"start":2,"ids":["b","a"]},"_attachments":{"f":{"stub":true,"revpos":1,"length":5}}}`)
	if len(refused) != 1 || refused[0].Name != "missing_stub" || refused[0].ID != "new" || refused[0].Rev != ids("2-b")[0] {
		t.Errorf("%v", refused)
	}
	const head = `{"_id":"a","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]}`
	sameLists(t, "all", fetchRevisions(t, p, replicator.DocRevs{ID: "a", Revs: ids("2-b")}), head+` f=hello g "/x=abc`)
	sameLists(t, "known", fetchRevisions(t, p, replicator.DocRevs{ID: "a", Revs: ids("2-b"), Known: ids("1-a")}), head+` f=stub g "/x=abc`)
	storeRevisions(t, p, `{"_id":"a","_revisions":{"start":3,"ids":["c","b","a"]},"n":1,"_attachments":{"f":{"stub":true,"revpos":1}}}`)
	sameLists(t, "nothing new", fetchRevisions(t, p, replicator.DocRevs{ID: "a", Revs: ids("3-c"), Known: ids("2-b", "1-a")}),
		`{"_id":"a","_rev":"3-c","n":1,"_revisions":{"start":3,"ids":["c","b","a"]} f=stub`)
}

// readChanges returns up to n rows that name a document, and the last sequence.
func readChanges(ctx context.Context, p replicator.Peer, r replicator.ChangesRequest, n int) (rows []string, err error) {
	for row, err := range p.Changes(ctx, r) {
		if err != nil {
			return rows, err
		}
		if row.Seq == "" {
			return rows, fmt.Errorf("a row without a sequence: %v", row)
		}
		if row.ID == "" {
			continue
		}
		rows = append(rows, fmt.Sprint(row.ID, " ", row.Revs))
		if len(rows) == n {
			break
		}
	}
	return rows, nil
}

func testPeerChanges(t *testing.T, p replicator.Peer) {
	storeRevisions(t, p, `{"_id":"a","_rev":"1-x","n":1}`)
	info, err := p.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	storeRevisions(t, p, `{"_id":"b","_rev":"1-x","n":2}`, `{"_id":"b","_rev":"1-y","n":1}`, `{"_id":"_design/c","_rev":"1-x"}`)
	for _, test := range []struct {
		name string
		r    replicator.ChangesRequest
		want []string
	}{
		{"all leaves", replicator.ChangesRequest{Filter: replicator.FilterSpec{AllLeaves: true}}, []string{"_design/c [1-x]", "a [1-x]", "b [1-y 1-x]"}},
		{"winners", replicator.ChangesRequest{}, []string{"_design/c [1-x]", "a [1-x]", "b [1-y]"}},
		{"since", replicator.ChangesRequest{Since: info.UpdateSeq}, []string{"_design/c [1-x]", "b [1-y]"}},
		{"ids", replicator.ChangesRequest{Filter: replicator.FilterSpec{Name: "_doc_ids", DocIDs: []string{"a", "zz"}}}, []string{"a [1-x]"}},
		{"selector", replicator.ChangesRequest{Filter: replicator.FilterSpec{Name: "_selector", AllLeaves: true, Selector: []byte(`{"n":1}`)}}, []string{"a [1-x]", "b [1-y]"}},
		{"design documents", replicator.ChangesRequest{Filter: replicator.FilterSpec{Name: "_design"}}, []string{"_design/c [1-x]"}},
	} {
		rows, err := readChanges(t.Context(), p, test.r, -1)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		slices.Sort(rows)
		sameLists(t, test.name, rows, test.want...)
	}
	if n, err := p.Pending(t.Context(), info.UpdateSeq); n != 2 || err != nil {
		t.Errorf("%d pending, %v", n, err)
	}
	if _, err := readChanges(t.Context(), p, replicator.ChangesRequest{Filter: replicator.FilterSpec{Name: "_none"}}, -1); err == nil {
		t.Error("an unknown filter passes")
	}
}

// testPeerContinuous reads a feed while it is written to, and then ends it.
func testPeerContinuous(t *testing.T, p replicator.Peer) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	storeRevisions(t, p, `{"_id":"d0","_rev":"1-x"}`)
	const n = 5
	seen := 0
	for row, err := range p.Changes(ctx, replicator.ChangesRequest{Continuous: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if row.ID == "" {
			continue
		}
		if want := fmt.Sprint("d", seen); row.ID != want {
			t.Errorf("%s, want %s", row.ID, want)
		}
		if seen++; seen == n {
			cancel()
			continue
		}
		storeRevisions(t, p, fmt.Sprintf(`{"_id":"d%d","_rev":"1-x"}`, seen))
	}
	if seen != n {
		t.Errorf("%d of %d", seen, n)
	}
}

func testPeerCheckpoints(t *testing.T, p replicator.Peer) {
	ctx := t.Context()
	const id = "0123+ü="
	if _, err := p.Checkpoint(ctx, id); !errors.Is(err, replicator.ErrNoCheckpoint) {
		t.Error(err)
	}
	rev := ""
	for i := range 3 {
		body := fmt.Sprintf(`{"n":%d,"history":[{"a":"é"}]}`, i)
		next, err := p.SaveCheckpoint(ctx, replicator.Checkpoint{ID: id, Rev: rev, Body: []byte(body)})
		if err != nil || next == rev {
			t.Fatal(next, err)
		}
		rev = next
		c, err := p.Checkpoint(ctx, id)
		if err != nil || c.ID != id || c.Rev != rev || string(c.Body) != body {
			t.Errorf("%s %s %s, %v; want revision %s", c.ID, c.Rev, c.Body, err, rev)
		}
	}
}
