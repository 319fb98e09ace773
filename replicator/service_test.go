package replicator

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// office is a Service over a pair of databases and a replicator database.
type office struct {
	*pair
	settings Settings
	service  *Service
	docs     *storage.DB
	stop     func()
}

func newOffice(t testing.TB) *office {
	t.Helper()
	o := &office{pair: newPair(t)}
	o.docs = o.database("_replicator")
	o.start()
	t.Cleanup(func() { o.stop() })
	return o
}

func (o *office) database(name string) *storage.DB {
	o.Helper()
	db, err := o.store.CreateDB(o.Context(), name, storage.DBOptions{})
	if err != nil {
		o.Fatal(err)
	}
	return db
}

// start begins to serve, as after a start of the node.
func (o *office) start() {
	ctx, cancel := context.WithCancel(context.Background())
	o.service = NewService(ServiceOptions{Store: o.store, Settings: func() Settings { return o.settings }})
	served := make(chan struct{})
	go func() { o.service.Serve(ctx); close(served) }()
	o.stop = func() { cancel(); <-served }
}

// put writes a document, whatever there was before.
func (o *office) put(db *storage.DB, id, body string) {
	o.Helper()
	rev, _ := o.get(db, id)
	canonical, err := document.Canonical([]byte(body))
	if err != nil {
		o.Fatal(err)
	}
	d := &document.Document{ID: id, Rev: rev, Body: canonical, Deleted: body == "{}"}
	results, err := db.Apply(o.Context(), storage.Write{Docs: []*document.Document{d}})
	if err != nil || results[0].Err != nil {
		o.Fatal(err, results)
	}
}

// get reads a document; its revision is zero if there is none.
func (o *office) get(db *storage.DB, id string) (rev revtree.ID, body string) {
	o.Helper()
	snap, err := db.Snapshot()
	if err != nil {
		o.Fatal(err)
	}
	defer snap.Close()
	row, err := snap.Lookup(id)
	if errors.Is(err, storage.ErrNotFound) || err == nil && row.Deleted {
		return rev, ""
	}
	if err != nil {
		o.Fatal(err)
	}
	d, err := row.Document()
	if err != nil {
		o.Fatal(err)
	}
	return row.Rev, string(d.Body)
}

// until waits for changes of a database until a condition holds.
func (o *office) until(db *storage.DB, what string, holds func() bool) {
	o.Helper()
	ctx, cancel := context.WithTimeout(o.Context(), 20*time.Second)
	defer cancel()
	for {
		snap, err := db.Snapshot()
		if err != nil {
			o.Fatal(err)
		}
		at := snap.Seq()
		snap.Close()
		if holds() {
			return
		}
		if err := db.Wait(ctx, at); err != nil {
			o.Fatalf("waiting for %s: %v", what, err)
		}
	}
}

// told waits until a document tells a state, and returns what it tells.
func (o *office) told(db *storage.DB, id, state string) (s docState) {
	o.Helper()
	o.until(db, id+" to be "+state, func() bool {
		_, body := o.get(db, id)
		s = stateOf([]byte(body))
		return s.State == state
	})
	return s
}

func (o *office) arrives(id string) {
	o.Helper()
	o.until(o.b, id+" to arrive", func() bool {
		_, body := o.get(o.b, id)
		return body != ""
	})
}

func TestDocumentCompletes(t *testing.T) {
	o := newOffice(t)
	o.fill(3)
	o.put(o.docs, "r", `{"source":"a","target":"b","keep":{"z":1,"a":2}}`)
	s := o.told(o.docs, "r", "completed")
	o.same()
	if s.Stats == nil || s.Stats.DocsWritten != 3 || s.Stats.CheckpointedSourceSeq == "" || s.Stats.StartTime == "" || len(s.ID) != 32 || s.Reason != "" {
		t.Errorf("%+v %+v", s, s.Stats)
	}
	if _, err := time.Parse(time.RFC3339, s.Time); err != nil {
		t.Error(err)
	}
	_, body := o.get(o.docs, "r")
	if want := `{"source":"a","target":"b","keep":{"z":1,"a":2},"_replication_state":"completed"`; !strings.HasPrefix(body, want) {
		t.Error(body)
	}
	st := o.service.Doc("_replicator", "r", []byte(body))
	if st.State != StateCompleted || st.ID != "" || st.Info == nil || st.Info.DocsWritten != 3 || st.Source != "a" || st.ErrorCount != 0 || st.Started.IsZero() {
		t.Errorf("%+v", st)
	}

	// It begins anew when somebody takes the state away.
	o.put(o.a, "more", `{"n":1}`)
	o.put(o.docs, "r", `{"source":"a","target":"b"}`)
	o.told(o.docs, "r", "completed")
	o.same()
}

func TestDocumentFails(t *testing.T) {
	o := newOffice(t)
	o.put(o.docs, "r", `{"source":"a","target":"b","worker_processes":"few"}`)
	s := o.told(o.docs, "r", "failed")
	if !strings.Contains(s.Reason, "worker_processes") || s.Stats != nil {
		t.Errorf("%+v", s)
	}
	_, body := o.get(o.docs, "r")
	if st := o.service.Doc("_replicator", "r", []byte(body)); st.State != StateFailed || st.Error != s.Reason || st.ErrorCount != 1 {
		t.Errorf("%+v", st)
	}
	o.put(o.docs, "r", `{"source":"a","target":"b"}`)
	o.told(o.docs, "r", "completed")
}

func TestDocumentDuplicates(t *testing.T) {
	o := newOffice(t)
	o.put(o.a, "one", `{"n":1}`)
	o.put(o.docs, "r", `{"source":"a","target":"b","continuous":true}`)
	o.arrives("one")
	o.put(o.docs, "s", `{"source":"a","target":"b","continuous":true,"worker_processes":2}`)
	if s := o.told(o.docs, "s", "failed"); !strings.Contains(s.Reason, "specified by document `s` already started, triggered by document `r` from db `_replicator`") {
		t.Error(s.Reason)
	}
}

func TestDocumentContinuous(t *testing.T) {
	o := newOffice(t)
	o.put(o.a, "one", `{"n":1}`)
	o.put(o.docs, "r", `{"source":"a","target":"b","continuous":true,"user_ctx":{"name":"joe"}}`)
	o.arrives("one")
	o.put(o.a, "two", `{"n":2}`)
	o.arrives("two")
	_, body := o.get(o.docs, "r")
	st := o.service.Doc("_replicator", "r", []byte(body))
	if st.State != StateRunning || !strings.HasSuffix(st.ID, "+continuous") || st.User != "joe" || st.Running.IsZero() || st.CheckpointInterval != 30*time.Second || len(st.History) != 2 {
		t.Errorf("%+v", st)
	}
	if _, ok := o.service.Job(st.ID); !ok || len(o.service.Jobs()) != 1 {
		t.Error("the job is not listed")
	}

	// A restart goes on from the checkpoint.
	o.stop()
	o.put(o.a, "three", `{"n":3}`)
	o.start()
	o.arrives("three")
	jobs := o.service.Jobs()
	if len(jobs) != 1 || jobs[0].Info == nil || jobs[0].Info.RevisionsChecked > 2 { // the stop may have come before the second was counted
		t.Errorf("%+v", jobs)
	}

	// Another document in its place: what is under way ends.
	o.put(o.docs, "r", `{"source":"a","target":"b","continuous":true,"doc_ids":["four"]}`)
	o.put(o.a, "four", `{"n":4}`)
	o.arrives("four")

	o.put(o.docs, "r", `{}`)
	o.put(o.docs, "marker", `{"source":"a","target":"b"}`)
	o.told(o.docs, "marker", "completed")
	if st, ok := o.service.scheduler.Doc("_replicator", "r"); ok {
		t.Errorf("the job outlives its document: %+v", st)
	}
}

func TestReplicatorDatabasesComeAndGo(t *testing.T) {
	o := newOffice(t)
	o.fill(1)
	for range 3 {
		more := o.database("folder/_replicator")
		o.put(more, "r", `{"source":"a","target":"b"}`)
		o.told(more, "r", "completed")
		o.put(more, "c", `{"source":"a","target":"b","continuous":true,"since_seq":0}`)
		o.until(o.docs, "the job", func() bool {
			o.put(o.docs, "clock", `{"source":"a","target":"b"}`) // a change to wait for
			o.told(o.docs, "clock", "completed")
			_, ok := o.service.scheduler.Doc("folder/_replicator", "c")
			return ok
		})
		if err := o.store.DeleteDB(t.Context(), "folder/_replicator"); err != nil {
			t.Fatal(err)
		}
		o.until(o.docs, "the end of the job", func() bool {
			o.put(o.docs, "clock", `{"source":"a","target":"b"}`)
			o.told(o.docs, "clock", "completed")
			_, ok := o.service.scheduler.Doc("folder/_replicator", "c")
			return !ok
		})
	}
}

func TestUpdateDocs(t *testing.T) {
	o := newOffice(t)
	o.stop()
	o.settings.UpdateDocs = true
	o.start()
	o.put(o.docs, "r", `{"source":"missing","target":"b"}`)
	if s := o.told(o.docs, "r", "error"); !strings.Contains(s.Reason, "could not open the database `missing`") {
		t.Error(s.Reason)
	}
	o.put(o.docs, "s", `{"source":"a","target":"b","continuous":true}`)
	if s := o.told(o.docs, "s", "triggered"); !strings.HasSuffix(s.ID, "+continuous") {
		t.Errorf("%+v", s)
	}
}

func TestLateReportLeavesNewDocumentAlone(t *testing.T) {
	o := newOffice(t)
	o.stop()
	o.put(o.docs, "r", `{"source":"a","target":"b","continuous":true}`)
	o.service.engine.Report(Report{Job: Job{Spec: oneShot(t, "a"), Database: "_replicator", DocID: "r"}, State: StateFailed, Err: errBroken})
	o.service.engine.Report(Report{Job: Job{Database: "_replicator", DocID: "r"}, State: StateFailed, Err: errBroken})
	o.service.engine.Report(Report{Job: Job{Database: "_replicator", DocID: "gone"}, State: StateFailed, Err: errBroken})
	o.service.engine.Report(Report{Job: Job{Database: "x/_replicator", DocID: "r"}, State: StateFailed, Err: errBroken})
	if _, body := o.get(o.docs, "r"); strings.Contains(body, "failed") {
		t.Error(body)
	}
}

func TestRequests(t *testing.T) {
	o := newOffice(t)
	o.fill(2)
	replicate := func(text string) (Outcome, error) {
		t.Helper()
		ticket, err := o.service.Start(t.Context(), mustSpec(t, text), auth.Principal{Name: "joe"})
		if err != nil {
			return Outcome{}, err
		}
		return ticket.Wait(t.Context())
	}
	out, err := replicate(`{"source":"a","target":"b"}`)
	if err != nil || out.NoChanges || len(out.Log.History) != 1 || out.Log.History[0].Written != 2 {
		t.Errorf("%+v %v", out, err)
	}
	if out, err = replicate(`{"source":"a","target":"b"}`); err != nil || !out.NoChanges {
		t.Errorf("%+v %v", out, err)
	}
	if _, err = replicate(`{"source":"none","target":"b"}`); !errors.Is(err, ErrNoDatabase) {
		t.Error(err)
	}
	if out, err = replicate(`{"source":"a","target":"new","create_target":true}`); err != nil || out.Stats.Written != 2 {
		t.Errorf("%+v %v", out, err)
	}
	var fetch *FilterFetchError
	if _, err = replicate(`{"source":"a","target":"b","filter":"d/f"}`); !errors.As(err, &fetch) {
		t.Error(err)
	}
	o.put(o.a, "_design/d", `{"filters":{"f":"function(doc) { return true; }"}}`)
	var unsupported *FilterError
	if _, err = replicate(`{"source":"a","target":"b","filter":"d/f"}`); !errors.As(err, &unsupported) {
		t.Error(err)
	}
	if _, err = replicate(`{"source":"a","target":"b","filter":"d/g"}`); !errors.As(err, &fetch) {
		t.Error(err)
	}

	text := `{"source":"a","target":"b","continuous":true}`
	ticket, err := o.service.Start(t.Context(), mustSpec(t, text), auth.Principal{Name: "joe"})
	if err != nil {
		t.Fatal(err)
	}
	if st, ok := o.service.Job(ticket.ID); !ok || st.User != "joe" || st.Database != "" {
		t.Errorf("%+v", st)
	}
	cancel := strings.Replace(text, "{", `{"cancel":true,`, 1)
	if id, found, err := o.service.Cancel(t.Context(), mustSpec(t, cancel), auth.Principal{Name: "ann"}); found || err != nil {
		t.Error("the job of another was ended", id, err)
	}
	if id, found, err := o.service.Cancel(t.Context(), mustSpec(t, cancel), auth.Principal{Name: "joe"}); id != ticket.ID || !found || err != nil {
		t.Error(id, found, err)
	}
	if _, found, err := o.service.Cancel(t.Context(), mustSpec(t, `{"cancel":true,"id":"`+ticket.ID+`"}`), auth.Principal{Roles: []string{auth.AdminRole}}); found || err != nil {
		t.Error(found, err)
	}
}

// TestUsersShareNoJobs: who asks for what another has asked for has a job, and a checkpoint, of their own; what a request
// says of a user does not count.
func TestUsersShareNoJobs(t *testing.T) {
	o := newOffice(t)
	const text = `{"source":"a","target":"b","continuous":true,"user_ctx":{"name":"ann","roles":["_admin"]}}`
	seen := map[string]string{}
	for _, user := range []auth.Principal{{Name: "joe"}, {Name: "joe", Roles: []string{"r"}}, {Name: "ann"}, {Name: "root", Roles: []string{auth.AdminRole}}} {
		ticket, err := o.service.Start(t.Context(), mustSpec(t, text), user)
		if err != nil {
			t.Fatal(err)
		}
		st, ok := o.service.Job(ticket.ID)
		if who := seen[ticket.ID]; who != "" || !ok || st.User != user.Name {
			t.Errorf("%+v has the job of %q: %+v", user, who, st)
		}
		seen[ticket.ID] = user.Name
	}
	if id := mustSpec(t, `{"source":"a","target":"b","continuous":true}`).JobID(o.store.UUID()); seen[id] != "root" {
		t.Error("an administrator's request and document have different jobs")
	}
}

func TestResolveReadsFilterText(t *testing.T) {
	o := newOffice(t)
	o.put(o.a, "_design/d", `{"filters":{"f":"one"},"views":{"v":{"map":"two"}}}`)
	for text, want := range map[string]string{
		`{"source":"a","target":"b","filter":"d/f"}`:                                 `"one"`,
		`{"source":"a","target":"b","filter":"_view","query_params":{"view":"d/v"}}`: `{"map":"two"}`,
		`{"source":"a","target":"b","filter":"_design"}`:                             "",
	} {
		s, err := o.service.engine.Resolve(t.Context(), mustSpec(t, text), design.Subject{})
		if err != nil || s.FilterText != want {
			t.Errorf("%s: %+v %v", text, s, err)
		}
	}
}

func TestInfoNames(t *testing.T) {
	text, err := json.Marshal(infoOf(&Progress{}))
	want := `{"revisions_checked":0,"missing_revisions_found":0,"docs_read":0,"docs_written":0,"changes_pending":0,"doc_write_failures":0,` +
		`"bulk_get_docs":0,"bulk_get_attempts":0,"checkpointed_source_seq":0,"source_seq":0,"through_seq":0}`
	if err != nil || string(text) != want {
		t.Errorf("%s %v", text, err)
	}
}
