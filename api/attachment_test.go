package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

const relatedType = `Content-Type: multipart/related; boundary="limit"`

// message is that of a document and what follows it.
func message(document string, parts ...string) string {
	var b strings.Builder
	b.WriteString("--limit\r\nContent-Type: application/json\r\n\r\n" + document)
	for _, part := range parts {
		b.WriteString("\r\n--limit\r\n\r\n" + part)
	}
	b.WriteString("\r\n--limit--")
	return b.String()
}

func pack(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func digest(s string) string {
	sum := md5.Sum([]byte(s))
	return "md5-" + base64.StdEncoding.EncodeToString(sum[:])
}

// TestStreaming sends and fetches more than memory is allowed for.
func TestStreaming(t *testing.T) {
	const size = 48 << 20
	n := newNode(t)
	n.must(http.MethodPut, "/d", nil)
	source := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{1}), size) }
	sum := md5.New()
	if _, err := io.Copy(sum, source()); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n.must(http.MethodPut, "/d/a/f", source(), "Content-Type: image/png") // chunked: the client does not know the length
	fetch := func(path, accept string, want int64) io.ReadCloser {
		t.Helper()
		response, err := n.client.Do(n.request(http.MethodGet, path, nil, "Accept: "+accept))
		if err != nil {
			t.Fatal(err)
		}
		if want >= 0 && response.ContentLength != want {
			t.Errorf("%s: Content-Length %d, want %d", path, response.ContentLength, want)
		}
		return response.Body
	}
	check := func(content io.Reader) {
		t.Helper()
		got := md5.New()
		if _, err := io.Copy(got, content); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Sum(nil), sum.Sum(nil)) {
			t.Error("other content came back")
		}
	}
	whole := fetch("/d/a/f", "*/*", size)
	check(whole)
	whole.Close()

	sent := fetch("/d/a?attachments=true", "multipart/related", -1)
	defer sent.Close()
	response := n.must(http.MethodHead, "/d/a?attachments=true", nil, "Accept: multipart/related")
	_, params, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if len(params["boundary"]) != 32 {
		t.Errorf("Content-Type %s", response.Header.Get("Content-Type"))
	}
	length, _ := strconv.ParseInt(response.Header.Get("Content-Length"), 10, 64)
	if got, _ := io.Copy(io.Discard, sent); got != length {
		t.Errorf("a message of %d bytes, said to be %d", got, length)
	}

	inline := fetch("/d/a?attachments=true", "application/json", -1)
	defer inline.Close()
	if got, err := io.Copy(io.Discard, inline); err != nil || got < size/3*4 {
		t.Errorf("%d bytes of JSON, %v", got, err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 24<<20 {
		t.Errorf("%d MiB were allocated for it", used>>20)
	}
}

// TestInlineStreaming sends an attachment within the JSON.
func TestInlineStreaming(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/d", nil)
	content := make([]byte, 3<<20)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(content)
	n.must(http.MethodPut, "/d/a", `{"_attachments":{"f":{"content_type":"image/png","data":"`+base64.StdEncoding.EncodeToString(content)+`"}}}`)
	if got := n.must(http.MethodGet, "/d/a/f", nil).body; !bytes.Equal(got, content) {
		t.Errorf("%d other bytes came back", len(got))
	}
}

// TestAbort gives an upload up in the middle, of which nothing may remain.
func TestAbort(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/d", nil)
	for path, kind := range map[string]string{"/d/a/f": "Content-Type: image/png", "/d/a": relatedType, "/d/b/f": "Content-Encoding: gzip"} {
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			request := n.request(http.MethodPut, path, r, kind)
			response, err := n.client.Do(request.WithContext(ctx))
			if err == nil {
				response.Body.Close()
			}
		}()
		start := strings.TrimSuffix(message(`{"_attachments":{"f":{"follows":true,"content_type":"image/png"}}}`, "x"), "\r\n--limit--")
		if strings.Contains(kind, "gzip") {
			start = pack(t, "x")[:10]
		}
		if _, err := io.WriteString(w, start+strings.Repeat("x", 1<<20)); err != nil && err != io.ErrClosedPipe {
			t.Fatal(err)
		}
		cancel()
		w.CloseWithError(context.Canceled) // the client waits for its body
		<-done
	}
	n.refused(404, "not_found", "missing", http.MethodGet, "/d/a", nil)
	// Closing the server waits for its handlers, so that what they leave can be seen.
	n.server.Close()
	err := filepath.WalkDir(n.config.Snapshot().DataDir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.Contains(path, "blobs") {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRelatedDigests(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/d", nil)
	att := func(digest string) string {
		return `{"_attachments":{"f":{"follows":true,"content_type":"text/plain","digest":"` + digest + `"}}}`
	}
	// The digest of an attachment that will be compressed is that of what was sent.
	n.must(http.MethodPut, "/d/a", message(att(digest("text")), "text"), relatedType)
	n.must(http.MethodPut, "/d/b", message(att("junk"), "text"), relatedType)
	n.refused(400, "content_md5_mismatch", "Possible message corruption.", http.MethodPut, "/d/c", message(att(digest("text")), "test"), relatedType)
	if a, b := n.must(http.MethodGet, "/d/a", nil), n.must(http.MethodGet, "/d/b", nil); a.Header.Get("ETag") != b.Header.Get("ETag") {
		t.Error("the digest that was sent shows in the revision")
	}
}

func TestRelatedFaults(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/d", nil)
	follows := `{"_attachments":{"f":{"follows":true}}}`
	for _, body := range []string{"", "--limit", "--limit--", message(follows), message(`{}`, "x"), message(follows, "x", "y"), strings.TrimSuffix(message(follows, "x"), "--"), message(`{"_attachments":{"f":{"follows":true,"length":2}}}`, "x")} {
		if a := n.do(http.MethodPut, "/d/a", body, relatedType); a.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %s %s", body, a.Status, a.body)
		}
	}
	n.refused(400, "bad_request", "Attachment f cannot follow: the request is not multipart.", http.MethodPut, "/d/a", follows)
	if a := n.do(http.MethodPut, "/d/a", message(`{}`), relatedType); a.StatusCode != http.StatusCreated {
		t.Errorf("without attachments: %s %s", a.Status, a.body)
	}
}

func TestReplicatedGzip(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/d", nil)
	text := strings.Repeat("text ", 100)
	packed := pack(t, text)
	put := func(id string, length int) {
		att := fmt.Sprintf(`{"_rev":"3-c","_attachments":{"f":{"follows":true,"content_type":"text/plain","encoding":"gzip","digest":%q,"length":%d,"encoded_length":%d}}}`,
			digest(packed), length, len(packed))
		n.must(http.MethodPut, "/d/"+id+"?new_edits=false", message(att, packed), relatedType)
	}
	put("known", len(text))
	put("unknown", len(packed)) // so says who got it packed
	put("wrong", 7)
	for id, length := range map[string]int{"known": len(text), "unknown": len(packed), "wrong": len(text)} {
		var doc struct {
			Attachments map[string]struct {
				RevPos, Length int
				Encoding       string
				EncodedLength  int `json:"encoded_length"`
			} `json:"_attachments"`
		}
		n.must(http.MethodGet, "/d/"+id+"?att_encoding_info=true", nil).json(t, &doc)
		a := doc.Attachments["f"]
		if a.RevPos != 3 || a.Length != length || a.Encoding != "gzip" || a.EncodedLength != len(packed) {
			t.Errorf("%s: %+v", id, a)
		}
		if got := n.must(http.MethodGet, "/d/"+id+"/f", nil, "Accept-Encoding: identity"); string(got.body) != text || got.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %q", id, got.body)
		}
		if got := n.must(http.MethodGet, "/d/"+id+"/f", nil, "Accept-Encoding: gzip"); string(got.body) != packed || got.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s: packed %q", id, got.body)
		}
	}
	n.refused(400, "bad_request", "The attachment is not gzip data as its Content-Encoding says.", http.MethodPut, "/d/x/f", "plain", "Content-Encoding: gzip")
}

func TestOpenRevsSince(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/d", nil)
	one := n.write(http.MethodPut, "/d/a/old", "old", "Content-Type: image/png")
	n.write(http.MethodPut, "/d/a/new?rev="+one.Rev, "new", "Content-Type: image/png")
	a := n.must(http.MethodGet, `/d/a?open_revs=all&revs=true&atts_since=["`+one.Rev+`"]`, nil, "Accept: multipart/mixed")
	if text := string(a.body); strings.Contains(text, "\r\n\r\nold") || !strings.Contains(text, "\r\n\r\nnew") {
		t.Errorf("%s", text)
	}
	head := n.must(http.MethodHead, "/d/a?open_revs=all", nil)
	if !strings.HasPrefix(head.Header.Get("Content-Type"), "multipart/mixed") {
		t.Error(head.Header)
	}
}

func TestForm(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/d", nil)
	rev := n.write(http.MethodPut, "/d/a", `{"n":1,"_attachments":{"dir/f":{"data":"AAAA"},"g":{"data":"AAAA"}}}`).Rev
	form := func(fields map[string]string, files ...string) (string, string) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for name, value := range fields {
			if err := w.WriteField(name, value); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range files {
			part, err := w.CreateFormFile("_attachments", name)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(part, "content of "+name)
		}
		w.Close()
		return b.String(), "Content-Type: " + w.FormDataContentType()
	}
	referer := "Referer: " + n.url + "/form.html"
	post := func(path, body, kind string) *answer { return n.do(http.MethodPost, path, body, kind, referer) }

	body, kind := form(map[string]string{"_rev": rev}, "dir/f", "h", "h")
	if a := post("/d/a", body, kind); a.StatusCode != http.StatusCreated {
		t.Fatalf("%s %s", a.Status, a.body)
	}
	if a := n.must(http.MethodGet, "/d/a/dir/f", nil); string(a.body) != "content of dir/f" {
		t.Errorf("%q", a.body)
	}
	n.must(http.MethodGet, "/d/a/g", nil)
	body, kind = form(map[string]string{"_doc": `{"m":1}`}, "f")
	if a := post("/d/b", body, kind); a.StatusCode != http.StatusCreated {
		t.Errorf("%s %s", a.Status, a.body)
	}
	n.must(http.MethodGet, "/d/b/f", nil)
	for fields, want := range map[string]int{"_rev=junk": 400, "_rev=9-x": 409, "_doc=[]": 400, "_doc={": 400, "x=y": 400} {
		name, value, _ := strings.Cut(fields, "=")
		body, kind := form(map[string]string{name: value})
		if a := post("/d/a", body, kind); a.StatusCode != want {
			t.Errorf("%s: %s %s", fields, a.Status, a.body)
		}
	}
	body, kind = form(map[string]string{"_rev": rev}, "_f")
	if a := post("/d/a", body, kind); a.StatusCode != http.StatusBadRequest {
		t.Errorf("a name with an underscore: %s %s", a.Status, a.body)
	}
	if a := post("/d/a", body[:len(body)/2], kind); a.StatusCode != http.StatusBadRequest {
		t.Errorf("half a form: %s %s", a.Status, a.body)
	}
	if a := post("/d/a", `{}`, "Content-Type: application/json"); a.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("JSON: %s", a.Status)
	}
}

func TestAttachmentHeaders(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/d", nil)
	n.must(http.MethodPut, "/d/a", `{"_attachments":{"f":{"content_type":"text/x\r\nSet-Cookie: a=b\u0000","data":"AAAA"}}}`)
	a := n.must(http.MethodGet, "/d/a/f", nil)
	if a.Header.Get("Set-Cookie") != "" || a.Header.Get("Content-Security-Policy") != "sandbox" {
		t.Error(a.Header)
	}
	n.must(http.MethodGet, "/d/a?attachments=true", nil)
	n.must(http.MethodPut, "/d/b/f", "0123456789", "Content-Type: image/png")
	head := n.must(http.MethodHead, "/d/b/f", nil, "Range: bytes=2-3,5-6")
	if !strings.HasPrefix(head.Header.Get("Content-Type"), "multipart/byteranges") || head.StatusCode != http.StatusPartialContent {
		t.Error(head.Status, head.Header)
	}
}

func TestIfRange(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("PUT", "/db/d/f", []byte("0123456789"), "Content-Type: application/octet-stream")
	tag := n.must("GET", "/db/d/f", nil).Header.Get("ETag")
	if a := n.must("GET", "/db/d/f", nil, "Range: bytes=2-4", "If-Range: "+tag); a.StatusCode != http.StatusPartialContent || string(a.body) != "234" {
		t.Errorf("the same version: %s %q", a.Status, a.body)
	}
	if a := n.must("GET", "/db/d/f", nil, "Range: bytes=2-4", `If-Range: "older"`); a.StatusCode != http.StatusOK || len(a.body) != 10 {
		t.Errorf("another version: %s %q", a.Status, a.body)
	}
}
