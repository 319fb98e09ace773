package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// withCredentials is the URL of a database of the node as a replication takes it.
func withCredentials(host, db string) string { return "http://admin:secret@" + host + "/" + db }

// replicate runs a replication on a node and returns how many revisions it wrote.
func replicate(tb testing.TB, node *harness.Node, spec map[string]any) int {
	tb.Helper()
	client := harness.NewClient(node.Server(), 20*time.Minute)
	defer client.Close()
	res, err := client.Do(tb.Context(), http.MethodPost, "/_replicate", spec)
	if err != nil {
		tb.Fatal(err)
	}
	var log struct {
		History []struct {
			Written int `json:"docs_written"`
		}
	}
	if err := res.Decode(res.Status, &log); err != nil || res.Status >= 300 {
		tb.Fatalf("%d %s", res.Status, res.Body)
	}
	if len(log.History) == 0 {
		return 0
	}
	return log.History[0].Written
}

func BenchmarkReplicate(b *testing.B) {
	const n = 100_000
	a, c := harness.Start(b), harness.Start(b)
	host, other := a.Server().Host, c.Server().Host
	fillDB(b, dial(b, host), "source", n)
	var bulk float64
	b.Run("bulk", func(b *testing.B) {
		conn := dial(b, other)
		bodies := make([][]byte, n/1000)
		for i := range bodies {
			bodies[i] = bulkBody(seeded(3), i*1000, 1000)
		}
		conn.must(b, "PUT", "/bulk", nil)
		began := time.Now()
		for _, body := range bodies {
			conn.must(b, "POST", "/bulk/_bulk_docs", body)
		}
		bulk = n / time.Since(began).Seconds()
		b.ReportMetric(bulk, "docs/s")
	})
	for name, run := range map[string]struct {
		node           *harness.Node
		source, target string
	}{
		"local": {a, "source", "copy"},
		"push":  {a, "source", withCredentials(other, "pushed")},
		"pull":  {c, withCredentials(host, "source"), "pulled"},
	} {
		b.Run(name, func(b *testing.B) {
			began := time.Now()
			if got := replicate(b, run.node, map[string]any{"source": run.source, "target": run.target, "create_target": true}); got != n {
				b.Fatalf("%d of %d revisions were copied", got, n)
			}
			rate := n / time.Since(began).Seconds()
			b.ReportMetric(rate, "docs/s")
			b.ReportMetric(rate/bulk, "x-of-bulk")
		})
	}
}

// BenchmarkReplicateLatency measures the time from the answer of a PUT on one node to the document's row in a feed of
// the other.
func BenchmarkReplicateLatency(b *testing.B) {
	const n = 500
	a, c := harness.Start(b), harness.Start(b)
	host, other := a.Server().Host, c.Server().Host
	conn := dial(b, host)
	conn.must(b, "PUT", "/source", nil)
	dial(b, other).must(b, "PUT", "/target", nil)
	replicate(b, c, map[string]any{"source": withCredentials(host, "source"), "target": "target", "continuous": true})
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, c.URL()+"/target/_changes?feed=continuous&heartbeat=5000", nil)
	if err != nil {
		b.Fatal(err)
	}
	req.SetBasicAuth("admin", "secret")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	r := seeded(6)
	took := make([]time.Duration, 0, n)
	for i := range n {
		id := benchID(i)
		began := time.Now()
		conn.must(b, "PUT", "/source/"+id, benchDoc(r, ""))
		for lines.Scan() && !strings.Contains(lines.Text(), id) {
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[n/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[n*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkReplicateAttachments pulls five gigabytes of attachments.
func BenchmarkReplicateAttachments(b *testing.B) {
	const count, size = 20, 256 << 20
	a, c := harness.Start(b), harness.Start(b)
	dial(b, a.Server().Host).must(b, "PUT", "/source", nil)
	for i := range count {
		transfer(b, http.MethodPut, fmt.Sprintf("%s/source/doc%d/file", a.URL(), i), io.LimitReader(rand.NewChaCha8([32]byte{byte(i)}), size), size)
	}
	sender, receiver := watchRSS(a), watchRSS(c)
	began := time.Now()
	if got := replicate(b, c, map[string]any{"source": withCredentials(a.Server().Host, "source"), "target": "target", "create_target": true}); got != count {
		b.Fatalf("%d of %d revisions were copied", got, count)
	}
	b.ReportMetric(float64(count*size>>20)/time.Since(began).Seconds(), "MiB/s")
	b.ReportMetric(float64(sender())/(1<<20), "sender-peak-MiB")
	b.ReportMetric(float64(receiver())/(1<<20), "receiver-peak-MiB")
}

// slowLine passes connections to a node on, each byte half a round trip late.
func slowLine(b *testing.B, target string, roundTrip time.Duration) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				in.Close()
				continue
			}
			go delay(in, out, roundTrip/2)
			go delay(out, in, roundTrip/2)
		}
	}()
	return l.Addr().String()
}

// delay copies what from says to to, later by d, however much is on its way.
func delay(from, to net.Conn, d time.Duration) {
	type piece struct {
		data []byte
		due  time.Time
	}
	pieces := make(chan piece, 4096)
	go func() {
		defer close(pieces)
		for {
			buf := make([]byte, 32<<10)
			n, err := from.Read(buf)
			if n > 0 {
				pieces <- piece{buf[:n], time.Now().Add(d)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.data); err != nil {
			break
		}
	}
	to.Close()
	from.Close()
}

func BenchmarkReplicateFarAway(b *testing.B) {
	const n = 10_000
	a, c := harness.Start(b), harness.Start(b)
	fillDB(b, dial(b, a.Server().Host), "source", n)
	var near float64
	for _, roundTrip := range []time.Duration{2 * time.Millisecond, 200 * time.Millisecond} {
		line := slowLine(b, a.Server().Host, roundTrip)
		b.Run(roundTrip.String(), func(b *testing.B) {
			began := time.Now()
			if got := replicate(b, c, map[string]any{"source": withCredentials(line, "source"), "target": fmt.Sprintf("t%d", roundTrip.Milliseconds()), "create_target": true}); got != n {
				b.Fatalf("%d of %d revisions were copied", got, n)
			}
			took := time.Since(began).Seconds()
			if near == 0 {
				near = took
			}
			b.ReportMetric(took, "s")
			b.ReportMetric(took/near, "x-of-2ms")
		})
	}
}

// BenchmarkReplicateIdle keeps many continuous replications open that have nothing to do.
func BenchmarkReplicateIdle(b *testing.B) {
	const jobs = 100
	a, c := harness.Start(b), harness.Start(b)
	conn := dial(b, c.Server().Host)
	dial(b, a.Server().Host).must(b, "PUT", "/source", nil)
	for i := range jobs {
		conn.must(b, "PUT", fmt.Sprintf("/t%d", i), nil)
	}
	before, _ := c.RSS()
	for i := range jobs {
		body, err := json.Marshal(map[string]any{"source": withCredentials(a.Server().Host, "source"), "target": fmt.Sprintf("t%d", i), "continuous": true})
		if err != nil {
			b.Fatal(err)
		}
		conn.must(b, "POST", "/_replicate", body)
	}
	client := harness.NewClient(c.Server(), time.Minute)
	defer client.Close()
	for running := 0; running < jobs; {
		var tasks []struct{ Type string }
		if err := client.Get(b.Context(), "/_active_tasks", &tasks); err != nil {
			b.Fatal(err)
		}
		running = len(tasks)
	}
	after, _ := c.RSS()
	b.ReportMetric(float64(after-before)/jobs/1024, "KiB/job")
}
