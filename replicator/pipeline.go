package replicator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

const (
	defaultWorkers            = 20
	defaultBatchSize          = 500
	defaultCheckpointInterval = 30 * time.Second
	// linger is how long a batch that is not full waits for more rows.
	linger = time.Millisecond
	// storeBytes is how much of small revisions is gathered before it is written.
	storeBytes = 4 << 20
	// stopTime is how long the last checkpoint of a run that was told to stop may take.
	stopTime = 5 * time.Second
)

// Run copies from src to dst what dst does not have. It ends when it has come to src's present, or with o.Continuous
// when ctx is done; a run that is told to stop leaves a checkpoint. An error says that it could not go on; what has
// been copied by then stays, and the next run finds it.
//
// The stages: one goroutine reads changes and gathers them to batches; workers take one batch each, ask the target
// what it lacks, get that from the source and write it; batches finish in any order, and the checkpoint follows the
// first that has not. All channels are bounded, so that a slow side slows the other down.
func Run(ctx context.Context, src, dst Peer, o Options) (Outcome, error) {
	if o.Workers <= 0 {
		o.Workers = defaultWorkers
	}
	if o.BatchSize <= 0 {
		o.BatchSize = defaultBatchSize
	}
	if o.CheckpointInterval <= 0 {
		o.CheckpointInterval = defaultCheckpointInterval
	}
	o.Filter.AllLeaves = !o.WinningRevsOnly
	if o.Progress == nil {
		o.Progress = &Progress{}
	}
	s := newSession(src, dst, o)
	if err := s.open(ctx); err != nil {
		return Outcome{}, err
	}
	p := &pipeline{session: s, progress: o.Progress, tracker: tracker{through: s.start}}
	p.progress.begin(s.start)
	err := p.run(ctx)
	if opening := s.opened(); opening != nil {
		return Outcome{Stats: p.progress.Stats()}, opening
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	through := p.tracker.reached()
	stats := s.base.plus(p.progress.Stats())
	if through != p.saved && through != s.start && !errors.Is(err, ErrInstanceChanged) {
		// Also after an error: what has been done need not be done again.
		saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		if saveErr := p.checkpoint(saving, through, stats); saveErr != nil && err == nil {
			err = saveErr
		}
	}
	if err != nil {
		return Outcome{Stats: p.progress.Stats()}, err
	}
	if through == s.start {
		return Outcome{Log: s.unchanged(stats), NoChanges: true, Stats: p.progress.Stats()}, nil
	}
	return Outcome{Log: s.log(through, stats), Stats: p.progress.Stats()}, nil
}

// unchanged is the log of a run that found nothing new: that of the last one, if there was any.
func (s *session) unchanged(stats Stats) Log {
	if s.old.SessionID != "" {
		return s.old
	}
	return s.log(s.start, stats)
}

// batch is a run of changes that is copied as one.
type batch struct {
	number int
	rows   []ChangeRow
	seq    string // of its last row
}

type pipeline struct {
	*session
	progress *Progress
	tracker  tracker
	saved    string // sequence of the last checkpoint
}

func (p *pipeline) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	rows := make(chan ChangeRow, p.o.BatchSize)
	batches := make(chan batch)
	g.Go(func() error {
		defer close(rows)
		return p.read(ctx, rows)
	})
	g.Go(func() error {
		defer close(batches)
		return p.gather(ctx, rows, batches)
	})
	var working sync.WaitGroup
	for range p.o.Workers {
		working.Add(1)
		g.Go(func() error {
			defer working.Done()
			return p.work(ctx, batches)
		})
	}
	done := make(chan struct{})
	go func() { working.Wait(); close(done) }()
	g.Go(func() error { return p.keepCheckpoints(ctx, done) })
	return g.Wait()
}

// read sends changes on as they come.
func (p *pipeline) read(ctx context.Context, rows chan<- ChangeRow) error {
	r := ChangesRequest{Since: p.start, Continuous: p.o.Continuous, Filter: p.o.Filter, Query: p.o.Query}
	for row, err := range p.src.Changes(ctx, r) {
		if err != nil {
			return err
		}
		select {
		case rows <- row:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// gather makes batches of changes: full ones while there are enough, smaller ones when no more come.
func (p *pipeline) gather(ctx context.Context, rows <-chan ChangeRow, batches chan<- batch) error {
	timer := time.NewTimer(linger)
	defer timer.Stop()
	for number := 0; ; number++ {
		b := batch{number: number}
		row, ok := <-rows
		for ok {
			b.seq = row.Seq
			if row.ID != "" {
				b.rows = append(b.rows, row)
			}
			if len(b.rows) >= p.o.BatchSize || row.ID == "" && len(rows) == 0 {
				break
			}
			timer.Reset(linger)
			select {
			case row, ok = <-rows:
				continue
			case <-timer.C:
			}
			break
		}
		if b.seq != "" {
			p.progress.sawSeq(b.seq, len(b.rows))
			select {
			case batches <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if !ok {
			return nil
		}
	}
}

// work copies one batch after the other.
func (p *pipeline) work(ctx context.Context, batches <-chan batch) error {
	for b := range batches {
		if len(b.rows) > 0 {
			if err := p.copy(ctx, b.rows); err != nil {
				return err
			}
		}
		if p.tracker.finish(b.number, b.seq) {
			p.progress.reached(p.tracker.reached())
		}
	}
	return ctx.Err()
}

// How often a batch is tried again when the line breaks while an attachment passes, and the first pause before that.
const (
	interruptions = 5
	interruption  = 250 * time.Millisecond
)

// copy brings those revisions of rows to the target that it lacks. A transfer that is interrupted goes on with what is
// still missing then.
func (p *pipeline) copy(ctx context.Context, rows []ChangeRow) error {
	asked := make([]DocRevs, len(rows))
	n := 0
	for i, row := range rows {
		asked[i] = DocRevs{ID: row.ID, Revs: row.Revs}
		n += len(row.Revs)
	}
	p.progress.checked.Add(int64(n))
	for try := 0; ; try++ {
		err := p.bring(ctx, asked, try == 0)
		if !errors.Is(err, ErrInterrupted) || try == interruptions {
			return err
		}
		select {
		case <-time.After(interruption << try):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// bring asks the target what it lacks and transfers that.
func (p *pipeline) bring(ctx context.Context, asked []DocRevs, first bool) error {
	missing, err := p.dst.RevsDiff(ctx, asked)
	if err != nil || len(missing) == 0 {
		return err
	}
	if first {
		for _, m := range missing {
			p.progress.found.Add(int64(len(m.Revs)))
		}
	}
	again, err := p.transfer(ctx, missing)
	if err != nil || len(again) == 0 {
		return err
	}
	// The target does not have the attachments that its ancestors should have had: send them too.
	again, err = p.transfer(ctx, again)
	p.progress.failed.Add(int64(len(again)))
	return err
}

// transfer gets revisions and writes them. It returns those that must be sent with all their attachments.
func (p *pipeline) transfer(ctx context.Context, wanted []DocRevs) (again []DocRevs, err error) {
	var small []Revision
	size := 0
	store := func(revs []Revision) error {
		refused, err := p.dst.Store(ctx, revs)
		if err != nil {
			return err
		}
		for _, r := range refused {
			if r.Name == missingStub {
				again = append(again, DocRevs{ID: r.ID, Revs: []revtree.ID{r.Rev}})
				continue
			}
			p.progress.failed.Add(1)
		}
		p.progress.written.Add(int64(len(revs) - len(refused)))
		return nil
	}
	err = p.src.Fetch(ctx, wanted, func(r Revision) error {
		switch {
		case errors.Is(r.Err, storage.ErrNotFound):
			return nil // gone since it was announced: its successor, if any, will be announced too
		case r.Err != nil:
			p.progress.failed.Add(1)
			return nil
		}
		p.progress.read.Add(1)
		if r.BulkGet {
			p.progress.bulkGet.Add(1)
		}
		p.progress.bytes.Add(revisionSize(&r))
		if r.Content != nil {
			return store([]Revision{r})
		}
		small = append(small, r)
		if size += len(r.Doc.Body) + len(r.Doc.ID); size < storeBytes && len(small) < p.o.BatchSize {
			return nil
		}
		revs := small
		small, size = nil, 0
		return store(revs)
	})
	if err == nil && len(small) > 0 {
		err = store(small)
	}
	return again, err
}

func revisionSize(r *Revision) int64 {
	n := int64(len(r.Doc.Body))
	for i := range r.Doc.Attachments {
		if a := &r.Doc.Attachments[i]; a.Follows {
			n += max(a.EncodedLength, a.Length, 0)
		}
	}
	return n
}

// keepCheckpoints saves a checkpoint now and then while there is progress, until the workers have ended.
func (p *pipeline) keepCheckpoints(ctx context.Context, done <-chan struct{}) error {
	if err := p.opened(); err != nil {
		return err
	}
	tick := time.NewTicker(p.o.CheckpointInterval)
	defer tick.Stop()
	p.countPending(ctx, p.start)
	for {
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		through := p.tracker.reached()
		if through == p.saved || through == p.start {
			continue
		}
		if err := p.checkpoint(ctx, through, p.base.plus(p.progress.Stats())); err != nil {
			return err
		}
		p.countPending(ctx, through)
	}
}

func (p *pipeline) checkpoint(ctx context.Context, through string, stats Stats) error {
	if err := p.save(ctx, through, stats); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	p.saved = through
	p.progress.checkpointedAt(through)
	return nil
}

// countPending asks the source how much is left. It is only for people to see: that it fails matters to nobody.
func (p *pipeline) countPending(ctx context.Context, since string) {
	if n, err := p.src.Pending(ctx, since); err == nil {
		p.progress.pending.Store(n)
	}
}

// tracker finds up to where all batches are done, whatever the order they finish in.
type tracker struct {
	mu      sync.Mutex
	first   int            // the first batch that is not done
	done    map[int]string // batches that are, with their last sequence
	through string
}

// finish notes a batch as done and tells whether the end of the done ones has moved.
func (t *tracker) finish(number int, seq string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done == nil {
		t.done = map[int]string{}
	}
	t.done[number] = seq
	moved := false
	for {
		seq, ok := t.done[t.first]
		if !ok {
			return moved
		}
		delete(t.done, t.first)
		t.first++
		t.through, moved = seq, true
	}
}

// reached returns the sequence up to which everything is done.
func (t *tracker) reached() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.through
}

func (p *Progress) begin(start string) {
	p.pending.Store(-1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sourceSeq, p.throughSeq, p.checkpointed = start, start, start
}

func (p *Progress) sawSeq(seq string, rows int) {
	for {
		n := p.pending.Load()
		if n < 0 || p.pending.CompareAndSwap(n, max(n-int64(rows), 0)) {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sourceSeq = seq
}

func (p *Progress) reached(seq string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.throughSeq = seq
}

func (p *Progress) checkpointedAt(seq string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checkpointed = seq
}
