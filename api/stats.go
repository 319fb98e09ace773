package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mangrove-db/mangrove/internal/histogram"
)

// stats counts what the node does for its clients. Counting is atomic additions and nothing else; what is wanted of it
// is put together by whoever asks: see couchStats and metrics.
type stats struct {
	requests   atomic.Uint64
	reads      atomic.Uint64 // documents
	writes     atomic.Uint64
	viewReads  atomic.Uint64
	bulks      atomic.Uint64 // requests for _bulk_docs
	purges     atomic.Uint64 // requests
	finds      histogram.Histogram
	panics     atomic.Uint64
	cut        atomic.Uint64 // answers that ended before their end
	sent       atomic.Uint64 // bytes of bodies
	feeds      atomic.Int64  // open now
	statuses   [600]atomic.Uint64
	methods    [otherMethod + 1]atomic.Uint64
	times      histogram.Histogram // microseconds of requests; feeds that wait are left out
	classTimes [classCount]histogram.Histogram
}

func newStats() *stats { return &stats{} }

// knownMethods are counted by name; there is no end of names that clients could invent.
var knownMethods = [...]string{"COPY", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"}

// otherMethod is the place of all others.
const otherMethod = len(knownMethods)

// observe counts a request that has been answered.
func (s *stats) observe(q *request, d time.Duration) {
	s.requests.Add(1)
	if status := q.w.status; status > 0 && status < len(s.statuses) {
		s.statuses[status].Add(1)
	}
	method := slices.Index(knownMethods[:], q.Request.Method)
	if method < 0 {
		method = otherMethod
	}
	s.methods[method].Add(1)
	s.sent.Add(uint64(q.w.bytes))
	if !q.waits {
		us := uint64(d.Microseconds())
		s.times.Observe(us)
		s.classTimes[q.class].Observe(us)
	}
}

// stat is a leaf of _stats. Its value is a uint64, an int64 or, of a histogram, a histogram.Snapshot.
type stat struct {
	path  string // parts with slashes between them
	kind  string
	value any
	desc  string
	// unit is what the values of a histogram are multiplied by to be those that CouchDB shows, and with perSecond divided
	// by to be seconds.
	unit, perSecond float64
}

const (
	kindCounter   = "counter"
	kindHistogram = "histogram"
)

// knownStatuses are those that _stats always has.
var knownStatuses = []int{200, 201, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 405, 406, 409, 412, 413, 414, 415, 416, 417, 500, 501, 503, 507}

// couchStats are the figures that CouchDB shows, as far as there is something of the kind here. What clients such as
// monitoring agents look for is there in any case.
func (a *API) couchStats() []stat {
	s := a.stats
	store, accounts, designs := a.store.Counters(), a.auth.Counters(), a.designs.Counters()
	count := func(path string, n uint64, desc string) stat {
		return stat{path: path, kind: kindCounter, value: n, desc: desc}
	}
	list := []stat{
		count("couchdb/auth_cache_hits", accounts.Hits, "number of authentication cache hits"),
		count("couchdb/auth_cache_misses", accounts.Misses, "number of authentication cache misses"),
		count("couchdb/commits", store.Groups.Count, "number of commits performed"),
		count("couchdb/database_reads", s.reads.Load(), "number of times a document was read from a database"),
		count("couchdb/database_writes", s.writes.Load(), "number of times a database was changed"),
		count("couchdb/document_writes", store.Groups.Sum, "number of document write operations"),
		count("couchdb/httpd/bulk_requests", s.bulks.Load(), "number of bulk requests"),
		{path: "couchdb/httpd/clients_requesting_changes", kind: kindCounter, value: s.feeds.Load(), desc: "number of clients for continuous _changes"},
		count("couchdb/httpd/purge_requests", s.purges.Load(), "number of purge requests"),
		count("couchdb/httpd/requests", s.requests.Load(), "number of HTTP requests"),
		count("couchdb/httpd/temporary_view_reads", 0, "number of temporary view reads"),
		count("couchdb/httpd/view_reads", s.viewReads.Load(), "number of view reads"),
		{path: "couchdb/open_databases", kind: kindCounter, value: int64(store.Databases), desc: "number of open databases"},
		{path: "couchdb/open_os_files", kind: kindCounter, value: openFiles(), desc: "number of file descriptors that the node has open"},
		{path: "couchdb/request_time", kind: kindHistogram, value: s.times.Snapshot(), desc: "length of a request inside the node", unit: 1e-3, perSecond: 1e6},
		count("ddoc_cache/hit", designs.Hits, "number of design doc cache hits"),
		count("ddoc_cache/miss", designs.Misses, "number of design doc cache misses"),
		count("fsync/count", store.Syncs.Count, "number of fsync calls"),
		{path: "fsync/time", kind: kindHistogram, value: store.Syncs, desc: "microseconds to call fsync", unit: 1, perSecond: 1e6},
		{path: "mango/query_time", kind: kindHistogram, value: s.finds.Snapshot(), desc: "length of time processing a mango query", unit: 1e-3, perSecond: 1e6},
	}
	for i, m := range knownMethods {
		list = append(list, count("couchdb/httpd_request_methods/"+m, s.methods[i].Load(), "number of HTTP "+m+" requests"))
	}
	for code := range s.statuses {
		if n := s.statuses[code].Load(); n > 0 || slices.Contains(knownStatuses, code) {
			text := strconv.Itoa(code)
			list = append(list, count("couchdb/httpd_status_codes/"+text, n, strings.TrimSpace("number of HTTP "+text+" "+http.StatusText(code))+" responses"))
		}
	}
	return list
}

// metric is how a leaf looks.
type metric struct {
	Value any    `json:"value"`
	Type  string `json:"type"`
	Desc  string `json:"desc"`
}

// shown are the figures of a histogram, by CouchDB's names. They are of the whole time since the start.
type shown struct {
	Min            float64      `json:"min"`
	Max            float64      `json:"max"`
	ArithmeticMean float64      `json:"arithmetic_mean"`
	GeometricMean  float64      `json:"geometric_mean"`
	HarmonicMean   float64      `json:"harmonic_mean"`
	Median         float64      `json:"median"`
	Variance       float64      `json:"variance"`
	Deviation      float64      `json:"standard_deviation"`
	Skewness       float64      `json:"skewness"`
	Kurtosis       float64      `json:"kurtosis"`
	Percentile     [][2]float64 `json:"percentile"`
	Histogram      [][2]float64 `json:"histogram"`
	N              uint64       `json:"n"`
}

// percentiles are those that CouchDB shows; 999 stands for 99.9.
var percentiles = []struct{ name, quantile float64 }{{50, 0.5}, {75, 0.75}, {90, 0.9}, {95, 0.95}, {99, 0.99}, {999, 0.999}}

func (s *stat) metric() metric {
	h, ok := s.value.(histogram.Snapshot)
	if !ok {
		return metric{s.value, s.kind, s.desc}
	}
	u, shape := s.unit, h.Shape()
	v := shown{
		Min: h.Min() * u, Max: h.Max() * u, ArithmeticMean: shape.Mean * u, GeometricMean: shape.GeometricMean * u,
		HarmonicMean: shape.HarmonicMean * u, Median: h.Quantile(0.5) * u, Variance: shape.Variance * u * u,
		Deviation: shape.Deviation * u, Skewness: shape.Skew, Kurtosis: shape.Kurtosis, N: h.Count, Histogram: [][2]float64{},
	}
	for _, p := range percentiles {
		v.Percentile = append(v.Percentile, [2]float64{p.name, h.Quantile(p.quantile) * u})
	}
	h.Each(func(value float64, n uint64) { v.Histogram = append(v.Histogram, [2]float64{value * u, float64(n)}) })
	return metric{v, s.kind, s.desc}
}

// getStats answers with all figures, or with those below a path.
func getStats(q *request) error {
	if err := q.thisNode(); err != nil {
		return err
	}
	tree := map[string]any{}
	for _, s := range q.api.couchStats() {
		at := tree
		parts := strings.Split(s.path, "/")
		for _, part := range parts[:len(parts)-1] {
			if at[part] == nil {
				at[part] = map[string]any{}
			}
			at = at[part].(map[string]any)
		}
		at[parts[len(parts)-1]] = s.metric()
	}
	var at any = tree
	for name := range strings.SplitSeq(q.name, "/") {
		if name == "" {
			continue
		}
		if leaf, ok := at.(metric); ok {
			at = leaf.members()
		}
		branch, _ := at.(map[string]any)
		at = branch[name] // null for what there is not, as in CouchDB
	}
	return q.reply(http.StatusOK, at)
}

// members returns the metric as what it is in JSON, for paths that go on into it.
func (m metric) members() (members map[string]any) {
	if text, err := json.Marshal(m); err == nil {
		_ = json.Unmarshal(text, &members)
	}
	return members
}
