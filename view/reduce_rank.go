package view

import (
	"context"
	"slices"

	"github.com/mangrove-db/mangrove/collate"
	"github.com/mangrove-db/mangrove/storage"
)

// rankReducer is _top_N (sign -1) and _bottom_N (sign 1). Its reductions are the JSON text of an array of at most N
// values, greatest or least first, of which no two are equal.
type rankReducer struct{ n, sign int }

func (r rankReducer) Reduce(_ context.Context, rows []storage.IndexRow) ([]byte, error) {
	k := ranking{rankReducer: r}
	for i := range rows {
		k.add(rowValue(rows[i].Value))
	}
	return k.json(), nil
}

func (r rankReducer) Rereduce(_ context.Context, parts [][]byte) ([]byte, error) {
	k := ranking{rankReducer: r}
	for _, p := range parts {
		elements(p, func(e []byte) bool { k.add(e); return true })
	}
	return k.json(), nil
}

// ranking is the values that are kept, best first.
type ranking struct {
	rankReducer
	best [][]byte
}

func (k *ranking) add(value []byte) {
	better := func(a, b []byte) int { return k.sign * collate.Compare(a, b) }
	if len(k.best) == k.n && better(k.best[k.n-1], value) <= 0 {
		return
	}
	i, found := slices.BinarySearchFunc(k.best, value, better)
	if found {
		return
	}
	if len(k.best) == k.n {
		k.best = k.best[:k.n-1]
	}
	k.best = slices.Insert(k.best, i, value)
}

func (k *ranking) json() []byte {
	b := []byte{'['}
	for i, v := range k.best {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, v...)
	}
	return append(b, ']')
}
