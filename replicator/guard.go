package replicator

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/mangrove-db/mangrove/document"
)

// ForbiddenError says why a document may not be written into a replicator database. Its text is CouchDB's.
type ForbiddenError struct{ Reason string }

func (e *ForbiddenError) Error() string { return e.Reason }

// Writer is who writes a document.
type Writer struct {
	Name  string
	Roles []string
	// Admin administers the database.
	Admin bool
	// Server administers the server. What a document without user_ctx asks for is done with such rights, so that nobody
	// else may leave it out, not even who administers the database.
	Server bool
}

// Guard checks a document that is to be written into a replicator database, and puts into it who owns it, unless it
// comes by replication: then it must stay as it is. Errors are of type *ForbiddenError.
//
// It asks for what the validation function asks for that CouchDB keeps in such databases, in its words.
func Guard(d *document.Document, w Writer, replicated bool) error {
	if d.Deleted || document.IsDesign(d.ID) || document.IsLocal(d.ID) {
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(d.Body, &members); err != nil {
		return err
	}
	g := guard{members: members, writer: w}
	// What says that it has failed may be malformed: that can be why.
	if string(members[memberState]) != `"failed"` {
		g.check()
	}
	if g.err == nil && !replicated {
		g.own(d)
	}
	return g.err
}

// GuardSuccessor checks whether a document may take the place of another: nobody makes an end of replications of others
// but administrators, of the database by changing them. Errors are of type *ForbiddenError.
func GuardSuccessor(d, old *document.Document, w Writer) error {
	if w.Server || document.IsDesign(d.ID) || document.IsLocal(d.ID) || !d.Deleted && w.Admin {
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(old.Body, &members); err != nil {
		return err
	}
	if !d.Deleted {
		// CouchDB looks at the owner that the new document names alone.
		if owner := members["owner"]; document.TypeName(owner) == "string" && textOf(owner) != w.Name {
			return &ForbiddenError{"Can't update replication documents from other users."}
		}
		return nil
	}
	var user map[string]json.RawMessage
	if json.Unmarshal(members["user_ctx"], &user) != nil || user == nil || textOf(user["name"]) != w.Name {
		return &ForbiddenError{"Replication documents can only be deleted by admins or by the users who created them."}
	}
	return nil
}

// textOf is a JSON string's text, "" for anything else.
func textOf(text []byte) (s string) {
	if json.Unmarshal(text, &s) != nil {
		return ""
	}
	return s
}

// guard looks at the members of a document and keeps the first error.
type guard struct {
	members map[string]json.RawMessage
	writer  Writer
	err     error
}

func (g *guard) forbid(reason string) {
	if g.err == nil {
		g.err = &ForbiddenError{reason}
	}
}

// given tells whether there is a member, whatever it is.
func (g *guard) given(name string) bool { return g.members[name] != nil }

// must complains unless the member is missing or of one of the kinds.
func (g *guard) must(name, complaint string, kinds ...string) {
	if g.given(name) && !slices.Contains(kinds, document.TypeName(g.members[name])) {
		g.forbid("The `" + name + "' field must be " + complaint + ".")
	}
}

func (g *guard) check() {
	g.endpoint("source")
	g.endpoint("target")
	g.must("create_target", "a boolean", "boolean")
	g.must("continuous", "a boolean", "boolean")
	g.must("doc_ids", "an array of strings", "array")
	g.must("selector", "an object", "object", "array", "null")
	g.must("filter", "a non-empty string", "string")
	if string(g.members["filter"]) == `""` {
		g.forbid("The `filter' field must be a non-empty string.")
	}
	if g.given("doc_ids") && g.given("selector") {
		g.forbid("`doc_ids' field is incompatible with `selector'.")
	}
	if (g.given("doc_ids") || g.given("selector")) && g.given("filter") {
		g.forbid("`filter' field is incompatible with `selector' and `doc_ids'.")
	}
	g.must("query_params", "an object", "object", "array")
	g.user()
}

func (g *guard) endpoint(name string) {
	switch document.TypeName(g.members[name]) {
	case "string":
		return
	case "object":
	default:
		g.forbid("The `" + name + "' property must exist and be either a string or an object.")
		return
	}
	var members map[string]json.RawMessage
	_ = json.Unmarshal(g.members[name], &members) // an object
	if document.TypeName(members["url"]) != "string" || string(members["url"]) == `""` {
		g.forbid("The url property must exist in the `" + name + "' field and must be a non-empty string.")
	}
	for _, inner := range []string{"auth", "headers"} {
		if k := document.TypeName(members[inner]); k != "undefined" && k != "object" && k != "array" {
			g.forbid("`" + name + "." + inner + "' must be a non-null object.")
		}
	}
}

// user checks on whose behalf the replication is to run.
func (g *guard) user() {
	text := g.members["user_ctx"]
	switch strings.Trim(string(text), `"`) {
	case "", "null", "false", "0":
		if !g.writer.Server {
			g.forbid("The `user_ctx' property is missing (it is optional for admins only).")
		}
		return
	}
	var user map[string]json.RawMessage
	if json.Unmarshal(text, &user) != nil {
		g.forbid("The `user_ctx' property must be a non-null object.")
		return
	}
	var name string
	switch document.TypeName(user["name"]) {
	case "undefined", "null":
	case "string":
		_ = json.Unmarshal(user["name"], &name) // a string
		if name == "" {
			g.forbid("The `user_ctx.name' property must be a non-empty string or null.")
		}
	default:
		g.forbid("The `user_ctx.name' property must be a non-empty string or null.")
	}
	if !g.writer.Server && name != g.writer.Name {
		g.forbid("The given `user_ctx.name' is not valid")
	}
	if user["roles"] == nil {
		return
	}
	var roles []string
	if json.Unmarshal(user["roles"], &roles) != nil {
		g.forbid("The `user_ctx.roles' property must be an array of strings.")
	}
	for _, role := range roles {
		if !g.writer.Server && !slices.Contains(g.writer.Roles, role) {
			g.forbid("Invalid role (`" + role + "') in the `user_ctx'")
		}
	}
}

// own puts the writer into the document as its owner, unless it has one.
func (g *guard) own(d *document.Document) {
	var owner string
	text := g.members["owner"]
	if document.TypeName(text) == "string" {
		_ = json.Unmarshal(text, &owner) // a string
	}
	switch {
	case text == nil, document.TypeName(text) == "null" && g.writer.Admin:
	case owner == g.writer.Name && owner != "", g.writer.Admin:
		return
	default:
		g.forbid("Can't update replication documents from other users.")
		return
	}
	name := []byte("null")
	if g.writer.Name != "" {
		name = document.AppendString(nil, g.writer.Name)
	}
	body, err := withMembers(d.Body, []member{{"owner", name}})
	if err != nil {
		g.err = err
		return
	}
	// A document with another body is another document.
	*d = document.Document{ID: d.ID, Rev: d.Rev, Deleted: d.Deleted, Revisions: d.Revisions, Body: body, Attachments: d.Attachments}
}
