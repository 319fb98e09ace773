package replicator

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mangrove-db/mangrove/document"
)

// outgoing makes a revision whose attachments' contents are given.
func outgoing(t testing.TB, text string, contents ...io.Reader) Revision {
	t.Helper()
	d, err := document.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	r := Revision{Doc: d}
	if len(contents) == 0 {
		return r
	}
	r.Content = func(visit func(*document.Attachment, io.Reader) error) error {
		i := 0
		for k := range d.Attachments {
			if a := &d.Attachments[k]; a.Follows {
				if err := visit(a, contents[i]); err != nil {
					return err
				}
				i++
			}
		}
		return nil
	}
	return r
}

func small(t testing.TB, id string) Revision {
	return outgoing(t, fmt.Sprintf(`{"_id":%q,"_revisions":{"start":2,"ids":["y","x"]},"n":1}`, id))
}

func TestStoreBulk(t *testing.T) {
	var body string
	var header http.Header
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.Method == http.MethodPut {
			reply(w, 201, `{"ok":true}`) // the one that had a passing trouble
			return
		}
		body, header = string(b), r.Header
		if r.ContentLength != int64(len(b)) {
			t.Errorf("Content-Length %d of %d", r.ContentLength, len(b))
		}
		reply(w, 201, `[{"id":"a","rev":"2-y","error":"forbidden","reason":"no\nway"},{"ok":true,"id":"b"},{"id":"c","error":"timeout","reason":"?"}]`)
	})
	r := s.remote(RemoteOptions{})
	refused, err := r.Store(t.Context(), []Revision{small(t, "a"), small(t, "b"), small(t, "c")})
	want := []Refusal{{ID: "a", Rev: revs("2-y")[0], Name: "forbidden", Reason: "no way"}}
	if err != nil || !slices.Equal(refused, want) {
		t.Errorf("%v, %v", refused, err)
	}
	doc := `{"_id":"%s","_rev":"2-y","n":1,"_revisions":{"start":2,"ids":["y","x"]}}`
	if want := `{"new_edits":false,"docs":[` + fmt.Sprintf(doc+","+doc+","+doc, "a", "b", "c") + `]}`; body != want {
		t.Errorf("%s\nwant %s", body, want)
	}
	if header.Get("X-Couch-Full-Commit") != "false" || header.Get("Content-Type") != "application/json" {
		t.Error(header)
	}
	if asked := s.requests(); !slices.Equal(asked, []string{"POST _bulk_docs", "PUT c?new_edits=false"}) {
		t.Error(asked)
	}
}

// TestStoreByHalves has a server that takes but two documents at a time, and one document not at all.
func TestStoreByHalves(t *testing.T) {
	for _, status := range []int{413, 400} {
		var stored []string
		s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
			var q struct {
				Docs []struct {
					ID string `json:"_id"`
				}
			}
			b, _ := io.ReadAll(r.Body)
			if r.Method == http.MethodPut {
				reply(w, status, `{"error":"too_large","reason":"bad"}`)
				return
			}
			if err := json.Unmarshal(b, &q); err != nil {
				t.Error(err)
			}
			if len(q.Docs) > 2 || bytes.Contains(b, []byte("bad")) {
				reply(w, status, `{"error":"too_large","reason":"bad"}`)
				return
			}
			for _, d := range q.Docs {
				stored = append(stored, d.ID)
			}
			reply(w, 201, `[]`)
		})
		var all []Revision
		for _, id := range []string{"a", "b", "c", "bad", "e"} {
			all = append(all, small(t, id))
		}
		refused, err := s.remote(RemoteOptions{}).Store(t.Context(), all)
		if err != nil || len(refused) != 1 || refused[0].ID != "bad" || refused[0].Name != "too_large" {
			t.Errorf("%v, %v", refused, err)
		}
		slices.Sort(stored)
		if !slices.Equal(stored, []string{"a", "b", "c", "e"}) {
			t.Error(stored)
		}
	}
}

const withAttachments = `{"_id":"a/b","_revisions":{"start":2,"ids":["y","x"]},"_attachments":{"f":{"follows":true,"content_type":"text/plain","revpos":2,"length":5%s},"old":{"stub":true,"revpos":1,"length":1}}}`

// TestStoreAttachments sends a message and compares it byte by byte.
func TestStoreAttachments(t *testing.T) {
	var body string
	var contentType string
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil || r.ContentLength != int64(len(b)) || len(r.TransferEncoding) > 0 {
			t.Errorf("%v, Content-Length %d of %d", err, r.ContentLength, len(b))
		}
		body, contentType = string(b), r.Header.Get("Content-Type")
		reply(w, 201, `{"ok":true}`)
	})
	r := s.remote(RemoteOptions{})
	for _, extra := range []string{"", `,"encoding":"gzip","encoded_length":3`} {
		content := "hello"
		if extra != "" {
			content = "zip"
		}
		refused, err := r.Store(t.Context(), []Revision{outgoing(t, fmt.Sprintf(withAttachments, extra), strings.NewReader(content))})
		if refused != nil || err != nil {
			t.Fatal(refused, err)
		}
		m, err := document.NewMultipartReader(strings.NewReader(body), contentType)
		if err != nil {
			t.Fatal(err)
		}
		text, err := m.Document(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		d, err := document.Decode(text)
		if err != nil || len(d.Attachments) != 2 || !d.Attachments[1].Stub || d.Rev.String() != "2-y" {
			t.Fatalf("%s: %v", text, err)
		}
		err = m.ReadAttachments(d.Attachments, func(a *document.Attachment, r io.Reader) error {
			b, err := io.ReadAll(r)
			if string(b) != content || (a.Encoding == "gzip") != (extra != "") {
				t.Errorf("%s %s", a.Name, b)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if asked := s.requests(); asked[0] != "PUT a%2Fb?new_edits=false" {
		t.Error(asked)
	}
	// Of unknown length.
	text := strings.Replace(fmt.Sprintf(withAttachments, ""), `"length":5`, `"x":0`, 1)
	if _, err := r.Store(t.Context(), []Revision{outgoing(t, text, strings.NewReader("hello"))}); err != nil || !strings.Contains(body, `"length":5`) {
		t.Errorf("%v: %s", err, body)
	}
	// A stub alone goes as plain JSON.
	if _, err := r.Store(t.Context(), []Revision{outgoing(t, `{"_id":"a","_rev":"2-y","_attachments":{"f":{"stub":true,"revpos":1,"length":1}}}`)}); err != nil || contentType != "application/json" {
		t.Error(err, contentType)
	}
}

func TestStoreRefusals(t *testing.T) {
	for _, test := range []struct {
		status   int
		body     string
		db       int // status of the database itself
		name     string
		interval error
	}{
		{412, `{"error":"missing_stub","reason":"Invalid attachment stub in a for f"}`, 200, missingStub, nil},
		{401, `{"error":"unauthorized","reason":"not yours"}`, 200, "unauthorized", nil},
		{401, `{"error":"unauthorized","reason":"Name or password is incorrect."}`, 401, "", ErrUnauthorized},
		{403, `{"error":"forbidden","reason":"no"}`, 200, "forbidden", nil},
		{413, `nginx`, 200, "too_large", nil},
		{415, `{"error":"bad_content_type","reason":"x"}`, 200, "bad_content_type", nil},
		{400, `{"error":"bad_request","reason":"Attachment name '_x' starts with prohibited character '_'"}`, 200, "bad_request", nil},
		{404, `{"error":"not_found","reason":"no_db_file"}`, 404, "", ErrNoDatabase},
		{503, `{"error":"busy"}`, 200, "", ErrInterrupted},
	} {
		s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				reply(w, test.db, `{"update_seq":1,"instance_start_time":"0"}`)
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			reply(w, test.status, test.body)
		})
		refused, err := s.remote(RemoteOptions{}).Store(t.Context(), []Revision{outgoing(t, fmt.Sprintf(withAttachments, ""), strings.NewReader("hello"))})
		if test.interval != nil {
			if !errors.Is(err, test.interval) || refused != nil {
				t.Errorf("%d: %v, %v", test.status, refused, err)
			}
			continue
		}
		if err != nil || len(refused) != 1 || refused[0].Name != test.name || refused[0].ID != "a/b" || refused[0].Rev.String() != "2-y" {
			t.Errorf("%d: %v, %v", test.status, refused, err)
		}
	}
}

// TestStoreBrokenSource checks that nothing counts as refused or stored when the source fails, whatever the server says.
func TestStoreBrokenSource(t *testing.T) {
	boom := errors.New("boom")
	for _, early := range []bool{false, true} {
		s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
			if !early {
				_, _ = io.Copy(io.Discard, r.Body)
			}
			reply(w, 400, `{"error":"bad_request","reason":"cut"}`)
		})
		content := io.MultiReader(strings.NewReader("hel"), iotest.ErrReader(boom))
		refused, err := s.remote(RemoteOptions{}).Store(t.Context(), []Revision{outgoing(t, fmt.Sprintf(withAttachments, ""), content)})
		if !errors.Is(err, boom) && !(early && err == nil && len(refused) == 1) {
			t.Errorf("%v, %v", refused, err)
		}
	}
}

// TestStoreExpect repeats an upload that the server has refused before any of it was sent.
func TestStoreExpect(t *testing.T) {
	left := 2
	big := strings.Repeat("x", continueFrom)
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Expect") != "100-continue" {
			t.Error(r.Header)
		}
		if left--; left >= 0 {
			reply(w, 503, `{}`)
			return
		}
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil || n != r.ContentLength {
			t.Error(n, err)
		}
		reply(w, 201, `{"ok":true}`)
	})
	text := strings.Replace(fmt.Sprintf(withAttachments, ""), `"length":5`, fmt.Sprintf(`"length":%d`, len(big)), 1)
	if refused, err := s.remote(RemoteOptions{}).Store(t.Context(), []Revision{outgoing(t, text, strings.NewReader(big))}); err != nil || refused != nil {
		t.Error(refused, err)
	}
}

// TestStoreInterrupted breaks the connection to the target in the middle of an upload.
func TestStoreInterrupted(t *testing.T) {
	s := newScript(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, 100)
		panic(http.ErrAbortHandler)
	})
	_, err := s.remote(RemoteOptions{}).Store(t.Context(), []Revision{outgoing(t, fmt.Sprintf(withAttachments, ""), strings.NewReader("hello"))})
	if !errors.Is(err, ErrInterrupted) {
		t.Error(err)
	}
	if n := len(s.requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// TestStorePacked packs bodies for servers that are far away and take it, until one refuses.
func TestStorePacked(t *testing.T) {
	var encodings []string
	refuse := false
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "CouchDB/3.5.0 (Erlang OTP/26)")
		encoding := r.Header.Get("Content-Encoding")
		encodings = append(encodings, encoding)
		in := io.Reader(r.Body)
		if encoding == "gzip" {
			if refuse {
				reply(w, 415, `{}`)
				return
			}
			var err error
			if in, err = gzip.NewReader(in); err != nil {
				t.Error(err)
				return
			}
		}
		if b, err := io.ReadAll(in); err != nil || !json.Valid(b) {
			t.Errorf("%v: %.100s", err, b)
		}
		reply(w, 201, `[]`)
	})
	r := s.remote(RemoteOptions{})
	var many []Revision
	for i := range 200 {
		many = append(many, small(t, fmt.Sprint("doc", i)))
	}
	for i := range 4 {
		if i == 1 {
			r.c.distance.Store(int64(time.Second))
		}
		refuse = i >= 2
		if _, err := r.Store(t.Context(), many); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"", "gzip", "gzip", "", ""}; !slices.Equal(encodings, want) {
		t.Errorf("%q", encodings)
	}
}

// TestPackedAnswers unpacks answers, and notices those that are cut.
func TestPackedAnswers(t *testing.T) {
	packed := string(pack([]byte(`{"results":[{"seq":1,"id":"a","changes":[{"rev":"1-x"}]}],"last_seq":1}`)))
	rest := string(pack([]byte(`{"results":[],"last_seq":1}`)))
	at := 0
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "gzip" {
			t.Error(r.Header)
		}
		w.Header().Set("Content-Encoding", "gzip")
		if r.URL.Query().Get("since") != "0" {
			_, _ = io.WriteString(w, rest)
			return
		}
		n := at
		at = len(packed)
		cut(w, packed, n)
	})
	r := s.remote(RemoteOptions{})
	for i := range len(packed) {
		at = i
		rows, err := collect(t.Context(), r, ChangesRequest{}, -1)
		if err != nil || !slices.Equal(rows, []string{"1 a [1-x]"}) {
			t.Fatalf("cut at %d: %q, %v", i, rows, err)
		}
	}
}
