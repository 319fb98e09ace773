package api

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// written is the answer to a write.
type written struct {
	OK  bool
	ID  string
	Rev string
}

func (n *node) write(method, path string, body any, headers ...string) written {
	n.Helper()
	var w written
	n.must(method, path, body, headers...).json(n.TB, &w)
	return w
}

func TestDocumentLimits(t *testing.T) {
	n := newNode(t, setting("couchdb", "max_document_size", "1000"), setting("couchdb", "max_attachment_size", "2000"), setting("chttpd", "max_http_request_size", "6000"))
	n.must(http.MethodPut, "/d", nil)
	body := func(size int) string { return `{"s":"` + strings.Repeat("x", size-len(`{"s":""}`)) + `"}` }
	n.must(http.MethodPut, "/d/fits", body(1000))
	n.refused(413, "document_too_large", "", http.MethodPut, "/d/over", body(1001))
	n.refused(413, "document_too_large", "over", http.MethodPut, "/d/over", `{"_id":"over",`+body(1001)[1:])
	n.refused(413, "document_too_large", "over", http.MethodPost, "/d", `{"_id":"over",`+body(1001)[1:])
	n.refused(413, "too_large", "the request entity is too large", http.MethodPut, "/d/over", body(6001))
	// Without a length it shows when the limit is reached.
	n.refused(413, "too_large", "the request entity is too large", http.MethodPut, "/d/over", io.MultiReader(strings.NewReader(body(6001))))

	at := func(size int) string { return strings.Repeat("x", size) }
	n.must(http.MethodPut, "/d/a/fits", at(2000), "Content-Type: image/png")
	n.refused(413, "attachment_too_large", "over", http.MethodPut, "/d/b/over", at(2001), "Content-Type: image/png")
	inline := `{"_attachments":{"over":{"data":"` + strings.Repeat("AAAA", 667) + `"}}}`
	n.refused(413, "attachment_too_large", "over", http.MethodPut, "/d/b", inline)
	for _, length := range []string{`,"length":2001`, ""} {
		n.refused(413, "attachment_too_large", "over", http.MethodPut, "/d/b", message(`{"_attachments":{"over":{"follows":true`+length+`}}}`, at(2001)), relatedType)
	}
	n.refused(404, "not_found", "missing", http.MethodGet, "/d/b", nil)
}

func TestDesignDocuments(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/d", nil)
	for body, reason := range map[string]string{
		`{"views":[]}`:                                   "`views` field must have object type",
		`{"views":{"lib":"x"}}`:                          "`views.lib` field must have object type",
		`{"views":{"v":{}}}`:                             "View `v` must contain map function",
		`{"views":{"v":{"map":"f","reduce":1}}}`:         "`views.v.reduce` field must have string type",
		`{"language":"query","views":{"v":{"map":"f"}}}`: "`views.v.map` field must have object type",
		`{"filters":{"f":1}}`:                            "`filters.f` field must have string or object type",
		`{"filters":"f"}`:                                "`filters` field must have object type",
		`{"options":{"partitioned":1}}`:                  "`options.partitioned` field must have boolean type",
		`{"rewrites":{}}`:                                "`rewrites` field must have array or string type",
		`{"validate_doc_update":null}`:                   "`validate_doc_update` field must have string type",
	} {
		n.refused(400, "invalid_design_doc", reason, http.MethodPut, "/d/_design/x", body)
		n.refused(400, "invalid_design_doc", reason, http.MethodPost, "/d", `{"_id":"_design/x",`+body[1:])
	}
	n.must(http.MethodPut, "/d/_design/x", `{"language":"query","views":{"lib":{"a":"b"},"v":{"map":{}}},"filters":{"f":"f","g":{}},"rewrites":[]}`)

	a := n.do(http.MethodGet, "/d/_design%2fx?rev=1-a", nil)
	if want := n.url + "/d/_design/x?rev=1-a"; a.StatusCode != http.StatusMovedPermanently || a.Header.Get("Location") != want {
		t.Errorf("%s, Location %s, want %s", a.Status, a.Header.Get("Location"), want)
	}
}

func TestCopyWithAttachments(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/d", nil)
	one := n.write(http.MethodPut, "/d/a", `{"n":1}`)
	two := n.write(http.MethodPut, "/d/a/f?rev="+one.Rev, "content", "Content-Type: image/png")
	n.must("COPY", "/d/a", nil, "Destination: b")
	n.must("COPY", "/d/a?rev="+two.Rev, nil, "Destination: c/d")
	if a := n.must(http.MethodGet, "/d/b/f", nil); string(a.body) != "content" {
		t.Errorf("copied content %q", a.body)
	}
	var doc struct {
		Attachments map[string]struct{ RevPos int } `json:"_attachments"`
	}
	n.must(http.MethodGet, "/d/c%2Fd", nil).json(t, &doc)
	if doc.Attachments["f"].RevPos != 2 {
		t.Errorf("a copy's attachment is of generation %d", doc.Attachments["f"].RevPos)
	}
	n.refused(409, "conflict", "Document update conflict.", "COPY", "/d/a", nil, "Destination: b?rev=7-x")
	n.refused(400, "bad_request", "Invalid rev format", "COPY", "/d/a", nil, "Destination: b?rev=x")
	n.refused(404, "not_found", "missing", "COPY", "/d/a?rev=9-x", nil, "Destination: e")
	n.must(http.MethodDelete, "/d/a?rev="+two.Rev, nil)
	n.refused(404, "not_found", "deleted", "COPY", "/d/a", nil, "Destination: e")
}

func TestLocalEntityTags(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/d", nil)
	n.must(http.MethodPut, "/d/_local/a", `{"n":1}`)
	tag := n.must(http.MethodGet, "/d/_local/a", nil).Header.Get("ETag")
	if a := n.do(http.MethodGet, "/d/_local/a", nil, "If-None-Match: "+tag); a.StatusCode != http.StatusNotModified {
		t.Errorf("with the tag: %s", a.Status)
	}
	put := n.must(http.MethodPut, "/d/_local/a", `{"n":2}`) // 0-1 again
	a := n.do(http.MethodGet, "/d/_local/a", nil, "If-None-Match: "+tag)
	if a.StatusCode != http.StatusOK || a.Header.Get("ETag") != put.Header.Get("ETag") {
		t.Errorf("with another body's tag: %s, %s", a.Status, a.Header.Get("ETag"))
	}
	n.refused(404, "not_found", "missing", http.MethodGet, "/d/_local/a?rev=0-1", nil)
	n.refused(404, "not_found", "missing", http.MethodGet, "/d/_local/a?open_revs=all", nil)
	n.refused(400, "bad_request", "_local documents do not accept attachments.", http.MethodGet, "/d/_local/a/f", nil)
	n.refused(400, "bad_request", "Invalid _local document id.", http.MethodGet, "/d/_local/", nil)
	n.must(http.MethodPut, "/d/_local/a", `{"_deleted":true}`)
	n.refused(404, "not_found", "missing", http.MethodGet, "/d/_local/a", nil)
}

func TestPartitionedIDs(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/d?partitioned=true", nil)
	n.must(http.MethodPut, "/d/p:a", `{}`)
	const reason = "Doc id must be of form partition:id"
	for _, r := range []struct{ method, path string }{
		{http.MethodGet, "/d/x"},
		{http.MethodGet, "/d/x?open_revs=all"},
		{http.MethodDelete, "/d/x"},
		{http.MethodGet, "/d/x/f"},
		{http.MethodPut, "/d/x/f"},
		{http.MethodDelete, "/d/x/f"},
	} {
		n.refused(400, "illegal_docid", reason, r.method, r.path, nil)
	}
	n.refused(400, "illegal_docid", reason, "COPY", "/d/p:a", nil, "Destination: x")
}

func TestBatch(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/d", nil)
	if a := n.must(http.MethodPut, "/d/a?batch=ok", `{"_attachments":{"f":{"data":"AAAA"}}}`); a.StatusCode != http.StatusAccepted {
		t.Error(a.Status)
	}
	n.must(http.MethodPost, "/d/_ensure_full_commit", `{}`)
	if a := n.must(http.MethodGet, "/d/a/f", nil); string(a.body) != "\x00\x00\x00" {
		t.Errorf("%q", a.body)
	}
}

func TestAccepts(t *testing.T) {
	for _, tt := range []struct {
		header []string
		want   bool
	}{
		{nil, true},
		{[]string{"*/*"}, true},
		{[]string{"multipart/*"}, true},
		{[]string{"application/json"}, false},
		{[]string{"application/json, Multipart/Mixed; q=0.5"}, true},
		{[]string{"application/json", "multipart/mixed"}, true},
		{[]string{"*/*, multipart/mixed;q=0"}, false},
		{[]string{"multipart/mixed; q=junk"}, false},
		{[]string{""}, false},
		{[]string{",;=,"}, false},
	} {
		q := &request{Request: &http.Request{Header: http.Header{}}}
		if tt.header != nil {
			q.Header["Accept"] = tt.header
		}
		if got := q.accepts("multipart/mixed"); got != tt.want {
			t.Errorf("Accept %q: %v", tt.header, got)
		}
	}
	for header, want := range map[string]bool{"": false, "gzip": true, "GZIP;q=1.0, br": true, "*": true, "*, gzip;q=0": false, "gzip;q=0.0": false, "deflate": false} {
		q := &request{Request: &http.Request{Header: http.Header{"Accept-Encoding": {header}}}}
		if got := q.acceptsGzip(); got != want {
			t.Errorf("Accept-Encoding %q: %v", header, got)
		}
	}
}

func TestEscape(t *testing.T) {
	if diff := cmp.Diff("a-b_c.d:e%7Ef%2Fg%20%C3%A9%2B", escape("a-b_c.d:e~f/g é+")); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseRevs(f *testing.F) {
	for _, s := range []string{`[]`, `["1-a"]`, `all`, `{}`, `["1-a",2]`, `[[[`, "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		revs, err := parseRevs(text)
		if err == nil {
			for _, rev := range revs {
				if _, err := parseRev(rev.String()); err != nil {
					t.Errorf("%q: %v", rev, err)
				}
			}
		} else if toError(err) == nil {
			t.Errorf("%v has no status", err)
		}
	})
}
