package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestViewDocuments checks which document comes with a row, and what is said of it.
func TestViewDocuments(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	text := object{"_attachments": object{"a": object{"content_type": "text/plain", "data": "aGVsbG8="}}}
	n.must("PUT", "/db/att", text)
	for _, rev := range []string{"1-a", "1-b"} {
		n.must("POST", "/db/_bulk_docs", object{"new_edits": false, "docs": []any{object{"_id": "con", "_rev": rev + strings.Repeat("0", 31)}}})
	}
	var written struct{ Rev string }
	n.must("PUT", "/db/_design/d", object{"views": object{
		"own":  object{"map": "function (doc) { if (!doc.to) emit(doc._id, null); }"},
		"link": object{"map": "function (doc) { if (doc.to !== undefined) emit(doc._id, {_id: doc.to, _rev: doc.rev}); }"},
		"rev":  object{"map": "function (doc) { if (doc.own) emit(doc._id, {_rev: doc.own}); }"},
	}})
	n.must("PUT", "/db/old", object{"v": 1}).json(t, &written)
	first := written.Rev
	n.must("PUT", "/db/old", object{"_rev": first, "v": 2, "own": first})
	n.must("PUT", "/db/gone", object{}).json(t, &written)
	n.must("DELETE", "/db/gone?rev="+written.Rev, nil).json(t, &written)
	for id, doc := range map[string]object{
		"l1": {"to": "att"}, "l2": {"to": "con"}, "l3": {"to": "old", "rev": first}, "l4": {"to": "old", "rev": "junk"}, "l5": {"to": nil},
		"l6": {"to": 7}, "l7": {"to": "none"}, "l8": {"to": "gone"}, "l9": {"to": "gone", "rev": written.Rev},
	} {
		n.must("PUT", "/db/"+id, doc)
	}
	doc := func(view, key string) string {
		v := n.view("GET", "/db/_design/d/_view/"+view+`?include_docs=true&conflicts=true&attachments=true&key="`+key+`"`, nil)
		if len(v.Rows) != 1 {
			t.Fatalf("%d rows of %s", len(v.Rows), key)
		}
		return string(v.Rows[0].Doc)
	}
	for _, c := range []struct{ view, key, has, lacks string }{
		{"own", "att", `"data":"aGVsbG8="`, `"stub"`},
		{"own", "con", `"_conflicts":["1-a`, ""},
		{"link", "l1", `"stub":true`, `"data"`}, // linked documents come as they are by themselves
		{"link", "l2", `"_rev":"1-b`, "_conflicts"},
		{"link", "l3", `"v":1`, ""},
		{"link", "l4", "null", "_id"},
		{"link", "l5", "null", "_id"},
		{"link", "l6", "null", "_id"},
		{"link", "l7", "null", "_id"},
		{"link", "l8", "null", "_id"},
		{"link", "l9", `"_deleted":true`, ""},
		{"rev", "old", `"v":1`, ""},
	} {
		got := doc(c.view, c.key)
		if !strings.Contains(got, c.has) || c.lacks != "" && strings.Contains(got, c.lacks) {
			t.Errorf("%s of %s: %s, want %s without %q", c.key, c.view, got, c.has, c.lacks)
		}
	}
}

// TestViewOfPartition checks views of a partitioned database.
func TestViewOfPartition(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db?partitioned=true", nil)
	n.must("PUT", "/db/_design/p", viewDesign("function (doc) { emit(doc.n, doc.n); }", "_sum"))
	global := viewDesign("function (doc) { emit(doc.n, doc.n); }", "_sum")
	global["options"] = object{"partitioned": false}
	n.must("PUT", "/db/_design/g", global)
	for i := range 10 {
		n.must("PUT", fmt.Sprintf("/db/%s:%d", []string{"one", "two"}[i%2], i), object{"n": i})
	}
	const one = "/db/_partition/one/_design/p/_view/v"
	for query, want := range map[string]string{
		"":                            "one:0 one:2 one:4 one:6 one:8",
		"&descending=true&limit=2":    "one:8 one:6",
		"&skip=3":                     "one:6 one:8",
		"&start_key=3&end_key=6":      "one:4 one:6",
		"&key=4":                      "one:4",
		"&key=5":                      "",
		"&keys=[8,7,2]":               "one:8 one:2",
		"&descending=true&endkey=5.5": "one:8 one:6",
	} {
		if got := n.view("GET", one+"?reduce=false"+query, nil).ids(); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
	if v := n.view("GET", one, nil); string(v.Rows[0].Value) != "20" {
		t.Errorf("the sum is %s", v.Rows[0].Value)
	}
	if v := n.view("GET", "/db/_design/p/_view/v?partition=two", nil); string(v.Rows[0].Value) != "25" {
		t.Errorf("the sum is %s", v.Rows[0].Value)
	}
	if v := n.view("GET", "/db/_design/g/_view/v", nil); string(v.Rows[0].Value) != "45" {
		t.Errorf("the sum is %s", v.Rows[0].Value)
	}
	if v := n.view("POST", one+"?reduce=false", object{"keys": []int{2, 3}}); v.ids() != "one:2" {
		t.Errorf("by keys: %s", v.ids())
	}
	n.must("POST", one+"/queries", `{"queries":[{},{"reduce":false}]}`)
	const query = "query_parse_error"
	n.refused(400, query, "`partition` parameter is mandatory for queries to this view.", "GET", "/db/_design/p/_view/v", nil)
	n.refused(400, query, "`partition` parameter is not supported in this design doc", "GET", "/db/_partition/one/_design/g/_view/v", nil)
	n.refused(400, "bad_request", "Conflicting value for `partition` in query string", "GET", one+"?partition=two", nil)
	n.refused(400, "illegal_partition", "Partition must not start with an underscore", "GET", "/db/_partition/_x/_design/p/_view/v", nil)
	n.refused(404, "not_found", "missing", "GET", "/db/_partition/one/_design/none/_view/v", nil)
	n.must("PUT", "/plain", nil)
	n.refused(400, "bad_request", "database is not partitioned", "GET", "/plain/_partition/one/_design/p/_view/v", nil)
	n.refused(400, "invalid_design_doc", "partitioned option cannot be true in a non-partitioned database.", "PUT", "/plain/_design/x", `{"options":{"partitioned":true}}`)
}

// TestViewIndexes checks what is said about indexes, and that those that nobody asks for any more are cleaned up.
func TestViewIndexes(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	var written struct{ Rev string }
	n.must("PUT", "/db/_design/d", viewDesign(mapN, "")).json(t, &written)
	n.bulk("db", numbered(10)...)
	n.view("GET", "/db/_design/d/_view/v", nil)
	type answer struct {
		Name  string
		Index struct {
			Signature string
			Seq       json.RawMessage `json:"update_seq"`
			Pending   struct{ Total, Minimum, Preferred int }
			Language  string
		} `json:"view_index"`
	}
	var info, next answer
	n.must("GET", "/db/_design/d/_info", nil).json(t, &info)
	if i := info.Index; info.Name != "d" || len(i.Signature) != 32 || i.Language != "javascript" || i.Pending.Total != 0 || string(i.Seq) != "11" {
		t.Errorf("%+v", info)
	}
	n.must("PUT", "/db/_design/d", object{"_rev": written.Rev, "views": object{"v": object{"map": mapN + " "}}})
	n.view("GET", "/db/_design/d/_view/v", nil)
	n.must("GET", "/db/_design/d/_info", nil).json(t, &next)
	if next.Index.Signature == info.Index.Signature {
		t.Error("another function has the same signature")
	}
	db, err := n.store.DB("db")
	if err != nil {
		t.Fatal(err)
	}
	n.must("POST", "/db/_view_cleanup", "")
	indexes, err := db.Indexes()
	if err != nil || len(indexes) != 1 || indexes[0].Signature != next.Index.Signature {
		t.Errorf("after cleaning up there are %+v (%v)", indexes, err)
	}
	n.must("POST", "/db/_compact/d", "")
	n.refused(404, "not_found", "missing", "POST", "/db/_compact/none", "")
	n.refused(410, "gone", "Temporary views are not supported in CouchDB", "POST", "/db/_temp_view", "{}")
}

// TestViewTask checks that a build that goes on is among the active tasks.
func TestViewTask(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.bulk("db", numbered(2000)...)
	n.must("PUT", "/db/_design/slow", viewDesign("function (doc) { for (var i = 0; i < 100000; i++); emit(doc._id, 1); }", ""))
	n.must("GET", "/db/_design/slow/_view/v?update=lazy", nil)
	for seen := false; !seen; {
		var tasks []struct {
			Type, Database, Node string
			Design               string `json:"design_document"`
			Done                 uint64 `json:"changes_done"`
			Total                uint64 `json:"total_changes"`
			Progress             int
		}
		n.must("GET", "/_active_tasks", nil).json(t, &tasks)
		for _, task := range tasks {
			if task.Type != "indexer" {
				continue
			}
			if task.Database != "db" || task.Design != "_design/slow" || task.Total == 0 || task.Done > task.Total || task.Progress > 100 {
				t.Fatalf("%+v", task)
			}
			seen = true
		}
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
	n.must("DELETE", "/db", nil) // ends the build
}

// TestDesignFunctions checks which view a function that does not compile is said to be of.
func TestDesignFunctions(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	const failed = "Compilation of the %s function in the '%s' view failed: Expression does not eval to a function. (%s)"
	for _, c := range []struct{ views, kind, view, source string }{
		{`{"b":{"map":"2"},"a":{"map":"1"}}`, "map", "a", "1"},
		{`{"a":{"map":"1"},"b":{"map":"1"}}`, "map", "b", "1"},
		{`{"a":{"map":"1"},"b":{"map":"1","reduce":"_sum"}}`, "map", "a", "1"},
		{`{"a":{"map":"function(d){}","reduce":"2"},"b":{"map":"function(d){}","reduce":"1"}}`, "reduce", "b", "1"},
	} {
		n.refused(400, "compilation_error", fmt.Sprintf(failed, c.kind, c.view, c.source), "PUT", "/db/_design/d", `{"views":`+c.views+`}`)
	}
	for _, c := range []struct{ doc, reason string }{
		{`{"language":"query","views":{"a":{"map":"x"}}}`, "`views.a.map` field must have object type"},
		{`{"language":"query","views":{"a":{"map":{},"reduce":"_x"}}}`, "`_x` is not a supported reduce function."},
		{`{"views":{"a":{"map":"function(d){}","reduce":"_top_0"}}}`, "rank value must be between 1 and 100"},
	} {
		n.refused(400, "invalid_design_doc", c.reason, "PUT", "/db/_design/d", c.doc)
	}
	n.must("PUT", "/db/_design/other", `{"language":"cobol","views":{"a":{"map":"MOVE","reduce":"_x"}}}`)
	n.must("PUT", "/db/_design/lib", `{"views":{"lib":{"x":"not ( compiled"},"a":{"map":"function(d){}"}}}`)
}
