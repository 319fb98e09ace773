package auth

import (
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// storedUsers are user documents whose password is "pw": those of the recorded transcripts, and forms made of them.
var storedUsers = map[string]string{
	"simple":  `{"roles":["old"],"password_scheme":"simple","salt":"5ca1ab1e0ddba11c0ffee0ddba110fee","password_sha":"f8f446ab63ce9ab9eb0ed81f8644db7d419b65fa"}`,
	"unnamed": `{"roles":["old"],"salt":"5ca1ab1e0ddba11c0ffee0ddba110fee","password_sha":"f8f446ab63ce9ab9eb0ed81f8644db7d419b65fa"}`,
	"pbkdf2":  `{"roles":["old"],"password_scheme":"pbkdf2","iterations":10,"salt":"5ca1ab1e0ddba11c0ffee0ddba110fee","derived_key":"f127fa9958fc82f8b9252b860e8c4a1f0fa4cea4"}`,
	"sha256":  `{"roles":["old"],"password_scheme":"pbkdf2","pbkdf2_prf":"sha256","iterations":10,"salt":"5ca1ab1e0ddba11c0ffee0ddba110fee","derived_key":"ab7dfb91e1a2e61254197964a0b2ea845974a642e303979d84f213f3a2e716db"}`,
}

func TestStoredUsers(t *testing.T) {
	p := newPlace(t, "[chttpd_auth]\nupgrade_hash_on_auth = false\n")
	for name, body := range storedUsers {
		p.put(name, body)
		who := p.attempt(name, "pw", nil)
		if who.Name != name || !slices.Equal(who.Roles, []string{"old"}) || who.Handler != "default" {
			t.Errorf("%+v", who)
		}
		p.attempt(name, "pW", ErrCredentials)
	}
}

// TestWrappedHash: simple+pbkdf2 is a key derived from the text of the simple hash.
func TestWrappedHash(t *testing.T) {
	p := newPlace(t, "[chttpd_auth]\nupgrade_hash_on_auth = false\n")
	const salt, simple = "5ca1ab1e0ddba11c0ffee0ddba110fee", "f8f446ab63ce9ab9eb0ed81f8644db7d419b65fa"
	key, err := pbkdf2.Key(sha256.New, simple, []byte(salt), 10, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	p.put("w", fmt.Sprintf(`{"roles":[],"password_scheme":"simple+pbkdf2","pbkdf2_prf":"sha256","iterations":10,"salt":%q,"derived_key":"%x"}`, salt, key))
	p.attempt("w", "pw", nil)
	p.attempt("w", simple, ErrCredentials)
}

func TestUnusableUsers(t *testing.T) {
	p := newPlace(t, "[chttpd_auth]\nmin_iterations = 5\nmax_iterations = 1000\n")
	tests := map[string]struct {
		body string
		want error
	}{
		"few":     {strings.Replace(storedUsers["pbkdf2"], ":10,", ":4,", 1), errFewIterations},
		"many":    {strings.Replace(storedUsers["pbkdf2"], ":10,", ":1001,", 1), errManyIterations},
		"endless": {strings.Replace(storedUsers["pbkdf2"], ":10,", ":1e99,", 1), errManyIterations},
		"prf":     {strings.Replace(storedUsers["sha256"], `"sha256"`, `"md5"`, 1), errPRF},
		"scheme":  {strings.Replace(storedUsers["sha256"], `"pbkdf2"`, `"bcrypt"`, 1), ErrCredentials},
		"nokey":   {`{"roles":[],"password_scheme":"pbkdf2","iterations":10,"salt":"x"}`, ErrCredentials},
		"nothing": {`{}`, ErrCredentials},
		"types":   {`{"roles":"x","salt":5}`, ErrCredentials},
	}
	for name, tt := range tests {
		p.put(name, tt.body)
		p.attempt(name, "pw", tt.want)
		p.attempt(name, "", tt.want)
	}
}

// TestRolesByOtherNames: a user must not get roles by a member that is nearly called so.
func TestRolesByOtherNames(t *testing.T) {
	p := newPlace(t, "")
	p.put("eve", strings.Replace(storedUsers["sha256"], `{"roles":["old"]`, `{"roles":["old"],"Roles":["boss"],"ROLES":["_admin"]`, 1))
	if who := p.attempt("eve", "pw", nil); !slices.Equal(who.Roles, []string{"old"}) {
		t.Errorf("%q", who.Roles)
	}
	p.put("eve", strings.Replace(storedUsers["sha256"], `["old"]`, `["_admin","old","_metrics"]`, 1))
	if who := p.attempt("eve", "pw", nil); who.Admin() || !slices.Equal(who.Roles, []string{"old", "_metrics"}) {
		t.Errorf("%q", who.Roles)
	}
}

// TestChangesShowAtOnce: nothing that is remembered outlives what it was read from.
func TestChangesShowAtOnce(t *testing.T) {
	p := newPlace(t, "")
	p.user("ann", "one", `["a"]`)
	p.attempt("ann", "one", nil)
	p.user("ann", "two", `["b"]`)
	p.attempt("ann", "one", ErrCredentials)
	if who := p.attempt("ann", "two", nil); !slices.Equal(who.Roles, []string{"b"}) {
		t.Errorf("%q", who.Roles)
	}
	p.drop("ann")
	p.attempt("ann", "two", ErrCredentials)
	p.user("ann", "two", `["c"]`)
	if who := p.attempt("ann", "two", nil); !slices.Equal(who.Roles, []string{"c"}) {
		t.Errorf("%q", who.Roles)
	}
	if err := p.store.DeleteDB(t.Context(), "_users"); err != nil {
		t.Fatal(err)
	}
	p.attempt("ann", "two", ErrCredentials)
}

func TestConflictsAreRefused(t *testing.T) {
	p := newPlace(t, "")
	p.user("ann", "pw", "[]")
	p.attempt("ann", "pw", nil)
	d := &document.Document{ID: UserPrefix + "ann", Rev: revtree.ID{Gen: 1, Hash: strings.Repeat("\xff", 16)}, Body: []byte(storedUsers["sha256"])}
	d.Revisions = revtree.Path{Start: 1, Hashes: []string{d.Rev.Hash}}
	if results, err := p.users.Apply(t.Context(), storage.Write{Docs: []*document.Document{d}, Mode: storage.Replicate}); err != nil || results[0].Err != nil {
		t.Fatal(err, results)
	}
	p.attempt("ann", "pw", errConflicts)
}

func TestAdministratorWithDocument(t *testing.T) {
	p := newPlace(t, "[admins]\nann = "+hashes[0]+"\n")
	p.user("ann", "other", `["more"]`)
	if who := p.attempt("ann", "relax", nil); !slices.Equal(who.Roles, []string{"_admin", "more"}) {
		t.Errorf("%q", who.Roles)
	}
	p.attempt("ann", "other", ErrCredentials)
}

func TestPrepareUser(t *testing.T) {
	p := newPlace(t, "[chttpd_auth]\npassword_regexp = [{\".{3,}\", \"Three at least.\"}, \"^[a-z]+$\"]\n")
	prepare := func(id, body string, who Principal, admin bool) (*document.Document, error) {
		d := &document.Document{ID: id, Body: []byte(body)}
		return d, p.PrepareUser(t.Context(), d, who, admin)
	}
	d, err := prepare(UserPrefix+"ann", `{"name":"ann","password":"abc","password_sha":"x","a\"b":[1.50]}`, Principal{}, true)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(d.Body, &members); err != nil {
		t.Fatal(err)
	}
	if members["password"] != nil || members["password_sha"] != nil || members["password_scheme"] != "pbkdf2" || members["pbkdf2_prf"] != "sha256" ||
		members["iterations"] != 10.0 || len(members["salt"].(string)) != 32 || len(members["derived_key"].(string)) != 64 || !bytes.Contains(d.Body, []byte(`"a\"b":[1.50]`)) {
		t.Errorf("%s", d.Body)
	}
	tests := []struct {
		id, body string
		who      Principal
		admin    bool
		want     string
	}{
		{UserPrefix + "ann", `{"password":"ab"}`, Principal{}, true, "Password does not conform to requirements. Three at least."},
		{UserPrefix + "ann", `{"password":"ABC"}`, Principal{}, true, "Password does not conform to requirements."},
		{UserPrefix + "ann", `{"password":5}`, Principal{}, true, "Password value of '5' is invalid."},
		{UserPrefix + "ann", `{"password":null}`, Principal{}, true, ""},
		{UserPrefix + "ann", `{}`, Principal{Name: "ann"}, false, ""},
		{UserPrefix + "ann", `{}`, Principal{Name: "bob"}, false, storage.ErrNotFound.Error()},
		{UserPrefix + "ann", `{}`, Principal{}, false, ""}, // signing up
		{"_design/x", `{}`, Principal{Name: "ann"}, false, storage.ErrNotFound.Error()},
		{"_local/x", `{}`, Principal{Name: "ann"}, false, ""},
	}
	for _, tt := range tests {
		_, err := prepare(tt.id, tt.body, tt.who, tt.admin)
		if got := ""; err != nil && err.Error() != tt.want || err == nil && got != tt.want {
			t.Errorf("%s %s: %v, want %q", tt.id, tt.body, err, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	if err := p.PrepareUser(ctx, &document.Document{ID: UserPrefix + "ann", Body: []byte(`{"password":"abc"}`)}, Principal{}, true); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for range cap(p.slots) {
		<-p.slots
	}
}

func TestShowUser(t *testing.T) {
	p := newPlace(t, "")
	const body = `{"name":"ann","email":"x","derived_key":"secret"}`
	show := func(id string, who Principal) string {
		d := &document.Document{ID: id, Body: []byte(body)}
		if err := ShowUser(&p.config.Snapshot().Auth, d, who); err != nil {
			return err.Error()
		}
		return string(d.Body)
	}
	gone := storage.ErrNotFound.Error()
	for _, public := range []string{"", "name, email"} {
		p.set("chttpd_auth", "public_fields", public)
		others := gone
		if public != "" {
			others = `{"name":"ann","email":"x"}`
		}
		for _, tt := range []struct {
			id   string
			who  Principal
			want string
		}{
			{UserPrefix + "ann", Principal{Name: "ann"}, body},
			{UserPrefix + "ann", Principal{Name: "bob"}, others},
			{UserPrefix + "ann", Principal{}, others},
			{UserPrefix, Principal{}, others},
			{"_design/x", Principal{Name: "ann"}, gone},
		} {
			if got := show(tt.id, tt.who); got != tt.want {
				t.Errorf("%q: %s for %q: %s, want %s", public, tt.id, tt.who.Name, got, tt.want)
			}
		}
	}
}

func TestUpgrade(t *testing.T) {
	p := newPlace(t, "")
	p.put("old", storedUsers["simple"])
	p.put("new", strings.Replace(storedUsers["sha256"], ":10,", ":10,", 1))
	before := p.read("new").Rev
	_, cookie, err := p.Login(t.Context(), "peer", "old", "pw", "")
	if err != nil {
		t.Fatal(err)
	}
	p.attempt("new", "pw", nil)
	p.upgrades.working.Wait()
	if d := p.read("old"); !bytes.Contains(d.Body, []byte(`"password_scheme":"pbkdf2"`)) || bytes.Contains(d.Body, []byte("password_sha")) || d.Rev.Gen != 2 {
		t.Errorf("%s", d.Body)
	}
	if p.read("new").Rev != before {
		t.Error("a good key was derived anew")
	}
	p.attempt("old", "pw", nil)
	if who, _, err := p.Cookie(cookie); who.Name != "old" || err != nil {
		t.Errorf("the cookie of before is refused: %v", err)
	}
	p.set("chttpd_auth", "iterations", "5")
	p.attempt("old", "pw", nil)
	p.upgrades.working.Wait()
	if p.read("old").Rev.Gen != 2 {
		t.Error("a key was made weaker")
	}
}

// TestUnknownNamesTakeAsLong: who asks for a name cannot tell by the time whether there is one.
func TestUnknownNamesTakeAsLong(t *testing.T) {
	p := newPlace(t, "[chttpd_auth_lockout]\nmode = off\n")
	p.set("chttpd_auth", "iterations", "50")
	p.user("ann", "pw", "[]")
	for _, name := range []string{"ann", "bob"} {
		before := p.Counters()
		p.attempt(name, "wrong", ErrCredentials)
		if after := p.Counters(); after.Misses != before.Misses+1 || after.Failures != before.Failures+1 {
			t.Errorf("%s: %+v, then %+v: want one derivation", name, before, after)
		}
	}
	known, err := p.accounts.find(p.config.Snapshot(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	if unknown := p.standIn(p.config.Snapshot()); unknown.hash.iterations != known.hash.iterations || unknown.hash.prf != known.hash.prf ||
		len(unknown.hash.key) != len(known.hash.key) {
		t.Errorf("a known name costs %d rounds of %s, an unknown one %d of %s",
			known.hash.iterations, known.hash.prf, unknown.hash.iterations, unknown.hash.prf)
	}
}

func TestAccountsConcurrently(t *testing.T) {
	p := newPlace(t, "[chttpd_auth_lockout]\nmode = off\n")
	p.user("ann", "pw", "[]")
	p.put("old", storedUsers["simple"])
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 20 {
				p.Observe()
				_, _ = p.Basic(t.Context(), "peer", "ann", "pw")
				_, cookie, err := p.Login(t.Context(), "peer", "old", "pw", "")
				if err != nil {
					t.Error(err)
				}
				if who, _, err := p.Cookie(cookie); err != nil || who.Name != "old" {
					t.Error(who, err)
				}
				if i == 0 && n < maxOlder/2 { // more would be forgotten before a slow login is over
					p.set("chttpd_auth", "secret", string(newSalt()))
				}
			}
		})
	}
	wg.Wait()
}
