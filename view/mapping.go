package view

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"

	"golang.org/x/sync/semaphore"

	"github.com/mangrove-db/mangrove/collate"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// work maps chunks until there are no more.
func (u *updater) work(ctx context.Context, jobs <-chan *chunk, room *semaphore.Weighted) error {
	var w *worker
	mapper, err := u.program.NewMapper()
	if err == nil {
		defer mapper.Close()
		w = &worker{updater: u, mapper: mapper, partitioned: u.design.Partitioned(u.target.db)}
		w.take = w.emit
	}
	for c := range jobs {
		if err == nil {
			err = w.chunk(ctx, c)
		}
		if err != nil {
			// The one who commits hears of it when it is this chunk's turn, and makes all others stop.
			select {
			case c.parts <- &part{err: err}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		close(c.parts)
		c.sources = nil
		room.Release(min(c.bytes, inFlight))
	}
	return nil
}

// worker maps documents. It belongs to one goroutine.
type worker struct {
	*updater
	mapper      Mapper
	take        Emit // the method emit
	partitioned bool

	text   []byte // of a document
	prefix []byte // of its keys

	// What was emitted and is not in a part yet.
	arena   []byte
	emitted []emission
	docs    []mapped
}

// emission is a row whose bytes are in the arena: its sortable key, and its stored value.
type emission struct{ space, key, value, end int }

// mapped is a document and how many of the emissions are its.
type mapped struct {
	id   string
	rows int
}

// chunk turns a chunk into parts.
func (w *worker) chunk(ctx context.Context, c *chunk) error {
	sent := 0
	for i := range c.sources {
		s := &c.sources[i]
		if err := w.document(ctx, s); err != nil {
			if i > sent && ctx.Err() == nil {
				// Those before it need not be mapped again.
				return errors.Join(err, w.send(ctx, c, c.sources[i-1].seq, uint64(i-sent)))
			}
			return err
		}
		if len(w.arena) >= w.batch.part {
			if err := w.send(ctx, c, s.seq, uint64(i+1-sent)); err != nil {
				return err
			}
			sent = i + 1
		}
	}
	return w.send(ctx, c, c.seq, c.seen-uint64(sent))
}

// document maps one document.
func (w *worker) document(ctx context.Context, s *source) error {
	first := len(w.emitted)
	if !s.gone {
		w.text = document.AppendJSON(w.text[:0], &s.doc, document.Members{Conflicts: s.conflicts, DeletedConflicts: s.deleted})
		if w.design.LocalSeq {
			w.text = append(w.text[:len(w.text)-1], `,"_local_seq":`...)
			w.text = append(strconv.AppendUint(w.text, uint64(s.seq), 10), '}')
		}
		if w.partitioned {
			partition, _ := document.Partition(s.doc.ID)
			w.prefix = appendPartition(w.prefix[:0], partition)
		}
		if err := w.mapper.Map(ctx, &s.doc, w.text, w.take); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return &documentError{err: err, doc: s.doc.ID, rev: s.doc.Rev}
		}
		w.sort(w.emitted[first:])
	}
	if rows := len(w.emitted) - first; rows > 0 || !w.fresh {
		w.docs = append(w.docs, mapped{s.doc.ID, rows})
	}
	return nil
}

func (w *worker) emit(space int, key, value []byte) error {
	e := emission{space: space, key: len(w.arena)}
	w.arena = append(w.arena, w.prefix...)
	w.arena = w.design.Spaces[space].appendKey(w.arena, key)
	e.value = len(w.arena)
	w.arena = appendRow(w.arena, key, value)
	e.end = len(w.arena)
	w.emitted = append(w.emitted, e)
	return nil
}

// sort orders the rows of a document by space and key, and equal ones by the text of the key and by value.
func (w *worker) sort(list []emission) {
	if len(list) < 2 {
		return
	}
	slices.SortStableFunc(list, func(a, b emission) int {
		if d := cmp.Or(cmp.Compare(a.space, b.space), bytes.Compare(w.arena[a.key:a.value], w.arena[b.key:b.value])); d != 0 {
			return d
		}
		keyA, valueA := parseRow(w.arena[a.value:a.end])
		keyB, valueB := parseRow(w.arena[b.value:b.end])
		return cmp.Or(collate.CompareRaw(keyA, keyB), collate.CompareRaw(valueA, valueB))
	})
}

// send makes a part of what was emitted and passes it on.
func (w *worker) send(ctx context.Context, c *chunk, seq storage.Seq, seen uint64) error {
	p := &part{seq: seq, seen: seen, rows: len(w.emitted), bytes: len(w.arena), docs: make([]storage.IndexDoc, len(w.docs))}
	rows := make([]storage.IndexRow, len(w.emitted))
	for i, e := range w.emitted {
		rows[i] = storage.IndexRow{Key: w.arena[e.key:e.value:e.value], Value: w.arena[e.value:e.end:e.end]}
	}
	spaces := len(w.design.Spaces)
	sets := make([][]storage.IndexRow, spaces*len(w.docs))
	n := 0
	for i, d := range w.docs {
		p.docs[i].ID = d.id
		if d.rows == 0 {
			continue
		}
		set := sets[i*spaces : (i+1)*spaces : (i+1)*spaces]
		for end := n + d.rows; n < end; {
			space, start := w.emitted[n].space, n
			for n < end && w.emitted[n].space == space {
				rows[n].ID = d.id
				n++
			}
			set[space] = rows[start:n:n]
		}
		p.docs[i].Spaces = set
	}
	if w.bulk != nil {
		p.sorted, p.docs = w.bulk.Part(p.docs), nil
		w.arena = w.arena[:0]
	} else {
		w.arena = make([]byte, 0, min(cap(w.arena), 2*w.batch.part)) // the part keeps the other
	}
	w.emitted, w.docs = w.emitted[:0], w.docs[:0]
	select {
	case c.parts <- p:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
