package api

import (
	"strings"
)

// authenticate finds out who sends the request: it asks one handler after the other, in the order of the
// configuration, until one knows. Credentials that cannot be read count as none.
func (q *request) authenticate() error {
	a := q.api.auth
	a.Observe()
	for _, handler := range q.config.Auth.Handlers {
		var err error
		switch handler {
		case "cookie":
			err = q.authenticateCookie()
		case "default":
			if name, password, ok := q.BasicAuth(); ok && (name != "_" || password != "_") { // which is how browsers log out
				q.user, err = a.Basic(q.Context(), q.peer(), name, password)
			}
		case "jwt":
			if token, ok := strings.CutPrefix(q.Header.Get("Authorization"), "Bearer "); ok {
				q.user, err = a.Token(strings.TrimSpace(token))
			}
		case "proxy":
			c := &q.config.Auth
			q.user, _ = a.Proxy(q.Header.Get(c.ProxyUserHeader), q.Header.Get(c.ProxyRolesHeader), q.Header.Get(c.ProxyTokenHeader))
		}
		if err != nil || !q.user.Anonymous() {
			return err
		}
	}
	return nil
}

// authenticateCookie looks at the session's cookie, and renews it when it is time to.
func (q *request) authenticateCookie() error {
	cookie, err := q.Cookie(sessionCookie)
	if err != nil {
		return nil // there is none
	}
	user, renewed, err := q.api.auth.Cookie(cookie.Value)
	if err != nil {
		return err
	}
	q.user = user
	if renewed != "" {
		q.w.Header()["Set-Cookie"] = []string{q.cookie(renewed)}
	}
	return nil
}

// secure tells whether the client reaches the node by TLS, as far as can be known: a proxy may have undone it.
func (q *request) secure() bool {
	return q.TLS != nil || q.Header.Get("X-Forwarded-Proto") == "https"
}

// challenge returns what asks a client for credentials, "" for nothing: then a browser does not ask its user.
func (q *request) challenge() string {
	if words := q.Header.Get("X-CouchDB-WWW-Authenticate"); words != "" {
		return words
	}
	if q.config.Auth.Challenge != "" {
		return q.config.Auth.Challenge
	}
	if q.config.RequireValidUser || q.config.Auth.RequireUserExceptForUp {
		return `Basic realm="server"`
	}
	return ""
}
