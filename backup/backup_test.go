package backup

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/internal/spool"
	"github.com/mangrove-db/mangrove/storage"
)

// newDatabase returns a database with documents of all kinds.
func newDatabase(t *testing.T) *storage.DB {
	t.Helper()
	store, err := storage.Open(storage.Options{Path: t.TempDir(), Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	db, err := store.CreateDB(t.Context(), "garden", storage.DBOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.SetRevsLimit(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	if err := db.SetSecurity(t.Context(), []byte(`{"admins":{"names":["ann"],"roles":[]}}`)); err != nil {
		t.Fatal(err)
	}
	const hash = "0123456789abcdef0123456789abcde"
	put(t, db, storage.Replicate,
		`{"_id":"a","_rev":"1-`+hash+`1","x":"a \"quoted\" { [ \\ text"}`,
		`{"_id":"a","_rev":"2-`+hash+`2","_revisions":{"start":2,"ids":["`+hash+`2","`+hash+`1"]},"x":1}`,
		`{"_id":"a","_rev":"2-`+hash+`3","_revisions":{"start":2,"ids":["`+hash+`3","`+hash+`1"]},"_deleted":true}`,
		`{"_id":"gone","_rev":"1-`+hash+`4","_deleted":true,"why":"old"}`,
		`{"_id":"_design/d","_rev":"1-`+hash+`5","views":{}}`,
		`{"_id":"zoo","_rev":"1-`+hash+`6","_attachments":{"f":{"content_type":"text/plain","data":"`+base64.StdEncoding.EncodeToString([]byte(strings.Repeat("text ", 50_000)))+`"}}}`,
		`{"_id":"é\u2028","_rev":"1-`+hash+`7"}`,
	)
	var many []string
	for i := range 1200 {
		many = append(many, fmt.Sprintf(`{"_id":"many-%04d","n":%d}`, i, i))
	}
	put(t, db, storage.Edit, many...)
	for id, body := range map[string]string{"_local/salt": `{"salt":"abc"}`, "_local/checkpoint": `{"session_id":"x","history":[]}`} {
		if _, err := db.PutLocal(t.Context(), storage.Local{ID: id, Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// put writes documents.
func put(t *testing.T, db *storage.DB, mode storage.Mode, texts ...string) {
	t.Helper()
	docs := make([]*document.Document, len(texts))
	for i, text := range texts {
		d, err := document.Decode([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for j := range d.Attachments {
			a := &d.Attachments[j]
			stored, err := db.StoreAttachment(t.Context(), io.NewSectionReader(a.Data, 0, a.Data.Size()), storage.Coding{Gzip: 6})
			if err != nil {
				t.Fatal(err)
			}
			stored.Name, stored.ContentType, stored.RevPos = a.Name, a.ContentType, d.Rev.Gen
			*a = stored
		}
		docs[i] = d
	}
	results, err := db.Apply(t.Context(), storage.Write{Docs: docs, Mode: mode})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			t.Fatalf("%s: %v", r.ID, r.Err)
		}
	}
}

// fullBackup is the backup of such a database.
func fullBackup(t *testing.T) []byte {
	t.Helper()
	snap, err := newDatabase(t).Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	var b bytes.Buffer
	if err := Write(t.Context(), &b, snap, WriteOptions{Version: "test"}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// revision is a document of a backup, and what it says of itself.
type revision struct {
	ID          string `json:"_id"`
	Rev         string `json:"_rev"`
	Deleted     bool   `json:"_deleted"`
	Revisions   struct{ IDs []string }
	Attachments map[string]struct{ Data []byte } `json:"_attachments"`
	X           any                              `json:"x"`
	Salt        string                           `json:"salt"`
}

// readAll reads a backup to its end.
func readAll(source Source) (list []revision, r *Reader, err error) {
	r = NewReader(source)
	for {
		d, err := r.Next()
		if err == io.EOF {
			return list, r, nil
		}
		if err != nil {
			return list, r, err
		}
		text, err := io.ReadAll(d.Open())
		if err == nil {
			err = d.Close()
		}
		var rev revision
		if err == nil {
			err = json.Unmarshal(text, &rev)
		}
		if err == nil && (rev.ID != d.ID || rev.Rev != d.Rev || int64(len(text)) != d.Size) {
			err = fmt.Errorf("%s %s of %d bytes was read as %s %s of %d bytes", rev.ID, rev.Rev, len(text), d.ID, d.Rev, d.Size)
		}
		if err != nil {
			return list, r, err
		}
		list = append(list, rev)
	}
}

func TestBackup(t *testing.T) {
	text := fullBackup(t)
	list, r, err := readAll(Source{R: bytes.NewReader(text)})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, d := range list {
		if !strings.HasPrefix(d.ID, "many-") {
			ids = append(ids, d.ID+" "+d.Rev[:1])
		}
	}
	// Design documents come after the others, local ones last; a checkpoint is not there.
	if want := []string{"a 2", "a 2", "gone 1", "zoo 1", "é\u2028 1", "_design/d 1", "_local/salt 0"}; !slices.Equal(ids, want) {
		t.Errorf("%q, want %q", ids, want)
	}
	if list[0].Deleted || list[0].X != 1.0 || !list[1].Deleted {
		t.Errorf("the leaves of a document are %+v", list[:2])
	}
	for _, d := range list {
		if d.ID == "zoo" && len(d.Attachments["f"].Data) != 250_000 {
			t.Errorf("an attachment has %d bytes", len(d.Attachments["f"].Data))
		}
	}
	o := r.Origin()
	if o == nil || o.Database != "garden" || o.Documents != 1204 || o.Deleted != 1 || o.RevsLimit != 7 || !o.Snapshot || !strings.Contains(string(o.Security), "ann") {
		t.Errorf("origin %+v", o)
	}
	if want := (Counts{Documents: 1205, Revisions: 1206, Local: 1}); r.Counts() != want || r.Ending().Counts != want || r.Ending().UpdateSeq != o.UpdateSeq {
		t.Errorf("counts %+v, ending %+v", r.Counts(), r.Ending())
	}
	for i, line := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
		if !json.Valid(line) {
			t.Errorf("line %d is not JSON", i+1)
		}
		if n := bytes.Count(line, []byte(`"_id"`)); n > lineDocuments {
			t.Errorf("line %d has %d documents", i+1, n)
		}
	}
}

func TestBackupIsGivenUp(t *testing.T) {
	snap, err := newDatabase(t).Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Write(ctx, io.Discard, snap, WriteOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestCutBackup cuts a backup at many places.
func TestCutBackup(t *testing.T) {
	text := fullBackup(t)
	for n := len(text) - 1; n >= 0; n -= 1 + rand.IntN(2000) {
		if n == len(text)-1 {
			continue // that the last line has no end is no harm
		}
		_, err := Verify(bytes.NewReader(text[:n]), nil)
		if !errors.Is(err, ErrCut) && !errors.Is(err, ErrFormat) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(text), err)
		}
	}
}

// TestChangedBackup changes single bits of a backup.
func TestChangedBackup(t *testing.T) {
	text := fullBackup(t)
	for range 300 {
		changed := bytes.Clone(text)
		at := rand.IntN(len(text))
		if rand.IntN(3) == 0 { // of the first line, or the last
			at = rand.IntN(300)
			if rand.IntN(2) == 0 {
				at = len(text) - 2 - rand.IntN(200)
			}
		}
		changed[at] ^= 1 << rand.IntN(7)
		if _, err := Verify(bytes.NewReader(changed), nil); err == nil {
			t.Fatalf("byte %d of %d changed to %q: nothing was noticed", at, len(text), changed[at])
		}
	}
}

// TestLargeDocuments reads documents that are not held in memory.
func TestLargeDocuments(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter(&b, "test", Origin{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		text := fmt.Sprintf(`{"_id":"%d","_rev":"1-a","x":"%s"}`, i, strings.Repeat(`\"é`, 600_000))
		if err := w.Text(fmt.Sprint(i), strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close("0", 0); err != nil {
		t.Fatal(err)
	}
	for _, at := range []io.ReaderAt{nil, bytes.NewReader(b.Bytes())} {
		list, _, err := readAll(Source{R: bytes.NewReader(b.Bytes()), At: at})
		if err != nil || len(list) != 3 {
			t.Fatalf("%d documents, %v", len(list), err)
		}
		for _, d := range list {
			if d.X != strings.Repeat(`"é`, 600_000) {
				t.Errorf("document %s is another", d.ID)
			}
		}
	}
}

// TestForeignBackup reads files of couchbackup, with marks where it was interrupted.
func TestForeignBackup(t *testing.T) {
	const (
		head   = `{"name":"@cloudant/couchbackup","version":"2.11.0","mode":"full"}` + "\n"
		marker = `{"marker":"@cloudant/couchbackup:resume"}`
		one    = `[{"_id":"a","_rev":"1-a"},{"_id":"b","_rev":"1-b"}]` + "\n"
	)
	tests := []struct {
		name, text string
		ids        string
		ignored    int
		err        error
	}{
		{"plain", head + one, "a b", 0, nil},
		{"without a line end", head + strings.TrimSuffix(one, "\n"), "a b", 0, nil},
		{"Windows", strings.ReplaceAll(head+one, "\n", "\r\n"), "a b", 0, nil},
		{"empty lines", head + "\n" + one + "\n", "a b", 0, nil},
		{"nothing in it", head, "", 0, nil},
		{"an empty line of documents", head + "[]\n", "", 0, nil},
		{"resumed", head + one + marker + "\n" + `[{"_id":"c","_rev":"1-c"}]` + "\n", "a b c", 0, nil},
		{"resumed within a document", head + `[{"_id":"a","_rev":"1-a","x":"te` + marker + "\n" + one, "a b", 1, nil},
		{"resumed between documents", head + `[{"_id":"a","_rev":"1-a"},` + marker + "\n" + one, "a a b", 1, nil},
		{"resumed at the start of a line", head + `[` + marker + "\n" + one, "a b", 1, nil},
		{"broken without a mark", head + `[{"_id":"a","_rev":"1-a","x":"te` + "\n" + one, "", 0, ErrChanged},
		{"shallow and broken", strings.Replace(head, "full", "shallow", 1) + `[{"_id":"a","x":"te` + marker + "\n" + one, "", 0, ErrChanged},
		{"before there was a first line", one + `[{"_id":"c","_rev":"1-c"}]` + "\n", "a b c", 0, nil},
		{"resumed then", one + `[{"_id":"c","x` + "\n" + `[{"_id":"c","_rev":"1-c"}]` + "\n", "a b c", 1, nil},
		{"broken and not resumed", one + `[{"_id":"c","x` + "\n", "a b", 1, ErrCut},
		{"nothing but a broken line", `[{"_id":"c","x` + "\n", "", 1, ErrCut},
		{"without revisions", `[{"_id":"a","x":1}]` + "\n", "a", 0, nil},
		{"cut", head + one + `[{"_id":"c"`, "a b", 0, ErrCut},
		{"cut between lines", head + `[{"_id":"a"},`, "a", 0, ErrCut},
		{"a document without an id", head + `[{"x":1}]` + "\n", "", 0, ErrChanged},
		{"no documents", head + `[1,2]` + "\n", "", 0, ErrChanged},
		{"unbalanced", head + `[{"_id":"a","x":[1}]}]` + "\n", "", 0, ErrChanged},
		{"another object", head + one + `{"x":1}` + "\n", "a b", 0, ErrChanged},
		{"empty", "", "", 0, ErrFormat},
		{"a text", "hello\nworld\n", "", 0, ErrFormat},
		{"another JSON file", `{"docs":[]}`, "", 0, ErrFormat},
		{"of the future", `{"name":"mangrove","version":"9","mode":"full","mangrove":{"format":2}}` + "\n", "", 0, ErrFormat},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list, r, err := readAll(Source{R: strings.NewReader(tt.text)})
			if !errors.Is(err, tt.err) || err != nil && tt.err == nil {
				t.Fatalf("%v, want %v", err, tt.err)
			}
			var ids []string
			for _, d := range list {
				ids = append(ids, d.ID)
			}
			if got := strings.Join(ids, " "); got != tt.ids || r.Ignored() != tt.ignored {
				t.Errorf("read %q and ignored %d lines, want %q and %d", got, r.Ignored(), tt.ids, tt.ignored)
			}
		})
	}
}

// TestForeignAttachments reads attachments as couchbackup writes them.
func TestForeignAttachments(t *testing.T) {
	const text = `[{"_attachments":{"contentType":{"contentType":"a","data":""},"b":{"x":{"contentType":1},"contentType":"contentType"}},"contentType":{"c":{"contentType":1}},"_id":"a"}]`
	const want = `{"_attachments":{"contentType":{"content_type":"a","data":""},"b":{"x":{"contentType":1},"content_type":"contentType"}},"contentType":{"c":{"contentType":1}},"_id":"a"}`
	for _, r := range []io.Reader{strings.NewReader(text), trickle{strings.NewReader(text)}} {
		d, err := NewReader(Source{R: r}).Next()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(d.Open()); string(got) != want || err != nil {
			t.Errorf("%s, %v", got, err)
		}
	}
}

// FuzzReader reads anything: it must end, and what it takes for documents must be objects.
func FuzzReader(f *testing.F) {
	f.Add([]byte(`{"name":"a","version":"b","mode":"full"}` + "\n" + `[{"_id":"a","x":[1,{"y":"\\\""}]},{"\u005fid":"b"}]` + "\n"))
	f.Add([]byte(`[{"_id":"a","x":"{\"marker\":\"@cloudant/couchbackup:resume\"}` + "\n[]\n"))
	f.Add([]byte(`{"marker":"@cloudant/couchbackup:resume","mangrove":{"sha256":"","bytes":0}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r := NewReader(Source{R: trickle{bytes.NewReader(text)}})
		for {
			d, err := r.Next()
			if err != nil {
				return
			}
			body, err := io.ReadAll(d.Open())
			if err != nil || len(body) < 2 || body[0] != '{' || body[len(body)-1] != '}' || bytes.IndexByte(body, '\n') >= 0 {
				t.Fatalf("a document is %q, %v", body, err)
			}
			var value struct {
				ID any `json:"_id"`
			}
			if json.Unmarshal(body, &value) == nil {
				if id, ok := value.ID.(string); !ok || id == "" {
					t.Fatalf("%q was taken for a document with the id %q", body, d.ID)
				}
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// trickle reads a few bytes at a time, so that every value is met at the end of what was read.
type trickle struct{ r io.Reader }

func (r trickle) Read(p []byte) (int, error) { return r.r.Read(p[:min(len(p), 3)]) }

func TestReadBulkGet(t *testing.T) {
	answer := `{"results": [` + "\n" + `{"id":"a","docs":[{"ok":{"_id":"a","_rev":"1-a",` + "\n" + `"x":[1]}},{"error":{"id":"a","rev":"2-a","error":"not_found","reason":"missing"}}]},` +
		"\n" + `{"docs":[{"ok":{"_id":"b"}}],"id":"b","more":{}}]}`
	held := newSpool(t)
	list, missing, err := readBulkGet(strings.NewReader(answer), held)
	if err != nil || missing != 1 || len(list) != 2 || list[0].id != "a" || list[1].id != "b" {
		t.Fatalf("%+v, %d missing, %v", list, missing, err)
	}
	text, err := io.ReadAll(io.NewSectionReader(held, list[0].start, list[0].end-list[0].start))
	if err != nil || string(text) != `{"_id":"a","_rev":"1-a","x":[1]}` {
		t.Errorf("%q, %v", text, err)
	}
	for n := range len(answer) - 1 {
		if _, _, err := readBulkGet(strings.NewReader(answer[:n]), newSpool(t)); err == nil {
			t.Fatalf("an answer that was cut to %q is taken", answer[:n])
		}
	}
	refused := `{"results":[{"docs":[{"error":{"id":"a","error":"forbidden","reason":"no"}}]}]}`
	if _, _, err := readBulkGet(strings.NewReader(refused), held); status(err) != 403 {
		t.Error(err)
	}
}

func newSpool(t *testing.T) *spool.Spool {
	s := spool.New(t.TempDir(), 1<<20)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestFileName(t *testing.T) {
	for db, want := range map[string]string{"garden": "garden.jsonl", "a/b": "a%2Fb.jsonl", "a+b(c)$": "a+b%28c%29$.jsonl", "..": "%2E%2E.jsonl"} {
		if got := FileName(db, false); got != want || FileName(db, true) != want+".gz" {
			t.Errorf("%s: %s, want %s", db, got, want)
		}
	}
}
