package replicator

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/internal/spool"
)

// sending is a revision with attachments on its way into a request. What gives the attachments calls for each when it
// is ready, and what writes the message asks for each when it is due: two coroutines meet in between. The message is
// written from a goroutine into a pipe, from which the request reads; both begin when the request first reads.
type sending struct {
	rev     *Revision
	related *document.Related
	upload  *upload
	spools  []*spool.Spool

	mu     sync.Mutex
	closed bool
	r      *io.PipeReader // nil until the first Read
	done   chan struct{}  // closed when the goroutine has ended
	err    error          // of the source; valid when done is closed
}

// spoolMemory is how much of an attachment of unknown length is kept in memory.
const spoolMemory = 256 << 10

var errAbandoned = errors.New("the request has ended")

// newSending prepares the message, whose length must be known before. If the source has not told the length of an
// attachment, all are read to a spool first.
func newSending(rev *Revision) (*sending, error) {
	s := &sending{rev: rev, done: make(chan struct{})}
	atts := rev.Doc.Attachments
	for i := range atts {
		if a := &atts[i]; a.Follows && (a.Length < 0 || a.EncodedLength < 0) {
			if err := s.spool(); err != nil {
				s.close()
				return nil, err
			}
			break
		}
	}
	s.related = document.NewRelated(appendRevision(nil, rev.Doc), atts)
	s.upload = &upload{Reader: s, length: s.related.Length()}
	return s, nil
}

// spool reads all contents and so learns their lengths.
func (s *sending) spool() error {
	spools := map[string]*spool.Spool{}
	err := s.rev.Content(func(a *document.Attachment, content io.Reader) error {
		kept := spool.New("", spoolMemory)
		s.spools = append(s.spools, kept)
		if _, err := io.Copy(kept, content); err != nil {
			return err
		}
		spools[a.Name] = kept
		if a.EncodedLength = kept.Size(); a.Encoding == "" || a.Length < 0 {
			a.Length = kept.Size()
		}
		return nil
	})
	if err != nil {
		return err
	}
	atts := s.rev.Doc.Attachments
	s.rev = &Revision{Doc: s.rev.Doc, Content: func(visit func(*document.Attachment, io.Reader) error) error {
		for i := range atts {
			a := &atts[i]
			kept := spools[a.Name]
			if kept == nil {
				continue
			}
			if err := visit(a, io.NewSectionReader(kept, 0, kept.Size())); err != nil {
				return err
			}
		}
		return nil
	}}
	return nil
}

// Read reads the message. It is called by one goroutine of the transport, which may come late.
func (s *sending) Read(p []byte) (int, error) {
	r := s.pipe()
	if r == nil {
		return 0, errAbandoned
	}
	return r.Read(p)
}

// pipe returns where the message can be read, nil if the request has ended before it began.
func (s *sending) pipe() *io.PipeReader {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.r == nil && !s.closed {
		r, w := io.Pipe()
		s.r = r
		go s.write(w)
	}
	return s.r
}

// write writes the message into the pipe.
func (s *sending) write(w *io.PipeWriter) {
	defer close(s.done)
	next, stop := iter.Pull2(s.contents)
	defer stop()
	b := bufio.NewWriterSize(w, 32<<10)
	err := s.related.Write(b, func(a *document.Attachment) (io.ReadCloser, error) {
		got, content, ok := next()
		switch {
		case !ok && s.err != nil:
			return nil, s.err
		case !ok:
			return nil, fmt.Errorf("attachment %q has not come", a.Name)
		case got.Name != a.Name:
			return nil, fmt.Errorf("attachment %q has come in the place of %q", got.Name, a.Name)
		}
		return io.NopCloser(&sourceReader{content, s}), nil
	})
	if err == nil {
		// Only when the source has come to its end it is known to be whole.
		if _, _, more := next(); more {
			err = errors.New("more attachments have come than were announced")
		} else {
			err = s.err
		}
	}
	if err == nil {
		err = b.Flush()
	}
	_ = w.CloseWithError(err) // never fails; without an error it is the regular end
}

// contents yields the attachments as the source gives them.
func (s *sending) contents(yield func(*document.Attachment, io.Reader) bool) {
	err := s.rev.Content(func(a *document.Attachment, content io.Reader) error {
		if !yield(a, content) {
			return errAbandoned
		}
		return nil
	})
	if err != nil && err != errAbandoned {
		s.err = err
	}
}

// sourceReader notes what went wrong at the source, as the request's error may tell it in other words.
type sourceReader struct {
	r io.Reader
	s *sending
}

func (r *sourceReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.s.err = err
	}
	return n, err
}

// end waits for the source to be left alone and returns why the request failed, given its error. What went wrong at the
// source comes first: whatever the server says then, it has not seen the whole.
func (s *sending) end(err error) error {
	s.close()
	if s.err != nil {
		return fmt.Errorf("read attachments of document %q: %w", s.rev.Doc.ID, s.err)
	}
	return err
}

// close ends the reading, whose goroutine must not outlive the call that gave the source.
func (s *sending) close() {
	s.mu.Lock()
	s.closed = true
	r := s.r
	s.mu.Unlock()
	if r != nil {
		_ = r.CloseWithError(errAbandoned) // never fails
		<-s.done
	}
	for _, kept := range s.spools {
		_ = kept.Close() // nothing to lose
	}
	s.spools = nil
}
