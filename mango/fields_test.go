package mango

import (
	"encoding/json"
	"testing"

	"github.com/mangrove-db/mangrove/document"
)

func TestFields(t *testing.T) {
	doc := Doc{
		ID: "x", Rev: "1-a", Body: []byte(`{"n":1,"t":{"a":1,"b":[1,2]},"e.f":null,"deep":{"er":{"est":{}}}}`),
		Attachments: []byte(`{"a":{"length":3}}`), Conflicts: []byte(`["1-b"]`),
	}
	for _, tc := range []struct{ fields, want string }{
		{`["_id","t.b"]`, `{"_id":"x","t":{"b":[1,2]}}`},
		{`["n","t.a","nosuch","t.b.1","t.b.x","n.m"]`, `{"n":1,"t":{"a":1,"b":{"1":2}}}`},
		{`["t","t.a","n"]`, `{"t":{"a":1,"b":[1,2]},"n":1}`},
		{`["t.a","t"]`, `{"t":{"a":1,"b":[1,2]}}`},
		{`["t\\.a"]`, `{}`},
		{`["e\\.f"]`, `{"e.f":null}`},
		{`["n","n"]`, `{"n":1}`},
		{`["deep.er.est","deep.x.y"]`, `{"deep":{"er":{"est":{}}}}`},
		{`["_rev","_attachments.a.length","_conflicts","_deleted"]`, `{"_rev":"1-a","_attachments":{"a":{"length":3}},"_conflicts":["1-b"]}`},
	} {
		fields, err := ParseFields([]byte(tc.fields))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(fields.AppendFrom(nil, doc)); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.fields, got, tc.want)
		}
	}
	if all, err := ParseFields([]byte("[]")); all != nil || err != nil {
		t.Errorf("no fields: %v, %v", all, err)
	}
}

// FuzzFields checks that what is shown of a document is JSON, whatever is asked for.
func FuzzFields(f *testing.F) {
	f.Add([]byte(`["a.b","a","c.0.d","e\\.f"]`), []byte(`{"a":{"b":1},"c":[{"d":2}],"e.f":null}`))
	f.Add([]byte(`["a","a.b"]`), []byte(`{"a":[[]]}`))
	f.Add([]byte(`[]`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, list, doc []byte) {
		paths, err := document.Canonical(list)
		if err != nil {
			return
		}
		fields, err := ParseFields(paths)
		if err != nil || fields == nil {
			return
		}
		body, err := document.Canonical(doc)
		if err != nil || body[0] != '{' {
			return
		}
		if got := fields.AppendFrom(nil, Doc{ID: "id", Body: body}); !json.Valid(got) {
			t.Errorf("%s of %s: %s", paths, body, got)
		}
	})
}
