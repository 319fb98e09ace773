package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

func TestHealth(t *testing.T) {
	for _, tt := range []struct {
		name     string
		open     bool // the node tells everybody
		user     *url.Userinfo
		healthy  bool
		accounts int // names that the node was asked in
	}{
		{"for everybody", true, nil, true, 0},
		{"an old password for what everybody may ask", true, url.UserPassword("ann", "old"), true, 0},
		{"for accounts, without one", false, nil, true, 0},
		{"for accounts", false, url.UserPassword("ann", "right"), true, 1},
		{"an old password", false, url.UserPassword("ann", "old"), false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, password, named := r.BasicAuth()
				if named {
					asked++
				}
				if named && password != "right" || !named && !tt.open {
					w.WriteHeader(http.StatusUnauthorized)
				}
			}))
			defer s.Close()
			u, err := url.Parse(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			u.User = tt.user
			if err := health(t.Context(), newNodeClient(u, false)); (err == nil) != tt.healthy || asked != tt.accounts {
				t.Errorf("%v, asked in the name of accounts %d times", err, asked)
			}
		})
	}
}
