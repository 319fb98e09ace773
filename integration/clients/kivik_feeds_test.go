package clients

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-kivik/kivik/v4"
	"github.com/go-kivik/kivik/v4/couchdb"
)

// file is content and what it is.
type file struct {
	contentType string
	content     []byte
}

func newFiles() map[string]file {
	random := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(random)
	return map[string]file{
		"small.bin":    {"application/octet-stream", []byte{0, 1, 254, 255}},
		"a/b c.png":    {"image/png", random},
		"text.txt":     {"text/plain", []byte(strings.Repeat("compressible text – äöü\n", 20000))},
		"empty":        {"text/plain", nil},
		`"quoted".csv`: {"text/csv", []byte("a,b\n1,2\n")},
	}
}

func newAttachment(name string, f file) *kivik.Attachment {
	return &kivik.Attachment{
		Filename: name, ContentType: f.contentType,
		Content: io.NopCloser(bytes.NewReader(f.content)), Size: int64(len(f.content)),
	}
}

// readFile reads an attachment whole and compares it.
func readFile(t *testing.T, att *kivik.Attachment, want file) {
	t.Helper()
	defer att.Content.Close()
	content := must[[]byte](t)(io.ReadAll(att.Content))
	if !bytes.Equal(content, want.content) || att.ContentType != want.contentType {
		t.Errorf("%s: %d bytes of %s instead of %d bytes of %s", att.Filename, len(content), att.ContentType, len(want.content), want.contentType)
	}
}

// testKivikAttachments writes files in all ways. Some need a client that does
// not compress what it sends: kivik gives a wrong length of multipart bodies then.
func testKivikAttachments(t *testing.T, db *kivik.DB, plain *kivik.Client) {
	ctx, files := t.Context(), newFiles()

	// One by one, each a revision of its own. What comes compressed is stored
	// compressed, and counted so.
	must[string](t)(db.PutAttachment(ctx, "compressed", newAttachment("f", files["text.txt"])))
	readFile(t, must[*kivik.Attachment](t)(db.GetAttachment(ctx, "compressed", "f")), files["text.txt"])
	rev := ""
	for name, f := range files {
		var options []kivik.Option
		if rev != "" {
			options = append(options, kivik.Rev(rev))
		}
		rev = must[string](t)(plain.DB(db.Name()).PutAttachment(ctx, "one by one", newAttachment(name, f), options...))
	}
	// All at once: as multipart/related, which is what the option asks for in
	// this version despite its name, and inline, where kivik leaves out empty data.
	everything := func() map[string]any {
		all := &kivik.Attachments{}
		for name, f := range files {
			all.Set(name, newAttachment(name, f))
		}
		return map[string]any{"title": "Größe", "_attachments": all}
	}
	must[string](t)(plain.DB(db.Name()).Put(ctx, "in parts", everything(), couchdb.OptionNoMultipartPut()))
	readFile(t, must[*kivik.Attachment](t)(db.GetAttachment(ctx, "in parts", "empty")), files["empty"])
	rev = must[string](t)(db.DeleteAttachment(ctx, "one by one", rev, "empty"))
	must[string](t)(db.DeleteAttachment(ctx, "in parts", must[string](t)(db.GetRev(ctx, "in parts")), "empty"))
	delete(files, "empty")
	must[string](t)(db.Put(ctx, "inline", everything()))

	for _, id := range []string{"one by one", "in parts", "inline"} {
		for name, want := range files {
			readFile(t, must[*kivik.Attachment](t)(db.GetAttachment(ctx, id, name)), want)
			meta := must[*kivik.Attachment](t)(db.GetAttachmentMeta(ctx, id, name))
			if meta.ContentType != want.contentType {
				t.Errorf("%s/%s: type %s", id, name, meta.ContentType)
			}
		}
		// Together with the document: stubs, then everything as multipart/related.
		var doc struct {
			Attachments kivik.Attachments `json:"_attachments"`
		}
		succeed(t, db.Get(ctx, id).ScanDoc(&doc))
		equal(t, "names", slices.Sorted(maps.Keys(doc.Attachments)), slices.Sorted(maps.Keys(files)))
		for name, stub := range doc.Attachments {
			if !stub.Stub || stub.Size != int64(len(files[name].content)) {
				t.Errorf("%s/%s: %+v", id, name, stub)
			}
		}
		equal(t, "digest", doc.Attachments["a/b c.png"].Digest, digest(files["a/b c.png"].content))

		whole := db.Get(ctx, id, kivik.Param("attachments", true))
		parts := must[*kivik.AttachmentsIterator](t)(whole.Attachments())
		n := 0
		for {
			att, err := parts.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			succeed(t, err)
			if att.ContentEncoding == "" { // else it is as stored
				readFile(t, att, files[att.Filename])
			}
			_, err = io.Copy(io.Discard, att.Content)
			succeed(t, err)
			n++
		}
		equal(t, "parts", n, len(files))
		succeed(t, whole.Close())
	}

	rev = must[string](t)(db.DeleteAttachment(ctx, "one by one", rev, "small.bin"))
	_, err := db.GetAttachment(ctx, "one by one", "small.bin")
	refused(t, err, http.StatusNotFound, "missing attachment")
	_, err = db.GetAttachment(ctx, "nobody", "small.bin")
	refused(t, err, http.StatusNotFound, "missing")
	_, err = db.PutAttachment(ctx, "one by one", newAttachment("late", files["text.txt"]))
	refused(t, err, http.StatusConflict, "Document update conflict")
	if rev == "" {
		t.Error("no revision of a deletion")
	}
}

func digest(content []byte) string {
	sum := md5.Sum(content)
	return "md5-" + base64.StdEncoding.EncodeToString(sum[:])
}

// testKivikAttachmentRevisions replaces a file and reads it by revision.
func testKivikAttachmentRevisions(t *testing.T, db *kivik.DB) {
	ctx := t.Context()
	one, two := file{"image/png", []byte("one")}, file{"image/gif", []byte("two")}
	first := must[string](t)(db.PutAttachment(ctx, "doc", newAttachment("f", one)))
	second := must[string](t)(db.PutAttachment(ctx, "doc", newAttachment("f", two), kivik.Rev(first)))
	readFile(t, must[*kivik.Attachment](t)(db.GetAttachment(ctx, "doc", "f", kivik.Rev(first))), one)
	readFile(t, must[*kivik.Attachment](t)(db.GetAttachment(ctx, "doc", "f", kivik.Rev(second))), two)

	// A body is edited with stubs in place of files.
	var doc map[string]any
	succeed(t, db.Get(ctx, "doc").ScanDoc(&doc))
	doc["edited"] = true
	must[string](t)(db.Put(ctx, "doc", doc))
	readFile(t, must[*kivik.Attachment](t)(db.GetAttachment(ctx, "doc", "f")), two)
	delete(doc, "_attachments")
	doc["_rev"] = must[string](t)(db.GetRev(ctx, "doc"))
	must[string](t)(db.Put(ctx, "doc", doc))
	_, err := db.GetAttachment(ctx, "doc", "f")
	refused(t, err, http.StatusNotFound, "missing attachment")
}

// feedIDs reads a feed to its end and returns the ids.
func feedIDs(t *testing.T, changes *kivik.Changes) []string {
	t.Helper()
	var ids []string
	for changes.Next() {
		ids = append(ids, changes.ID())
	}
	succeed(t, changes.Err())
	return ids
}

func testKivikChanges(t *testing.T, db *kivik.DB) {
	ctx := t.Context()
	var docs []any
	for i := range 25 {
		docs = append(docs, person{ID: fmt.Sprintf("p%02d", i), Age: i})
	}
	written := must[[]kivik.BulkResult](t)(db.BulkDocs(ctx, docs))
	must[string](t)(db.Delete(ctx, "p00", written[0].Rev))

	feed := db.Changes(ctx, kivik.Param("limit", 10))
	equal(t, "changes", len(feedIDs(t, feed)), 10)
	meta := must[*kivik.ChangesMetadata](t)(feed.Metadata())
	equal(t, "pending", meta.Pending, 15)
	rest := feedIDs(t, db.Changes(ctx, kivik.Param("since", meta.LastSeq)))
	equal(t, "the rest", len(rest), 15)
	equal(t, "the last", rest[14], "p00")

	feed = db.Changes(ctx, kivik.IncludeDocs(), kivik.Param("descending", true), kivik.Param("limit", 2))
	for feed.Next() {
		var p person
		succeed(t, feed.ScanDoc(&p))
		equal(t, "document", p.ID, feed.ID())
		equal(t, "deleted", feed.Deleted(), p.ID == "p00")
		equal(t, "revisions", feed.Changes(), []string{p.Rev})
	}
	succeed(t, feed.Err())
	equal(t, "of some", feedIDs(t, db.Changes(ctx, kivik.Param("filter", "_doc_ids"), kivik.Param("doc_ids", []string{"p07", "p03"}))), []string{"p03", "p07"})
	equal(t, "longpoll with something there", len(feedIDs(t, db.Changes(ctx, kivik.Param("feed", "longpoll")))), 25)
	equal(t, "longpoll until the timeout", len(feedIDs(t, db.Changes(ctx, kivik.Params(map[string]any{"feed": "longpoll", "since": "now", "timeout": 50})))), 0)
	refused(t, db.Changes(ctx, kivik.Param("filter", "nowhere")).Err(), http.StatusBadRequest, "filter")
}

func testKivikLiveChanges(t *testing.T, db *kivik.DB) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	start := must[*kivik.DBStats](t)(db.Stats(ctx)).UpdateSeq

	polled := make(chan []string, 1)
	go func() {
		feed := db.Changes(ctx, kivik.Params(map[string]any{"feed": "longpoll", "since": start}))
		var ids []string
		for feed.Next() {
			ids = append(ids, feed.ID())
		}
		polled <- ids
	}()
	feed := db.Changes(ctx, kivik.IncludeDocs(), kivik.Params(map[string]any{"feed": "continuous", "since": start, "heartbeat": 100}))
	defer feed.Close()
	for i := range 5 {
		id := fmt.Sprint(i)
		rev := must[string](t)(db.Put(ctx, id, person{Age: i}))
		if !feed.Next() {
			t.Fatalf("the feed ended: %v", feed.Err())
		}
		var p person
		succeed(t, feed.ScanDoc(&p))
		equal(t, "what is heard of", p, person{ID: id, Rev: rev, Age: i})
		if i == 0 {
			equal(t, "what the longpoll hears of", <-polled, []string{"0"})
		}
	}
	succeed(t, feed.Close())
}

// testKivikReplicate copies with kivik's own replicator, which reads open
// revisions as multipart.
func testKivikReplicate(t *testing.T, db *kivik.DB) {
	ctx := t.Context()
	target := kivikDatabase(t, db.Client(), db.Name()+"-target")
	for i := range 30 {
		must[string](t)(db.Put(ctx, fmt.Sprintf("p%d", i), person{Age: i}))
	}
	root := must[string](t)(db.Put(ctx, "conflict", person{Name: "root"}))
	must[string](t)(db.Put(ctx, "conflict", person{Rev: root, Name: "a"}))
	must[[]kivik.BulkResult](t)(db.BulkDocs(ctx, []any{map[string]any{
		"_id": "conflict", "_rev": "2-" + strings.Repeat("0", 32), "name": "b",
		"_revisions": map[string]any{"start": 2, "ids": []string{strings.Repeat("0", 32), root[2:]}},
	}}, kivik.Param("new_edits", false)))
	must[string](t)(db.Delete(ctx, "p3", must[string](t)(db.GetRev(ctx, "p3"))))
	files := newFiles()
	delete(files, "empty") // kivik's replicator sends these without data
	for name, f := range files {
		must[string](t)(db.PutAttachment(ctx, "file "+name, newAttachment(name, f)))
	}

	result := must[*kivik.ReplicationResult](t)(kivik.Replicate(ctx, target, db))
	equal(t, "failures", result.DocWriteFailures, 0)
	equal(t, "documents", result.DocsWritten, 32+len(files))
	revisions := func(db *kivik.DB) map[string][]string {
		all := map[string][]string{}
		feed := db.Changes(ctx, kivik.Param("style", "all_docs"))
		for feed.Next() {
			all[feed.ID()] = feed.Changes()
		}
		succeed(t, feed.Err())
		return all
	}
	equal(t, "revisions", revisions(target), revisions(db))
	for name, f := range files {
		readFile(t, must[*kivik.Attachment](t)(target.GetAttachment(ctx, "file "+name, name)), f)
	}
}
