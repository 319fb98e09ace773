package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// Local is a document that is neither replicated nor listed among the others. Its ID starts with "_local/".
type Local struct {
	ID   string
	Rev  uint64 // the N of 0-N
	Body []byte // canonical JSON object text without the _ members
}

// Local returns a local document, or ErrNotFound.
func (s *Snapshot) Local(id string) (Local, error) {
	value, err := s.kv.Get(s.db.keys.local(id))
	if err != nil {
		return Local{}, outer(err)
	}
	return parseLocal(id, value)
}

func parseLocal(id string, value []byte) (Local, error) {
	rev, n := binary.Uvarint(value)
	if n <= 0 {
		return Local{}, corrupt("local document "+id, nil)
	}
	return Local{ID: id, Rev: rev, Body: value[n:]}, nil
}

// PutLocal writes a local document. Its revision is not checked, as in CouchDB: the new one is l.Rev + 1.
func (db *DB) PutLocal(ctx context.Context, l Local) (rev uint64, err error) {
	rev = l.Rev + 1
	value := append(binary.AppendUvarint(nil, rev), l.Body...)
	return rev, db.update(ctx, func(tx kv.Tx, _ *state) error { return tx.Set(db.keys.local(l.ID), value) })
}

// DeleteLocal removes a local document. It returns ErrNotFound if there is none.
func (db *DB) DeleteLocal(ctx context.Context, id string) error {
	key := db.keys.local(id)
	return db.update(ctx, func(tx kv.Tx, _ *state) error {
		if _, err := tx.Get(key); errors.Is(err, kv.ErrNotFound) {
			return ErrNotFound
		} else if err != nil {
			return err
		}
		return tx.Delete(key)
	})
}

// Locals yields the local documents of a range of ids in order.
func (s *Snapshot) Locals(ctx context.Context, r Range) iter.Seq2[Local, error] {
	return func(yield func(Local, error) bool) {
		it := s.kv.Iterate(s.idRange(spaceLocal, r))
		defer it.Close()
		for it.Next() {
			value, err := it.Value()
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Local{}, outer(err))
				return
			}
			l, err := parseLocal(string(it.Key()[spacePrefixLen:]), value)
			if !yield(l, err) || err != nil {
				return
			}
		}
		if err := it.Err(); err != nil {
			yield(Local{}, outer(err))
		}
	}
}
