package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func TestStats(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/db", nil)
	n.must(http.MethodPut, "/db/a", `{}`)
	n.must(http.MethodGet, "/db/a", nil)
	n.must(http.MethodPost, "/db/_bulk_docs", `{"docs":[{},{}]}`)
	n.do("BREW", "/db", nil)
	var all struct {
		CouchDB struct {
			RequestTime struct {
				Type  string
				Value struct {
					N          uint64
					Min        float64
					Median     float64
					Max        float64
					Percentile [][2]float64
				}
			} `json:"request_time"`
			Reads  metric `json:"database_reads"`
			Writes metric `json:"database_writes"`
			HTTPD  map[string]metric
			Codes  map[string]metric `json:"httpd_status_codes"`
		}
	}
	n.must(http.MethodGet, "/_node/_local/_stats", nil).json(t, &all)
	c := &all.CouchDB
	times := c.RequestTime.Value
	if times.N != 5 || times.Min <= 0 || times.Min > times.Median || times.Median > times.Max || len(times.Percentile) != 6 || c.RequestTime.Type != "histogram" {
		t.Errorf("%+v", c.RequestTime)
	}
	if c.Reads.Value != 1.0 || c.Writes.Value != 3.0 || c.HTTPD["requests"].Value != 5.0 || c.HTTPD["bulk_requests"].Value != 1.0 ||
		c.Codes["201"].Value != 3.0 || c.Codes["507"].Value != 0.0 || c.Codes["405"].Value != 1.0 {
		t.Errorf("%+v", c)
	}
	var leaf metric
	n.must(http.MethodGet, "/_node/_local/_stats/couchdb/httpd_request_methods/PUT", nil).json(t, &leaf)
	if leaf.Value != 2.0 || leaf.Type != "counter" || leaf.Desc != "number of HTTP PUT requests" {
		t.Errorf("%+v", leaf)
	}
	// CouchDB 3.5's extract_path goes on into the figures, and gives null for what it does not find.
	for path, want := range map[string]string{
		"none": "null", "couchdb/none": "null", "couchdb/none/value": "null", "couchdb/httpd/requests/value/n": "null",
		"couchdb/httpd/requests/type": `"counter"`, "couchdb/httpd/temporary_view_reads/value": "0", "mango/query_time/value/n": "0",
	} {
		if got := n.must(http.MethodGet, "/_node/_local/_stats/"+path, nil); strings.TrimSpace(string(got.body)) != want {
			t.Errorf("%s: %s", path, got.body)
		}
	}
}

func TestPrometheus(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/db", nil)
	n.must(http.MethodPut, "/db/a", `{}`)
	n.must(http.MethodPost, "/db/_find", `{"selector":{}}`)
	signIn := n.request(http.MethodGet, "/db", nil)
	signIn.SetBasicAuth("bob", "wrong")
	n.send(signIn)
	check := func(text string) {
		t.Helper()
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{
			"couchdb_uptime_seconds", "couchdb_httpd_requests_total", "couchdb_httpd_request_methods", "couchdb_httpd_status_codes", "couchdb_request_time_seconds",
			"couchdb_database_reads_total", "couchdb_auth_cache_requests_total", "couchdb_ddoc_cache_requests_failures_total", "couchdb_open_databases", "couchdb_httpd_clients_requesting_changes",
			"couchdb_commits_total", "couchdb_fsync_time_seconds", "couchdb_couch_replicator_jobs_running", "couchdb_mango_query_time_seconds",
			"mangrove_info", "mangrove_commit_edits", "mangrove_sync_seconds", "mangrove_request_seconds", "mangrove_index_changes_pending", "mangrove_replication_changes_pending",
			"mangrove_feeds_open", "mangrove_disk_free_bytes", "mangrove_writable", "mangrove_sign_in_failures_total", "go_goroutines",
		} {
			if families[name] == nil {
				t.Errorf("%s is missing", name)
			}
		}
		for name, f := range families {
			if f.GetHelp() == "" {
				t.Errorf("%s is not explained", name)
			}
		}
		if f := families["mangrove_sign_in_failures_total"]; f.Metric[0].Counter.GetValue() != 1 {
			t.Errorf("%v", f)
		}
		if f := families["mangrove_commit_edits"]; f.Metric[0].Histogram.GetSampleCount() < 1 {
			t.Errorf("%v", f)
		}
		if f := families["mangrove_disk_free_bytes"]; f.Metric[0].Gauge.GetValue() == 0 {
			t.Errorf("%v", f)
		}
	}
	a := n.must(http.MethodGet, "/_node/_local/_prometheus", nil)
	if kind := a.Header.Get("Content-Type"); kind != "text/plain; version=2.0" {
		t.Errorf("type %s", kind)
	}
	check(string(a.body))
	for _, path := range []string{"/metrics", "/_node/_local/_prometheus", "/_node/nonode@nohost/_prometheus"} {
		w := httptest.NewRecorder()
		n.api.Metrics().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		check(w.Body.String())
	}
	w := httptest.NewRecorder()
	n.api.Metrics().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/db/a", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("documents are served to anybody: %d", w.Code)
	}
}

func TestUpWhenClosing(t *testing.T) {
	n := newNode(t)
	if a := n.do(http.MethodGet, "/_up", nil); a.StatusCode != http.StatusOK {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	n.api.Close()
	if a := n.do(http.MethodGet, "/_up", nil); a.StatusCode != http.StatusNotFound || !strings.Contains(string(a.body), `"stopping"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestVersionsAndSystem(t *testing.T) {
	n := newNode(t)
	var v struct {
		Mangrove   string
		JavaScript struct{ Name, Version string } `json:"javascript_engine"`
		Collation  struct {
			Version string `json:"collator_version"`
		} `json:"collation_driver"`
	}
	n.must(http.MethodGet, "/_node/_local/_versions", nil).json(t, &v)
	if v.Mangrove != "test" || v.JavaScript.Name != "goja" || v.JavaScript.Version == "" || v.Collation.Version == "" {
		t.Errorf("%+v", v)
	}
	var s struct {
		Uptime    *int64
		Memory    map[string]uint64
		Processes uint64 `json:"process_count"`
	}
	n.must(http.MethodGet, "/_node/_local/_system", nil).json(t, &s)
	if s.Uptime == nil || s.Memory["total"] == 0 || s.Memory["processes"] == 0 || s.Processes == 0 {
		t.Errorf("%+v", s)
	}
}
