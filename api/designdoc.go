package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/mangrove-db/mangrove/document"
)

// designField is a path to a part of a design document and the types that the part may have. A star in the path
// stands for every member.
type designField struct {
	path  []string
	types []string
}

// designFields are checked in this order, each level of a path being an object.
var designFields = []designField{
	{[]string{"filters", "*"}, []string{"object", "string"}},
	{[]string{"language"}, []string{"string"}},
	{[]string{"lists", "*"}, []string{"object", "string"}},
	{[]string{"options"}, []string{"object"}},
	{[]string{"options", "include_design"}, []string{"boolean"}},
	{[]string{"options", "local_seq"}, []string{"boolean"}},
	{[]string{"options", "partitioned"}, []string{"boolean"}},
	{[]string{"rewrites"}, []string{"string", "array"}},
	{[]string{"shows", "*"}, []string{"object", "string"}},
	{[]string{"updates", "*"}, []string{"object", "string"}},
	{[]string{"validate_doc_update"}, []string{"string"}},
	{[]string{"views", "lib"}, []string{"object"}},
	{[]string{"views", "*", "map"}, []string{"string"}},
	{[]string{"views", "*", "reduce"}, []string{"string"}},
}

// checkDesign checks the parts of a design document that the server would make use of, given the document's
// canonical body.
func checkDesign(body []byte) error {
	members, err := jsonMembers(body)
	if err != nil {
		return err
	}
	// The map functions of Mango's indexes are objects.
	functions := []string{"string"}
	if language, _ := jsonString(member(members, "language")); language == "query" {
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
	views := member(members, "views")
	if views == nil {
		return nil
	}
	members, err = jsonMembers(views)
	if err != nil {
		return err
	}
	for _, view := range members {
		if view.name == "lib" {
			continue
		}
		parts, err := jsonMembers(view.value)
		if err != nil {
			return err
		}
		if member(parts, "map") == nil {
			return invalidDesign("View `" + view.name + "` must contain map function")
		}
	}
	return nil
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
