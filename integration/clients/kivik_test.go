package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-kivik/kivik/v4"
	"github.com/go-kivik/kivik/v4/couchdb"
	"github.com/google/go-cmp/cmp"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// TestKivik is a day's work with kivik. Left out, as the node does not have
// them yet: Session and cookies (hence the basic authentication), Config,
// Find and its indexes, views, Replicate by the node.
func TestKivik(t *testing.T) {
	t.Parallel()
	n := harness.Start(t)
	client, plain := newKivik(t, n), newKivik(t, n, couchdb.OptionNoRequestCompression())

	for i, test := range []struct {
		name string
		run  func(t *testing.T, db *kivik.DB)
	}{
		{"server", testKivikServer},
		{"documents", testKivikDocuments},
		{"conflicts", testKivikConflicts},
		{"bulk", testKivikBulk},
		{"listing", testKivikListing},
		{"local", testKivikLocal},
		{"housekeeping", testKivikHousekeeping},
		{"attachments", func(t *testing.T, db *kivik.DB) { testKivikAttachments(t, db, plain) }},
		{"attachments of revisions", testKivikAttachmentRevisions},
		{"changes", testKivikChanges},
		{"live changes", testKivikLiveChanges},
		{"replicate", testKivikReplicate},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, kivikDatabase(t, client, fmt.Sprintf("kivik-%d", i)))
		})
	}
}

// person is a document as applications write them.
type person struct {
	ID        string   `json:"_id,omitempty"`
	Rev       string   `json:"_rev,omitempty"`
	Deleted   bool     `json:"_deleted,omitempty"`
	Conflicts []string `json:"_conflicts,omitempty"`
	Name      string   `json:"name"`
	Age       int      `json:"age"`
}

func newKivik(t *testing.T, n *harness.Node, options ...kivik.Option) *kivik.Client {
	t.Helper()
	s := n.Server()
	client := must[*kivik.Client](t)(kivik.New("couch", n.URL(), append(options, couchdb.BasicAuth(s.User, s.Password))...))
	t.Cleanup(func() { succeed(t, client.Close()) })
	return client
}

func kivikDatabase(t *testing.T, client *kivik.Client, name string) *kivik.DB {
	t.Helper()
	succeed(t, client.CreateDB(t.Context(), name))
	db := client.DB(name)
	succeed(t, db.Err())
	return db
}

// succeed ends the test unless err is nil.
func succeed(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// must is the value of a call that has to succeed.
func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		succeed(t, err)
		return v
	}
}

// refused checks that an error is CouchDB's, of this status and reason.
func refused(t *testing.T, err error, status int, reason string) {
	t.Helper()
	if kivik.HTTPStatus(err) != status || err == nil || !strings.Contains(err.Error(), reason) {
		t.Errorf("error %v (status %d) instead of %d, %s", err, kivik.HTTPStatus(err), status, reason)
	}
}

// equal compares by content.
func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func getPerson(t *testing.T, db *kivik.DB, id string, options ...kivik.Option) person {
	t.Helper()
	var p person
	succeed(t, db.Get(t.Context(), id, options...).ScanDoc(&p))
	return p
}

func testKivikServer(t *testing.T, db *kivik.DB) {
	ctx, client := t.Context(), db.Client()
	if up := must[bool](t)(client.Ping(ctx)); !up {
		t.Error("the node does not answer a ping")
	}
	version := must[*kivik.ServerVersion](t)(client.Version(ctx))
	equal(t, "version", version.Version, "3.5.0")
	equal(t, "vendor", version.Vendor, "Mangrove")

	names := must[[]string](t)(client.AllDBs(ctx))
	if !slices.Contains(names, db.Name()) {
		t.Errorf("%s is not among %v", db.Name(), names)
	}
	for name, want := range map[string]bool{db.Name(): true, "absent": false} {
		equal(t, name+" exists", must[bool](t)(client.DBExists(ctx, name)), want)
	}
	refused(t, client.CreateDB(ctx, db.Name()), http.StatusPreconditionFailed, "already exists")
	refused(t, client.CreateDB(ctx, "No"), http.StatusBadRequest, "Only lowercase characters")
	refused(t, client.DestroyDB(ctx, "absent"), http.StatusNotFound, "Database does not exist")
	odd := "a_$()-/z" // kivik does not escape a plus, which then is a space
	succeed(t, client.CreateDB(ctx, odd))
	stats := must[[]*kivik.DBStats](t)(client.DBsStats(ctx, []string{odd, db.Name()}))
	equal(t, "databases", []string{stats[0].Name, stats[1].Name}, []string{odd, db.Name()})
	succeed(t, client.DestroyDB(ctx, odd))

	updates := client.DBUpdates(ctx, kivik.Param("feed", "normal"), kivik.Param("since", "0"))
	seen := map[string]bool{}
	for updates.Next() {
		seen[updates.DBName()+" "+updates.Type()] = true
	}
	succeed(t, updates.Err())
	if !seen[odd+" deleted"] || !seen[db.Name()+" created"] {
		t.Errorf("updates of databases: %v", seen)
	}
	membership := must[*kivik.ClusterMembership](t)(client.Membership(ctx))
	equal(t, "nodes", membership.AllNodes, []string{"nonode@nohost"})
}

func testKivikDocuments(t *testing.T, db *kivik.DB) {
	ctx := t.Context()
	first := must[string](t)(db.Put(ctx, "ada", person{Name: "Ada", Age: 36}))
	equal(t, "the document", getPerson(t, db, "ada"), person{ID: "ada", Rev: first, Name: "Ada", Age: 36})
	_, err := db.Put(ctx, "ada", person{Name: "Another"})
	refused(t, err, http.StatusConflict, "Document update conflict")
	second := must[string](t)(db.Put(ctx, "ada", person{Rev: first, Name: "Ada Lovelace", Age: 37}))
	equal(t, "GetRev", must[string](t)(db.GetRev(ctx, "ada")), second)
	equal(t, "the first revision", getPerson(t, db, "ada", kivik.Rev(first)).Age, 36)

	var history struct {
		Revisions struct {
			Start int
			IDs   []string
		} `json:"_revisions"`
		Info []struct{ Rev, Status string } `json:"_revs_info"`
	}
	succeed(t, db.Get(ctx, "ada", kivik.Params(map[string]any{"revs": true, "revs_info": true})).ScanDoc(&history))
	equal(t, "generation", history.Revisions.Start, 2)
	equal(t, "hashes", history.Revisions.IDs, []string{second[2:], first[2:]})
	equal(t, "_revs_info", history.Info, []struct{ Rev, Status string }{{second, "available"}, {first, "available"}})

	for _, id := range []string{"with space", "a/b", "plus+", "100%", "ä", "q?x=1&y", "_design/app", "x#y"} {
		rev := must[string](t)(db.Put(ctx, id, person{Name: id}))
		equal(t, id, getPerson(t, db, id), person{ID: id, Rev: rev, Name: id})
	}
	id, rev, err := db.CreateDoc(ctx, person{Name: "by POST"})
	succeed(t, err)
	equal(t, "a made document", getPerson(t, db, id), person{ID: id, Rev: rev, Name: "by POST"})
	copied := must[string](t)(db.Copy(ctx, "copy", "ada", kivik.Rev(first)))
	equal(t, "the copy", getPerson(t, db, "copy"), person{ID: "copy", Rev: copied, Name: "Ada", Age: 36})

	_, err = db.Delete(ctx, "ada", first)
	refused(t, err, http.StatusConflict, "Document update conflict")
	third := must[string](t)(db.Delete(ctx, "ada", second))
	refused(t, db.Get(ctx, "ada").Err(), http.StatusNotFound, "deleted")
	refused(t, db.Get(ctx, "nobody").Err(), http.StatusNotFound, "missing")
	equal(t, "tombstone", getPerson(t, db, "ada", kivik.Rev(third)).Deleted, true)
}

// testKivikConflicts makes branches as a replicator does, and resolves them.
func testKivikConflicts(t *testing.T, db *kivik.DB) {
	ctx := t.Context()
	root := must[string](t)(db.Put(ctx, "doc", person{Name: "root"}))
	mine := must[string](t)(db.Put(ctx, "doc", person{Rev: root, Name: "mine"}))
	theirs := "2-" + strings.Repeat("f", 32)
	must[string](t)(db.Put(ctx, "doc", map[string]any{
		"_rev": theirs, "name": "theirs",
		"_revisions": map[string]any{"start": 2, "ids": []string{theirs[2:], root[2:]}},
	}, kivik.Param("new_edits", false)))

	equal(t, "the winner", getPerson(t, db, "doc", kivik.Param("conflicts", true)),
		person{ID: "doc", Rev: theirs, Name: "theirs", Conflicts: []string{mine}})
	open := func(revs ...string) map[string]string {
		t.Helper()
		found := map[string]string{}
		rows := db.OpenRevs(ctx, "doc", revs, kivik.Param("revs", true))
		for rows.Next() {
			var p person
			if err := rows.ScanDoc(&p); err != nil {
				t.Errorf("open revision: %v", err)
				continue
			}
			found[p.Rev] = p.Name
		}
		succeed(t, rows.Err())
		return found
	}
	equal(t, "the leaves", open(mine, theirs), map[string]string{mine: "mine", theirs: "theirs"})
	equal(t, "named revisions", open(root, mine), map[string]string{mine: "mine", root: "root"})

	other := "2-" + strings.Repeat("0", 32)
	rows := db.RevsDiff(ctx, map[string][]string{"doc": {mine, other}, "ghost": {root}})
	missing := map[string][]string{}
	for rows.Next() {
		var diff kivik.RevDiff
		id := must[string](t)(rows.ID())
		succeed(t, rows.ScanValue(&diff))
		missing[id] = diff.Missing
	}
	succeed(t, rows.Err())
	equal(t, "missing revisions", missing, map[string][]string{"doc": {other}, "ghost": {root}})

	must[string](t)(db.Delete(ctx, "doc", theirs))
	equal(t, "what is left", getPerson(t, db, "doc", kivik.Param("conflicts", true)), person{ID: "doc", Rev: mine, Name: "mine"})
}

func testKivikBulk(t *testing.T, db *kivik.DB) {
	ctx := t.Context()
	docs := make([]any, 300) // of a size that kivik sends compressed, in chunks
	for i := range docs {
		docs[i] = person{ID: fmt.Sprintf("p%03d", i), Name: strings.Repeat("name ", 50), Age: i}
	}
	results := must[[]kivik.BulkResult](t)(db.BulkDocs(ctx, docs))
	for i, r := range results {
		if r.Error != nil || r.ID != docs[i].(person).ID || r.Rev == "" {
			t.Fatalf("result %d: %+v", i, r)
		}
	}
	mixed := must[[]kivik.BulkResult](t)(db.BulkDocs(ctx, []any{
		person{ID: "p000", Name: "late"},
		person{ID: "p001", Rev: results[1].Rev, Deleted: true},
		person{Name: "without an id"},
	}))
	refused(t, mixed[0].Error, http.StatusConflict, "conflict")
	if mixed[1].Error != nil || mixed[2].Error != nil || len(mixed[2].ID) != 32 {
		t.Errorf("results: %+v", mixed)
	}

	rows := db.BulkGet(ctx, []kivik.BulkGetReference{{ID: "p002"}, {ID: "p001", Rev: results[1].Rev}, {ID: "nobody"}})
	var got []string
	for rows.Next() {
		var p person
		err := rows.ScanDoc(&p)
		if err != nil && strings.Contains(err.Error(), "not_found") {
			p.ID = "missing"
		}
		got = append(got, p.ID)
	}
	succeed(t, rows.Err())
	equal(t, "_bulk_get", got, []string{"p002", "p001", "missing"})
}

func testKivikListing(t *testing.T, db *kivik.DB) {
	ctx := t.Context()
	var docs []any
	for i := range 40 {
		docs = append(docs, person{ID: fmt.Sprintf("p%02d", i), Name: "n", Age: i})
	}
	docs = append(docs, map[string]any{"_id": "_design/d", "language": "javascript"})
	must[[]kivik.BulkResult](t)(db.BulkDocs(ctx, docs))

	ids := func(rows *kivik.ResultSet) []string {
		t.Helper()
		var all []string
		for rows.Next() {
			all = append(all, must[string](t)(rows.ID()))
		}
		succeed(t, rows.Err())
		return all
	}
	equal(t, "a range", ids(db.AllDocs(ctx, kivik.Params(map[string]any{"startkey": "p10", "endkey": "p13", "inclusive_end": false}))), []string{"p10", "p11", "p12"})
	equal(t, "backwards", ids(db.AllDocs(ctx, kivik.Params(map[string]any{"descending": true, "limit": 2, "skip": 1}))), []string{"p38", "p37"})
	equal(t, "keys", ids(db.AllDocs(ctx, kivik.Param("keys", []string{"p07", "p03"}))), []string{"p07", "p03"})
	equal(t, "design documents", ids(db.DesignDocs(ctx)), []string{"_design/d"})

	rows := db.AllDocs(ctx, kivik.IncludeDocs(), kivik.Param("update_seq", true))
	n := 0
	for rows.Next() {
		var p person
		var value struct{ Rev string }
		succeed(t, errors.Join(rows.ScanDoc(&p), rows.ScanValue(&value)))
		if id := must[string](t)(rows.ID()); p.ID != id || p.Rev != value.Rev {
			t.Errorf("row of %s: %+v", id, p)
		}
		n++
	}
	succeed(t, rows.Err())
	meta := must[*kivik.ResultMetadata](t)(rows.Metadata())
	equal(t, "rows", n, 41)
	equal(t, "total_rows", meta.TotalRows, 41)
	if !strings.HasPrefix(meta.UpdateSeq, "41-") {
		t.Errorf("update_seq %s", meta.UpdateSeq)
	}

	equal(t, "two queries", ids(db.AllDocs(ctx, kivik.Param("queries", []map[string]any{{"limit": 1}, {"key": "p05"}}))), []string{"_design/d", "p05"})
}

func testKivikLocal(t *testing.T, db *kivik.DB) {
	ctx := t.Context()
	rev := must[string](t)(db.Put(ctx, "_local/place", person{Name: "here"}))
	equal(t, "revision", rev, "0-1")
	must[string](t)(db.Put(ctx, "_local/place", person{Rev: rev, Name: "there"}))
	equal(t, "the document", getPerson(t, db, "_local/place"), person{ID: "_local/place", Rev: "0-2", Name: "there"})
	rows := db.LocalDocs(ctx)
	n := 0
	for rows.Next() {
		equal(t, "id", must[string](t)(rows.ID()), "_local/place")
		n++
	}
	succeed(t, rows.Err())
	equal(t, "rows", n, 1)
	must[string](t)(db.Delete(ctx, "_local/place", "0-2"))
	refused(t, db.Get(ctx, "_local/place").Err(), http.StatusNotFound, "missing")
}

func testKivikHousekeeping(t *testing.T, db *kivik.DB) {
	ctx := t.Context()
	security := must[*kivik.Security](t)(db.Security(ctx))
	equal(t, "administrators", security.Admins.Roles, []string{"_admin"})
	want := &kivik.Security{
		Admins:  kivik.Members{Names: []string{"ada"}, Roles: []string{"ops"}},
		Members: kivik.Members{Names: []string{"bob"}, Roles: []string{"staff", "guests"}},
	}
	succeed(t, db.SetSecurity(ctx, want))
	equal(t, "security", must[*kivik.Security](t)(db.Security(ctx)), want)

	first := must[string](t)(db.Put(ctx, "doc", person{Name: "one"}))
	second := must[string](t)(db.Put(ctx, "doc", person{Rev: first, Name: "two"}))
	must[string](t)(db.Put(ctx, "other", person{Name: "three"}))
	succeed(t, db.Flush(ctx))
	succeed(t, db.Compact(ctx))
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for must[*kivik.DBStats](t)(db.Stats(ctx)).CompactRunning {
		time.Sleep(10 * time.Millisecond)
	}
	refused(t, db.Get(ctx, "doc", kivik.Rev(first)).Err(), http.StatusNotFound, "missing")
	equal(t, "the newest", getPerson(t, db, "doc").Name, "two")

	purged := must[*kivik.PurgeResult](t)(db.Purge(ctx, map[string][]string{"doc": {second}}))
	equal(t, "purged", purged.Purged, map[string][]string{"doc": {second}})
	refused(t, db.Get(ctx, "doc").Err(), http.StatusNotFound, "missing")
	stats := must[*kivik.DBStats](t)(db.Stats(ctx))
	equal(t, "documents", stats.DocCount, 1)
	equal(t, "deleted documents", stats.DeletedCount, 0)
	if stats.ActiveSize <= 0 || stats.DiskSize <= 0 || !json.Valid(stats.RawResponse) {
		t.Errorf("sizes: %+v", stats)
	}
	succeed(t, db.ViewCleanup(ctx))
}
