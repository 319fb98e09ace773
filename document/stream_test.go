package document

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/internal/spool"
)

// readers cut text in several ways.
func readers(text string) map[string]io.Reader {
	return map[string]io.Reader{
		"whole":                   strings.NewReader(text),
		"bytes":                   iotest.OneByteReader(strings.NewReader(text)),
		"data and error together": iotest.DataErrReader(strings.NewReader(text)),
	}
}

func TestStream(t *testing.T) {
	const text = ` { "skipped" : [ {"a":1} , "]" ] , "docs" : [ {"_id":"a"} , {"_id":"b","n":-0} ] , "keys":[1 ,"x",null],
		"empty":[],"none":{}, "o" : { "a" : [1] , "\u0062":"}" }, "new_edits":false, "half":[1,2,3], "halfo":{"a":1,"b":2}, "last":"x" } `
	for name, r := range readers(text) {
		t.Run(name, func(t *testing.T) {
			s := NewStream(r, Limits{})
			defer s.Close()
			var got []string
			for {
				member, err := s.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, member)
				switch member {
				case "skipped", "last":
				case "docs":
					for d, err := range s.Documents() {
						if err != nil {
							t.Fatal(err)
						}
						got = append(got, d.ID+string(d.Body))
					}
				case "keys", "empty":
					for e, err := range s.Elements() {
						if err != nil {
							t.Fatal(err)
						}
						got = append(got, string(e))
					}
				case "o", "none":
					for m, err := range s.Members() {
						if err != nil {
							t.Fatal(err)
						}
						got = append(got, m.Name+"="+string(m.Value))
					}
				case "half":
					for range s.Elements() {
						break
					}
				case "halfo":
					for range s.Members() {
						break
					}
				default:
					typ, err := s.Type()
					if err != nil || typ != Bool {
						t.Errorf("type %d, %v", typ, err)
					}
					v, err := s.Value()
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, string(v))
				}
			}
			want := []string{
				"skipped", "docs", "a{}", `b{"n":0}`, "keys", "1", `"x"`, "null", "empty", "none", "o", "a=[1]", `b="}"`,
				"new_edits", "false", "half", "halfo", "last",
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q\nwant %q", got, want)
			}
			if _, err := s.Next(); err != io.EOF {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

// walk reads a whole stream, and returns its first error.
func walk(s *Stream) error {
	for {
		name, err := s.Next()
		if err != nil {
			return err
		}
		switch name {
		case "docs":
			for d, err := range s.Documents() {
				if err != nil {
					return err
				}
				d.Close()
			}
		case "keys":
			for _, err := range s.Elements() {
				if err != nil {
					return err
				}
			}
		case "o":
			for _, err := range s.Members() {
				if err != nil {
					return err
				}
			}
		case "v":
			if _, err := s.Value(); err != nil {
				return err
			}
		}
	}
}

func TestStreamErrors(t *testing.T) {
	for text, want := range map[string]string{
		``:                                      "invalid UTF-8 JSON",
		`[`:                                     "invalid UTF-8 JSON",
		`junk`:                                  "invalid UTF-8 JSON",
		`[] x`:                                  "invalid UTF-8 JSON",
		`[]`:                                    "Request body must be a JSON object",
		`"x"`:                                   "Request body must be a JSON object",
		`{"docs":"x"}`:                          "`docs` parameter must be an array.",
		`{"docs":{}}`:                           "`docs` parameter must be an array.",
		`{"docs":nope}`:                         "invalid UTF-8 JSON",
		`{"o":[]}`:                              "`o` parameter must be an object.",
		`{"docs":[1]}`:                          "Document must be a JSON object",
		`{"docs":[`:                             "invalid UTF-8 JSON",
		`{"docs":[{}`:                           "invalid UTF-8 JSON",
		`{"docs":[{},]}`:                        "invalid UTF-8 JSON",
		`{"docs":[,{}]}`:                        "invalid UTF-8 JSON",
		`{"docs":[{} {}]}`:                      "invalid UTF-8 JSON",
		`{"docs":[{}}`:                          "invalid UTF-8 JSON",
		`{"docs":[{}]`:                          "invalid UTF-8 JSON",
		`{"docs":[{}]]`:                         "invalid UTF-8 JSON",
		`{"docs":[{}]} {}`:                      "invalid UTF-8 JSON",
		`{"docs":[{}],}`:                        "invalid UTF-8 JSON",
		`{,"docs":[{}]}`:                        "invalid UTF-8 JSON",
		`{"docs" [{}]}`:                         "invalid UTF-8 JSON",
		`{docs:[]}`:                             "invalid UTF-8 JSON",
		`{"a":nope}`:                            "invalid UTF-8 JSON",
		`{"a":[1,{"b":nope}]}`:                  "invalid UTF-8 JSON",
		`{"v":}`:                                "invalid UTF-8 JSON",
		`{"v":1 2}`:                             "invalid UTF-8 JSON",
		`{"v":"\ud800"}`:                        "invalid UTF-8 JSON",
		`{"keys":[1,2,"\ud800"]}`:               "invalid UTF-8 JSON",
		`{"o":{"a":1,"b"}}`:                     "invalid UTF-8 JSON",
		`{"docs":[{"_id":"x"},{"_id":"_bad"}]}`: "Only reserved document ids may start with underscore.",
		"{\"docs\":[{\"_attachments\":{\"a\":{\"data\":\"\x000\"}}}]}": "invalid UTF-8 JSON",
	} {
		for name, r := range readers(text) {
			s := NewStream(r, Limits{})
			err := walk(s)
			if got := reason(err); got != want {
				t.Errorf("%s, %s: %v, want %s", text, name, err, want)
			}
			if _, again := s.Next(); again != err {
				t.Errorf("%s, %s: %v, then %v", text, name, err, again)
			}
			s.Close()
			if _, err := s.Value(); err == nil {
				t.Error("no error after Close")
			}
		}
	}
	broken := errors.New("broken")
	s := NewStream(io.MultiReader(strings.NewReader(`{"docs":[{"_id":"a"},`), iotest.ErrReader(broken)), Limits{})
	defer s.Close()
	if err := walk(s); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
}

func TestStreamRootArray(t *testing.T) {
	for text, want := range map[string]string{"[1,[2],{}]": "1 [2] {} ", " [ ] ": "", "[1,]": "1 invalid UTF-8 JSON", "[1] 2": "1 invalid UTF-8 JSON", "{}": "Request body must be an array."} {
		s := NewStream(strings.NewReader(text), Limits{})
		var got string
		for e, err := range s.Elements() {
			if err != nil {
				got += reason(err)
				break
			}
			got += string(e) + " "
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
		s.Close()
	}
}

// attachmentDoc returns a document with attachments of the given sizes.
func attachmentDoc(sizes ...int) (text string, data [][]byte) {
	var b strings.Builder
	b.WriteString(`{"_id":"a","x":{"data":"kept"},"_attachments":{`)
	random := rand.New(rand.NewSource(1))
	for i, n := range sizes {
		if i > 0 {
			b.WriteByte(',')
		}
		content := make([]byte, n)
		random.Read(content)
		data = append(data, content)
		encoded := base64.StdEncoding.EncodeToString(content)
		if i%2 == 1 { // as some clients send it
			encoded = strings.ReplaceAll(encoded, "/", `\/`)
			encoded = strings.ReplaceAll(encoded, "Z", "Z\\n\\u000a")
		}
		fmt.Fprintf(&b, `"f%d" : { "revpos":1, "data" : "%s", "content_type":"x/\"\\" }`, i, encoded)
	}
	b.WriteString(`},"y":[[["z"]]]}`)
	return b.String(), data
}

func TestLargeAttachments(t *testing.T) {
	text, want := attachmentDoc(0, 10, spoolText, spoolText, 3*spoolText+1, 1<<20+2, 900, 1200, 1200)
	for name, r := range readers(text) {
		t.Run(name, func(t *testing.T) {
			d, err := DecodeStream(r, Limits{SpoolDir: t.TempDir(), SpoolMemory: 1 << 16, Document: 1 << 20, Attachment: 2 << 20})
			if err != nil {
				t.Fatal(err)
			}
			if string(d.Body) != `{"x":{"data":"kept"},"y":[[["z"]]]}` {
				t.Errorf("body %s", d.Body)
			}
			if len(d.Attachments) != len(want) {
				t.Fatalf("%d attachments", len(d.Attachments))
			}
			for i, a := range d.Attachments {
				got, err := io.ReadAll(io.NewSectionReader(a.Data, 0, a.Data.Size()))
				if err != nil || !bytes.Equal(got, want[i]) || a.Length != int64(len(want[i])) || a.ContentType != `x/"\` {
					t.Errorf("attachment %d: %d bytes, %v; want %d", i, len(got), err, len(want[i]))
				}
				if _, spooled := a.Data.(*spool.Spool); spooled != (len(want[i]) > 3*spoolText) && len(want[i]) > spoolText {
					t.Errorf("attachment %d of %d bytes: spooled is %t", i, len(want[i]), spooled)
				}
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if err := d.Close(); err != nil {
				t.Errorf("second Close: %v", err)
			}
		})
	}
}

func TestAttachmentFaults(t *testing.T) {
	long := strings.Repeat("AAAA", spoolText)
	for text, want := range map[string]Error{
		`{"_attachments":{"a":{"data":"` + long + `*"}}}`:                               {BadRequest, "bad_request", "Invalid attachment data for a"},
		`{"_attachments":{"a":{"data":"*` + long + `"}}}`:                               {BadRequest, "bad_request", "Invalid attachment data for a"},
		`{"_attachments":{"a":{"data":"` + long + `A"}}}`:                               {BadRequest, "bad_request", "Invalid attachment data for a"},
		`{"_attachments":{"a":{"data":"` + long + `\u00e9"}}}`:                          {BadRequest, "bad_request", "Invalid attachment data for a"},
		`{"_attachments":{"a":{"data":"` + long + `"},"_b":{"data":""}}}`:               {BadRequest, "bad_request", "Attachment name '_b' starts with prohibited character '_'"},
		`{"_attachments":{"a":{"data":"` + long + `"}}`:                                 {BadRequest, "bad_request", "invalid UTF-8 JSON"},
		`{"_attachments":{"a":{"data":"` + long:                                         {BadRequest, "bad_request", "invalid UTF-8 JSON"},
		`{"_attachments":{"a":{"data":"` + long + `"}}}{}`:                              {BadRequest, "bad_request", "invalid UTF-8 JSON"},
		`{"_attachments":{"a":{"data":"` + long + "\n" + `"}}}`:                         {BadRequest, "bad_request", "invalid UTF-8 JSON"},
		`{"_attachments":{"a":{"data":"` + long + `"},"b":{"data":"` + "\x00" + `0"}}}`: {BadRequest, "bad_request", "invalid UTF-8 JSON"},
		`{"_attachments":[{"a":{"data":"` + long + `"}}]}`:                              {DocValidation, "doc_validation", "Bad special document member: _attachments"},
		`{"_attachments":{"big":{"data":"` + long + long + `"}}}`:                       {TooLarge, "attachment_too_large", "big"},
		`{"_attachments":{"big":{"stub":true,"length":400000}}}`:                        {TooLarge, "attachment_too_large", "big"},
		`{"_id":"x","s":"` + strings.Repeat("x", 1<<20) + `"}`:                          {TooLarge, "document_too_large", "x"},
		`{"_id":"x","s":"` + strings.Repeat("x", 8<<20) + `"}`:                          {TooLarge, "document_too_large", ""},
		`{"_id":"x","_local_seq":"` + strings.Repeat("x", 4<<20) + `"}`:                 {TooLarge, "document_too_large", ""},
	} {
		for name, r := range readers(text) {
			if name == "bytes" && len(text) > 1<<20 {
				continue
			}
			_, err := DecodeStream(r, Limits{Document: 1 << 20, Attachment: 300_000, SpoolDir: t.TempDir()})
			var got *Error
			if !errors.As(err, &got) || *got != want {
				t.Errorf("%.60s…, %s: %v, want %v", text, name, err, &want)
			}
		}
	}
	// Of two members with one name the last counts; the first one's spool is closed.
	d, err := DecodeStream(strings.NewReader(`{"_attachments":{"a":{"data":"`+long+`","data":"aGVsbG8="}}}`), Limits{})
	if err != nil || d.Attachments[0].Length != 5 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestStreamProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var elements, want []string
		for range rapid.IntRange(0, 4).Draw(t, "elements") {
			e := jsonText(t, 3)
			c, err := Canonical([]byte(e))
			if err != nil {
				t.Fatal(err)
			}
			elements, want = append(elements, e), append(want, string(c))
		}
		text := `{"a":` + jsonText(t, 2) + `,"keys":[` + strings.Join(elements, ",") + `],"b":` + jsonText(t, 2) + `}`
		s := NewStream(iotest.HalfReader(strings.NewReader(text)), Limits{})
		defer s.Close()
		var got []string
		for {
			name, err := s.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if name != "keys" {
				continue
			}
			for e, err := range s.Elements() {
				if err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				got = append(got, string(e))
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s: %q, want %q", text, got, want)
		}
	})
}

func TestBase64(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "aGVsbG8=": "hello", " a G\nV\ts\rbG8 = ": "hello", "aGVsbA==": "hell", "aGVsbA= =": "hell", "aGVsbH==": "hell", "+/+/": "\xfb\xff\xbf",
		"a": "-", "aG": "-", "aGV": "-", "aGVsbG8": "-", "aGVsbG8==": "-", "aGVsbA=": "-", "aGVs=": "-", "=": "-", "====": "-", "a===": "-",
		"aG=s": "-", "aGVsbG8=aGVs": "-", "-_-_": "-", "not base64!": "-", "\xff": "-", "aGVs\x00": "-",
	} {
		for _, size := range []int{1, 3, 100} {
			var d base64Decoder
			var got []byte
			var err error
			for rest := []byte(in); len(rest) > 0 && err == nil; {
				n := min(size, len(rest))
				got, err = d.decode(got, rest[:n])
				rest = rest[n:]
			}
			if err == nil {
				err = d.close()
			}
			if err != nil {
				got = []byte("-")
			}
			if string(got) != want {
				t.Errorf("%q by %d: %q, %v; want %q", in, size, got, err, want)
			}
		}
	}
}

func TestBase64Properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOf(rapid.Byte()).Draw(t, "data")
		text := []byte(base64.StdEncoding.EncodeToString(data))
		var d base64Decoder
		var got []byte
		for len(text) > 0 {
			n := rapid.IntRange(1, len(text)).Draw(t, "piece")
			var err error
			if got, err = d.decode(got, text[:n]); err != nil {
				t.Fatal(err)
			}
			text = text[n:]
		}
		if err := d.close(); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%v, %v; want %v", got, err, data)
		}
	})
}

func FuzzStream(f *testing.F) {
	for _, s := range []string{
		`{"docs":[{"_id":"a"},{"_id":"b","_attachments":{"x":{"data":"aGVsbG8="}}}],"new_edits":false}`,
		`{"keys":[1,"a",[null]],"o":{"a":{}},"v":3,"other":[{"a":[]}]}`,
		`{"docs":[],"docs":3}`, `[]`, `{"o":{`, `{"v":"\u00`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		a := NewStream(bytes.NewReader(text), Limits{})
		defer a.Close()
		b := NewStream(&trickle{text}, Limits{})
		defer b.Close()
		wantErr, err := walk(a), walk(b)
		if wantErr.Error() != err.Error() {
			t.Fatalf("whole: %v, by bytes: %v", wantErr, err)
		}
		// What is read to the end is JSON, but for the words of other errors.
		if _, cerr := Canonical(text); err == io.EOF && cerr != nil {
			t.Fatalf("accepted, but %v", cerr)
		}
	})
}
