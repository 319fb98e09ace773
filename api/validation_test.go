package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// guardian is a design document that refuses documents with a member "bad".
const guardian = `{"_id":"_design/d", "validate_doc_update":"function (doc, old) { if (doc.bad) throw({forbidden: 'bad'}); if (doc._deleted && old && old.keep) throw({forbidden: 'kept'}); if (doc._attachments && doc._attachments.bad) throw({unauthorized: 'who?'}); }", "updates":{"u":"function (doc, req) { return [{_id: req.id, bad: req.query.bad}, 'ok']; }"}}`

// TestValidatedRoads: documents are validated whichever way they come.
func TestValidatedRoads(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/_design/d", guardian)
	hash := strings.Repeat("a", 32)
	var kept struct{ Rev string }
	n.must("PUT", "/db/kept", `{"keep":true}`).json(t, &kept)
	n.must("PUT", "/other", nil)
	n.must("PUT", "/other/bad", `{"bad":1}`)
	n.must("PUT", "/db/_local/bad", `{"bad":1}`)
	n.must("PUT", "/db/_design/bad", `{"bad":1}`)

	const bad = `{"bad":1}`
	tests := []struct {
		name         string
		method, path string
		body         any
		headers      []string
		row          bool // the refusal is a row of the answer
	}{
		{"put", "PUT", "/db/x", bad, nil, false},
		{"post", "POST", "/db", `{"_id":"x","bad":1}`, nil, false},
		{"put, replicated", "PUT", "/db/x?new_edits=false", `{"_rev":"1-` + hash + `","bad":1}`, nil, false},
		{"multipart", "PUT", "/db/x", "--b\r\nContent-Type: application/json\r\n\r\n{\"bad\":1,\"_attachments\":{\"a\":{\"follows\":true,\"length\":1,\"content_type\":\"text/plain\"}}}\r\n--b\r\n\r\nx\r\n--b--", []string{`Content-Type: multipart/related; boundary="b"`}, false},
		{"delete", "DELETE", "/db/kept?rev=" + kept.Rev, nil, nil, false},
		{"delete by put", "PUT", "/db/kept", `{"_rev":"` + kept.Rev + `","_deleted":true}`, nil, false},
		{"copy", "COPY", "/db/_local/bad", nil, []string{"Destination: x"}, false},
		{"copy of a design document", "COPY", "/db/_design/bad", nil, []string{"Destination: x"}, false},
		{"attachment", "PUT", "/db/x/bad", "text", []string{"Content-Type: text/plain"}, false},
		{"update function", "POST", "/db/_design/d/_update/u/x?bad=1", "", nil, false},
		{"bulk", "POST", "/db/_bulk_docs", `{"docs":[{"_id":"x","bad":1}]}`, nil, true},
		{"bulk, replicated", "POST", "/db/_bulk_docs", `{"new_edits":false,"docs":[{"_id":"x","_rev":"1-` + hash + `","bad":1}]}`, nil, true},
		{"form", "POST", "/db/x", "--b\r\nContent-Disposition: form-data; name=\"_doc\"\r\n\r\n{\"bad\":1}\r\n--b--\r\n", []string{"Content-Type: multipart/form-data; boundary=b", "Referer: " + n.url + "/"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := n.do(test.method, test.path, test.body, test.headers...)
			want := http.StatusForbidden
			switch {
			case test.row:
				want = http.StatusCreated
			case test.name == "attachment":
				want = http.StatusUnauthorized
			}
			if a.StatusCode != want || !strings.Contains(string(a.body), `"reason":"`) {
				t.Errorf("%s\n%s", a.Status, a.body)
			}
		})
	}
	if a := n.do("GET", "/db/x", nil); a.StatusCode != http.StatusNotFound {
		t.Errorf("written: %s", a.body)
	}
	// What is written later is validated, too; nobody is told.
	if a := n.do("PUT", "/db/later?batch=ok", bad); a.StatusCode != http.StatusAccepted {
		t.Errorf("%s\n%s", a.Status, a.body)
	}
	n.must("POST", "/db/_ensure_full_commit", "{}")
	if a := n.do("GET", "/db/later", nil); a.StatusCode != http.StatusNotFound {
		t.Errorf("written later: %s", a.body)
	}
	// Replication counts what is refused, whether it goes through the store or over HTTP.
	remote := strings.Replace(n.url, "http://", "http://"+adminName+":"+adminPassword+"@", 1)
	for _, target := range []string{"db", remote + "/db"} {
		var answer struct {
			History []struct {
				Failed int `json:"doc_write_failures"`
			}
		}
		n.must("POST", "/_replicate", map[string]any{"source": "other", "target": target}).json(t, &answer)
		if len(answer.History) != 1 || answer.History[0].Failed != 1 {
			t.Errorf("replicated to %s: %+v", target, answer)
		}
	}
	if a := n.do("GET", "/db/bad", nil); a.StatusCode != http.StatusNotFound {
		t.Errorf("replicated: %s", a.body)
	}
}

// TestRuleByReplication: a rule that comes by replication holds at once.
func TestRuleByReplication(t *testing.T) {
	n := newNode(t)
	for _, db := range []string{"/a", "/b"} {
		n.must("PUT", db, nil)
	}
	n.must("PUT", "/b/x", `{"bad":1}`)
	n.must("PUT", "/a/_design/d", guardian)
	n.must("POST", "/_replicate", `{"source":"a","target":"b"}`)
	n.refused(http.StatusForbidden, "forbidden", "bad", "PUT", "/b/y", `{"bad":1}`)
}

// TestHostileFunctions: functions that do not end are ended, and everything else goes on.
func TestHostileFunctions(t *testing.T) {
	n := newNode(t, func(n *node) { n.scripts.Time = 100 * time.Millisecond })
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/_design/d", `{"shows":{"s":"function () { for (;;); }"},"updates":{"u":"function () { for (;;); }"},"filters":{"f":"function () { for (;;); }"},"rewrites":"function () { for (;;); }"}`)
	n.must("PUT", "/other", nil)
	n.must("PUT", "/other/_design/d", `{"validate_doc_update":"function () { for (;;); }"}`)
	ended := make(chan string)
	requests := [][2]string{
		{"GET", "/db/_design/d/_show/s"},
		{"POST", "/db/_design/d/_update/u"},
		{"GET", "/db/_changes?filter=d/f"},
		{"GET", "/db/_design/d/_rewrite/x"},
		{"PUT", "/other/x"},
	}
	for _, r := range requests {
		go func() {
			a := n.do(r[0], r[1], "{}")
			ended <- fmt.Sprintf("%s %s: %d %s", r[0], r[1], a.StatusCode, a.body)
		}()
	}
	for range requests {
		if answer := <-ended; !strings.Contains(answer, `: 500 {"error":"`) {
			t.Error(answer)
		}
	}
	n.must("PUT", "/db/x", "{}")
}

// TestSlowFilter: a feed whose filter takes its time gives signs of life, and ends when the client goes.
func TestSlowFilter(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/_design/d", `{"filters":{"f":"function (doc) { var end = new Date().getTime() + 20; while (new Date().getTime() < end); return false; }"}}`)
	var docs []any
	for range 500 {
		docs = append(docs, map[string]any{"n": 1})
	}
	n.must("POST", "/db/_bulk_docs", map[string]any{"docs": docs})
	response, err := n.client.Do(n.request("GET", "/db/_changes?feed=continuous&heartbeat=50&filter=d/f", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	began := time.Now()
	buf := make([]byte, 1)
	for range 3 {
		if _, err := response.Body.Read(buf); err != nil || buf[0] != '\n' {
			t.Fatalf("%q, %v", buf, err)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("three heartbeats of 50 ms took %s", took)
	}
}
