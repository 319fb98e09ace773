package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"sort"
	"sync"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// Counted ranges answer "how many entries lie before this key" (offset, skip, pending) without walking over all of
// them. The live documents of the by-id space and the entries of the by-seq space are each cut into ranges of about
// a thousand; for each there is one key, the range's first, with the number of entries in it. A commit changes one
// count for each range that it touches; a question adds up the counts before its range and walks within one.
//
// The value of a range: count, length of end, end, length of greatest, greatest; where end is the next range's
// start (empty: no end), and greatest is not below any entry that ever was in the range. Starts, ends and keys are
// what follows the space's prefix.
const (
	rankDocs = 0
	rankSeqs = 1
)

// rankFull is the number of entries at which a range is cut in two. A range that has shrunk is joined with a
// neighbour if both together have less than a quarter of it. A variable for tests.
var rankFull uint64 = 2048

type countedRange struct {
	count    uint64
	end      []byte
	greatest []byte
}

func (r *countedRange) append(b []byte) []byte {
	b = binary.AppendUvarint(b, r.count)
	b = binary.AppendUvarint(b, uint64(len(r.end)))
	b = append(b, r.end...)
	b = binary.AppendUvarint(b, uint64(len(r.greatest)))
	return append(b, r.greatest...)
}

func parseCountedRange(b []byte) (r countedRange, err error) {
	c := cursor{b: b}
	r.count, r.end, r.greatest = c.uvarint(), c.bytes(), c.bytes()
	if c.bad {
		return r, corrupt("counted range", nil)
	}
	return r, nil
}

func (k keyspace) rank(space byte, start []byte) []byte {
	return append(append(k.space(spaceRank, 1+len(start)), space), start...)
}

// rankPrefixLen is what comes before the start in the key of a counted range.
const rankPrefixLen = spacePrefixLen + 1

// rankChanges are the keys that a transaction adds to the counted spaces, or takes away.
type rankChanges [2][]rankChange

type rankChange struct {
	key   []byte
	added bool
}

func (c *rankChanges) add(which int, key []byte, added bool) {
	c[which] = append(c[which], rankChange{key[spacePrefixLen:], added})
}

// rankCache remembers where the ranges of one space start. It is a hint: each range names its end, which is checked.
type rankCache struct {
	space byte

	mu     sync.Mutex
	starts [][]byte
	full   [][]byte // starts of ranges that wait to be cut
	loaded bool
}

func (c *rankCache) load(r kv.Reader, keys keyspace) error {
	c.starts = [][]byte{nil}
	it := r.Iterate(kv.Range{Prefix: keys.rank(c.space, nil)})
	defer it.Close()
	for it.Next() {
		if start := it.Key()[rankPrefixLen:]; len(start) > 0 {
			c.starts = append(c.starts, bytes.Clone(start))
		}
	}
	c.loaded = true
	return it.Err()
}

// find returns the start of the range that has key.
func (c *rankCache) find(key []byte) []byte {
	i := sort.Search(len(c.starts), func(i int) bool { return bytes.Compare(c.starts[i], key) > 0 })
	return c.starts[max(i-1, 0)]
}

func (c *rankCache) insert(start []byte) {
	i, found := slices.BinarySearchFunc(c.starts, start, bytes.Compare)
	if !found {
		c.starts = slices.Insert(c.starts, i, bytes.Clone(start))
	}
}

func (c *rankCache) remove(start []byte) {
	if i, found := slices.BinarySearchFunc(c.starts, start, bytes.Compare); found {
		c.starts = slices.Delete(c.starts, i, i+1)
	}
}

// before returns the start of the range before the one that starts at start.
func (c *rankCache) before(start []byte) []byte {
	i, _ := slices.BinarySearchFunc(c.starts, start, bytes.Compare)
	return c.starts[max(i-1, 0)]
}

// applyRanks counts the changes of a transaction within it.
func (db *DB) applyRanks(tx kv.Tx, changes *rankChanges) error {
	for which := range changes {
		if len(changes[which]) == 0 {
			continue
		}
		cs := changes[which]
		slices.SortStableFunc(cs, func(a, b rankChange) int { return bytes.Compare(a.key, b.key) })
		c := &db.ranks[which]
		c.mu.Lock()
		err := c.apply(tx, db.keys, cs)
		c.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *rankCache) apply(tx kv.Tx, keys keyspace, cs []rankChange) error {
	if !c.loaded {
		if err := c.load(tx, keys); err != nil {
			return err
		}
	}
	for len(cs) > 0 {
		start := c.find(cs[0].key)
		r, err := readRange(tx, keys.rank(c.space, start))
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		if err != nil && len(start) > 0 || len(r.end) > 0 && bytes.Compare(cs[0].key, r.end) >= 0 {
			// The transaction that made this range was given up, or another process has cut it.
			if err := c.load(tx, keys); err != nil {
				return err
			}
			continue
		}
		n := len(cs)
		if len(r.end) > 0 {
			n = sort.Search(len(cs), func(i int) bool { return bytes.Compare(cs[i].key, r.end) >= 0 })
		}
		if err := c.count(tx, keys, start, r, cs[:n]); err != nil {
			return err
		}
		cs = cs[n:]
	}
	return nil
}

func readRange(r kv.Reader, key []byte) (countedRange, error) {
	value, err := r.Get(key)
	if err != nil {
		return countedRange{}, err // ErrNotFound for the first range, before anything was counted
	}
	return parseCountedRange(value)
}

// count applies changes that all lie in the range r.
func (c *rankCache) count(tx kv.Tx, keys keyspace, start []byte, r countedRange, cs []rankChange) error {
	// Keys that come in order start a range of their own behind a full one; nothing need be counted again for it.
	if i := firstBehind(cs, r.greatest); r.count >= rankFull/2 && i < len(cs) {
		next := countedRange{end: r.end}
		cut := cs[i].key
		next.apply(cs[i:])
		r.apply(cs[:i])
		r.end = cut
		c.insert(cut)
		if err := tx.Set(keys.rank(c.space, cut), next.append(nil)); err != nil {
			return err
		}
		return tx.Set(keys.rank(c.space, start), r.append(nil))
	}
	was := r.count
	r.apply(cs)
	if r.count > rankFull {
		c.full = append(c.full, bytes.Clone(start))
	}
	if r.count < was && r.count < rankFull/8 {
		return c.join(tx, keys, start, r)
	}
	return tx.Set(keys.rank(c.space, start), r.append(nil))
}

// join writes the range r, which has shrunk, together with its neighbours as far as they are small too. Without it
// documents that are written again and again would leave behind more and more empty ranges of the sequence.
func (c *rankCache) join(tx kv.Tx, keys keyspace, start []byte, r countedRange) error {
	if len(r.end) > 0 {
		next, err := readRange(tx, keys.rank(c.space, r.end))
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		if err == nil && r.count+next.count < rankFull/4 {
			if err := tx.Delete(keys.rank(c.space, r.end)); err != nil {
				return err
			}
			c.remove(r.end)
			r.absorb(next)
		}
	}
	if len(start) > 0 {
		before := c.before(start)
		prev, err := readRange(tx, keys.rank(c.space, before))
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		if err == nil && bytes.Equal(prev.end, start) && prev.count+r.count < rankFull/4 {
			if err := tx.Delete(keys.rank(c.space, start)); err != nil {
				return err
			}
			c.remove(start)
			prev.absorb(r)
			start, r = before, prev
		}
	}
	return tx.Set(keys.rank(c.space, start), r.append(nil))
}

// absorb makes r reach to the end of next, the range behind it.
func (r *countedRange) absorb(next countedRange) {
	r.count += next.count
	r.end = next.end
	if bytes.Compare(next.greatest, r.greatest) > 0 {
		r.greatest = next.greatest
	}
}

// firstBehind returns the index of the first change from which on all keys are greater than greatest.
func firstBehind(cs []rankChange, greatest []byte) int {
	return sort.Search(len(cs), func(i int) bool { return bytes.Compare(cs[i].key, greatest) > 0 })
}

func (r *countedRange) apply(cs []rankChange) {
	for _, c := range cs {
		if c.added {
			r.count++
			if bytes.Compare(c.key, r.greatest) > 0 {
				r.greatest = c.key
			}
		} else {
			sub(&r.count, 1)
		}
	}
}

// rankKeys returns how many entries of a space lie before key, which follows the space's prefix.
func (s *Snapshot) rankKeys(which int, key []byte) (n uint64, err error) {
	if len(key) == 0 {
		return 0, nil
	}
	keys, space := s.db.keys, s.db.ranks[which].space
	it := s.kv.Iterate(kv.Range{Prefix: keys.rank(space, nil), End: append(keys.rank(space, key), 0)})
	defer it.Close()
	var start []byte
	var last uint64
	for it.Next() {
		value, err := it.Value()
		if err != nil {
			return 0, outer(err)
		}
		r, err := parseCountedRange(value)
		if err != nil {
			return 0, err
		}
		n += last
		last = r.count
		start = append(start[:0], it.Key()[rankPrefixLen:]...)
	}
	if err := it.Err(); err != nil {
		return 0, outer(err)
	}
	within, err := s.countLive(space, start, key, nil)
	return n + within, err
}

// countLive walks over the entries from start to end (empty: no end) and counts those that count; visit, if set, sees
// their keys.
func (s *Snapshot) countLive(space byte, start, end []byte, visit func(key []byte) bool) (n uint64, err error) {
	return countLive(s.kv, s.db.keys, space, start, end, visit)
}

func countLive(r kv.Reader, keys keyspace, space byte, start, end []byte, visit func(key []byte) bool) (n uint64, err error) {
	prefix := keys.space(space, 0)
	kr := kv.Range{Prefix: prefix, Start: append(keys.space(space, len(start)), start...)}
	if len(end) > 0 {
		kr.End = append(keys.space(space, len(end)), end...)
	}
	it := r.Iterate(kr)
	defer it.Close()
	for it.Next() {
		if space == spaceDoc {
			value, err := it.Value()
			if err != nil {
				return n, outer(err)
			}
			if len(value) > 1 && value[1]&flagDeleted != 0 {
				continue
			}
		}
		n++
		if visit != nil && !visit(it.Key()[spacePrefixLen:]) {
			break
		}
	}
	return n, outer(it.Err())
}

// Offset returns how many live documents have ids before id.
func (s *Snapshot) Offset(id string) (uint64, error) { return s.rankKeys(rankDocs, []byte(id)) }

// Pending returns how many documents have changed after seq.
func (s *Snapshot) Pending(seq Seq) (uint64, error) {
	total := s.state.docs + s.state.deleted
	switch {
	case seq >= s.state.seq:
		return 0, nil
	case seq == 0:
		return total, nil
	}
	before, err := s.rankKeys(rankSeqs, binary.BigEndian.AppendUint64(nil, uint64(seq)+1))
	if err != nil {
		return 0, err
	}
	return total - min(total, before), nil
}

// NthFrom returns the id of the live document that has n live documents between id (included) and itself in the
// direction of travel, and false if there are not so many. It lets a listing skip without walking.
func (s *Snapshot) NthFrom(id string, hasStart, descending bool, n uint64) (string, bool, error) {
	before := uint64(0)
	if descending {
		before = s.state.docs
	}
	if hasStart {
		bound := []byte(id)
		if descending {
			bound = append(bound, 0) // the start itself is among those before
		}
		var err error
		if before, err = s.rankKeys(rankDocs, bound); err != nil {
			return "", false, err
		}
	}
	if descending {
		if n >= before {
			return "", false, nil
		}
		return s.nth(before - 1 - n)
	}
	if before+n >= s.state.docs {
		return "", false, nil
	}
	return s.nth(before + n)
}

// nth returns the id of the live document that has n others before it.
func (s *Snapshot) nth(n uint64) (id string, ok bool, err error) {
	keys := s.db.keys
	it := s.kv.Iterate(kv.Range{Prefix: keys.rank(spaceDoc, nil)})
	defer it.Close()
	for {
		if !it.Next() {
			return "", false, outer(it.Err())
		}
		value, err := it.Value()
		if err != nil {
			return "", false, outer(err)
		}
		r, err := parseCountedRange(value)
		if err != nil {
			return "", false, err
		}
		if n < r.count {
			break
		}
		n -= r.count
	}
	start := it.Key()[rankPrefixLen:]
	_, err = s.countLive(spaceDoc, start, nil, func(key []byte) bool {
		if n == 0 {
			id, ok = string(key), true
			return false
		}
		n--
		return true
	})
	return id, ok, err
}

// cutRanks cuts the ranges that have grown too large, each in a transaction of its own beside the writer's, because
// walking over a range inside a large transaction is slow.
func (db *DB) cutRanks() error {
	for which := range db.ranks {
		c := &db.ranks[which]
		c.mu.Lock()
		full := c.full
		c.full = nil
		c.mu.Unlock()
		for _, start := range full {
			if err := db.cutRange(c, start); err != nil {
				return err
			}
		}
	}
	return nil
}

func (db *DB) cutRange(c *rankCache, start []byte) error {
	var cut []byte
	err := db.store.engine.Update(db.store.background, func(tx kv.Tx) error {
		cut = nil
		if err := db.alive(tx); err != nil {
			return err
		}
		key := db.keys.rank(c.space, start)
		r, err := readRange(tx, key)
		if errors.Is(err, kv.ErrNotFound) {
			return nil // joined with another meanwhile, or never committed
		}
		if err != nil || r.count <= rankFull {
			return err
		}
		half := r.count / 2
		var seen uint64
		total, err := countLive(tx, db.keys, c.space, start, r.end, func(k []byte) bool {
			if seen == half {
				cut = bytes.Clone(k)
			}
			seen++
			return true
		})
		if err != nil || cut == nil {
			return err
		}
		upper := countedRange{count: total - half, end: r.end, greatest: r.greatest}
		lower := countedRange{count: half, end: cut, greatest: cut}
		if err := tx.Set(db.keys.rank(c.space, cut), upper.append(nil)); err != nil {
			return err
		}
		return tx.Set(key, lower.append(nil))
	})
	if err == nil && cut != nil {
		c.mu.Lock()
		c.insert(cut)
		c.mu.Unlock()
	}
	return err
}
