package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// contents opens attachments by name.
type contents map[string]string

func (c contents) open(a *Attachment) (io.ReadCloser, error) {
	content, ok := c[a.Name]
	if !ok {
		return nil, errors.New("no such content")
	}
	return io.NopCloser(strings.NewReader(content)), nil
}

// wire shows a message with its boundaries as B1, B2 … and line ends as such.
func wire(message string) string {
	seen := map[string]string{}
	message = regexp.MustCompile(`[0-9a-f]{32}`).ReplaceAllStringFunc(message, func(b string) string {
		if seen[b] == "" {
			seen[b] = fmt.Sprintf("B%d", len(seen)+1)
		}
		return seen[b]
	})
	return strings.ReplaceAll(message, "\r\n", "\n")
}

func TestRelated(t *testing.T) {
	content := contents{"p.png": "hello world", "z": "gzipped", "": "", "q\"\\\r\n\x7f": "1", "grün/blau": "22"}
	tests := []struct {
		name, contentType, want string
		atts                    []Attachment
	}{
		{name: "nothing follows", contentType: "application/json", want: `{"n":1}`, atts: []Attachment{{Name: "p.png", Stub: true, Length: 11}}},
		{
			"as CouchDB answers", `multipart/related; boundary="B1"`,
			"--B1\nContent-Type: application/json\n\n{\"n\":1}\n" +
				"--B1\nContent-Disposition: attachment; filename=\"p.png\"\nContent-Type: image/png\nContent-Length: 11\n\nhello world\n" +
				"--B1\nContent-Disposition: attachment; filename=\"z\"\nContent-Type: text/plain\nContent-Length: 7\nContent-Encoding: gzip\n\ngzipped\n" +
				"--B1--",
			[]Attachment{
				{Name: "stub", Stub: true, Length: 99},
				{Name: "p.png", ContentType: "image/png", Length: 11, EncodedLength: 11, Follows: true},
				{Name: "z", ContentType: "text/plain", Length: 1000, EncodedLength: 7, Encoding: "gzip", Follows: true},
			},
		},
		{
			"names and types that would break out", `multipart/related; boundary="B1"`,
			"--B1\nContent-Type: application/json\n\n{\"n\":1}\n" +
				"--B1\nContent-Disposition: attachment; filename=\"q\\\"\\\\%0D%0A%7F\"\nContent-Type: a/b%0D%0AX: y\nContent-Length: 1\n\n1\n" +
				"--B1\nContent-Disposition: attachment; filename=\"grün/blau\"\nContent-Type: \nContent-Length: 2\n\n22\n" +
				"--B1--",
			[]Attachment{
				{Name: "q\"\\\r\n\x7f", ContentType: "a/b\r\nX: y", Length: 1, Follows: true},
				{Name: "grün/blau", Length: 2, Follows: true},
			},
		},
		{
			"empty content", `multipart/related; boundary="B1"`,
			"--B1\nContent-Type: application/json\n\n{\"n\":1}\n" +
				"--B1\nContent-Disposition: attachment; filename=\"\"\nContent-Type: a/b\nContent-Length: 0\n\n\n" +
				"--B1--",
			[]Attachment{{ContentType: "a/b", Follows: true}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := NewRelated([]byte(`{"n":1}`), tt.atts)
			if got := wire(r.ContentType()); got != tt.contentType {
				t.Errorf("Content-Type: %s", got)
			}
			var b bytes.Buffer
			if err := r.Write(&b, content.open); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, wire(b.String())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if r.Length() != int64(b.Len()) {
				t.Errorf("length %d, wrote %d", r.Length(), b.Len())
			}
		})
	}
}

func TestRelatedWrongLength(t *testing.T) {
	for length, want := range map[int64]error{-1: ErrContentLength, 4: ErrContentLength, 5: nil, 6: ErrContentLength} {
		r := NewRelated([]byte(`{}`), []Attachment{{Name: "a", Length: length, Follows: true}})
		if err := r.Write(io.Discard, contents{"a": "12345"}.open); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("stated %d of 5: %v", length, err)
		}
	}
	r := NewRelated([]byte(`{}`), []Attachment{{Name: "a", Follows: true}})
	if err := r.Write(io.Discard, contents{}.open); err == nil || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("content that cannot be opened: %v", err)
	}
}

func TestMultipartWriter(t *testing.T) {
	var b bytes.Buffer
	w := NewMultipartWriter(&b, "mixed")
	plain := NewRelated([]byte(`{"_id":"a"}`), nil)
	plain.ID, plain.Rev = "a", "1-a"
	nested := NewRelated([]byte(`{"_id":"b\n"}`), []Attachment{{Name: "t.txt", ContentType: "text/plain", Length: 5, Follows: true}})
	nested.ID, nested.Rev = "b\n", "1-b"
	for _, err := range []error{
		w.WriteDocument(plain, nil),
		w.WriteDocument(nested, contents{"t.txt": "hello"}.open),
		w.WriteError([]byte(`{"missing":"3-zz"}`)),
		w.WriteRange("text/plain", 5, 2, 256, strings.NewReader("xyz")),
		w.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := `multipart/mixed; boundary="B1"` + "\n" +
		"--B1\nContent-Type: application/json\n\n{\"_id\":\"a\"}\n" +
		"--B1\nX-Doc-Id: b%0A\nX-Rev-Id: 1-b\nContent-Type: multipart/related; boundary=\"B2\"\n\n" +
		"--B2\nContent-Type: application/json\n\n{\"_id\":\"b\\n\"}\n" +
		"--B2\nContent-Disposition: attachment; filename=\"t.txt\"\nContent-Type: text/plain\nContent-Length: 5\n\nhello\n--B2--\n" +
		"--B1\nContent-Type: application/json; error=\"true\"\n\n{\"missing\":\"3-zz\"}\n" +
		"--B1\nContent-Type: text/plain\nContent-Range: bytes 5-6/256\n\nxy\n" +
		"--B1--"
	if diff := cmp.Diff(want, wire(w.ContentType()+"\n"+b.String())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	m, err := NewMultipartReader(&b, w.ContentType())
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for {
		p, err := m.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, fmt.Sprint(p.IsError(), p.IsMultipart()))
		if !p.IsMultipart() {
			continue
		}
		inner, err := p.Multipart()
		if err != nil {
			t.Fatal(err)
		}
		if json, err := inner.Document(13); err != nil || string(json) != `{"_id":"b\n"}` || inner.MediaType() != "multipart/related" {
			t.Errorf("%s, %s, %v", inner.MediaType(), json, err)
		}
		// The rest of the nested message is left to the outer reader.
	}
	if diff := cmp.Diff([]string{"false false", "false true", "true false", "false false"}, kinds); diff != "" {
		t.Error(diff)
	}
}

func TestMultipartWriterEmpty(t *testing.T) {
	var b bytes.Buffer
	w := NewMultipartWriter(&b, "mixed")
	if err := w.Close(); err != nil || wire(b.String()) != "--B1--" {
		t.Errorf("%q, %v", b.String(), err)
	}
	if err := w.WriteRange("a/b", 0, 3, 5, strings.NewReader("ab")); !errors.Is(err, ErrContentLength) {
		t.Errorf("short range: %v", err)
	}
}

// readRelated reads a document message: its JSON and contents by name.
func readRelated(r io.Reader, contentType string, atts []Attachment) (json string, got contents, err error) {
	m, err := NewMultipartReader(r, contentType)
	if err != nil {
		return "", nil, err
	}
	text, err := m.Document(1 << 20)
	if err != nil {
		return "", nil, err
	}
	got = contents{}
	err = m.ReadAttachments(atts, func(a *Attachment, r io.Reader) error {
		b, err := io.ReadAll(r)
		got[a.Name] = string(b)
		return err
	})
	return string(text), got, err
}

func TestReadAttachments(t *testing.T) {
	abc := []Attachment{
		{Name: "a", Length: 1, Follows: true},
		{Name: "s", Stub: true},
		{Name: "b", Length: 99, EncodedLength: 2, Encoding: "gzip", Follows: true},
		{Name: "c", Length: -1, Follows: true},
	}
	// CouchDB does not quote: `q\"` reads as the name of the other one.
	quotes := []Attachment{{Name: `q\"`, Length: 1, Follows: true}, {Name: `q"`, Length: 1, Follows: true}}
	tests := []struct {
		name string
		atts []Attachment
		// Each part is "name=content", or "content" without a name.
		parts []string
		want  contents
		err   string
	}{
		{"by order", abc, []string{"1", "22", "333"}, contents{"a": "1", "b": "22", "c": "333"}, ""},
		{"by name", abc, []string{"c=333", "a=1", "b=22"}, contents{"a": "1", "b": "22", "c": "333"}, ""},
		{"unknown and stubs' names", abc, []string{"s=1", "x=22", "a=333"}, contents{"a": "1", "b": "22", "c": "333"}, ""},
		{"names as CouchDB writes them", quotes, []string{`q\"=1`, `q"=2`}, contents{`q\"`: "1", `q"`: "2"}, ""},
		{"none", abc[1:2], nil, contents{}, ""},
		{"too few", abc, []string{"1", "22"}, nil, `no part for attachment "c"`},
		{"too many", abc[:1], []string{"1", "2"}, nil, "more parts than the 1 attachments"},
		{"too short", abc, []string{"1", "2", "333"}, nil, `"b" is not 2 bytes long`},
		{"too long", abc, []string{"11", "2", "333"}, nil, `"a" is not 1 bytes long`},
		{"stated empty", []Attachment{{Name: "e", Follows: true}}, []string{"1"}, nil, `"e" is not 0 bytes long`},
		{"shorter than all", abc, []string{""}, nil, `"a" is not 1 bytes long`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			message := "--sep\r\nContent-Type: application/json; charset=utf-8\r\n\r\n{}"
			for _, p := range tt.parts {
				message += "\r\n--sep\r\n"
				if name, content, found := strings.Cut(p, "="); found {
					message += "Content-Disposition: attachment; filename=\"" + name + "\"\r\n"
					p = content
				}
				message += "\r\n" + p
			}
			_, got, err := readRelated(strings.NewReader(message+"\r\n--sep--"), "multipart/related; boundary=sep", tt.atts)
			if tt.err != "" {
				if !errors.Is(err, ErrMultipart) || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want one that says %q", err, tt.err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}

	t.Run("store's error", func(t *testing.T) {
		m, err := NewMultipartReader(strings.NewReader("--s\r\n\r\n1\r\n--s--"), "multipart/related; boundary=s")
		if err != nil {
			t.Fatal(err)
		}
		full := errors.New("disk full")
		if err := m.ReadAttachments(abc, func(*Attachment, io.Reader) error { return full }); err != full {
			t.Error(err)
		}
	})
	t.Run("what store ignores", func(t *testing.T) {
		m, err := NewMultipartReader(strings.NewReader("--s\r\n\r\n12\r\n--s--"), "multipart/related; boundary=s")
		if err != nil {
			t.Fatal(err)
		}
		if err := m.ReadAttachments(abc[:1], func(*Attachment, io.Reader) error { return nil }); !errors.Is(err, ErrMultipart) {
			t.Error(err)
		}
	})
}

func TestReadDocument(t *testing.T) {
	tests := []struct {
		name, message string
		limit         int64
		want          error
	}{
		{"no type", "--s\r\n\r\n{}\r\n--s--", 2, nil},
		{"JSON", "--s\r\nContent-Type: Application/JSON;charset=x\r\n\r\n{}\r\n--s--", 100, nil},
		{"text", "--s\r\nContent-Type: text/plain\r\n\r\n{}\r\n--s--", 100, ErrPartType},
		{"nonsense", "--s\r\nContent-Type: ;\r\n\r\n{}\r\n--s--", 100, ErrPartType},
		{"too large", "--s\r\n\r\n{}\r\n--s--", 1, ErrPartTooLarge},
		{"no parts", "--s--", 1, ErrMultipart},
		{"cut", "--s\r\n\r\n{}", 2, io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := NewMultipartReader(strings.NewReader(tt.message), "multipart/related; boundary=s")
			if err != nil {
				t.Fatal(err)
			}
			got, err := m.Document(tt.limit)
			if !errors.Is(err, tt.want) || tt.want == nil && (err != nil || string(got) != "{}") {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// TestMultipartRoundTrip reads back what was written, and finds the length
// told beforehand.
func TestMultipartRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringN(0, 8, -1), 0, 6, rapid.ID[string]).Draw(t, "names")
		body := rapid.StringOfN(rapid.SampledFrom([]rune("\r\n-ab\x00\x7f")), 0, 200, -1)
		want := contents{}
		atts := make([]Attachment, len(names))
		for i, name := range names {
			content := body.Draw(t, "content")
			a := Attachment{Name: name, ContentType: rapid.String().Draw(t, "type"), Length: int64(len(content))}
			if rapid.Bool().Draw(t, "gzip") {
				a.Encoding, a.EncodedLength, a.Length = "gzip", a.Length, 5000
			}
			if rapid.Bool().Draw(t, "follows") {
				a.Follows = true
				want[name] = content
			}
			atts[i] = a
		}
		json := body.Draw(t, "json")
		r := NewRelated([]byte(json), atts)
		var b bytes.Buffer
		if err := r.Write(&b, want.open); err != nil {
			t.Fatal(err)
		}
		if r.Length() != int64(b.Len()) {
			t.Fatalf("length %d, wrote %d", r.Length(), b.Len())
		}
		if len(want) == 0 {
			if b.String() != json || r.ContentType() != "application/json" {
				t.Fatalf("%s: %q", r.ContentType(), b.String())
			}
			return
		}
		gotJSON, got, err := readRelated(&b, r.ContentType(), atts)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" || gotJSON != json {
			t.Fatalf("%q is %q (-want +got):\n%s", json, gotJSON, diff)
		}
	})
}
