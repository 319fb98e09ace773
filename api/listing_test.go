package api

import (
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/view"
)

// FuzzListing reads parameters from a query and from a body, as lists of documents and as views: whatever they are, they
// are refused with an error of the client's or make sense.
func FuzzListing(f *testing.F) {
	for _, s := range [][2]string{
		{"", ""},
		{"limit=1&skip=2&descending=true", `{"keys":[1,"a",{"b":[null]}],"group":true}`},
		{`startkey="a"&end_key=[1,{}]&inclusive_end=false`, `{"queries":[{"key":1},{"limit":5}]}`},
		{"group_level=99999999999999999999&update=lazy&stale=ok", `{"limit":-1}`},
		{"keys=[1,2]&key=3", `{"keys":{"a":1}}`},
		{"partition=p&start_key_doc_id=x&conflicts=TRUE&reduce=%01", `{"start_key":[[[[1]]]],"descending":null}`},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, query, body string) {
		for _, words := range []*listingWords{documentWords, viewWords} {
			q := &request{Request: &http.Request{URL: &url.URL{RawQuery: query}}}
			l := newListing(words)
			s := document.NewStream(strings.NewReader(body), document.Limits{})
			err := l.readBody(s, words.body)
			s.Close()
			if err == nil {
				err = l.readQuery(q)
			}
			for _, reduced := range []bool{false, true} {
				fault := err
				if fault == nil {
					fault = l.check(reduced)
				}
				if fault == nil {
					fault = l.checkRange(false)
				}
				if fault != nil {
					if e := toError(fault); e == nil || e.Status/100 != 4 {
						t.Fatalf("%q %q: %v", query, body, fault)
					}
					continue
				}
				level, err := l.grouping()
				if err != nil || level < view.GroupExact || level > math.MaxInt32 || !reduced && level != view.GroupNone {
					t.Fatalf("%q %q: grouped by %d (%v)", query, body, level, err)
				}
				if len(l.keys) > 0 && !l.hasKeys {
					t.Fatalf("%q %q: keys that were not asked for", query, body)
				}
				if _, ok := l.documents("p:"); ok && l.descending && l.start != nil && string(l.start) == `""` {
					t.Fatalf("%q %q: there are documents before the empty id", query, body)
				}
			}
		}
	})
}
