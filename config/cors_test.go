package config

import (
	"crypto/tls"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCORSPolicies(t *testing.T) {
	c := mustLoad(t, `[httpd]
enable_cors = true
[cors]
origins = http://a.example , http://b.example:81
headers = X-Mine, Content-Type
[cors:Notes.example]
credentials = true
methods = GET
[cors:https://local.example:6984]
origins = *
[cors:::1]
max_age = 1
`).Snapshot().CORS
	if !c.Enabled {
		t.Error("the older section's enable_cors does not count")
	}
	standard := c.Policy
	if diff := cmp.Diff(CORSPolicy{
		Origins: []string{"http://a.example", "http://b.example:81"}, Methods: standard.Methods,
		Headers: []string{"x-mine", "content-type"}, Exposed: standard.Exposed, MaxAge: 600,
	}, standard); diff != "" || len(standard.Methods) != 9 || len(standard.Exposed) != 6 {
		t.Error(diff, standard)
	}
	notes, local, six := standard, standard, standard
	notes.Credentials, notes.Methods = true, []string{"GET"}
	six.MaxAge = 1
	local.Origins, local.AnyOrigin = []string{"*"}, true
	for host, want := range map[string]CORSPolicy{
		"notes.example": notes, "NOTES.example:5984": notes, "local.example:6984": local, "[::1]:5984": six, "::1": six,
		"": standard, "a.notes.example": standard, "[": standard,
	} {
		if diff := cmp.Diff(want, *c.For(host)); diff != "" {
			t.Errorf("%q: %s", host, diff)
		}
	}
}

// TestCORSDoubts: what makes no sense allows nothing.
func TestCORSDoubts(t *testing.T) {
	for _, text := range []string{"[cors:a.example]\ncredentials = yes\n", "[cors]\nmax_age = -1\n", "[cors]\nmax_age = long\n", "[chttpd]\nenable_cors = 1\n"} {
		s := mustLoad(t, text).Snapshot()
		if p := s.CORS.For("a.example"); len(s.Doubts) == 0 || s.CORS.Enabled || p.Credentials || p.MaxAge != 600 {
			t.Errorf("%q: %v %+v", text, s.Doubts, p)
		}
	}
}

func TestTLSVersions(t *testing.T) {
	for text, want := range map[string]uint16{
		"tlsv1.3": tls.VersionTLS13, "['tlsv1.2', 'tlsv1.3']": tls.VersionTLS12, "[tlsv1, 'tlsv1.1']": tls.VersionTLS12, `["tlsv1.3"]`: tls.VersionTLS13,
		"ssl3": 0, "[]": 0,
	} {
		got, err := parseTLSVersions(text)
		if (err != nil) != (want == 0) || err == nil && got != want {
			t.Errorf("%s: %x, %v", text, got, err)
		}
	}
}

func TestTLSAddresses(t *testing.T) {
	s := mustLoad(t, "[chttpd]\nbind_address = 10.0.0.1\n[ssl]\nport = 1\n").Snapshot()
	if s.TLS.BindAddress != "10.0.0.1" || s.TLS.Port != 1 {
		t.Errorf("%+v", s.TLS)
	}
	s = mustLoad(t, "[chttpd]\nbind_address = 10.0.0.1\n[ssl]\nbind_address = any\n").Snapshot()
	if s.TLS.BindAddress != "" || s.ACME.Cache != "data/acme" {
		t.Errorf("%+v %+v", s.TLS, s.ACME)
	}
}
