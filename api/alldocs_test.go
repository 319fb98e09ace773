package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// listed is an answer of a listing.
type listed struct {
	Total     *uint64         `json:"total_rows"`
	Offset    *uint64         `json:"offset"`
	UpdateSeq string          `json:"update_seq"`
	Rows      []listedRow     `json:"rows"`
	Results   json.RawMessage `json:"results"`
}

type listedRow struct {
	ID    string          `json:"id"`
	Key   json.RawMessage `json:"key"`
	Value struct {
		Rev     string `json:"rev"`
		Deleted bool   `json:"deleted"`
	} `json:"value"`
	Doc   json.RawMessage `json:"doc"`
	Error string          `json:"error"`
}

func (l *listed) ids() []string {
	ids := []string{}
	for _, r := range l.Rows {
		ids = append(ids, r.ID)
	}
	return ids
}

func (n *node) list(method, path string, body any) *listed {
	n.Helper()
	l := &listed{}
	n.must(method, path, body).json(n.TB, l)
	return l
}

// writeDocs writes documents with these ids, and deletes those that are to be deleted.
func (n *node) writeDocs(db string, ids []string, deleted map[string]bool) {
	n.Helper()
	docs := []map[string]any{}
	for _, id := range ids {
		docs = append(docs, map[string]any{"_id": id, "n": len(id)})
	}
	var rows []struct{ ID, Rev string }
	n.must("POST", db+"/_bulk_docs", map[string]any{"docs": docs}).json(n.TB, &rows)
	docs = docs[:0]
	for _, r := range rows {
		if deleted[r.ID] {
			docs = append(docs, map[string]any{"_id": r.ID, "_rev": r.Rev, "_deleted": true})
		}
	}
	n.must("POST", db+"/_bulk_docs", map[string]any{"docs": docs})
}

// TestListingAgainstModel compares listings with a sorted slice.
func TestListingAgainstModel(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	var all, live []string
	deleted := map[string]bool{}
	for i := range 150 {
		id := fmt.Sprintf("%c%02d", 'a'+i%5, i*7%50)
		if slices.Contains(all, id) {
			continue
		}
		all = append(all, id)
		if deleted[id] = i%9 == 0; !deleted[id] {
			live = append(live, id)
		}
	}
	n.writeDocs("/db", all, deleted)
	slices.Sort(live)

	bound := rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[a-f][0-5]?[0-9]?`))
	rapid.Check(t, func(t *rapid.T) {
		start, end := bound.Draw(t, "start"), bound.Draw(t, "end")
		descending, exclusive := rapid.Bool().Draw(t, "descending"), rapid.Bool().Draw(t, "exclusive")
		skip, limit := rapid.IntRange(0, 130).Draw(t, "skip"), rapid.IntRange(0, 130).Draw(t, "limit")

		order := slices.Clone(live)
		cmp := strings.Compare
		if descending {
			slices.Reverse(order)
			cmp = func(a, b string) int { return strings.Compare(b, a) }
		}
		before, rows := 0, []string{}
		for _, id := range order {
			if start != "" && cmp(id, start) < 0 {
				before++
				continue
			}
			if end != "" && (cmp(id, end) > 0 || exclusive && id == end) {
				break
			}
			rows = append(rows, id)
		}
		rows = rows[min(skip, len(rows)):]
		rows = rows[:min(limit, len(rows))]

		q := url.Values{"skip": {fmt.Sprint(skip)}, "limit": {fmt.Sprint(limit)}, "descending": {fmt.Sprint(descending)}, "inclusive_end": {fmt.Sprint(!exclusive)}}
		if start != "" {
			q.Set("startkey", `"`+start+`"`)
		}
		if end != "" {
			q.Set("endkey", `"`+end+`"`)
		}
		got := n.list("GET", "/db/_all_docs?"+q.Encode(), nil)
		if !slices.Equal(got.ids(), rows) {
			t.Errorf("rows %q, want %q", got.ids(), rows)
		}
		if offset := uint64(min(before+skip, len(live))); *got.Offset != offset || *got.Total != uint64(len(live)) {
			t.Errorf("offset %d of %d, want %d of %d", *got.Offset, *got.Total, offset, len(live))
		}
	})
}

// TestListingBounds checks that keys of other types lie before all ids.
func TestListingBounds(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.writeDocs("/db", []string{"a", "b"}, nil)
	for query, want := range map[string]string{
		"startkey=null": "a b", "startkey={}": "a b", "startkey=[]": "a b", "startkey=1&descending=true": "",
		"endkey=true": "", "endkey={}": "", "endkey=1&descending=true": "b a", `startkey=""`: "a b",
		`startkey=""&descending=true`: "", `endkey=""`: "", `key={}`: "", `key="b"&inclusive_end=false`: "",
		`startkey="a"&start_key="b"`: "b", `startkey="\u0062"`: "b", "limit=99999999999999999999": "a b",
	} {
		q := url.PathEscape(query)
		if got := strings.Join(n.list("GET", "/db/_all_docs?"+q, nil).ids(), " "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

// TestListingParameters checks how parameters are refused, from the query and from a body.
func TestListingParameters(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	for body, reason := range map[string]string{
		`{"limit":"5"}`:             `Invalid value for integer: <<"5">>`,
		`{"limit":-2}`:              `Invalid value for positive integer: -2`,
		`{"skip":true}`:             `Invalid value for integer: true`,
		`{"descending":1}`:          `Invalid boolean parameter: 1`,
		`{"descending":"x"}`:        `Invalid boolean parameter: "x"`,
		`{"reduce":true}`:           "Reduce is invalid for map-only views.",
		`{"group_level":1}`:         "Invalid use of grouping on a map view.",
		`{"stale":"x"}`:             "Invalid value for `stale`.",
		`{"update":"x"}`:            "Invalid value for `update`.",
		`{"stable":0}`:              "Invalid value for `stable`.",
		`{"sorted":"x"}`:            `Invalid boolean parameter: "x"`,
		`{"partition":"p"}`:         "`partition` parameter is not supported on this db",
		`{"update_seq":null}`:       `Invalid boolean parameter: null`,
		`{"att_encoding_info":"1"}`: `Invalid boolean parameter: "1"`,
	} {
		n.refused(400, "query_parse_error", reason, "POST", "/db/_all_docs", body)
		n.refused(400, "query_parse_error", reason, "POST", "/db/_all_docs/queries", `{"queries":[{},`+body+`]}`)
	}
	n.refused(400, "query_parse_error", "`keys` must be an array of strings.", "POST", "/db/_all_docs/queries", `{"queries":[{"keys":1}]}`)
	n.refused(400, "bad_request", "Request body must be a JSON object", "POST", "/db/_all_docs/queries", `{"queries":[1]}`)
	n.refused(400, "bad_request", "invalid UTF-8 JSON", "POST", "/db/_all_docs", `{"keys":["a"`)
	n.refused(415, "bad_content_type", "Content-Type must be application/json", "POST", "/db/_all_docs", strings.NewReader(`{}`))
	n.refused(404, "not_found", "Database does not exist.", "GET", "/none/_all_docs?limit=x", nil)

	// The query overrides the body, and gives queries their defaults.
	n.writeDocs("/db", []string{"a", "b", "c"}, nil)
	if got := n.list("POST", "/db/_all_docs?limit=1", `{"limit":2,"descending":"TRUE"}`).ids(); !slices.Equal(got, []string{"c"}) {
		t.Errorf("rows %q", got)
	}
	var results []listed
	if err := json.Unmarshal(n.list("POST", "/db/_all_docs/queries?limit=1", `{"queries":[{},{"limit":2,"update_seq":true}]}`).Results, &results); err != nil {
		t.Fatal(err)
	}
	if len(results) != 2 || len(results[0].Rows) != 1 || len(results[1].Rows) != 2 || !strings.HasPrefix(results[1].UpdateSeq, "3-") {
		t.Errorf("results %+v", results)
	}
}

func TestListingHead(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	if a := n.must("HEAD", "/db/_all_docs", nil); a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %v", a.Status, a.Header)
	}
}

func TestListingManyKeys(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.writeDocs("/db", []string{"a", `q"\`, "ü"}, nil)
	keys := []any{}
	for i := range 5000 {
		keys = append(keys, []any{"a", `q"\`, "ü", "none", i, []int{i}}[i%6])
	}
	l := n.list("POST", "/db/_all_docs", map[string]any{"keys": keys})
	if len(l.Rows) != len(keys) || l.Offset != nil || *l.Total != 3 {
		t.Fatalf("%d rows, offset %v", len(l.Rows), l.Offset)
	}
	for i, r := range l.Rows {
		want, _ := json.Marshal(keys[i])
		var got, key any
		_, _ = json.Unmarshal(r.Key, &got), json.Unmarshal(want, &key)
		if fmt.Sprint(got) != fmt.Sprint(key) || (r.Error == "") != (i%6 < 3) {
			t.Fatalf("row %d: %+v", i, r)
		}
	}
}

// TestListingWithinPrefix checks totals, offsets and bounds of listings that show a part of the documents.
func TestListingWithinPrefix(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db?partitioned=true", nil)
	n.writeDocs("/db", []string{"a:1", "m:1", "m:2", "m:3", "m:4", "z:1", "_design/x", "_design/y"}, map[string]bool{"m:2": true})
	for path, want := range map[string]string{
		`_partition/m/_all_docs`:                                  "3 0 m:1 m:3 m:4",
		`_partition/m/_all_docs?skip=1&limit=1`:                   "3 1 m:3",
		`_partition/m/_all_docs?skip=9`:                           "3 3",
		`_partition/m/_all_docs?descending=true&skip=1`:           "3 1 m:3 m:1",
		`_partition/m/_all_docs?startkey="a"&endkey="m:3"`:        "3 0 m:1 m:3",
		`_partition/m/_all_docs?startkey="n"`:                     "3 3",
		`_partition/m/_all_docs?descending=true&startkey="z"`:     "3 0 m:4 m:3 m:1",
		`_partition/m/_all_docs?descending=true&startkey="m:3"`:   "3 1 m:3 m:1",
		`_partition/m/_all_docs?descending=true&startkey="m:"`:    "3 3",
		`_partition/m/_all_docs?descending=true&startkey="a"`:     "3 3",
		`_all_docs?partition=z`:                                   "1 0 z:1",
		`_design_docs?descending=true`:                            "2 0 _design/y _design/x",
		`_design_docs?skip=1`:                                     "2 1 _design/y",
		`_design_docs?startkey="_design/x"&inclusive_end=false`:   "2 0 _design/x _design/y",
		`_design_docs?endkey="_design/x"&inclusive_end=false`:     "2 0",
		`_all_docs?startkey="m:4"&skip=1`:                         "7 6 z:1",
		`_design_docs?descending=true&startkey="m:1"&limit=1`:     "2 0 _design/y",
		`_partition/m/_all_docs?keys=["m:1","a:1","m:2","x"]`:     "3 - m:1 m:2",
		`_partition/m/_all_docs?startkey="m:3"&skip=1&limit=1000`: "3 2 m:4",
	} {
		path, query, _ := strings.Cut(path, "?")
		l := n.list("GET", "/db/"+path+"?"+url.PathEscape(query), nil)
		offset := "-"
		if l.Offset != nil {
			offset = fmt.Sprint(*l.Offset)
		}
		if got := strings.Join(append([]string{fmt.Sprint(*l.Total), offset}, l.ids()...), " "); got != want {
			t.Errorf("%s?%s: %q, want %q", path, query, got, want)
		}
	}
}

func TestPartitionNamedTwice(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db?partitioned=true", nil)
	n.writeDocs("/db", []string{"m:1", "z:1"}, nil)
	n.refused(400, "bad_request", "Conflicting value for `partition` in query string", "GET", "/db/_partition/m/_all_docs?partition=z", nil)
	if ids := n.list("POST", "/db/_partition/m/_all_docs?partition=m", `{"partition":"z"}`).ids(); !slices.Equal(ids, []string{"m:1"}) {
		t.Errorf("rows %q", ids)
	}
}

func TestLocalListing(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("POST", "/db/_bulk_docs", `{"docs":[{"_id":"_local/a","v":1},{"_id":"_local/b"},{"_id":"_local/c","_rev":"0-6"}]}`)
	for query, want := range map[string]string{
		"": "_local/a _local/b _local/c", "skip=1&limit=1": "_local/b", "descending=true&skip=1": "_local/b _local/a",
		"limit=0": "", `startkey={}`: "_local/a _local/b _local/c", `endkey={}`: "", `keys=["_local/c","x","_local/x"]`: "_local/c ",
	} {
		l := n.list("GET", "/db/_local_docs?"+url.PathEscape(query), nil)
		if got := strings.Join(l.ids(), " "); got != want || l.Total != nil || l.Offset != nil {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	// By its key a local document is found in _all_docs too, though not listed there.
	if ids := n.list("POST", "/db/_all_docs", `{"keys":["_local/a","_local/x"]}`).ids(); !slices.Equal(ids, []string{"_local/a", ""}) {
		t.Errorf("rows %q", ids)
	}
	row := n.list("GET", "/db/_local_docs?include_docs=true&limit=1", nil).Rows[0]
	if string(row.Doc) != `{"_id":"_local/a","_rev":"0-1","v":1}` {
		t.Errorf("document %s", row.Doc)
	}
}
