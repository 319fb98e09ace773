package clients

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// browserConfig allows pages of two origins to use a node with credentials, and
// makes it listen with TLS.
const browserConfig = `[chttpd]
enable_cors = true
[cors]
origins = %s
credentials = true
[ssl]
enable = true
bind_address = 127.0.0.1
port = %s
cert_file = %s
key_file = %s
`

// TestBrowser has pages in a real browser use a node of another origin.
func TestBrowser(t *testing.T) {
	t.Parallel()
	js := javaScript(t)
	chromium := findChromium(t)
	page, other := pageServer(t), pageServer(t)
	// By this name the first is another site than the node, which is 127.0.0.1.
	distant := "http://localhost:" + port(t, page)
	certFile, keyFile := certificate(t)
	_, tlsPort, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	n := harness.Start(t, harness.WithConfig(fmt.Sprintf(browserConfig, page+", "+distant, tlsPort, certFile, keyFile)))

	ctx, cancel := context.WithTimeout(t.Context(), scriptTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, js.program, "--test-reporter=spec", "browser.test.js")
	s := n.Server()
	cmd.Env = append(
		os.Environ(),
		"NODE_PATH="+js.modules,
		fmt.Sprintf("MANGROVE_URL=http://%s:%s@%s", s.User, s.Password, s.Host),
		"MANGROVE_TLS_URL=https://127.0.0.1:"+tlsPort,
		"MANGROVE_PAGE="+page,
		"MANGROVE_DISTANT_PAGE="+distant,
		"MANGROVE_OTHER_PAGE="+other,
		"MANGROVE_CHROMIUM="+chromium,
	)
	cmd.WaitDelay = 5 * time.Second
	output, err := cmd.CombinedOutput()
	t.Logf("%s\n%s", cmd, output)
	if err != nil {
		t.Error(err)
	}
}

// findChromium returns the browser's program. Without one the test is skipped,
// on a developer's machine; where CI is set it fails.
func findChromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("MANGROVE_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			return path
		}
	}
	const missing = "NO BROWSER: what pages of other origins may do was NOT tested. Install chromium (apt-get install chromium), or name one in MANGROVE_CHROMIUM."
	if ci, _ := strconv.ParseBool(os.Getenv("CI")); ci {
		t.Fatal(missing)
	}
	fmt.Fprintln(os.Stderr, missing) // to be seen without -v too
	t.Skip(missing)
	return ""
}

// pageServer serves an empty page under an origin of its own, which it returns.
func pageServer(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>a page</title>")
	}))
	t.Cleanup(server.Close)
	return strings.TrimRight(server.URL, "/")
}

func port(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

// certificate makes a certificate for 127.0.0.1 that vouches for itself.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, bytes []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", cert), write("key.pem", "PRIVATE KEY", der)
}
