package document

import (
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/revtree"
)

func TestDecode(t *testing.T) {
	hash, err := revtree.ParseHash("967a00dff5e02add41819138abb3284d")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		in   string
		want Document
	}{
		{`{}`, Document{Body: []byte(`{}`)}},
		{`{"_id":"a\/\u00e9"}`, Document{ID: "a/é", Body: []byte(`{}`)}},
		{`{"a":1,"_id":"x","b":2,"_deleted":true}`, Document{ID: "x", Deleted: true, Body: []byte(`{"a":1,"b":2}`)}},
		{`{"_id":"x","_deleted":false}`, Document{ID: "x", Body: []byte(`{}`)}},
		{`{"_id":3,"a":1,"_id":"y"}`, Document{ID: "y", Body: []byte(`{"a":1}`)}},
		{`{"\u005fid":"x"}`, Document{ID: "x", Body: []byte(`{}`)}},
		{`{"_rev":"1-967A00dff5e02add41819138abb3284d"}`, Document{Rev: revtree.ID{Gen: 1, Hash: hash}, Body: []byte(`{}`)}},
		{`{"_id":"_local/x","_rev":"0-9"}`, Document{ID: "_local/x", Rev: revtree.ID{Hash: "9"}, Body: []byte(`{}`)}},
		{
			`{"_rev":"3-c","_revisions":{"start":2,"ids":["b","a"]}}`,
			Document{Rev: revtree.ID{Gen: 2, Hash: "b"}, Revisions: revtree.Path{Start: 2, Hashes: []string{"b", "a"}}, Body: []byte(`{}`)},
		},
		{
			`{"_revisions":{"start":7,"ids":["z"],"start":2,"ids":["b"]},"_rev":"junk"}`,
			Document{Rev: revtree.ID{Gen: 2, Hash: "b"}, Revisions: revtree.Path{Start: 2, Hashes: []string{"b"}}, Body: []byte(`{}`)},
		},
		{`{"_revisions":{"start":0,"ids":[]},"_rev":"1-a"}`, Document{Rev: revtree.ID{Gen: 1, Hash: "a"}, Body: []byte(`{}`)}},
		{
			`{"_id":"_local/x","_revisions":{"start":0,"ids":["1"]}}`,
			Document{ID: "_local/x", Rev: revtree.ID{Hash: "1"}, Revisions: revtree.Path{Hashes: []string{"1"}}, Body: []byte(`{}`)},
		},
		{`{"_revs_info":[],"_conflicts":["1-a"],"_deleted_conflicts":0,"_local_seq":{"a":1,"a":2},"n":1}`, Document{Body: []byte(`{"n":1}`)}},
		{
			`{"_replication_id":"x","_replication_state":1,"_replication_stats":{"a":1,"a":2},"_replication_state_time":0,"_replication_state_reason":null}`,
			Document{Body: []byte(`{"_replication_id":"x","_replication_state":1,"_replication_stats":{"a":2},"_replication_state_time":0,"_replication_state_reason":null}`)},
		},
		{`{"nested":{"_id":1,"_x":2}}`, Document{Body: []byte(`{"nested":{"_id":1,"_x":2}}`)}},
		{`{"a":{"b":1,"b":2},"_id":"x","a":{"c":1,"c":2},"_local_seq":1}`, Document{ID: "x", Body: []byte(`{"a":{"c":2}}`)}},
	} {
		got, err := Decode([]byte(c.in))
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		term, err := bodyTerm(got.Body)
		if err != nil || !slices.Equal(term, got.term) {
			t.Errorf("%s: term %v, want %v, %v", c.in, got.term, term, err)
		}
		got.term = nil
		if !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s: %+v (%s), want %+v", c.in, got, got.Body, c.want)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	const special = "Bad special document member: "
	for in, want := range map[string]Error{
		`[]`:                           {BadRequest, "bad_request", "Document must be a JSON object"},
		`"text"`:                       {BadRequest, "bad_request", "Document must be a JSON object"},
		`1`:                            {BadRequest, "bad_request", "Document must be a JSON object"},
		`null`:                         {BadRequest, "bad_request", "Document must be a JSON object"},
		`{} {}`:                        {BadRequest, "bad_request", "invalid UTF-8 JSON"},
		`{"_foo":1}`:                   {DocValidation, "doc_validation", special + "_foo"},
		`{"ok":1,"_":1}`:               {DocValidation, "doc_validation", special + "_"},
		`{"_\u00e9\"":1}`:              {DocValidation, "doc_validation", special + "_é\""},
		`{"_deleted":"yes"}`:           {DocValidation, "doc_validation", special + "_deleted"},
		`{"_deleted":null}`:            {DocValidation, "doc_validation", special + "_deleted"},
		`{"_attachments":[]}`:          {DocValidation, "doc_validation", special + "_attachments"},
		`{"_revisions":"x"}`:           {DocValidation, "doc_validation", special + "_revisions"},
		`{"_foo":1,"_id":3}`:           {DocValidation, "doc_validation", special + "_foo"},
		`{"_id":3,"_foo":1}`:           {IllegalID, "illegal_docid", "Document id must be a string"},
		`{"_id":""}`:                   {IllegalID, "illegal_docid", "Document id must not be empty"},
		`{"_id":"_x"}`:                 {IllegalID, "illegal_docid", "Only reserved document ids may start with underscore."},
		`{"_rev":"abc"}`:               {BadRequest, "bad_request", "Invalid rev format"},
		`{"_rev":1}`:                   {BadRequest, "bad_request", "Invalid rev format"},
		`{"_rev":null}`:                {BadRequest, "bad_request", "Invalid rev format"},
		`{"_rev":""}`:                  {BadRequest, "bad_request", "Invalid rev format"},
		`{"_revisions":{"ids":["a"]}}`: {DocValidation, "doc_validation", "_revisions.start isn't an integer."},
		`{"_revisions":{"start":"x","ids":["a"]}}`:                              {DocValidation, "doc_validation", "_revisions.start isn't an integer."},
		`{"_revisions":{"start":1.0,"ids":["a"]}}`:                              {DocValidation, "doc_validation", "_revisions.start isn't an integer."},
		`{"_revisions":{"start":1,"ids":"a"}}`:                                  {DocValidation, "doc_validation", "_revisions.ids isn't a array."},
		`{"_revisions":{"start":1}}`:                                            {DocValidation, "doc_validation", "_revisions.ids isn't a array."},
		`{"_revisions":{"start":1,"ids":[3]}}`:                                  {DocValidation, "doc_validation", "RevId isn't a string"},
		`{"_revisions":{"start":1,"ids":["zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"]}}`: {DocValidation, "doc_validation", "RevId isn't a valid hexadecimal"},
		`{"_revisions":{"start":1,"ids":["b","a"]}}`:                            {BadRequest, "bad_request", "Invalid rev format"},
		`{"_attachments":{"a":{"data":"not base64!"}}}`:                         {BadRequest, "bad_request", "Invalid attachment data for a"},
		`{"_attachments":{"a":{"data":"aGVsbG8"}}}`:                             {BadRequest, "bad_request", "Invalid attachment data for a"},
		`{"_attachments":{"a":{"data":3}}}`:                                     {BadRequest, "bad_request", "Invalid attachment data for a"},
		`{"_attachments":{"a":{"content_type":"x/y"}}}`:                         {BadRequest, "bad_request", "Invalid attachment data for a"},
		`{"_attachments":{"a":{"content_type":1,"data":""}}}`:                   {BadRequest, "bad_request", "Invalid attachment data for a"},
		`{"_attachments":{"a":{"stub":false}}}`:                                 {BadRequest, "bad_request", "Invalid attachment data for a"},
		`{"_attachments":{"a":{"follows":true,"encoding":"zip"}}}`:              {BadRequest, "bad_request", "Invalid attachment data for a"},
		`{"_attachments":{"a":{}}}`:                                             {BadRequest, "bad_request", "Invalid attachment data for a"},
		`{"_attachments":{"_x":{"data":""}}}`:                                   {BadRequest, "bad_request", "Attachment name '_x' starts with prohibited character '_'"},
	} {
		for name, decode := range map[string]func(string) (*Document, error){
			"Decode":       func(s string) (*Document, error) { return Decode([]byte(s)) },
			"DecodeStream": func(s string) (*Document, error) { return DecodeStream(strings.NewReader(s), Limits{}) },
		} {
			_, err := decode(in)
			var got *Error
			if !errors.As(err, &got) || *got != want {
				t.Errorf("%s of %s: %v, want %v", name, in, err, &want)
			}
		}
	}
}

func TestDecodeAttachments(t *testing.T) {
	d, err := Decode([]byte(`{"_attachments":{
		"a":{"content_type":"text/plain","data":"aGVs\nbG8 gd29y\/w=\u003d","revpos":3,"digest":"md5-XrY7u+Ae7tCTyyK7j1rNww==","length":99,"encoding":"gzip"},
		"b":{"data":""},
		"no":1,
		"s":{"stub":true,"revpos":2,"digest":"md5-XrY7u+Ae7tCTyyK7j1rNww==","length":11,"content_type":"x\/y"},
		"f":{"follows":true,"length":44,"encoding":"gzip","encoded_length":40},
		"g":{"follows":true,"digest":"sha1-x"},
		"a":{"data":"aGVs\nbG8 gd29y\/w=\u003d","revpos":3}}}`))
	if err != nil {
		t.Fatal(err)
	}
	var data []string
	for i := range d.Attachments {
		a := &d.Attachments[i]
		if a.Data == nil {
			data = append(data, "-")
			continue
		}
		b, err := io.ReadAll(io.NewSectionReader(a.Data, 0, a.Data.Size()))
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, string(b))
		a.Data = nil
	}
	if want := []string{"", "-", "-", "-", "hello wor\xff"}; !slices.Equal(data, want) {
		t.Errorf("data %q, want %q", data, want)
	}
	sum := decodeDigest([]byte(`"md5-XrY7u+Ae7tCTyyK7j1rNww=="`))
	want := []Attachment{
		{Name: "b", ContentType: DefaultContentType},
		{Name: "s", ContentType: "x/y", RevPos: 2, Digest: sum, Length: 11, EncodedLength: 11, Stub: true},
		{Name: "f", ContentType: DefaultContentType, Length: 44, EncodedLength: 40, Encoding: "gzip", Follows: true},
		{Name: "g", ContentType: DefaultContentType, Length: -1, EncodedLength: -1, Follows: true},
		{Name: "a", ContentType: DefaultContentType, RevPos: 3, Length: 10, EncodedLength: 10},
	}
	if !reflect.DeepEqual(d.Attachments, want) {
		t.Errorf("%+v\nwant %+v", d.Attachments, want)
	}
}

func TestNextRevNeedsDigests(t *testing.T) {
	d, err := Decode([]byte(`{"_attachments":{"a":{"data":""}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if rev, err := d.NextRev(); err == nil {
		t.Errorf("revision %s without a digest", rev)
	}
}

func TestIDs(t *testing.T) {
	long := strings.Repeat("x", MaxIDLength)
	for _, c := range []struct{ id, want, partitioned string }{
		{"a", "", "Doc id must be of form partition:id"},
		{"p1:a", "", ""},
		{"p1:a:b", "", ""},
		{":a", "", "Partition must not be empty"},
		{"p1:", "", "Document id must not be empty"},
		{"p1:_x", "", "Only reserved document ids may start with underscore."},
		{"", "Document id must not be empty", "Document id must not be empty"},
		{"_x", "Only reserved document ids may start with underscore.", "Only reserved document ids may start with underscore."},
		{"_p:a", "Only reserved document ids may start with underscore.", "Only reserved document ids may start with underscore."},
		{"_designx/y", "Only reserved document ids may start with underscore.", "Only reserved document ids may start with underscore."},
		{"_design", "Only reserved document ids may start with underscore.", "Only reserved document ids may start with underscore."},
		{"_design/", "Illegal document id `_design/`", "Illegal document id `_design/`"},
		{"_local/", "Illegal document id `_local/`", "Illegal document id `_local/`"},
		{"_design/x", "", ""},
		{"_local/x", "", ""},
		{"bad\xff", "Document id must be valid UTF-8", "Document id must be valid UTF-8"},
		{long, "", "Doc id must be of form partition:id"},
		{long + "x", "Document id is too long", "Document id is too long"},
	} {
		if got := reason(ValidateID(c.id)); got != c.want {
			t.Errorf("%.20q: %q, want %q", c.id, got, c.want)
		}
		if got := reason(ValidatePartitionedID(c.id)); got != c.partitioned {
			t.Errorf("%.20q in a partitioned database: %q, want %q", c.id, got, c.partitioned)
		}
	}
	for id, want := range map[string]string{"p:a": "p", "p:a:b": "p", ":a": "", "a": "-", "_design/a:b": "-", "_local/a:b": "-"} {
		got, ok := Partition(id)
		if !ok {
			got += "-"
		}
		if got != want {
			t.Errorf("partition of %s is %q, want %q", id, got, want)
		}
	}
	for name, want := range map[string]string{
		"p": "", "": "Partition must not be empty", "_p": "Partition must not start with an underscore", "\xff": "Partition must be valid UTF-8",
		"p:q": "Partition must not contain a colon",
	} {
		if got := reason(ValidatePartition(name)); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"a/b": "", "": "", "_x": "Attachment name '_x' starts with prohibited character '_'", "\xff": "Attachment name is not UTF-8 encoded",
	} {
		if got := reason(ValidateAttachmentName(name)); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func reason(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}
