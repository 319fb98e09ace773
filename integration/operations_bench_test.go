package integration

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// Figures of operating a node: what signing in costs, what clients that wait take up, and what slow ones take from others.

// get asks for a path without saying who asks.
func (c *connection) get(path string) (status int, err error) {
	c.out = append(c.out[:0], "GET "...)
	c.out = append(c.out, path...)
	c.out = append(c.out, " HTTP/1.1\r\nHost: bench\r\n\r\n"...)
	if _, err := c.conn.Write(c.out); err != nil {
		return 0, err
	}
	status, _, err = c.answer()
	return status, err
}

// statusField returns a size from the node's /proc/PID/status in bytes, 0 where there is none.
func statusField(n *harness.Node, name string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// cpuTime returns how long the node has had a processor, 0 where that is not told.
func cpuTime(n *harness.Node) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.PID()))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	var ticks int64
	for _, f := range fields[11:13] {
		t, _ := strconv.ParseInt(f, 10, 64)
		ticks += t
	}
	return time.Duration(ticks) * 10 * time.Millisecond // Linux counts hundredths of seconds for everybody
}

const mib = 1 << 20

// BenchmarkBasicAuth compares reads with a name and a password with reads without.
func BenchmarkBasicAuth(b *testing.B) {
	node := harness.Start(b, harness.WithConfig("[couchdb]\ndefault_security = everyone\n"))
	host := node.Server().Host
	c := dial(b, host)
	c.must(b, "PUT", "/db", nil)
	c.must(b, "PUT", "/db/doc", benchDoc(seeded(1), ""))
	with := func(c *connection, _ int) error {
		status, _, err := c.do("GET", "/db/doc", nil)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		return err
	}
	without := func(c *connection, _ int) error {
		status, err := c.get("/db/doc")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		return err
	}
	const clients, n = 16, 40000
	together(b, host, clients, n/4, with)
	var sums [2]float64
	rounds := 0
	for b.Loop() {
		for range 3 { // in turn, so that what else the machine does meets both
			sums[0] += together(b, host, clients, n, without)
			sums[1] += together(b, host, clients, n, with)
			rounds++
		}
	}
	b.ReportMetric(sums[0]/float64(rounds), "anonymous/s")
	b.ReportMetric(sums[1]/float64(rounds), "basic/s")
	b.ReportMetric(100*sums[1]/sums[0], "%")
}

// BenchmarkIdleFeeds opens feeds that wait, and looks at what they take up.
func BenchmarkIdleFeeds(b *testing.B) {
	const feeds = 5000
	node := harness.Start(b)
	host := node.Server().Host
	c := dial(b, host)
	c.must(b, "PUT", "/db", nil)
	before, _ := node.RSS()
	for b.Loop() {
		conns := make([]net.Conn, feeds)
		var wg sync.WaitGroup
		next := make(chan int)
		for range 16 {
			wg.Go(func() {
				for i := range next {
					conn, err := net.Dial("tcp", host)
					if err != nil {
						b.Error(err)
						continue
					}
					conns[i] = conn
					_, _ = io.WriteString(conn, "GET /db/_changes?feed=continuous&heartbeat=60000 HTTP/1.1\r\nHost: x\r\n"+authorization+"\r\n")
					if res, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil); err != nil || res.StatusCode != http.StatusOK {
						b.Error(res, err)
					}
				}
			})
		}
		for i := range feeds {
			next <- i
		}
		close(next)
		wg.Wait()
		const idle = 10 * time.Second
		time.Sleep(idle / 2) // the collector of garbage has its turn
		busy := cpuTime(node)
		time.Sleep(idle)
		rss, _ := node.RSS()
		b.ReportMetric(float64(rss)/mib, "MiB")
		b.ReportMetric(float64(rss-before)/feeds/1024, "KiB/feed")
		b.ReportMetric(100*(cpuTime(node)-busy).Seconds()/idle.Seconds(), "%CPU")

		// A change is told to all of them.
		began := time.Now()
		for _, conn := range conns {
			wg.Go(func() {
				_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
				if _, err := io.ReadFull(conn, make([]byte, 20)); err != nil {
					b.Error(err)
				}
			})
		}
		c.must(b, "PUT", "/db/doc"+strconv.Itoa(b.N), []byte(`{}`))
		wg.Wait()
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms-to-all")
		for _, conn := range conns {
			conn.Close()
		}
	}
}

// BenchmarkEmptyDatabases starts a node that has many databases nobody uses.
func BenchmarkEmptyDatabases(b *testing.B) {
	const databases = 10000
	node := harness.Start(b)
	began := time.Now()
	together(b, node.Server().Host, 64, databases, func(c *connection, i int) error {
		status, _, err := c.do("PUT", fmt.Sprintf("/db%05d", i), nil)
		if err == nil && status != http.StatusCreated {
			err = fmt.Errorf("status %d", status)
		}
		return err
	})
	b.ReportMetric(databases/time.Since(began).Seconds(), "creations/s")
	for b.Loop() {
		node.Stop()
		began := time.Now()
		node.Restart()
		b.ReportMetric(time.Since(began).Seconds()*1000, "ms-start")
		time.Sleep(5 * time.Second) // indexes are looked for in all of them
		rss, _ := node.RSS()
		b.ReportMetric(float64(rss)/mib, "MiB")
		b.ReportMetric(float64(statusField(node, "RssAnon"))/mib, "MiB-anon")
	}
}

// BenchmarkSlowClients has clients work beside many that send their requests, or take their answers, as slowly as they
// are allowed to.
func BenchmarkSlowClients(b *testing.B) {
	const slow, clients, n = 1000, 8, 20000
	node := harness.Start(b)
	host := node.Server().Host
	c := dial(b, host)
	fillDB(b, c, "big", 20000)
	c.must(b, "PUT", "/db", nil)
	var round int
	work := func() (rate float64, worst time.Duration) {
		round++
		var mu sync.Mutex
		rate = together(b, host, clients, n, func(c *connection, i int) error {
			began := time.Now()
			method, body := "GET", []byte(nil)
			path := "/big/" + benchID(i%20000)
			if i%10 == 0 {
				method, path, body = "PUT", fmt.Sprintf("/db/%d-%d", round, i), []byte(`{"a":1}`)
			}
			status, _, err := c.do(method, path, body)
			if err == nil && status >= 300 {
				err = fmt.Errorf("status %d", status)
			}
			mu.Lock()
			worst = max(worst, time.Since(began))
			mu.Unlock()
			return err
		})
		return rate, worst
	}
	work()
	for b.Loop() {
		alone, _ := work()
		ctx, stop := context.WithCancel(b.Context())
		var wg sync.WaitGroup
		for i := range slow {
			conn, err := net.Dial("tcp", host)
			if err != nil {
				b.Fatal(err)
			}
			if i%2 == 0 { // takes nothing of a large answer
				_ = conn.(*net.TCPConn).SetReadBuffer(4096)
				_, _ = io.WriteString(conn, "GET /big/_all_docs?include_docs=true HTTP/1.1\r\nHost: x\r\n"+authorization+"\r\n")
			} else { // sends its document byte by byte
				_, _ = io.WriteString(conn, "POST /db/_bulk_docs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 15000000\r\n"+authorization+"\r\n{")
			}
			wg.Go(func() {
				defer conn.Close()
				for tick := time.NewTicker(500 * time.Millisecond); ; {
					select {
					case <-tick.C:
						if i%2 == 1 {
							_, _ = conn.Write([]byte{' '})
						}
					case <-ctx.Done():
						tick.Stop()
						return
					}
				}
			})
		}
		time.Sleep(3 * time.Second) // until each has what the system keeps for it
		beside, worst := work()
		rss, _ := node.RSS()
		b.ReportMetric(float64(rss)/mib, "MiB")
		stop()
		wg.Wait()
		b.ReportMetric(alone, "alone/s")
		b.ReportMetric(beside, "beside/s")
		b.ReportMetric(100*beside/alone, "%")
		b.ReportMetric(float64(worst.Milliseconds()), "ms-worst")
	}
}
