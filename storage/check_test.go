package storage

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage/kv"
)

// problems returns what a check of the store finds.
func problems(t interface {
	Helper()
	Fatalf(string, ...any)
}, s *Store,
) (found []Problem) {
	t.Helper()
	_, err := s.Check(context.Background(), CheckOptions{Contents: true, Report: func(p Problem) { found = append(found, p) }})
	if err != nil {
		t.Fatalf("check: %v", err)
	}
	return found
}

// checkable fills a database with something of everything.
func checkable(t *testing.T) *DB {
	t.Helper()
	db := newTestDB(t)
	ctx := t.Context()
	for _, size := range []int{100, smallContent + 1} {
		a, err := db.StoreAttachment(ctx, bytes.NewReader(bytes.Repeat([]byte("x"), size)), Coding{})
		if err != nil {
			t.Fatal(err)
		}
		a.Name, a.ContentType = "file", "image/png"
		a.Follows = true
		d := &document.Document{ID: fmt.Sprint("attached", size), Body: []byte("{}"), Attachments: []document.Attachment{a}}
		if r, err := db.Apply(ctx, Write{Docs: []*document.Document{d}}); err != nil || r[0].Err != nil {
			t.Fatal(err, r)
		}
	}
	for i := range 60 {
		text := fmt.Sprintf(`{"_id":"doc%d","_rev":"%d-%032x","text":%q}`, i%20, 1+i/40, i, strings.Repeat("long ", (i%3)*2000))
		d, err := document.Decode([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Apply(ctx, Write{Docs: []*document.Document{d}, Mode: Replicate}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.PutLocal(ctx, Local{ID: "_local/x", Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(8, 8))
	u := IndexUpdate{Seq: 3}
	for i := range 80 {
		u.Docs = append(u.Docs, randomDoc(r, fmt.Sprint("doc", i), 900))
	}
	if err := db.Index(testSpec).Commit(ctx, u); err != nil {
		t.Fatal(err)
	}
	return db
}

func TestCheckFindsNothingWrong(t *testing.T) {
	db := checkable(t)
	if found := problems(t, db.store); len(found) > 0 {
		t.Errorf("%v", found)
	}
	checked, err := db.store.Check(t.Context(), CheckOptions{Progress: func(Checked) {}})
	if err != nil || checked.Databases != 1 || checked.Documents != 22 || checked.Attachments != 2 || checked.Indexes != 1 || checked.Rows == 0 {
		t.Errorf("%+v, %v", checked, err)
	}
}

// TestCheckFindsDamage removes or changes one key of each kind, and expects to be told.
func TestCheckFindsDamage(t *testing.T) {
	index := func(db *DB) keyspace {
		entries, err := db.Indexes()
		if err != nil || len(entries) != 1 {
			t.Fatal(entries, err)
		}
		snap := view(t, db)
		defer snap.Close()
		value, err := snap.kv.Get(db.keys.index(entries[0].Signature))
		if err != nil {
			t.Fatal(err)
		}
		id, err := parseIndexEntry(value)
		if err != nil {
			t.Fatal(err)
		}
		return newKeyspace(id)
	}
	own := func(db *DB) keyspace { return db.keys }
	tests := []struct {
		name   string
		keys   func(*DB) keyspace
		space  byte
		change func(value []byte) []byte // nil: the key goes
		what   string
		only   func(value []byte) bool // nil: any key
	}{
		{"a document goes", own, spaceDoc, nil, "sequence", nil},
		{"a document's record is cut", own, spaceDoc, func(v []byte) []byte { return v[:len(v)/2] }, "document", nil},
		{"an entry of the sequence goes", own, spaceSeq, nil, "document", nil},
		{"an entry of the sequence tells of another", own, spaceSeq, func(v []byte) []byte { v[len(v)-1] ^= 1; return v }, "document", nil},
		{"a body goes", own, spaceBody, nil, "document", nil},
		{"a body is cut", own, spaceBody, func(v []byte) []byte { return v[:len(v)/2] }, "document", nil},
		{"an attachment's record goes", own, spaceAttachment, nil, "attachment", nil},
		{"an attachment's content goes", own, spaceContent, nil, "content of attachments", nil},
		{"an attachment's content changes", own, spaceContent, func(v []byte) []byte { v[0] ^= 1; return v }, "content of attachments", nil},
		{"a reference goes", own, spaceReference, nil, "attachment", nil},
		{"a counted range goes", own, spaceRank, nil, "counted range", nil},
		{"a counted range is wrong", own, spaceRank, func(v []byte) []byte { v[0]++; return v }, "counted range", nil},
		{"the counters are wrong", own, spaceMeta, func(v []byte) []byte { v[4]++; return v }, "state", nil},
		{"a row of an index changes", index, spaceNode, func(v []byte) []byte { v[len(v)-1] ^= 1; return v }, "index", isLeaf},
		{"a leaf of an index is cut", index, spaceNode, func(v []byte) []byte { return v[:len(v)-1] }, "index", isLeaf},
		{"a leaf of an index goes", index, spaceNode, nil, "index", isLeaf},
		{"a node of an index goes", index, spaceNode, nil, "index", nil},
		{"an index's header goes", index, spaceState, nil, "index", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			db := checkable(t)
			keys := tt.keys(db)
			err := db.store.engine.Update(t.Context(), func(tx kv.Tx) error {
				it := tx.Iterate(kv.Range{Prefix: keys.space(tt.space, 0)})
				var key, value []byte
				for it.Next() { // the last: the state of a database is behind its epochs
					v, err := it.Value()
					if err != nil {
						return err
					}
					if tt.only == nil || tt.only(v) {
						key, value = bytes.Clone(it.Key()), bytes.Clone(v)
					}
				}
				it.Close()
				if key == nil {
					t.Fatal("there is no such key")
				}
				if tt.change == nil {
					return tx.Delete(key)
				}
				return tx.Set(key, tt.change(value))
			})
			if err != nil {
				t.Fatal(err)
			}
			found := problems(t, db.store)
			for _, p := range found {
				if p.What == tt.what && p.Detail != "" && p.Remedy != "" {
					return
				}
			}
			t.Errorf("no problem with %q among %v", tt.what, found)
		})
	}
}
