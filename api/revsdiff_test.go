package api

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/document"
)

// manyDiffs returns a body that asks for a revision of each of n documents, without its last brace.
func manyDiffs(n int) *bytes.Buffer {
	b := &bytes.Buffer{}
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, `"doc-%d":["1-%032x"]`, i, i)
	}
	return b
}

func TestManyRevsDiffs(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	const docs = 40_000
	body := manyDiffs(docs)
	n.refused(400, "bad_request", "Invalid rev format", "POST", "/db/_revs_diff", body.String()+`,"a":["junk"]}`)
	n.refused(400, "bad_request", "invalid UTF-8 JSON", "POST", "/db/_revs_diff", body.String())
	body.WriteByte('}')
	diff := map[string]struct{ Missing []string }{}
	n.must("POST", "/db/_revs_diff", chunked(bytes.NewReader(body.Bytes())), isJSON).json(t, &diff)
	if len(diff) != docs || diff["doc-10"].Missing[0] != fmt.Sprintf("1-%032x", 10) {
		t.Errorf("%d documents", len(diff))
	}
	var missing struct {
		Revs map[string][]string `json:"missing_revs"`
	}
	n.must("POST", "/db/_missing_revs", body.Bytes()).json(t, &missing)
	if len(missing.Revs) != docs {
		t.Errorf("%d documents", len(missing.Revs))
	}
}

func TestRevsDiffErrors(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	for body, reason := range map[string]string{
		`{"a":"1-a"}`: "Invalid list of revisions", `{"a":{}}`: "Invalid list of revisions", `{"a":[1]}`: "Invalid rev format",
		`{"a":[["1-a"]]}`: "Invalid rev format", `{"a":["1-a",null]}`: "Invalid rev format", `{"a":["\""]}`: "Invalid rev format",
	} {
		for _, path := range []string{"/db/_revs_diff", "/db/_missing_revs", "/db/_purge"} {
			n.refused(400, "bad_request", reason, "POST", path, body)
		}
	}
	a := n.must("POST", "/db/_revs_diff", `{"a":["1-x\"y","2-\u00e9"]}`)
	if string(a.body) != `{"a":{"missing":["1-x\"y","2-é"]}}`+"\n" {
		t.Errorf("%s", a.body)
	}
}

func FuzzParseRevList(f *testing.F) {
	for _, s := range []string{`[]`, `["1-a","2-b"]`, `["1-\"",null]`, `{}`, `[["1-a"]]`, `["1-`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		text, err := document.Canonical(b)
		if err != nil {
			t.Skip()
		}
		revs, err := parseRevList(nil, text)
		if err != nil || bytes.ContainsRune(text, '\\') {
			return
		}
		again, err := parseEscapedRevs(nil, text)
		if err != nil || !slices.Equal(revs, again) {
			t.Errorf("%s: %v, want %v, %v", text, revs, again, err)
		}
	})
}

func TestPurgeLimits(t *testing.T) {
	n := newNode(t, setting("purge", "max_document_id_number", "2"), setting("purge", "max_revisions_number", "3"))
	n.must("PUT", "/db", nil)
	n.refused(400, "bad_request", "Exceeded maximum number of documents.", "POST", "/db/_purge", `{"a":[],"b":[],"c":[]}`)
	n.refused(400, "bad_request", "Exceeded maximum number of revisions.", "POST", "/db/_purge", `{"a":["1-a","1-b","1-c","1-d"]}`)
	var w struct{ Rev string }
	n.must("PUT", "/db/a", `{}`).json(t, &w)
	a := n.must("POST", "/db/_purge", `{"a":["1-a"],"a":["`+w.Rev+`"]}`)
	if want := `{"purge_seq":null,"purged":{"a":["` + w.Rev + `"]}}` + "\n"; string(a.body) != want {
		t.Errorf("%s, want %s", a.body, want)
	}
	a = n.must("GET", "/db/_purged_infos", nil)
	if want := `{"purged_infos":[{"id":"a","revs":["` + w.Rev + `"]}]}` + "\n"; string(a.body) != want {
		t.Errorf("%s, want %s", a.body, want)
	}
	if strings.Contains(string(n.must("GET", "/db/_all_docs", nil).body), `"a"`) {
		t.Error("the document is still listed")
	}
}
