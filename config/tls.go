package config

import (
	"crypto/tls"
	"errors"
	"math"
	"path/filepath"
	"strings"
)

// TLS is how the node listens for encrypted connections, beside the plain
// ones: CouchDB's section [ssl].
type TLS struct {
	// Enabled makes it listen: enable, false.
	Enabled bool
	// BindAddress is where, "" for every address: bind_address, that of
	// [chttpd]. CouchDB has no such key: with it plain connections can stay on
	// 127.0.0.1.
	BindAddress string
	// Port is the TCP port, 0 for any free one: port, 6984.
	Port int
	// CertFile has the node's certificate and those that vouch for it, KeyFile
	// its private key, both as PEM: cert_file and key_file.
	CertFile, KeyFile string
	// CACertFile has the certificates that clients' are checked against:
	// cacert_file.
	CACertFile string
	// VerifyClients asks clients for certificates: verify_ssl_certificates,
	// false. RequireClients refuses those that have none:
	// fail_if_no_peer_cert, false.
	VerifyClients, RequireClients bool
	// MinVersion is the oldest version of TLS that is spoken, as crypto/tls
	// names it: tls_versions, TLS 1.2.
	MinVersion uint16
}

var sslDefaults = map[string]string{
	"enable":                  "false",
	"fail_if_no_peer_cert":    "false",
	"port":                    "6984",
	"tls_versions":            "tlsv1.2, tlsv1.3",
	"verify_ssl_certificates": "false",
}

// ACME is how the node gets its certificates by itself (RFC 8555): the section
// [acme], which is Mangrove's own.
type ACME struct {
	// Enabled gets them: enable, false. [ssl] cert_file is then not needed.
	Enabled bool
	// Domains are the names to have certificates for: domains.
	Domains []string
	// Email is told when something is wrong with them: email, none.
	Email string
	// Directory is the authority's address: directory, Let's Encrypt's.
	Directory string
	// AcceptTerms says that the authority's terms of service are agreed to:
	// accept_terms, false.
	AcceptTerms bool
	// HTTPPort is a port on which the authority's challenges are answered and
	// others sent to the encrypted one, 0 for none: http_port, 0. The authority
	// asks on port 80, or on port 443, where the listener of [ssl] answers.
	HTTPPort int
	// Cache is the folder for keys and certificates: cache_dir, "acme" in the
	// data directory.
	Cache string
}

var acmeDefaults = map[string]string{
	"accept_terms": "false",
	"directory":    "https://acme-v02.api.letsencrypt.org/directory",
	"enable":       "false",
	"http_port":    "0",
}

func (r *reader) tls() TLS {
	const section = "ssl"
	t := TLS{
		Enabled:        r.boolean(section, "enable"),
		BindAddress:    r.optional(section, "bind_address"),
		Port:           int(r.number(section, "port", 0, 65535)),
		CertFile:       r.optional(section, "cert_file"),
		KeyFile:        r.optional(section, "key_file"),
		CACertFile:     r.optional(section, "cacert_file"),
		VerifyClients:  r.boolean(section, "verify_ssl_certificates"),
		RequireClients: r.boolean(section, "fail_if_no_peer_cert"),
		MinVersion:     parsed(r, section, "tls_versions", parseTLSVersions),
	}
	if t.BindAddress == "" {
		t.BindAddress = r.optional("chttpd", "bind_address")
	}
	if t.BindAddress == "any" {
		t.BindAddress = ""
	}
	return t
}

// parseTLSVersions finds the oldest version in a list that may have Erlang's
// brackets and quotes. Versions before 1.2, which nobody should speak any more,
// count as 1.2.
func parseTLSVersions(s string) (uint16, error) {
	least := uint16(math.MaxUint16)
	for _, name := range splitList(strings.NewReplacer("[", "", "]", "", "'", "", `"`, "").Replace(s)) {
		switch strings.ToLower(name) {
		case "tlsv1", "tlsv1.1", "tlsv1.2":
			least = min(least, tls.VersionTLS12)
		case "tlsv1.3":
			least = min(least, tls.VersionTLS13)
		default:
			return tls.VersionTLS12, errors.New("must be a list of tlsv1.2, tlsv1.3")
		}
	}
	if least == math.MaxUint16 {
		return tls.VersionTLS12, errors.New("must be a list of tlsv1.2, tlsv1.3")
	}
	return least, nil
}

func (r *reader) acme() ACME {
	const section = "acme"
	a := ACME{
		Enabled:     r.boolean(section, "enable"),
		Domains:     lowered(r.list(section, "domains")),
		Email:       r.optional(section, "email"),
		Directory:   r.optional(section, "directory"),
		AcceptTerms: r.boolean(section, "accept_terms"),
		HTTPPort:    int(r.number(section, "http_port", 0, 65535)),
		Cache:       r.optional(section, "cache_dir"),
	}
	if a.Cache == "" {
		a.Cache = filepath.Join(r.optional("couchdb", "database_dir"), "acme")
	}
	return a
}

// CheckTLS says what is missing for a node to listen for encrypted connections
// as the settings ask it to. It does not look at the files. Settings that are
// made one after the other go through states that lack something; therefore
// this is asked when the node starts and not when a value is set.
func (s *Settings) CheckTLS() error {
	t, a := &s.TLS, &s.ACME
	switch {
	case !t.Enabled && a.Enabled:
		return errors.New("[acme] enable = true needs [ssl] enable = true")
	case !t.Enabled:
		return nil
	case a.Enabled && len(a.Domains) == 0:
		return errors.New("[acme] enable = true needs domains = the names that clients know this node by")
	case a.Enabled && !a.AcceptTerms:
		return errors.New("[acme] enable = true needs accept_terms = true, which says that you agree to the authority's terms of service")
	case !a.Enabled && (t.CertFile == "" || t.KeyFile == ""):
		return errors.New("[ssl] enable = true needs cert_file and key_file, or [acme] enable = true")
	case (t.VerifyClients || t.RequireClients) && t.CACertFile == "":
		return errors.New("[ssl] verify_ssl_certificates = true needs cacert_file = the certificates that clients' are checked against")
	}
	return nil
}
