package api

import (
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"github.com/mangrove-db/mangrove/internal/histogram"
	"github.com/mangrove-db/mangrove/replicator"
)

// Connections is what a server tells of its connections: how many are open, and how many were refused since the start.
type Connections struct {
	Open    int64
	Refused uint64
}

// newRegistry returns what gathers the node's metrics.
func (a *API) newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collector{a})
	return r
}

// collector turns what the parts of the node have counted into metrics, whenever somebody asks for them.
type collector struct{ api *API }

// Describe tells nothing: which statuses were answered is not known before.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends all metrics.
func (m collector) Collect(out chan<- prometheus.Metric) {
	e := exposition{out}
	caches := map[string]uint64{}
	for _, s := range m.api.couchStats() {
		if cache := couchCaches[s.path]; cache != "" {
			n, _ := s.value.(uint64)
			caches[cache] += n
		}
		e.couch(&s)
	}
	e.counter("couchdb_auth_cache_requests_total", "number of authentication cache requests", caches["auth"])
	e.counter("couchdb_ddoc_cache_requests_total", "number of design doc cache requests", caches["ddoc"])
	e.gauge("couchdb_uptime_seconds", "time since the node was started", time.Since(m.api.started).Seconds())
	m.requests(e)
	m.storage(e)
	m.indexes(e)
	m.replications(e)
}

func (m collector) requests(e exposition) {
	s := m.api.stats
	e.labelled("mangrove_info", prometheus.GaugeValue, "what is running", 1, "version", m.api.version, "go", runtime.Version(), "compatible", compatible)
	for c := range s.classTimes {
		times := s.classTimes[c].Snapshot()
		e.histogram("mangrove_request_seconds", "time to answer requests, without feeds that wait", &times, 1e6, requestBits, "class", classNames[c])
	}
	e.counter("mangrove_sent_bytes_total", "bytes of answers' bodies", s.sent.Load())
	e.counter("mangrove_requests_panicked_total", "requests that failed by a fault of the node's", s.panics.Load())
	e.counter("mangrove_answers_cut_total", "answers that ended before their end", s.cut.Load())
	e.gauge("mangrove_feeds_open", "feeds that wait for news", float64(s.feeds.Load()))
	if m.api.connections != nil {
		c := m.api.connections()
		e.gauge("mangrove_connections_open", "connections of clients", float64(c.Open))
		e.counter("mangrove_connections_refused_total", "connections that were refused because there were too many", c.Refused)
	}
	accounts := m.api.auth.Counters()
	e.counter("mangrove_sign_in_failures_total", "wrong names and passwords", accounts.Failures)
	e.counter("mangrove_sign_in_lockouts_total", "attempts to sign in that were refused because there were too many", accounts.Locked)
}

func (m collector) storage(e exposition) {
	c := m.api.store.Counters()
	e.histogram("mangrove_commit_edits", "edits that were committed together", &c.Groups, 1, groupBits)
	e.histogram("mangrove_sync_seconds", "time to make commits durable", &c.Syncs, 1e6, requestBits)
	e.gauge("mangrove_snapshots_open", "snapshots, each of which keeps what is deleted on the disk", float64(c.Snapshots))
	e.gauge("mangrove_disk_free_bytes", "room on the disk", float64(c.Free))
	e.gauge("mangrove_disk_reserve_bytes", "room below which writes are refused", float64(c.Reserve))
	e.gauge("mangrove_writable", "whether writes are taken", truth(m.api.store.Ready() == nil))
	e.gauge("mangrove_storage_failed", "whether the node must be restarted because a sync failed", truth(c.Failed))
}

func (m collector) indexes(e exposition) {
	c := m.api.views.Counters()
	e.counter("mangrove_index_documents_total", "documents that were mapped", c.Mapped)
	e.counter("mangrove_index_builds_total", "runs that brought an index up to date, or tried", c.Builds)
	e.counter("mangrove_index_failures_total", "runs that could not bring an index up to date", c.Failed)
	e.gauge("mangrove_index_builds_running", "indexes that are being built", float64(c.Running-c.Waiting))
	e.gauge("mangrove_index_builds_waiting", "indexes whose build waits for others", float64(c.Waiting))
	e.gauge("mangrove_index_databases_queued", "databases whose indexes are to be looked at", float64(c.Queued))
	e.gauge("mangrove_index_broken", "indexes that a document keeps from being built", float64(c.Broken))
	tasks := map[string]int{"indexer": 0, "database_compaction": 0, "view_compaction": 0}
	var behind uint64
	for _, t := range m.api.store.Tasks() {
		tasks[t.Type]++
		if done, total, _ := t.Progress(); t.Type == "indexer" && total > done {
			behind += total - done
		}
	}
	e.gauge("mangrove_index_changes_pending", "changes that the indexes being built do not show yet", float64(behind))
	for kind, n := range tasks {
		e.labelled("mangrove_tasks", prometheus.GaugeValue, "work in the background", float64(n), "type", kind)
	}
}

func (m collector) replications(e exposition) {
	states := map[replicator.State]int{}
	for _, s := range replicator.States {
		states[s] = 0
	}
	var pending, failures int64
	jobs := m.api.replications.Jobs()
	for i := range jobs {
		states[jobs[i].State]++
		if info := jobs[i].Info; info != nil {
			failures += info.DocWriteFailures
			if info.ChangesPending != nil {
				pending += *info.ChangesPending
			}
		}
	}
	for state, n := range states {
		e.labelled("mangrove_replication_jobs", prometheus.GaugeValue, "replications by state", float64(n), "state", string(state))
	}
	e.gauge("couchdb_couch_replicator_jobs_total", "number of replication jobs", float64(len(jobs)))
	e.gauge("couchdb_couch_replicator_jobs_running", "number of running replication jobs", float64(states[replicator.StateRunning]))
	e.gauge("couchdb_couch_replicator_jobs_pending", "number of pending replication jobs", float64(states[replicator.StatePending]))
	e.gauge("couchdb_couch_replicator_jobs_crashed", "number of crashed replication jobs", float64(states[replicator.StateCrashing]))
	e.gauge("mangrove_replication_changes_pending", "changes of sources that targets do not have yet, as far as it is known", float64(pending))
	e.gauge("mangrove_replication_write_failures", "documents that targets have refused in the newest runs", float64(failures))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// exposition sends metrics on their way.
type exposition struct{ out chan<- prometheus.Metric }

func (e exposition) counter(name, help string, n uint64) {
	e.labelled(name, prometheus.CounterValue, help, float64(n))
}

func (e exposition) gauge(name, help string, v float64) {
	e.labelled(name, prometheus.GaugeValue, help, v)
}

// labelled sends a metric with labels, each a name and a value.
func (e exposition) labelled(name string, kind prometheus.ValueType, help string, v float64, labels ...string) {
	names, values := split(labels)
	e.out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, v, values...)
}

func split(pairs []string) (names, values []string) {
	for i := 0; i+1 < len(pairs); i += 2 {
		names, values = append(names, pairs[i]), append(values, pairs[i+1])
	}
	return names, values
}

// Bounds of histograms, as powers of two: from a quarter of a millisecond to a minute, in microseconds; and from 1 to a
// whole group.
var (
	requestBits = []int{8, 10, 12, 14, 16, 18, 20, 22, 24, 26}
	groupBits   = []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
)

// histogram sends a histogram whose values are divided by unit.
func (e exposition) histogram(name, help string, h *histogram.Snapshot, unit float64, bounds []int, labels ...string) {
	names, values := split(labels)
	below := make(map[float64]uint64, len(bounds))
	for _, b := range bounds {
		below[float64(uint64(1)<<b)/unit] = h.Below(1 << b)
	}
	e.out <- prometheus.MustNewConstHistogram(prometheus.NewDesc(name, help, names, nil), h.Count, float64(h.Sum)/unit, below, values...)
}

// couchGauges are figures that CouchDB counts down, too.
var couchGauges = map[string]bool{
	"couchdb/httpd/clients_requesting_changes": true, "couchdb/open_databases": true, "couchdb/open_os_files": true,
}

// couchCaches are the figures of caches. Prometheus gets their sums in the place of hits.
var couchCaches = map[string]string{
	"couchdb/auth_cache_hits": "auth", "couchdb/auth_cache_misses": "auth", "ddoc_cache/hit": "ddoc", "ddoc_cache/miss": "ddoc",
}

// couch sends a leaf of _stats under the name that CouchDB gives it for Prometheus.
func (e exposition) couch(s *stat) {
	name := "couchdb_" + strings.ReplaceAll(strings.TrimPrefix(s.path, "couchdb/"), "/", "_")
	if h, ok := s.value.(histogram.Snapshot); ok {
		quantiles := make(map[float64]float64, len(percentiles))
		for _, p := range percentiles {
			quantiles[p.quantile] = h.Quantile(p.quantile) / s.perSecond
		}
		e.out <- prometheus.MustNewConstSummary(prometheus.NewDesc(name+"_seconds", s.desc, nil, nil), h.Count, float64(h.Sum)/s.perSecond, quantiles)
		return
	}
	v := number(s.value)
	switch last := s.path[strings.LastIndexByte(s.path, '/')+1:]; {
	case s.path == "couchdb/auth_cache_hits", s.path == "ddoc_cache/hit":
	case s.path == "ddoc_cache/miss":
		e.counter("couchdb_ddoc_cache_requests_failures_total", s.desc, uint64(v))
	case couchGauges[s.path]:
		e.gauge(name, s.desc, v)
	case strings.HasPrefix(s.path, "couchdb/httpd_request_methods/"):
		e.labelled("couchdb_httpd_request_methods", prometheus.CounterValue, "number of HTTP requests by method", v, "method", last)
	case strings.HasPrefix(s.path, "couchdb/httpd_status_codes/"):
		e.labelled("couchdb_httpd_status_codes", prometheus.CounterValue, "number of HTTP responses by status code", v, "code", last)
	default:
		e.labelled(name+"_total", prometheus.CounterValue, s.desc, v)
	}
}

func number(v any) float64 {
	switch n := v.(type) {
	case uint64:
		return float64(n)
	case int64:
		return float64(n)
	}
	return 0
}

// getPrometheus answers with all metrics in Prometheus' text format.
func getPrometheus(q *request) error {
	if err := q.thisNode(); err != nil {
		return err
	}
	return q.api.writeMetrics(q.w)
}

// writeMetrics writes them, with the type that CouchDB gives them.
func (a *API) writeMetrics(w http.ResponseWriter) error {
	families, err := a.registry.Gather()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; version=2.0")
	encoder := expfmt.NewEncoder(w, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := encoder.Encode(f); err != nil {
			return nil // the client has gone
		}
	}
	return nil
}

// Metrics serves the metrics, and nothing else, to anybody: it is for an address that only those can reach who may see
// them.
func (a *API) Metrics() http.Handler {
	mux := http.NewServeMux()
	serve := func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Server"] = a.server
		if err := a.writeMetrics(w); err != nil {
			a.log.Error("metrics could not be gathered", "error", err)
			http.Error(w, errInternal.Reason, errInternal.Status)
		}
	}
	mux.HandleFunc("GET /_node/_local/_prometheus", serve)
	mux.HandleFunc("GET /_node/"+nodeName+"/_prometheus", serve)
	mux.HandleFunc("GET /metrics", serve)
	return mux
}
