package api

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// eventually repeats a check until it holds.
func (n *node) eventually(what string, holds func() bool) {
	n.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			n.Fatal("it does not come about: " + what)
		}
		time.Sleep(5 * time.Millisecond) // between requests
	}
}

// withDatabases makes databases and a document in the first.
func (n *node) withDatabases(names ...string) {
	n.Helper()
	for _, name := range names {
		n.must("PUT", "/"+url.PathEscape(name), nil)
	}
	n.must("PUT", "/"+names[0]+"/doc", `{"n":1}`)
}

func TestReplicateRefuses(t *testing.T) {
	n := newNode(t)
	n.withDatabases("a", "b")
	bad := func(reason, body string) {
		t.Helper()
		n.refused(http.StatusBadRequest, "bad_request", reason, "POST", "/_replicate", body)
	}
	bad("Request body must be a JSON object", `[]`)
	bad("Missing replicator database", `{}`)
	bad("parameter `continuous` must be a boolean", `{"source":"a","target":"b","continuous":1}`)
	bad("x value must be a string.", `{"source":"a","target":"b","query_params":{"x":1}}`)
	bad("endpoint has an invalid url", `{"source":"http://joe:secret@/","target":"b"}`)
	n.refused(http.StatusInternalServerError, "db_not_found", "could not open the database `none`", "POST", "/_replicate", `{"source":"none","target":"b"}`)
	n.refused(http.StatusInternalServerError, "filter_fetch_error", "Couldn't open document `_design/d` from source database `a`: not_found",
		"POST", "/_replicate", `{"source":"a","target":"b","filter":"d/f"}`)
	n.refused(http.StatusNotFound, "not_found", "missing", "POST", "/_replicate", `{"cancel":true,"id":"x"}`)
	n.refused(http.StatusUnauthorized, "unauthorized", "You are not an authenticated user", "POST", "/_replicate", `{}`, "Authorization: x")
}

func TestReplicateShowsNoPassword(t *testing.T) {
	n := newNode(t)
	n.withDatabases("a", "b", "_replicator")
	withPassword := strings.Replace(n.url, "://", "://somebody:pass-word@", 1)
	a := n.do("POST", "/_replicate", `{"source":"`+withPassword+`/a","target":"b"}`)
	if a.StatusCode != http.StatusInternalServerError || strings.Contains(string(a.body), "pass-word") || !strings.Contains(string(a.body), `"unauthorized"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	n.must("PUT", "/_replicator/r", `{"source":"`+withPassword+`/a","target":"b"}`)
	n.eventually("the crash", func() bool {
		a := n.must("GET", "/_scheduler/docs/_replicator/r", nil)
		return strings.Contains(string(a.body), `"crashing"`)
	})
	for _, path := range []string{"/_scheduler/docs", "/_scheduler/jobs", "/_active_tasks"} {
		if a := n.must("GET", path, nil); strings.Contains(string(a.body), "pass-word") {
			t.Errorf("%s: %s", path, a.body)
		}
	}
}

type docsPage struct {
	Total  int `json:"total_rows"`
	Offset int `json:"offset"`
	Docs   []struct {
		Database string `json:"database"`
		DocID    string `json:"doc_id"`
		State    string `json:"state"`
		Info     map[string]any
	} `json:"docs"`
}

func TestSchedulerDocs(t *testing.T) {
	n := newNode(t)
	n.withDatabases("a", "b", "_replicator", "folder/_replicator")
	n.must("PUT", "/_replicator/_design/x", `{}`)
	for _, id := range []string{"r1", "r2", "r3"} {
		n.must("PUT", "/_replicator/"+id, `{"source":"a","target":"b","doc_ids":["`+id+`"]}`)
	}
	n.must("PUT", "/_replicator/bad", `{"source":"a","target":"b","worker_processes":0}`)
	n.must("PUT", "/folder%2F_replicator/in%20it", `{"source":"a","target":"b"}`)
	list := func(path string) (p docsPage) {
		t.Helper()
		n.must("GET", path, nil).json(t, &p)
		return p
	}
	n.eventually("three to complete", func() bool { return len(list("/_scheduler/docs?states=completed").Docs) == 3 })
	n.eventually("one to fail", func() bool { return len(list("/_scheduler/docs?states=failed,crashing").Docs) == 1 })
	if p := list("/_scheduler/docs?states=FAILED"); p.Docs[0].DocID != "bad" || p.Docs[0].Info["error"] == nil {
		t.Errorf("%+v", p)
	}
	if p := list("/_scheduler/docs?skip=1&limit=2"); p.Total != 4 || p.Offset != 1 || len(p.Docs) != 2 || p.Docs[0].DocID != "r1" {
		t.Errorf("%+v", p)
	}
	if p := list("/_scheduler/docs?limit=0"); p.Total != 4 || len(p.Docs) != 0 {
		t.Errorf("%+v", p)
	}
	for _, path := range []string{"/_scheduler/docs/folder/_replicator", "/_scheduler/docs/folder%2F_replicator"} {
		if p := list(path); p.Total != 1 || p.Docs[0].Database != "folder/_replicator" {
			t.Errorf("%s: %+v", path, p)
		}
		for _, id := range []string{"/in%20it", "/in+it"} {
			if a := n.must("GET", path+id, nil); !strings.Contains(string(a.body), `"doc_id":"in it"`) {
				t.Errorf("%s", a.body)
			}
		}
	}
	n.refused(http.StatusNotFound, "not_found", "missing", "GET", "/_scheduler/docs/a", nil)
	n.refused(http.StatusNotFound, "not_found", "missing", "GET", "/_scheduler/docs/_replicator/_design/x", nil)
	n.refused(http.StatusNotFound, "not_found", "Database does not exist.", "GET", "/_scheduler/docs/other/_replicator", nil)
	n.refused(http.StatusBadRequest, "query_parse_error", "limit must be an integer", "GET", "/_scheduler/docs?limit=x", nil)
	n.refused(http.StatusBadRequest, "query_parse_error", "skip not in range of [0,infinity]", "GET", "/_scheduler/jobs?skip=-1", nil)
	n.refused(http.StatusBadRequest, "query_parse_error",
		"Unknown states [x]. Choose from: [initializing error pending running crashing completed failed]", "GET", "/_scheduler/docs?states=x", nil)
}

func TestSchedulerJobsAndTasks(t *testing.T) {
	n := newNode(t)
	n.withDatabases("a", "b")
	var started localID
	n.must("POST", "/_replicate", `{"source":"a","target":"b","continuous":true,"create_target":true}`).json(t, &started)
	if !strings.HasSuffix(started.ID, "+continuous+create_target") {
		t.Error(started.ID)
	}
	n.eventually("the copy", func() bool { return n.do("GET", "/b/doc", nil).StatusCode == http.StatusOK })
	for _, id := range []string{started.ID, strings.ReplaceAll(started.ID, "+", "%2B")} {
		var row jobRow
		n.must("GET", "/_scheduler/jobs/"+id, nil).json(t, &row)
		if *row.ID != started.ID || *row.User != adminName || row.Database != nil || row.DocID != nil || row.PID == nil || len(row.History) != 2 {
			t.Errorf("%+v", row)
		}
	}
	var jobs struct {
		Total int `json:"total_rows"`
		Jobs  []jobRow
	}
	n.must("GET", "/_scheduler/jobs?skip=5", nil).json(t, &jobs)
	if jobs.Total != 1 || len(jobs.Jobs) != 0 {
		t.Errorf("%+v", jobs)
	}
	var tasks []map[string]any
	n.eventually("the count", func() bool {
		tasks = nil
		n.must("GET", "/_active_tasks", nil).json(t, &tasks)
		return len(tasks) == 1 && tasks[0]["docs_written"] == 1.0
	})
	for name, want := range map[string]any{
		"type": "replication", "replication_id": started.ID, "source": "a", "target": "b", "continuous": true, "docs_written": 1.0,
		"docs_read": 1.0, "doc_write_failures": 0.0, "revisions_checked": 1.0, "missing_revisions_found": 1.0, "checkpoint_interval": 30000.0,
		"user": adminName, "doc_id": nil, "database": nil,
	} {
		if got, ok := tasks[0][name]; !ok || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{"node", "pid", "started_on", "updated_on", "source_seq", "through_seq", "checkpointed_source_seq", "changes_pending", "bulk_get_docs", "bulk_get_attempts"} {
		if _, ok := tasks[0][name]; !ok {
			t.Errorf("no %s", name)
		}
	}
	n.must("POST", "/_replicate", `{"cancel":true,"id":"`+started.ID+`"}`)
	n.refused(http.StatusNotFound, "not_found", "missing", "GET", "/_scheduler/jobs/"+started.ID, nil)
}

func TestReplicatorDocumentsAreGuarded(t *testing.T) {
	n := newNode(t)
	n.withDatabases("a", "b", "_replicator")
	const reason = "The `target' property must exist and be either a string or an object."
	n.refused(http.StatusForbidden, "forbidden", reason, "PUT", "/_replicator/x", `{"source":"a"}`)
	n.refused(http.StatusForbidden, "forbidden", reason, "PUT", "/_replicator/x?batch=ok", `{"source":"a"}`)
	n.refused(http.StatusForbidden, "forbidden", reason, "POST", "/_replicator", `{"source":"a"}`)
	n.refused(http.StatusForbidden, "forbidden", reason, "PUT", "/_replicator/x?new_edits=false", `{"_rev":"1-a","source":"a"}`)
	n.must("PUT", "/_replicator/_local/x", `{}`)

	var rows []map[string]any
	n.must("POST", "/_replicator/_bulk_docs", `{"docs":[{"_id":"x","source":"a"},{"_id":"y","source":"a","target":"b"},{"_id":"_local/z"}]}`).json(t, &rows)
	if len(rows) != 3 || rows[0]["error"] != "forbidden" || rows[0]["reason"] != reason || rows[1]["ok"] != true || rows[2]["ok"] != true {
		t.Errorf("%v", rows)
	}
	n.must("POST", "/_replicator/_bulk_docs", `{"new_edits":false,"docs":[{"_id":"x","_rev":"1-a","source":"a"},{"_id":"z","_rev":"1-a","source":"a","target":"b"}]}`).json(t, &rows)
	if len(rows) != 1 || rows[0]["id"] != "x" || rows[0]["error"] != "forbidden" {
		t.Errorf("%v", rows)
	}
	var doc map[string]any
	n.must("GET", "/_replicator/y", nil).json(t, &doc)
	if doc["owner"] != adminName {
		t.Errorf("%v", doc)
	}
	var copied map[string]any
	n.must("GET", "/_replicator/z?rev=1-a", nil).json(t, &copied)
	if _, owned := copied["owner"]; owned {
		t.Errorf("a replicated revision was changed: %v", copied)
	}
}
