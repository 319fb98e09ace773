package api

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/internal/dbname"
	"github.com/mangrove-db/mangrove/replicator"
	"github.com/mangrove-db/mangrove/storage"
)

// processID stands where CouchDB names an Erlang process.
const processID = "<0.1.0>"

// orNull returns nil for an empty text, which is null in JSON.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// jobEvent is an entry of a job's history.
type jobEvent struct {
	Timestamp string `json:"timestamp"`
	Type      string `json:"type"`
	Reason    string `json:"reason,omitempty"`
}

// jobRow is a row of _scheduler/jobs.
type jobRow struct {
	Database  *string    `json:"database"`
	ID        *string    `json:"id"`
	PID       *string    `json:"pid"`
	Source    string     `json:"source"`
	Target    string     `json:"target"`
	User      *string    `json:"user"`
	DocID     *string    `json:"doc_id"`
	Info      any        `json:"info"`
	History   []jobEvent `json:"history"`
	Node      string     `json:"node"`
	StartTime string     `json:"start_time"`
}

// infoOf is what is told about a replication beside its state: figures, an error, or nothing.
func infoOf(s *replicator.Status) any {
	switch {
	case s.Error != "":
		return map[string]string{"error": s.Error}
	case s.Info != nil:
		return s.Info
	}
	return nil
}

func newJobRow(s *replicator.Status) jobRow {
	row := jobRow{
		Database: orNull(s.Database), ID: orNull(s.ID), Source: s.Source, Target: s.Target, User: orNull(s.User), DocID: orNull(s.DocID),
		Info: infoOf(s), History: make([]jobEvent, len(s.History)), Node: nodeName, StartTime: timestamp(s.Started),
	}
	if !s.Running.IsZero() {
		row.PID = orNull(processID)
	}
	for i, e := range s.History {
		row.History[i] = jobEvent{timestamp(e.Time), e.Type, e.Reason}
	}
	return row
}

// pageParam reads limit or skip.
func (q *request) pageParam(name string, standard int) (int, error) {
	if !q.params().Has(name) {
		return standard, nil
	}
	n, err := strconv.Atoi(q.param(name))
	if err != nil {
		return 0, queryError(name + " must be an integer")
	}
	if n < 0 {
		return 0, queryError(name + " not in range of [0,infinity]")
	}
	return n, nil
}

// page reads limit and skip.
func (q *request) page(standard int) (limit, skip int, err error) {
	if limit, err = q.pageParam("limit", standard); err != nil {
		return 0, 0, err
	}
	skip, err = q.pageParam("skip", 0)
	return limit, skip, err
}

// jobsOfPage is how many jobs are listed if nothing else is asked for.
const jobsOfPage = 100

func getSchedulerJobs(q *request) error {
	limit, skip, err := q.page(jobsOfPage)
	if err != nil {
		return err
	}
	jobs := q.api.replications.Jobs()
	jobs = slices.DeleteFunc(jobs, func(s replicator.Status) bool { return s.ID == "" }) // no jobs yet
	slices.SortFunc(jobs, func(a, b replicator.Status) int { return cmp.Compare(a.ID, b.ID) })
	total := len(jobs)
	skip = min(skip, total)
	jobs = jobs[skip:]
	jobs = jobs[:min(limit, len(jobs))]
	rows := make([]jobRow, len(jobs))
	for i := range jobs {
		rows[i] = newJobRow(&jobs[i])
	}
	return q.reply(http.StatusOK, struct {
		Total  int      `json:"total_rows"`
		Offset int      `json:"offset"`
		Jobs   []jobRow `json:"jobs"`
	}{total, skip, rows})
}

func getSchedulerJob(q *request) error {
	// Ids hold pluses, which clients do not escape.
	s, ok := q.api.replications.Job(strings.ReplaceAll(q.name, " ", "+"))
	if !ok {
		return errMissing
	}
	return q.reply(http.StatusOK, newJobRow(&s))
}

// docRow is a row of _scheduler/docs.
type docRow struct {
	Database    string  `json:"database"`
	DocID       string  `json:"doc_id"`
	ID          *string `json:"id"`
	Node        string  `json:"node"`
	Source      *string `json:"source"`
	Target      *string `json:"target"`
	SourceProxy *string `json:"source_proxy"`
	TargetProxy *string `json:"target_proxy"`
	State       string  `json:"state"`
	Info        any     `json:"info"`
	ErrorCount  int     `json:"error_count"`
	LastUpdated *string `json:"last_updated"`
	StartTime   *string `json:"start_time"`
}

func newDocRow(s *replicator.Status) docRow {
	moment := func(t time.Time) *string {
		if t.IsZero() {
			return nil
		}
		return orNull(timestamp(t))
	}
	return docRow{
		Database: s.Database, DocID: s.DocID, ID: orNull(s.ID), Node: nodeName, Source: orNull(s.Source), Target: orNull(s.Target),
		SourceProxy: orNull(s.SourceProxy), TargetProxy: orNull(s.TargetProxy), State: string(s.State), Info: infoOf(s),
		ErrorCount: s.ErrorCount, LastUpdated: moment(s.Updated), StartTime: moment(s.Started),
	}
}

// states reads which states are wanted; nil for all.
func (q *request) states() ([]replicator.State, error) {
	if !q.params().Has("states") {
		return nil, nil
	}
	var states []replicator.State
	for name := range strings.SplitSeq(q.param("states"), ",") {
		state := replicator.State(strings.ToLower(name))
		if state == "" {
			continue
		}
		if !slices.Contains(replicator.States, state) {
			return nil, queryError(fmt.Sprintf("Unknown states [%s]. Choose from: %v", name, replicator.States))
		}
		states = append(states, state)
	}
	return states, nil
}

// schedulerPath splits what follows _scheduler/docs in the path into the name of a replicator database, whose slashes
// may be escaped or not, and the id of a document, if there is one.
func (q *request) schedulerPath() (database, docID string, err error) {
	path := strings.TrimPrefix(q.URL.EscapedPath(), "/_scheduler/docs/")
	parts := strings.Split(path, "/")
	for i := range parts {
		name, err := url.PathUnescape(strings.Join(parts[:i+1], "/"))
		if err != nil || !dbname.IsReplicator(name) {
			continue
		}
		docID, err := unescape(strings.Join(parts[i+1:], "/"))
		return name, docID, err
	}
	return "", "", errMissing
}

func getSchedulerDocs(q *request) error { return q.listSchedulerDocs(dbname.Replicator) }

// getSchedulerDoc answers for one document, or for all of a database other than _replicator.
func getSchedulerDoc(q *request) error {
	database, docID, err := q.schedulerPath()
	if err != nil {
		return err
	}
	if docID == "" {
		return q.listSchedulerDocs(database)
	}
	_, snap, err := q.api.store.Snapshot(database)
	if err != nil {
		return err
	}
	defer snap.Close()
	row, err := snap.Lookup(docID)
	if err != nil {
		return err
	}
	if row.Deleted || document.IsDesign(docID) {
		return errMissing
	}
	d, err := row.Document()
	if err != nil {
		return err
	}
	s := q.api.replications.Doc(database, docID, d.Body)
	return q.reply(http.StatusOK, newDocRow(&s))
}

// Design documents lie between these ids.
const (
	firstDesign = "_design/"
	afterDesign = "_design0"
)

// listSchedulerDocs lists the documents of a replicator database.
func (q *request) listSchedulerDocs(database string) error {
	limit, skip, err := q.page(math.MaxInt)
	if err != nil {
		return err
	}
	states, err := q.states()
	if err != nil {
		return err
	}
	_, snap, err := q.api.store.Snapshot(database)
	if err != nil {
		return err
	}
	defer snap.Close()
	before, err := snap.Offset(firstDesign)
	if err != nil {
		return err
	}
	after, err := snap.Offset(afterDesign)
	if err != nil {
		return err
	}
	total := int(snap.Docs() - (after - before))

	out := q.newStream()
	fmt.Fprintf(out, `{"total_rows":%d,"offset":%d,"docs":[`, total, min(skip, total))
	first := true
	var b []byte
	for row, err := range snap.Documents(q.Context(), storage.Range{Descending: q.flag("descending")}) {
		if err != nil {
			return err
		}
		if limit == 0 {
			break
		}
		if document.IsDesign(row.ID) {
			continue
		}
		d, err := row.Document()
		if err != nil {
			return err
		}
		s := q.api.replications.Doc(database, row.ID, d.Body)
		if states != nil && !slices.Contains(states, s.State) {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		limit--
		b = b[:0]
		if !first {
			b = append(b, ',')
		}
		first = false
		if b, err = appendValue(append(b, '\n'), newDocRow(&s)); err != nil {
			return err
		}
		_, _ = out.Write(b)
	}
	_, _ = out.WriteString("\n]}\n")
	return q.lost(out.end())
}

// replicationTask is a running replication among _active_tasks.
type replicationTask struct {
	Node               string  `json:"node"`
	PID                string  `json:"pid"`
	Type               string  `json:"type"`
	ReplicationID      string  `json:"replication_id"`
	Database           *string `json:"database"`
	DocID              *string `json:"doc_id"`
	User               *string `json:"user"`
	Source             string  `json:"source"`
	Target             string  `json:"target"`
	Continuous         bool    `json:"continuous"`
	CheckpointInterval int64   `json:"checkpoint_interval"`
	Started            int64   `json:"started_on"`
	Updated            int64   `json:"updated_on"`
	*replicator.Info
}

// replicationTasks are the replications that run, oldest first.
func (a *API) replicationTasks() []any {
	jobs := a.replications.Jobs()
	slices.SortFunc(jobs, func(x, y replicator.Status) int { return cmp.Or(x.Running.Compare(y.Running), cmp.Compare(x.ID, y.ID)) })
	now := time.Now().Unix()
	var tasks []any
	for _, s := range jobs {
		if s.State != replicator.StateRunning {
			continue
		}
		tasks = append(tasks, replicationTask{
			Node: nodeName, PID: processID, Type: "replication", ReplicationID: s.ID, Database: orNull(s.Database), DocID: orNull(s.DocID),
			User: orNull(s.User), Source: s.Source, Target: s.Target, Continuous: s.Continuous,
			CheckpointInterval: s.CheckpointInterval.Milliseconds(), Started: s.Running.Unix(), Updated: now, Info: s.Info,
		})
	}
	return tasks
}
