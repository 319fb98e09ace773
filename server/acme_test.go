package server

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	domain         = "db.example.test"
	challengeToken = "a-token"
)

// acmeServer is as much of an authority (RFC 8555) as it takes to get one
// certificate. It does not check signatures, but it does ask the node to prove
// that the domain is its own, in the way that kind names.
type acmeServer struct {
	*httptest.Server
	t         *testing.T
	authority *authority
	kind      string       // "http-01" or "tls-alpn-01"
	prove     func() error // asks the node
	proven    atomic.Bool  // the node has answered well
	issued    atomic.Int64 // certificates
	chain     atomic.Value // []byte, the last one as PEM
}

func newACMEServer(t *testing.T, kind string) *acmeServer {
	s := &acmeServer{t: t, authority: newAuthority(t), kind: kind}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *acmeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Replay-Nonce", "nonce")
	status, authz, order := "pending", "pending", "pending"
	if s.proven.Load() {
		status, authz, order = "valid", "valid", "ready"
	}
	challenge := map[string]any{"type": s.kind, "url": s.URL + "/challenge", "token": challengeToken, "status": status}
	answer := map[string]any{}
	code := http.StatusOK
	switch r.URL.Path {
	case "/directory":
		for name, path := range map[string]string{"newNonce": "/nonce", "newAccount": "/account", "newOrder": "/order"} {
			answer[name] = s.URL + path
		}
	case "/nonce":
		return
	case "/account":
		w.Header().Set("Location", s.URL+"/account/1")
		code, answer["status"] = http.StatusCreated, "valid"
	case "/authz":
		answer = map[string]any{"status": authz, "identifier": map[string]string{"type": "dns", "value": domain}, "challenges": []any{challenge}}
	case "/challenge":
		if err := s.prove(); err != nil {
			s.t.Errorf("the node does not prove that the domain is its own: %v", err)
		} else {
			s.proven.Store(true)
			challenge["status"] = "valid"
		}
		answer = challenge
	case "/finalize":
		s.issue(r)
		fallthrough
	case "/order", "/order/1":
		w.Header().Set("Location", s.URL+"/order/1")
		if r.URL.Path == "/order" {
			code = http.StatusCreated
		}
		answer = map[string]any{"status": order, "authorizations": []string{s.URL + "/authz"}, "finalize": s.URL + "/finalize", "identifiers": []any{map[string]string{"type": "dns", "value": domain}}}
		if s.chain.Load() != nil {
			answer["status"], answer["certificate"] = "valid", s.URL+"/certificate"
		}
	case "/certificate":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		w.Write(s.chain.Load().([]byte))
		return
	default:
		code = http.StatusNotFound
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(answer)
}

// issue signs what the request asks for.
func (s *acmeServer) issue(r *http.Request) {
	var jws struct{ Payload string }
	var order struct{ CSR string }
	if err := json.NewDecoder(r.Body).Decode(&jws); err != nil {
		s.t.Error(err)
		return
	}
	payload, err := base64.RawURLEncoding.DecodeString(jws.Payload)
	if err == nil {
		err = json.Unmarshal(payload, &order)
	}
	der, err2 := base64.RawURLEncoding.DecodeString(order.CSR)
	if err != nil || err2 != nil {
		s.t.Error(err, err2)
		return
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		s.t.Error(err)
		return
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(3), DNSNames: request.DNSNames,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leaf, err := x509.CreateCertificate(rand.Reader, template, s.authority.cert, request.PublicKey, s.authority.key)
	if err != nil {
		s.t.Error(err)
		return
	}
	s.issued.Add(1)
	s.chain.Store(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf}))
}

// proveByHTTP asks for the challenge's file (RFC 8555, 8.3).
func proveByHTTP(address string) error {
	r, err := http.NewRequest("GET", "http://"+address+"/.well-known/acme-challenge/"+challengeToken, nil)
	if err != nil {
		return err
	}
	r.Host = domain
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || !strings.HasPrefix(string(text), challengeToken+".")) {
		err = fmt.Errorf("%s %q", res.Status, text)
	}
	return err
}

// proveByTLS looks for the challenge's certificate (RFC 8737).
func proveByTLS(address string) error {
	c, err := tls.Dial("tcp", address, &tls.Config{ServerName: domain, NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true})
	if err != nil {
		return err
	}
	defer c.Close()
	identifier := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}
	for _, e := range c.ConnectionState().PeerCertificates[0].Extensions {
		if e.Id.Equal(identifier) {
			return nil
		}
	}
	return fmt.Errorf("the certificate is no answer to a challenge")
}

func TestACME(t *testing.T) {
	for _, tt := range []struct {
		kind  string
		prove func(endpoints []endpoint) error
	}{
		{"http-01", func(e []endpoint) error { return proveByHTTP(e[0].Addr().String()) }},
		{"tls-alpn-01", func(e []endpoint) error { return proveByTLS(e[1].Addr().String()) }},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			ca := newACMEServer(t, tt.kind)
			cache := t.TempDir()
			text := "[ssl]\nenable = true\nbind_address = 127.0.0.1\nport = 0\n" +
				"[acme]\nenable = true\ndomains = " + domain + "\naccept_terms = true\ndirectory = " + ca.URL + "/directory\ncache_dir = " + cache + "\n"
			serveAndGet := func() {
				t.Helper()
				endpoints := run(t, settings(t, text), proto)
				ca.prove = func() error { return tt.prove(endpoints) }
				client := secureClient(t, ca.authority)
				client.Transport.(*http.Transport).TLSClientConfig.ServerName = domain
				res, err := client.Get("https://" + endpoints[1].Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				if names := res.TLS.PeerCertificates[0].DNSNames; len(names) != 1 || names[0] != domain {
					t.Errorf("the certificate is for %v", names)
				}
				// Plain requests are served as before.
				if res, err = http.Get("http://" + endpoints[0].Addr().String()); err != nil || res.StatusCode != http.StatusOK {
					t.Errorf("%v, %v", res, err)
				}
				res.Body.Close()
			}
			serveAndGet()
			serveAndGet() // another node with the same cache
			if n := ca.issued.Load(); n != 1 {
				t.Errorf("%d certificates were issued", n)
			}
			if entries, err := os.ReadDir(cache); err != nil || len(entries) == 0 {
				t.Errorf("nothing was kept: %v", err)
			}
		})
	}
}

// TestACMERefusesOthers: nobody can make the node ask for certificates of other names.
func TestACMERefusesOthers(t *testing.T) {
	ca := newACMEServer(t, "http-01")
	endpoints := run(t, settings(t, "[ssl]\nenable = true\nbind_address = 127.0.0.1\nport = 0\n[acme]\nenable = true\ndomains = "+domain+
		"\naccept_terms = true\ndirectory = "+ca.URL+"/directory\ncache_dir = "+t.TempDir()+"\n"), proto)
	c, err := tls.Dial("tcp", endpoints[1].Addr().String(), &tls.Config{ServerName: "evil.example.test", InsecureSkipVerify: true})
	if err == nil {
		c.Close()
		t.Error("served")
	}
	if ca.issued.Load() != 0 {
		t.Error("issued")
	}
}
