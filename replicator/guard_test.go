package replicator

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mangrove-db/mangrove/document"
)

var (
	guardAdmin = Writer{Name: "root", Admin: true, Server: true}
	guardChief = Writer{Name: "ann", Roles: []string{"r"}, Admin: true} // of the database alone
	guardUser  = Writer{Name: "joe", Roles: []string{"r"}}
)

func TestGuard(t *testing.T) {
	const missing = "The `source' property must exist and be either a string or an object."
	tests := []struct {
		name, body string
		writer     Writer
		want       string // body, or reason
	}{
		{"plain", `{"source":"a","target":{"url":"http://h/b","headers":{},"auth":{}}}`, guardAdmin, `{"source":"a","target":{"url":"http://h/b","headers":{},"auth":{}},"owner":"root"}`},
		{"owned", `{"source":"a","target":"b","owner":"joe"}`, guardAdmin, `{"source":"a","target":"b","owner":"joe"}`},
		{"null owner", `{"owner":null,"source":"a","target":"b"}`, guardAdmin, `{"owner":"root","source":"a","target":"b"}`},
		{"failed before", `{"_replication_state":"failed","owner":"x"}`, guardAdmin, `{"_replication_state":"failed","owner":"x"}`},
		{"null selector", `{"source":"a","target":"b","selector":null,"owner":"x"}`, guardAdmin, `{"source":"a","target":"b","selector":null,"owner":"x"}`},
		{"user", `{"source":"a","target":"b","user_ctx":{"name":"joe","roles":["r"]}}`, guardUser, `{"source":"a","target":"b","user_ctx":{"name":"joe","roles":["r"]},"owner":"joe"}`},

		{"nothing", `{}`, guardAdmin, missing},
		{"null", `{"source":null,"target":"b"}`, guardAdmin, missing},
		{"array", `{"source":[],"target":"b"}`, guardAdmin, missing},
		{"no target", `{"source":"a"}`, guardAdmin, "The `target' property must exist and be either a string or an object."},
		{"no url", `{"source":{"url":""},"target":"b"}`, guardAdmin, "The url property must exist in the `source' field and must be a non-empty string."},
		{"headers", `{"source":{"url":"http://h","headers":1},"target":"b"}`, guardAdmin, "`source.headers' must be a non-null object."},
		{"auth", `{"source":{"url":"http://h","auth":null},"target":"b"}`, guardAdmin, "`source.auth' must be a non-null object."},
		{"create", `{"source":"a","target":"b","create_target":"yes"}`, guardAdmin, "The `create_target' field must be a boolean."},
		{"continuous", `{"source":"a","target":"b","continuous":1}`, guardAdmin, "The `continuous' field must be a boolean."},
		{"doc ids", `{"source":"a","target":"b","doc_ids":"a"}`, guardAdmin, "The `doc_ids' field must be an array of strings."},
		{"selector", `{"source":"a","target":"b","selector":1}`, guardAdmin, "The `selector' field must be an object."},
		{"filter", `{"source":"a","target":"b","filter":""}`, guardAdmin, "The `filter' field must be a non-empty string."},
		{"both", `{"source":"a","target":"b","doc_ids":[],"selector":{}}`, guardAdmin, "`doc_ids' field is incompatible with `selector'."},
		{"filter and ids", `{"source":"a","target":"b","doc_ids":[],"filter":"a/b"}`, guardAdmin, "`filter' field is incompatible with `selector' and `doc_ids'."},
		{"query", `{"source":"a","target":"b","query_params":null}`, guardAdmin, "The `query_params' field must be an object."},
		{"user_ctx", `{"source":"a","target":"b","user_ctx":1}`, guardAdmin, "The `user_ctx' property must be a non-null object."},
		{"name", `{"source":"a","target":"b","user_ctx":{"name":""}}`, guardAdmin, "The `user_ctx.name' property must be a non-empty string or null."},
		{"roles", `{"source":"a","target":"b","user_ctx":{"roles":"x"}}`, guardAdmin, "The `user_ctx.roles' property must be an array of strings."},
		{"no user", `{"source":"a","target":"b"}`, guardUser, "The `user_ctx' property is missing (it is optional for admins only)."},
		{"other user", `{"source":"a","target":"b","user_ctx":{"name":"ann"}}`, guardUser, "The given `user_ctx.name' is not valid"},
		{"other role", `{"source":"a","target":"b","user_ctx":{"name":"joe","roles":["_admin"]}}`, guardUser, "Invalid role (`_admin') in the `user_ctx'"},
		{"no user, of the database", `{"source":"a","target":"b"}`, guardChief, "The `user_ctx' property is missing (it is optional for admins only)."},
		{"other user, of the database", `{"source":"a","target":"b","user_ctx":{"name":"root"}}`, guardChief, "The given `user_ctx.name' is not valid"},
		{"other role, of the database", `{"source":"a","target":"b","user_ctx":{"name":"ann","roles":["_admin"]}}`, guardChief, "Invalid role (`_admin') in the `user_ctx'"},
		{"of the database", `{"source":"a","target":"b","user_ctx":{"name":"ann","roles":["r"]},"owner":"joe"}`, guardChief, `{"source":"a","target":"b","user_ctx":{"name":"ann","roles":["r"]},"owner":"joe"}`},
		{"other owner", `{"source":"a","target":"b","user_ctx":{"name":"joe"},"owner":"ann"}`, guardUser, "Can't update replication documents from other users."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := &document.Document{ID: "x", Body: []byte(tt.body)}
			err := Guard(d, tt.writer, false)
			got := string(d.Body)
			var forbidden *ForbiddenError
			if errors.As(err, &forbidden) {
				got = forbidden.Reason
			} else if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestGuardSuccessor(t *testing.T) {
	const (
		others   = "Can't update replication documents from other users."
		deleting = "Replication documents can only be deleted by admins or by the users who created them."
	)
	for _, tt := range []struct {
		old     string
		deleted bool
		writer  Writer
		want    string
	}{
		{`{"owner":"joe","user_ctx":{"name":"joe"}}`, false, guardUser, ""},
		{`{"owner":"joe","user_ctx":{"name":"joe"}}`, true, guardUser, ""},
		{`{"owner":"root"}`, false, guardUser, others},
		{`{"owner":"root"}`, true, guardUser, deleting},
		{`{"owner":"root"}`, false, guardChief, ""},
		{`{"owner":"root"}`, true, guardChief, deleting},
		{`{"owner":"root"}`, true, guardAdmin, ""},
		{`{"owner":"ann","user_ctx":{"name":"ann"}}`, true, guardUser, deleting},
		{`{"owner":"joe","user_ctx":null}`, true, guardUser, deleting},
		{`{"user_ctx":{"name":null}}`, true, Writer{}, ""},
		{`{"user_ctx":{"Name":"joe"}}`, true, guardUser, deleting},
	} {
		err := GuardSuccessor(&document.Document{ID: "x", Deleted: tt.deleted}, &document.Document{ID: "x", Body: []byte(tt.old)}, tt.writer)
		if got := fmt.Sprint(err); got != tt.want && (tt.want != "" || err != nil) {
			t.Errorf("%s, deleted %v, by %q: %v, want %q", tt.old, tt.deleted, tt.writer.Name, err, tt.want)
		}
	}
}

func TestGuardLeavesAlone(t *testing.T) {
	for _, d := range []document.Document{
		{ID: "x", Deleted: true, Body: []byte(`{}`)},
		{ID: "_design/x", Body: []byte(`{}`)},
		{ID: "_local/x", Body: []byte(`{}`)},
	} {
		if err := Guard(&d, guardAdmin, false); err != nil || string(d.Body) != `{}` {
			t.Errorf("%s: %v %s", d.ID, err, d.Body)
		}
	}
	d := document.Document{ID: "x", Body: []byte(`{"source":"a","target":"b"}`)}
	if err := Guard(&d, guardAdmin, true); err != nil || string(d.Body) != `{"source":"a","target":"b"}` {
		t.Errorf("a replicated document was changed: %v %s", err, d.Body)
	}
	d.Body = []byte(`{}`)
	if err := Guard(&d, guardAdmin, true); err == nil {
		t.Error("a replicated document passes unchecked")
	}
}

func TestWithMembers(t *testing.T) {
	body, err := withMembers([]byte(`{"b":1,"a":{"x":[1]},"c":3}`), []member{{"a", []byte(`2`)}, {"c", nil}, {"new", []byte(`"x"`)}, {"gone", nil}})
	if want := `{"b":1,"a":2,"new":"x"}`; err != nil || string(body) != want {
		t.Errorf("%s %v, want %s", body, err, want)
	}
}
