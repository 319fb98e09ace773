package backup

import (
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// newClient returns a client of a handler, which does not wait long.
func newClient(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("ann", "secret")
	c := NewClient(u, Options{Pause: time.Millisecond, Stall: 100 * time.Millisecond})
	t.Cleanup(c.Close)
	return c
}

// TestSilence asks servers that say nothing, at once or in the middle.
func TestSilence(t *testing.T) {
	for _, start := range []string{"", `{"name":"mangrove","version":"x","mode":"full","mangrove":{"format":1}}` + "\n[" + `{"_id":"a"`} {
		var asked atomic.Int64
		c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if start != "" {
				w.Header().Set("Content-Type", ContentType)
				_, _ = io.WriteString(w, start)
				_ = http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
		})
		folder := t.TempDir()
		_, err := c.Save(t.Context(), "db", filepath.Join(folder, "file"), false, FetchOptions{})
		if !errors.Is(err, errStalled) || strings.Contains(err.Error(), "secret") || asked.Load() != tries {
			t.Errorf("%v, after %d requests", err, asked.Load())
		}
		if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
			t.Errorf("%v is left behind, %v", left, err)
		}
	}
}

// A certificate that cannot be trusted is not trusted at the second try either.
func TestUntrustedCertificate(t *testing.T) {
	var dialed atomic.Int64
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			dialed.Add(1)
		}
	}
	s.StartTLS()
	defer s.Close()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(u, Options{Pause: time.Millisecond})
	defer c.Close()
	var refused *tls.CertificateVerificationError
	if _, err := c.Databases(t.Context()); !errors.As(err, &refused) || dialed.Load() != 1 {
		t.Errorf("%v, after %d connections", err, dialed.Load())
	}
}

// TestRefusals are answers after which nothing is tried again.
func TestRefusals(t *testing.T) {
	for _, code := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusInsufficientStorage} {
		var asked atomic.Int64
		c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if name, password, _ := r.BasicAuth(); name != "ann" || password != "secret" {
				t.Errorf("asked as %s", name)
			}
			w.WriteHeader(code)
			_, _ = io.WriteString(w, `{"error":"word","reason":"Why."}`)
		})
		_, err := c.Fetch(t.Context(), "a/b+c", io.Discard, FetchOptions{})
		var r *Refusal
		if !errors.As(err, &r) || r.Status != code || r.Name != "word" || r.Reason != "Why." || asked.Load() != 1 {
			t.Errorf("%v, after %d requests", err, asked.Load())
		}
		if !strings.Contains(err.Error(), "/a%2Fb%2Bc/") {
			t.Errorf("the path is not that of the database: %v", err)
		}
	}
}

// TestDivision restores into a server that takes little at once, and one document not at all.
func TestDivision(t *testing.T) {
	taken := atomic.Int64{}
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		switch {
		case err != nil:
			t.Error(err)
		case r.URL.Path == "/db" && r.Method == http.MethodGet:
			_, _ = io.WriteString(w, `{"doc_count":0}`)
		case !strings.HasSuffix(r.URL.Path, "_bulk_docs"):
			_, _ = io.WriteString(w, `{}`)
		case int64(len(body)) != r.ContentLength || strings.Count(string(body), `"_id"`) > 2 || strings.Contains(string(body), "large"):
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		case strings.Contains(string(body), "bad"):
			w.WriteHeader(http.StatusBadRequest)
		case strings.Contains(string(body), "stub"):
			w.WriteHeader(http.StatusPreconditionFailed)
		default:
			taken.Add(int64(strings.Count(string(body), `"_id"`)))
			_, _ = io.WriteString(w, `[]`)
		}
	})
	var text strings.Builder
	w, err := NewWriter(&text, "test", Origin{})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c", "large", "d", "bad", "e", "stub", "f"} {
		if err := w.Text(id, strings.NewReader(`{"_id":"`+id+`","_rev":"1-a"}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close("0", 0); err != nil {
		t.Fatal(err)
	}
	r, err := c.Restore(t.Context(), strings.NewReader(text.String()), "db", RestoreOptions{})
	if err != nil || r.Written != 6 || r.Refused != 3 || taken.Load() != 6 || len(r.Reasons) != 3 {
		t.Fatalf("%+v, %v, %d taken", r, err, taken.Load())
	}
	slices.Sort(r.Reasons)
	for i, id := range []string{"bad", "large", "stub"} {
		if !strings.HasPrefix(r.Reasons[i], id+": ") {
			t.Errorf("refused %q, want %s", r.Reasons[i], id)
		}
	}
}

// A backup must not take the place of what is no file, such as a device.
func TestSaveInPlaceOfNoFile(t *testing.T) {
	c := newClient(t, func(http.ResponseWriter, *http.Request) { t.Error("the node was asked") })
	path := filepath.Join(t.TempDir(), "place")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	var refused *fs.PathError
	if _, err := c.Save(t.Context(), "db", path, false, FetchOptions{}); !errors.As(err, &refused) {
		t.Errorf("%v", err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestManifest(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{
		"another folder": `{"format":1,"databases":[{"database":"a","file":"../a.jsonl"}]}`,
		"the future":     `{"format":2}`,
		"no JSON":        `{`,
	} {
		if err := os.WriteFile(filepath.Join(folder, manifestName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err := ReadManifest(folder); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}
