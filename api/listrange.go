package api

import (
	"github.com/mangrove-db/mangrove/storage"
)

// keyBound is an end of a range of documents. Documents' keys are strings, and every other JSON value lies before all
// strings here: CouchDB compares the keys of documents in Erlang's order of terms, not in that of views.
type keyBound struct {
	set    bool
	id     string
	before bool // lies before all ids
}

// bound reads a key as an end of a range of documents.
func bound(key []byte) keyBound {
	if key == nil {
		return keyBound{}
	}
	id, ok := jsonString(key)
	return keyBound{set: true, id: id, before: !ok}
}

// documents returns the range of a listing, within prefix. It reports false if the range is empty.
func (l *listing) documents(prefix string) (storage.Range, bool) {
	r := storage.Range{Descending: l.descending, Prefix: prefix, ExclusiveEnd: l.exclusiveEnd}
	start, end := bound(l.start), bound(l.end)
	if start.set {
		switch {
		case !start.before:
			r.Start = start.id
		case l.descending:
			return r, false
		}
	}
	if l.descending && start.set && r.Start == "" {
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
	if end.set {
		switch {
		case !end.before:
			r.End, r.HasEnd = end.id, true
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
