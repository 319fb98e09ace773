package storage

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// FormatVersion is the version of the data on disk. It only goes up; a store opens data of its own version and of
// every older one, and refuses newer data.
const FormatVersion = 1

// identity is what a node knows of itself.
type identity struct {
	uuid  string // 32 hex digits; never changes
	epoch uint64 // counts unclean starts
}

// open checks the format, or lays it down in an empty folder, and takes the mark of a clean stop away.
func openFormat(ctx context.Context, e kv.Engine) (id identity, err error) {
	err = e.Update(ctx, func(tx kv.Tx) error {
		err := id.read(tx)
		if errors.Is(err, kv.ErrNotFound) {
			return layDown(tx, &id)
		}
		if err != nil {
			return err
		}
		if _, err := tx.Get(nodeKey("clean")); err == nil {
			return tx.Delete(nodeKey("clean"))
		} else if !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		id.epoch++
		return tx.Set(nodeKey("epoch"), strconv.AppendUint(nil, id.epoch, 10))
	})
	if err != nil {
		return id, err
	}
	return id, e.Sync()
}

// readIdentity is openFormat for a disk that is too full to write to. The epoch is the one that openFormat will begin
// as soon as it can, before anything else is written.
func readIdentity(e kv.Engine) (id identity, err error) {
	snap, err := e.Snapshot()
	if err != nil {
		return id, err
	}
	defer snap.Close()
	if err := id.read(snap); err != nil {
		return id, err
	}
	if _, err := snap.Get(nodeKey("clean")); errors.Is(err, kv.ErrNotFound) {
		id.epoch++
	}
	return id, nil
}

// read reads the identity of data that has been laid down, or returns kv.ErrNotFound.
func (id *identity) read(r kv.Reader) error {
	format, err := r.Get(nodeKey("format"))
	if err != nil {
		return err
	}
	if v, err := strconv.Atoi(string(format)); err != nil || v < 1 || v > FormatVersion {
		return fmt.Errorf("%w: the data has version %s, this program knows versions 1 to %d; use a newer program",
			ErrFormat, format, FormatVersion)
	}
	uuid, err := r.Get(nodeKey("uuid"))
	if err != nil {
		return corrupt("uuid of the node", err)
	}
	text, err := r.Get(nodeKey("epoch"))
	if err != nil {
		return corrupt("epoch", err)
	}
	id.uuid = string(uuid)
	if id.epoch, err = strconv.ParseUint(string(text), 10, 64); err != nil {
		return corrupt("epoch", err)
	}
	return nil
}

func layDown(tx kv.Tx, id *identity) error {
	var uuid [16]byte
	if _, err := rand.Read(uuid[:]); err != nil {
		return err
	}
	*id = identity{uuid: hex.EncodeToString(uuid[:])}
	return errors.Join(
		tx.Set(nodeKey("format"), strconv.AppendInt(nil, FormatVersion, 10)),
		tx.Set(nodeKey("uuid"), []byte(id.uuid)),
		tx.Set(nodeKey("epoch"), []byte("0")),
	)
}

// markClean notes that nothing was under way when the store stopped.
func markClean(e kv.Engine) error {
	return e.Update(context.Background(), func(tx kv.Tx) error { return tx.Set(nodeKey("clean"), []byte("1")) })
}
