package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// UpdateKind says what happened to a database.
type UpdateKind string

// The kinds of database updates, by CouchDB's words.
const (
	UpdateCreated UpdateKind = "created"
	UpdateChanged UpdateKind = "updated"
	UpdateDeleted UpdateKind = "deleted"
)

// Update is the newest thing that happened to a database of that name.
type Update struct {
	Seq  uint64
	Name string
	Kind UpdateKind
}

// updates keeps the feed of database updates: one entry a name, in the order of the newest event. What databases
// report is gathered for a moment and written together, so that busy databases do not meet on one key; and the feed
// is a hint to its readers, so that losing the last moment in a crash is made good by reporting at the next start
// every database that was changed since its entry was written.
type updates struct {
	store *Store

	mu      sync.Mutex
	pending map[string]UpdateKind
	order   []string
	wake    chan struct{} // has room for one
	flushed chan struct{} // closed and made anew after each batch
	seq     uint64

	flushing sync.Mutex // held by flush, so that whoever returns from it knows that all is written
}

// gathering is how long events are gathered.
const gathering = 50 * time.Millisecond

func newUpdates(s *Store) *updates {
	return &updates{store: s, pending: map[string]UpdateKind{}, wake: make(chan struct{}, 1), flushed: make(chan struct{})}
}

func openUpdates(s *Store) (*updates, error) {
	u := newUpdates(s)
	snap, err := s.engine.Snapshot()
	if err != nil {
		return nil, outer(err)
	}
	defer snap.Close()
	if u.seq, err = newestUpdate(snap); err != nil {
		return nil, err
	}
	return u, u.reportMissed(snap)
}

func newestUpdate(r kv.Reader) (uint64, error) {
	it := r.Iterate(kv.Range{Prefix: []byte{familyUpdates, 's'}, Reverse: true})
	defer it.Close()
	if !it.Next() {
		return 0, outer(it.Err())
	}
	return binary.BigEndian.Uint64(it.Key()[2:]), nil
}

// The value by name: the entry's number, the database's id, and its update sequence when the entry was written.
type reported struct{ seq, id, at uint64 }

func (r reported) append(b []byte) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(b, r.seq), r.id), r.at)
}

func parseReported(b []byte) (r reported, err error) {
	c := cursor{b: b}
	r = reported{c.uvarint(), c.uvarint(), c.uvarint()}
	if c.bad {
		err = corrupt("database update", nil)
	}
	return r, err
}

func readReported(r kv.Reader, name string) (reported, bool, error) {
	value, err := r.Get(updateNameKey(name))
	if errors.Is(err, kv.ErrNotFound) {
		return reported{}, false, nil
	}
	if err != nil {
		return reported{}, false, err
	}
	rep, err := parseReported(value)
	return rep, true, err
}

// reportMissed notes what happened just before the store stopped.
func (u *updates) reportMissed(snap kv.Snapshot) error {
	for name, err := range u.store.Names(NameRange{Limit: -1}) {
		if err != nil {
			return err
		}
		e, err := lookup(snap, name)
		if err != nil {
			return err
		}
		rep, ok, err := readReported(snap, name)
		if err != nil {
			return err
		}
		if !ok || rep.id != uint64(e.ID) {
			u.note(name, UpdateCreated)
			continue
		}
		value, err := snap.Get(newKeyspace(e.ID).meta(metaState))
		if err != nil {
			return outer(err)
		}
		st, err := parseState(value)
		if err != nil {
			return err
		}
		if uint64(st.seq) != rep.at {
			u.note(name, UpdateChanged)
		}
	}
	for up, err := range u.store.Updates(0, false) {
		if err != nil {
			return err
		}
		if up.Kind == UpdateDeleted {
			continue
		}
		if _, err := lookup(snap, up.Name); errors.Is(err, ErrNoDatabase) {
			u.note(up.Name, UpdateDeleted)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// note has an event written soon.
func (u *updates) note(name string, kind UpdateKind) {
	u.mu.Lock()
	if _, ok := u.pending[name]; !ok {
		u.order = append(u.order, name)
	}
	u.pending[name] = kind
	u.mu.Unlock()
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

func (u *updates) run(ctx context.Context) {
	for {
		select {
		case <-u.wake:
		case <-ctx.Done():
			u.flush()
			return
		}
		select {
		case <-time.After(gathering):
		case <-ctx.Done():
		}
		u.flush()
	}
}

// updatesBatch is the number of events that one transaction writes.
const updatesBatch = 1000

// flush writes what has been noted.
func (u *updates) flush() {
	u.flushing.Lock()
	defer u.flushing.Unlock()
	u.mu.Lock()
	pending, order := u.pending, u.order
	u.pending, u.order = map[string]UpdateKind{}, nil
	u.mu.Unlock()
	for names := range slices.Chunk(order, updatesBatch) {
		if err := u.write(names, pending); err != nil {
			if !errors.Is(err, kv.ErrNoSpace) {
				u.store.log.Warn("writing database updates failed", "error", err)
			}
			// With a full disk hardly anything happens; what did is reported at the next start.
			return
		}
	}
}

func (u *updates) write(names []string, kinds map[string]UpdateKind) error {
	var seq uint64
	err := u.store.engine.Update(context.Background(), func(tx kv.Tx) error {
		var err error
		if seq, err = newestUpdate(tx); err != nil {
			return err
		}
		// Reading the key that comes next makes those conflict who would give out the same number.
		if _, err := tx.Get(updateSeqKey(seq + 1)); !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		for _, name := range names {
			seq++
			if err := writeUpdate(tx, Update{seq, name, kinds[name]}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	u.mu.Lock()
	u.seq = seq
	close(u.flushed)
	u.flushed = make(chan struct{})
	u.mu.Unlock()
	return nil
}

func writeUpdate(tx kv.Tx, up Update) error {
	was, ok, err := readReported(tx, up.Name)
	if err != nil {
		return err
	}
	if ok {
		if err := tx.Delete(updateSeqKey(was.seq)); err != nil {
			return err
		}
	}
	rep := reported{seq: up.Seq}
	if e, err := lookup(tx, up.Name); err == nil {
		rep.id = uint64(e.ID)
		if value, err := tx.Get(newKeyspace(e.ID).meta(metaState)); err == nil {
			st, err := parseState(value)
			if err != nil {
				return err
			}
			rep.at = uint64(st.seq)
		}
	}
	if err := tx.Set(updateNameKey(up.Name), rep.append(nil)); err != nil {
		return err
	}
	return tx.Set(updateSeqKey(up.Seq), append([]byte(up.Kind), " "+up.Name...))
}

// Updates yields the database updates after since, oldest first, and ends at the present.
func (s *Store) Updates(since uint64, descending bool) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		snap, err := s.engine.Snapshot()
		if err != nil {
			yield(Update{}, outer(err))
			return
		}
		defer snap.Close()
		it := snap.Iterate(kv.Range{Prefix: []byte{familyUpdates, 's'}, Start: updateSeqKey(since + 1), Reverse: descending})
		defer it.Close()
		for it.Next() {
			value, err := it.Value()
			if err != nil {
				yield(Update{}, outer(err))
				return
			}
			up := Update{Seq: binary.BigEndian.Uint64(it.Key()[2:])}
			for i, c := range value {
				if c == ' ' {
					up.Kind, up.Name = UpdateKind(value[:i]), string(value[i+1:])
					break
				}
			}
			if !yield(up, nil) {
				return
			}
		}
		if err := it.Err(); err != nil {
			yield(Update{}, outer(err))
		}
	}
}

// UpdateSeq returns the number of the newest database update, with what has been noted but not written counted in.
func (s *Store) UpdateSeq() uint64 {
	s.updates.flush()
	s.updates.mu.Lock()
	defer s.updates.mu.Unlock()
	return s.updates.seq
}

// WaitUpdate returns nil once there is a database update after since.
func (s *Store) WaitUpdate(ctx context.Context, since uint64) error {
	for {
		s.updates.mu.Lock()
		seq, flushed := s.updates.seq, s.updates.flushed
		s.updates.mu.Unlock()
		if seq > since {
			return nil
		}
		select {
		case <-flushed:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.background.Done():
			return ErrClosed
		}
	}
}

// FormatUpdateSeq writes the number of a database update for clients.
func (s *Store) FormatUpdateSeq(n uint64) string {
	return strconv.FormatUint(n, 10) + "-" + s.uuid[:16]
}
