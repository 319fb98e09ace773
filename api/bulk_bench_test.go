package api

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/config"
	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/script"
	"github.com/mangrove-db/mangrove/storage"
	"github.com/mangrove-db/mangrove/view"
)

// discard is an http.ResponseWriter that keeps the status alone.
type discard struct {
	header http.Header
	status int
	size   int64
}

func (d *discard) Header() http.Header    { return d.header }
func (d *discard) WriteHeader(status int) { d.status = status }

func (d *discard) Write(b []byte) (int, error) {
	d.size += int64(len(b))
	return len(b), nil
}

// benchAPI returns what sends requests to a node without a network in between.
func benchAPI(b *testing.B) func(b *testing.B, method, path string, body []byte) {
	b.Helper()
	cfg, err := config.Load(config.Options{Data: filepath.Join(b.TempDir(), "data"), Getenv: func(string) string { return "" }})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := cfg.Set("chttpd_auth", "iterations", "1", false); err != nil {
		b.Fatal(err)
	}
	if _, err := auth.PrepareAdmins(cfg, &auth.Account{Name: adminName, Password: adminPassword}); err != nil {
		b.Fatal(err)
	}
	store, err := storage.Open(storage.Options{Path: cfg.Snapshot().DataDir})
	if err != nil {
		b.Fatal(err)
	}
	scripts := script.New(script.Options{})
	a := New(Options{
		Store: store, Config: cfg, Auth: auth.New(auth.Options{Config: cfg}), Version: "test",
		Designs: design.NewCache(scripts, nil), Scripts: scripts, Views: view.New(view.Options{Store: store, Engine: scripts}),
	})
	b.Cleanup(func() {
		a.Close()
		if err := store.Close(); err != nil {
			b.Error(err)
		}
	})
	return func(b *testing.B, method, path string, body []byte) {
		b.Helper()
		r := httptest.NewRequest(method, path, bytes.NewReader(body))
		r.SetBasicAuth(adminName, adminPassword)
		r.Header.Set("Content-Type", "application/json")
		w := &discard{header: http.Header{}, status: http.StatusOK}
		a.ServeHTTP(w, r)
		if w.status/100 != 2 {
			b.Fatalf("%s %s: %d", method, path, w.status)
		}
		b.SetBytes(max(w.size, int64(len(body))))
	}
}

// benchBulk returns a bulk write of n documents of about 600 bytes, the first of which has the number from.
func benchBulk(from, n int) []byte {
	pad := strings.Repeat("lorem ipsum dolor ", 28)
	var b bytes.Buffer
	b.WriteString(`{"docs":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"_id":"doc-%08d","n":%d,"name":"user %d","active":true,"text":%q}`, from+i, i, i, pad)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

func BenchmarkBulkDocs1000(b *testing.B) {
	do := benchAPI(b)
	do(b, "PUT", "/db", nil)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		body := benchBulk(i*1000, 1000)
		b.StartTimer()
		do(b, "POST", "/db/_bulk_docs", body)
	}
}

func BenchmarkListings(b *testing.B) {
	do := benchAPI(b)
	do(b, "PUT", "/db", nil)
	const docs = 20_000
	do(b, "POST", "/db/_bulk_docs", benchBulk(0, docs))
	var keys, asks bytes.Buffer
	for i := range 10_000 {
		fmt.Fprintf(&keys, `,"doc-%08d"`, i*7919%docs)
		fmt.Fprintf(&asks, `,{"id":"doc-%08d"}`, i*7919%docs)
	}
	for _, c := range []struct{ name, method, path, body string }{
		{"all", "GET", "/db/_all_docs", ""},
		{"all with documents", "GET", "/db/_all_docs?include_docs=true", ""},
		{"page", "GET", "/db/_all_docs?limit=20&skip=15000", ""},
		{"10000 keys", "POST", "/db/_all_docs", `{"keys":[` + keys.String()[1:] + `]}`},
		{"10000 of _bulk_get", "POST", "/db/_bulk_get?revs=true&latest=true", `{"docs":[` + asks.String()[1:] + `]}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				do(b, c.method, c.path, []byte(c.body))
			}
		})
	}
}
