package replicator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

const (
	defaultWorkers            = 20
	defaultBatchSize          = 500
	defaultCheckpointInterval = 30 * time.Second
	// linger is how long a batch that is not full waits for the next row, and longLinger the same where the feed has an
	// end, which nothing waits for: many small batches cost more than few large ones. After lingers of them it waits no
	// more.
	linger     = time.Millisecond
	longLinger = 10 * time.Millisecond
	lingers    = 10
	// maxAhead is how many rows are read ahead of the batches at most.
	maxAhead = 256
	// storeBytes is how much of small revisions is gathered before it is written.
	storeBytes = 4 << 20
	// longLine is how long the source's first answer takes over a line of which each round trip counts.
	longLine = 100 * time.Millisecond
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
	p := &pipeline{session: s, progress: o.Progress}
	if s.logs[1] == nil {
		// Whatever the source answers, it begins where it was told to.
		s.start, p.begun = s.guess, true
		p.tracker.begin(s.start)
	}
	p.progress.begin(s.guess)
	err := p.run(ctx)
	if opening := p.settle(); opening != nil {
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
		save := p.checkpoint
		if err == nil {
			save = p.lastCheckpoint
		}
		if saveErr := save(saving, through, stats); saveErr != nil && err == nil {
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
	begun    bool   // it is certain where to read from; the reader's alone

	shared atomic.Bool // others write what this run does into the target, which had nothing at first
	plain  atomic.Bool // so much of it that revisions are not to be sent along with the feed any more
}

func (p *pipeline) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	rows := make(chan ChangeRow, min(p.o.BatchSize, maxAhead))
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
	while, done := context.WithCancel(ctx)
	go func() { working.Wait(); done() }()
	g.Go(func() error { return p.keepCheckpoints(ctx, while) })
	return g.Wait()
}

// settle is that of the session; where it begins is then also what has been reached.
func (p *pipeline) settle() error {
	if err := p.session.settle(); err != nil {
		return err
	}
	if p.tracker.begin(p.start) {
		p.progress.begin(p.start)
	}
	return nil
}

// read sends changes on as they come. Where the target has nothing, everything up to the present comes with its
// revisions; what comes later may come from elsewhere, too.
func (p *pipeline) read(ctx context.Context, rows chan<- ChangeRow) error {
	r := ChangesRequest{Since: p.guess, Filter: p.o.Filter, Query: p.o.Query}
	for {
		r.Inline, r.Continuous = 0, p.o.Continuous
		if p.fresh && !p.plain.Load() {
			r.Inline, r.Continuous = inlineBytes, false
		}
		all, err := p.follow(ctx, &r, rows)
		switch {
		case err != nil, all && !p.o.Continuous, all && r.Continuous:
			return err
		case all:
			p.plain.Store(true)
		}
	}
}

// follow reads one feed and moves r.Since along. It reports false if it left off to read from elsewhere, or because no
// revisions should come with the feed any more.
func (p *pipeline) follow(ctx context.Context, r *ChangesRequest, rows chan<- ChangeRow) (all bool, err error) {
	begun := p.begun
	for row, err := range p.src.Changes(ctx, *r) {
		if !begun {
			if moved, err := p.begin(r); moved || err != nil {
				return false, err
			}
			begun = true
		}
		if err != nil {
			return false, err
		}
		select {
		case rows <- row:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		r.Since = row.Seq
		if r.Inline > 0 && p.plain.Load() {
			return false, nil
		}
	}
	if !begun {
		if moved, err := p.begin(r); moved || err != nil {
			return false, err
		}
	}
	return true, ctx.Err()
}

// begin is called when the feed that was asked for before it was certain from where says something. Nothing of it may
// be used before it is; it reports whether the feed must be read from elsewhere.
func (p *pipeline) begin(r *ChangesRequest) (moved bool, err error) {
	if err := p.settle(); err != nil {
		return false, err
	}
	p.begun = true
	moved = r.Since != p.start
	r.Since = p.start
	return moved, nil
}

// gather makes batches of changes: full ones while there are enough, smaller ones when no more come.
func (p *pipeline) gather(ctx context.Context, rows <-chan ChangeRow, batches chan<- batch) error {
	pause := linger
	if !p.o.Continuous {
		pause = longLinger
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for number := 0; ; number++ {
		b := batch{number: number}
		size := 0
		row, ok := <-rows
		begun := time.Now()
		for ok {
			b.seq = row.Seq
			if row.ID != "" {
				b.rows = append(b.rows, row)
				size += len(row.Inline)
			}
			if len(b.rows) >= p.o.BatchSize || size >= batchBytes || row.ID == "" && len(rows) == 0 || time.Since(begun) > lingers*pause {
				break
			}
			timer.Reset(pause)
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
	rows, err := p.writeInlined(ctx, rows)
	if err != nil || len(rows) == 0 {
		return err
	}
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
		stubs, err := p.store(ctx, revs)
		again = append(again, stubs...)
		return err
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

// store writes revisions. It returns those that must be sent with all their attachments.
func (p *pipeline) store(ctx context.Context, revs []Revision) (again []DocRevs, err error) {
	refused, err := p.dst.Store(ctx, revs)
	if err != nil {
		return nil, err
	}
	for _, r := range refused {
		if r.Name == missingStub {
			again = append(again, DocRevs{ID: r.ID, Revs: []revtree.ID{r.Rev}})
			continue
		}
		p.progress.failed.Add(1)
	}
	p.progress.written.Add(int64(len(revs) - len(refused)))
	return again, nil
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

// keepCheckpoints saves a checkpoint now and then while there is progress, until the workers have ended and while is
// done.
func (p *pipeline) keepCheckpoints(ctx, while context.Context) error {
	if err := p.settle(); err != nil {
		return err
	}
	tick := time.NewTicker(p.o.CheckpointInterval)
	defer tick.Stop()
	p.countPending(while, p.start)
	for {
		select {
		case <-while.Done():
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
		p.countPending(while, through)
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

// lastCheckpoint is the checkpoint of a run that has come to its end. Over a long line the source's part of it is left
// for later, if somebody sees to it: everything is durable and on record at the target by then, and should the source
// never hear of it, the next run merely begins where this one did.
func (p *pipeline) lastCheckpoint(ctx context.Context, through string, stats Stats) error {
	if p.o.Later == nil || p.o.NoCheckpoints || p.distance < longLine {
		return p.checkpoint(ctx, through, stats)
	}
	if err := p.saveFirst(ctx, through, stats); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	p.o.Later(func(ctx context.Context) error { return p.saveSecond(ctx, through, stats) })
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
	begun   bool
}

// begin sets where the first batch begins, unless that is known.
func (t *tracker) begin(at string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.begun {
		return false
	}
	t.begun, t.through = true, at
	return true
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
