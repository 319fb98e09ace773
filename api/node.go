package api

import (
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// stats counts what the node does, under CouchDB's names.
type stats struct {
	requests atomic.Uint64
	reads    atomic.Uint64 // documents
	writes   atomic.Uint64
	statuses [600]atomic.Uint64
	methods  sync.Map // method -> *atomic.Uint64

	times struct {
		sync.Mutex
		count    uint64
		sum, max float64 // milliseconds
		min      float64
	}
}

func newStats() *stats { return &stats{} }

// knownMethods are counted by name; there is no end of names that clients could invent.
var knownMethods = []string{"COPY", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"}

func (s *stats) observe(method string, status int, d time.Duration) {
	s.requests.Add(1)
	if status > 0 && status < len(s.statuses) {
		s.statuses[status].Add(1)
	}
	for _, m := range knownMethods {
		if m == method {
			n, _ := s.methods.LoadOrStore(m, new(atomic.Uint64))
			n.(*atomic.Uint64).Add(1)
		}
	}
	ms := float64(d) / float64(time.Millisecond)
	t := &s.times
	t.Lock()
	defer t.Unlock()
	if t.count == 0 || ms < t.min {
		t.min = ms
	}
	t.count++
	t.sum += ms
	t.max = max(t.max, ms)
}

// metric is a leaf of _stats.
type metric struct {
	Value any    `json:"value"`
	Type  string `json:"type"`
	Desc  string `json:"desc"`
}

// tree returns all metrics, in nested objects.
func (s *stats) tree() map[string]any {
	counter := func(n uint64, desc string) metric { return metric{n, "counter", desc} }
	methods, statuses := map[string]any{}, map[string]any{}
	for _, m := range knownMethods {
		var n uint64
		if c, ok := s.methods.Load(m); ok {
			n = c.(*atomic.Uint64).Load()
		}
		methods[m] = counter(n, "number of HTTP "+m+" requests")
	}
	for code := range s.statuses {
		if n := s.statuses[code].Load(); n > 0 || http.StatusText(code) != "" {
			statuses[strconv.Itoa(code)] = counter(n, "number of HTTP "+strconv.Itoa(code)+" "+http.StatusText(code)+" responses")
		}
	}
	t := &s.times
	t.Lock()
	mean := 0.0
	if t.count > 0 {
		mean = t.sum / float64(t.count)
	}
	times := metric{map[string]any{"n": t.count, "min": t.min, "max": t.max, "arithmetic_mean": mean}, "histogram", "length of a request inside the node, in milliseconds"}
	t.Unlock()
	return map[string]any{"couchdb": map[string]any{
		"database_reads":        counter(s.reads.Load(), "number of times a document was read from a database"),
		"database_writes":       counter(s.writes.Load(), "number of times a database was changed"),
		"httpd":                 map[string]any{"requests": counter(s.requests.Load(), "number of HTTP requests")},
		"httpd_request_methods": methods,
		"httpd_status_codes":    statuses,
		"request_time":          times,
	}}
}

// thisNode checks that the path names this node.
func (q *request) thisNode() error {
	_, vars := find(q.api.router, q.Request)
	node, err := unescape(vars["node"])
	if err != nil {
		return err
	}
	if node != "_local" && node != nodeName {
		return notFound("no such node: " + node)
	}
	return nil
}

func getStats(q *request) error {
	if err := q.thisNode(); err != nil {
		return err
	}
	var at any = q.api.stats.tree()
	for name := range strings.SplitSeq(q.name, "/") {
		if name == "" {
			continue
		}
		branch, ok := at.(map[string]any)
		if !ok || branch[name] == nil {
			return errMissing
		}
		at = branch[name]
	}
	return q.reply(http.StatusOK, at)
}

func memory() map[string]uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return map[string]uint64{"heap": m.HeapAlloc, "heap_idle": m.HeapIdle, "stacks": m.StackSys, "other": m.OtherSys, "total": m.Sys}
}

func getVersions(q *request) error {
	if err := q.thisNode(); err != nil {
		return err
	}
	return q.reply(http.StatusOK, map[string]any{
		"mangrove":          q.api.version,
		"go":                runtime.Version(),
		"javascript_engine": map[string]string{"name": "none", "version": ""},
		"collation_driver":  map[string]string{"name": "golang.org/x/text/collate"},
	})
}

// getPrometheus writes the metrics in Prometheus' text format.
func getPrometheus(q *request) error {
	if err := q.thisNode(); err != nil {
		return err
	}
	var b []byte
	write := func(name, labels string, value any) {
		b = append(b, name...)
		b = append(b, labels...)
		b = append(b, ' ')
		b, _ = appendValue(b, value)
		b = append(b, '\n')
	}
	s := q.api.stats
	b = append(b, "# TYPE couchdb_httpd_requests_total counter\n"...)
	write("couchdb_httpd_requests_total", "", s.requests.Load())
	b = append(b, "# TYPE couchdb_database_reads_total counter\n"...)
	write("couchdb_database_reads_total", "", s.reads.Load())
	b = append(b, "# TYPE couchdb_database_writes_total counter\n"...)
	write("couchdb_database_writes_total", "", s.writes.Load())
	b = append(b, "# TYPE couchdb_httpd_status_codes counter\n"...)
	for code := range s.statuses {
		if n := s.statuses[code].Load(); n > 0 {
			write("couchdb_httpd_status_codes", `{code="`+strconv.Itoa(code)+`"}`, n)
		}
	}
	b = append(b, "# TYPE couchdb_uptime_seconds counter\n"...)
	write("couchdb_uptime_seconds", "", int64(time.Since(q.api.started).Seconds()))
	q.w.Header().Set("Content-Type", "text/plain; version=2.0")
	_, err := q.w.Write(b)
	return q.lost(err)
}
