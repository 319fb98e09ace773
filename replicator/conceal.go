package replicator

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/mangrove-db/mangrove/document"
)

// Conceal takes the credentials out of a document of a replicator database, for those who neither own it nor
// administer the database. reader is who reads it.
func Conceal(d *document.Document, reader string) error {
	if document.IsDesign(d.ID) {
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(d.Body, &members); err != nil {
		return err
	}
	var owner string
	if json.Unmarshal(members["owner"], &owner) == nil && owner != "" && owner == reader {
		return nil
	}
	var changes []member
	for _, name := range []string{"source", "target"} {
		if text, ok := members[name]; ok {
			changes = append(changes, member{name, withoutCredentials(text)})
		}
	}
	for _, name := range []string{"source_proxy", "target_proxy", "proxy"} {
		if text, ok := members[name]; ok {
			changes = append(changes, member{name, withoutCredentials(text)})
		}
	}
	body, err := withMembers(d.Body, changes)
	if err != nil {
		return err
	}
	// A document with another body is another document.
	*d = document.Document{ID: d.ID, Rev: d.Rev, Deleted: d.Deleted, Revisions: d.Revisions, Body: body, Attachments: d.Attachments}
	return nil
}

// withoutCredentials returns an endpoint, as JSON, of which only the address is left. What cannot be read is left out
// as a whole: it may be a credential.
func withoutCredentials(text []byte) []byte {
	switch document.TypeName(text) {
	case "string":
		var address string
		if json.Unmarshal(text, &address) != nil {
			return []byte("null")
		}
		if !strings.Contains(address, "://") && !strings.Contains(address, "@") {
			return text // a database of this node
		}
		u, err := url.Parse(address)
		if err != nil {
			return []byte("null")
		}
		u.User = nil
		return document.AppendString(nil, u.String())
	case "object":
		var members map[string]json.RawMessage
		if json.Unmarshal(text, &members) != nil || members["url"] == nil {
			return []byte("{}")
		}
		b := append([]byte(`{"url":`), withoutCredentials(members["url"])...)
		return append(b, '}')
	}
	return []byte("null")
}

// systemDatabase tells whether a database is one of those that nobody but server administrators may replicate.
func systemDatabase(name string) bool {
	part := name[strings.LastIndexByte(name, '/')+1:]
	return slices.Contains([]string{"_users", "_replicator"}, part) || strings.HasPrefix(name, "_")
}
