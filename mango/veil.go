package mango

import (
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// Veil has show look at each document before the query does, as
// storage.Snapshot.Veil has it. As indexes know of documents what the veil
// would hide, no index is used then but that of all documents.
func (q *Query) Veil(show func(*document.Document) error) {
	q.veil = func(d *document.Document) error {
		if document.IsDesign(d.ID) {
			return storage.ErrNotFound
		}
		return show(d)
	}
}

// snapshot opens what the query looks at.
func (q *Query) snapshot(db *storage.DB) (*storage.Snapshot, error) {
	snap, err := db.Snapshot()
	if err == nil && q.veil != nil {
		snap.Veil(q.veil)
	}
	return snap, err
}
