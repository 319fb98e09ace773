package auth

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/internal/dbname"
	"github.com/mangrove-db/mangrove/storage"
)

// usersRule is the validation function of the database of accounts.
//
//go:embed usersrule.js
var usersRule string

// UsersDesign is the id of the design document that checks user documents.
const UsersDesign = "_design/_auth"

// PrepareUsers sees to it that the database of accounts, which must be there,
// has its design document. Another validation function in it is replaced.
func PrepareUsers(ctx context.Context, store *storage.Store) error {
	db, snap, err := store.Snapshot(dbname.Users)
	if err != nil {
		return err
	}
	defer snap.Close()
	next := &document.Document{ID: UsersDesign}
	members := memberList{{"language", []byte(`"javascript"`)}}
	row, err := snap.Lookup(UsersDesign)
	if err == nil && !row.Deleted {
		d, err := row.Document()
		if err != nil {
			return err
		}
		if members, err = readMembers(d.Body); err != nil {
			return err
		}
		if i := members.find("validate_doc_update"); i >= 0 {
			var rule string
			if json.Unmarshal(members[i].value, &rule) == nil && rule == usersRule {
				return nil
			}
			members = append(members[:i], members[i+1:]...)
		}
		next.Rev, next.Attachments = d.Rev, d.Attachments
		for i := range next.Attachments {
			next.Attachments[i].Stub = true
		}
	} else if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	next.Body = append(members, objectMember{"validate_doc_update", document.AppendString(nil, usersRule)}).append(nil)
	results, err := db.Apply(ctx, storage.Write{Docs: []*document.Document{next}, Mode: storage.Edit})
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		return fmt.Errorf("the rules of the database %s: %w", dbname.Users, err)
	}
	return nil
}
