package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/mangrove-db/mangrove/config"
)

// encryption is how the node listens for encrypted connections.
type encryption struct {
	config *tls.Config
	// challenges answers an authority's HTTP challenges and hands everything
	// else to another handler. Nil if certificates come from files.
	challenges func(http.Handler) http.Handler
}

// newEncryption prepares it from the settings, or returns nil if they want
// none. Files are read, so that what is wrong with them shows at the start.
func newEncryption(s *config.Settings, logger *slog.Logger) (*encryption, error) {
	if err := s.CheckTLS(); err != nil {
		return nil, err
	}
	if !s.TLS.Enabled {
		return nil, nil
	}
	if !s.ACME.Enabled {
		c, err := fileConfig(&s.TLS, logger)
		return &encryption{config: c}, err
	}
	manager := &autocert.Manager{
		Prompt:     autocert.AcceptTOS, // accept_terms says that someone does
		Cache:      autocert.DirCache(s.ACME.Cache),
		HostPolicy: autocert.HostWhitelist(s.ACME.Domains...),
		Email:      s.ACME.Email,
		Client:     &acme.Client{DirectoryURL: s.ACME.Directory},
	}
	c := manager.TLSConfig()
	c.MinVersion = s.TLS.MinVersion
	err := clientCertificates(c, &s.TLS, logger)
	return &encryption{config: c, challenges: manager.HTTPHandler}, err
}

// fileConfig serves the certificate in the files of the settings.
func fileConfig(t *config.TLS, logger *slog.Logger) (*tls.Config, error) {
	pair := &watched[*tls.Certificate]{
		files: []string{t.CertFile, t.KeyFile},
		what:  "certificate",
		log:   logger,
		load: func() (*tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
			return &c, err
		},
	}
	if _, err := pair.get(); err != nil {
		return nil, fmt.Errorf("[ssl] cert_file and key_file: %w", err)
	}
	c := &tls.Config{
		MinVersion:     t.MinVersion,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.get() },
	}
	return c, clientCertificates(c, t, logger)
}

// clientCertificates makes the server ask its clients for certificates if the
// settings say so. Who has one is let in; who it is for is not looked at.
func clientCertificates(c *tls.Config, t *config.TLS, logger *slog.Logger) error {
	switch {
	case t.RequireClients:
		c.ClientAuth = tls.RequireAndVerifyClientCert
	case t.VerifyClients:
		c.ClientAuth = tls.VerifyClientCertIfGiven
	default:
		return nil
	}
	authorities := &watched[*x509.CertPool]{
		files: []string{t.CACertFile},
		what:  "client authorities",
		log:   logger,
		load: func() (*x509.CertPool, error) {
			text, err := os.ReadFile(t.CACertFile)
			if err != nil {
				return nil, err
			}
			pool := x509.NewCertPool()
			if !pool.AppendCertsFromPEM(text) {
				return nil, errors.New("there is no certificate in the file")
			}
			return pool, nil
		},
	}
	if _, err := authorities.get(); err != nil {
		return fmt.Errorf("[ssl] cacert_file %s: %w", t.CACertFile, err)
	}
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pool, err := authorities.get()
		if err != nil {
			return nil, err
		}
		of := c.Clone()
		of.GetConfigForClient = nil
		of.ClientCAs = pool
		return of, nil
	}
	return nil
}

// watched is what was read from files, and is read again when they change. It
// is safe for concurrent use.
type watched[T any] struct {
	files []string
	what  string // for the log
	load  func() (T, error)
	log   *slog.Logger

	mu      sync.Mutex
	value   T
	loaded  bool
	stamps  []stamp
	checked time.Time // when the files were last looked at
	failure string    // the last that was logged
}

// stamp tells whether a file is another than it was.
type stamp struct {
	modified time.Time
	size     int64
}

// checkInterval is how old what is served may be: connections between do not
// look at the files.
const checkInterval = time.Second

// get is the value of the files as they are now. If they cannot be read, as
// while somebody replaces one after the other, it is what they had before; an
// error means that they never could be.
func (w *watched[T]) get() (T, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.loaded && time.Since(w.checked) < checkInterval {
		return w.value, nil
	}
	w.checked = time.Now()
	value, err := w.refreshLocked()
	switch {
	case err == nil:
		w.value, w.failure = value, ""
	case !w.loaded:
		return value, err
	case err.Error() != w.failure:
		w.failure = err.Error()
		w.log.Error("files cannot be read; what they had before is used", "what", w.what, "files", w.files, "error", err)
	}
	return w.value, nil
}

func (w *watched[T]) refreshLocked() (T, error) {
	stamps := make([]stamp, len(w.files))
	changed := !w.loaded
	for i, name := range w.files {
		info, err := os.Stat(name)
		if err != nil {
			var none T
			return none, err
		}
		stamps[i] = stamp{info.ModTime(), info.Size()}
		changed = changed || stamps[i] != w.stamps[i]
	}
	if !changed {
		return w.value, nil
	}
	value, err := w.load()
	if err != nil {
		return value, err
	}
	if w.loaded {
		w.log.Info("files have changed and were read again", "what", w.what, "files", w.files)
	}
	w.stamps, w.loaded = stamps, true
	return value, nil
}

// toEncrypted sends clients of the plain port to the encrypted one.
func toEncrypted(port int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.Trim(host, "[]")
		if port != 443 {
			host = net.JoinHostPort(host, strconv.Itoa(port))
		} else if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		// 308 keeps the method and the body.
		http.Redirect(w, r, "https://"+host+r.URL.RequestURI(), http.StatusPermanentRedirect)
	})
}
