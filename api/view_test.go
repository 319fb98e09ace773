package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// viewAnswer is a listing of a view.
type viewAnswer struct {
	Total  uint64 `json:"total_rows"`
	Offset uint64 `json:"offset"`
	Rows   []struct {
		ID    string          `json:"id"`
		Key   json.RawMessage `json:"key"`
		Value json.RawMessage `json:"value"`
		Doc   json.RawMessage `json:"doc"`
	} `json:"rows"`
}

// ids joins the ids of the rows.
func (a *viewAnswer) ids() string {
	var ids []string
	for _, r := range a.Rows {
		ids = append(ids, r.ID)
	}
	return strings.Join(ids, " ")
}

// view reads a listing that has to succeed.
func (n *node) view(method, path string, body any) *viewAnswer {
	n.Helper()
	a := n.do(method, path, body)
	if a.StatusCode != http.StatusOK {
		n.Fatalf("%s %s: %s\n%s", method, path, a.Status, a.body)
	}
	v := new(viewAnswer)
	a.json(n.TB, v)
	return v
}

// bulk writes documents.
func (n *node) bulk(db string, docs ...any) {
	n.Helper()
	a := n.must("POST", "/"+db+"/_bulk_docs", map[string]any{"docs": docs})
	if strings.Contains(string(a.body), `"error"`) {
		n.Fatalf("%s", a.body)
	}
}

type object = map[string]any

// numbered returns documents d000000 and so on with a number.
func numbered(count int) []any {
	docs := make([]any, count)
	for i := range docs {
		docs[i] = object{"_id": fmt.Sprintf("d%06d", i), "n": i}
	}
	return docs
}

// viewDesign returns a design document of one view "v".
func viewDesign(mapping, reduce string) object {
	v := object{"map": mapping}
	if reduce != "" {
		v["reduce"] = reduce
	}
	return object{"views": object{"v": v}}
}

const mapN = "function (doc) { emit(doc.n, null); }"

// TestViewText checks the text of answers byte by byte, which some clients read line by line.
func TestViewText(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/_design/d", viewDesign(mapN, "_count"))
	n.bulk("db", numbered(2)...)
	for query, want := range map[string]string{
		"reduce=false": `{"total_rows":2,"offset":0,"rows":[` + "\r\n" +
			`{"id":"d000000","key":0,"value":null},` + "\r\n" + `{"id":"d000001","key":1,"value":null}` + "\r\n]}\n",
		"reduce=false&limit=0": `{"total_rows":2,"offset":0,"rows":[` + "\r\n]}\n",
		"":                     `{"rows":[` + "\r\n" + `{"key":null,"value":2}` + "\r\n]}\n",
		"group=true":           `{"rows":[` + "\r\n" + `{"key":0,"value":1},` + "\r\n" + `{"key":1,"value":1}` + "\r\n]}\n",
	} {
		if got := string(n.must("GET", "/db/_design/d/_view/v?"+query, nil).body); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

// TestViewHead checks that HEAD updates the index, and answers as GET does but for the rows.
func TestViewHead(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/_design/d", viewDesign(mapN, ""))
	n.bulk("db", numbered(10)...)
	a := n.must("HEAD", "/db/_design/d/_view/v", nil)
	if len(a.body) > 0 || a.Header.Get("Content-Type") != "application/json" || a.Header.Get("ETag") != "" {
		t.Errorf("%v %q", a.Header, a.body)
	}
	if v := n.view("GET", "/db/_design/d/_view/v?update=false", nil); len(v.Rows) != 10 {
		t.Errorf("%d rows after a HEAD, want 10", len(v.Rows))
	}
	for path, status := range map[string]int{
		"/db/_design/d/_view/v?limit=x": 400, "/db/_design/d/_view/none": 404, "/db/_design/none/_view/v": 404, "/none/_design/d/_view/v": 404,
	} {
		if a := n.do("HEAD", path, nil); a.StatusCode != status || len(a.body) > 0 {
			t.Errorf("HEAD %s: %s %q, want %d", path, a.Status, a.body, status)
		}
	}
}

// TestViewManyKeys asks for tens of thousands of keys at once.
func TestViewManyKeys(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/_design/d", viewDesign(mapN, "_count"))
	n.bulk("db", numbered(1000)...)
	keys := make([]int, 50_000)
	for i := range keys {
		keys[i] = i * 7 % 2000
	}
	v := n.view("POST", "/db/_design/d/_view/v?reduce=false", object{"keys": keys})
	row := 0
	for _, k := range keys {
		if k >= 1000 {
			continue
		}
		if row >= len(v.Rows) || string(v.Rows[row].Key) != fmt.Sprint(k) {
			t.Fatalf("row %d is not that of key %d", row, k)
		}
		row++
	}
	if row != len(v.Rows) {
		t.Errorf("%d rows, want %d", len(v.Rows), row)
	}
	if v := n.view("POST", "/db/_design/d/_view/v?group=true", object{"keys": keys}); len(v.Rows) != row {
		t.Errorf("%d groups, want %d", len(v.Rows), row)
	}
}

// TestViewParameters checks how contradicting and hostile parameters are refused.
func TestViewParameters(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/_design/d", object{"views": object{"m": object{"map": mapN}, "r": object{"map": mapN, "reduce": "_count"}}})
	const query, bad = "query_parse_error", "bad_request"
	const reversed = "No rows can match your key range, reverse your start_key and end_key or set descending=true"
	for _, c := range []struct{ path, body, name, reason string }{
		{"r?group=false&group_level=1", "", query, "Can't specify group=false and group_level>0 at the same time"},
		{"r?conflicts=false", "", query, "`conflicts` is invalid for reduce views."},
		{"m?descending=%22", "", query, `Invalid boolean parameter: "\""`},
		{"m?descending=%01", "", query, `Invalid boolean parameter: [1]`},
		{"m?start_key=1&end_key=1.0&start_key_doc_id=b&end_key_doc_id=a", "", query, reversed},
		{"m?key=%FF", "", bad, "invalid UTF-8 JSON"},
		{"m?partition=", "", "illegal_partition", "Partition must not be empty"},
		{"m", `{"queries":1}`, bad, "`queries` member must be an array."},
		{"m", `{"keys":[1,2],"end_key":1}`, query, "`keys` is incompatible with `key`, `start_key` and `end_key`"},
		{"m/queries", `{"queries":[1]}`, bad, "Request body must be a JSON object"},
		{"m/queries", `{"queries":[{"keys":1}]}`, query, "`keys` must be an array of strings."},
		{"m/queries?update=x", `{"queries":[]}`, query, "Invalid value for `update`."},
		{"r/queries", `{"queries":[{"group_level":1},{"keys":[1,2]}]}`, query, "Multi-key fetches for reduce views must use `group=true`"},
	} {
		method := "GET"
		var body any
		if c.body != "" {
			method, body = "POST", c.body
		}
		n.refused(400, c.name, c.reason, method, "/db/_design/d/_view/"+c.path, body)
	}
	deep := strings.Repeat("[", 100_000)
	if a := n.do("POST", "/db/_design/d/_view/m", `{"key":`+deep+strings.Repeat("]", 100_000)+`}`); a.StatusCode != 400 {
		t.Errorf("a key nested deeply: %s %.100s", a.Status, a.body)
	}
	for _, path := range []string{"r?group_level=99999999999999999999", "r?group=true&group_level=0", "m?skip=99999999999999999999&limit=99999999999999999999", "m?start_key_doc_id=x"} {
		n.must("GET", "/db/_design/d/_view/"+path, nil)
	}
	// The URL's group and keys are nothing to queries.
	n.must("POST", "/db/_design/d/_view/m/queries?group=true&keys=[1,2]", `{"queries":[{"key":1}]}`)
}

// TestViewMethods checks that the design document is looked for before the method is refused.
func TestViewMethods(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/_design/d", viewDesign(mapN, ""))
	for path, allow := range map[string]string{
		"_view": "GET,POST,HEAD", "_view/v": "GET,POST,HEAD", "_view/v/more/parts": "GET,POST,HEAD", "_view/v/queries": "POST", "_info": "GET",
	} {
		for _, method := range []string{"PUT", "DELETE", "COPY"} {
			a := n.do(method, "/db/_design/d/"+path, nil)
			if a.StatusCode != 405 || a.Header.Get("Allow") != allow {
				t.Errorf("%s %s: %s, Allow %q, want %q", method, path, a.Status, a.Header.Get("Allow"), allow)
			}
			n.refused(404, "not_found", "missing", method, "/db/_design/none/"+path, nil)
		}
	}
}

// TestViewCutOff checks that an answer that fails after its beginning was sent is cut off, and that one that fails
// earlier is an error.
func TestViewCutOff(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/_design/d", viewDesign("function (doc) { emit(doc._id, doc.n === 9999 ? 'bad' : 1); }", "_stats"))
	n.bulk("db", numbered(10_000)...)
	n.refused(500, "invalid_value", "non-numeric _stats input: <<98,97,100>>", "GET", "/db/_design/d/_view/v", nil)
	res, err := n.client.Do(n.request("GET", "/db/_design/d/_view/v?group=true", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if res.StatusCode != 200 || !errors.Is(err, io.ErrUnexpectedEOF) || len(text) == 0 {
		t.Errorf("%s: %v after %d bytes, want a cut", res.Status, err, len(text))
	}
}

// TestViewAbandoned checks that clients may go away in the middle of an answer, or while they wait for an index.
func TestViewAbandoned(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/_design/d", viewDesign("function (doc) { emit(doc._id, new Array(200).join('x')); }", ""))
	n.bulk("db", numbered(20_000)...)
	for range 3 {
		res, err := n.client.Do(n.request("GET", "/db/_design/d/_view/v", nil))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadFull(res.Body, make([]byte, 100_000))
		res.Body.Close()
	}
	if v := n.view("GET", "/db/_design/d/_view/v?limit=1&descending=true", nil); v.Total != 20_000 {
		t.Errorf("total_rows is %d", v.Total)
	}
}

// TestViewConcurrency reads a view through many clients while documents come and go: every answer is of one moment.
func TestViewConcurrency(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/_design/d", viewDesign("function (doc) { emit(doc.n % 10, 1); }", "_sum"))
	var clients sync.WaitGroup
	done := make(chan struct{})
	clients.Go(func() {
		defer close(done)
		for i := range 50 {
			n.do("POST", "/db/_bulk_docs", object{"docs": []any{object{"_id": fmt.Sprint("a", i), "n": i}, object{"_id": fmt.Sprint("b", i), "n": i + 5}}})
		}
	})
	for i := range 4 {
		clients.Go(func() {
			update := []string{"true", "false", "lazy", "true"}[i]
			for {
				select {
				case <-done:
					return
				default:
				}
				a := n.do("POST", "/db/_design/d/_view/v/queries", object{"queries": []any{object{"reduce": false, "update": update}, object{"update": update}, object{"group": true, "update": update}}})
				var results struct{ Results []viewAnswer }
				if err := json.Unmarshal(a.body, &results); err != nil || len(results.Results) != 3 {
					t.Errorf("%s: %.200s", a.Status, a.body)
					return
				}
				rows, sum, groups := &results.Results[0], 0, 0
				for _, r := range results.Results[1].Rows {
					_ = json.Unmarshal(r.Value, &sum)
				}
				for _, r := range results.Results[2].Rows {
					var one int
					_ = json.Unmarshal(r.Value, &one)
					groups += one
				}
				if int(rows.Total) != len(rows.Rows) || sum != len(rows.Rows) || groups != sum {
					t.Errorf("%d rows, %d told, reduced to %d, in groups to %d", len(rows.Rows), rows.Total, sum, groups)
				}
			}
		})
	}
	clients.Wait()
	if v := n.view("GET", "/db/_design/d/_view/v?reduce=false", nil); v.Total != 100 {
		t.Errorf("%d rows at the end", v.Total)
	}
}
