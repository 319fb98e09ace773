package backup

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// WriteOptions say what Write writes.
type WriteOptions struct {
	Version string // of the program
	NoLocal bool
	// Progress, if it is not nil, is called after each document.
	Progress func()
}

// Write writes the backup of the database of a snapshot, which should be a held one.
func Write(ctx context.Context, w io.Writer, snap *storage.Snapshot, o WriteOptions) error {
	origin, err := originOf(snap)
	if err != nil {
		return err
	}
	out, err := NewWriter(w, o.Version, origin)
	if err != nil {
		return err
	}
	b := &snapshotWriter{ctx: ctx, snap: snap, out: out, progress: o.Progress}
	b.open = func(a *document.Attachment) (io.ReadCloser, error) { return snap.OpenAttachment(a) }
	// The ids of design documents are those from "_design/" on, up to "_design0".
	for _, r := range []storage.Range{
		{End: "_design/", HasEnd: true, ExclusiveEnd: true},
		{Start: "_design0"},
		{Prefix: "_design/"},
	} {
		if err := b.documents(r); err != nil {
			return err
		}
	}
	if !o.NoLocal {
		if err := b.locals(); err != nil {
			return err
		}
	}
	return out.Close(origin.UpdateSeq, b.missing)
}

func originOf(snap *storage.Snapshot) (Origin, error) {
	s, err := snap.Settings()
	if err != nil {
		return Origin{}, err
	}
	return Origin{
		Database: snap.DB().Name(), Started: time.Now().UTC(), Snapshot: true, UpdateSeq: snap.FormatSeq(snap.Seq()),
		Documents: s.Docs, Deleted: s.Deleted, Bytes: s.External,
		Partitioned: s.DBOptions.Partitioned, Q: s.DBOptions.Q, N: s.DBOptions.N,
		Security: s.Security, RevsLimit: s.RevsLimit, PurgedInfosLimit: s.PurgedInfosLimit,
	}, nil
}

type snapshotWriter struct {
	ctx      context.Context
	snap     *storage.Snapshot
	out      *Writer
	open     func(*document.Attachment) (io.ReadCloser, error)
	progress func()
	missing  uint64
}

func (b *snapshotWriter) documents(r storage.Range) error {
	r.WithDeleted = true
	for row, err := range b.snap.Documents(b.ctx, r) {
		if err == nil {
			err = b.leaves(row)
		}
		if err != nil {
			return err
		}
		if b.progress != nil {
			b.progress()
		}
	}
	return nil
}

func (b *snapshotWriter) leaves(row *storage.Row) error {
	tree, err := row.Tree()
	if err != nil {
		return err
	}
	for _, leaf := range tree.Leaves() {
		i, _ := tree.Find(leaf.ID)
		d, err := row.Revision(tree, i)
		if errors.Is(err, storage.ErrNotFound) {
			b.missing++
			continue
		}
		if err == nil {
			err = b.out.Document(d, b.open)
		}
		if err != nil {
			return err
		}
		if err := b.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (b *snapshotWriter) locals() error {
	for l, err := range b.snap.Locals(b.ctx, storage.Range{}) {
		if err != nil {
			return err
		}
		if isCheckpoint(l.Body) {
			continue
		}
		d := document.Document{ID: l.ID, Rev: revtree.ID{Hash: strconv.FormatUint(l.Rev, 10)}, Body: l.Body}
		if err := b.out.Document(&d, nil); err != nil {
			return err
		}
	}
	return nil
}

// isCheckpoint tells whether a local document is the note of a replication of how far it came. Those speak of the
// update sequence of the database that is backed up, and would let replications with a restored one leave things out.
func isCheckpoint(body []byte) bool {
	var c struct {
		Session json.RawMessage `json:"session_id"`
		History json.RawMessage `json:"history"`
	}
	return json.Unmarshal(body, &c) == nil && c.Session != nil && c.History != nil
}
