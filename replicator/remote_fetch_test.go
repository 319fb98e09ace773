package replicator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// gotten is what Fetch has brought of a revision, as text.
func gotten(r Revision) (string, error) {
	if r.Err != nil {
		return fmt.Sprintf("%s %s: %v", r.Doc.ID, r.Doc.Rev, r.Err), nil
	}
	text := fmt.Sprintf("%s %s/%d %s", r.Doc.ID, r.Doc.Rev, r.Doc.Revisions.Len(), r.Doc.Body)
	for _, a := range r.Doc.Attachments {
		if a.Stub {
			text += " " + a.Name + "=stub"
		}
	}
	if r.Content == nil {
		return text, nil
	}
	return text, r.Content(func(a *document.Attachment, content io.Reader) error {
		b, err := io.ReadAll(content)
		text += fmt.Sprintf(" %s=%s", a.Name, b)
		return err
	})
}

// fetch gets revisions and returns what has come, sorted.
func fetch(t *testing.T, r *Remote, wanted ...DocRevs) ([]string, error) {
	t.Helper()
	var got []string
	err := r.Fetch(t.Context(), wanted, func(rev Revision) error {
		text, err := gotten(rev)
		if err == nil {
			got = append(got, text)
		}
		return err
	})
	slices.Sort(got)
	return got, err
}

// bulkResults answers a _bulk_get with documents that have the member n, in as many results as are asked for.
func bulkResults(t *testing.T, r *http.Request) string {
	var q struct{ Docs []struct{ ID, Rev string } }
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		t.Error(err)
	}
	var results []string
	for _, d := range q.Docs {
		results = append(results, fmt.Sprintf(`{"id":%q,"docs":[{"ok":{"_id":%q,"_rev":%q,"_revisions":{"start":1,"ids":["x"]},"n":1}}]}`, d.ID, d.ID, d.Rev))
	}
	return `{"results":[` + strings.Join(results, ",\n") + "\n]}\n"
}

// mixed is an answer of open_revs with one part for each text.
func mixed(w http.ResponseWriter, parts ...string) string {
	w.Header().Set("Content-Type", `multipart/mixed; boundary="out"`)
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("--out\r\n" + p + "\r\n")
	}
	return b.String() + "--out--"
}

const (
	relatedPart = "Content-Type: multipart/related; boundary=\"in\"\r\n\r\n--in\r\nContent-Type: application/json\r\n\r\n" +
		`{"_id":"a","_rev":"2-x","_revisions":{"start":2,"ids":["x","w"]},"n":1,"_attachments":{"f":{"follows":true,"content_type":"text/plain","revpos":2,"length":5},"g":{"follows":true,"content_type":"text/plain","revpos":2,"length":3},"old":{"stub":true,"revpos":1,"length":1}}}` +
		"\r\n--in\r\nContent-Disposition: attachment; filename=\"f\"\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello\r\n--in\r\n\r\nabc\r\n--in--"
	plainPart   = "Content-Type: application/json\r\n\r\n" + `{"_id":"a","_rev":"2-y","_revisions":{"start":2,"ids":["y","w"]},"n":2}`
	missingPart = "Content-Type: application/json; error=\"true\"\r\n\r\n" + `{"missing":"3-z"}`
)

var mixedWant = []string{`a 2-x/2 {"n":1} old=stub f=hello g=abc`, `a 2-y/2 {"n":2}`, `a 3-z: missing`}

func TestFetchBulk(t *testing.T) {
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, mixed(w, "\r\n"+`{"_id":"_design/d e","_rev":"1-x"}`))
			return
		}
		_, _ = io.WriteString(w, bulkResults(t, r))
	})
	got, err := fetch(t, s.remote(RemoteOptions{UseBulkGet: true}), DocRevs{ID: "a", Revs: revs("1-x")}, DocRevs{ID: "_design/d e", Revs: revs("1-x")}, DocRevs{ID: "b", Revs: revs("1-x")})
	if want := []string{`_design/d e 1-x/1 {}`, `a 1-x/1 {"n":1}`, `b 1-x/1 {"n":1}`}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	want := []string{
		"POST _bulk_get?latest=true&revs=true&attachments=false",
		"GET _design/d%20e?latest=true&revs=true&open_revs=%5B%221-x%22%5D",
	}
	if asked := s.requests(); !slices.Equal(asked, want) {
		t.Errorf("%q", asked)
	}
}

// TestFetchBulkCutAnywhere breaks the first answer at every byte: each revision comes once all the same.
func TestFetchBulkCutAnywhere(t *testing.T) {
	at, first, length := 0, true, 0
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		text := bulkResults(t, r)
		if first {
			first = false
			length = len(text)
			cut(w, text, at)
			return
		}
		_, _ = io.WriteString(w, text)
	})
	r := s.remote(RemoteOptions{UseBulkGet: true})
	want := []string{`a 1-x/1 {"n":1}`, `b 1-x/1 {"n":1}`, `c 1-x/1 {"n":1}`}
	for ; at == 0 || at < length; at++ {
		first = true
		got, err := fetch(t, r, DocRevs{ID: "a", Revs: revs("1-x")}, DocRevs{ID: "b", Revs: revs("1-x")}, DocRevs{ID: "c", Revs: revs("1-x")})
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("cut at %d: %q, %v", at, got, err)
		}
	}
}

// TestFetchWithoutBulk has servers that know no _bulk_get, or answer it in ways that cannot be trusted.
func TestFetchWithoutBulk(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		asks   int // of _bulk_get in two calls
	}{
		{404, `{"error":"not_found","reason":"missing"}`, 1},
		{405, `{"error":"method_not_allowed"}`, 1},
		{501, ``, 1},
		{400, `x`, 1},
		{500, `{"error":"boom"}`, 6},
		{200, `{"results":[]}`, 1},
		{200, `{"results":[{"id":"b","docs":[]}]}`, 1},
		{200, `{"results":[{"id":"a","docs":[]}]}`, 1},
		{200, `{"results":[{"id":"a","docs":[{"ok":{"_id":"b","_rev":"1-x"}}]}]}`, 1},
		{200, `{"results":[{"id":"a","docs":[{"ok":{"_id":"a"}}]}]}`, 1},
		{200, `{"rows":[]}`, 1},
		{200, `[]`, 1},
		{200, `{"results":[{"id":"a","docs":[{"error":{"id":"a","rev":"2-x","error":"not_found","reason":"missing"}}]}]}`, 2},
		{200, `{"results":[{"id":"a","docs":[{"ok":{"_id":"a","_rev":"2-x","_attachments":{"f":{"stub":true,"revpos":2,"length":5}}}}]}]}`, 2},
		{200, `{"results":[{"id":"a","docs":[{"ok":{"_id":"a","_rev":"2-x","_odd":1}}]}]}`, 2},
	} {
		bulk := 0
		s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				bulk++
				reply(w, test.status, test.body)
				return
			}
			_, _ = io.WriteString(w, mixed(w, relatedPart))
		})
		r := s.remote(RemoteOptions{UseBulkGet: true})
		for range 2 {
			got, err := fetch(t, r, DocRevs{ID: "a", Revs: revs("2-x")})
			if err != nil || !slices.Equal(got, mixedWant[:1]) {
				t.Errorf("%d %s: %q, %v", test.status, test.body, got, err)
			}
		}
		if bulk != test.asks {
			t.Errorf("%d %s: asked %d times", test.status, test.body, bulk)
		}
	}
}

// TestFetchKnownAttachments takes a document from _bulk_get whose attachments the other side has.
func TestFetchKnownAttachments(t *testing.T) {
	s := newScript(t, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, `{"results":[{"id":"a","docs":[{"ok":{"_id":"a","_rev":"2-x","_revisions":{"start":2,"ids":["x","w"]},"_attachments":{"f":{"stub":true,"revpos":1,"length":5}}}}]}]}`)
	})
	got, err := fetch(t, s.remote(RemoteOptions{UseBulkGet: true}), DocRevs{ID: "a", Revs: revs("2-x"), Known: revs("9-q", "1-w")})
	if err != nil || !slices.Equal(got, []string{`a 2-x/2 {} f=stub`}) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestFetchSinglesCutAnywhere breaks the first answer at every byte, while attachments are read.
func TestFetchSinglesCutAnywhere(t *testing.T) {
	at, first, length := 0, true, 0
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "multipart/mixed" {
			t.Error(r.Header)
		}
		var parts []string
		for rev, part := range map[string]string{"2-x": relatedPart, "2-y": plainPart, "3-z": missingPart} {
			if strings.Contains(r.URL.Query().Get("open_revs"), rev) {
				parts = append(parts, part)
			}
		}
		text := mixed(w, parts...)
		if first {
			first = false
			length = len(text)
			cut(w, text, at)
			return
		}
		_, _ = io.WriteString(w, text)
	})
	r := s.remote(RemoteOptions{})
	for ; at == 0 || at < length; at++ {
		first = true
		got, err := fetch(t, r, DocRevs{ID: "a", Revs: revs("2-x", "2-y", "3-z"), Known: revs("1-w")})
		if err != nil || !slices.Equal(got, mixedWant) {
			t.Fatalf("cut at %d: %q, %v", at, got, err)
		}
	}
	if asked := s.requests()[0]; asked != "GET a?atts_since=%5B%221-w%22%5D&latest=true&revs=true&open_revs=%5B%222-x%22%2C%222-y%22%2C%223-z%22%5D" {
		t.Error(asked)
	}
}

func TestFetchAttachmentUnread(t *testing.T) {
	s := newScript(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, mixed(w, relatedPart, plainPart))
	})
	n := 0
	err := s.remote(RemoteOptions{}).Fetch(t.Context(), []DocRevs{{ID: "a", Revs: revs("2-x", "2-y")}}, func(Revision) error { n++; return nil })
	if err != nil || n != 2 {
		t.Error(n, err)
	}
}

// TestFetchVisitFails tells errors that Fetch meets by trying again from those that end it.
func TestFetchVisitFails(t *testing.T) {
	boom := errors.New("boom")
	for _, test := range []struct {
		err  error
		read bool
		want int // visits
	}{{boom, true, 1}, {boom, false, 1}, {fmt.Errorf("target: %w", ErrInterrupted), true, 6}} {
		s := newScript(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, mixed(w, relatedPart)) })
		n := 0
		err := s.remote(RemoteOptions{}).Fetch(t.Context(), []DocRevs{{ID: "a", Revs: revs("2-x")}}, func(r Revision) error {
			n++
			if test.read {
				return r.Content(func(*document.Attachment, io.Reader) error { return test.err })
			}
			return test.err
		})
		if !errors.Is(err, test.err) || n != test.want {
			t.Errorf("%v after %d visits", err, n)
		}
	}
}

// TestFetchJSON has a server that answers without multipart, as PouchDB Server does.
func TestFetchJSON(t *testing.T) {
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.RawQuery, "open_revs"):
			reply(w, 200, `[{"ok":{"_id":"a","_rev":"2-x","_revisions":{"start":2,"ids":["x","w"]},"_attachments":{"f g/h":{"stub":true,"revpos":2,"digest":"md5-XUFAKrxLKna5cZ2REBfFkg==","length":5},"old":{"stub":true,"revpos":1,"length":1},"in":{"data":"aW5s","revpos":2}}}},{"missing":"3-z"}]`)
		case r.URL.RawQuery == "rev=2-x" && strings.HasSuffix(r.URL.EscapedPath(), "/a/f%20g%2Fh"):
			_, _ = io.WriteString(w, "hello")
		default:
			t.Error(r.URL)
		}
	})
	got, err := fetch(t, s.remote(RemoteOptions{}), DocRevs{ID: "a", Revs: revs("2-x", "3-z"), Known: revs("1-w")})
	if want := []string{`a 2-x/2 {} old=stub f g/h=hello in=inl`, `a 3-z: missing`}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFetchAbsent(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		want   error // of the revision
		fatal  error
	}{
		{404, `{"error":"not_found","reason":"missing"}`, storage.ErrNotFound, nil},
		{404, `{"error":"not_found","reason":"Database does not exist."}`, nil, ErrNoDatabase},
		{403, `{"error":"forbidden","reason":"no"}`, ErrUnauthorized, nil},
		{200, `[]`, storage.ErrNotFound, nil},
		{414, ``, nil, nil},
	} {
		s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/db/" {
				reply(w, 200, `{"update_seq":1,"instance_start_time":"0"}`)
				return
			}
			reply(w, test.status, test.body)
		})
		var absent error
		n := 0
		err := s.remote(RemoteOptions{}).Fetch(t.Context(), []DocRevs{{ID: "a", Revs: revs("1-x")}}, func(r Revision) error {
			n++
			absent = r.Err
			return nil
		})
		if test.fatal != nil {
			if !errors.Is(err, test.fatal) {
				t.Errorf("%d: %v", test.status, err)
			}
			continue
		}
		if err != nil || n != 1 || absent == nil || test.want != nil && !errors.Is(absent, test.want) {
			t.Errorf("%d: %d visits, %v, %v", test.status, n, absent, err)
		}
	}
}

// TestFetchLongURL has many revisions of one document, and a server that takes but short URLs.
func TestFetchLongURL(t *testing.T) {
	longest := 0
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		if n := len(r.URL.String()); n > 900 {
			reply(w, 414, ``)
			return
		} else if n > longest {
			longest = n
		}
		var list []string
		_ = json.Unmarshal([]byte(r.URL.Query().Get("open_revs")), &list)
		var parts []string
		for _, rev := range list {
			parts = append(parts, "\r\n"+fmt.Sprintf(`{"_id":"a","_rev":%q}`, rev))
		}
		_, _ = io.WriteString(w, mixed(w, parts...))
	})
	w := DocRevs{ID: "a"}
	for i := range 200 {
		w.Revs = append(w.Revs, revs(fmt.Sprintf("1-%032x", i))...)
	}
	got, err := fetch(t, s.remote(RemoteOptions{}), w)
	if err != nil || len(got) != 200 {
		t.Errorf("%d revisions, %v; the longest URL had %d bytes", len(got), err, longest)
	}
}

// TestFetchManyAtOnce gets documents whose answers are larger than what is read ahead, with few connections.
func TestFetchManyAtOnce(t *testing.T) {
	big := strings.Repeat("x", 3*readAhead)
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		id := strings.TrimPrefix(r.URL.Path, "/db/")
		_, _ = io.WriteString(w, mixed(w, fmt.Sprintf("Content-Type: multipart/related; boundary=in\r\n\r\n--in\r\n\r\n"+
			`{"_id":%q,"_rev":"1-x","_attachments":{"f":{"follows":true,"revpos":1,"length":%d}}}`+"\r\n--in\r\n\r\n%s\r\n--in--", id, len(big), big)))
	})
	r := s.remote(RemoteOptions{Connections: 8})
	var wanted []DocRevs
	for i := range 40 {
		wanted = append(wanted, DocRevs{ID: fmt.Sprint("d", i), Revs: revs("1-x")})
	}
	got, err := fetch(t, r, wanted...)
	if err != nil || len(got) != 40 || len(r.c.slots) != 0 {
		t.Errorf("%d, %v, %d connections in use", len(got), err, len(r.c.slots))
	}
}
