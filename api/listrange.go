package api

import (
	"slices"

	"github.com/mangrove-db/mangrove/storage"
)

// documents returns the range of a listing, within prefix. It reports false if the range is empty.
func (l *listing) documents(prefix string) (storage.Range, bool) {
	r := storage.Range{Descending: l.descending, Prefix: prefix, ExclusiveEnd: l.exclusiveEnd}
	if l.start.set {
		switch {
		case !l.start.before:
			r.Start = l.start.id
		case l.descending:
			return r, false
		}
	}
	if l.descending && l.start.set && r.Start == "" {
		return r, false // storage takes the empty id for no bound
	}
	// The start is moved into the prefix here, because skipping counts from it.
	if prefix != "" {
		if behind := behindPrefix(prefix); !l.descending {
			if r.Start >= behind {
				return r, false
			}
			r.Start = max(r.Start, prefix)
		} else if r.Start == "" || r.Start > behind {
			r.Start = behind
		} else if r.Start <= prefix {
			return r, false
		}
	}
	if l.end.set {
		switch {
		case !l.end.before:
			r.End, r.HasEnd = l.end.id, true
		case !l.descending:
			return r, false
		}
	}
	if r.HasEnd && r.Start != "" {
		if !r.Descending && r.End < r.Start || r.Descending && r.End > r.Start {
			return r, false
		}
	}
	return r, true
}

// behindPrefix returns the least text that is greater than all that start with prefix, whose last byte is "/" or ":".
// It is no document's id: ids that start with an underscore are reserved, and those of partitions have a colon.
func behindPrefix(prefix string) string {
	last := len(prefix) - 1
	return prefix[:last] + string(prefix[last]+1)
}

// chosen returns the keys that are left in the listing's order, skip and limit.
func (l *listing) chosen() []listKey {
	keys := l.keys
	if l.descending {
		keys = slices.Clone(keys)
		slices.Reverse(keys)
	}
	keys = keys[min(l.skip, uint64(len(keys))):]
	return keys[:min(l.limit, uint64(len(keys)))]
}
