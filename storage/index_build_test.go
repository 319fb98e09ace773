package storage

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"

	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// randomBuild builds an index in several passes, of which each but the last is cut off.
func randomBuild(t *rapid.T, r *rand.Rand, db *DB, m indexModel, some func() []IndexDoc) {
	ctx := context.Background()
	for pass := r.IntN(3); pass >= 0; pass-- {
		b, err := db.Index(testSpec).Build(ctx)
		if err != nil {
			t.Fatal(err)
		}
		list := some()
		m.take(list)
		for len(list) > 0 {
			n := 1 + r.IntN(len(list))
			p := b.Part(list[:n])
			list = list[n:]
			if err := b.Add(ctx, p, 0, 0); err != nil {
				t.Fatal(err)
			}
			if r.IntN(4) == 0 {
				if err := b.Save(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		if pass > 0 {
			err = b.Save(ctx)
		} else {
			err = b.Finish(ctx, 0, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		if st, err := db.Index(testSpec).State(); err != nil || st.Unfinished != (pass > 0) {
			t.Fatalf("%+v, %v", st, err)
		}
		if err := db.Index(testSpec).Commit(ctx, IndexUpdate{}); pass > 0 != errors.Is(err, ErrConflict) {
			t.Fatalf("a commit beside a build: %v", err)
		}
	}
}

// checkLeftovers looks for nodes of an index that no tree has, and for runs.
func checkLeftovers(t interface {
	Helper()
	Fatalf(string, ...any)
}, db *DB,
) {
	t.Helper()
	s, err := db.Snapshot()
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer s.Close()
	keys, h, err := db.Index(testSpec).lookup(s.kv)
	if err != nil {
		t.Fatalf("%v", err)
	}
	for info := range db.store.engine.Blobs().List(keys.id()) {
		t.Fatalf("run %s was left", info.Name)
	}
	used := 0
	var count func(id uint64, level, reducers int)
	count = func(id uint64, level, reducers int) {
		used++
		if level == 0 {
			return
		}
		value, err := getNode(s.kv, keys, id)
		if err != nil {
			t.Fatalf("%v", err)
		}
		n, err := parseNode(value, level, reducers)
		if err != nil {
			t.Fatalf("%v", err)
		}
		for _, e := range n.entries {
			count(e.child, level-1, reducers)
		}
	}
	for _, tree := range append(slices.Clone(h.spaces), h.notes) {
		if tree.height > 0 {
			count(tree.root, int(tree.height)-1, int(tree.reducers))
		}
	}
	stored := 0
	it := s.kv.Iterate(kv.Range{Prefix: keys.space(spaceNode, 0)})
	defer it.Close()
	for it.Next() {
		stored++
	}
	if stored != used {
		t.Fatalf("%d nodes are stored, %d are in use", stored, used)
	}
}
