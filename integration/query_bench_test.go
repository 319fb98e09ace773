package integration

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// benchViews are the two views that the benchmarks build.
const benchViews = `{"language":"javascript","views":{
"by_tag":{"map":"function(doc){ if(doc.type==='post'){ for(var i=0;i<doc.tags.length;i++) emit([doc.tags[i], doc.created], doc.votes); } }","reduce":"_sum"},
"by_author":{"map":"function(doc){ if(doc.author) emit(doc.author.name, 1); }","reduce":"_count"}}}`

const benchView = "/_design/v/_view/"

// benchRange is the query of the rows of one tag.
func benchRange(tag string) string {
	return "startkey=" + url.QueryEscape(`["`+tag+`"]`) + "&endkey=" + url.QueryEscape(`["`+tag+`",{}]`)
}

// buildViews writes the views over n documents, and returns how many documents a second the build took.
func buildViews(b *testing.B, c *connection, db string, n int) float64 {
	b.Helper()
	c.must(b, "PUT", "/"+db+"/_design/v", []byte(benchViews))
	began := time.Now()
	c.must(b, "GET", "/"+db+benchView+"by_tag?limit=1&reduce=false", nil)
	return float64(n) / time.Since(began).Seconds()
}

// BenchmarkViews builds two views over 200,000 documents and asks them.
func BenchmarkViews(b *testing.B) {
	for b.Loop() {
		node := harness.Start(b)
		fillDB(b, dial(b, node.Server().Host), "views", 200_000)
		// What the process needed to be filled is not to be taken for what it needs to build.
		node.Stop()
		node.Restart()
		host := node.Server().Host
		c := dial(b, host)
		rss, own := watch(node.RSS), watch(node.OwnMemory)
		b.ReportMetric(buildViews(b, c, "views", 200_000), "built-docs/s")
		b.ReportMetric(float64(rss())/(1<<20), "build-peak-MiB")
		b.ReportMetric(float64(own())/(1<<20), "build-peak-own-MiB")
		node.Settle(b)
		tag := func(i int) string { return benchWords[i%len(benchWords)] }
		ask := func(query string) func(c *connection, i int) error {
			return func(c *connection, i int) error {
				status, _, err := c.do("GET", "/views"+benchView+"by_tag?"+query+"&"+benchRange(tag(i)), nil)
				return check(status, err)
			}
		}
		b.ReportMetric(together(b, host, 16, 4000, ask("reduce=false&limit=20")), "rows-by-key/s")
		b.ReportMetric(together(b, host, 16, 4000, ask("reduce=true")), "range-reductions/s")
		began := time.Now()
		for range 20 {
			c.must(b, "GET", "/views"+benchView+"by_tag?group_level=1", nil)
		}
		b.ReportMetric(20/time.Since(began).Seconds(), "group-level-1/s")
		b.ReportMetric(updateLatency(b, c), "ms-after-100-edits")
	}
}

func check(status int, err error) error {
	if err == nil && status != 200 {
		err = fmt.Errorf("status %d", status)
	}
	return err
}

// updateLatency edits a hundred documents, all of whose rows change, and returns how many milliseconds a query then
// takes, on average.
func updateLatency(b *testing.B, c *connection) float64 {
	b.Helper()
	r := seeded(9)
	var took time.Duration
	const rounds = 10
	for k := range rounds {
		var body bytes.Buffer
		body.WriteString(`{"new_edits":false,"docs":[`)
		for i := range 100 {
			if i > 0 {
				body.WriteByte(',')
			}
			doc := benchDoc(r, benchID(k*7919+i*61))
			body.WriteString(`{"_rev":"` + fmt.Sprint(k+2) + `-` + strings.Repeat("a", 32) + `",`)
			body.Write(doc[1:])
		}
		body.WriteString("]}")
		c.must(b, "POST", "/views/_bulk_docs", body.Bytes())
		began := time.Now()
		c.must(b, "GET", "/views"+benchView+"by_tag", nil)
		took += time.Since(began)
	}
	return float64(took.Microseconds()) / 1000 / rounds
}

// BenchmarkRangeReductions compares reductions over 200,000 and 2,000,000 rows.
func BenchmarkRangeReductions(b *testing.B) {
	for b.Loop() {
		var rates [2]float64
		for i, docs := range []int{67_000, 667_000} {
			node := harness.Start(b)
			host := node.Server().Host
			c := dial(b, host)
			fillDB(b, c, "views", docs)
			buildViews(b, c, "views", docs)
			node.Settle(b)
			rates[i] = together(b, host, 1, 3000, func(c *connection, i int) error {
				a, z := benchWords[i%len(benchWords)], benchWords[(i*7)%len(benchWords)]
				if a > z {
					a, z = z, a
				}
				query := "startkey=" + url.QueryEscape(fmt.Sprintf(`["%s","2026-%02d"]`, a, 1+i%12)) + "&endkey=" + url.QueryEscape(`["`+z+`",{}]`)
				status, _, err := c.do("GET", "/views"+benchView+"by_tag?"+query, nil)
				return check(status, err)
			})
			b.ReportMetric(rates[i], fmt.Sprintf("reductions/s-%d-rows", docs*3))
			node.Stop()
		}
		b.ReportMetric(rates[0]/rates[1], "slower")
	}
}

// BenchmarkFind asks 200,000 documents by an index and without one.
func BenchmarkFind(b *testing.B) {
	for b.Loop() {
		node := harness.Start(b)
		host := node.Server().Host
		c := dial(b, host)
		const docs = 200_000
		fillDB(b, c, "find", docs)
		c.must(b, "POST", "/find/_index", []byte(`{"index":{"fields":["author.name","created"]},"name":"a","type":"json"}`))
		query := func(i int) []byte {
			return fmt.Appendf(nil, `{"selector":{"author.name":"user%d","created":{"$gt":"2026-02"}},"sort":["author.name","created"],"limit":20}`, i%200)
		}
		began := time.Now()
		c.must(b, "POST", "/find/_find", query(0))
		b.ReportMetric(docs/time.Since(began).Seconds(), "indexed-docs/s")
		b.ReportMetric(together(b, host, 16, 4000, func(c *connection, i int) error {
			status, _, err := c.do("POST", "/find/_find", query(i))
			return check(status, err)
		}), "find-by-index/s")
		began = time.Now()
		c.must(b, "POST", "/find/_find", []byte(`{"selector":{"votes":{"$gt":990},"title":{"$regex":"^water"}},"limit":100000}`))
		b.ReportMetric(docs/time.Since(began).Seconds(), "scanned-docs/s")
	}
}
