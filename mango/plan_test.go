package mango

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/document"

	"pgregory.net/rapid"
)

// madeIndexes makes the design documents of definitions "ddoc/name fields..." (a
// field with a minus is descending, "?selector" makes it partial, "!" partitioned)
// and returns their indexes.
func madeIndexes(t testing.TB, definitions ...string) []*Index {
	t.Helper()
	list := []*Index{allDocs}
	for _, text := range definitions {
		parts := strings.Fields(text)
		ddoc, name, _ := strings.Cut(parts[0], "/")
		var fields []string
		selector, partitioned := "{}", ""
		for _, p := range parts[1:] {
			switch p[0] {
			case '?':
				selector = p[1:]
			case '!':
				partitioned = `,"partitioned":true`
			case '-':
				fields = append(fields, fmt.Sprintf(`{%q:"desc"}`, p[1:]))
			default:
				fields = append(fields, fmt.Sprintf("%q", p))
			}
		}
		body := fmt.Sprintf(`{"index":{"fields":[%s],"partial_filter_selector":%s},"ddoc":%q,"name":%q%s}`,
			strings.Join(fields, ","), selector, ddoc, name, partitioned)
		d, err := ParseDefinition([]byte(body))
		if err != nil {
			t.Fatal(body, err)
		}
		made, exists, err := d.AddTo(nil)
		if err != nil || exists {
			t.Fatal(body, exists, err)
		}
		list = append(list, readIndexes(d.Design(), made, false)...)
	}
	slices.SortFunc(list, (*Index).compare)
	return list
}

func parseQuery(t rapid.TB, text string) *Query {
	t.Helper()
	body, err := document.Canonical([]byte(text))
	if err != nil {
		t.Fatal(text, err)
	}
	q, err := ParseQuery(body, "", Limits{DefaultLimit: 25, ScanWarning: 10})
	if err != nil {
		t.Fatal(text, err)
	}
	return q
}

// explained is what of _explain the tests look at.
type explained struct {
	Index *struct {
		Name string
	}
	Args *struct {
		Start     json.RawMessage `json:"start_key"`
		End       json.RawMessage `json:"end_key"`
		Direction string
		Docs      bool `json:"include_docs"`
	} `json:"mrargs"`
	Candidates []struct {
		Index struct {
			Name string
		}
		Analysis struct {
			Usable   bool
			Reasons  []struct{ Name string }
			Ranking  int
			Covering *bool
		}
	} `json:"index_candidates"`
	Hints []struct {
		Indexable   []string `json:"indexable_fields"`
		Unindexable []string `json:"unindexable_fields"`
	} `json:"selector_hints"`
	Covering bool
}

func explain(t testing.TB, p *plan) (e explained) {
	t.Helper()
	text := p.explain(nil, "db", false)
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return e
}

func TestPlan(t *testing.T) {
	usual := []string{"a/a a", "ab/ab a b", "b/b b", "n/n x.y", "p/p c ?{\"d\":1}", "r/r -a", "s/s a !"}
	for _, tc := range []struct {
		query   string
		index   string // "" for none
		start   string
		end     string
		indexes []string
	}{
		{`{"selector":{"a":1}}`, "a", `[1]`, `[1,"<MAX>"]`, nil},
		{`{"selector":{"a":{"$gt":1,"$lte":5}}}`, "a", `[1]`, `[5,"<MAX>"]`, nil},
		{`{"selector":{"a":1,"b":{"$gt":"A"}}}`, "ab", `[1,"A"]`, `[1,"<MAX>"]`, nil},
		{`{"selector":{"a":{"$lt":1},"b":2}}`, "ab", `[]`, `[1,2,"<MAX>"]`, nil},
		{`{"selector":{"a":{"$gte":1},"b":2}}`, "ab", `[1,2]`, `["<MAX>"]`, nil},
		{`{"selector":{"b":2}}`, "b", `[2]`, `[2,"<MAX>"]`, nil},
		{`{"selector":{"x":{"y":2}}}`, "n", `[2]`, `[2,"<MAX>"]`, nil},
		{`{"selector":{"c":2}}`, "_all_docs", `null`, `"<MAX>"`, nil},
		{`{"selector":{"c":2},"use_index":"p"}`, "p", `[2]`, `[2,"<MAX>"]`, nil},
		{`{"selector":{"c":2},"use_index":["_design/p","nope"]}`, "_all_docs", `null`, `"<MAX>"`, nil},
		{`{"selector":{}}`, "_all_docs", `null`, `"<MAX>"`, nil},
		{`{"selector":{"a":{"$exists":true}}}`, "a", `[]`, `["<MAX>"]`, nil},
		{`{"selector":{"a":{"$exists":false}}}`, "_all_docs", `null`, `"<MAX>"`, nil},
		{`{"selector":{"a":{"$beginsWith":"W"}}}`, "a", `["W"]`, "[\"W\uFFFD\",\"<MAX>\"]", nil},
		{`{"selector":{"$or":[{"a":1},{"a":2}]}}`, "a", `[]`, `["<MAX>"]`, nil},
		{`{"selector":{"$or":[{"a":1},{"b":2}]}}`, "_all_docs", `null`, `"<MAX>"`, nil},
		{`{"selector":{"c":1,"$or":[]}}`, "_all_docs", `null`, `"<MAX>"`, nil},
		{`{"selector":{"$and":[]}}`, "_all_docs", `null`, `null`, nil},
		{`{"selector":{"a":{"$gt":5,"$lt":1}}}`, "a", `null`, `null`, nil},
		{`{"selector":{"a":{"$gt":5,"$lte":5}}}`, "a", `null`, `null`, nil},
		{`{"selector":{"a":{"$gte":5,"$lte":5}}}`, "a", `[5]`, `[5,"<MAX>"]`, nil},
		{`{"selector":{"a":{"$gt":3},"$and":[{"a":{"$gt":2}},{"a":{"$lt":9}}]}}`, "a", `[3]`, `[9,"<MAX>"]`, nil},
		{`{"selector":{"_id":{"$gt":"c"}}}`, "_all_docs", `"c"`, `"<MAX>"`, nil},
		{`{"selector":{"_id":{"$lte":"c"}}}`, "_all_docs", `""`, `"c"`, nil},
		{`{"selector":{"_id":"c"}}`, "_all_docs", `"c"`, `"c"`, nil},
		{`{"selector":{"_id":{"$beginsWith":"c"}}}`, "_all_docs", `"c"`, "\"c\uFFFD\"", nil},
		{`{"selector":{"_id":{"$gt":"B","$lt":"a"}}}`, "_all_docs", `"B"`, `"a"`, nil}, // by their bytes
		{`{"selector":{"_id":{"$gt":"a","$lt":"B"}}}`, "_all_docs", `null`, `null`, nil},
		{`{"selector":{"_id":{"$gt":"a"}}}`, "i", `[]`, `["<MAX>"]`, []string{"i/i _id"}},
		{`{"selector":{"_id":"a"}}`, "i", `["a"]`, `["a","<MAX>"]`, []string{"i/i _id"}},
		{`{"selector":{"a":1},"sort":["b"]}`, "ab", `[1]`, `[1,"<MAX>"]`, nil},
		{`{"selector":{"a":{"$gt":1}},"sort":["b"]}`, "b", `[]`, `["<MAX>"]`, nil},
		{`{"selector":{"a":{"$gt":1}},"sort":["c"]}`, "", "", "", nil},
		{`{"selector":{"a":{"$gt":1}},"sort":["a","b"]}`, "ab", `[1]`, `["<MAX>"]`, nil},
		{`{"selector":{"a":{"$gt":1}},"sort":["b","a"]}`, "", "", "", nil},
		{`{"selector":{"a":{"$gt":1}},"sort":[{"a":"desc"}]}`, "a", `["<MAX>"]`, `[1]`, nil},
		{`{"selector":{"_id":{"$gt":"a"}},"sort":[{"_id":"desc"}]}`, "_all_docs", `"<MAX>"`, `"a"`, nil},
		{`{"selector":{"a":1},"sort":["_id"]}`, "", "", "", nil},
		{`{"selector":{},"sort":["b"]}`, "b", `[]`, `["<MAX>"]`, nil},
		{`{"selector":{"a":1},"partition":"p"}`, "s", `[1]`, `[1,"<MAX>"]`, nil},
		{`{"selector":{"b":1},"partition":"p"}`, "_all_docs", `null`, `"<MAX>"`, nil},
		{`{"selector":{"$text":"x","a":1}}`, "_all_docs", `null`, `"<MAX>"`, nil},
		{`{"selector":{"a":1,"b":2},"use_index":"a"}`, "a", `[1]`, `[1,"<MAX>"]`, nil},
		{`{"selector":{"a":1},"use_index":"ab"}`, "a", `[1]`, `[1,"<MAX>"]`, nil},
		{`{"selector":{"q":1}}`, "e", `[]`, `["<MAX>"]`, []string{"e/e"}},
	} {
		if tc.indexes == nil {
			tc.indexes = usual
		}
		p, err := newPlan(parseQuery(t, tc.query), madeIndexes(t, tc.indexes...))
		if err != nil {
			t.Errorf("%s: %v", tc.query, err)
			continue
		}
		e := explain(t, p)
		if e.Index == nil || tc.index == "" {
			if e.Index != nil || e.Args != nil || tc.index != "" {
				t.Errorf("%s: %+v, want %q", tc.query, e.Index, tc.index)
			}
			continue
		}
		if e.Index.Name != tc.index || string(e.Args.Start) != tc.start || string(e.Args.End) != tc.end {
			t.Errorf("%s: %s from %s to %s, want %s from %s to %s", tc.query, e.Index.Name, e.Args.Start, e.Args.End, tc.index, tc.start, tc.end)
		}
	}
}

func TestPlanWithoutFallback(t *testing.T) {
	const unsuited = " specified by `use_index` could not be found or it is not suitable."
	for query, reason := range map[string]string{
		`{"selector":{"a":1}}`:                       "",
		`{"selector":{"a":1},"use_index":"a"}`:       "",
		`{"selector":{"a":1},"use_index":"b"}`:       "_design/b" + unsuited,
		`{"selector":{"a":1},"use_index":["b","b"]}`: "_design/b, b" + unsuited,
		`{"selector":{"a":1},"use_index":"nope"}`:    "_design/nope" + unsuited,
		`{"selector":{"c":1}}`:                       "You must specify an index with the `use_index` parameter.",
	} {
		q := parseQuery(t, strings.TrimSuffix(query, "}")+`,"allow_fallback":false}`)
		_, err := newPlan(q, madeIndexes(t, "a/a a", "b/b b"))
		var refused *Error
		if reason == "" {
			if err != nil {
				t.Errorf("%s: %v", query, err)
			}
		} else if !errors.As(err, &refused) || refused.Name != "invalid_index" || refused.Reason != reason {
			t.Errorf("%s: %v, want %s", query, err, reason)
		}
	}
}

func TestCandidates(t *testing.T) {
	for _, tc := range []struct {
		query   string
		indexes []string
		want    []string // name usable reason rank covering
	}{
		{
			`{"selector":{"age":23}}`,
			[]string{"age/age age", "manager/manager manager", "twitter/twitter twitter"},
			[]string{"twitter false field_mismatch 2 false", "manager false field_mismatch 2 false", "_all_docs true unfavored_type 1 null"},
		},
		{`{"selector":{"age":23},"sort":["company"]}`, nil, []string{"_all_docs false field_mismatch 1 null"}},
		{`{"selector":{"age":23}}`, nil, nil},
		{
			`{"selector":{"a":1,"b":1},"fields":["b"]}`,
			[]string{"a/a a", "ab/ab a b", "abc/abc a b _id", "ba/ba a b", "p/p a ?{\"c\":1}", "s/s a !"},
			[]string{
				"s false scope_mismatch 5 false", "p false is_partial 6 false", "ba true alphabetically_comes_after 1 true",
				"abc true too_many_fields 2 true", "a true less_overlap 3 false", "_all_docs true unfavored_type 4 null",
			},
		},
		{
			`{"selector":{"a":1,"b":1},"use_index":"a"}`,
			[]string{"a/a a", "b/b b", "c/c c"},
			[]string{"c false field_mismatch 2 false", "b true excluded_by_user 1 false", "_all_docs true excluded_by_user 1 null"},
		},
		{
			`{"selector":{"a":1},"sort":["b"]}`,
			[]string{"a/a a", "ab/ab a b"},
			[]string{"a false sort_order_mismatch 1 false", "_all_docs false field_mismatch 1 null"},
		},
	} {
		p, err := newPlan(parseQuery(t, tc.query), madeIndexes(t, tc.indexes...))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range explain(t, p).Candidates {
			covering := "null"
			if c.Analysis.Covering != nil {
				covering = fmt.Sprint(*c.Analysis.Covering)
			}
			got = append(got, fmt.Sprint(c.Index.Name, " ", c.Analysis.Usable, " ", c.Analysis.Reasons[0].Name, " ", c.Analysis.Ranking, " ", covering))
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s\ngot  %q\nwant %q", tc.query, got, tc.want)
		}
	}
}

func TestCovering(t *testing.T) {
	indexes := madeIndexes(t, "a/a a", "ab/ab a b", "n/n name.first name.last", "x/x _attachments.x", "r/r _rev z")
	for query, want := range map[string]bool{
		`{"selector":{"a":{"$gt":1}},"fields":["_id"]}`:                                                         true,
		`{"selector":{"a":{"$gt":1}},"fields":["a"]}`:                                                           true,
		`{"selector":{"a":{"$elemMatch":{"$eq":"x"}}},"fields":["a"]}`:                                          true,
		`{"selector":{"a":1,"b":2},"fields":["b","_id"]}`:                                                       true,
		`{"selector":{"name":{"first":"x","last":"y"}},"fields":["_id"]}`:                                       true,
		`{"selector":{"_rev":"1-x","z":1},"fields":["z"]}`:                                                      true,
		`{"selector":{"a":{"$gt":1}}}`:                                                                          false,
		`{"selector":{"a":{"$gt":1}},"fields":["c"]}`:                                                           false,
		`{"selector":{"a":{"$gt":1},"c":1},"fields":["a"]}`:                                                     false,
		`{"selector":{"a":{"$gt":1}},"fields":["a.b"]}`:                                                         false,
		`{"selector":{"_attachments.x":{"$exists":true}},"fields":["_attachments.x"]}`:                          false,
		`{"selector":{},"fields":["_id"]}`:                                                                      false,
		`{"selector":{"$or":[{"a":1,"b":1},{"a":2,"b":{"$in":[1]}}]},"fields":["a"],"use_index":"ab"}`:          true,
		`{"selector":{"$or":[{"a":1,"b":1},{"a":2,"b":{"$in":[1]},"c":1}]},"fields":["a"],"use_index":"ab"}`:    false,
		`{"selector":{"a":1,"b":{"$not":{"$regex":"x"}}},"fields":["a"],"use_index":"ab"}`:                      true,
		`{"selector":{"a":1,"$nor":[{"b":1},{"b":{"$exists":false}}]},"fields":["a","b","a"],"use_index":"ab"}`: true,
	} {
		p, err := newPlan(parseQuery(t, query), indexes)
		if err != nil {
			t.Fatal(err)
		}
		if e := explain(t, p); e.Covering != want || e.Args.Docs == want {
			t.Errorf("%s: covering %v, include_docs %v", query, e.Covering, e.Args.Docs)
		}
	}
}

func TestHints(t *testing.T) {
	q := parseQuery(t, `{"selector":{"a":1,"b":{"$regex":"x"},"c":{"$beginsWith":"x"},"$or":[{"d":1},{"a":2}]}}`)
	p, err := newPlan(q, madeIndexes(t))
	if err != nil {
		t.Fatal(err)
	}
	h := explain(t, p).Hints
	if len(h) != 1 || !slices.Equal(h[0].Indexable, []string{"a", "c"}) || !slices.Equal(h[0].Unindexable, []string{"b", "d"}) {
		t.Errorf("hints %+v", h)
	}
}
