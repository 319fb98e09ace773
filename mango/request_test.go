package mango

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/document"
)

func wantError(t *testing.T, what string, err error, name, reason string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Name != name || e.Reason != reason {
		t.Errorf("%s:\n%v, want\n%s: %s", what, err, name, reason)
	}
}

func TestQueriesRefused(t *testing.T) {
	for _, tc := range []struct{ members, name, reason string }{
		{`"limit":-1`, "invalid_non_neg_integer", "-1 is not an integer greater than or equal to zero"},
		{`"skip":"1"`, "invalid_non_neg_integer", "<<49>> is not an integer greater than or equal to zero"},
		{`"limit":1.0`, "invalid_non_neg_integer", "1.0 is not an integer greater than or equal to zero"},
		{`"r":0`, "invalid_pos_integer", "0 is not an integer greater than zero"},
		{`"update":"lazy"`, "invalid_boolean", "Invalid boolean value: <<108,97,122,121>>"},
		{`"stale":"update_after"`, "unknown_error", "Unknown Error: mango_opts :: {invalid_ok_or_false_value,<<117,112,100,97,116,101,95,97,102,116,101,114>>}"},
		{`"bookmark":5`, "unknown_error", "Unknown Error: mango_opts :: {invalid_bookmark,5}"},
		{`"sort":["a",{"b":"desc"}]`, "unsupported_mixed_sort", "Sorts currently only support a single direction for all fields."},
		{`"sort":[""]`, "invalid_sort_field", "Invalid sort field: <<>>"},
		{`"sort":[["é\n",[65,66],[1]]]`, "invalid_sort_field", `Invalid sort field: [<<"é\n">>,"AB",[1]]`},
		{`"sort":{"a":"x"}`, "invalid_sort_json", `Sort must be an array of sort specs, not: {[{<<"a">>,<<"x">>}]}`},
		{`"use_index":["a",1]`, "invalid_index_name", "Invalid index name: [<<97>>,1]"},
		{`"use_index":"a/b/c"`, "invalid_index_name", "Invalid index name: <<97,47,98,47,99>>"},
		{`"fields":"a"`, "invalid_fields", "Fields must be an array of strings, not: <<97>>"},
		{`"fields":[null]`, "invalid_field", "Invalid JSON for field spec: null"},
		{`"fields":["a..b"]`, "invalid_field_name", "Invalid field name: a..b"},
		{`"partition":1`, "illegal_partition", "Partition must be a string"},
		{`"wibble":1,"other":2`, "invalid_key", "Invalid key wibble for this request."},
		{
			`"limit":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "invalid_non_neg_integer",
			strings.Repeat("[", maxReason) + "... is not an integer greater than or equal to zero",
		},
	} {
		_, err := ParseQuery([]byte(`{"selector":{},`+tc.members+`}`), "", Limits{})
		wantError(t, tc.members, err, tc.name, tc.reason)
	}
	_, err := ParseQuery([]byte(`{"use_index":5}`), "", Limits{})
	wantError(t, "no selector", err, "missing_required_key", "Missing required key: selector")
	_, err = ParseQuery([]byte(`{"selector":{},"partition":"a"}`), "b", Limits{})
	wantError(t, "two partitions", err, "bad_request", errTwoPartitions.Reason)
	for _, name := range []string{"_a", "a:b"} {
		var e *document.Error
		if _, err := ParseQuery([]byte(`{"selector":{},"partition":"`+name+`"}`), "", Limits{}); !errors.As(err, &e) || e.Name != "illegal_partition" {
			t.Errorf("partition %q: %v", name, err)
		}
	}
}

func TestUseIndex(t *testing.T) {
	for text, want := range map[string]string{
		`"y"`: "y", `"_design/y"`: "y", `"y/n"`: "y+n", `"_design/y/n"`: "y+n", `["_design/y","n"]`: "_design/y+n", `["y"]`: "y",
		`null`: "", `[]`: "",
	} {
		parts, err := parseUseIndex([]byte(text))
		if got := strings.Join(parts, "+"); err != nil || got != want {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}

func TestLimits(t *testing.T) {
	for text, want := range map[string]uint64{`{"selector":{}}`: 25, `{"selector":{},"limit":3}`: 3, `{"selector":{},"limit":99999999999999999999}`: 100} {
		q, err := ParseQuery([]byte(text), "", Limits{DefaultLimit: 25, MaxLimit: 100})
		if err != nil || q.limit != want {
			t.Errorf("%s: %d, %v", text, q.limit, err)
		}
	}
}

func TestDefinitionsRefused(t *testing.T) {
	for _, tc := range []struct{ body, name, reason string }{
		{`{}`, "missing_required_key", "Missing required key: index"},
		{`{"index":{}}`, "missing_required_key", "Missing required key: fields"},
		{`{"index":["a"]}`, "invalid_index", "JSON indexes must be an object, not: [<<97>>]"},
		{`{"index":{"fields":["a"],"selector":{}}}`, "invalid_key", "Invalid key selector for this request."},
		{`{"index":{"fields":["a.."]}}`, "invalid_field_name", "Invalid field name: a.."},
		{`{"index":{"fields":["a"],"partial_filter_selector":{"a":{"$in":5}}}}`, "bad_arg", "Bad argument for operator $in: 5"},
		{`{"index":{"fields":["a"]},"type":"text"}`, "required index service unavailable", "text"},
		{`{"index":{},"type":"other"}`, "invalid_index", "Invalid type for index: other"},
		{`{"index":{"fields":["a"]},"name":""}`, "invalid_empty_string", errEmptyName.Reason},
		{`{"index":{"fields":["a"]},"partitioned":1}`, "unknown_error", "Unknown Error: mango_opts :: {invalid_partitioned_value,1}"},
		{`[]`, "bad_request", "Request body must be a JSON object"},
	} {
		_, err := ParseDefinition([]byte(tc.body))
		wantError(t, tc.body, err, tc.name, tc.reason)
	}
}

func TestDesignDocuments(t *testing.T) {
	add := func(definition string, body []byte) ([]byte, bool, error) {
		d, err := ParseDefinition([]byte(definition))
		if err != nil {
			t.Fatal(definition, err)
		}
		return d.AddTo(body)
	}
	must := func(definition string, body []byte, want string, wantExists bool) []byte {
		t.Helper()
		got, exists, err := add(definition, body)
		if err != nil || string(got) != want || exists != wantExists {
			t.Fatalf("%s\ngot  %s, %v, %v\nwant %s", definition, got, exists, err, want)
		}
		return got
	}
	const n = `{"index":{"fields":["a",{"b":"asc"}]},"ddoc":"i","name":"n"}`
	const view = `{"map":{"fields":{"a":"asc","b":"asc"},"partial_filter_selector":{}},"reduce":"_count","options":{"def":{"fields":["a",{"b":"asc"}]}}}`
	one := must(n, nil, `{"language":"query","views":{"n":`+view+`}}`, false)
	must(n, one, string(one), true)
	const m = `{"index":{"fields":["c","c"],"partial_filter_selector":{"a":{"$gt":5},"b":"x"}},"ddoc":"i","name":"m"}`
	both := must(m, one, `{"language":"query","views":{"n":`+view+`,"m":{"map":{"fields":{"c":"asc"},"partial_filter_selector":`+
		`{"$and":[{"a":{"$gt":5}},{"b":{"$eq":"x"}}]}},"reduce":"_count","options":{"def":{"fields":["c","c"],"partial_filter_selector":{"a":{"$gt":5},"b":"x"}}}}}}`, false)
	if got, err := Remove(both, "m"); err != nil || string(got) != string(one) {
		t.Errorf("without m: %s, %v", got, err)
	}
	if got, err := Remove(both, "m", "n"); err != nil || got != nil {
		t.Errorf("without any: %s, %v", got, err)
	}
	partitioned := must(`{"index":{"fields":["a"]},"ddoc":"i","name":"n","partitioned":false}`, nil,
		`{"language":"query","views":{"n":{"map":{"fields":{"a":"asc"},"partial_filter_selector":{}},"reduce":"_count",`+
			`"options":{"def":{"fields":["a"]}}}},"options":{"partitioned":false}}`, false)
	_, _, err := add(n, partitioned)
	wantError(t, "partitioned", err, "invalid_partitioned_option", "Requested partitioned option does not match existing value on design document _design/i")
	_, _, err = add(n, []byte(`{"views":{}}`))
	wantError(t, "no language", err, "invalid_ddoc_lang", "Existing design doc has an invalid language: false")
	_, _, err = add(n, []byte(`{"language":"js"}`))
	wantError(t, "other language", err, "invalid_ddoc_lang", "Existing design doc has an invalid language: {<<108,97,110,103,117,97,103,101>>,<<106,115>>}")

	for body, want := range map[string]int{
		string(both): 2,
		`{"language":"query","views":{"x":{"map":{"fields":5},"options":{}},"y":{"map":{"fields":{}}},"z":{"map":{"fields":{"a":"asc"}},"options":{}}}}`: 1,
		`{"language":"javascript","views":{"z":{"map":{"fields":{"a":"asc"}},"options":{}}}}`:                                                            0,
		`{"language":"query","views":[]}`: 0,
	} {
		if got := readIndexes("_design/x", []byte(body), false); len(got) != want {
			t.Errorf("%s: %d indexes, want %d", body, len(got), want)
		}
	}
}

func TestMadeUpNames(t *testing.T) {
	seen := map[string]string{}
	for _, body := range []string{
		`{"index":{"fields":["a"]}}`, `{"index":{"fields":["b"]}}`, `{"index":{"fields":["a"]},"name":"n"}`, `{"index":{"fields":["a"]},"partitioned":true}`,
	} {
		d, err := ParseDefinition([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseDefinition([]byte(body))
		if err != nil || again.Design() != d.Design() || again.Name() != d.Name() {
			t.Errorf("%s: %s, and then %s", body, d.Design(), again.Design())
		}
		if other := seen[d.Design()]; other != "" {
			t.Errorf("%s and %s have the same name", body, other)
		}
		seen[d.Design()] = body
	}
}

func TestBookmarks(t *testing.T) {
	for _, p := range []position{{id: "a"}, {id: "\u2028\"é"}, {id: "x", key: []byte(`[1,"a",{"b":[]}]`)}} {
		got, err := parseBookmark(p.encode(), p.key == nil)
		if err != nil || got.id != p.id || string(got.key) != string(p.key) {
			t.Errorf("%v: %v, %v", p, got, err)
		}
		if _, err := parseBookmark(p.encode(), p.key != nil); err == nil {
			t.Errorf("%v is taken for one of another kind", p)
		}
	}
	for _, text := range []string{"nil", "nonsense", "", "W10", "WzEsMV0", "é"} {
		_, err := parseBookmark(text, true)
		wantError(t, text, err, "invalid_bookmark", `Invalid bookmark value: "`+text+`"`)
	}
}

// FuzzQuery feeds anything as a request: it must be refused with an error that
// clients can be told, or be explained as JSON.
func FuzzQuery(f *testing.F) {
	f.Add([]byte(`{"selector":{"a":{"$gt":1,"$beginsWith":"x"}},"sort":[{"a":"desc"}],"fields":["a","_id"],"limit":3,"use_index":"a/a"}`))
	f.Add([]byte(`{"selector":{"_id":{"$lt":"é"},"$or":[]},"bookmark":"nil","partition":"p","r":2,"stale":"ok","conflicts":true}`))
	f.Add([]byte(`{"selector":{"b":{"$gt":5,"$lt":1}},"use_index":["b"],"allow_fallback":false,"execution_stats":true}`))
	indexes := madeIndexes(f, "a/a a", "ab/ab -a -b", "p/p c ?{\"d\":1}", "s/s a !", "i/i _id")
	f.Fuzz(func(t *testing.T, text []byte) {
		body, err := document.Canonical(text)
		if err != nil {
			return
		}
		q, err := ParseQuery(body, "", Limits{DefaultLimit: 25})
		if err == nil {
			var p *plan
			if p, err = newPlan(q, indexes); err == nil {
				if explained := p.explain(nil, "db", true); !json.Valid(explained) {
					t.Fatalf("%s", explained)
				}
				return
			}
		}
		var e *Error
		var d *document.Error
		if !errors.As(err, &d) && (!errors.As(err, &e) || e.Name == "" || e.Reason == "") {
			t.Errorf("error %#v", err)
		}
	})
}

// FuzzDefinition feeds anything as a definition of an index: what is accepted
// must be an index in its design document, and be gone when it is removed.
func FuzzDefinition(f *testing.F) {
	f.Add([]byte(`{"index":{"fields":["a",{"b.c":"asc"}],"partial_filter_selector":{"x":{"$gt":1}}},"ddoc":"d","name":"n"}`))
	f.Add([]byte(`{"index":{"fields":[]},"partitioned":true,"w":2,"type":"json"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		body, err := document.Canonical(text)
		if err != nil {
			return
		}
		d, err := ParseDefinition(body)
		if err != nil {
			return
		}
		made, _, err := d.AddTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		indexes := readIndexes(d.Design(), made, false)
		if len(indexes) != 1 || indexes[0].name != d.Name() || !json.Valid(AppendIndexes(nil, indexes, 0, 10)) {
			t.Fatalf("%s has the indexes %v", made, indexes)
		}
		if again, exists, err := d.AddTo(made); err != nil || !exists || string(again) != string(made) {
			t.Fatalf("%s again: %s, %v, %v", made, again, exists, err)
		}
		if rest, err := Remove(made, d.Name()); err != nil || rest != nil {
			t.Fatalf("%s removed: %s, %v", made, rest, err)
		}
	})
}

// FuzzBookmark feeds anything as a bookmark: what is accepted must mean the same
// when it is sent again.
func FuzzBookmark(f *testing.F) {
	f.Add((&position{id: "a"}).encode(), true)
	f.Add((&position{id: "é", key: []byte(`[1.5,{"a":null}]`)}).encode(), false)
	f.Add("nil", true)
	f.Fuzz(func(t *testing.T, text string, byID bool) {
		p, err := parseBookmark(text, byID)
		if err != nil {
			return
		}
		again, err := parseBookmark(p.encode(), byID)
		if err != nil || again.id != p.id || string(again.key) != string(p.key) {
			t.Errorf("%q is %v, and that %v, %v", text, p, again, err)
		}
	})
}
