package replicator

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

const (
	// maxAsks is how many revisions one request asks for.
	maxAsks = 500
	// maxDocument is how large the JSON of a document may be, its inline attachments included. CouchDB's limit is 8 MB
	// unless it was raised.
	maxDocument = 256 << 20
	// bulkGetRest is for how long a server is not asked by _bulk_get after it has failed at that.
	bulkGetRest = 5 * time.Minute
)

// bulkGetState remembers that a server has no usable _bulk_get.
type bulkGetState struct{ until atomic.Int64 }

func (s *bulkGetState) note()        { s.until.Store(time.Now().Add(bulkGetRest).UnixNano()) }
func (s *bulkGetState) usable() bool { return time.Now().UnixNano() >= s.until.Load() }

// ask is one revision that is wanted. known are revisions of the same document that the other side has.
type ask struct {
	id    string
	rev   revtree.ID
	known []revtree.ID
}

// Fetch gets revisions. Those without attachments come by _bulk_get, many at a time; for the others, and for design
// documents, there is one request per document, some of which are made at the same time. An answer's attachments are
// read from the socket while visit reads them.
//
// Where the line breaks, what is missing is asked for again. If that happens while visit reads an attachment, or if
// visit returns ErrInterrupted, visit is called anew for the same revision.
//
// A revision that the server refuses to give, or that cannot be read, is visited with Err set to the reason, which is
// storage.ErrNotFound if it is not there.
func (r *Remote) Fetch(ctx context.Context, wanted []DocRevs, visit func(Revision) error) error {
	var singles, bulk []ask
	for _, w := range wanted {
		for _, rev := range w.Revs {
			a := ask{w.ID, rev, w.Known}
			if r.bulkGet && !document.IsDesign(w.ID) {
				bulk = append(bulk, a)
			} else {
				singles = append(singles, a)
			}
		}
	}
	for asks := range slices.Chunk(bulk, maxAsks) {
		rest, err := r.fetchBulk(ctx, asks, visit)
		if err != nil {
			return err
		}
		singles = append(singles, rest...)
	}
	if len(singles) == 0 {
		return nil
	}
	return r.fetchSingles(ctx, singles, visit)
}

// bulkFetch is what one answer of _bulk_get has brought.
type bulkFetch struct {
	asks  []ask
	done  int // how many of asks have been answered
	rest  []ask
	visit func(Revision) error
	fault error // of visit
}

// fetchBulk asks by _bulk_get and returns what has to be asked for otherwise.
func (r *Remote) fetchBulk(ctx context.Context, asks []ask, visit func(Revision) error) (rest []ask, err error) {
	for failures := 0; ; failures++ {
		if !r.lacks.usable() {
			return append(rest, asks...), nil
		}
		a, err := r.c.open(ctx, bulkQuestion(asks))
		if failure := new(statusError); errors.As(err, &failure) {
			// There may be one document at which it fails, or it may not know how.
			r.lacks.note()
			return append(rest, asks...), nil
		}
		if err != nil {
			return nil, err
		}
		f := &bulkFetch{asks: asks, rest: rest, visit: visit}
		if a.status == http.StatusOK {
			err = f.read(a)
		} else {
			err = a.failure()
		}
		broken := a.failed == nil && a.broken(err)
		if err == nil {
			a.close()
		} else {
			a.abort()
		}
		asks, rest = asks[f.done:], f.rest
		switch {
		case f.fault != nil:
			return nil, f.fault
		case err == nil:
			return rest, nil
		case errors.Is(err, ErrUnauthorized), errors.Is(err, ErrNoDatabase):
			return nil, err
		case !broken:
			r.lacks.note()
			continue
		}
		if f.done > 0 {
			failures = 0
		}
		if failures >= r.c.retries {
			return nil, err
		}
		if err := r.c.wait(ctx, failures); err != nil {
			return nil, err
		}
	}
}

// bulkQuestion asks for revisions. The attachments that the other side knows are not named, as CouchDB would then send
// the others within the JSON; they are got singly.
func bulkQuestion(asks []ask) *request {
	body := append(make([]byte, 0, 32+len(asks)*96), `{"docs":[`...)
	for i := range asks {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `{"id":`...)
		body = document.AppendString(body, asks[i].id)
		body = append(body, `,"rev":`...)
		body = document.AppendString(body, asks[i].rev.String())
		body = append(body, '}')
	}
	body = append(body, `],"latest":true,"revs":true,"attachments":false}`...)
	return &request{
		method: http.MethodPost, path: "_bulk_get", query: "latest=true&revs=true&attachments=false", body: body, packed: true,
	}
}

// read reads the results, which have to be those of asks, in order. Anything else makes it fail.
func (f *bulkFetch) read(a *answer) error {
	j := newJSONReader(a.body, maxDocument)
	results := false
	for key, err := range j.members() {
		if err != nil {
			return err
		}
		if key != "results" || results {
			return malformedAnswer("_bulk_get has a member %.80q", key)
		}
		results = true
		for text, err := range j.elements() {
			if err != nil {
				return err
			}
			if f.done == len(f.asks) {
				return malformedAnswer("_bulk_get has more results than were asked for")
			}
			if err := f.result(&f.asks[f.done], text); err != nil {
				return err
			}
			f.done++
		}
	}
	if f.done < len(f.asks) {
		return malformedAnswer("_bulk_get has less results than were asked for")
	}
	return nil
}

// result uses one result. Of one that is an error, or that has attachments the other side lacks, the ask goes to rest.
func (f *bulkFetch) result(a *ask, text []byte) error {
	var found []*document.Document
	faults := 0
	var docs []byte
	for key, value := range rawMembers(text) {
		switch string(key) {
		case "id":
			if id, _ := rawString(value); id != a.id {
				return malformedAnswer("_bulk_get tells of %.80q in the place of %.80q", id, a.id)
			}
		case "docs":
			docs = value
		}
	}
	for entry := range rawElements(docs) {
		for key, value := range rawMembers(entry) {
			switch string(key) {
			case "ok":
				d, err := document.Decode(value)
				if err != nil {
					faults++
					continue
				}
				if !answers(d, a.id) {
					return malformedAnswer("_bulk_get gives no revision of %.80q", a.id)
				}
				found = append(found, d)
			case "error":
				faults++
			}
		}
	}
	if len(found) == 0 && faults == 0 {
		return malformedAnswer("_bulk_get has nothing for %.80q", a.id)
	}
	for _, d := range found {
		if !complete(d, a.known) {
			faults++
		}
	}
	if faults > 0 {
		f.rest = append(f.rest, *a)
		return nil
	}
	for _, d := range found {
		if f.fault = f.visit(Revision{Doc: d, BulkGet: true}); f.fault != nil {
			return f.fault
		}
	}
	return nil
}

// answers tells whether d is a revision of the document, with its history.
func answers(d *document.Document, id string) bool {
	if d.ID != id || d.Rev.IsZero() {
		return false
	}
	if d.Revisions.Len() == 0 {
		// Some servers leave the history out where it is the revision alone.
		d.Revisions = revtree.Path{Start: d.Rev.Gen, Hashes: []string{d.Rev.Hash}}
	}
	return true
}

// complete tells whether the other side has all attachments of d that d does not bring along.
func complete(d *document.Document, known []revtree.ID) bool {
	since := knownGeneration(d.Revisions, known)
	for i := range d.Attachments {
		if a := &d.Attachments[i]; !a.Stub || a.RevPos <= 0 || a.RevPos > since {
			return false
		}
	}
	return true
}

// visitAbsent visits asks for which there is nothing.
func visitAbsent(id string, revs []revtree.ID, err error, visit func(Revision) error) error {
	if err == nil {
		err = storage.ErrNotFound
	}
	for _, rev := range revs {
		if err := visit(Revision{Doc: &document.Document{ID: id, Rev: rev}, Err: err}); err != nil {
			return err
		}
	}
	return nil
}
