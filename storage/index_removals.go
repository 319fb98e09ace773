package storage

import (
	"context"
	"encoding/binary"
)

// removals are the rows of which a later pass does not know any more, for the merge of the rows: each with the pass that
// it comes from for its value, so that of several at one position the latest comes first. They are sorted as rows are, and
// lie in blobs if there are many.
type removals struct {
	ctx      context.Context
	b        *IndexBuild
	memory   arena
	sections [][]storedRow // that are not in a part yet
	rows     int           // of these
	bytes    int
	parts    []*IndexPart
	size     int // of parts
	runs     []runHeader
}

// removalRows is how many rows are sorted at once. It is a variable for tests alone.
var removalRows = 1 << 16

// removalRecord is how much memory a row takes beside its position.
const removalRecord = 64

// removalPass returns the pass that a removal's value tells.
func removalPass(value []byte) uint64 {
	if len(value) != 8 {
		return 0
	}
	return ^binary.BigEndian.Uint64(value)
}

// drop takes the rows that a note tells of.
func (r *removals) drop(stored *storedRow, pass uint64) error {
	spaces := len(r.b.ix.spec.Spaces)
	n, err := parseNote(stored.value, parseIndexID(noteID(stored.position)), spaces)
	if err != nil {
		return err
	}
	if r.sections == nil {
		r.sections = make([][]storedRow, spaces+1)
	}
	value := binary.BigEndian.AppendUint64(r.memory.take(8), ^pass)
	for _, s := range n.rows {
		r.sections[s.space] = append(r.sections[s.space], storedRow{s.position, s.key, value})
		r.bytes += len(s.position) + removalRecord
	}
	if r.rows += len(n.rows); r.rows < removalRows && r.bytes < max(r.b.ix.db.store.buildMemory/4, leastBuildMemory) {
		return nil
	}
	return r.sort()
}

// sort makes a part of what was dropped.
func (r *removals) sort() error {
	if r.rows == 0 {
		return nil
	}
	p := packPart(r.sections)
	r.parts, r.size = append(r.parts, p), r.size+p.size
	r.sections, r.memory, r.rows, r.bytes = nil, arena{}, 0, 0
	if r.size < r.b.ix.db.store.buildMemory {
		return nil
	}
	// The header does not name the run: it goes at the end of the build, or when the index is tidied.
	run := runHeader{number: r.b.nextRun() + uint64(len(r.runs))}
	sections := func(i int) []*runReader { return partReaders(r.ctx, r.parts, i) }
	if err := r.b.write(r.ctx, &run, sections, (*merge).bury); err != nil {
		return err
	}
	r.runs, r.parts, r.size = append(r.runs, run), nil, 0
	return nil
}

// remove removes the blobs of a build that failed: if the index is gone, nobody else will.
func (r *removals) remove() {
	for i := range r.runs {
		_ = r.b.ix.db.store.engine.Blobs().Remove(r.b.keys.id(), r.runs[i].blob()) // or the next build does it
	}
}
