package api

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// bulkRow is a row of the answer to a bulk write.
type bulkRow struct {
	OK     bool
	ID     string
	Rev    string
	Error  string
	Reason string
}

// largeBulk returns the body of a bulk write of n documents of about 1 KB, without its last brace.
func largeBulk(n int) *bytes.Buffer {
	pad := strings.Repeat("x", 1000)
	b := &bytes.Buffer{}
	b.WriteString(`{"docs":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, `{"_id":"d%06d","pad":%q}`, i, pad)
	}
	b.WriteByte(']')
	return b
}

// chunked hides the length of a body.
func chunked(b io.Reader) io.Reader { return struct{ io.Reader }{b} }

const isJSON = "Content-Type: application/json"

// many is a number of documents that is not kept in memory while the rest of the body is read.
const many = bulkBudget/2500 + 100

func TestBulkThroughSpool(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	body := largeBulk(many)
	body.WriteString(`,"new_edits":true}`)
	var rows []bulkRow
	n.must("POST", "/db/_bulk_docs", chunked(bytes.NewReader(body.Bytes())), isJSON).json(t, &rows)
	if len(rows) != many {
		t.Fatalf("%d rows", len(rows))
	}
	for i, r := range rows {
		if !r.OK || r.ID != fmt.Sprintf("d%06d", i) {
			t.Fatalf("row %d: %+v", i, r)
		}
	}
	// Again: every one a conflict, and the last of equal members counts.
	a := n.do("POST", "/db/_bulk_docs", chunked(io.MultiReader(strings.NewReader(`{"docs":[{"_id":"first"}],`), bytes.NewReader(body.Bytes()[1:]))), isJSON)
	a.json(t, &rows)
	if a.StatusCode != http.StatusCreated || len(rows) != many || rows[0].Error != "conflict" || rows[many-1].Error != "conflict" {
		t.Fatalf("%s, %d rows", a.Status, len(rows))
	}
	n.refused(404, "not_found", "missing", "GET", "/db/first", nil)
}

// TestBulkIsAllChecked checks that nothing is written of a body that is bad at its end.
func TestBulkIsAllChecked(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	for tail, reason := range map[string]string{
		``:                      "invalid UTF-8 JSON",
		`,"new_edits":1}`:       "`new_edits` parameter must be a boolean.",
		`,"new_edits":false}`:   "When `new_edits: false`, the document needs `_rev` or `_revisions` specified",
		`}x`:                    "invalid UTF-8 JSON",
		`,"docs":[{"_id":"a"]}`: "invalid UTF-8 JSON",
	} {
		for _, size := range []int{1, many} {
			body := largeBulk(size)
			body.WriteString(tail)
			n.refused(400, "bad_request", reason, "POST", "/db/_bulk_docs", chunked(body), isJSON)
		}
	}
	body := largeBulk(many)
	body.Truncate(body.Len() - 1)
	body.WriteString(`,{"_id":"_bad"}]}`)
	n.refused(400, "illegal_docid", "Only reserved document ids may start with underscore.", "POST", "/db/_bulk_docs", chunked(body), isJSON)
	if l := n.list("GET", "/db/_all_docs?limit=1", nil); *l.Total != 0 {
		t.Errorf("%d documents were written", *l.Total)
	}
}

// TestBulkAborted checks that nothing is written of a body whose sender goes away.
func TestBulkAborted(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	r, w := io.Pipe()
	request := n.request("POST", "/db/_bulk_docs", r, isJSON)
	go func() {
		_, _ = w.Write(largeBulk(3).Bytes())
		w.CloseWithError(io.ErrClosedPipe)
	}()
	if response, err := n.client.Do(request); err == nil {
		response.Body.Close()
		t.Fatalf("the request was answered: %s", response.Status)
	}
	if l := n.list("GET", "/db/_all_docs?limit=1", nil); *l.Total != 0 {
		t.Errorf("%d documents were written", *l.Total)
	}
}

// TestBulkResults checks the rows of what is written in other ways, or not at all.
func TestBulkResults(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	var rows []bulkRow
	n.must("POST", "/db/_bulk_docs", `{"new_edits":true,"docs":[{"_id":"a"},{"_id":"_local/l","_rev":"0-3"},{"_id":"_design/bad","views":1},
		{"_id":"_design/good","views":{}},{"_id":"_local/l","_deleted":true},{"_id":"z","_attachments":{"t":{"data":"aGk="}}}]}`).json(t, &rows)
	want := []bulkRow{
		{true, "a", "1-967a00dff5e02add41819138abb3284d", "", ""},
		{true, "_local/l", "0-4", "", ""},
		{false, "_design/bad", "", "invalid_design_doc", "`views` field must have object type, but got number"},
		{true, "_design/good", "1-0b24e44a44af45e51e562fd124ce3007", "", ""},
		{true, "_local/l", "0-0", "", ""},
		{true, "z", "", "", ""},
	}
	for i := range want {
		if i < len(rows) && want[i].Rev == "" {
			want[i].Rev = rows[i].Rev
		}
		if want[i].Error != "" && i < len(rows) {
			want[i].Reason = rows[i].Reason
		}
		if i >= len(rows) || rows[i] != want[i] {
			t.Errorf("row %d of %+v, want %+v", i, rows, want[i])
		}
	}
	if a := n.must("GET", "/db/z/t", nil); string(a.body) != "hi" {
		t.Errorf("attachment %q", a.body)
	}

	n.refused(400, "bad_request", "Invalid rev format", "POST", "/db/_bulk_docs", `{"docs":[{"_id":"b"},{"_id":"_local/l","_rev":"1-a"}]}`)
	n.refused(412, "missing_stub", "Invalid attachment stub in s for t", "POST", "/db/_bulk_docs", `{"docs":[{"_id":"s","_attachments":{"t":{"stub":true}}}]}`)
	if a := n.do("POST", "/db/_bulk_docs", `{"docs":[{"_id":"f","_attachments":{"t":{"follows":true}}}]}`); a.StatusCode != http.StatusBadRequest {
		t.Errorf("an attachment that follows: %s", a.Status)
	}
	n.refused(404, "not_found", "missing", "GET", "/db/b", nil)
}

// TestBulkReplicatedErrors checks that refused revisions are named, and accepted ones are not.
func TestBulkReplicatedErrors(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	var rows []bulkRow
	n.must("POST", "/db/_bulk_docs", `{"docs":[{"_id":"_design/bad","_rev":"1-a","views":1},{"_id":"a","_rev":"1-b"}],"new_edits":false}`).json(t, &rows)
	if len(rows) != 1 || rows[0].ID != "_design/bad" || rows[0].Rev != "1-a" || rows[0].Error != "invalid_design_doc" {
		t.Errorf("rows %+v", rows)
	}
}

func TestBulkInPartitions(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db?partitioned=true", nil)
	n.refused(400, "illegal_docid", "Doc id must be of form partition:id", "POST", "/db/_bulk_docs", `{"docs":[{"_id":"p:a"},{"_id":"b"}]}`)
	n.refused(400, "illegal_docid", "Doc id must be of form partition:id", "POST", "/db/_bulk_docs", `{"docs":[{"_id":"p:a"},{}]}`)
	n.refused(404, "not_found", "missing", "GET", "/db/p:a", nil)
}
