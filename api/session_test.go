package api

import (
	"net/http"
	"strings"
	"testing"
)

func (n *node) login(body string, headers ...string) *answer {
	n.Helper()
	r := n.request("POST", "/_session", body, headers...)
	r.Header.Del("Authorization")
	return n.send(r)
}

// sessionOf is what a request with a cookie is told of itself.
func (n *node) sessionOf(cookie string, headers ...string) (name, handler string, a *answer) {
	n.Helper()
	r := n.request("GET", "/_session", nil, headers...)
	r.Header.Del("Authorization")
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	a = n.send(r)
	var s struct {
		UserCtx struct{ Name string }
		Info    struct{ Authenticated string }
	}
	a.json(n.TB, &s)
	return s.UserCtx.Name, s.Info.Authenticated, a
}

func TestSession(t *testing.T) {
	n := newAccessNode(t)
	a := n.login(`{"name":"member","password":"pw"}`)
	set := a.Header.Get("Set-Cookie")
	if a.StatusCode != http.StatusOK || !strings.HasPrefix(set, "AuthSession=") || !strings.HasSuffix(set, "; Max-Age=600; Path=/; HttpOnly") || strings.Contains(set, "Secure") {
		t.Errorf("%s %s", a.Status, set)
	}
	cookie, _, _ := strings.Cut(set, ";")
	if name, handler, a := n.sessionOf(cookie); name != "member" || handler != "cookie" || a.Header.Get("Set-Cookie") != "" {
		t.Errorf("%s %s", name, handler)
	}
	if name, _, _ := n.sessionOf("a=b; " + cookie + "; c=d"); name != "member" {
		t.Error(name)
	}
	if a := n.login(`{"name":"member","password":"pw"}`, "X-Forwarded-Proto: https"); !strings.Contains(a.Header.Get("Set-Cookie"), "; Secure") {
		t.Errorf("behind TLS: %s", a.Header.Get("Set-Cookie"))
	}
	n.must("PUT", "/_users/org.couchdb.user:member?rev="+n.rev("/_users/org.couchdb.user:member"), `{"name":"member","type":"user","roles":[],"password":"new"}`)
	if name, _, _ := n.sessionOf(cookie); name != "" {
		t.Error("a cookie outlives its password")
	}
}

func TestLoginRefuses(t *testing.T) {
	n := newAccessNode(t)
	form := "Content-Type: application/x-www-form-urlencoded"
	for _, tt := range []struct {
		status int
		body   string
		header string
	}{
		{400, `{}`, ""},
		{400, `[]`, ""},
		{400, `{"name":5,"password":"pw"}`, ""},
		{400, `{"name":"a","username":"b"}`, ""},
		{400, `{`, ""},
		{401, `{"name":"member"}`, ""},
		{401, `{"NAME":"x","username":"member","Password":"pw"}`, ""},
		{415, `name=member`, "Content-Type: text/plain"},
		{401, `name=member&password=`, form},
		{400, `password=x`, form},
		{200, `username=member&password=pw`, form},
		{200, `name=member&password=p%77`, form},
		{413, `{"name":"` + strings.Repeat("x", longestLogin) + `"}`, ""},
	} {
		headers := []string{}
		if tt.header != "" {
			headers = append(headers, tt.header)
		}
		if a := n.login(tt.body, headers...); a.StatusCode != tt.status {
			t.Errorf("%.60s: %s %s", tt.body, a.Status, a.body)
		}
	}
}

func TestLoginRedirects(t *testing.T) {
	n := newAccessNode(t)
	post := func(query, password string) *answer {
		t.Helper()
		r := n.request("POST", "/_session"+query, `{"name":"member","password":"`+password+`"}`)
		r.Header.Del("Authorization")
		return n.send(r)
	}
	if a := post("?next=/x%3Fy", "pw"); a.StatusCode != 302 || a.Header.Get("Location") != n.url+"/x?y" {
		t.Errorf("%s %v", a.Status, a.Header)
	}
	if a := post("?fail=/again", "wrong"); a.StatusCode != 302 || a.Header.Get("Location") != n.url+"/again" || !strings.HasPrefix(a.Header.Get("Set-Cookie"), "AuthSession=;") {
		t.Errorf("%s %v", a.Status, a.Header)
	}
	for _, elsewhere := range []string{"http://evil.example", "evil", "", "/a%0d%0aSet-Cookie:x=y"} {
		if a := post("?next="+elsewhere, "pw"); a.StatusCode != 400 || a.Header.Get("Location") != "" || a.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %s %v", elsewhere, a.Status, a.Header)
		}
	}
	if a := post("?next=//evil.example", "pw"); !strings.HasPrefix(a.Header.Get("Location"), n.url+"/") {
		t.Errorf("%v", a.Header)
	}
}

// TestHandlers: only what the configuration names is asked, in its order.
func TestHandlers(t *testing.T) {
	n := newAccessNode(t)
	cookie, _, _ := strings.Cut(n.login(`{"name":"member","password":"pw"}`).Header.Get("Set-Cookie"), ";")
	basic := "Authorization: Basic b3RoZXI6cHc=" // other:pw
	as := func(names ...string) {
		list := make([]string, len(names))
		for i, name := range names {
			list[i] = "{chttpd_auth, " + name + "_authentication_handler}"
		}
		setting("chttpd", "authentication_handlers", strings.Join(list, ", "))(n)
	}
	check := func(want string, headers ...string) {
		t.Helper()
		r := n.request("GET", "/_session", nil)
		r.Header.Del("Authorization")
		for _, h := range append(headers, "Cookie: "+cookie) {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
		var s struct {
			UserCtx struct {
				Name  string
				Roles []string
			}
		}
		n.send(r).json(t, &s)
		if s.UserCtx.Name != want {
			t.Errorf("%v: %q, want %q", headers, s.UserCtx.Name, want)
		}
	}
	check("member", basic)
	as("default", "cookie")
	check("other", basic)
	check("member")
	check("member", "X-Auth-CouchDB-UserName: boss")
	check("member", "Authorization: Bearer x.y.z")
	check("member", "Authorization: Basic Xzpf") // _:_ is how browsers log out
	as("proxy", "default")
	check("boss", "X-Auth-CouchDB-UserName: boss", "X-Auth-CouchDB-Roles: a,b", basic)
	check("other", basic)
	check("")
	as("jwt")
	check("", basic)
	r := n.request("GET", "/", nil, "Authorization: Bearer x.y.z")
	if a := n.send(r); a.StatusCode != http.StatusBadRequest {
		t.Errorf("%s %s", a.Status, a.body)
	}
}

func TestChallenge(t *testing.T) {
	n := newAccessNode(t)
	challenge := func(headers ...string) string {
		t.Helper()
		r := n.request("GET", "/_all_dbs", nil, headers...)
		r.Header.Del("Authorization")
		return n.send(r).Header.Get("WWW-Authenticate")
	}
	if got := challenge(); got != "" {
		t.Errorf("%q: a browser would ask its user", got)
	}
	if got := challenge("X-CouchDB-WWW-Authenticate: Cookie"); got != "Cookie" {
		t.Error(got)
	}
	setting("httpd", "WWW-Authenticate", `Basic realm="couchdb"`)(n)
	if got := challenge(); got != `Basic realm="couchdb"` {
		t.Error(got)
	}
}
