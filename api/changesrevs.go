package api

import (
	"errors"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// maxInlineRevs is how large the revisions of a row may be at most that are sent along with it.
const maxInlineRevs = 64 << 10

// appendRevisions appends the revisions that a row of the feed names, with their histories, as _bulk_get?revs=true gives
// them: a replicator whose target lacks everything need not ask for them then. It appends nothing if they have
// attachments, or are not all there, or larger than the client wants them.
func (s *changes) appendRevisions(b []byte, f *feed, c *storage.Change) ([]byte, error) {
	row, err := s.snap.Lookup(c.ID)
	if errors.Is(err, storage.ErrNotFound) {
		return b, nil
	}
	if err != nil {
		return b, err
	}
	tree, err := row.Tree()
	if err != nil {
		return b, err
	}
	begin := len(b)
	b = append(b, `,"revisions":`...)
	list := len(b)
	for i, rev := range c.Revs {
		at, ok := tree.Find(rev)
		if !ok {
			return b[:begin], nil
		}
		d, err := row.Revision(tree, at)
		switch {
		case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrCorrupt):
			return b[:begin], nil // who wants them asks for them, and is told then
		case err != nil:
			return b, err
		case len(d.Attachments) > 0 || len(b)-list+len(d.Body) > s.inlineRevs:
			return b[:begin], nil
		}
		if i == 0 {
			b = append(b, '[')
		} else {
			b = append(b, ',')
		}
		b = document.AppendJSON(b, d, document.Members{Revisions: true})
	}
	if b = append(b, ']'); len(b)-list > s.inlineRevs {
		return b[:begin], nil
	}
	f.q.api.stats.reads.Add(uint64(len(c.Revs)))
	return b, nil
}
