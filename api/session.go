package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mangrove-db/mangrove/auth"
)

// sessionCookie is the cookie that stands for a user's password.
const sessionCookie = "AuthSession"

// longestLogin bounds the body of a request to sign in.
const longestLogin = 64 << 10

// getSession tells who the request speaks for.
func getSession(q *request) error {
	if q.user.Anonymous() && q.flag("basic") {
		return errPleaseLogin
	}
	type userCtx struct {
		Name  *string  `json:"name"`
		Roles []string `json:"roles"`
	}
	type info struct {
		Handlers      []string `json:"authentication_handlers"`
		Authenticated string   `json:"authenticated,omitempty"`
	}
	user := userCtx{Roles: rolesOf(q.user)}
	if !q.user.Anonymous() {
		user.Name = &q.user.Name
	}
	return q.reply(http.StatusOK, struct {
		OK   bool    `json:"ok"`
		User userCtx `json:"userCtx"`
		Info info    `json:"info"`
	}{true, user, info{q.config.Auth.Handlers, q.user.Handler}})
}

func rolesOf(p auth.Principal) []string {
	if p.Roles == nil {
		return []string{}
	}
	return p.Roles
}

// postSession signs somebody in: it answers with a cookie.
func postSession(q *request) error {
	login, err := q.readLogin()
	if err != nil {
		return err
	}
	user, cookie, err := q.api.auth.Login(q.Context(), q.peer(), login.name, login.password, login.token)
	h := q.w.Header()
	if errors.Is(err, auth.ErrCredentials) {
		h["Set-Cookie"] = []string{q.cookie("")}
		if q.params().Has("fail") {
			if fault := q.redirect("fail"); fault != nil {
				return fault
			}
			return q.replyText(http.StatusFound, toError(err).append(nil))
		}
	}
	if err != nil {
		return err
	}
	status, err := q.redirectNext()
	if err != nil {
		return err
	}
	h["Set-Cookie"] = []string{q.cookie(cookie)}
	return q.reply(status, struct {
		OK    bool     `json:"ok"`
		Name  string   `json:"name"`
		Roles []string `json:"roles"`
	}{true, user.Name, rolesOf(user)})
}

// deleteSession takes the cookie away.
func deleteSession(q *request) error {
	status, err := q.redirectNext()
	if err != nil {
		return err
	}
	q.w.Header()["Set-Cookie"] = []string{q.cookie("")}
	return q.replyOK(status)
}

// redirectNext sends the client on to where the parameter next says, and returns the status that goes with it.
func (q *request) redirectNext() (status int, err error) {
	if !q.params().Has("next") {
		return http.StatusOK, nil
	}
	return http.StatusFound, q.redirect("next")
}

// redirect sends the client on to the path that a parameter names. It stays on this server.
func (q *request) redirect(name string) error {
	path := q.param(name)
	if !strings.HasPrefix(path, "/") || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return badRequest("path must begin with a /.")
	}
	q.w.Header().Set("Location", q.url(path))
	return nil
}

// login is what somebody sends to sign in.
type login struct{ name, password, token string }

// readLogin reads a form, or JSON of the same members.
func (q *request) readLogin() (login, error) {
	var l login
	text, err := io.ReadAll(io.LimitReader(q.Body, longestLogin+1))
	if err != nil {
		return l, err
	}
	if len(text) > longestLogin {
		return l, errRequestTooLarge
	}
	fields := map[string]string{}
	switch kind, _, _ := mime.ParseMediaType(q.Header.Get("Content-Type")); kind {
	case "application/x-www-form-urlencoded":
		for name, value := range queryParams(string(text)) {
			if _, ok := fields[name]; !ok {
				fields[name] = value
			}
		}
	case "application/json":
		var members map[string]json.RawMessage
		if json.Unmarshal(text, &members) != nil || members == nil {
			return l, errInvalidJSON
		}
		for _, name := range []string{"name", "username", "password", "token"} {
			if value, ok := members[name]; ok {
				if fields[name], ok = jsonString(value); !ok {
					return l, badRequestf("`%s` must be a string", name)
				}
			}
		}
	default:
		return l, unsupportedType("Content-Type must be 'application/x-www-form-urlencoded' or 'application/json'")
	}
	name, named := fields["name"]
	other, given := fields["username"]
	switch {
	case !named && !given:
		return l, badRequest("request body must contain a username")
	case named && given && name != other:
		return l, badRequest("request body contains different usernames")
	case !named:
		name = other
	}
	return login{name, fields["password"], fields["token"]}, nil
}

// cookie is the Set-Cookie header for a value; an empty one takes the cookie away. Its attributes stand in CouchDB's
// order.
func (q *request) cookie(value string) string {
	c := &q.config.Auth
	var b strings.Builder
	b.WriteString(sessionCookie + "=" + value + "; Version=1")
	if c.PersistentCookies {
		b.WriteString("; Expires=" + time.Now().Add(c.Timeout).UTC().Format(http.TimeFormat))
		b.WriteString("; Max-Age=" + strconv.FormatInt(int64(c.Timeout/time.Second), 10))
	}
	if q.secure() {
		b.WriteString("; Secure")
	}
	if c.CookieDomain != "" {
		b.WriteString("; Domain=" + c.CookieDomain)
	}
	b.WriteString("; Path=/; HttpOnly")
	sameSite := c.SameSite
	if sameSite == "" && q.crossOrigin() && q.secure() {
		sameSite = "None" // browsers would keep the cookie back from the page of another site that asked for it
	}
	if sameSite != "" {
		b.WriteString("; SameSite=" + sameSite)
	}
	return b.String()
}
