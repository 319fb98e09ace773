package storage

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// sweepAttachments removes the content of attachments that no document has, unless it was staged after the time.
func (db *DB) sweepAttachments(ctx context.Context, before time.Time) error {
	unused, err := db.unusedAttachments(ctx, before)
	if err != nil {
		return err
	}
	for _, a := range unused {
		if err := db.sweepAttachment(ctx, a, before); err != nil {
			return err
		}
	}
	return db.sweepBlobs(ctx, before)
}

// unusedAttachments walks over attachments and references side by side: both are in the order of the addresses.
func (db *DB) unusedAttachments(ctx context.Context, before time.Time) (unused []address, err error) {
	snap, err := db.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	records := snap.kv.Iterate(kv.Range{Prefix: db.keys.space(spaceAttachment, 0)})
	defer records.Close()
	references := snap.kv.Iterate(kv.Range{Prefix: db.keys.space(spaceReference, 0)})
	defer references.Close()
	for records.Next() {
		a := address(records.Key()[spacePrefixLen:])
		value, err := records.Value()
		if err != nil {
			return nil, outer(err)
		}
		rec, err := parseAttachmentRecord(value)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		references.Seek(db.keys.references(a))
		used := references.Next() && bytes.HasPrefix(references.Key(), db.keys.references(a))
		if !used && rec.sweepable(before) {
			unused = append(unused, a)
		}
	}
	return unused, outer(errors.Join(records.Err(), references.Err()))
}

func (r attachmentRecord) sweepable(before time.Time) bool {
	return r.staged == 0 || r.staged < uint64(before.Unix())
}

func (db *DB) sweepAttachment(ctx context.Context, a address, before time.Time) error {
	s := db.store
	s.adopting.Lock()
	defer s.adopting.Unlock()
	if db.held() {
		return nil
	}
	swept := false
	err := db.transact(ctx, func(tx kv.Tx, _ *state) error {
		swept = false
		rec, err := readAttachmentRecord(tx, db.keys, a)
		if errors.Is(err, kv.ErrNotFound) || err == nil && !rec.sweepable(before) {
			return nil
		}
		if err != nil {
			return err
		}
		it := tx.Iterate(kv.Range{Prefix: db.keys.references(a)})
		used := it.Next()
		it.Close()
		if used {
			return nil
		}
		swept = rec.blob
		return errors.Join(tx.Delete(db.keys.attachment(a)), tx.Delete(db.keys.content(a)))
	})
	if err != nil || !swept {
		return err
	}
	// The removal of the record must be durable before the content goes: a crash must not bring back a record whose
	// content is gone.
	if err := s.Sync(); err != nil {
		return err
	}
	if err := s.engine.Blobs().Remove(db.ID, blobName(a)); err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	return nil
}

// sweepBlobs removes blobs without a record: those that a crash has left between the two.
func (db *DB) sweepBlobs(ctx context.Context, before time.Time) error {
	for info, err := range db.store.engine.Blobs().List(db.ID) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if info.Modified.After(before) {
			continue
		}
		if err := db.sweepBlob(info.Name); err != nil {
			return err
		}
	}
	return nil
}

func (db *DB) sweepBlob(name string) error {
	b, err := hex.DecodeString(name)
	if err != nil || len(b) != len(address{}) {
		return nil // not one of ours
	}
	db.store.adopting.Lock()
	defer db.store.adopting.Unlock()
	snap, err := db.Snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	if _, err := readAttachmentRecord(snap.kv, db.keys, address(b)); !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	return db.store.engine.Blobs().Remove(db.ID, name)
}
