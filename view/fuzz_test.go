package view

import (
	"context"
	"testing"

	"github.com/mangrove-db/mangrove/storage"
)

// FuzzReduce feeds bytes, JSON or not, to the built-in reducers as values and as reductions: they may fail, but nothing
// else.
func FuzzReduce(f *testing.F) {
	for _, s := range [][2]string{
		{`{"a":{"b":[1,2]}}`, `{"a":{"b":[1]},"c":"x"}`},
		{`[1,[2,{"sum":1}]]`, `{"sum":1,"count":1,"min":1,"max":1,"sumsqr":1}`},
		{`123456789012345678901234567890`, `-1e400`},
		{`{"error":"builtin_reduce_error"}`, `"\u00`},
		{"s\x00\x01\x02", "\x01name\x00reason"},
	} {
		f.Add([]byte(s[0]), []byte(s[1]))
	}
	x := newIndexer()
	f.Fuzz(func(t *testing.T, a, b []byte) {
		ctx := context.Background()
		rows := []storage.IndexRow{{Value: appendRow(nil, a, b)}, {Value: appendRow(nil, b, a)}, {Value: a}}
		for _, name := range builtins {
			if name[len(name)-1] == '_' {
				name += "2"
			}
			r := x.newReducer(&Design{}, name)
			if one, err := r.Reduce(ctx, rows); err == nil {
				if all, err := r.Rereduce(ctx, [][]byte{one, one}); err == nil {
					finish(r, all)
				}
			}
			if len(a) > 0 && len(b) > 0 {
				if all, err := r.Rereduce(ctx, [][]byte{a, b}); err == nil {
					finish(r, all)
				}
			}
		}
		for _, group := range []int{GroupExact, 1, 3} {
			groupKey(a, group)
			(&Space{}).groupPrefix(a, 0, group)
			(&Space{Raw: true}).groupPrefix(b, 1, group)
		}
	})
}
