package replicator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

const (
	// readAhead is how much of an answer is read before its turn to be visited has come. Most are smaller, and free
	// their connections by that.
	readAhead = 128 << 10
	// longestURL is where lists of revisions are cut to fit a URL, at first; a server may want less, down to shortestURL.
	longestURL, shortestURL = 7000, 200
	// maxAttsSince is how many known revisions are told at most. The newest are the most likely to help.
	maxAttsSince = 20
)

// urlLimit is how long URLs may be, as far as the server has told.
type urlLimit struct{ n atomic.Int64 }

func (l *urlLimit) get() int {
	if n := l.n.Load(); n > 0 {
		return int(n)
	}
	return longestURL
}

// halve lowers the limit after one of that many bytes was too much. It reports false if it cannot be lowered.
func (l *urlLimit) halve(from int) bool {
	if from/2 < shortestURL {
		return false
	}
	if l.get() >= from {
		l.n.Store(int64(from / 2))
	}
	return true
}

// single is a document that is got by a request of its own.
type single struct {
	id       string
	revs     []revtree.ID // that are still wanted
	known    []revtree.ID
	failures int
	visited  map[revtree.ID]bool
}

// fetched is the answer to the request for a single, or why there is none.
type fetched struct {
	*single
	asked []revtree.ID
	limit int // of the URL
	a     *answer
	ahead []byte // of the answer's body
	err   error  // before or while ahead was read
}

// fetchSingles gets documents one by one, several at the same time, and visits them as they come. None waits for the
// connection of another that waits for it: whichever answer is there first is visited first.
func (r *Remote) fetchSingles(ctx context.Context, asks []ask, visit func(Revision) error) error {
	ctx, cancel := context.WithCancel(ctx)
	queue := groupAsks(asks)
	came := make(chan *fetched, r.workers)
	running := 0
	defer func() {
		cancel()
		for ; running > 0; running-- {
			(<-came).drop()
		}
	}()
	for len(queue) > 0 || running > 0 {
		for ; len(queue) > 0 && running < r.workers; running++ {
			s := queue[0]
			queue = queue[1:]
			go func() { came <- r.get(ctx, s) }()
		}
		f := <-came
		running--
		again, err := r.use(ctx, f, visit)
		f.drop()
		if err != nil {
			return err
		}
		queue = append(queue, again...)
	}
	return nil
}

// groupAsks puts revisions of the same document together.
func groupAsks(asks []ask) []*single {
	var queue []*single
	index := make(map[string]*single, len(asks))
	for i := range asks {
		a := &asks[i]
		s := index[a.id]
		if s == nil {
			s = &single{id: a.id, known: a.known}
			index[a.id] = s
			queue = append(queue, s)
		}
		s.revs = append(s.revs, a.rev)
	}
	return queue
}

func (f *fetched) drop() {
	if f.a == nil {
		return
	}
	if f.err == nil && f.a.body.err == nil {
		f.a.close()
	} else {
		f.a.abort()
	}
}

// get asks for a document and reads the beginning of the answer.
func (r *Remote) get(ctx context.Context, s *single) *fetched {
	f := &fetched{single: s, limit: r.urls.get()}
	if s.failures > 0 {
		if f.err = r.c.wait(ctx, s.failures-1); f.err != nil {
			return f
		}
	}
	q := &request{method: http.MethodGet, path: docPath(s.id), accept: "multipart/mixed"}
	q.query, f.asked = s.question(f.limit - len(r.name) - len(q.path))
	if f.a, f.err = r.c.open(ctx, q); f.err != nil {
		return f
	}
	var b bytes.Buffer
	_, _ = b.ReadFrom(io.LimitReader(f.a.body, readAhead)) // reading on fails in the same way
	f.ahead = b.Bytes()
	return f
}

// question returns the query for as many revisions as fit, and which these are.
func (s *single) question(room int) (string, []revtree.ID) {
	room -= len("latest=true&revs=true&open_revs=&atts_since=")
	known := slices.Clone(s.known)
	slices.SortFunc(known, func(a, b revtree.ID) int { return b.Compare(a) })
	known = known[:min(len(known), maxAttsSince)]
	n, used := 0, 0
	for n < len(s.revs) {
		size := escapedLength(s.revs[n])
		if n > 0 && used+size > room {
			break
		}
		used += size
		n++
	}
	k := 0
	for k < len(known) && used+escapedLength(known[k]) <= room {
		used += escapedLength(known[k])
		k++
	}
	query := "latest=true&revs=true&open_revs=" + escape(string(appendRevs(nil, s.revs[:n])))
	if k > 0 {
		query = "atts_since=" + escape(string(appendRevs(nil, known[:k]))) + "&" + query
	}
	return query, slices.Clone(s.revs[:n])
}

// escapedLength is how much of a URL a revision takes in a list.
func escapedLength(rev revtree.ID) int { return len(url.QueryEscape(rev.String())) + len("%22%22%2C") }

// use visits the revisions of an answer. It returns what has to be asked for again.
func (r *Remote) use(ctx context.Context, f *fetched, visit func(Revision) error) ([]*single, error) {
	if f.a == nil {
		return nil, f.err
	}
	switch f.a.status {
	case http.StatusOK:
	case http.StatusRequestURITooLong:
		if r.urls.halve(f.limit) {
			return []*single{f.single}, nil
		}
		return nil, r.refused(ctx, f, visit)
	default:
		return nil, r.refused(ctx, f, visit)
	}
	p := &passage{r: r, ctx: ctx, f: f, visit: visit}
	err := p.read()
	f.revs = slices.DeleteFunc(f.revs, func(rev revtree.ID) bool { return p.visitedLine(rev) })
	switch {
	case p.fault != nil && !p.again:
		f.err = p.fault
		return nil, p.fault
	case err == nil:
		f.failures = 0
		// What the answer did not speak of is not there.
		asked := slices.DeleteFunc(f.asked, func(rev revtree.ID) bool { return p.visitedLine(rev) })
		if err := visitAbsent(f.id, asked, nil, visit); err != nil {
			return nil, err
		}
		f.revs = slices.DeleteFunc(f.revs, func(rev revtree.ID) bool { return slices.Contains(asked, rev) })
	default:
		f.err = err
		if p.progress {
			f.failures = 0
		}
		if f.failures++; f.failures > r.c.retries {
			return nil, fmt.Errorf("GET %s: %w", f.a.url, err)
		}
	}
	if len(f.revs) == 0 {
		return nil, nil
	}
	return []*single{f.single}, nil
}

// refused visits revisions that the server does not give as absent, unless it is the database that cannot be read.
func (r *Remote) refused(ctx context.Context, f *fetched, visit func(Revision) error) error {
	err := f.failure()
	if errors.Is(err, ErrNoDatabase) {
		return err
	}
	if errors.Is(err, ErrUnauthorized) {
		if _, infoErr := r.Info(ctx); infoErr != nil {
			return err
		}
	}
	if f.a.status == http.StatusNotFound {
		err = nil
	}
	return visitAbsent(f.id, f.revs, err, visit)
}

// failure is that of the answer, of which the beginning may be in ahead.
func (f *fetched) failure() error {
	f.a.body.src = io.MultiReader(bytes.NewReader(f.ahead), f.a.body.src)
	return f.a.failure()
}

// passage is the passing of one answer's revisions to visit.
type passage struct {
	r        *Remote
	ctx      context.Context
	f        *fetched
	visit    func(Revision) error
	fault    error // of visit
	again    bool  // it is the line's fault, so that the revision has to be fetched again
	progress bool
	done     []*document.Document
	absent   []revtree.ID
}

// visitedLine tells whether a revision, or one that has come of it, was visited.
func (p *passage) visitedLine(rev revtree.ID) bool {
	if slices.Contains(p.absent, rev) || p.f.visited[rev] {
		return true
	}
	return slices.ContainsFunc(p.done, func(d *document.Document) bool {
		i := d.Revisions.Start - rev.Gen
		return i >= 0 && i < d.Revisions.Len() && d.Revisions.At(i) == rev
	})
}

// read reads the whole answer.
func (p *passage) read() error {
	body := io.MultiReader(bytes.NewReader(p.f.ahead), p.f.a.body)
	contentType := p.f.a.header.Get("Content-Type")
	if !strings.HasPrefix(strings.ToLower(contentType), "multipart/") {
		return p.readJSON(body)
	}
	m, err := document.NewMultipartReader(body, contentType)
	if err != nil {
		return err
	}
	for {
		part, err := m.NextPart()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = p.part(part)
		}
		if err != nil {
			return err
		}
	}
}

func (p *passage) part(part *document.Part) error {
	if part.IsMultipart() {
		related, err := part.Multipart()
		if err != nil {
			return err
		}
		text, err := related.Document(maxDocument)
		if err != nil {
			return err
		}
		return p.document(text, related)
	}
	text, err := part.Bytes(maxDocument)
	if err != nil {
		return err
	}
	if part.IsError() {
		return p.missing(text)
	}
	return p.document(text, nil)
}

// readJSON reads the answer of a server that knows no multipart: an array of {"ok": document} and {"missing": rev}.
func (p *passage) readJSON(body io.Reader) error {
	j := newJSONReader(body, maxDocument)
	for text, err := range j.elements() {
		if err != nil {
			return err
		}
		for key, value := range rawMembers(text) {
			switch string(key) {
			case "ok":
				err = p.document(value, nil)
			case "missing":
				err = p.missing(text)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// missing visits a revision of which the server says that it has it not.
func (p *passage) missing(text []byte) error {
	for key, value := range rawMembers(text) {
		if string(key) != "missing" {
			continue
		}
		s, _ := rawString(value)
		rev, err := revtree.ParseID(s)
		if err != nil {
			return malformedAnswer("%w", err)
		}
		p.absent = append(p.absent, rev)
		p.fault = visitAbsent(p.f.id, []revtree.ID{rev}, storage.ErrNotFound, p.visit)
		return p.fault
	}
	return malformedAnswer("an error that names no revision")
}

// document visits a revision. Its attachments follow in related, if that is not nil.
func (p *passage) document(text []byte, related *document.MultipartReader) error {
	d, err := document.Decode(text)
	if err != nil {
		return p.unreadable(text, err)
	}
	if !answers(d, p.f.id) {
		return malformedAnswer("%.80q is in the place of %.80q", d.ID, p.f.id)
	}
	if p.f.visited[d.Rev] {
		return nil
	}
	rev := Revision{Doc: d}
	broken := false
	if source := p.contents(d, related); source != nil {
		rev.Content = func(store func(*document.Attachment, io.Reader) error) error {
			var refused error
			err := source(func(a *document.Attachment, content io.Reader) error {
				t := &tracked{r: content}
				refused = store(a, t)
				broken = broken || t.err != nil
				return refused
			})
			broken = broken || err != nil && refused == nil
			return err
		}
	}
	if err := p.visit(rev); err != nil {
		p.fault = err
		p.again = p.ctx.Err() == nil && rev.Content != nil && (broken || errors.Is(err, ErrInterrupted))
		return err
	}
	if p.f.visited == nil {
		p.f.visited = map[revtree.ID]bool{}
	}
	p.f.visited[d.Rev] = true
	p.done = append(p.done, d)
	p.progress = true
	return nil
}

// tracked notes that reading has failed.
type tracked struct {
	r   io.Reader
	err error
}

func (t *tracked) Read(b []byte) (int, error) {
	n, err := t.r.Read(b)
	if err != nil && err != io.EOF {
		t.err = err
	}
	return n, err
}

// unreadable visits a revision that is there but breaks the rules for documents, by which it could not be stored.
func (p *passage) unreadable(text []byte, err error) error {
	for key, value := range rawMembers(text) {
		if string(key) != "_rev" {
			continue
		}
		s, _ := rawString(value)
		rev, parseErr := revtree.ParseID(s)
		if parseErr != nil {
			break
		}
		p.absent = append(p.absent, rev)
		p.fault = visitAbsent(p.f.id, []revtree.ID{rev}, err, p.visit)
		return p.fault
	}
	return malformedAnswer("%w", err)
}
