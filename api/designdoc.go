package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/script"
	"github.com/mangrove-db/mangrove/view"
)

// designField is a path to a part of a design document and the types that the part may have. A star in the path
// stands for every member.
type designField struct {
	path  []string
	types []string
}

// designFields are checked in this order, each level of a path being an object.
var designFields = []designField{
	{[]string{"filters", "*"}, []string{"string", "object"}},
	{[]string{"language"}, []string{"string"}},
	{[]string{"lists", "*"}, []string{"string", "object"}},
	{[]string{"options"}, []string{"object"}},
	{[]string{"options", "include_design"}, []string{"boolean"}},
	{[]string{"options", "local_seq"}, []string{"boolean"}},
	{[]string{"options", "partitioned"}, []string{"boolean"}},
	{[]string{"rewrites"}, []string{"array", "string"}},
	{[]string{"shows", "*"}, []string{"string", "object"}},
	{[]string{"updates", "*"}, []string{"string", "object"}},
	{[]string{"validate_doc_update"}, []string{"string"}},
	{[]string{"views", "lib"}, []string{"object"}},
	{[]string{"views", "*", "map"}, []string{"string"}},
	{[]string{"views", "*", "reduce"}, []string{"string"}},
}

// checkDesign checks the parts of a design document that the server would make use of, given the document's
// canonical body: that they have the right types, and that the functions of its views compile.
func (q *request) checkDesign(body []byte) error {
	members, err := jsonMembers(body)
	if err != nil {
		return err
	}
	language, _ := jsonString(member(members, "language"))
	if err := checkFields(members, language); err != nil {
		return err
	}
	if err := q.checkPartitioned(members); err != nil {
		return err
	}
	views, err := viewSources(members)
	if err != nil {
		return err
	}
	switch language {
	case "", "javascript":
		return q.checkViews(views)
	case "query":
		return checkReducers(views)
	}
	return nil // a design document may be in a language that the server does not know
}

func checkFields(members []jsonMember, language string) error {
	// The map functions of Mango's indexes are objects.
	functions := []string{"string"}
	if language == "query" {
		functions = []string{"object"}
	}
	for _, f := range designFields {
		types := f.types
		if f.path[len(f.path)-1] == "map" {
			types = functions
		}
		if err := checkField(members, nil, f.path, types); err != nil {
			return err
		}
	}
	return nil
}

func (q *request) checkPartitioned(members []jsonMember) error {
	options := member(members, "options")
	if options == nil {
		return nil
	}
	members, err := jsonMembers(options)
	if err != nil || string(member(members, "partitioned")) != "true" {
		return err
	}
	db, err := q.db()
	if err == nil && !db.Partitioned() {
		err = invalidDesign("partitioned option cannot be true in a non-partitioned database.")
	}
	return err
}

// viewSource is a view of a design document: the JSON texts of its functions, the second nil if it has none.
type viewSource struct {
	name    string
	mapping json.RawMessage
	reduce  json.RawMessage
	place   int // its place in the document
}

// viewSources returns the views of a design document. Each must have a map function.
func viewSources(members []jsonMember) ([]viewSource, error) {
	views := member(members, "views")
	if views == nil {
		return nil, nil
	}
	members, err := jsonMembers(views)
	if err != nil {
		return nil, err
	}
	var list []viewSource
	for i, m := range members {
		if m.name == "lib" {
			continue
		}
		parts, err := jsonMembers(m.value)
		if err != nil {
			return nil, err
		}
		v := viewSource{m.name, member(parts, "map"), member(parts, "reduce"), i}
		if v.mapping == nil {
			return nil, invalidDesign("View `" + m.name + "` must contain map function")
		}
		list = append(list, v)
	}
	return list, nil
}

// checkViews compiles the functions of views. Those that share a map function are compiled together, in the order of
// its text, and the last of them comes first: so the error that is found first is CouchDB's.
func (q *request) checkViews(views []viewSource) error {
	slices.SortFunc(views, func(a, b viewSource) int {
		return cmp.Or(bytes.Compare(a.mapping, b.mapping), cmp.Compare(b.place, a.place))
	})
	for i := 0; i < len(views); {
		n := 1
		for i+n < len(views) && bytes.Equal(views[i+n].mapping, views[i].mapping) {
			n++
		}
		if err := q.checkGroup(views[i : i+n]); err != nil {
			return err
		}
		i += n
	}
	return nil
}

// checkGroup compiles the functions of views that share a map function.
func (q *request) checkGroup(views []viewSource) error {
	// CouchDB names one without a reduce function if there is one.
	named := max(0, slices.IndexFunc(views, func(v viewSource) bool { return v.reduce == nil }))
	if err := q.compile(script.MapFunction, views[named].name, views[named].mapping); err != nil {
		return err
	}
	if err := checkReducers(views); err != nil {
		return err
	}
	for _, v := range views {
		if v.reduce == nil || bytes.HasPrefix(v.reduce, []byte(`"_`)) {
			continue
		}
		if err := q.compile(script.ReduceFunction, v.name, v.reduce); err != nil {
			return err
		}
	}
	return nil
}

// checkReducers checks the names of built-in reduce functions.
func checkReducers(views []viewSource) error {
	for _, v := range views {
		source, _ := jsonString(v.reduce)
		if err := view.CheckReduce(source); err != nil {
			return err
		}
	}
	return nil
}

// compile checks that a function of a view can be compiled.
func (q *request) compile(kind script.FunctionKind, viewName string, source []byte) error {
	text, _ := jsonString(source)
	err := q.api.scripts.Check(kind, text)
	var fault *script.Error
	if !errors.As(err, &fault) || fault.Kind != script.Compilation {
		return err
	}
	what := "map"
	if kind == script.ReduceFunction {
		what = "reduce"
	}
	return compilationError("Compilation of the " + what + " function in the '" + viewName + "' view failed: " + fault.Reason)
}

func checkField(members []jsonMember, above, path, types []string) error {
	for _, m := range members {
		if path[0] != "*" && path[0] != m.name {
			continue
		}
		here := append(slices.Clip(above), m.name)
		kind := document.TypeName(m.value)
		want := types
		if len(path) > 1 {
			want = []string{"object"}
		}
		if !slices.Contains(want, kind) {
			return invalidDesign("`" + strings.Join(here, ".") + "` field must have " + strings.Join(want, " or ") + " type")
		}
		if len(path) == 1 {
			continue
		}
		below, err := jsonMembers(m.value)
		if err != nil {
			return err
		}
		if err := checkField(below, here, path[1:], types); err != nil {
			return err
		}
	}
	return nil
}

// jsonMember is a member of a JSON object.
type jsonMember struct {
	name  string
	value json.RawMessage
}

func member(members []jsonMember, name string) json.RawMessage {
	for i := range members {
		if members[i].name == name {
			return members[i].value
		}
	}
	return nil
}

// jsonMembers splits a JSON object into its members, in their order.
func jsonMembers(text []byte) ([]jsonMember, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, fmt.Errorf("not an object: %.100s", text)
	}
	var list []jsonMember
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var m jsonMember
		m.name, _ = name.(string)
		if err := dec.Decode(&m.value); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}
