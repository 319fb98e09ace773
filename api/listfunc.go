package api

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"net/http"

	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/view"
)

func getListFunction(q *request) error { return q.listFunction(nil) }

// postListFunction takes the keys of the rows from the body.
func postListFunction(q *request) error {
	if q.viewName == "" {
		return noFunction("list_error")(q)
	}
	if err := q.requireJSON(); err != nil {
		return err
	}
	body, err := q.functionBody()
	if err != nil {
		return err
	}
	return q.listFunction(&body)
}

// refuseListFunction answers methods that there are not for lists.
func refuseListFunction(q *request) error {
	if _, err := q.designOf(q.docID); err != nil {
		return err
	}
	return methodNotAllowed(allowChanges)
}

// listFunction answers with what a list function makes of the rows of a view, which may be another design document's.
func (q *request) listFunction(posted *string) error {
	if q.viewName == "" {
		return noFunction("list_error")(q)
	}
	views := q.docID
	if q.attName != "" {
		views = design.Prefix + q.attName
	}
	q.attName = "" // no document
	c, err := q.called(design.Lists)
	if err != nil {
		return err
	}
	body := noBody
	var l *listing
	if posted != nil {
		body = *posted
		if l, err = q.keyListing(body); err == nil {
			err = l.readQuery(q)
		}
	} else {
		l = newListing(q.listWords())
		err = l.readQuery(q)
	}
	if err != nil {
		return err
	}
	rows, done, err := q.listedRows(views, l)
	if err != nil {
		return err
	}
	defer done()
	sent, err := q.functionRequest(c.db, "", false, body)
	if err != nil {
		return err
	}
	return q.runList(c.design, rows, sent.AppendJSON(nil))
}

// keyListing returns a listing of the keys that a body names, whose other members mean nothing to lists.
func (q *request) keyListing(body string) (*listing, error) {
	text, err := document.Canonical([]byte(body))
	if err != nil {
		return nil, err
	}
	members, err := jsonMembers(text)
	if err != nil {
		return nil, badRequest("Request body must be a JSON object")
	}
	l := newListing(q.listWords())
	keys := member(members, "keys")
	if keys == nil {
		return l, nil
	}
	return l, l.readKeysParam(string(keys))
}

// allDocsView is what lists call the rows of _all_docs.
const allDocsView = "_all_docs"

func (q *request) listWords() *listingWords {
	if q.viewName == allDocsView {
		return documentWords
	}
	return viewWords
}

// listedRows returns what writes the listing that a list function is about. What it reads from must be closed by done.
func (q *request) listedRows(designID string, l *listing) (write func(io.Writer) error, done func(), err error) {
	if q.viewName == allDocsView {
		if err := l.check(false); err != nil {
			return nil, nil, err
		}
		_, snap, err := q.snapshot()
		if err != nil {
			return nil, nil, err
		}
		return func(out io.Writer) error {
			w := &listWriter{rowWriter{q: q, snap: snap, out: out}, scopeAll}
			return w.write(l)
		}, snap.Close, nil
	}
	t := &viewTarget{q: q}
	if t.db, t.design, err = q.openDesign(designID); err != nil {
		return nil, nil, err
	}
	queries, err := t.check(l)
	if err != nil {
		return nil, nil, err
	}
	var r *view.Reader
	if r, err = t.open(queries...); err != nil {
		return nil, nil, err
	}
	return func(out io.Writer) error {
		q.veil(r.Snapshot())
		w := &viewWriter{rowWriter{q: q, snap: r.Snapshot(), out: out}, r}
		return w.write(queries[0])
	}, r.Close, nil
}

// runList gives a list function the lines of a listing and sends what it makes of them.
func (q *request) runList(d *design.Design, write func(io.Writer) error, sent []byte) error {
	next, stop := iter.Pull2(listedLines(write))
	defer stop()
	first, err, _ := next()
	if err != nil {
		return err
	}
	head := bytes.TrimSuffix(bytes.TrimSuffix(first, []byte(`"rows":[`)), []byte(","))
	head = append(append([]byte(nil), head...), '}')
	rows := func() ([]byte, bool, error) {
		line, err, ok := next()
		if err != nil || !ok || line[0] == ']' {
			return nil, false, err
		}
		return bytes.TrimSuffix(line, []byte(",")), true, nil
	}
	sink := &listSink{q: q, out: q.newStream()}
	q.w.Header().Del("Content-Type")
	sink.out.Reset(sink)
	err = d.List(q.Context(), q.name, head, sent, rows, sink)
	switch {
	case errors.Is(err, errHeadSent):
		return nil
	case errors.Is(err, errGone):
		return q.lost(err)
	case err != nil:
		return err
	}
	if sink.answer == nil {
		if err := sink.Start([]byte("{}")); err != nil {
			return err
		}
	}
	if err := sink.out.end(); err != nil {
		return q.lost(err)
	}
	sink.begin() // also without a body
	return nil
}

// listedLines yields the lines of a listing, of which each row is one: they have no line ends within. Lines are valid until
// the next.
func listedLines(write func(io.Writer) error) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		s := &lineSplitter{yield: yield}
		err := write(s)
		if !s.ended && err == nil && len(s.line) > 0 {
			yield(s.line, nil)
		} else if !s.ended && err != nil {
			yield(nil, err)
		}
	}
}

// lineSplitter yields what is written to it line by line.
type lineSplitter struct {
	yield func([]byte, error) bool
	line  []byte
	ended bool
}

var lineEnd = []byte("\r\n")

func (s *lineSplitter) Write(p []byte) (int, error) {
	n := len(p)
	for !s.ended {
		i := bytes.Index(p, lineEnd)
		if i < 0 {
			s.line = append(s.line, p...)
			return n, nil
		}
		s.line = append(s.line, p[:i]...)
		p = p[i+len(lineEnd):]
		s.ended = !s.yield(s.line, nil)
		s.line = s.line[:0]
	}
	return 0, errGone
}

// errHeadSent ends a list function when a client that asked for the head of the answer has got it.
var errHeadSent = errors.New("the head was sent")

// listSink sends what a list function makes.
type listSink struct {
	q      *request
	out    *stream
	answer *functionAnswer
}

// Start takes the response object with which the answer begins.
func (s *listSink) Start(response []byte) (err error) {
	if s.answer, err = parseAnswer(response); err != nil {
		return err
	}
	if s.q.Method == http.MethodHead {
		s.begin()
		return errHeadSent
	}
	return nil
}

// Send takes a part of the answer.
func (s *listSink) Send(chunk []byte) error {
	if _, err := s.out.Write(chunk); err != nil {
		return errors.Join(errGone, err)
	}
	return nil
}

// begin sends the head of the answer, if it has not been sent.
func (s *listSink) begin() {
	if s.q.w.status != 0 {
		return
	}
	code := http.StatusOK
	if s.answer.code != 0 {
		code = s.answer.code
	}
	s.answer.setHeaders(s.q.w.Header())
	s.q.w.WriteHeader(code)
}

// Write sends what has gathered.
func (s *listSink) Write(p []byte) (int, error) {
	s.begin()
	return s.q.w.Write(p)
}
