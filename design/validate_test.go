package design

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/script"
	"github.com/mangrove-db/mangrove/storage"
)

func TestValidator(t *testing.T) {
	db := createDB(t, newStore(t), "db")
	c := NewCache(script.New(script.Options{Time: 200 * time.Millisecond}), func() []byte { return []byte(`{"by":"default"}`) })
	v := c.Validator(context.Background(), Subject{Name: "joe", Roles: []string{"r"}})
	if _, err := put(t, db, v, `{"_id":"before","n":1}`); err != nil {
		t.Error(err)
	}
	rev, err := put(t, db, v, `{"_id":"_design/d","validate_doc_update":"function (doc, old, user, sec) { if (doc.show) throw({forbidden: toJSON([doc, old, user, sec])}); if (doc.loop) for (;;); if (doc.fault) return doc.x.y; if (doc.who) throw({unauthorized: 'who?'}); }"}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		text   string
		kind   script.Kind
		reason string // its beginning
	}{
		{`{"_id":"x"}`, 0, ""},
		{`{"_id":"y","show":1}`, script.Forbidden, `[{"_id":"y","show":1},null,{"db":"db","name":"joe","roles":["r"]},{"by":"default"}]`},
		{`{"_id":"y","who":1}`, script.Unauthorized, "who?"},
		{`{"_id":"y","loop":1}`, script.Timeout, ""},
		{`{"_id":"y","fault":1}`, script.Fault, ""},
		{`{"_id":"_design/e","who":1}`, 0, ""},
	} {
		_, err := put(t, db, v, test.text)
		var e *script.Error
		if test.kind == 0 && err != nil || test.kind != 0 && (!errors.As(err, &e) || e.Kind != test.kind || !strings.HasPrefix(e.Reason, test.reason)) {
			t.Errorf("%s: %v", test.text, err)
		}
	}
	// The object of the database itself, once it has one.
	if err := db.SetSecurity(t.Context(), []byte(`{"by":"itself"}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, db, v, `{"_id":"y","show":1}`); err == nil || !strings.Contains(err.Error(), `{"by":"itself"}`) {
		t.Error(err)
	}
	// What cannot be run lets nothing pass, and can be mended.
	for _, broken := range []string{`"validate_doc_update":"nonsense("`, `"language":"erlang","validate_doc_update":"fun"`} {
		if rev, err = put(t, db, v, `{"_id":"_design/d","_rev":"`+rev.String()+`",`+broken+`}`); err != nil {
			t.Fatal(err)
		}
		var e *script.Error
		if _, err := put(t, db, v, `{"_id":"z"}`); !errors.As(err, &e) {
			t.Errorf("%s: %v", broken, err)
		}
	}
	if _, err = put(t, db, v, `{"_id":"_design/d","_rev":"`+rev.String()+`"}`); err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, db, v, `{"_id":"z","who":1}`); err != nil {
		t.Error(err)
	}
}

// TestHistoryShown: functions see the newest part of a stored document's history.
func TestHistoryShown(t *testing.T) {
	db := createDB(t, newStore(t), "db")
	rev, err := put(t, db, nil, `{"_id":"x"}`)
	for range 30 {
		if err != nil {
			t.Fatal(err)
		}
		rev, err = put(t, db, nil, `{"_id":"x","_rev":"`+rev.String()+`"}`)
	}
	c := NewCache(script.New(script.Options{}), nil)
	if _, err := put(t, db, nil, `{"_id":"_design/d","validate_doc_update":"function (doc, old) { throw({forbidden: [doc._rev === old._rev, doc._revisions.ids.length, old._revisions.start, old._revisions.ids.length].join()}); }"}`); err != nil {
		t.Fatal(err)
	}
	var e *script.Error
	if _, err := put(t, db, c.Validator(context.Background(), Subject{}), `{"_id":"x","_rev":"`+rev.String()+`"}`); !errors.As(err, &e) || e.Reason != "true,1,31,20" {
		t.Error(err)
	}
}

// TestManyValidations: many write at once, while the function changes back and forth; each document tells which
// function has seen it last.
func TestManyValidations(t *testing.T) {
	db := createDB(t, newStore(t), "db")
	c := NewCache(script.New(script.Options{}), nil)
	v := c.Validator(context.Background(), Subject{Name: "joe"})
	rule := func(n int) string {
		return fmt.Sprintf(`"validate_doc_update":"function (doc, old) { if (doc.least < %d) throw({forbidden: 'less than %d'}); if (old && old.n + 1 !== doc.n) throw({forbidden: 'not the next'}); }"`, n, n)
	}
	rev, err := put(t, db, v, `{"_id":"_design/d",`+rule(0)+`}`)
	if err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var writing sync.WaitGroup
	var written, refused atomic.Int64
	for w := range 6 {
		writing.Go(func() {
			for i := 0; !stop.Load(); i++ {
				var docs []*document.Document
				for j := range 20 {
					docs = append(docs, &document.Document{ID: fmt.Sprintf("%d-%d-%d", w, i, j), Body: fmt.Appendf(nil, `{"least":%d,"n":1}`, j)})
				}
				results, err := db.Apply(context.Background(), storage.Write{Docs: docs, Validator: v})
				if err != nil {
					t.Error(err)
					return
				}
				for _, r := range results {
					if r.Err == nil {
						written.Add(1)
					} else {
						refused.Add(1)
					}
				}
			}
		})
	}
	for n := 1; n <= 15; n++ {
		if rev, err = put(t, db, v, fmt.Sprintf(`{"_id":"_design/d","_rev":"%s",%s}`, rev, rule(n))); err != nil {
			t.Error(err)
		}
		if _, err := put(t, db, v, fmt.Sprintf(`{"_id":"at-once-%d","least":%d}`, n, n-1)); err == nil {
			t.Errorf("rule %d does not hold at once", n)
		}
	}
	stop.Store(true)
	writing.Wait()
	if written.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d written, %d refused", written.Load(), refused.Load())
	}
}

// BenchmarkNoRules is a write into a database without validation functions, with and without asking for them.
func BenchmarkNoRules(b *testing.B) {
	db := createDB(b, newStore(b), "db")
	c := NewCache(script.New(script.Options{}), nil)
	for name, v := range map[string]storage.Validator{"asked": c.Validator(context.Background(), Subject{}), "not asked": nil} {
		b.Run(name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				docs := make([]*document.Document, 100)
				for i := range docs {
					docs[i] = &document.Document{ID: fmt.Sprintf("%s-%d-%d", name, n, i), Body: []byte(`{"n":1}`)}
				}
				n++
				if _, err := db.Apply(b.Context(), storage.Write{Docs: docs, Validator: v}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkValidate(b *testing.B) {
	db := createDB(b, newStore(b), "db")
	c := NewCache(script.New(script.Options{}), nil)
	if _, err := put(b, db, nil, `{"_id":"_design/d","validate_doc_update":"function (doc, old, user) { if (!doc.type) throw({forbidden: 'type'}); if (old && old.type !== doc.type) throw({forbidden: 'changed'}); }"}`); err != nil {
		b.Fatal(err)
	}
	r, _, err := c.Validator(context.Background(), Subject{Name: "joe"}).Rules(b.Context(), db, 0)
	if err != nil {
		b.Fatal(err)
	}
	d := &document.Document{ID: "x", Body: []byte(`{"type":"t","text":"` + strings.Repeat("x", 500) + `"}`)}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Check(b.Context(), d, d); err != nil {
			b.Fatal(err)
		}
	}
}
