package integration

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// gzipped compresses a text that is repeated, between a beginning and an end.
func gzipped(t testing.TB, begin, repeated string, times int, end string) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(z, begin)
	piece := []byte(strings.Repeat(repeated, 1000))
	for range times / 1000 {
		if _, err := z.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = io.WriteString(z, end)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// parts is a multipart body of many parts.
func parts(t testing.TB, boundary, first string, n int, header textproto.MIMEHeader) []byte {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if err := w.SetBoundary(boundary); err != nil {
		t.Fatal(err)
	}
	p, err := w.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(p, first)
	for range n {
		if p, err = w.CreatePart(header); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(p, "x")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostileBodies(t *testing.T) {
	n := hostileNode(t)
	client := harness.NewClient(n.Server(), time.Minute)
	defer client.Close()
	const manyParts = 20000
	follows := strings.Builder{}
	for i := range manyParts {
		fmt.Fprintf(&follows, `"a%d":{"follows":true,"content_type":"a/b","length":1},`, i)
	}
	manyFollow := `{"_attachments":{` + strings.TrimSuffix(follows.String(), ",") + `}}`
	deep := func(open, middle, end string, n int) string {
		return strings.Repeat(open, n) + middle + strings.Repeat(end, n)
	}
	revisions := `["` + strings.Repeat(`0123456789abcdef0123456789abcdef","`, 100000) + `0123456789abcdef0123456789abcdef"]`
	asJSON := "application/json"
	tests := []struct {
		name, method, path, kind string
		body                     string
		headers                  []string
		want                     []int // none: any of 4xx
	}{
		{name: "no UTF-8", method: "PUT", path: "/db/x", body: "{\"a\":\"\xff\"}"},
		{name: "UTF-8 of surrogates", method: "PUT", path: "/db/x", body: "{\"a\":\"\xed\xa0\x80\"}"},
		{name: "half a surrogate pair", method: "PUT", path: "/db/surrogate", body: `{"a":"\ud800"}`, want: []int{201, 400}},
		{name: "NUL", method: "PUT", path: "/db/x", body: "{\"a\":\"\x00\"}"},
		{name: "deep arrays", method: "PUT", path: "/db/x", body: `{"a":` + deep("[", "", "]", 1_000_000) + `}`},
		{name: "deep objects", method: "PUT", path: "/db/x", body: deep(`{"a":`, "1", "}", 1_000_000)},
		{name: "arrays that do not end", method: "PUT", path: "/db/x", body: `{"a":` + deep("[", "", "", 5_000_000)},
		{name: "a huge exponent", method: "PUT", path: "/db/x", body: `{"a":1e999999999}`, want: []int{201, 400}},
		{name: "a small exponent", method: "PUT", path: "/db/small", body: `{"a":1e-999999999}`, want: []int{201, 400}},
		{name: "an exponent without bound", method: "PUT", path: "/db/x", body: `{"a":1e99999999999999999999}`, want: []int{201, 400}},
		{name: "a number of a million digits", method: "PUT", path: "/db/digits", body: `{"a":` + strings.Repeat("7", 1_000_000) + `}`, want: []int{201, 400}},
		{name: "a fraction of a million digits", method: "PUT", path: "/db/fraction", body: `{"a":0.` + strings.Repeat("7", 1_000_000) + `}`, want: []int{201, 400}},
		{name: "a member of a megabyte", method: "PUT", path: "/db/member", body: `{"` + strings.Repeat("k", 1<<20) + `":1}`, want: []int{201, 400}},
		{name: "equal members", method: "PUT", path: "/db/equal", body: `{` + strings.Repeat(`"a":1,`, 500_000) + `"a":2}`, want: []int{201, 400}},
		{name: "a document beyond the limit", method: "PUT", path: "/db/x", body: `{"a":"` + strings.Repeat("x", 9_000_000) + `"}`, want: []int{413}},
		{name: "blanks beyond the limit", method: "PUT", path: "/db/x", body: strings.Repeat(" ", 100<<20) + "{}", want: []int{201, 400, 413}},
		{name: "a long id", method: "PUT", path: "/db/" + strings.Repeat("i", 7900), body: "{}", want: []int{201, 400}},
		{name: "an id beyond a key", method: "POST", path: "/db", body: `{"_id":"` + strings.Repeat("i", 1<<20) + `"}`},
		{name: "a million revisions", method: "PUT", path: "/db/revs?new_edits=false", body: `{"_rev":"200000-0123456789abcdef0123456789abcdef","_revisions":{"start":200000,"ids":` + revisions + `}}`, want: []int{201, 400, 409, 413}},
		{name: "a generation without bound", method: "PUT", path: "/db/x?new_edits=false", body: `{"_rev":"99999999999999999999-a"}`},
		{name: "the greatest generation", method: "PUT", path: "/db/x?new_edits=false", body: `{"_rev":"9223372036854775807-0123456789abcdef0123456789abcdef"}`, want: []int{201, 400}},
		{name: "a bomb as a document", method: "PUT", path: "/db/x", body: string(gzipped(t, `{"a":"`, "x", 300_000_000, `"}`)), headers: []string{"Content-Encoding", "gzip"}, want: []int{413}},
		{name: "a bomb of blanks", method: "PUT", path: "/db/blanks", body: string(gzipped(t, "", " ", 300_000_000, `{}`)), headers: []string{"Content-Encoding", "gzip"}, want: []int{201, 400, 413}},
		{name: "a bomb as one of many", method: "POST", path: "/db/_bulk_docs", kind: asJSON, body: string(gzipped(t, `{"docs":[{"a":"`, "x", 300_000_000, `"}]}`)), headers: []string{"Content-Encoding", "gzip"}, want: []int{413}},
		{name: "a bomb in another member", method: "POST", path: "/db/_bulk_docs", kind: asJSON, body: string(gzipped(t, `{"x":"`, "x", 300_000_000, `","docs":[]}`)), headers: []string{"Content-Encoding", "gzip"}, want: []int{201, 400, 413}},
		{name: "a bomb as a query", method: "POST", path: "/db/_find", kind: asJSON, body: string(gzipped(t, `{"selector":{"a":"`, "x", 300_000_000, `"}}`)), headers: []string{"Content-Encoding", "gzip"}, want: []int{413}},
		{name: "a bomb as keys", method: "POST", path: "/db/_all_docs", kind: asJSON, body: string(gzipped(t, `{"keys":["`, `a","`, 60_000_000, `"]}`)), headers: []string{"Content-Encoding", "gzip"}, want: []int{200, 400, 413}},
		{name: "a bomb as queries", method: "POST", path: "/db/_all_docs/queries", kind: asJSON, body: string(gzipped(t, `{"queries":[`, `{},`, 30_000_000, `{}]}`)), headers: []string{"Content-Encoding", "gzip"}, want: []int{400, 413}},
		{name: "a bomb as documents to get", method: "POST", path: "/db/_bulk_get", kind: asJSON, body: string(gzipped(t, `{"docs":[`, `{"id":"none"},`, 1_000_000, `{"id":"x"}]}`)), headers: []string{"Content-Encoding", "gzip"}, want: []int{200, 400, 413}},
		{name: "a bomb as ids of changes", method: "POST", path: "/db/_changes?filter=_doc_ids", kind: asJSON, body: string(gzipped(t, `{"doc_ids":["`, `a","`, 30_000_000, `"]}`)), headers: []string{"Content-Encoding", "gzip"}, want: []int{400, 413}},
		{name: "a bomb as a purge", method: "POST", path: "/db/_purge", kind: asJSON, body: string(gzipped(t, `{`, `"a":["1-b"],`, 20_000_000, `"z":[]}`)), headers: []string{"Content-Encoding", "gzip"}, want: []int{400, 413}},
		{name: "a bomb as differences", method: "POST", path: "/db/_revs_diff", kind: asJSON, body: string(gzipped(t, `{"a":["`, `1-a","`, 60_000_000, `1-b"]}`)), headers: []string{"Content-Encoding", "gzip"}, want: []int{200, 400, 413}},
		{name: "no gzip", method: "PUT", path: "/db/x", body: "{}", headers: []string{"Content-Encoding", "gzip"}},
		{name: "half a gzip", method: "PUT", path: "/db/x", body: string(gzipped(t, `{"a":1}`, " ", 100_000, "")[:40]), headers: []string{"Content-Encoding", "gzip"}},
		{name: "an unknown encoding", method: "PUT", path: "/db/x", body: "{}", headers: []string{"Content-Encoding", "br"}, want: []int{415}},
		{name: "thousands of parts", method: "PUT", path: "/db/parts", kind: "multipart/related; boundary=b", body: string(parts(t, "b", manyFollow, manyParts, nil)), want: []int{201, 400, 413}},
		{name: "thousands of parts that nobody expects", method: "PUT", path: "/db/x", kind: "multipart/related; boundary=b", body: string(parts(t, "b", "{}", manyParts, nil)), want: []int{201, 400}},
		{name: "a part with a long head", method: "PUT", path: "/db/x", kind: "multipart/related; boundary=b", body: "--b\r\nX: " + strings.Repeat("y", 20<<20) + "\r\n\r\n{}\r\n--b--"},
		{name: "no boundary", method: "PUT", path: "/db/x", kind: "multipart/related", body: "--b\r\n\r\n{}\r\n--b--"},
		{name: "a long boundary", method: "PUT", path: "/db/x", kind: "multipart/related; boundary=" + strings.Repeat("b", 5000), body: "{}"},
		{name: "parts without an end", method: "PUT", path: "/db/x", kind: "multipart/related; boundary=b", body: "--b\r\n\r\n" + manyFollow},
		{name: "a form of thousands of fields", method: "POST", path: "/db/doc", kind: "multipart/form-data; boundary=b", body: string(parts(t, "b", "x", manyParts, textproto.MIMEHeader{"Content-Disposition": {`form-data; name="a"`}}))},
		{name: "a deep selector", method: "POST", path: "/db/_find", kind: asJSON, body: `{"selector":` + deep(`{"$and":[`, `{}`, `]}`, 100_000) + `}`},
		{name: "a wide selector", method: "POST", path: "/db/_find", kind: asJSON, body: `{"selector":{"$or":[` + strings.Repeat(`{"a":1},`, 200_000) + `{}]}}`, want: []int{200, 400}},
		{name: "an expression that runs away", method: "POST", path: "/db/_find", kind: asJSON, body: `{"selector":{"text":{"$regex":"^(a+)+(b+)+$"}}}`, want: []int{200, 400}},
		{name: "an expression of a megabyte", method: "POST", path: "/db/_find", kind: asJSON, body: `{"selector":{"a":{"$regex":"` + strings.Repeat("(a|b){99}", 100_000) + `"}}}`, want: []int{200, 400}},
		{name: "a bookmark that is none", method: "POST", path: "/db/_find", kind: asJSON, body: `{"selector":{},"bookmark":"` + strings.Repeat("g1AAAA", 10000) + `"}`},
		{name: "a limit without bound", method: "GET", path: "/db/_all_docs?limit=99999999999999999999999", want: []int{200, 400}},
		{name: "a skip without bound", method: "GET", path: "/db/_all_docs?skip=18446744073709551615", want: []int{200, 400}},
		{name: "a deep key", method: "GET", path: "/db/_all_docs?startkey=" + deep("[", "", "]", 3000), want: []int{200, 400}},
		{name: "a sequence that is none", method: "GET", path: "/db/_changes?since=9999999999999999999999-x", want: []int{200, 400}},
		{name: "a heartbeat without bound", method: "GET", path: "/db/_changes?feed=longpoll&heartbeat=99999999999999999999&limit=1", want: []int{200, 400}},
		{name: "many revisions that are none", method: "GET", path: "/db/doc?open_revs=[" + strings.Repeat(`%221-a%22,`, 700) + `%221-b%22]`, want: []int{200, 400}},
		{name: "many ranges", method: "GET", path: "/db/parts/a0", headers: []string{"Range", "bytes=" + strings.Repeat("0-0,", 10000) + "0-0"}, want: []int{200, 206, 400, 404, 416}},
		{name: "many etags", method: "GET", path: "/db/doc", headers: []string{"If-None-Match", strings.Repeat(`"x", `, 10000) + `"y"`}, want: []int{200}},
		{name: "many accepted types", method: "GET", path: "/db/doc", headers: []string{"Accept", strings.Repeat(`a/b;q=0.1, `, 5000) + `c/d`}, want: []int{200, 406}},
		{name: "many uuids", method: "GET", path: "/_uuids?count=1000000000", want: []int{400}},
		{name: "a database above the folder", method: "PUT", path: "/..%2f..%2fx", want: []int{400}},
		{name: "a long database", method: "PUT", path: "/" + strings.Repeat("a", 5000), want: []int{400}},
		{name: "another protocol as a source", method: "POST", path: "/_replicate", kind: asJSON, body: `{"source":"file:///etc/passwd","target":"db"}`, want: []int{400, 403, 404, 500}},
		{name: "a purge of a hundred thousand", method: "POST", path: "/db/_purge", kind: asJSON, body: `{` + strings.Repeat(`"a":["1-b"],`, 100_000) + `"z":[]}`, want: []int{200, 201, 202, 400, 413}},
	}
	c := dial(t, n.Server().Host)
	text, err := json.Marshal(map[string]string{"text": strings.Repeat("a", 40) + "!"})
	if err != nil {
		t.Fatal(err)
	}
	c.must(t, "PUT", "/db/run", text)
	most := int64(0)
	for _, tt := range tests {
		headers := tt.headers
		if tt.kind != "" {
			headers = append(headers, "Content-Type", tt.kind)
		} else if tt.body != "" {
			headers = append(headers, "Content-Type", asJSON)
		}
		var body any
		if tt.body != "" {
			body = []byte(tt.body)
		}
		began := time.Now()
		res, err := client.Do(t.Context(), tt.method, tt.path, body, headers...)
		took := time.Since(began)
		if err != nil {
			// A body that is not wanted need not be read, and the client may notice before it sees the answer.
			if !strings.Contains(err.Error(), "broken pipe") && !strings.Contains(err.Error(), "reset by peer") {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		good := tt.want == nil && res.Status/100 == 4
		for _, status := range tt.want {
			good = good || res.Status == status
		}
		if !good {
			t.Errorf("%s: %d %.200s", tt.name, res.Status, res.Body)
		}
		if took > 15*time.Second {
			t.Errorf("%s took %v", tt.name, took)
		}
		if rss, ok := n.RSS(); ok && rss > most {
			most = rss
			t.Logf("%-40s %d %6.0f MiB %v", tt.name, res.Status, float64(rss)/(1<<20), took.Round(time.Millisecond))
		}
	}
	if most > 400<<20 {
		t.Errorf("the node grew to %d MiB", most>>20)
	}
}

// TestBulkBomb sends more documents than fit into memory, in a body of a few kilobytes, several at a time.
func TestBulkBomb(t *testing.T) {
	const senders, docs = 4, 60_000
	n := hostileNode(t)
	client := harness.NewClient(n.Server(), 5*time.Minute)
	defer client.Close()
	body := gzipped(t, `{"docs":[`, `{},`, docs, `{}]}`)
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			db := fmt.Sprintf("/bomb%d", i)
			if _, err := client.Do(t.Context(), "PUT", db, nil); err != nil {
				t.Error(err)
				return
			}
			res, err := client.Do(t.Context(), "POST", db+"/_bulk_docs", body, "Content-Type", "application/json", "Content-Encoding", "gzip")
			if err != nil || res.Status != 201 {
				t.Error(res, err)
				return
			}
			var info struct {
				Docs int `json:"doc_count"`
			}
			if err := client.Get(t.Context(), db, &info); err != nil || info.Docs != docs+1 {
				t.Errorf("%d documents, %v", info.Docs, err)
			}
		})
	}
	wg.Wait()
	// What the process has mapped of its files is the system's to give up, and does not count.
	if own := statusField(n, "RssAnon"); own > 400<<20 {
		t.Errorf("the node grew to %d MiB", own>>20)
	} else {
		t.Logf("%d MiB", own>>20)
	}
}
