package storage

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage/kv"
)

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestStoreAttachment(t *testing.T) {
	db := newTestDB(t)
	large := strings.Repeat("0123456789abcdef", smallContent/8)
	for name, c := range map[string]struct {
		sent   string
		coding Coding
		text   string
	}{
		"empty":           {"", Coding{}, ""},
		"small":           {"text", Coding{}, "text"},
		"at the limit":    {large[:smallContent], Coding{}, large[:smallContent]},
		"above the limit": {large[:smallContent+1], Coding{}, large[:smallContent+1]},
		"packed here":     {large, Coding{Gzip: 8}, large},
		"packed empty":    {"", Coding{Gzip: 8}, ""},
		"sent packed":     {gzipped(t, large), Coding{Gzipped: true}, large},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second time it is there already
				a := attach(t, db, name, c.sent, c.coding)
				put(t, db, &document.Document{ID: name + time.Now().String(), Attachments: []document.Attachment{a}})
				s := view(t, db)
				if text, err := content(s, &a); text != c.text || err != nil {
					t.Errorf("%d bytes, %v, want %d", len(text), err, len(c.text))
				}
				r, err := s.OpenAttachment(&a)
				if err != nil {
					t.Fatal(err)
				}
				stored, err := io.ReadAll(r)
				if err != nil || r.Close() != nil {
					t.Error(err)
				}
				if a.Length != int64(len(c.text)) || a.EncodedLength != int64(len(stored)) || a.Digest != md5.Sum(stored) || r.Size() != a.EncodedLength {
					t.Errorf("%+v for %d bytes", a, len(stored))
				}
			}
		})
	}
}

func TestStoreAttachmentErrors(t *testing.T) {
	db := newTestDB(t)
	packed := gzipped(t, strings.Repeat("text", 1000))
	failed := errors.New("connection lost")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		r    io.Reader
		c    Coding
		want error
	}{
		"no gzip":      {t.Context(), strings.NewReader("plain"), Coding{Gzipped: true}, ErrBadGzip},
		"empty gzip":   {t.Context(), strings.NewReader(""), Coding{Gzipped: true}, ErrBadGzip},
		"cut gzip":     {t.Context(), strings.NewReader(packed[:len(packed)-3]), Coding{Gzipped: true}, ErrBadGzip},
		"garbage":      {t.Context(), strings.NewReader(packed + "garbage"), Coding{Gzipped: true}, ErrBadGzip},
		"lost":         {t.Context(), io.MultiReader(strings.NewReader(strings.Repeat("x", smallContent*2)), iotest.ErrReader(failed)), Coding{}, failed},
		"lost in gzip": {t.Context(), io.MultiReader(strings.NewReader(packed[:20]), iotest.ErrReader(failed)), Coding{Gzipped: true}, failed},
		"given up":     {canceled, strings.NewReader("x"), Coding{}, context.Canceled},
	} {
		if _, err := db.StoreAttachment(c.ctx, c.r, c.c); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if keys, err := db.store.someKeys(kv.Range{Prefix: db.keys.space(spaceAttachment, 0)}); err != nil || len(keys) > 0 {
		t.Errorf("%d attachments are left, %v", len(keys), err)
	}
}

func TestReplicatedStubs(t *testing.T) {
	db := newTestDB(t)
	a := attach(t, db, "x", "content", Coding{})
	a.RevPos = 1
	replicate := func(hashes []string, atts ...document.Attachment) error {
		t.Helper()
		d := &document.Document{ID: "d", Body: []byte("{}"), Revisions: revtree.Path{Start: len(hashes), Hashes: hashes}, Attachments: atts}
		r, err := db.Apply(t.Context(), Write{Docs: []*document.Document{d}, Mode: Replicate})
		if err != nil {
			t.Fatal(err)
		}
		return r[0].Err
	}
	stub := document.Attachment{Name: "x", Stub: true, RevPos: 1}
	var missing *MissingStubError
	if err := replicate([]string{"a"}, stub); !errors.As(err, &missing) || missing.Name != "x" {
		t.Errorf("a stub without an ancestor: %v", err)
	}
	if err := replicate([]string{"a"}, a); err != nil {
		t.Error(err)
	}
	if err := replicate([]string{"c", "b", "a"}, stub); err != nil {
		t.Errorf("the nearest ancestor that is known: %v", err)
	}
	if err := replicate([]string{"c2", "b2", "a2"}, stub); !errors.As(err, &missing) {
		t.Errorf("an ancestor of another branch: %v", err)
	}
	if err := replicate([]string{"d", "c", "b", "a"}, document.Attachment{Name: "x", Stub: true, RevPos: 3}); !errors.As(err, &missing) {
		t.Errorf("a stub of another generation: %v", err)
	}
	s := view(t, db)
	row, err := s.Lookup("d")
	if err != nil {
		t.Fatal(err)
	}
	d, err := row.Document()
	if err != nil || d.Rev.Gen != 3 || len(d.Attachments) != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	if text, err := content(s, &d.Attachments[0]); text != "content" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}

// TestSweep keeps what is staged and what is used, and refuses a document whose content was swept before it came;
// other documents of its batch are written.
func TestSweep(t *testing.T) {
	db := newTestDB(t)
	for name, text := range map[string]string{"small": "content", "large": strings.Repeat("content ", smallContent)} {
		t.Run(name, func(t *testing.T) {
			a := attach(t, db, "x", text, Coding{})
			sweep := func(before time.Time) {
				t.Helper()
				if err := db.sweepAttachments(t.Context(), before); err != nil {
					t.Fatal(err)
				}
			}
			sweep(time.Now().Add(-stagingTime))
			rev := put(t, db, &document.Document{ID: name, Attachments: []document.Attachment{a}})
			sweep(time.Now().Add(time.Hour))
			old := view(t, db)
			if got, err := content(old, &a); got != text || err != nil {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if _, err := db.Purge(t.Context(), []Purge{{ID: name, Revs: []revtree.ID{rev}}}); err != nil {
				t.Fatal(err)
			}
			sweep(time.Now().Add(-stagingTime)) // what was used need not wait
			if _, err := old.OpenAttachment(&a); err != nil && !errors.Is(err, ErrNotFound) {
				t.Errorf("opened by an older snapshot: %v", err)
			}
			docs := []*document.Document{
				{ID: name + "1", Body: []byte("{}")},
				{ID: name + "2", Body: []byte("{}"), Attachments: []document.Attachment{a}},
				{ID: name + "3", Body: []byte("{}")},
			}
			r, err := db.Apply(t.Context(), Write{Docs: docs})
			if err != nil || r[0].Err != nil || r[1].Err == nil || r[2].Err != nil {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}
