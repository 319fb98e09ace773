package auth

import (
	"fmt"
	"testing"
)

func TestSecurity(t *testing.T) {
	nobody, ann, bob, boss := Principal{}, Principal{Name: "ann"}, Principal{Name: "bob", Roles: []string{"staff"}}, Principal{Name: "x", Roles: []string{"_admin"}}
	tests := []struct {
		object  string
		members []Principal
		admins  []Principal
	}{
		{`{}`, []Principal{nobody, ann, bob, boss}, []Principal{boss}},
		{ClosedSecurity, []Principal{boss}, []Principal{boss}},
		{`{"members":{"names":["ann"]}}`, []Principal{ann, boss}, []Principal{boss}},
		{`{"members":{"roles":["staff"]}}`, []Principal{bob, boss}, []Principal{boss}},
		{`{"members":{"names":["ann"],"roles":["staff"]}}`, []Principal{ann, bob, boss}, []Principal{boss}},
		{`{"admins":{"names":["ann"]},"members":{"names":["nobody"]}}`, []Principal{ann, boss}, []Principal{ann, boss}},
		{`{"admins":{"roles":["staff"]}}`, []Principal{nobody, ann, bob, boss}, []Principal{bob, boss}},
		{`{"readers":{"names":["ann"]}}`, []Principal{ann, boss}, []Principal{boss}},
		{`{"readers":{"names":["ann"]},"members":{}}`, []Principal{nobody, ann, bob, boss}, []Principal{boss}},
		{`{"members":{"names":[""]}}`, []Principal{boss}, []Principal{boss}},
		// Other names than CouchDB's mean nothing.
		{`{"members":{"names":["ann"]},"Members":{},"MEMBERS":{}}`, []Principal{ann, boss}, []Principal{boss}},
		{`{"members":{"names":["x"],"Names":["ann"]},"Admins":{"names":["ann"]}}`, []Principal{boss, {Name: "x"}}, []Principal{boss}},
	}
	for _, tt := range tests {
		s, err := ParseSecurity([]byte(tt.object))
		if err != nil {
			t.Errorf("%s: %v", tt.object, err)
			continue
		}
		has := func(list []Principal, p Principal) bool {
			for _, q := range list {
				if q.Name == p.Name {
					return true
				}
			}
			return false
		}
		for _, p := range []Principal{nobody, ann, bob, boss} {
			if s.Member(p) != has(tt.members, p) || s.Admin(p) != has(tt.admins, p) {
				t.Errorf("%s: %q is member %v, admin %v", tt.object, p.Name, s.Member(p), s.Admin(p))
			}
		}
	}
	for _, bad := range []string{``, `[]`, `{"admins":5}`, `{"members":{"names":"ann"}}`, `{"members":{"roles":[5]}}`} {
		if _, err := ParseSecurity([]byte(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestDefaultSecurity(t *testing.T) {
	for word, open := range map[string]bool{"everyone": true, "admin_local": true, "admin_only": false, "": false} {
		s, err := ParseSecurity([]byte(DefaultSecurity(word)))
		if err != nil || s.Member(Principal{}) != open || s.Admin(Principal{Name: "ann"}) {
			t.Errorf("%s: %v", word, err)
		}
	}
}

func TestSecuritiesAreBounded(t *testing.T) {
	var c Securities
	for i := range 5 * maxSecurities {
		s, err := c.Parse(fmt.Appendf(nil, `{"members":{"names":["u%d"]}}`, i))
		if err != nil || !s.Member(Principal{Name: fmt.Sprintf("u%d", i)}) || s.Member(Principal{Name: "other"}) {
			t.Fatal(i, err)
		}
		if len(c.young)+len(c.old) > 2*maxSecurities {
			t.Fatalf("%d are remembered", len(c.young)+len(c.old))
		}
	}
}
