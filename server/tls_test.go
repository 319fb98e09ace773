package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mangrove-db/mangrove/config"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a certificate for 127.0.0.1, or a client, under a name.
func (a *authority) sign(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// files is a folder with a node's certificate and key.
type files struct{ dir, cert, key, ca string }

func newFiles(t *testing.T, a *authority) *files {
	t.Helper()
	dir := t.TempDir()
	f := &files{dir, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem")}
	f.write(t, f.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
	f.replace(t, a, "first")
	return f
}

func (f *files) write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f *files) replace(t *testing.T, a *authority, name string) {
	t.Helper()
	cert, key := a.sign(t, name)
	f.write(t, f.cert, cert)
	f.write(t, f.key, key)
}

// settings reads a configuration.
func settings(t *testing.T, text string) *config.Settings {
	t.Helper()
	file := filepath.Join(t.TempDir(), "node.ini")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Options{File: file, Listen: "127.0.0.1:0", Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	return &c.Snapshot().Settings
}

func (f *files) ini(more string) string {
	return "[ssl]\nenable = true\nport = 0\nbind_address = 127.0.0.1\ncert_file = " + f.cert + "\nkey_file = " + f.key + "\n" + more
}

// handlerFunc is a handler with nothing to close.
type handlerFunc struct{ http.HandlerFunc }

func (handlerFunc) Close() {}

// run serves what the settings ask for until the test ends, and returns the endpoints.
func run(t *testing.T, s *config.Settings, h http.HandlerFunc) []endpoint {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	endpoints, err := listen(t.Context(), s, h, http.NotFoundHandler(), log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, endpoints, handlerFunc{h}, nil, closedChannel(), 1000, log) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return endpoints
}

// secureClient trusts the authority and shows a certificate if it has one.
func secureClient(t *testing.T, a *authority, own ...tls.Certificate) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: own}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func proto(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }

func TestTLSBesidePlain(t *testing.T) {
	a := newAuthority(t)
	f := newFiles(t, a)
	endpoints := run(t, settings(t, f.ini("")), proto)
	if len(endpoints) != 2 {
		t.Fatalf("%d endpoints", len(endpoints))
	}
	client := secureClient(t, a)
	for address, want := range map[string]string{
		"http://" + endpoints[0].Addr().String():  "HTTP/1.1",
		"https://" + endpoints[1].Addr().String(): "HTTP/2.0",
	} {
		res, err := client.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(body) != want {
			t.Errorf("%s: %q, %v", address, body, err)
		}
	}
	c, err := tls.Dial("tcp", endpoints[1].Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11})
	if err == nil {
		c.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

func TestClientCertificates(t *testing.T) {
	a := newAuthority(t)
	f := newFiles(t, a)
	cert, key := a.sign(t, "client")
	own, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	other := newAuthority(t)
	cert, key = other.sign(t, "stranger")
	foreign, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, more            string
		none, known, stranger bool
	}{
		{"asked for", "cacert_file = " + f.ca + "\nverify_ssl_certificates = true\n", true, true, false},
		{"required", "cacert_file = " + f.ca + "\nfail_if_no_peer_cert = true\n", false, true, false},
		{"not asked for", "", true, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			address := "https://" + run(t, settings(t, f.ini(tt.more)), proto)[1].Addr().String()
			for who, c := range map[string]struct {
				client *http.Client
				good   bool
			}{"none": {secureClient(t, a), tt.none}, "known": {secureClient(t, a, own), tt.known}, "stranger": {strangerClient(t, a, foreign), tt.stranger}} {
				res, err := c.client.Get(address)
				if err == nil {
					res.Body.Close()
				}
				if (err == nil) != c.good {
					t.Errorf("%s: %v", who, err)
				}
			}
		})
	}
}

// strangerClient shows its certificate even though the server did not name its authority.
func strangerClient(t *testing.T, a *authority, own tls.Certificate) *http.Client {
	c := secureClient(t, a)
	c.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
	return c
}

// TestCertificateChanges: the files are looked at anew after a second, and what
// is being written meanwhile does no harm.
func TestCertificateChanges(t *testing.T) {
	a := newAuthority(t)
	f := newFiles(t, a)
	s := settings(t, f.ini(""))
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		c, err := fileConfig(&s.TLS, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		serves := func(want string) {
			t.Helper()
			got, err := c.GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			if got.Leaf.Subject.CommonName != want {
				t.Errorf("serves %q, want %q", got.Leaf.Subject.CommonName, want)
			}
		}
		serves("first")
		f.replace(t, a, "second")
		serves("first") // for a second nobody looks
		time.Sleep(checkInterval)
		serves("second")

		cert, key := a.sign(t, "third")
		f.write(t, f.cert, cert)
		for range 3 {
			time.Sleep(checkInterval)
			serves("second") // the key is still the old one
		}
		f.write(t, f.key, key)
		time.Sleep(checkInterval)
		serves("third")

		if err := os.Remove(f.key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkInterval)
		serves("third")
	})
	if n := strings.Count(log.String(), "cannot be read"); n != 2 {
		t.Errorf("each failure is told once: %d\n%s", n, log.String())
	}
}

func TestEncryptionRefused(t *testing.T) {
	a := newAuthority(t)
	f := newFiles(t, a)
	other := newFiles(t, a)
	broken := filepath.Join(t.TempDir(), "broken.pem")
	if err := os.WriteFile(broken, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ text, want string }{
		"no files":          {"[ssl]\nenable = true\n", "needs cert_file and key_file"},
		"missing files":     {strings.Replace(f.ini(""), "cert.pem", "none.pem", 1), "none.pem"},
		"other's key":       {strings.Replace(f.ini(""), f.key, other.key, 1), "private key does not match"},
		"broken":            {strings.Replace(f.ini(""), f.cert, broken, 1), "cert_file and key_file: "},
		"no authorities":    {f.ini("verify_ssl_certificates = true\n"), "needs cacert_file"},
		"broken authority":  {f.ini("verify_ssl_certificates = true\ncacert_file = " + broken + "\n"), "there is no certificate"},
		"missing authority": {f.ini("verify_ssl_certificates = true\ncacert_file = none.pem\n"), "none.pem"},
		"ACME without TLS":  {"[acme]\nenable = true\n", "needs [ssl] enable = true"},
		"ACME for nobody":   {"[ssl]\nenable = true\n[acme]\nenable = true\naccept_terms = true\n", "needs domains"},
		"ACME terms":        {"[ssl]\nenable = true\n[acme]\nenable = true\ndomains = a.example\n", "needs accept_terms"},
	} {
		endpoints, err := listen(t.Context(), settings(t, tt.text), http.NotFoundHandler(), http.NotFoundHandler(), slog.New(slog.DiscardHandler))
		closeAll(endpoints)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestListenAllOrNone: when one address is taken the others are closed again.
func TestListenAllOrNone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	f := newFiles(t, newAuthority(t))
	s := settings(t, strings.Replace(f.ini(""), "port = 0", "port = "+port, 1))
	if _, err := listen(t.Context(), s, http.NotFoundHandler(), http.NotFoundHandler(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no error")
	}
}

// TestOneEndpointFails: then the others end too.
func TestOneEndpointFails(t *testing.T) {
	endpoints, err := listen(t.Context(), settings(t, newFiles(t, newAuthority(t)).ini("")), http.NotFoundHandler(), http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	endpoints[1].Close()
	err = serve(t.Context(), endpoints, newFeed(), nil, closedChannel(), 0, slog.New(slog.DiscardHandler))
	if !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestToEncrypted(t *testing.T) {
	for _, tt := range []struct {
		host, target string
		port         int
		want         string
	}{
		{"db.example", "/a%2Fb/c?d=e", 443, "https://db.example/a%2Fb/c?d=e"},
		{"db.example:80", "/", 6984, "https://db.example:6984/"},
		{"[::1]:80", "/x", 6984, "https://[::1]:6984/x"},
		{"[::1]", "/x", 443, "https://[::1]/x"},
	} {
		r := httptest.NewRequest("PUT", tt.target, nil)
		r.Host = tt.host
		w := httptest.NewRecorder()
		toEncrypted(tt.port).ServeHTTP(w, r)
		if w.Code != http.StatusPermanentRedirect || w.Header().Get("Location") != tt.want {
			t.Errorf("%s%s: %d %s", tt.host, tt.target, w.Code, w.Header().Get("Location"))
		}
	}
}
