package integration

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// The benchmarks drive a node over loopback as its clients would, and tell rates and ratios within one run. Each
// iteration does a fixed amount of work: run them with -benchtime=1x, as make bench does.

// connection is a keep-alive connection that costs the machine as little as can be, so that what is measured is the
// server.
type connection struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
}

func dial(tb testing.TB, host string) *connection {
	tb.Helper()
	c, err := net.Dial("tcp", host)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return &connection{conn: c, in: bufio.NewReaderSize(c, 64<<10)}
}

var authorization = "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("admin:secret")) + "\r\n"

// do sends a request and reads its answer, of which it returns the status and the length.
func (c *connection) do(method, path string, body []byte) (status int, length int64, err error) {
	c.out = append(c.out[:0], method...)
	c.out = append(c.out, ' ')
	c.out = append(c.out, path...)
	c.out = append(c.out, " HTTP/1.1\r\nHost: bench\r\n"...)
	c.out = append(c.out, authorization...)
	if body != nil {
		c.out = append(c.out, "Content-Type: application/json\r\nContent-Length: "...)
		c.out = strconv.AppendInt(c.out, int64(len(body)), 10)
		c.out = append(c.out, "\r\n"...)
	}
	c.out = append(c.out, "\r\n"...)
	c.out = append(c.out, body...)
	if _, err := c.conn.Write(c.out); err != nil {
		return 0, 0, err
	}
	return c.answer()
}

func (c *connection) answer() (status int, length int64, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, 0, err
	}
	if len(line) < 12 {
		return 0, 0, errors.New("short status line")
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, err
	}
	length = -1
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return status, 0, err
		}
		if len(line) <= 2 {
			break
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.ParseInt(string(bytes.TrimSpace(v)), 10, 64); err != nil {
				return status, 0, err
			}
		}
	}
	if length >= 0 {
		_, err = io.CopyN(io.Discard, c.in, length)
		return status, length, err
	}
	return status, length, c.chunks(&length)
}

func (c *connection) chunks(length *int64) error {
	for *length = 0; ; {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 64)
		if err != nil {
			return err
		}
		*length += n
		if _, err := io.CopyN(io.Discard, c.in, n+2); err != nil || n == 0 {
			return err
		}
	}
}

func (c *connection) must(tb testing.TB, method, path string, body []byte) int64 {
	tb.Helper()
	status, n, err := c.do(method, path, body)
	if err != nil || status >= 300 {
		tb.Fatalf("%s %s: %d %v", method, path, status, err)
	}
	return n
}

// together runs n calls of f on as many connections as there are clients, and returns the calls per second.
func together(tb testing.TB, host string, clients, n int, f func(c *connection, i int) error) float64 {
	tb.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	conns := make([]*connection, clients)
	for k := range conns {
		conns[k] = dial(tb, host)
	}
	failed := make([]error, clients)
	began := time.Now()
	for k, c := range conns {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && failed[k] == nil; i = int(next.Add(1)) - 1 {
				failed[k] = f(c, i)
			}
		})
	}
	wg.Wait()
	rate := float64(n) / time.Since(began).Seconds()
	if err := errors.Join(failed...); err != nil {
		tb.Fatal(err)
	}
	return rate
}

var benchWords = strings.Fields("harbour meeting minutes village proposal budget ballot member district council form letter poster archive comment revision neighbour message parcel library water electricity school clinic bus market season bridge agenda task owner deadline sketch review accepted stored")

// benchDoc is a document of about 600 bytes.
func benchDoc(r *rand.Rand, id string) []byte {
	word := func() string { return benchWords[r.IntN(len(benchWords))] }
	var text strings.Builder
	for text.Len() < 340 {
		text.WriteString(word())
		text.WriteByte(' ')
	}
	d := map[string]any{
		"type": "post", "title": word() + " " + word(), "tags": []string{word(), word(), word()},
		"author":  map[string]any{"name": fmt.Sprintf("user%d", r.IntN(200)), "role": word()},
		"created": fmt.Sprintf("2026-%02d-%02dT%02d:00:00Z", 1+r.IntN(12), 1+r.IntN(28), r.IntN(24)),
		"votes":   r.IntN(1000), "score": r.Float64() * 10, "published": r.IntN(2) == 0, "body": text.String(),
	}
	if id != "" {
		d["_id"] = id
	}
	b, err := json.Marshal(d)
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	return b
}

func benchID(i int) string { return fmt.Sprintf("post-%08d", i) }

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

func bulkBody(r *rand.Rand, from, n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"docs":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(benchDoc(r, benchID(from+i)))
	}
	b.WriteString("]}")
	return b.Bytes()
}

func fillDB(tb testing.TB, c *connection, db string, n int) {
	tb.Helper()
	r := seeded(1)
	c.must(tb, "PUT", "/"+db, nil)
	for i := 0; i < n; i += 1000 {
		c.must(tb, "POST", "/"+db+"/_bulk_docs", bulkBody(r, i, min(1000, n-i)))
	}
}

func BenchmarkPut(b *testing.B) {
	node := harness.Start(b)
	host := node.Server().Host
	var single float64
	for _, clients := range []int{1, 8, 64, 256} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			n := 30000
			if clients == 1 {
				n = 2000
			}
			r := seeded(2)
			docs := make([][]byte, n)
			for i := range docs {
				docs[i] = benchDoc(r, "")
			}
			var rate float64
			for k := range b.N {
				db := fmt.Sprintf("put-%d-%d-%d", clients, k, time.Now().UnixNano())
				dial(b, host).must(b, "PUT", "/"+db, nil)
				rate = together(b, host, clients, n, func(c *connection, i int) error {
					status, _, err := c.do("PUT", "/"+db+"/"+benchID(i), docs[i])
					if err == nil && status != http.StatusCreated {
						err = fmt.Errorf("status %d", status)
					}
					return err
				})
			}
			if clients == 1 {
				single = rate
			}
			b.ReportMetric(rate, "docs/s")
			b.ReportMetric(rate/single, "x-of-1-client")
		})
	}
}

func BenchmarkBulk1000(b *testing.B) {
	const n = 100
	node := harness.Start(b)
	c := dial(b, node.Server().Host)
	r := seeded(3)
	bodies := make([][]byte, n)
	for i := range bodies {
		bodies[i] = bulkBody(r, i*1000, 1000)
	}
	var spent time.Duration
	for k := range b.N {
		db := fmt.Sprintf("/bulk-%d-%d", k, time.Now().UnixNano())
		c.must(b, "PUT", db, nil)
		began := time.Now()
		for _, body := range bodies {
			c.must(b, "POST", db+"/_bulk_docs", body)
		}
		spent += time.Since(began)
	}
	b.ReportMetric(float64(n*1000*b.N)/spent.Seconds(), "docs/s")
}

// memoryServer serves a body from memory, in a process of its own: what net/http can do on this machine.
const memoryServer = "MANGROVE_BENCH_MEMORY_SERVER"

func serveMemory() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	body := append(benchDoc(seeded(4), "post-00000001"), bytes.Repeat([]byte(" "), 40)...)
	fmt.Println(l.Addr())
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h["Content-Type"] = []string{"application/json"}
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
		_, _ = w.Write(body)
	}))
}

func startMemoryServer(b *testing.B) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), memoryServer+"=1")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func BenchmarkGet(b *testing.B) {
	const docs, n = 50000, 60000
	node := harness.Start(b)
	host := node.Server().Host
	fillDB(b, dial(b, host), "get", docs)
	memory := startMemoryServer(b)
	get := func(c *connection, i int) error {
		status, _, err := c.do("GET", "/get/"+benchID(i*7919%docs), nil)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		return err
	}
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			var rate, floor float64
			for range b.N {
				for range 3 { // in turn, so that both meet the same noise
					floor += together(b, memory, clients, n/3, get)
					rate += together(b, host, clients, n/3, get)
				}
			}
			b.ReportMetric(rate/float64(3*b.N), "gets/s")
			b.ReportMetric(floor/float64(3*b.N), "memory-gets/s")
			b.ReportMetric(rate/floor, "x-of-memory")
		})
	}
}

func BenchmarkList(b *testing.B) {
	const n = 200000
	node := harness.Start(b)
	c := dial(b, node.Server().Host)
	fillDB(b, c, "list", n)
	r := seeded(5)
	ids := make([]string, 10000)
	for i := range ids {
		ids[i] = benchID(r.IntN(n))
	}
	keys, err := json.Marshal(map[string]any{"keys": ids})
	if err != nil {
		b.Fatal(err)
	}
	for _, l := range []struct {
		name, path string
		body       []byte
		rows       int
	}{
		{"all_docs", "/list/_all_docs", nil, n},
		{"all_docs_with_docs", "/list/_all_docs?include_docs=true", nil, n},
		{"all_docs_10000_keys", "/list/_all_docs?include_docs=true", keys, len(ids)},
		{"changes", "/list/_changes", nil, n},
		{"changes_with_docs", "/list/_changes?include_docs=true", nil, n},
	} {
		b.Run(l.name, func(b *testing.B) {
			var bytes int64
			began := time.Now()
			for range b.N {
				if l.body != nil {
					bytes += c.must(b, "POST", l.path, l.body)
				} else {
					bytes += c.must(b, "GET", l.path, nil)
				}
			}
			spent := time.Since(began).Seconds()
			b.ReportMetric(float64(l.rows*b.N)/spent, "rows/s")
			b.ReportMetric(float64(bytes)/spent/(1<<20), "MiB/s")
		})
	}
}

func BenchmarkAttachment(b *testing.B) {
	for _, size := range []int64{64 << 20, 2 << 30} {
		b.Run(fmt.Sprintf("MiB=%d", size>>20), func(b *testing.B) {
			node := harness.Start(b, harness.WithConfig("[couchdb]\nmax_attachment_size = infinity\n"))
			dial(b, node.Server().Host).must(b, "PUT", "/att", nil)
			idle, _ := node.RSS()
			watch := watchRSS(node)
			var in, out time.Duration
			for k := range b.N {
				url := fmt.Sprintf("%s/att/doc%d/file.bin", node.URL(), k)
				began := time.Now()
				transfer(b, http.MethodPut, url, io.LimitReader(rand.NewChaCha8([32]byte{byte(k)}), size), size)
				in += time.Since(began)
				began = time.Now()
				if n := transfer(b, http.MethodGet, url, nil, 0); n != size {
					b.Fatalf("%d bytes came back of %d", n, size)
				}
				out += time.Since(began)
			}
			mib := float64(size*int64(b.N)) / (1 << 20)
			b.ReportMetric(mib/in.Seconds(), "in-MiB/s")
			b.ReportMetric(mib/out.Seconds(), "out-MiB/s")
			b.ReportMetric(float64(idle)/(1<<20), "idle-MiB")
			b.ReportMetric(float64(watch())/(1<<20), "peak-MiB")
		})
	}
}

func transfer(b *testing.B, method, url string, body io.Reader, size int64) int64 {
	b.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		b.Fatal(err)
	}
	req.ContentLength = size
	req.SetBasicAuth("admin", "secret")
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		b.Fatalf("%s: %s", method, resp.Status)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// watchRSS looks at the node's memory until the function that it returns is called, which tells the most seen.
func watchRSS(node *harness.Node) func() int64 { return watch(node.RSS) }

// watch looks at some memory again and again until the returned function is called, which tells the most of it.
func watch(memory func() (int64, bool)) func() int64 {
	stop, peak := make(chan struct{}), make(chan int64)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		var most int64
		for {
			if now, ok := memory(); ok {
				most = max(most, now)
			}
			select {
			case <-tick.C:
			case <-stop:
				peak <- most
				return
			}
		}
	}()
	return func() int64 { close(stop); return <-peak }
}

func BenchmarkStart(b *testing.B) {
	for _, docs := range []int{0, 1_000_000} {
		b.Run(fmt.Sprintf("docs=%d", docs), func(b *testing.B) {
			node := harness.Start(b)
			if docs > 0 {
				fillDB(b, dial(b, node.Server().Host), "many", docs)
			}
			var spent time.Duration
			for range b.N {
				node.Stop()
				began := time.Now()
				node.Restart()
				spent += time.Since(began)
			}
			idle, _ := node.RSS()
			b.ReportMetric(spent.Seconds()/float64(b.N), "s-to-ready")
			b.ReportMetric(float64(idle)/(1<<20), "idle-MiB")
		})
	}
}
