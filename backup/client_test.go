package backup

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
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
	for _, id := range []string{"a", "b", "c", "large", "d", "e", "f"} {
		if err := w.Text(id, strings.NewReader(`{"_id":"`+id+`","_rev":"1-a"}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close("0", 0); err != nil {
		t.Fatal(err)
	}
	r, err := c.Restore(t.Context(), strings.NewReader(text.String()), "db", RestoreOptions{})
	if err != nil || r.Written != 6 || r.Refused != 1 || taken.Load() != 6 || len(r.Reasons) != 1 || !strings.HasPrefix(r.Reasons[0], "large: ") {
		t.Errorf("%+v, %v, %d taken", r, err, taken.Load())
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
