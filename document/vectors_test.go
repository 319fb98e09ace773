package document_test

import (
	"bytes"
	"crypto/md5"
	"encoding/json"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/deflate"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
)

// A writer plays the store's part: it knows each document's last revision.
type writer map[string]*document.Document

// put completes an edit as the store does, and returns it as it is read back.
func (w writer) put(t *testing.T, d *document.Document) *document.Document {
	t.Helper()
	parent := w[d.ID]
	if d.Rev.IsZero() && parent != nil {
		d.Rev = parent.Rev // recreated: continues the tombstone
	}
	for i := range d.Attachments {
		a := &d.Attachments[i]
		if a.Stub {
			for _, old := range parent.Attachments {
				if old.Name == a.Name {
					*a = old
				}
			}
			continue
		}
		content, err := io.ReadAll(io.NewSectionReader(a.Data, 0, a.Data.Size()))
		if err != nil {
			t.Fatal(err)
		}
		if compressible(a.ContentType) {
			var packed bytes.Buffer
			z, err := deflate.NewWriter(&packed, 8)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := z.Write(content); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			a.Encoding, content = "gzip", packed.Bytes()
		}
		a.Digest = md5.Sum(content)
		a.EncodedLength = int64(len(content))
		a.RevPos = d.Rev.Gen + 1
	}
	rev, err := d.NextRev()
	if err != nil {
		t.Fatal(err)
	}
	d.Rev = rev
	w[d.ID] = d
	return d
}

func compressible(contentType string) bool {
	return strings.HasPrefix(contentType, "text/") || contentType == "application/json" ||
		contentType == "application/javascript" || contentType == "application/xml"
}

// TestRevisionIDVectors compares revision ids and texts with CouchDB's.
func TestRevisionIDVectors(t *testing.T) {
	raw, err := os.ReadFile("../integration/testdata/conformance/vectors/revids.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Entries []struct{ Kind, Doc, Rev, Stored string }
	}
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors.Entries) < 400 {
		t.Fatalf("%d entries", len(vectors.Entries))
	}
	// Once decoded from bytes, once from a stream, and once with the term made
	// from the canonical body.
	ways := map[string]func(string) (*document.Document, error){
		"Decode": func(s string) (*document.Document, error) { return document.Decode([]byte(s)) },
		"DecodeStream": func(s string) (*document.Document, error) {
			return document.DecodeStream(strings.NewReader(s), document.Limits{})
		},
		"Body": func(s string) (*document.Document, error) {
			d, err := document.Decode([]byte(s))
			if err != nil {
				return nil, err
			}
			return &document.Document{ID: d.ID, Rev: d.Rev, Deleted: d.Deleted, Body: d.Body, Attachments: d.Attachments}, nil
		},
	}
	for name, decode := range ways {
		t.Run(name, func(t *testing.T) {
			w := writer{}
			for _, e := range vectors.Entries {
				if name == "Body" && strings.Contains(e.Doc, "-0.0") {
					continue // its sign is in the term alone
				}
				d, err := decode(e.Doc)
				if err != nil {
					t.Errorf("%s %.80s: %v", e.Kind, e.Doc, err)
					continue
				}
				d = w.put(t, d)
				if got := d.Rev.String(); got != e.Rev {
					t.Errorf("%s %.80s: revision %s, want %s", e.Kind, e.Doc, got, e.Rev)
					d.Rev, _ = revtree.ParseID(e.Rev)
				}
				got := string(document.AppendJSON(nil, d, document.Members{}))
				if !sameStored(t, got, e.Stored) {
					t.Errorf("%s %.80s:\nstored %.2000s\nwant   %.2000s", e.Kind, e.Doc, got, e.Stored)
				}
			}
		})
	}
}

// sameStored compares byte by byte, but for the order of attachments.
func sameStored(t *testing.T, got, want string) bool {
	t.Helper()
	const mark = `,"_attachments":`
	gotHead, gotAtts, _ := strings.Cut(got, mark)
	wantHead, wantAtts, found := strings.Cut(want, mark)
	if gotHead != wantHead || len(gotAtts) != len(wantAtts) {
		return false
	}
	if !found {
		return true
	}
	var a, b map[string]json.RawMessage
	if json.Unmarshal([]byte(strings.TrimSuffix(gotAtts, "}")), &a) != nil || json.Unmarshal([]byte(strings.TrimSuffix(wantAtts, "}")), &b) != nil {
		t.Fatalf("attachments %s, want %s", gotAtts, wantAtts)
	}
	return reflect.DeepEqual(a, b)
}

// TestTranscripts checks the documents of recorded exchanges: a PUT's revision
// and the bytes of the GET after it.
func TestTranscripts(t *testing.T) {
	for _, name := range []string{"numbers", "json-shapes", "unicode-and-escapes", "deep-nesting"} {
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile("../integration/testdata/conformance/documents/" + name + ".json")
			if err != nil {
				t.Fatal(err)
			}
			var transcript struct {
				Steps []struct {
					Request  struct{ Method, Path, Text string }
					Response struct {
						Status int
						Text   string
						JSON   struct{ ID, Rev string }
					}
				}
			}
			if err := json.Unmarshal(raw, &transcript); err != nil {
				t.Fatal(err)
			}
			printed, compared := "", 0
			for _, s := range transcript.Steps {
				switch {
				case s.Request.Method == "PUT" && s.Response.Status == 201:
					d, err := document.Decode([]byte(s.Request.Text))
					if err != nil {
						t.Fatalf("%s: %v", s.Request.Text, err)
					}
					d.ID = s.Response.JSON.ID
					d = writer{}.put(t, d)
					if got := d.Rev.String(); got != s.Response.JSON.Rev {
						t.Errorf("%s: revision %s, want %s", s.Request.Text, got, s.Response.JSON.Rev)
					}
					printed = string(document.AppendJSON(nil, d, document.Members{})) + "\n"
				case s.Response.Text != "":
					compared++
					if printed != s.Response.Text {
						t.Errorf("%s, want %s", printed, s.Response.Text)
					}
				}
			}
			if compared == 0 {
				t.Error("nothing to compare")
			}
		})
	}
}
