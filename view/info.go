package view

import (
	"context"
	"errors"

	"github.com/mangrove-db/mangrove/collate"
	"github.com/mangrove-db/mangrove/storage"
)

// Info describes the index of a design document.
type Info struct {
	Signature      string
	Language       string
	UpdaterRunning bool
	WaitingClients int // queries that wait for a build
	UpdateSeq      storage.Seq
	PurgeSeq       uint64
	Pending        uint64 // changes that it does not reflect yet
	// File is what the index takes up on disk, Active without what is superseded, External the rows alone; in bytes.
	File, Active, External uint64
	// CollatorVersions name the orders that keys were sorted by.
	CollatorVersions []string
}

// Info describes the index of a design document, which need not exist.
func (x *Indexer) Info(db *storage.DB, d *Design) (Info, error) {
	info := Info{Signature: d.Signature, Language: d.Language, CollatorVersions: []string{collate.Version}}
	snap, err := db.Snapshot()
	if err != nil {
		return info, err
	}
	defer snap.Close()
	var saved storage.Seq
	index, err := snap.Index(d.index(db))
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		return info, err
	default:
		state := index.State()
		info.UpdateSeq, info.PurgeSeq, info.External = state.Seq, state.PurgeSeq, index.Size()
		saved = state.Saved
	}
	if len(d.Spaces) > 0 {
		if info.Pending, err = snap.Pending(saved); err != nil {
			return info, err
		}
	}
	all, err := db.Indexes()
	if err != nil {
		return info, err
	}
	for _, i := range all {
		if i.Signature == d.Signature {
			info.File = max(i.Size, info.External)
			info.Active = info.File
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if b := x.builds[target{db, d.Signature}]; b != nil && b.design != nil {
		info.UpdaterRunning = true
		info.WaitingClients = int(b.waiting.Load())
	}
	return info, nil
}

const designPrefix = "_design/"

// designsOf returns the design documents of a snapshot. One that cannot be read is left out and makes whole false.
func (x *Indexer) designsOf(ctx context.Context, snap *storage.Snapshot) (list []*Design, whole bool, err error) {
	whole = true
	for row, err := range snap.Documents(ctx, storage.Range{Prefix: designPrefix}) {
		if err != nil {
			return nil, false, err
		}
		d, err := x.designOf(row)
		if err != nil {
			whole = false
			continue
		}
		list = append(list, d)
	}
	return list, whole, nil
}

// unnamed returns the signatures of the indexes of a database that none of its design documents names.
func (x *Indexer) unnamed(ctx context.Context, db *storage.DB) ([]string, error) {
	// The indexes first: one that is made after that is not among them.
	all, err := db.Indexes()
	if err != nil || len(all) == 0 {
		return nil, err
	}
	snap, err := db.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	designs, whole, err := x.designsOf(ctx, snap)
	if err != nil || !whole {
		return nil, err
	}
	named := map[string]bool{}
	for _, d := range designs {
		named[d.Signature] = true
	}
	var list []string
	for _, i := range all {
		if !named[i.Signature] {
			list = append(list, i.Signature)
		}
	}
	return list, nil
}

// Cleanup removes the indexes of a database that no design document names, but for those that are being built.
func (x *Indexer) Cleanup(ctx context.Context, db *storage.DB) error {
	signatures, err := x.unnamed(ctx, db)
	if err != nil {
		return err
	}
	for _, s := range signatures {
		if err := x.drop(ctx, target{db, s}); err != nil {
			return err
		}
	}
	return nil
}

// drop removes an index unless it is being built.
func (x *Indexer) drop(ctx context.Context, t target) error {
	release, ok := x.seize(t)
	if !ok {
		return nil
	}
	defer release()
	if err := t.db.DropIndex(ctx, t.signature); err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	return nil
}

// Compact finishes an index that was left half-built. There is nothing else to be compacted: what is superseded in an
// index goes when it is replaced, and the engine reclaims its room by itself.
func (x *Indexer) Compact(_ context.Context, db *storage.DB, d *Design) error {
	state, seq, err := x.state(db, d)
	if err == nil && state.Exists && !state.ready() {
		x.join(db, d, seq)
	}
	return err
}
