package auth

import (
	"bytes"
	"context"
	"crypto/pbkdf2"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/mangrove-db/mangrove/config"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// UserName is the name that the id of a user document says, "" if none.
func UserName(id string) string {
	name, ok := strings.CutPrefix(id, UserPrefix)
	if !ok {
		return ""
	}
	return name
}

// PrepareUser makes a document ready to be written into the database of
// accounts on behalf of p: its password is replaced by a key derived from it.
// admin is set for administrators of the database. Others find documents that
// are not their own missing: the error is storage.ErrNotFound then. Others are
// of type *Error, or ctx's.
//
// It is to be asked about replicated documents too. Whether a document is in
// order, the validation function of UsersDesign checks afterwards.
func (a *Authenticator) PrepareUser(ctx context.Context, d *document.Document, p Principal, admin bool) error {
	if document.IsLocal(d.ID) {
		return nil
	}
	if name := UserName(d.ID); !admin && !p.Anonymous() && (name == "" || name != p.Name) {
		return storage.ErrNotFound
	}
	if document.IsDesign(d.ID) || !bytes.Contains(d.Body, []byte(`"password"`)) {
		return nil
	}
	members, err := readMembers(d.Body)
	if err != nil {
		return err
	}
	i := members.find("password")
	if i < 0 || string(members[i].value) == "null" {
		return nil
	}
	if members[i].value[0] != '"' {
		return &Error{Forbidden, "Password value of '" + string(members[i].value[:min(len(members[i].value), 100)]) + "' is invalid."}
	}
	var password string
	if err := json.Unmarshal(members[i].value, &password); err != nil {
		return err
	}
	c := a.config.Snapshot()
	if err := checkPassword(&c.Auth, password); err != nil {
		return err
	}
	if members, err = a.hashed(ctx, c, members, password, newSalt()); err != nil {
		return err
	}
	// A document with another body is another document.
	*d = document.Document{ID: d.ID, Rev: d.Rev, Deleted: d.Deleted, Revisions: d.Revisions, Body: members.append(nil), Attachments: d.Attachments}
	return nil
}

// checkPassword checks a new password against the rules.
func checkPassword(c *config.Auth, password string) error {
	if c.PasswordRulesBroken {
		return &Error{Forbidden, "Server cannot hash passwords at this time."}
	}
	for _, rule := range c.PasswordRules {
		if !rule.Pattern.MatchString(password) {
			reason := "Password does not conform to requirements."
			if rule.Reason != "" {
				reason += " " + rule.Reason
			}
			return &Error{Malformed, reason}
		}
	}
	return nil
}

// hashed returns the members of a user document with what tells of a password,
// under the settings of today, in the place of what told of any.
func (a *Authenticator) hashed(ctx context.Context, c *config.Snapshot, members memberList, password, salt string) (memberList, error) {
	h := pseudorandom[c.PasswordPRF]
	var key []byte
	var failed error
	if err := a.derive(ctx, func() {
		key, failed = pbkdf2.Key(h, password, []byte(salt), c.PasswordIterations, h().Size())
	}); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	quoted := func(s string) []byte { return document.AppendString(nil, s) }
	told := memberList{
		{"password_scheme", quoted("pbkdf2")},
		{"pbkdf2_prf", quoted(c.PasswordPRF)},
		{"salt", quoted(salt)},
		{"iterations", strconv.AppendInt(nil, int64(c.PasswordIterations), 10)},
		{"derived_key", quoted(hexText(key))},
	}
	rest := slices.DeleteFunc(slices.Clone(members), func(m objectMember) bool {
		return m.name == "password" || m.name == "password_sha" || told.find(m.name) >= 0
	})
	return append(told, rest...), nil
}

// ShowUser changes a document of the database of accounts to what p may see of
// it, who does not administer the database: everything of their own, of others
// the public fields. storage.ErrNotFound says that nothing is left.
func ShowUser(c *config.Auth, d *document.Document, p Principal) error {
	if document.IsDesign(d.ID) {
		return storage.ErrNotFound
	}
	if name := UserName(d.ID); name != "" && name == p.Name {
		return nil
	}
	if len(c.PublicFields) == 0 {
		return storage.ErrNotFound
	}
	members, err := readMembers(d.Body)
	if err != nil {
		return err
	}
	members = slices.DeleteFunc(members, func(m objectMember) bool { return !slices.Contains(c.PublicFields, m.name) })
	if len(members) == 0 {
		return storage.ErrNotFound
	}
	*d = document.Document{ID: d.ID, Rev: d.Rev, Deleted: d.Deleted, Revisions: d.Revisions, Body: members.append(nil)}
	return nil
}
