package view

import (
	"bytes"
	"context"
	"iter"
	"slices"

	"github.com/mangrove-db/mangrove/storage"
)

// Reader is a view at one moment. It is used by one goroutine at a time and must be closed.
type Reader struct {
	snap        *storage.Snapshot
	index       *storage.IndexReader // nil: it was never built
	definition  *Definition
	space       *Space
	reducer     storage.IndexReducer // nil: none
	partitioned bool
}

// Close ends the reader, and what came of it.
func (r *Reader) Close() { r.snap.Close() }

// Snapshot returns the documents of the same moment. It is closed with the reader.
func (r *Reader) Snapshot() *storage.Snapshot { return r.snap }

// Seq returns the sequence that the index reflects.
func (r *Reader) Seq() storage.Seq {
	if r.index == nil {
		return 0
	}
	return r.index.State().Seq
}

// Total returns how many rows the view has.
func (r *Reader) Total() (uint64, error) {
	if r.index == nil {
		return 0, nil
	}
	return r.index.Count(r.definition.Space), nil
}

// Rows is an answer of rows.
type Rows struct {
	// Offset is how many rows of the view lie before the first, in the direction of travel.
	Offset uint64
	each   iter.Seq2[*Row, error]
}

// Row is one row. It is valid until the next one.
type Row struct {
	Key, Value []byte // JSON texts
	ID         string // of the document that emitted it
}

// Each yields the rows, while the reader is open. After an error there are none.
func (r *Rows) Each() iter.Seq2[*Row, error] { return r.each }

// Rows looks up the rows of a query; Group does not count. Skipping costs no more than not skipping.
func (r *Reader) Rows(ctx context.Context, q Query) (*Rows, error) {
	ranges, err := r.ranges(&q)
	if err != nil {
		return nil, err
	}
	rows := &Rows{each: func(func(*Row, error) bool) {}}
	if r.index == nil || len(ranges) == 0 {
		return rows, nil
	}
	if rows.Offset, ranges, err = r.skip(ctx, ranges, q.Skip); err != nil {
		return nil, err
	}
	if q.Limit == 0 {
		return rows, nil
	}
	rows.each = func(yield func(*Row, error) bool) {
		var row Row
		left := q.Limit
		for _, rg := range ranges {
			for stored, err := range r.index.Rows(ctx, r.definition.Space, rg) {
				if err != nil {
					yield(nil, err)
					return
				}
				row.Key, row.Value = parseRow(stored.Value)
				row.ID = stored.ID
				if !yield(&row, nil) {
					return
				}
				if left--; left == 0 {
					return
				}
			}
		}
	}
	return rows, nil
}

// skip cuts n rows off ranges, and returns how many rows lie before what is left.
func (r *Reader) skip(ctx context.Context, ranges []storage.IndexRange, n uint64) (uint64, []storage.IndexRange, error) {
	space, total := r.definition.Space, r.index.Count(r.definition.Space)
	var offset uint64
	for i := range ranges {
		rg := ranges[i]
		if n == 0 && i > 0 {
			return offset, ranges[i:], nil
		}
		low, err := r.index.Rank(ctx, space, nonNil(rg.Start))
		if err != nil {
			return 0, nil, err
		}
		high := total
		if n > 0 || rg.Descending {
			if high, err = r.index.Rank(ctx, space, rg.End); err != nil {
				return 0, nil, err
			}
		}
		high = max(low, high)
		take := min(n, high-low)
		if i == 0 {
			if offset = low; rg.Descending {
				offset = total - high
			}
			offset += take
		}
		if n == 0 {
			return offset, ranges, nil
		}
		if n -= take; take == high-low {
			continue
		}
		at := low + take
		if rg.Descending {
			at = high - take
		}
		position, ok, err := r.index.Nth(ctx, space, at)
		if err != nil {
			return 0, nil, err
		}
		rest := slices.Clone(ranges[i:])
		switch {
		case take == 0:
		case rg.Descending && ok:
			rest[0].End = position
		case ok:
			rest[0].Start = position
		}
		return offset, rest, nil
	}
	return offset, nil, nil
}

// nonNil tells storage that the beginning is meant, where nil means the end.
func nonNil(position []byte) []byte {
	if position == nil {
		return []byte{}
	}
	return position
}

// Group is rows that were reduced together.
type Group struct {
	Key   []byte // JSON text; nil if the rows were not grouped by keys
	Value []byte // JSON text
	// Error and Reason are set in Value's place if the function's result is not acceptable, which CouchDB says in the
	// row: "reduce_overflow_error".
	Error, Reason string
}

// Reduce yields the groups of a query, or one group of all rows if q.Group is GroupNone and there are any. A group is
// valid until the next one. Errors are *Error if the values cannot be reduced, or if the view has no reduce function;
// *script.Error if a function ran away; or those of storage. After one there are no groups.
func (r *Reader) Reduce(ctx context.Context, q Query) iter.Seq2[*Group, error] {
	return func(yield func(*Group, error) bool) {
		if r.reducer == nil {
			yield(nil, &Error{Kind: Invalid, Name: "query_parse_error", Reason: "Reduce is invalid for map-only views."})
			return
		}
		ranges, err := r.ranges(&q)
		if err != nil {
			yield(nil, err)
			return
		}
		skip, left := q.Skip, q.Limit
		if r.index == nil || left == 0 {
			return
		}
		for group, err := range r.groups(ctx, &q, ranges) {
			if err != nil {
				yield(nil, err)
				return
			}
			if skip > 0 {
				skip--
				continue
			}
			if !yield(group, nil) {
				return
			}
			if left--; left == 0 {
				return
			}
		}
	}
}

// groups yields all groups of ranges.
func (r *Reader) groups(ctx context.Context, q *Query, ranges []storage.IndexRange) iter.Seq2[*Group, error] {
	if q.Group == GroupNone {
		return r.reduceAll(ctx, ranges)
	}
	size := 0
	if r.partitioned {
		size = len(appendPartition(nil, q.Partition))
	}
	return func(yield func(*Group, error) bool) {
		prefix := func(key []byte) []byte { return r.space.groupPrefix(key, size, q.Group) }
		for _, rg := range ranges {
			for g, err := range r.index.Groups(ctx, r.definition.Space, r.definition.Reducer, rg, prefix) {
				if err != nil {
					yield(nil, err)
					return
				}
				if !r.yieldGroup(yield, groupKey(rowKey(g.First.Value), q.Group), g.Reduction) {
					return
				}
			}
		}
	}
}

// reduceAll reduces all rows of ranges to one group.
func (r *Reader) reduceAll(ctx context.Context, ranges []storage.IndexRange) iter.Seq2[*Group, error] {
	return func(yield func(*Group, error) bool) {
		var parts [][]byte
		for _, rg := range ranges {
			reduction, n, err := r.index.Reduce(ctx, r.definition.Space, r.definition.Reducer, rg)
			if err != nil {
				yield(nil, err)
				return
			}
			if n > 0 {
				parts = append(parts, reduction)
			}
		}
		if len(parts) == 0 {
			return
		}
		all := parts[0]
		if len(parts) > 1 {
			var err error
			if all, err = r.reducer.Rereduce(ctx, parts); err != nil {
				yield(nil, err)
				return
			}
		}
		r.yieldGroup(yield, nil, all)
	}
}

func (r *Reader) yieldGroup(yield func(*Group, error) bool, key, reduction []byte) bool {
	if !isFailure(reduction) {
		return yield(&Group{Key: key, Value: finish(r.reducer, reduction)}, nil)
	}
	failure := parseFailure(reduction)
	if failure.Name == overflow {
		return yield(&Group{Key: key, Error: failure.Name, Reason: failure.Reason}, nil)
	}
	yield(nil, failure)
	return false
}

// ranges returns the ranges of rows that a query asks for.
func (r *Reader) ranges(q *Query) ([]storage.IndexRange, error) {
	switch {
	case r.partitioned && q.Partition == "":
		return nil, invalidQuery("`partition` parameter is mandatory for queries to this view.")
	case !r.partitioned && q.Partition != "":
		return nil, invalidQuery("`partition` parameter is not supported in this view.")
	}
	var prefix []byte
	if r.partitioned {
		prefix = appendPartition(nil, q.Partition)
	}
	if !q.HasKeys {
		if rg := r.oneRange(prefix, q, q.StartKey, q.EndKey); !empty(rg) {
			return []storage.IndexRange{rg}, nil
		}
		return nil, nil
	}
	ranges := make([]storage.IndexRange, 0, len(q.Keys))
	for _, key := range q.Keys {
		if rg := r.oneRange(prefix, q, key, key); !empty(rg) {
			ranges = append(ranges, rg)
		}
	}
	if q.Descending {
		slices.Reverse(ranges)
	}
	return ranges, nil
}

func invalidQuery(reason string) *Error {
	return &Error{Kind: Invalid, Name: "query_parse_error", Reason: reason}
}

func empty(rg storage.IndexRange) bool {
	return rg.Start != nil && rg.End != nil && bytes.Compare(rg.Start, rg.End) >= 0
}

// oneRange returns the range between two keys in the direction of travel.
func (r *Reader) oneRange(prefix []byte, q *Query, first, last []byte) storage.IndexRange {
	rg := storage.IndexRange{Descending: q.Descending}
	if prefix != nil {
		rg.Start, rg.End = storage.IndexStart(prefix), storage.IndexEnd(prefix)
	}
	key := func(text []byte) []byte { return r.space.appendKey(slices.Clip(prefix), text) }
	before := func(k []byte, id string) []byte {
		if id == "" {
			return storage.IndexStart(k)
		}
		return storage.IndexStartID(k, id)
	}
	behind := func(k []byte, id string) []byte {
		if id == "" {
			return storage.IndexEnd(k)
		}
		return storage.IndexEndID(k, id)
	}
	if first != nil {
		if k := key(first); q.Descending {
			rg.End = behind(k, q.StartID)
		} else {
			rg.Start = before(k, q.StartID)
		}
	}
	if last != nil {
		switch k := key(last); {
		case q.Descending && q.ExclusiveEnd:
			rg.Start = behind(k, q.EndID)
		case q.Descending:
			rg.Start = before(k, q.EndID)
		case q.ExclusiveEnd:
			rg.End = before(k, q.EndID)
		default:
			rg.End = behind(k, q.EndID)
		}
	}
	return rg
}
