package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"testing"
)

// got is the answer to _bulk_get.
type got struct {
	Results []struct {
		ID   json.RawMessage              `json:"id"`
		Docs []map[string]json.RawMessage `json:"docs"`
	} `json:"results"`
}

// TestBulkGetFaults checks what is answered in place of documents that cannot be asked for so.
func TestBulkGetFaults(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/a", `{}`)
	for ask, want := range map[string]string{
		`1`:                                      `null {"id":null,"rev":null,"error":"bad_request","reason":"document must be a JSON object"}`,
		`{"id":1}`:                               `1 {"id":1,"rev":null,"error":"illegal_docid","reason":"Document id must be a string"}`,
		`{"id":null}`:                            `null {"id":null,"rev":null,"error":"illegal_docid","reason":"Document id must be a string"}`,
		`{"id":"a","rev":7}`:                     `"a" {"id":"a","rev":7,"error":"bad_request","reason":"Invalid rev format"}`,
		`{"id":"a","atts_since":"1-a"}`:          `"a" {"id":"a","rev":"1-a","error":"bad_request","reason":"att_since value must be array of revs."}`,
		`{"id":"a","atts_since":["1-a","junk"]}`: `"a" {"id":"a","rev":"junk","error":"bad_request","reason":"Invalid rev format"}`,
		`{"id":"é\"","rev":"1-é"}`:               `"é\"" {"id":"é\"","rev":"1-é","error":"not_found","reason":"missing"}`,
	} {
		var g got
		n.must("POST", "/db/_bulk_get", `{"docs":[`+ask+`]}`).json(t, &g)
		if s := string(g.Results[0].ID) + " " + string(g.Results[0].Docs[0]["error"]); len(g.Results) != 1 || len(g.Results[0].Docs) != 1 || s != want {
			t.Errorf("%s: %s, want %s", ask, s, want)
		}
	}
	for _, name := range []string{"open_revs", "new_edits", "w", "rev", "atts_since"} {
		n.refused(400, "bad_request", `"`+name+`" query parameter is not acceptable`, "POST", "/db/_bulk_get?"+name+"=1", `{"docs":[]}`)
	}
	n.refused(400, "bad_request", "`docs` parameter must be an array.", "POST", "/db/_bulk_get", `{"docs":1}`)
}

// TestBulkGetThroughSpool checks that asks that are not kept in memory are all answered in order.
func TestBulkGetThroughSpool(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/a", `{}`)
	const asks = bulkBudget/256 + 100
	body := &bytes.Buffer{}
	body.WriteString(`{"docs":[{"id":"ignored"}],"docs":[`)
	for i := range asks {
		if i > 0 {
			body.WriteByte(',')
		}
		id := "a"
		if i%2 == 1 {
			id = fmt.Sprint(i)
		}
		fmt.Fprintf(body, `{"id":%q}`, id)
	}
	body.WriteString(`],"revs":true}`)
	var g got
	n.must("POST", "/db/_bulk_get", chunked(body), isJSON).json(t, &g)
	if len(g.Results) != asks {
		t.Fatalf("%d results", len(g.Results))
	}
	for i, r := range g.Results {
		id := `"a"`
		if i%2 == 1 {
			id = fmt.Sprintf(`"%d"`, i)
		}
		if string(r.ID) != id || len(r.Docs) != 1 || (r.Docs[0]["ok"] == nil) != (i%2 == 1) {
			t.Fatalf("result %d: %s %s", i, r.ID, r.Docs)
		}
	}
}

// TestBulkGetParts checks the kinds of parts of a multipart answer, and that attachments that the client has stay out.
func TestBulkGetParts(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	var w struct{ Rev string }
	n.must("PUT", "/db/a", `{"_attachments":{"one":{"content_type":"x/y","data":"aGk="}}}`).json(t, &w)
	first := w.Rev
	n.must("PUT", "/db/a", `{"_rev":"`+first+`","_attachments":{"one":{"stub":true},"two":{"content_type":"x/y","data":"aG8="}}}`).json(t, &w)
	a := n.must("POST", "/db/_bulk_get", `{"docs":[{"id":"a","rev":"`+w.Rev+`","atts_since":["`+first+`","9-f"]},{"id":"a","rev":"7-a"},{"id":"b"}]}`, "Accept: multipart/mixed")
	kind, params, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/mixed" {
		t.Fatal(kind, err)
	}
	m := multipart.NewReader(bytes.NewReader(a.body), params["boundary"])
	want := []string{
		`"follows":true`, `{"rev":"7-a","error":"not_found","reason":"missing"}`,
		`{"id":"b","rev":"undefined","error":"not_found","reason":"missing"}`,
	}
	for i := range want {
		p, err := m.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(p)
		if err != nil || !strings.Contains(string(text), want[i]) {
			t.Errorf("part %d: %s %v", i, text, err)
		}
		if i == 0 && (strings.Count(string(text), "follows") != 1 || !strings.Contains(string(text), "ho") || strings.Contains(string(text), "hi")) {
			t.Errorf("attachments in %s", text)
		}
	}
	if _, err := m.NextPart(); err != io.EOF {
		t.Error(err)
	}
}
