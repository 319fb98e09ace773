package storage

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// IndexBuild builds an index from many documents at once, from nothing or together with the rows that are there: rows
// are sorted in parts, and all parts are merged with what is there into new trees, which are written once and in order.
// Until then readers see the index as it was. Runs that do not fit into memory, and all of them now and then, are saved;
// a build that was cut off goes on behind what was saved.
//
// Part may be called by several goroutines; the rest by one at a time, which nobody else who writes to the index may run
// beside: whoever comes too late gets ErrConflict.
type IndexBuild struct {
	ix      *Index
	keys    keyspace
	header  *header // as it is on disk
	epoch   uint64
	resumed bool
	pass    uint64
	reached reached
	parts   []*IndexPart
	size    int // of parts
	begun   time.Time
	saved   time.Time
}

// What a build keeps in memory is saved when it takes up more than a quarter of the store's budget, or after some time.
const (
	defaultBuildMemory = 16 << 20
	leastBuildMemory   = 64 << 10
	buildTime          = 30 * time.Second
)

// IndexPart is rows of some documents, sorted and packed.
type IndexPart struct {
	sections [][]byte
	size     int
}

// Build begins a build of the index, which is made if it is not there, or goes on with the one that was cut off.
func (ix *Index) Build(ctx context.Context) (*IndexBuild, error) {
	if err := ix.db.gone(); err != nil {
		return nil, err
	}
	if err := ix.db.store.roomy(); err != nil {
		return nil, err
	}
	s, err := ix.db.Snapshot()
	if err != nil {
		return nil, err
	}
	b := &IndexBuild{ix: ix, epoch: s.state.epoch, begun: time.Now(), saved: time.Now()}
	b.keys, b.header, err = ix.lookup(s.kv)
	s.Close()
	if errors.Is(err, ErrNotFound) {
		b.keys, b.header, err = ix.create(ctx, &buildHeader{})
	}
	if err == nil && b.header.outdated {
		err = ErrConflict // it has to be reset first
	}
	if err == nil {
		err = b.tidy(ctx)
	}
	if err != nil {
		return nil, err
	}
	b.reached, b.pass = b.header.reached, 1
	if h := b.header.build; h != nil {
		b.reached, b.pass = h.reached, h.pass+1
	}
	b.resumed = b.pass > 1 || b.header.notes.rows > 0
	return b, nil
}

// tidy removes what was left by builds before, and begins anew if a run is missing.
func (b *IndexBuild) tidy(ctx context.Context) error {
	missing, err := b.ix.tidy(ctx, b.keys, &b.header)
	if err != nil {
		return err
	}
	// A build that came to nothing may have written nodes that nobody knows.
	err = b.ix.removeNodes(ctx, b.keys, b.header, kv.Range{Start: b.keys.node(b.header.nextNode)})
	if err != nil || !missing {
		return err
	}
	next := b.header.clone()
	next.build.reached, next.build.runs = next.reached, nil
	if err := b.ix.replace(ctx, b.keys, b.header, next, nil); err != nil {
		return err
	}
	b.header = next
	_, err = b.ix.removeRuns(b.keys, b.header)
	return err
}

// Seq returns how far the build had come when it was begun: what is behind is to be added.
func (b *IndexBuild) Seq() (Seq, uint64) { return b.reached.seq, b.reached.purgeSeq }

// Resumed tells whether documents that are added may have been there before. Otherwise those without rows need not be
// added.
func (b *IndexBuild) Resumed() bool { return b.resumed }

// Part sorts the rows of documents, each of which is given once to all parts of a build. It takes nothing into the build
// yet.
func (b *IndexBuild) Part(docs []IndexDoc) *IndexPart {
	spaces := len(b.ix.spec.Spaces)
	sections := make([][]storedRow, spaces+1)
	var n numbering
	var memory arena
	var note []byte
	for i := range docs {
		d := &docs[i]
		rows, list := n.number(d)
		for j := range list {
			s := &list[j]
			sections[s.space] = append(sections[s.space], storedRow{s.position, s.key, rows[j].Value})
		}
		large := d.isLarge()
		for number := uint32(0); number == 0 || len(list) > 0; number++ {
			size := len(list)
			if large {
				size = piece(list, rows)
			}
			note = note[:0]
			if size > 0 {
				note = newNote(large, list[:size]).append(note)
			}
			r := storedRow{position: notePosition(memory.take(2*len(d.ID)+6), d.ID, number)}
			r.value = append(memory.take(len(note)), note...)
			sections[spaces] = append(sections[spaces], r)
			rows, list = rows[size:], list[size:]
		}
	}
	return packPart(sections)
}

// packPart sorts rows, by section, and packs them.
func packPart(sections [][]storedRow) *IndexPart {
	p := &IndexPart{sections: make([][]byte, len(sections))}
	for i, rows := range sections {
		var out bytes.Buffer
		w := runWriter{w: &out}
		rows = sortRows(rows)
		for j := range rows {
			w.add(&rows[j])
		}
		w.flush() // into memory: cannot fail
		p.sections[i] = bytes.Clone(out.Bytes())
		p.size += len(p.sections[i]) + w.block // that much is needed when it is merged
	}
	return p
}

// Add takes a part into the build. Together with those before it has everything up to the sequences.
func (b *IndexBuild) Add(ctx context.Context, p *IndexPart, seq Seq, purgeSeq uint64) error {
	b.parts = append(b.parts, p)
	b.size += p.size
	b.reached = reached{epoch: b.epoch, seq: seq, purgeSeq: purgeSeq}
	// The longer a build takes, the more of it can be lost: otherwise there would be too many runs.
	if b.size < b.ix.db.store.buildMemory && time.Since(b.saved) < max(buildTime, time.Since(b.begun)/8) {
		return nil
	}
	return b.Save(ctx)
}

// Save saves what has been added. It is durable with the next sync of the store.
func (b *IndexBuild) Save(ctx context.Context) error {
	if len(b.parts) == 0 {
		return nil
	}
	run := runHeader{pass: b.pass}
	sections := func(i int) []*runReader { return partReaders(ctx, b.parts, i) }
	if err := b.save(ctx, &run, 0, sections); err != nil {
		return err
	}
	b.parts, b.size, b.saved = nil, 0, time.Now()
	return b.joinRuns(ctx)
}

// mergedRuns is how many runs of a level become one of the next: each has a file that is open when all are merged. It is a
// variable for tests alone.
var mergedRuns = 16

// joinRuns makes one run of the last ones if there are enough of one level and pass.
func (b *IndexBuild) joinRuns(ctx context.Context) error {
	for {
		runs := b.runs()
		if len(runs) < mergedRuns {
			return nil
		}
		last := runs[len(runs)-mergedRuns:]
		for _, run := range last {
			if run.level != last[0].level || run.pass != b.pass {
				return nil
			}
		}
		blobs, err := b.open(last)
		if err != nil {
			return err
		}
		sections := func(i int) (list []*runReader) {
			for j := range last {
				list = append(list, last[j].reader(ctx, blobs[j], i))
			}
			return list
		}
		err = b.save(ctx, &runHeader{pass: b.pass, level: last[0].level + 1}, mergedRuns, sections)
		closeBlobs(blobs)
		if err == nil {
			_, err = b.ix.removeRuns(b.keys, b.header)
		}
		if err != nil {
			return err
		}
	}
}

// save makes a run of sections, and puts it in the place of the last runs.
func (b *IndexBuild) save(ctx context.Context, run *runHeader, instead int, sections func(int) []*runReader) error {
	if err := b.ix.db.store.roomy(); err != nil {
		return err
	}
	run.number = b.nextRun()
	add := func(m *merge, s rowSource) { m.add(s, b.pass) }
	if err := b.write(ctx, run, sections, add); err != nil {
		return err
	}
	next := b.header.clone()
	if next.build == nil {
		next.build = &buildHeader{}
	}
	next.build.reached, next.build.pass = b.reached, b.pass
	next.build.runs = append(next.build.runs[:len(next.build.runs)-instead], *run)
	err := b.ix.replace(ctx, b.keys, b.header, next, nil)
	if err == nil {
		b.header = next
		return nil
	}
	if errors.Is(err, ErrConflict) || errors.Is(err, ErrNoDatabase) {
		// The index was dropped. What removes its blobs may have been there before this one.
		err = errors.Join(err, b.ix.db.store.engine.Blobs().Remove(b.keys.id(), run.blob()))
	}
	return err
}

// open opens the blobs of runs.
func (b *IndexBuild) open(runs []runHeader) (blobs []kv.Blob, err error) {
	for _, run := range runs {
		blob, err := b.ix.db.store.engine.Blobs().Open(b.keys.id(), run.blob())
		if errors.Is(err, kv.ErrNotFound) {
			err = corrupt("an index lacks a run", nil)
		}
		if err != nil {
			closeBlobs(blobs)
			return nil, outer(err)
		}
		blobs = append(blobs, blob)
	}
	return blobs, nil
}

func closeBlobs(blobs []kv.Blob) {
	for _, b := range blobs {
		_ = b.Close() // it was only read
	}
}

// nextRun returns a number that no run of the header has.
func (b *IndexBuild) nextRun() uint64 {
	runs := b.runs()
	if len(runs) == 0 {
		return 0
	}
	return runs[len(runs)-1].number + 1
}

// write merges sections into a run, a blob, and completes its header. add adds one of them to a merge.
func (b *IndexBuild) write(ctx context.Context, run *runHeader, sections func(int) []*runReader, add func(*merge, rowSource)) error {
	blob, err := b.ix.db.store.engine.Blobs().Create(b.keys.id())
	if err != nil {
		return outer(err)
	}
	out := bufio.NewWriterSize(blob, 64<<10)
	w := runWriter{w: out}
	for i := 0; i <= len(b.ix.spec.Spaces) && err == nil; i++ {
		m := &merge{}
		for _, r := range sections(i) {
			add(m, r)
		}
		for m.next() {
			w.add(m.row())
		}
		w.flush()
		run.ends = append(run.ends, w.size)
		err = cmp.Or(m.err, w.err)
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		blob.Abort()
		return outer(err)
	}
	if err := blob.Commit(run.blob()); err != nil {
		// It may have its name nevertheless.
		_ = b.ix.db.store.engine.Blobs().Remove(b.keys.id(), run.blob())
		return outer(err)
	}
	return nil
}

// runs returns the runs that were saved.
func (b *IndexBuild) runs() []runHeader {
	if b.header.build == nil {
		return nil
	}
	return b.header.build.runs
}

// tidy removes what the last build has left: nodes of before, and runs. missing is that of removeRuns.
func (ix *Index) tidy(ctx context.Context, keys keyspace, h **header) (missing bool, err error) {
	before := *h
	if missing, err = ix.removeRuns(keys, before); err != nil || before.oldNodes == 0 {
		return missing, err
	}
	if err := ix.removeNodes(ctx, keys, before, kv.Range{End: keys.node(before.oldNodes)}); err != nil {
		return missing, err
	}
	next := before.clone()
	next.oldNodes = 0
	if err := ix.replace(ctx, keys, before, next, nil); err != nil {
		return missing, err
	}
	*h = next
	return missing, nil
}

// removeNodes removes the nodes of a range.
func (ix *Index) removeNodes(ctx context.Context, keys keyspace, h *header, rg kv.Range) error {
	rg.Prefix = keys.space(spaceNode, 0)
	return ix.db.store.batches(rg, func(list [][]byte) error {
		gone := make([]keyValue, len(list))
		for i := range gone {
			gone[i].key = list[i]
		}
		return ix.nodes(ctx, keys, h, gone)
	})
}

// removeRuns removes the blobs of runs that the header does not name, and tells whether one that it names is missing.
func (ix *Index) removeRuns(keys keyspace, h *header) (missing bool, err error) {
	named := map[string]bool{}
	if h.build != nil {
		for _, run := range h.build.runs {
			named[run.blob()] = true
		}
	}
	blobs := ix.db.store.engine.Blobs()
	synced := false
	for info, err := range blobs.List(keys.id()) {
		if err != nil {
			return false, outer(err)
		}
		if named[info.Name] {
			delete(named, info.Name)
			continue
		}
		if !synced {
			// A crash must not bring back a header that names them.
			if err := ix.db.store.Sync(); err != nil {
				return false, err
			}
			synced = true
		}
		if err := blobs.Remove(keys.id(), info.Name); err != nil && !errors.Is(err, kv.ErrNotFound) {
			return false, outer(err)
		}
	}
	return len(named) > 0, nil
}
