package badgerkv

import (
	"bytes"

	"github.com/dgraph-io/badger/v4"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// txn is a Badger transaction in the shape of the seam, for reading and for updates.
type txn struct {
	e    *engine
	t    *badger.Txn
	done bool
}

// Close ends the transaction, and what of it has not been committed. It may be called again.
func (x *txn) Close() {
	if !x.done {
		x.done = true
		x.t.Discard()
		x.e.leave()
	}
}

func (x *txn) Get(key []byte) ([]byte, error) {
	item, err := x.t.Get(key)
	if err != nil {
		return nil, translate(err)
	}
	return item.ValueCopy(nil)
}

// The greatest key that Badger takes, and the greatest value that is handed to it: what is larger fits no
// transaction.
const (
	maxKey   = 65_000
	maxValue = valueLogSize / 2
)

func (x *txn) Set(key, value []byte) error {
	if len(key) > maxKey || len(value) > maxValue {
		return kv.ErrTooBig
	}
	return translate(x.t.Set(key, value))
}

func (x *txn) Delete(key []byte) error { return translate(x.t.Delete(key)) }

func (x *txn) Iterate(r kv.Range) kv.Iterator {
	o := badger.IteratorOptions{Reverse: r.Reverse}
	if !r.Reverse {
		o.Prefix = r.Prefix // Walking down, Badger could not seek to the end of a prefix, which is outside of it.
	}
	i := &iterator{it: x.t.NewIterator(o), reverse: r.Reverse, threshold: x.e.threshold, fresh: true}
	i.low, i.high = r.Start, kv.PrefixEnd(r.Prefix)
	if bytes.Compare(i.low, r.Prefix) < 0 {
		i.low = r.Prefix
	}
	if r.End != nil && (i.high == nil || bytes.Compare(r.End, i.high) < 0) {
		i.high = r.End
	}
	if i.seek = i.low; r.Reverse {
		i.seek = i.high
	}
	return i
}

// iterator delays every seek to the next call of Next, so that opening costs nothing.
type iterator struct {
	it        *badger.Iterator
	low, high []byte // the walk is over low <= key < high; a nil high is no bound
	reverse   bool
	threshold int64  // smaller values lie in the item, others in the value log
	seek      []byte // where to go before the next key is looked at, if fresh: low or above, high or below
	fresh     bool
	item      *badger.Item
	value     []byte
	err       error
}

func (i *iterator) Next() bool {
	if i.fresh {
		i.fresh = false
		i.rewind()
	} else if i.item != nil {
		i.it.Next()
	}
	i.item = nil
	if !i.it.Valid() {
		return false
	}
	item := i.it.Item()
	key := item.Key()
	if bytes.Compare(key, i.low) < 0 || i.high != nil && bytes.Compare(key, i.high) >= 0 {
		return false
	}
	i.item = item
	return true
}

// rewind positions the iterator. Walking down, Badger's Seek finds the last key at or below the one given, while
// the end of a range is outside of it.
func (i *iterator) rewind() {
	if i.reverse && i.seek == nil {
		i.it.Rewind()
		return
	}
	i.it.Seek(i.seek)
	if i.reverse && i.it.Valid() && bytes.Compare(i.it.Item().Key(), i.seek) >= 0 {
		i.it.Next()
	}
}

func (i *iterator) Seek(key []byte) {
	if i.reverse {
		// The key itself is wanted, so the bound lies just behind it.
		key = append(append(make([]byte, 0, len(key)+1), key...), 0)
		if i.high != nil && bytes.Compare(key, i.high) > 0 {
			key = i.high
		}
	} else if bytes.Compare(key, i.low) < 0 {
		key = i.low
	}
	i.seek, i.fresh = key, true
}

func (i *iterator) Key() []byte { return i.item.Key() }

func (i *iterator) Value() ([]byte, error) {
	// The size of a value in the log is an estimate, a few bytes off.
	if i.item.ValueSize() < i.threshold/2 {
		var v []byte
		err := i.item.Value(func(b []byte) error { v = b; return nil })
		return v, i.fail(err)
	}
	var err error
	i.value, err = i.item.ValueCopy(i.value[:0])
	return i.value, i.fail(err)
}

func (i *iterator) fail(err error) error {
	if err != nil && i.err == nil {
		i.err = translate(err)
	}
	return i.err
}

func (i *iterator) Err() error { return i.err }

func (i *iterator) Close() { i.it.Close() }
