package replicator

import (
	"bytes"
	"context"

	"github.com/mangrove-db/mangrove/document"
)

// A target without any documents lacks everything. It need not be asked what it lacks, and a source that can sends small
// revisions along with the rows of its feed: they have not to be asked for, which saves a round trip and half the work.

const (
	// inlineBytes is how large the revisions of a row may be that are sent along with it.
	inlineBytes = 8 << 10
	// batchBytes is how much of such revisions makes a batch full.
	batchBytes = 1 << 20
)

// inlined returns the revisions that came with a row. It reports false if they are not just those that the row names,
// whole and readable: they must be got otherwise then.
func inlined(row *ChangeRow) ([]Revision, bool) {
	if row.Inline == nil {
		return nil, false
	}
	if len(row.Revs) == 1 && row.Inline[0] == '[' {
		// Decode finds out whether there is one element and no more.
		d, ok := inlinedOne(bytes.TrimSuffix(row.Inline[1:], []byte("]")), row, 0)
		return []Revision{{Doc: d}}, ok
	}
	revs := make([]Revision, 0, len(row.Revs))
	for text := range rawElements(row.Inline) {
		if len(revs) == len(row.Revs) {
			return nil, false
		}
		d, ok := inlinedOne(text, row, len(revs))
		if !ok {
			return nil, false
		}
		revs = append(revs, Revision{Doc: d})
	}
	return revs, len(revs) == len(row.Revs)
}

// inlinedOne reads revision n of a row.
func inlinedOne(text []byte, row *ChangeRow, n int) (*document.Document, bool) {
	d, err := document.Decode(text)
	if err != nil {
		return nil, false
	}
	if len(d.Attachments) > 0 || !answers(d, row.ID) || d.Rev != row.Revs[n] {
		_ = d.Close() // the one thing it can hold is the content of attachments
		return nil, false
	}
	return d, true
}

// writeInlined writes those revisions that came with their rows. It returns the rows that must be looked at otherwise.
//
// The target had nothing when the run began, so that all are written that come. Others may write to it as well: a
// revision that is there already does no harm, but it should not have been sent. So one row of each batch is asked
// for; once such a row is there, the target is asked for all, and where it has most of them, the feed goes on without
// revisions.
func (p *pipeline) writeInlined(ctx context.Context, rows []ChangeRow) (rest []ChangeRow, err error) {
	var revs []Revision
	var brought []DocRevs
	for i := range rows {
		if got, ok := inlined(&rows[i]); ok {
			revs = append(revs, got...)
			brought = append(brought, DocRevs{ID: rows[i].ID, Revs: rows[i].Revs})
		} else {
			rest = append(rest, rows[i])
		}
		rows[i].Inline = nil // so that it is not held beside what was read from it
	}
	if len(revs) == 0 {
		return rest, nil
	}
	p.progress.checked.Add(int64(len(revs)))
	p.progress.read.Add(int64(len(revs)))
	for i := range revs {
		p.progress.bytes.Add(revisionSize(&revs[i]))
	}
	if revs, err = p.lacking(ctx, revs, brought); err != nil || len(revs) == 0 {
		return rest, err
	}
	p.progress.found.Add(int64(len(revs)))
	again, err := p.store(ctx, revs)
	p.progress.failed.Add(int64(len(again)))
	return rest, err
}

// lacking returns those of revs, the revisions that brought names, that the target lacks.
func (p *pipeline) lacking(ctx context.Context, revs []Revision, brought []DocRevs) ([]Revision, error) {
	if !p.shared.Load() {
		missing, err := p.dst.RevsDiff(ctx, brought[len(brought)-1:])
		if err != nil || len(missing) > 0 {
			return revs, err
		}
		p.shared.Store(true)
	}
	missing, err := p.dst.RevsDiff(ctx, brought)
	if err != nil {
		return nil, err
	}
	lacks := map[string]bool{}
	for _, m := range missing {
		for _, rev := range m.Revs {
			lacks[m.ID+"\x00"+rev.String()] = true
		}
	}
	if len(lacks) < len(revs)/2 {
		p.plain.Store(true)
	}
	kept := revs[:0]
	for _, r := range revs {
		if lacks[r.Doc.ID+"\x00"+r.Doc.Rev.String()] {
			kept = append(kept, r)
		}
	}
	return kept, nil
}
