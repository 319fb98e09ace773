package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// changesAnswer is the answer of a normal feed.
type changesAnswer struct {
	Results []changeRow `json:"results"`
	LastSeq string      `json:"last_seq"`
	Pending int         `json:"pending"`
}

type changeRow struct {
	Seq     *string         `json:"seq"`
	ID      string          `json:"id"`
	Deleted bool            `json:"deleted"`
	Doc     json.RawMessage `json:"doc"`
	Changes []struct {
		Rev string `json:"rev"`
	} `json:"changes"`
	LastSeq string `json:"last_seq"`
}

// ids returns the ids of the rows, joined by blanks.
func (a *changesAnswer) ids() string {
	var ids []string
	for _, row := range a.Results {
		ids = append(ids, row.ID)
	}
	return strings.Join(ids, " ")
}

func (n *node) changes(query string, body any) *changesAnswer {
	n.Helper()
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	var c changesAnswer
	n.must(method, "/db/_changes"+query, body).json(n.TB, &c)
	return &c
}

// newChanges starts a node with a database "db" of documents with these ids.
func newChanges(t *testing.T, ids ...string) *node {
	t.Helper()
	n := newNode(t)
	n.must(http.MethodPut, "/db", nil)
	for i, id := range ids {
		n.must(http.MethodPut, "/db/"+id, map[string]any{"n": i, "t": map[string]any{"a": i, "b": []int{i, i + 1}}})
	}
	return n
}

func TestChangesSince(t *testing.T) {
	n := newChanges(t, "a", "b", "c")
	all := n.changes("", nil)
	if all.ids() != "a b c" || all.Pending != 0 {
		t.Fatalf("%+v", all)
	}
	b := *all.Results[1].Seq
	number, opaque, _ := strings.Cut(b, "-")
	for _, since := range []string{
		b, number, `"` + b + `"`, fmt.Sprintf("[%s,%q]", number, opaque),
	} {
		if got := n.changes("?since="+escape(since), nil).ids(); got != "c" {
			t.Errorf("since=%s: %s", since, got)
		}
	}
	for since, want := range map[string]string{
		"": "a b c", "0": "a b c", "now": "", "99": "",
		number + "-" + strings.Repeat("0", len(opaque)): "a b c", // of a database that was here before
	} {
		if got := n.changes("?since="+since, nil).ids(); got != want {
			t.Errorf("since=%s: %s", since, got)
		}
	}
	if got := n.changes("?Since=0&Last-Event-ID="+b, nil).ids(); got != "c" {
		t.Errorf("last-event-id as a parameter: %s", got)
	}
	for _, since := range []string{"x", "-1", "[1]", `{"a":1}`, "1.5"} {
		n.refused(http.StatusBadRequest, "bad_request", errSince.Reason, http.MethodGet, "/db/_changes?since="+escape(since), nil)
	}
}

func TestChangesLimit(t *testing.T) {
	n := newChanges(t, "a", "b", "c")
	seqs := n.changes("", nil).Results
	tests := []struct {
		query   string
		ids     string
		last    string
		pending int
	}{
		{"?limit=0", "", "0-", 3},
		{"?limit=0&since=1", "", "1-", 2},
		{"?limit=0&feed=longpoll&since=2", "", "2-", 1},
		{"?limit=2", "a b", *seqs[1].Seq, 1},
		{"?limit=3", "a b c", *seqs[2].Seq, 0},
		{"?limit=99999999999999999999", "a b c", *seqs[2].Seq, 0},
		{"?limit=-1", "a b c", *seqs[2].Seq, 0},
		{"?descending=true", "c b a", *seqs[0].Seq, 0},
		{"?descending=true&since=2", "c b a", *seqs[0].Seq, 0},
		{"?descending=true&limit=1", "c", *seqs[2].Seq, 2},
		{"?descending=true&limit=0", "", *seqs[2].Seq, 3},
		{"?descending=true&limit=2&feed=longpoll", "c b", *seqs[2].Seq, 1},
		{"?filter=_design", "", *seqs[2].Seq, 0},
		{"?filter=_doc_ids&doc_ids=[%22b%22]&limit=1", "b", *seqs[1].Seq, 1},
		{"?filter=_doc_ids&doc_ids=[%22b%22]", "b", *seqs[2].Seq, 0},
	}
	for _, test := range tests {
		got := n.changes(test.query, nil)
		if got.ids() != test.ids || !strings.HasPrefix(got.LastSeq, test.last) || got.Pending != test.pending {
			t.Errorf("%s: %q until %s, %d pending; want %q until %s, %d pending", test.query, got.ids(), got.LastSeq, got.Pending, test.ids, test.last, test.pending)
		}
	}
}

func TestChangesSeqInterval(t *testing.T) {
	n := newChanges(t, "a", "b", "c", "d", "e")
	var known []string
	for _, row := range n.changes("?seq_interval=2", nil).Results {
		if row.Seq != nil {
			known = append(known, row.ID)
		}
	}
	if !slices.Equal(known, []string{"b", "d"}) {
		t.Errorf("sequences of %v", known)
	}
	// An event without a sequence has no id, so that a client that connects again starts where it can.
	text := string(n.must(http.MethodGet, "/db/_changes?feed=eventsource&seq_interval=2&limit=3", nil).body)
	if strings.Count(text, "\nid: \"") != 1 || strings.Count(text, "data: {") != 3 || strings.Contains(text, "id: null") {
		t.Errorf("events\n%s", text)
	}
}

func TestChangesFields(t *testing.T) {
	n := newChanges(t, "a", "b")
	tests := []struct{ fields, want string }{
		{`["_id","t.b"]`, `{"_id":"b","t":{"b":[1,2]}}`},
		{`["n","t.a","nosuch","t.b.1","t.b.x","n.m"]`, `{"n":1,"t":{"a":1,"b":{"1":2}}}`},
		{`["t","t.a","n"]`, `{"t":{"a":1,"b":[1,2]},"n":1}`},
		{`["t\\.a"]`, `{}`},
	}
	for _, test := range tests {
		got := n.changes("?filter=_selector&include_docs=true", `{"selector":{"n":1},"fields":`+test.fields+`}`)
		if got.ids() != "b" || string(got.Results[0].Doc) != test.want {
			t.Errorf("fields %s: %+v", test.fields, got)
		}
	}
	all := n.changes("?filter=_selector&include_docs=true", `{"selector":{"n":1},"fields":[]}`)
	if !strings.Contains(string(all.Results[0].Doc), `"_rev":"1-`) {
		t.Errorf("no fields: %s", all.Results[0].Doc)
	}
	for fields, reason := range map[string]string{
		`{}`:                                     errSelectorNoFields.Reason,
		`[1]`:                                    "Invalid JSON for field spec: 1",
		`["a..b"]`:                               "Invalid field name: a..b",
		`[""]`:                                   "Invalid field name: ",
		`["a` + strings.Repeat(".a", 256) + `"]`: "Invalid field name: a" + strings.Repeat(".a", 256),
		`[1` + strings.Repeat(",1", 1000) + `]`:  "No more than 1000 fields can be asked for.",
	} {
		n.refused(http.StatusBadRequest, "bad_request", reason, http.MethodPost, "/db/_changes?filter=_selector", `{"selector":{},"fields":`+fields+`}`)
	}
}

func TestChangesRefused(t *testing.T) {
	n := newChanges(t)
	const get, post = http.MethodGet, http.MethodPost
	tests := []struct {
		method, query string
		body          any
		reason        string
	}{
		{get, "?feed=x", nil, errFeedKind.Reason},
		{get, "?style=x", nil, errStyle.Reason},
		{get, "?limit=x", nil, errLimit.Reason},
		{get, "?timeout=x", nil, errTimeout.Reason},
		{get, "?heartbeat=x", nil, errHeartbeat.Reason},
		{get, "?heartbeat=-5", nil, errHeartbeatRange.Reason},
		{get, "?seq_interval=0", nil, errSeqInterval.Reason},
		{get, "?filter=_doc_ids&doc_ids=[1]", nil, errDocIDs.Reason},
		{get, "?filter=_doc_ids&doc_ids=[null]", nil, errDocIDs.Reason},
		{post, "?filter=_doc_ids", `{"doc_ids":null}`, errDocIDs.Reason},
		{post, "?filter=_doc_ids", "", errDocIDs.Reason},
		{post, "", `"x"`, errChangesBody.Reason},
		{post, "", `{`, "invalid UTF-8 JSON"},
	}
	for _, test := range tests {
		n.refused(http.StatusBadRequest, "bad_request", test.reason, test.method, "/db/_changes"+test.query, test.body)
	}
	n.refused(http.StatusNotFound, "not_found", "Database does not exist.", get, "/nosuch/_changes?feed=continuous", nil)
	n.must(http.MethodPut, "/db/_design/d", `{"filters":{"f":"function() {}"}}`)
	n.refused(http.StatusNotFound, "not_found", "missing json key: g", get, "/db/_changes?filter=d/g", nil)
}

// HEAD does not wait for a feed that would.
func TestChangesHead(t *testing.T) {
	n := newChanges(t, "a")
	for kind, want := range map[string]string{"normal": "application/json", "continuous": "application/json", "longpoll": "application/json", "eventsource": "text/event-stream"} {
		a := n.must(http.MethodHead, "/db/_changes?since=now&heartbeat=true&feed="+kind, nil)
		if got := a.Header.Get("Content-Type"); got != want || kind == "normal" && a.Header.Get("ETag") == "" {
			t.Errorf("%s: %v", kind, a.Header)
		}
	}
}

// reader reads a feed line by line.
type reader struct {
	testing.TB
	*bufio.Scanner
	io.Closer
}

func (n *node) listen(ctx context.Context, path string) *reader {
	n.Helper()
	response, err := n.client.Do(n.request(http.MethodGet, path, nil).WithContext(ctx))
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		n.Fatalf("%s: %s", path, response.Status)
	}
	return &reader{n.TB, bufio.NewScanner(response.Body), response.Body}
}

// next returns the next row, passing over heartbeats.
func (r *reader) next() changeRow {
	r.Helper()
	for r.Scan() {
		if len(r.Bytes()) == 0 {
			continue
		}
		var row changeRow
		if err := json.Unmarshal(r.Bytes(), &row); err != nil {
			r.Fatalf("%v in %s", err, r.Bytes())
		}
		return row
	}
	r.Fatalf("the feed ended: %v", r.Err())
	return changeRow{}
}

func TestContinuousChanges(t *testing.T) {
	n := newChanges(t, "a")
	feed := n.listen(t.Context(), "/db/_changes?feed=continuous&heartbeat=60000&include_docs=true")
	if row := feed.next(); row.ID != "a" {
		t.Fatalf("%+v", row)
	}
	rev := ""
	var parent []string
	for i := range 20 {
		a := n.must(http.MethodPut, "/db/b", map[string]any{"i": i}, parent...)
		rev = strings.Trim(a.Header.Get("ETag"), `"`)
		row := feed.next()
		if row.ID != "b" || row.Changes[0].Rev != rev || !strings.Contains(string(row.Doc), fmt.Sprintf(`"i":%d`, i)) {
			t.Fatalf("update %d: %+v", i, row)
		}
		parent = []string{"If-Match: " + rev}
	}
	n.must(http.MethodDelete, "/db/b?rev="+rev, nil)
	last := feed.next()
	if !last.Deleted {
		t.Fatalf("%+v", last)
	}
	n.must(http.MethodDelete, "/db", nil)
	if end := feed.next(); end.LastSeq != *last.Seq {
		t.Errorf("the feed of a deleted database ends with %+v, want %s", end, *last.Seq)
	}
	if feed.Scan() || feed.Err() != nil {
		t.Errorf("more: %q, %v", feed.Text(), feed.Err())
	}
}

// A feed of somebody who is no member any more ends before it tells what came later.
func TestChangesOfFormerMember(t *testing.T) {
	n := newAccessNode(t)
	request := n.request(http.MethodGet, "/db/_changes?feed=continuous&heartbeat=60000&since=now", nil)
	request.SetBasicAuth("member", "pw")
	response, err := n.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	feed := &reader{t, bufio.NewScanner(response.Body), response.Body}
	n.must(http.MethodPut, "/db/before", "{}")
	before := feed.next()
	if before.ID != "before" {
		t.Fatalf("%+v", before)
	}
	n.must(http.MethodPut, "/db/_security", `{"members":{"names":["other"]}}`)
	n.must(http.MethodPut, "/db/after", "{}")
	if end := feed.next(); end.ID != "" || end.LastSeq != *before.Seq {
		t.Errorf("%+v, want the end at %s", end, *before.Seq)
	}
	if feed.Scan() || feed.Err() != nil {
		t.Errorf("more: %q, %v", feed.Text(), feed.Err())
	}
}

// A descending feed that goes on tells the past backwards and then what comes.
func TestContinuousDescending(t *testing.T) {
	n := newChanges(t, "a", "b", "c")
	feed := n.listen(t.Context(), "/db/_changes?feed=continuous&heartbeat=60000&descending=true")
	for _, want := range []string{"c", "b", "a", "d", "e"} {
		if want > "c" {
			n.must(http.MethodPut, "/db/"+want, `{}`)
		}
		if row := feed.next(); row.ID != want {
			t.Fatalf("%s, want %s", row.ID, want)
		}
	}
}

// A feed of more than fits a buffer is sent in several rounds, each of which takes up where the last one ended.
func TestContinuousRounds(t *testing.T) {
	n := newChanges(t)
	const docs = 2000
	var bulk strings.Builder
	for i := range docs {
		fmt.Fprintf(&bulk, `,{"_id":"d%04d"}`, i)
	}
	n.must(http.MethodPost, "/db/_bulk_docs", `{"docs":[`+bulk.String()[1:]+`]}`)
	for _, query := range []string{"", "&include_docs=true", "&filter=_selector"} {
		path := "/db/_changes?feed=continuous&timeout=0" + query
		var body any
		method := http.MethodGet
		if strings.Contains(query, "_selector") {
			method, body = http.MethodPost, `{"selector":{}}`
		}
		lines := strings.Split(strings.TrimSpace(string(n.must(method, path, body).body)), "\n")
		if len(lines) != docs+1 || !strings.HasPrefix(lines[docs], `{"last_seq":"2000-`) || !strings.HasSuffix(lines[docs], `,"pending":0}`) {
			t.Fatalf("%s: %d lines, the last one is %s", query, len(lines), lines[len(lines)-1])
		}
		for i, line := range lines[:docs] {
			if want := fmt.Sprintf(`"id":"d%04d"`, i); !strings.Contains(line, want) {
				t.Fatalf("line %d: %s", i, line)
			}
		}
	}
}

// Feeds end when the API is closed, and when their clients go: the server waits for them in newNode.
func TestChangesEnd(t *testing.T) {
	n := newChanges(t, "a")
	ctx, leave := context.WithCancel(t.Context())
	left := n.listen(ctx, "/db/_changes?feed=continuous&heartbeat=60000")
	left.next()
	leave()
	for left.Scan() {
		t.Errorf("heard %s", left.Text())
	}
	if !errors.Is(left.Err(), context.Canceled) {
		t.Error(left.Err())
	}
	stays := n.listen(t.Context(), "/db/_changes?feed=continuous&heartbeat=60000")
	seq := *stays.next().Seq
	n.api.Close()
	if end := stays.next(); end.LastSeq != seq {
		t.Errorf("%+v, want %s", end, seq)
	}
	if got := n.changes("", nil).ids(); got != "a" {
		t.Errorf("a normal feed while stopping: %s", got)
	}
}

// lines collects what a feed writes, without a network.
type lines struct {
	header  http.Header
	mu      sync.Mutex
	text    strings.Builder
	started chan struct{} // closed with the first flush
	once    sync.Once
	last    chan struct{} // closed when the document "last" has come
}

func newLines() *lines {
	return &lines{header: http.Header{}, started: make(chan struct{}), last: make(chan struct{})}
}

func (l *lines) Header() http.Header { return l.header }
func (l *lines) WriteHeader(int)     {}
func (l *lines) Flush()              { l.once.Do(func() { close(l.started) }) }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if strings.Contains(string(p), `"id":"last"`) {
		close(l.last)
	}
	return l.text.Write(p)
}

// Each of a thousand feeds that a write wakes gets every change once, in order.
func TestChangesManyFeeds(t *testing.T) {
	n := newChanges(t)
	const feeds, writes = 1000, 20
	var all [feeds]*lines
	var served sync.WaitGroup
	for i := range all {
		all[i] = newLines()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/db/_changes?feed=continuous&heartbeat=60000", nil)
		r.SetBasicAuth(adminName, adminPassword)
		served.Go(func() { n.api.ServeHTTP(all[i], r) })
	}
	for _, l := range all {
		<-l.started
	}
	var want []string
	for i := range writes {
		want = append(want, fmt.Sprintf("d%02d", i))
	}
	want = append(want, "last")
	for _, id := range want {
		n.must(http.MethodPut, "/db/"+id, `{}`)
	}
	for _, l := range all {
		<-l.last
	}
	n.must(http.MethodDelete, "/db", nil)
	served.Wait()
	for i, l := range all {
		rows := strings.Split(strings.TrimSpace(l.text.String()), "\n")
		if len(rows) != len(want)+1 || !strings.HasPrefix(rows[len(want)], `{"last_seq":"21-`) {
			t.Fatalf("feed %d has %d rows, the last one is %s", i, len(rows), rows[len(rows)-1])
		}
		for k, id := range want {
			if !strings.Contains(rows[k], `"id":"`+id+`"`) {
				t.Fatalf("feed %d, row %d: %s", i, k, rows[k])
			}
		}
	}
}

// A heartbeat is a blank line; it comes while the feed waits, and a filter that finds nothing does not hold it up.
func TestChangesHeartbeat(t *testing.T) {
	n := newChanges(t, "a", "b")
	feed := n.listen(t.Context(), "/db/_changes?feed=continuous&heartbeat=1&filter=_design")
	for range 3 {
		if !feed.Scan() || feed.Text() != "" {
			t.Fatalf("heard %q, %v", feed.Text(), feed.Err())
		}
	}
}

func TestDBUpdates(t *testing.T) {
	n := newNode(t)
	feed := n.listen(t.Context(), "/_db_updates?feed=continuous&heartbeat=60000")
	type update struct {
		Name    string `json:"db_name"`
		Kind    string `json:"type"`
		Seq     string `json:"seq"`
		LastSeq string `json:"last_seq"`
	}
	next := func() (u update) {
		t.Helper()
		for feed.Scan() {
			if err := json.Unmarshal(feed.Bytes(), &u); err == nil {
				return u
			}
		}
		t.Fatal(feed.Err())
		return u
	}
	for _, step := range []struct{ method, path, kind string }{
		{http.MethodPut, "/db", "created"}, {http.MethodPut, "/db/a", "updated"}, {http.MethodDelete, "/db", "deleted"},
	} {
		n.must(step.method, step.path, `{}`)
		if u := next(); u.Name != "db" || u.Kind != step.kind {
			t.Fatalf("%+v, want %s", u, step.kind)
		}
	}
	n.must(http.MethodPut, "/other", nil)
	other := next()
	var all struct {
		Results []update `json:"results"`
		LastSeq string   `json:"last_seq"`
	}
	names := func(query string) (names []string) {
		t.Helper()
		all.Results = nil
		n.must(http.MethodGet, "/_db_updates"+query, nil).json(t, &all)
		for _, u := range all.Results {
			names = append(names, u.Name)
		}
		return names
	}
	for query, want := range map[string][]string{
		"":                       {"db", "other"},
		"?descending=true":       {"other", "db"},
		"?limit=1":               {"db"},
		"?limit=0":               nil,
		"?since=now":             nil,
		"?since=" + other.Seq:    nil,
		"?since=1-0000000000":    {"db", "other"},
		"?feed=longpoll&since=0": {"db", "other"},
		"?feed=longpoll&limit=0": nil,
		"?heartbeat=false":       {"db", "other"},
	} {
		if got := names(query); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	if names("?limit=1"); all.LastSeq != all.Results[0].Seq {
		t.Errorf("limit=1: until %s", all.LastSeq)
	}
	n.refused(http.StatusBadRequest, "bad_request", "invalid_integer", http.MethodGet, "/_db_updates?limit=-1", nil)
	n.refused(http.StatusBadRequest, "bad_request", "invalid_integer", http.MethodGet, "/_db_updates?timeout=x", nil)
	n.refused(http.StatusBadRequest, "bad_request", errSince.Reason, http.MethodGet, "/_db_updates?since=x", nil)

	tag := n.must(http.MethodGet, "/_db_updates", nil).Header.Get("ETag")
	if a := n.do(http.MethodGet, "/_db_updates", nil, "If-None-Match: "+tag); a.StatusCode != http.StatusNotModified {
		t.Errorf("unchanged: %s", a.Status)
	}
	n.api.Close()
	if end := next(); end.LastSeq != other.Seq {
		t.Errorf("the feed ends with %+v, want %s", end, other.Seq)
	}
}

func TestPatience(t *testing.T) {
	const most = time.Minute
	for ms, want := range map[int]time.Duration{-1: 0, 0: 0, 1500: 1500 * time.Millisecond, 60_001: most, 1 << 62: most} {
		if got := patience(ms, most); got != want {
			t.Errorf("%d: %v, want %v", ms, got, want)
		}
	}
}
