package document

import (
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/revtree"
)

func TestWriteJSON(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte("some text"))
	z.Close()
	stored := map[string]string{"p": "hello", "t \"é": packed.String()}
	plain := Attachment{Name: "p", ContentType: "image/png", RevPos: 1, Digest: md5.Sum([]byte("hello")), Length: 5, EncodedLength: 5}
	text := Attachment{
		Name: "t \"é", ContentType: "text/plain", RevPos: 2, Digest: md5.Sum([]byte("x")), Length: 9, EncodedLength: 33, Encoding: "gzip",
	}
	rev := func(s string) revtree.ID {
		id, err := revtree.ParseID(s)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	form := func(f Form) func(*Attachment) Form { return func(*Attachment) Form { return f } }
	for _, c := range []struct {
		name string
		d    Document
		m    Members
		want string
	}{
		{"least", Document{ID: "a", Body: []byte("{}")}, Members{}, `{"_id":"a"}`},
		{"no body", Document{ID: "a", Rev: rev("1-x")}, Members{}, `{"_id":"a","_rev":"1-x"}`},
		{"local", Document{ID: "_local/a", Rev: rev("0-1"), Body: []byte(`{"n":1}`)}, Members{}, `{"_id":"_local/a","_rev":"0-1","n":1}`},
		{
			"escapes",
			Document{ID: "a\"\n\x01/é\x7f", Rev: rev(`1-"q"`), Body: []byte("{}")},
			Members{},
			"{\"_id\":\"a\\\"\\n\\u0001/é\x7f\",\"_rev\":\"1-\\\"q\\\"\"}",
		},
		{
			"all",
			Document{
				ID: "a", Rev: rev("2-b"), Deleted: true, Body: []byte(`{"n":1}`),
				Revisions: revtree.Path{Start: 2, Hashes: []string{"b", "0123456789abcdef"}}, Attachments: []Attachment{plain, text},
			},
			Members{
				Revisions: true, RevsInfo: []RevInfo{{rev("2-b"), "available"}, {rev("1-a"), "missing"}}, LocalSeq: "3-x",
				Conflicts: []revtree.ID{rev("2-a"), rev("1-z")}, DeletedConflicts: []revtree.ID{rev("3-d")}, EncodingInfo: true,
			},
			`{"_id":"a","_rev":"2-b","n":1,"_deleted":true,"_revisions":{"start":2,"ids":["b","30313233343536373839616263646566"]},` +
				`"_revs_info":[{"rev":"2-b","status":"available"},{"rev":"1-a","status":"missing"}],"_local_seq":"3-x",` +
				`"_conflicts":["2-a","1-z"],"_deleted_conflicts":["3-d"],"_attachments":{` +
				`"p":{"content_type":"image/png","revpos":1,"digest":"md5-XUFAKrxLKna5cZ2REBfFkg==","length":5,"stub":true},` +
				`"t \"é":{"content_type":"text/plain","revpos":2,"digest":"md5-ndTkYSaMgDT1yFZOFVxnpg==","length":9,"stub":true,"encoding":"gzip","encoded_length":33}}}`,
		},
		{
			"follows",
			Document{ID: "a", Attachments: []Attachment{text}},
			Members{Form: form(FormFollows)},
			`{"_id":"a","_attachments":{"t \"é":{"content_type":"text/plain","revpos":2,"digest":"md5-ndTkYSaMgDT1yFZOFVxnpg==","length":9,"follows":true}}}`,
		},
		{
			"inline",
			Document{ID: "a", Attachments: []Attachment{plain, text}},
			Members{Form: form(FormInline), EncodingInfo: true},
			`{"_id":"a","_attachments":{` +
				`"p":{"content_type":"image/png","revpos":1,"digest":"md5-XUFAKrxLKna5cZ2REBfFkg==","data":"aGVsbG8="},` +
				`"t \"é":{"content_type":"text/plain","revpos":2,"digest":"md5-ndTkYSaMgDT1yFZOFVxnpg==","data":"c29tZSB0ZXh0","encoding":"gzip","encoded_length":33}}}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.m.Open = func(a *Attachment) (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader(stored[a.Name])), nil
			}
			var w bytes.Buffer
			if err := WriteJSON(&w, &c.d, c.m); err != nil || w.String() != c.want {
				t.Errorf("%s, %v\nwant %s", w.String(), err, c.want)
			}
			if c.name == "inline" {
				c.m.Form = nil
				w.Reset()
				if err := WriteJSON(&w, &c.d, c.m); err != nil {
					t.Fatal(err)
				}
				c.m.Form, c.want = form(FormInline), w.String() // as stubs
			}
			if got := AppendJSON([]byte("x"), &c.d, c.m); string(got) != "x"+c.want {
				t.Errorf("%s\nwant x%s", got, c.want)
			}
		})
	}
}

func TestWriteJSONFailures(t *testing.T) {
	broken := errors.New("broken")
	d := &Document{ID: "a", Attachments: []Attachment{{Name: "p", Encoding: "gzip"}}}
	inline := func(*Attachment) Form { return FormInline }
	for name, open := range map[string]func(*Attachment) (io.ReadCloser, error){
		"open": func(*Attachment) (io.ReadCloser, error) { return nil, broken },
		"unpack": func(*Attachment) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("no gzip at all")), nil
		},
	} {
		if err := WriteJSON(io.Discard, d, Members{Form: inline, Open: open}); err == nil || name == "open" && !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAppendJSONDoesNotAllocate(t *testing.T) {
	d, err := Decode([]byte(`{"_id":"a","_rev":"1-967a00dff5e02add41819138abb3284d","n":[1,2,3],"_attachments":{"f":{"stub":true,"length":1}}}`))
	if err != nil {
		t.Fatal(err)
	}
	d.Revisions = revtree.Path{Start: 1, Hashes: []string{d.Rev.Hash}}
	b := make([]byte, 0, 1024)
	m := Members{Revisions: true, Conflicts: []revtree.ID{d.Rev}}
	if n := testing.AllocsPerRun(100, func() { b = AppendJSON(b[:0], d, m) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAppendString(t *testing.T) {
	if got := string(AppendString(nil, "a\xffb\xc3")); got != "\"a\ufffdb\ufffd\"" {
		t.Errorf("%q", got)
	}
}
