package mango

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A selector as long as a request may be is compiled, planned and matched in a moment, or refused.
func TestLongSelectors(t *testing.T) {
	list := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			if strings.Contains(format, "%") {
				fmt.Fprintf(&b, format, i)
			} else {
				b.WriteString(format)
			}
		}
		return b.String()
	}
	elements := Doc{ID: "x", Body: []byte(`{"a":[` + list(200_000, `1`) + `]}`)}
	for _, test := range []struct {
		name, selector string
		refused        error
	}{
		{"many fields", `{` + list(100_000, `"f%d":1`) + `}`, nil},
		{"many elements", `{` + list(100_000, `"a.%d":1`) + `}`, nil},
		{"many conditions", `{"a":{"$or":[` + list(maxConditions+1, `1`) + `]}}`, errManyConditions},
		{"many empty conditions", `{"$or":[` + list(maxConditions+1, `{"$and":[]}`) + `]}`, errManyConditions},
		{"a long name that many conditions share", `{"` + strings.Repeat("n", 1<<20) + `":{"$or":[` + list(10_000, `1`) + `]}}`, errLongNames},
		{"a long name before many", `{"` + strings.Repeat("n", 1<<20) + `":{` + list(10_000, `"n%d":1`) + `}}`, errLongNames},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			s, err := Compile([]byte(test.selector))
			if !errors.Is(err, test.refused) {
				t.Fatalf("error %v, want %v", err, test.refused)
			}
			if err == nil {
				p, err := newPlan(&Query{selector: s, fallback: true}, []*Index{allDocs})
				if err != nil {
					t.Fatal(err)
				}
				p.explain(nil, "db", false)
				s.Match(elements)
			}
			// What grows with the square of the length takes minutes.
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}
