package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// findAnswer is what _find answers.
type findAnswer struct {
	Docs []struct {
		ID string `json:"_id"`
	} `json:"docs"`
	Bookmark string `json:"bookmark"`
	Warning  string `json:"warning"`
}

// find posts a query and returns the ids that it finds.
func (n *node) find(path, query string) (ids []string, a findAnswer) {
	n.Helper()
	n.must(http.MethodPost, path, query).json(n.TB, &a)
	for _, d := range a.Docs {
		ids = append(ids, d.ID)
	}
	return ids, a
}

// indexNames returns the design documents and names of the indexes of db.
func (n *node) indexNames() (names []string) {
	n.Helper()
	var list struct {
		Total   int `json:"total_rows"`
		Indexes []struct{ DDoc, Name string }
	}
	n.must(http.MethodGet, "/db/_index", nil).json(n.TB, &list)
	for _, ix := range list.Indexes {
		names = append(names, ix.DDoc+"/"+ix.Name)
	}
	if list.Total != len(names) {
		n.Errorf("total_rows %d of %q", list.Total, names)
	}
	return names
}

func TestFind(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/db", nil)
	for i := range 40 {
		n.must(http.MethodPut, fmt.Sprintf("/db/d%02d", i), fmt.Sprintf(`{"n":%d,"pad":%q}`, i, strings.Repeat("x", 4000)))
	}
	ids, a := n.find("/db/_find", `{"selector":{"n":{"$gte":5}}}`)
	if len(ids) != 25 || ids[0] != "d05" || a.Warning == "" {
		t.Errorf("by default: %q, %q", ids, a.Warning)
	}
	more, _ := n.find("/db/_find", `{"selector":{"n":{"$gte":5}},"bookmark":"`+a.Bookmark+`"}`)
	if len(more) != 10 || more[0] != "d30" {
		t.Errorf("the second page: %q", more)
	}
	n.must(http.MethodPost, "/db/_index", `{"index":{"fields":["n"]},"ddoc":"i","name":"n"}`)
	ids, a = n.find("/db/_find", `{"selector":{"n":{"$gte":5}},"sort":[{"n":"desc"}],"limit":100}`)
	if len(ids) != 35 || ids[0] != "d39" || a.Warning != "" {
		t.Errorf("by an index: %q, %q", ids, a.Warning)
	}
	if got := n.do(http.MethodPost, "/db/_find", `{"selector":{}}`, "Content-Type: text/plain"); got.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("of another type: %s", got.Status)
	}
	n.refused(http.StatusBadRequest, "bad_request", "Request body must be a JSON object", http.MethodPost, "/db/_find", `[]`)
	n.refused(http.StatusBadRequest, "no_usable_index", "No index exists for this sort, try indexing by the sort fields.",
		http.MethodPost, "/db/_find", `{"selector":{"n":1},"sort":["m"]}`)
	n.refused(http.StatusNotFound, "not_found", "Database does not exist.", http.MethodPost, "/gone/_find", `{"selector":{}}`)
	n.refused(http.StatusBadRequest, "bad_request", "database is not partitioned", http.MethodPost, "/db/_partition/p/_find", `{"selector":{}}`)
	n.refused(http.StatusServiceUnavailable, "required index service unavailable", "text", http.MethodPost, "/db/_index", `{"index":{},"type":"text"}`)
	deep := strings.Repeat(`{"a":`, 9_990) + "1" + strings.Repeat("}", 9_990)
	n.refused(http.StatusBadRequest, "invalid_selector", "Selector is nested more than 256 levels deep.", http.MethodPost, "/db/_find", `{"selector":`+deep+`}`)
}

func TestFindSettings(t *testing.T) {
	n := newNode(t, setting("mango", "default_limit", "2"), setting("query_server_config", "query_limit", "3"), setting("mango", "index_scan_warning_threshold", "0"))
	n.must(http.MethodPut, "/db", nil)
	for i := range 20 {
		n.must(http.MethodPut, fmt.Sprintf("/db/d%02d", i), fmt.Sprintf(`{"n":%d}`, i))
	}
	if ids, _ := n.find("/db/_find", `{"selector":{"n":{"$gte":5}}}`); len(ids) != 2 {
		t.Errorf("by default: %q", ids)
	}
	if ids, _ := n.find("/db/_find", `{"selector":{"n":{"$gte":5}},"limit":10}`); len(ids) != 3 {
		t.Errorf("at most: %q", ids)
	}
	if _, a := n.find("/db/_find", `{"selector":{"n":19}}`); strings.Contains(a.Warning, "examined") {
		t.Errorf("warning %q", a.Warning)
	}
}

func TestIndexes(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/db", nil)
	n.must(http.MethodPut, "/db/_design/js", `{"views":{"v":{"map":"function (doc) {}"}}}`)
	for _, body := range []string{
		`{"index":{"fields":["a"]},"ddoc":"one","name":"a"}`, `{"index":{"fields":["b"]},"ddoc":"_design/one","name":"b"}`,
		`{"index":{"fields":["c"]},"ddoc":"two/x","name":"c/d"}`, `{"index":{"fields":["e"]},"ddoc":"three","name":"e"}`,
	} {
		n.must(http.MethodPost, "/db/_index", body)
	}
	want := []string{"/_all_docs", "_design/one/a", "_design/one/b", "_design/three/e", "_design/two/x/c/d"}
	if got := n.indexNames(); !slices.Equal(got, want) {
		t.Errorf("indexes %q", got)
	}
	n.refused(http.StatusNotFound, "not_found", "missing", http.MethodDelete, "/db/_index/one/json/c", nil)
	n.refused(http.StatusNotFound, "not_found", "missing", http.MethodDelete, "/db/_index/one/special/a", nil)
	n.refused(http.StatusNotFound, "not_found", "missing", http.MethodDelete, "/db/_index/js/json/v", nil)
	n.must(http.MethodDelete, "/db/_index/two%2Fx/json/c%2Fd", nil)
	n.refused(http.StatusNotFound, "not_found", "deleted", http.MethodGet, "/db/_design/two%2fx", nil)
	var answer struct{ Success, Fail []json.RawMessage }
	n.must(http.MethodPost, "/db/_index/_bulk_delete", `{"docids":["one","_design/three","js"]}`).json(t, &answer)
	if len(answer.Success) != 2 || len(answer.Fail) != 1 || string(answer.Fail[0]) != `{"id":"_design/js","error":"not_found"}` {
		t.Errorf("deleted: %s", answer)
	}
	if got := n.indexNames(); len(got) != 1 {
		t.Errorf("indexes that are left: %q", got)
	}
	n.refused(http.StatusBadRequest, "invalid_ddoc_lang", "Existing design doc has an invalid language: false",
		http.MethodPost, "/db/_index", `{"index":{"fields":["a"]},"ddoc":"js"}`)
	n.refused(http.StatusBadRequest, "invalid_design_doc", "`partitioned` option cannot be true in a non-partitioned database.",
		http.MethodPost, "/db/_index", `{"index":{"fields":["a"]},"partitioned":true}`)
}

// TestIndexesAtOnce makes indexes of one design document at the same moment: none gets lost.
func TestIndexesAtOnce(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/db", nil)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			n.must(http.MethodPost, "/db/_index", fmt.Sprintf(`{"index":{"fields":["f%d"]},"ddoc":"d","name":"n%d"}`, i, i))
		})
	}
	all.Wait()
	if got := n.indexNames(); len(got) != 5 {
		t.Errorf("indexes %q", got)
	}
}

func TestFindInPartition(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/db?partitioned=true", nil)
	for _, id := range []string{"p:1", "p:2", "q:1"} {
		n.must(http.MethodPut, "/db/"+id, `{"n":1}`)
	}
	n.must(http.MethodPost, "/db/_index", `{"index":{"fields":["n"]},"ddoc":"i","name":"n"}`)
	if ids, _ := n.find("/db/_partition/p/_find", `{"selector":{"n":1},"sort":["n"]}`); !slices.Equal(ids, []string{"p:1", "p:2"}) {
		t.Errorf("in p: %q", ids)
	}
	if ids, _ := n.find("/db/_find", `{"selector":{"n":1},"partition":"q"}`); !slices.Equal(ids, []string{"q:1"}) {
		t.Errorf("in q: %q", ids)
	}
	if ids, _ := n.find("/db/_find?partition=q", `{"selector":{"n":1}}`); !slices.Equal(ids, []string{"q:1"}) {
		t.Errorf("in q by the query: %q", ids)
	}
	n.refused(http.StatusBadRequest, "bad_request", "Conflicting value for `partition` in query string",
		http.MethodPost, "/db/_partition/p/_find?partition=q", `{"selector":{}}`)
	var e struct {
		Partitioned bool
		Index       struct {
			Name        string
			Partitioned bool
		}
		Args struct{ Partition string } `json:"mrargs"`
	}
	n.must(http.MethodPost, "/db/_partition/p/_explain", `{"selector":{"n":1}}`).json(t, &e)
	if !e.Partitioned || !e.Index.Partitioned || e.Args.Partition != "p" || e.Index.Name != "n" {
		t.Errorf("explained: %+v", e)
	}
	n.refused(http.StatusBadRequest, "illegal_partition", "Partition must not start with an underscore",
		http.MethodPost, "/db/_partition/_p/_find", `{"selector":{}}`)
	n.refused(http.StatusBadRequest, "bad_request", "The body and the address name different partitions.",
		http.MethodPost, "/db/_partition/p/_find", `{"selector":{},"partition":"q"}`)
}
