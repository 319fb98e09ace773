package replicator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/mangrove-db/mangrove/revtree"
)

// maxRow is how large one value of an answer may be that is not a document: a row of a feed, a document's part of a
// diff.
const maxRow = 16 << 20

// heartbeats is how many heartbeats fit the time after which a silent feed counts as dead.
const heartbeats = 3

// inlineParam is the parameter of a feed of changes by which a Mangrove sends revisions along with the rows that name
// them. Other servers ignore it, as they do with all that they do not know.
const inlineParam = "inline_revs"

// Changes reads the feed of changes. Where the line breaks it goes on by itself after the last row it has yielded, and
// gives up when that has failed as often as the options allow without a row in between. A continuous feed that the
// server ends is opened again.
func (r *Remote) Changes(ctx context.Context, request ChangesRequest) iter.Seq2[ChangeRow, error] {
	return func(yield func(ChangeRow, error) bool) {
		f := &feed{r: r, request: request, since: request.Since, yield: yield}
		if f.since == "" {
			f.since = "0"
		}
		if err := f.run(ctx); err != nil && ctx.Err() == nil {
			yield(ChangeRow{}, err)
		}
	}
}

// feed is the reading of a feed of changes, over one connection after the other.
type feed struct {
	r       *Remote
	request ChangesRequest
	since   string // of the last row yielded
	yield   func(ChangeRow, error) bool
	rows    int // over the current connection
}

// errEnough ends a feed whose reader wants no more.
var errEnough = errors.New("enough")

// briefly is how long a feed that the server ended without a row must have lasted to be opened again at once.
const briefly = time.Second

func (f *feed) run(ctx context.Context) error {
	c := f.r.c
	failures, brief := 0, 0
	for {
		begun := time.Now()
		f.rows = 0
		a, err := c.open(ctx, f.question())
		if err != nil {
			return err
		}
		err = f.read(a)
		a.abort()
		lasted := time.Since(begun)
		if f.rows > 0 || lasted >= c.timeout && !errors.Is(err, errSilent) {
			failures = 0
		}
		switch {
		case err == errEnough, err == nil && !f.request.Continuous:
			return nil
		case err == nil && (f.rows > 0 || lasted >= briefly):
			brief = 0
			continue
		case err == nil:
			if err := c.wait(ctx, brief); err != nil {
				return err
			}
			brief = min(brief+1, 5)
			continue
		case a.failed != nil:
			return err
		case !a.broken(err) && !errors.Is(err, errFeedFailed), failures >= c.retries:
			return fmt.Errorf("GET %s: %w", a.url, err)
		}
		if err := c.wait(ctx, failures); err != nil {
			return err
		}
		failures++
	}
}

// question is the request for what comes after the last row.
func (f *feed) question() *request {
	query := url.Values{}
	for name, value := range f.request.Query {
		query.Set(name, value)
	}
	q := &request{method: http.MethodGet, path: "_changes", unbounded: true}
	filter := &f.request.Filter
	query.Set("style", "main_only")
	if filter.AllLeaves {
		query.Set("style", "all_docs")
	}
	query.Set("feed", "normal")
	if q.packed = !f.request.Continuous; f.request.Continuous {
		// Not packed: a packer would hold rows back until it has enough of them.
		query.Set("feed", "continuous")
	}
	query.Set("since", f.since)
	query.Set("heartbeat", strconv.FormatInt(max(1, (f.r.c.timeout/heartbeats).Milliseconds()), 10))
	query.Del("timeout")
	if filter.Name != "" {
		query.Set("filter", filter.Name)
	}
	switch filter.Name {
	case "_doc_ids":
		q.method = http.MethodPost
		q.body = appendStrings([]byte(`{"doc_ids":`), filter.DocIDs)
		q.body = append(q.body, '}')
	case "_selector":
		q.method = http.MethodPost
		q.body = append([]byte(`{"selector":`), filter.Selector...)
		q.body = append(q.body, '}')
	case "_view":
		query.Set("view", filter.View)
	}
	query.Del(inlineParam)
	if f.request.Inline > 0 {
		query.Set(inlineParam, strconv.Itoa(f.request.Inline))
	}
	q.query = query.Encode()
	return q
}

// read yields the rows of one answer. It returns nil at its regular end.
func (f *feed) read(a *answer) error {
	if a.status != http.StatusOK {
		return a.failure()
	}
	j := newJSONReader(a.body, maxRow)
	if f.request.Continuous {
		return f.readLines(j)
	}
	for key, err := range j.members() {
		if err != nil {
			return err
		}
		if key == "results" {
			for text, err := range j.elements() {
				if err != nil {
					return err
				}
				if err := f.row(text); err != nil {
					return err
				}
			}
			continue
		}
		value, err := j.value()
		if err != nil {
			return err
		}
		switch key {
		case "error":
			return fmt.Errorf("%w: %s", errFeedFailed, f.r.c.shown(string(value)))
		case "last_seq":
			if err := f.reached(value); err != nil {
				return err
			}
		}
	}
	return nil
}

// readLines yields the rows of a continuous feed.
func (f *feed) readLines(j *jsonReader) error {
	for {
		more, err := j.more()
		if err != nil {
			return err
		}
		if !more {
			// Between two lines: only the line last_seq tells that the server meant to end.
			return io.ErrUnexpectedEOF
		}
		text, err := j.value()
		if err != nil {
			return err
		}
		if err := f.row(text); err != nil {
			if err == errFeedEnded {
				return nil
			}
			return err
		}
	}
}

var (
	// errFeedFailed is what a server reports within a feed.
	errFeedFailed = errors.New("the feed failed at the server")
	errFeedEnded  = errors.New("the feed has ended")
)

// row yields one row. A row last_seq gives errFeedEnded.
func (f *feed) row(text []byte) error {
	if text[0] != '{' {
		return malformedAnswer("a row of the feed is no object")
	}
	row := ChangeRow{Seq: f.since}
	var changes, last, fault []byte
	named := false
	for key, value := range rawMembers(text) {
		switch string(key) {
		case "seq":
			if string(value) != "null" {
				row.Seq = seqText(value)
			}
		case "id":
			row.ID, named = rawString(value)
		case "changes":
			changes = value
		case "revisions":
			// What is larger than what was asked for is not kept, and got otherwise.
			if len(value) <= f.request.Inline {
				row.Inline = value
			}
		case "last_seq":
			last = value
		case "error":
			fault = value
		}
	}
	row.Inline = bytes.Clone(row.Inline)
	switch {
	case named && row.ID != "" && changes != nil:
	case last != nil:
		if err := f.reached(last); err != nil {
			return err
		}
		return errFeedEnded
	case fault != nil:
		return fmt.Errorf("%w: %s", errFeedFailed, f.r.c.shown(string(text)))
	default:
		return malformedAnswer("a row of the feed has no id or no changes: %s", f.r.c.shown(string(text)))
	}
	for change := range rawElements(changes) {
		for key, value := range rawMembers(change) {
			if string(key) != "rev" {
				continue
			}
			s, _ := rawString(value)
			rev, err := revtree.ParseID(s)
			if err != nil {
				return malformedAnswer("%w of document %.80q in the feed", err, row.ID)
			}
			row.Revs = append(row.Revs, rev)
		}
	}
	if len(row.Revs) == 0 {
		return malformedAnswer("document %.80q is in the feed without a revision", row.ID)
	}
	f.rows++
	f.since = row.Seq
	if !f.yield(row, nil) {
		return errEnough
	}
	return nil
}

// reached yields how far the feed has come, if that is news.
func (f *feed) reached(value []byte) error {
	seq := seqText(value)
	if seq == "null" || seq == "" || seq == f.since {
		return nil
	}
	f.since = seq
	if !f.yield(ChangeRow{Seq: seq}, nil) {
		return errEnough
	}
	return nil
}
