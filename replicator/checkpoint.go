package replicator

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A replication leaves the same Log in a local document on both sides. Where the next one begins is the newest point
// that both logs tell of: then neither side can have lost what came before it. A checkpoint is written only when all
// batches before it are durable on the target; it goes to the target first, so that the source never knows of more.

// logVersion is the version of replication ids and logs that CouchDB writes.
const logVersion = 4

// maxHistory is how many sessions a log remembers, as in CouchDB.
const maxHistory = 50

// ErrInstanceChanged says that a database was deleted and made again while it was being replicated.
var ErrInstanceChanged = errors.New("the database has been deleted and created again during the replication")

// session is one run of a replication with its place in the logs of both sides.
type session struct {
	src, dst Peer
	o        Options

	id       string
	started  time.Time
	guess    string // where it begins, as far as is known before the source has answered
	start    string // where it begins; settle sets it
	old      Log    // what both sides told, if anything
	base     Stats  // counted by the sessions before
	revs     [2]string
	startsAt [2]string // start times of the instances
	// readOnly is set where the source takes no checkpoints.
	readOnly bool
	opening  *errgroup.Group
	logs     [2]*Log
	settled  sync.Once
	fault    error         // of opening
	distance time.Duration // what the source took to answer first
	// fresh is set where the target had no documents at the start.
	fresh bool
}

func newSession(src, dst Peer, o Options) *session {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return &session{src: src, dst: dst, o: o, id: hex.EncodeToString(b[:]), started: time.Now()}
}

// open looks at both sides. Over a slow line every question costs a round trip, so they are asked at the same time, and
// open does not wait for the source's answers: where the target has no log, what the source's says does not matter, and
// where it has one, both say the same nearly always. settle tells what has come of it.
func (s *session) open(ctx context.Context) error {
	if s.o.Create != nil {
		if err := s.dst.Create(ctx, *s.o.Create); err != nil {
			return fmt.Errorf("create %s: %w", s.dst.Name(), err)
		}
	}
	questions, ctx := errgroup.WithContext(ctx)
	s.opening = questions
	questions.Go(func() error {
		asked := time.Now()
		info, err := s.src.Info(ctx)
		s.startsAt[0], s.distance = info.StartTime, time.Since(asked)
		return err
	})
	known := make(chan struct{})
	questions.Go(func() error {
		defer close(known)
		info, err := s.dst.Info(ctx)
		s.startsAt[1], s.fresh = info.StartTime, err == nil && info.Empty
		return err
	})
	defer func() { <-known }()
	s.guess = s.o.Since
	if s.o.NoCheckpoints {
		return nil
	}
	questions.Go(func() (err error) {
		s.logs[0], s.revs[0], err = readLog(ctx, s.src, s.o.ID)
		return err
	})
	var err error
	if s.logs[1], s.revs[1], err = readLog(ctx, s.dst, s.o.ID); err != nil {
		return errors.Join(err, questions.Wait())
	}
	if s.logs[1] != nil {
		s.guess = string(s.logs[1].SourceLastSeq)
	}
	return nil
}

// settle waits until all questions of open have been answered, and finds where to begin. It returns why the run cannot,
// if the sides are not there.
func (s *session) settle() error {
	s.settled.Do(func() {
		if s.fault = s.opening.Wait(); s.fault != nil {
			return
		}
		s.start = s.o.Since
		if seq, ok := common(s.logs[0], s.logs[1], s.startsAt[0]); ok {
			s.start, s.old = seq, *s.logs[1]
			if len(s.old.History) > 0 {
				s.base = s.old.History[0].Stats
			}
		}
	})
	return s.fault
}

// readLog reads a side's log. A document that is there but no log counts as none, and is written over.
func readLog(ctx context.Context, p Peer, id string) (*Log, string, error) {
	c, err := p.Checkpoint(ctx, id)
	if errors.Is(err, ErrNoCheckpoint) || errors.Is(err, ErrNoDatabase) {
		return nil, "", nil // Info tells of a missing database
	}
	if err != nil {
		return nil, "", err
	}
	var l Log
	if json.Unmarshal(c.Body, &l) != nil {
		return nil, c.Rev, nil
	}
	return &l, c.Rev, nil
}

// common returns the newest sequence that both logs tell of.
func common(src, dst *Log, sourceStart string) (string, bool) {
	if dst == nil {
		return "", false
	}
	if src == nil {
		return string(dst.SourceLastSeq), dst.SourceStart != "" && dst.SourceStart == sourceStart
	}
	if src.SessionID == dst.SessionID && src.SessionID != "" {
		return string(src.SourceLastSeq), true
	}
	recorded := map[string]SeqJSON{}
	for _, e := range src.History {
		recorded[e.SessionID] = e.RecordedSeq
	}
	for _, e := range dst.History {
		if seq, ok := recorded[e.SessionID]; ok && e.SessionID != "" {
			return string(seq), true
		}
	}
	return "", false
}

// log returns the record of the session up to a sequence.
func (s *session) log(through string, stats Stats) Log {
	l := Log{SessionID: s.id, SourceLastSeq: SeqJSON(through), Version: logVersion}
	l.History = append(l.History, HistoryEntry{
		SessionID: s.id, StartTime: httpTime(s.started), EndTime: httpTime(time.Now()),
		StartLastSeq: SeqJSON(s.start), EndLastSeq: SeqJSON(through), RecordedSeq: SeqJSON(through), Stats: stats,
	})
	l.History = append(l.History, s.old.History[:min(len(s.old.History), maxHistory-1)]...)
	return l
}

// httpTime is RFC 1123 in GMT, as CouchDB writes it.
func httpTime(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") }

// save makes everything up to through durable on the target and writes the checkpoints.
func (s *session) save(ctx context.Context, through string, stats Stats) error {
	if s.o.NoCheckpoints {
		return nil
	}
	if err := s.saveFirst(ctx, through, stats); err != nil {
		return err
	}
	return s.saveSecond(ctx, through, stats)
}

// saveFirst is the target's part of save.
func (s *session) saveFirst(ctx context.Context, through string, stats Stats) error {
	if err := s.commit(ctx, 1); err != nil {
		return err
	}
	return s.saveTarget(ctx, through, stats)
}

// saveSecond is the source's part of save. What the source is asked for goes out at the same time: if it turns out to
// be another instance, the sequence in its new checkpoint tells so.
func (s *session) saveSecond(ctx context.Context, through string, stats Stats) error {
	if s.readOnly {
		return nil
	}
	g, asking := errgroup.WithContext(ctx)
	g.Go(func() error { return s.commit(asking, 0) })
	g.Go(func() error { return s.saveSource(asking, through, stats) })
	err := g.Wait()
	if errors.Is(err, ErrUnauthorized) {
		// The source may be read and not written: its side of the checkpoint is left out from now on, and the
		// target's tells which instance of the source it is of.
		s.readOnly = true
		return s.saveTarget(ctx, through, stats)
	}
	return err
}

// commit makes a side durable, and checks that it is the database that it was.
func (s *session) commit(ctx context.Context, side int) error {
	p := []Peer{s.src, s.dst}[side]
	start, err := p.Commit(ctx)
	if err == nil && start != "" && start != "0" && start != s.startsAt[side] {
		err = fmt.Errorf("%s: %w", p.Name(), ErrInstanceChanged)
	}
	return err
}

func (s *session) saveTarget(ctx context.Context, through string, stats Stats) (err error) {
	l := s.log(through, stats)
	if s.readOnly {
		l.SourceStart = s.startsAt[0]
	}
	s.revs[1], err = saveLog(ctx, s.dst, s.o.ID, s.revs[1], l)
	return err
}

func (s *session) saveSource(ctx context.Context, through string, stats Stats) (err error) {
	s.revs[0], err = saveLog(ctx, s.src, s.o.ID, s.revs[0], s.log(through, stats))
	return err
}

func saveLog(ctx context.Context, p Peer, id, rev string, l Log) (string, error) {
	body, err := json.Marshal(l)
	if err != nil {
		return rev, err
	}
	saved, err := p.SaveCheckpoint(ctx, Checkpoint{ID: id, Rev: rev, Body: body})
	if err != nil {
		return rev, fmt.Errorf("checkpoint on %s: %w", p.Name(), err)
	}
	return saved, nil
}

// plus adds up counts.
func (a Stats) plus(b Stats) Stats {
	return Stats{
		Checked: a.Checked + b.Checked, Found: a.Found + b.Found, Read: a.Read + b.Read, Written: a.Written + b.Written,
		Failed: a.Failed + b.Failed, BulkGetAttempted: a.BulkGetAttempted + b.BulkGetAttempted, BulkGetDocs: a.BulkGetDocs + b.BulkGetDocs,
	}
}
