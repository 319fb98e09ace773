package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// readPart is a part as the tests compare it.
type readPart struct {
	Header textproto.MIMEHeader
	Body   string
}

// readParts reads a message whole. The error is nil at its proper end.
func readParts(r io.Reader, contentType string) (parts []readPart, err error) {
	m, err := NewMultipartReader(r, contentType)
	if err != nil {
		return nil, err
	}
	for {
		p, err := m.NextPart()
		if err == io.EOF {
			return parts, nil
		}
		if err != nil {
			return parts, err
		}
		body, err := io.ReadAll(p)
		if err != nil {
			return parts, err
		}
		parts = append(parts, readPart{p.Header, string(body)})
	}
}

func part(body string, header ...string) readPart {
	p := readPart{Header: textproto.MIMEHeader{}, Body: body}
	for i := 0; i < len(header); i += 2 {
		p.Header.Add(header[i], header[i+1])
	}
	return p
}

func TestMultipartReader(t *testing.T) {
	const sep = "multipart/related; boundary=sep"
	tests := []struct {
		name, contentType, message string
		want                       []readPart
	}{
		{
			"as CouchDB's tests send it", `multipart/related; boundary="sep"`,
			"--sep\r\nContent-Type: application/json\r\n\r\n{}\r\n--sep\r\n\r\nhello world\r\n--sep\r\n\r\n12345\r\n--sep--",
			[]readPart{part("{}", "Content-Type", "application/json"), part("hello world"), part("12345")},
		},
		{
			"preamble and epilogue", sep,
			"Hello --sep\r\n --sep\r\n--separate\r\n\r\n--sep\r\n\r\na\r\n--sep--\r\nbye\r\n--sep\r\n\r\nb",
			[]readPart{part("a")},
		},
		{"long preamble", sep, strings.Repeat("x", 100_000) + "\r\n--sep\r\n\r\na\r\n--sep--", []readPart{part("a")}},
		{"lines end in LF", sep, "p\n--sep\nA: b\n\nx\r\ny\n\n--sep\n\n\n--sep--\n", []readPart{part("x\r\ny\n", "A", "b"), part("")}},
		{"line feeds in a body", sep, "--sep\r\n\r\n\n--sep\n\n--sep--\n\r\n--sep--", []readPart{part("\n--sep\n\n--sep--\n")}},
		{"padding", sep, "--sep \t\r\n\r\na\r\n--sep\t\r\n\r\nb\r\n--sep--  \r\n", []readPart{part("a"), part("b")}},
		{"empty parts", sep, "--sep\r\n\r\n--sep\r\n\r\n\r\n--sep\r\nA: b\r\n\r\n--sep--", []readPart{part(""), part(""), part("", "A", "b")}},
		{"no parts", sep, "--sep--", nil},
		{
			"what looks like delimiters", sep,
			"--sep\r\n\r\n--sepa\r\n--sep-\r\n--sep--x\r\n--sep \r \r\n\r\n--se\r\r\n--sep--",
			[]readPart{part("--sepa\r\n--sep-\r\n--sep--x\r\n--sep \r \r\n\r\n--se\r")},
		},
		{
			"header", sep,
			"--sep\r\ncontent-TYPE : a/b;\r\n\tc=d\r\nX:\r\nx:2: 3 \r\n\r\n\r\n--sep--",
			[]readPart{part("", "Content-Type", "a/b; c=d", "X", "", "X", "2: 3")},
		},
		{
			"no transfer encoding is undone", sep, "--sep\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=3D\r\n--sep--",
			[]readPart{part("a=3D", "Content-Transfer-Encoding", "quoted-printable")},
		},
		{"boundary that begins with dashes", "Multipart/Mixed; boundary=--sep", "\r\n----sep\r\n\r\na\r\n----sep--", []readPart{part("a")}},
		{"boundary that had to be quoted", "multipart/mixed; Boundary=----=_Part_1; a=b", "------=_Part_1\r\n\r\na\r\n------=_Part_1--", []readPart{part("a")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{
				"at once":         strings.NewReader(tt.message),
				"byte by byte":    iotest.OneByteReader(strings.NewReader(tt.message)),
				"data with error": iotest.DataErrReader(strings.NewReader(tt.message)),
			} {
				got, err := readParts(r, tt.contentType)
				if err != nil {
					t.Fatalf("%s: %v", how, err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", how, diff)
				}
			}
		})
	}
}

func TestMultipartReaderErrors(t *testing.T) {
	const sep = "multipart/related; boundary=sep"
	tests := []struct {
		name, contentType, message, want string
		is                               error
	}{
		{"no type", "", "", "no multipart type", ErrMultipart},
		{"another type", "application/json", "", "no multipart type", ErrMultipart},
		{"no boundary", "multipart/related", "", "no boundary", ErrMultipart},
		{"empty boundary", `multipart/related; boundary=""`, "", "no boundary", ErrMultipart},
		{"long boundary", "multipart/related; boundary=" + strings.Repeat("a", 201), "", "201 characters", ErrMultipart},
		{"control in boundary", "multipart/related; boundary=\"a\tb\"", "", "control", ErrMultipart},
		{"space after boundary", `multipart/related; boundary="ab "`, "", "space", ErrMultipart},
		{"empty", sep, "", `no boundary "sep" found`, io.ErrUnexpectedEOF},
		{"another boundary", sep, "--sap\r\n\r\n--sap--", `no boundary "sep" found`, io.ErrUnexpectedEOF},
		{"in the header", sep, "--sep\r\nContent-", "headers of part 1 break off", io.ErrUnexpectedEOF},
		{"after the header", sep, "--sep\r\nA: b\r\n", "headers of part 1 break off", io.ErrUnexpectedEOF},
		{"in the body", sep, "--sep\r\n\r\na\r\n--sep\r\n\r\nb", "part 2 is not followed", io.ErrUnexpectedEOF},
		{"closing delimiter missing", sep, "--sep\r\n\r\na\r\n--sep", "part 1 is not followed", io.ErrUnexpectedEOF},
		{"header without colon", sep, "--sep\r\nhello\r\n\r\n", `bad part header: "hello"`, ErrMultipart},
		{"header without name", sep, "--sep\r\n: b\r\n\r\n", "bad part header", ErrMultipart},
		{"header with a bad name", sep, "--sep\r\na b: c\r\n\r\n", "bad part header", ErrMultipart},
		{"folded first line", sep, "--sep\r\n a: b\r\n\r\n", "continuation", ErrMultipart},
		{"huge header line", sep, "--sep\r\nA: " + strings.Repeat("b", 1<<20), "exceed", ErrMultipart},
		{"huge header", sep, "--sep\r\n" + strings.Repeat("A: b\r\n", 10_000), "exceed", ErrMultipart},
		{"many headers", sep, "--sep\r\n" + strings.Repeat("A: b\r\n", 65) + "\r\n", "more than 64", ErrMultipart},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := readParts(strings.NewReader(tt.message), tt.contentType)
			var fault *Error
			if !errors.As(err, &fault) || fault.Kind != BadRequest || !strings.Contains(fault.Reason, tt.want) {
				t.Errorf("fault %+v", fault)
			}
			if !errors.Is(err, ErrMultipart) || !errors.Is(err, tt.is) || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
		})
	}

	t.Run("the source's error", func(t *testing.T) {
		broken := errors.New("broken")
		r := io.MultiReader(strings.NewReader("--sep\r\n\r\nab"), iotest.ErrReader(broken))
		if _, err := readParts(r, sep); !errors.Is(err, broken) || errors.Is(err, ErrMultipart) {
			t.Error(err)
		}
	})
	t.Run("the source gives nothing", func(t *testing.T) {
		if _, err := readParts(silent{}, sep); !errors.Is(err, io.ErrNoProgress) {
			t.Error(err)
		}
	})
}

type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

// TestMultipartTruncated cuts a message at every byte before the end of its
// closing delimiter.
func TestMultipartTruncated(t *testing.T) {
	for _, nl := range []string{"\r\n", "\n"} {
		message := strings.ReplaceAll("pre\n--sep\nContent-Type: application/json\n\n{}\n--sep\nA: b\n\nhello\n--sep\n\n\n--sep--", "\n", nl)
		for n := range len(message) {
			for how, r := range map[string]io.Reader{
				"at once":      strings.NewReader(message[:n]),
				"byte by byte": iotest.OneByteReader(strings.NewReader(message[:n])),
			} {
				_, err := readParts(r, "multipart/related; boundary=sep")
				if !errors.Is(err, ErrMultipart) || !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s, %q: %v", how, message[:n], err)
				}
			}
		}
	}
}

func TestMultipartPassedPart(t *testing.T) {
	m, err := NewMultipartReader(strings.NewReader("--s\r\n\r\nabc\r\n--s\r\n\r\ndef\r\n--s--"), "multipart/mixed; boundary=s")
	if err != nil {
		t.Fatal(err)
	}
	first, err := m.NextPart()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2)
	if n, err := first.Read(b); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	second, err := m.NextPart()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := first.Read(b); n != 0 || err == nil || err == io.EOF {
		t.Errorf("read of a passed part: %d, %v", n, err)
	}
	if got, err := second.Bytes(3); string(got) != "def" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for range 2 {
		if _, err := m.NextPart(); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
	}
}

func TestMultipartNestedTooDeep(t *testing.T) {
	message := "--a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n" +
		"--c\r\n\r\nx\r\n--c--\r\n--b--\r\n--a--"
	m, err := NewMultipartReader(strings.NewReader(message), "multipart/mixed; boundary=a")
	for err == nil {
		var p *Part
		if p, err = m.NextPart(); err == nil {
			m, err = p.Multipart()
		}
	}
	if !errors.Is(err, ErrMultipart) || !strings.Contains(err.Error(), "deep") {
		t.Error(err)
	}
}

// endless is the body of an attachment of n bytes, made while it is read.
type endless struct{ n int64 }

func (e *endless) Read(b []byte) (int, error) {
	if e.n == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), e.n))
	for i := range b[:n] {
		b[i] = "\r\n--sep"[i%7]
	}
	e.n -= int64(n)
	return n, nil
}

// TestMultipartConstantMemory streams 64 MiB from a writer to a reader.
func TestMultipartConstantMemory(t *testing.T) {
	const size = 64 << 20
	atts := []Attachment{{Name: "a", ContentType: "x/y", Length: size, Follows: true}}
	message := NewRelated([]byte(`{}`), atts)
	pr, pw := io.Pipe()

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	go func() {
		pw.CloseWithError(message.Write(pw, func(a *Attachment) (io.ReadCloser, error) {
			return io.NopCloser(&endless{a.Length}), nil
		}))
	}()
	m, err := NewMultipartReader(pr, message.ContentType())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Document(10); err != nil {
		t.Fatal(err)
	}
	var n int64
	err = m.ReadAttachments(atts, func(_ *Attachment, r io.Reader) (err error) {
		n, err = io.Copy(io.Discard, r)
		return err
	})
	runtime.ReadMemStats(&after)
	if err != nil || n != size {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("%d bytes allocated", used)
	}
}

func FuzzMultipart(f *testing.F) {
	for _, seed := range []string{
		"--sep\r\nContent-Type: application/json\r\n\r\n{}\r\n--sep\r\n\r\nhello world\r\n--sep--",
		"pre\n--sep\nA: b\n c\n\nx\n--sep \n\n\n--sep--\nepi",
		"--sep\r\nContent-Type: multipart/related; boundary=in\r\n\r\n--in\r\n\r\n{}\r\n--in\r\nContent-Disposition: attachment; filename=\"b\"\r\n\r\nx\r\n--in--\r\n--sep--",
		"--sep\r\n\r\n--sep--",
		"--sep\r\n\r\n\r\n--sepx\r\n--sep-",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		const contentType = "multipart/mixed; boundary=sep"
		parts, err := readParts(bytes.NewReader(message), contentType)
		again, err2 := readParts(iotest.OneByteReader(bytes.NewReader(message)), contentType)
		if diff := cmp.Diff(parts, again); diff != "" || fmt.Sprint(err) != fmt.Sprint(err2) {
			t.Fatalf("byte by byte it reads differently: %v, %v\n%s", err, err2, diff)
		}
		readNested(bytes.NewReader(message), contentType)
		if err != nil {
			return
		}
		// What was read reads the same when written as the reader wants it.
		var b bytes.Buffer
		w := NewMultipartWriter(&b, "mixed")
		for _, p := range parts {
			content := strings.NewReader(p.Body)
			if err := w.WriteRange("a/b", 0, content.Size(), content.Size(), content); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		rewritten, err := readParts(&b, w.ContentType())
		if err != nil || len(rewritten) != len(parts) {
			t.Fatalf("%d parts of %d, %v", len(rewritten), len(parts), err)
		}
		for i, p := range rewritten {
			if p.Body != parts[i].Body {
				t.Fatalf("part %d: %q, was %q", i, p.Body, parts[i].Body)
			}
		}
	})
}

// readNested reads a message the way the readers of documents do.
func readNested(r io.Reader, contentType string) {
	m, err := NewMultipartReader(r, contentType)
	if err != nil {
		return
	}
	for {
		p, err := m.NextPart()
		if err != nil {
			return
		}
		_, _, _ = p.IsError(), p.IsMultipart(), p.Filename()
		inner, err := p.Multipart()
		if err != nil {
			continue
		}
		if _, err := inner.Document(1 << 10); err != nil {
			continue
		}
		atts := []Attachment{{Name: "a", Length: -1, Follows: true}, {Name: "b", Length: 1, Follows: true}}
		_ = inner.ReadAttachments(atts, func(_ *Attachment, r io.Reader) error {
			_, err := io.CopyN(io.Discard, r, 1)
			if err == io.EOF {
				return nil
			}
			return err
		})
	}
}

func BenchmarkMultipartReader(b *testing.B) {
	atts := []Attachment{{Name: "a", ContentType: "x/y", Length: 1 << 20, Follows: true}}
	message := NewRelated([]byte(`{}`), atts)
	var text bytes.Buffer
	if err := message.Write(&text, func(a *Attachment) (io.ReadCloser, error) {
		return io.NopCloser(&endless{a.Length}), nil
	}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		m, err := NewMultipartReader(bytes.NewReader(text.Bytes()), message.ContentType())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := m.Document(100); err != nil {
			b.Fatal(err)
		}
		if err := m.ReadAttachments(atts, func(*Attachment, io.Reader) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
