package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// loadVectors reads the entries of a vector file into entries.
func loadVectors(t *testing.T, name string, entries any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(corpus, "vectors", name))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Entries json.RawMessage }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file.Entries, entries); err != nil {
		t.Fatal(err)
	}
}

// createDatabase makes a database that is deleted with the test.
func createDatabase(t *testing.T, c *harness.Client, name string) {
	t.Helper()
	res, err := c.Do(t.Context(), http.MethodPut, "/"+name, nil)
	if err == nil {
		err = res.Decode(http.StatusCreated, nil)
	}
	if err != nil {
		t.Fatalf("making database %s: %v", name, err)
	}
	t.Cleanup(func() {
		if _, err := c.Do(context.Background(), http.MethodDelete, "/"+name, nil); err != nil {
			t.Errorf("deleting database %s: %v", name, err)
		}
	})
}

// vectorPrefix begins the names of databases; the process id keeps runs
// against a server of one's own apart.
func vectorPrefix(what string) string { return fmt.Sprintf("conf-%s-%d", what, os.Getpid()) }

// TestVectorRevIDs checks the revision ids of many documents, and how they
// read back, against those that CouchDB gave.
func TestVectorRevIDs(t *testing.T) {
	var entries []struct{ Kind, Doc, Rev, Stored string }
	loadVectors(t, "revids.json", &entries)
	client := harness.NewClient(conformanceServer(t), time.Minute)
	defer client.Close()
	db := vectorPrefix("revids")
	createDatabase(t, client, db)

	for i, e := range entries {
		res, err := client.Do(t.Context(), http.MethodPost, "/"+db, []byte(e.Doc), "Content-Type", "application/json")
		if err != nil {
			t.Fatal(err)
		}
		var written struct{ ID, Rev string }
		if err := res.Decode(http.StatusCreated, &written); err != nil {
			t.Errorf("entry %d (%s): %.300s: %v", i, e.Kind, e.Doc, err)
			continue
		}
		if written.Rev != e.Rev {
			t.Errorf("entry %d (%s): %.300s: revision %s, want %s", i, e.Kind, e.Doc, written.Rev, e.Rev)
			continue
		}
		res, err = client.Do(t.Context(), http.MethodGet, "/"+db+"/"+url.PathEscape(written.ID)+"?rev="+e.Rev, nil, "Accept", "application/json")
		if err != nil {
			t.Fatal(err)
		}
		stored := string(bytes.TrimSuffix(res.Body, []byte("\n")))
		if res.Status != http.StatusOK || !sameText(e.Stored, stored) {
			t.Errorf("entry %d (%s): stored (status %d)\n  %.1000s\nwant\n  %.1000s", i, e.Kind, res.Status, stored, e.Stored)
		}
	}
}

// sameText compares two JSON texts byte by byte, but for the order of the
// members of _attachments.
func sameText(a, b string) bool {
	if a == b {
		return true
	}
	x, err := members(a)
	y, err2 := members(b)
	if err != nil || err2 != nil || len(x) != len(y) {
		return false
	}
	for i := range x {
		if x[i] == y[i] {
			continue
		}
		const name = `"_attachments":`
		p, isAtts := strings.CutPrefix(x[i], name)
		q, isAtts2 := strings.CutPrefix(y[i], name)
		if !isAtts || !isAtts2 {
			return false
		}
		one, err := members(p)
		other, err2 := members(q)
		slices.Sort(one)
		slices.Sort(other)
		if err != nil || err2 != nil || !slices.Equal(one, other) {
			return false
		}
	}
	return true
}

// members splits the text of a JSON object without white space into the texts
// of its members, each "name":value.
func members(object string) (texts []string, err error) {
	dec := json.NewDecoder(strings.NewReader(object))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, errors.Join(err, fmt.Errorf("not an object: %.100s", object))
	}
	size := len("{}")
	for dec.More() {
		from := dec.InputOffset()
		if object[from] == ',' {
			from++
		}
		if _, err := dec.Token(); err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		text := object[from:dec.InputOffset()]
		texts = append(texts, text)
		size += len(text) + len(",")
	}
	if len(texts) > 0 {
		size -= len(",")
	}
	if size != len(object) {
		return nil, fmt.Errorf("more than an object, or white space: %.100s", object)
	}
	return texts, nil
}

func TestSameText(t *testing.T) {
	tests := []struct {
		a, b string
		same bool
	}{
		{`{"a":1,"b":"x"}`, `{"a":1,"b":"x"}`, true},
		{`{"a":1,"b":2}`, `{"b":2,"a":1}`, false},
		{`{"a":1.0}`, `{"a":1}`, false},
		{`{"_attachments":{"a":{},"b":[1]},"z":1}`, `{"_attachments":{"b":[1],"a":{}},"z":1}`, true},
		{`{"_attachments":{"a":{},"b":[1]}}`, `{"_attachments":{"b":[2],"a":{}}}`, false},
		{`{"_attachments":{"a":{"x":1,"y":2}}}`, `{"_attachments":{"a":{"y":2,"x":1}}}`, false},
		{`{"o":{"a":1,"b":2}}`, `{"o":{"b":2,"a":1}}`, false},
		{`{"a":1}`, `{"a":1} `, false},
		{`{}`, `[]`, false},
	}
	for _, tt := range tests {
		if sameText(tt.a, tt.b) != tt.same {
			t.Errorf("sameText(%s, %s) = %v", tt.a, tt.b, !tt.same)
		}
	}
}

type winnersEntry struct {
	RevsLimit        *int              `json:"revs_limit"`
	Writes           []json.RawMessage `json:"writes"`
	Leaves           []leaf            `json:"leaves"`
	Winner           string            `json:"winner"`
	Deleted          bool              `json:"deleted"`
	Conflicts        []string          `json:"conflicts"`
	DeletedConflicts []string          `json:"deleted_conflicts"`
	RevsInfo         []revInfo         `json:"revs_info"`
}

type leaf struct {
	Rev       string    `json:"rev"`
	Deleted   bool      `json:"deleted"`
	Revisions revisions `json:"revisions"`
}

type revisions struct {
	Start int      `json:"start"`
	IDs   []string `json:"ids"`
}

type revInfo struct {
	Rev    string `json:"rev"`
	Status string `json:"status"`
}

// TestVectorWinners replicates many revision trees into documents and checks
// their leaves, winners and conflicts against CouchDB's.
func TestVectorWinners(t *testing.T) {
	var entries []winnersEntry
	loadVectors(t, "winners.json", &entries)
	client := harness.NewClient(conformanceServer(t), time.Minute)
	t.Cleanup(client.Close)
	for i, e := range entries {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			db := fmt.Sprintf("%s-%d", vectorPrefix("winners"), i)
			createDatabase(t, client, db)
			writeTree(t, client, db, e)
			checkTree(t, client, db, e)
		})
	}
}

func writeTree(t *testing.T, c *harness.Client, db string, e winnersEntry) {
	t.Helper()
	if e.RevsLimit != nil {
		res, err := c.Do(t.Context(), http.MethodPut, "/"+db+"/_revs_limit", fmt.Append(nil, *e.RevsLimit))
		if err == nil {
			err = res.Decode(http.StatusOK, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range e.Writes {
		body := fmt.Appendf(nil, `{"new_edits":false,"docs":[%s]}`, w)
		res, err := c.Do(t.Context(), http.MethodPost, "/"+db+"/_bulk_docs", body, "Content-Type", "application/json")
		if err == nil {
			err = res.Decode(http.StatusCreated, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func checkTree(t *testing.T, c *harness.Client, db string, e winnersEntry) {
	t.Helper()
	var opened []struct {
		OK struct {
			Rev       string    `json:"_rev"`
			Deleted   bool      `json:"_deleted"`
			Revisions revisions `json:"_revisions"`
		} `json:"ok"`
	}
	if err := c.Get(t.Context(), "/"+db+"/t?open_revs=all&revs=true", &opened); err != nil {
		t.Fatal(err)
	}
	leaves := make([]leaf, 0, len(opened))
	for _, o := range opened {
		leaves = append(leaves, leaf(o.OK))
	}
	byGeneration := func(a, b leaf) int {
		if a.Revisions.Start != b.Revisions.Start {
			return a.Revisions.Start - b.Revisions.Start
		}
		return strings.Compare(a.Rev, b.Rev)
	}
	slices.SortFunc(leaves, byGeneration)
	want := slices.SortedFunc(slices.Values(e.Leaves), byGeneration)
	if d := cmp.Diff(want, leaves); d != "" {
		t.Errorf("leaves (-want +got):\n%s", d)
	}

	var changes struct {
		Results []struct {
			Deleted bool
			Changes []struct{ Rev string }
		}
	}
	if err := c.Get(t.Context(), "/"+db+"/_changes", &changes); err != nil {
		t.Fatal(err)
	}
	if r := changes.Results; len(r) != 1 || len(r[0].Changes) != 1 || r[0].Changes[0].Rev != e.Winner || r[0].Deleted != e.Deleted {
		t.Errorf("_changes says %+v, want winner %s, deleted %v", r, e.Winner, e.Deleted)
	}

	res, err := c.Do(t.Context(), http.MethodGet, "/"+db+"/t?conflicts=true&deleted_conflicts=true&revs_info=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	if e.Deleted {
		if res.Status != http.StatusNotFound {
			t.Errorf("status %d of a deleted document: %s", res.Status, res.Body)
		}
		return
	}
	var doc struct {
		Rev              string    `json:"_rev"`
		Conflicts        []string  `json:"_conflicts"`
		DeletedConflicts []string  `json:"_deleted_conflicts"`
		RevsInfo         []revInfo `json:"_revs_info"`
	}
	if err := res.Decode(http.StatusOK, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Rev != e.Winner {
		t.Errorf("winner %s, want %s", doc.Rev, e.Winner)
	}
	// Sorted in the vectors: CouchDB gives them in no order of use.
	slices.Sort(doc.Conflicts)
	slices.Sort(doc.DeletedConflicts)
	for what, d := range map[string]string{
		"_conflicts":         cmp.Diff(sortedOrNil(e.Conflicts), doc.Conflicts),
		"_deleted_conflicts": cmp.Diff(sortedOrNil(e.DeletedConflicts), doc.DeletedConflicts),
		"_revs_info":         cmp.Diff(e.RevsInfo, doc.RevsInfo),
	} {
		if d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
}

// sortedOrNil sorts; of nothing it makes the nil that an absent member decodes to.
func sortedOrNil(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	return slices.Sorted(slices.Values(s))
}
