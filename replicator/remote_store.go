package replicator

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
)

// bulkBytes is how large the body of one _bulk_docs gets.
const bulkBytes = 4 << 20

// bulkHead is how CouchDB's replicator begins its bodies.
const bulkHead = `{"new_edits":false,"docs":[`

// Store writes revisions: those without attachments by _bulk_docs, each of the others by a request of its own, with the
// attachments that follow streamed from where they come. If the line breaks while such a stream is passing, the error
// wraps ErrInterrupted.
//
// Refused is what the server will not take however often it is sent: because a validation function or the user's rights
// forbid it, because it is too large or because it breaks the server's rules.
func (r *Remote) Store(ctx context.Context, revs []Revision) ([]Refusal, error) {
	w := &writing{r: r, ctx: ctx}
	var bulk, stubs []*document.Document
	for i := range revs {
		switch d := revs[i].Doc; {
		case revs[i].Content != nil:
		case len(d.Attachments) > 0:
			stubs = append(stubs, d)
		default:
			bulk = append(bulk, d)
		}
	}
	if err := w.bulk(bulk); err != nil {
		return nil, err
	}
	if err := w.singles(stubs); err != nil {
		return nil, err
	}
	for i := range revs {
		if revs[i].Content == nil {
			continue
		}
		if err := w.put(ctx, &revs[i]); err != nil {
			return nil, err
		}
	}
	return w.refusals, nil
}

// writing is the work of one call of Store.
type writing struct {
	r        *Remote
	ctx      context.Context
	mu       sync.Mutex
	refusals []Refusal
}

func (w *writing) refuse(id string, rev revtree.ID, name, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refusals = append(w.refusals, Refusal{ID: id, Rev: rev, Name: name, Reason: reason})
}

// singles writes documents without content one by one, some at the same time.
func (w *writing) singles(docs []*document.Document) error {
	g, ctx := errgroup.WithContext(w.ctx)
	g.SetLimit(w.r.workers)
	for _, d := range docs {
		g.Go(func() error { return w.put(ctx, &Revision{Doc: d}) })
	}
	return g.Wait()
}

// bulk writes documents without attachments, in as few requests as their size allows.
func (w *writing) bulk(docs []*document.Document) error {
	for len(docs) > 0 {
		body := append(make([]byte, 0, 64<<10), bulkHead...)
		n := 0
		for n < len(docs) {
			begin := len(body)
			if n > 0 {
				body = append(body, ',')
			}
			body = document.AppendJSON(body, docs[n], document.Members{Revisions: true})
			if n > 0 && len(body)+len("]}") > bulkBytes {
				body = body[:begin]
				break
			}
			n++
		}
		if err := w.send(append(body, "]}"...), docs[:n]); err != nil {
			return err
		}
		docs = docs[n:]
	}
	return nil
}

// send makes one request for docs, whose body is given. If the server will not have it as a whole, it is sent by halves,
// until it is known which documents it is about.
func (w *writing) send(body []byte, docs []*document.Document) error {
	q := &request{method: http.MethodPost, path: "_bulk_docs", body: body, delayed: true}
	var rows []Refusal
	var refused error
	err := w.r.c.do(w.ctx, q, func(a *answer) (err error) {
		rows, refused = nil, nil
		switch a.status {
		case http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusExpectationFailed:
			rows, err = readRows(a)
			return err
		case http.StatusRequestEntityTooLarge, http.StatusBadRequest, http.StatusPreconditionFailed, http.StatusUnsupportedMediaType:
			refused = a.failure()
			return nil
		}
		return a.failure()
	})
	switch {
	case err != nil:
		return err
	case refused == nil:
		return w.settle(rows, docs)
	case len(docs) == 1:
		return w.singles(docs)
	}
	half := len(docs) / 2
	if err := w.bulk(docs[:half]); err != nil {
		return err
	}
	return w.bulk(docs[half:])
}

// readRows reads those rows of an answer of _bulk_docs that report errors.
func readRows(a *answer) ([]Refusal, error) {
	var rows []Refusal
	j := newJSONReader(a.body, maxRow)
	for text, err := range j.elements() {
		if err != nil {
			return nil, err
		}
		var row Refusal
		for key, value := range rawMembers(text) {
			switch string(key) {
			case "id":
				row.ID = seqText(value)
			case "rev":
				row.Rev, _ = revtree.ParseID(seqText(value))
			case "error":
				row.Name = a.client.shown(seqText(value))
			case "reason":
				row.Reason = a.client.shown(seqText(value))
			}
		}
		if row.Name != "" {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// final are errors of rows that mean what they say. Anything else may be a trouble of the server that passes: such
// documents are written again, singly, where the status tells.
var final = map[string]bool{
	"forbidden": true, "unauthorized": true, "doc_validation": true, "bad_request": true, "illegal_docid": true,
	"invalid_design_doc": true, "document_too_large": true, "too_large": true,
}

// settle sorts out the rows that report errors.
func (w *writing) settle(rows []Refusal, docs []*document.Document) error {
	if len(rows) == 0 {
		return nil
	}
	open := map[string][]*document.Document{} // the documents of a name that no row has told of
	for _, d := range docs {
		open[d.ID] = append(open[d.ID], d)
	}
	var again []*document.Document
	for _, row := range rows {
		of := open[row.ID]
		if len(of) == 0 {
			return malformedAnswer("_bulk_docs tells of %.80q, which was not sent", row.ID)
		}
		i := 0
		for j, d := range of {
			if d.Rev == row.Rev {
				i = j
			}
		}
		d := of[i]
		of[i] = of[len(of)-1]
		open[row.ID] = of[:len(of)-1]
		if final[row.Name] {
			w.refuse(d.ID, d.Rev, row.Name, row.Reason)
		} else {
			again = append(again, d)
		}
	}
	return w.singles(again)
}

// put writes one revision by a request of its own.
func (w *writing) put(ctx context.Context, rev *Revision) error {
	d := rev.Doc
	q := &request{method: http.MethodPut, path: docPath(d.ID), query: "new_edits=false", delayed: true}
	var sent *sending
	if rev.Content == nil {
		q.body = appendRevision(nil, d)
	} else {
		var err error
		if sent, err = newSending(rev); err != nil {
			return err
		}
		defer sent.close()
		q.upload, q.contentType = sent.upload, sent.related.ContentType()
	}
	var refusal *statusError
	err := w.r.c.do(ctx, q, func(a *answer) error {
		refusal = nil
		switch a.status {
		case http.StatusOK, http.StatusCreated, http.StatusAccepted:
			return nil
		}
		err := a.failure()
		if refuses(a.status) && errors.As(err, &refusal) && (refusal.name != "" || a.status == http.StatusRequestEntityTooLarge) {
			return nil
		}
		refusal = nil
		return err
	})
	if sent != nil {
		err = sent.end(err)
	}
	if err != nil || refusal == nil {
		return err
	}
	if errors.Is(refusal, ErrUnauthorized) {
		// Either this document is not wanted, or these credentials are not, any more: then nothing may count as done.
		if _, err := w.r.Info(ctx); err != nil {
			return err
		}
	}
	name := refusal.name
	if name == "" {
		name = "too_large"
	}
	if refusal.status == http.StatusPreconditionFailed && strings.Contains(name, "stub") {
		name = missingStub
	}
	w.refuse(d.ID, d.Rev, name, refusal.reason)
	return nil
}

// refuses tells whether a status is about the document that was sent.
func refuses(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusConflict, http.StatusPreconditionFailed,
		http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// appendRevision appends the JSON of a revision, with its history and what its attachments are.
func appendRevision(b []byte, d *document.Document) []byte {
	return document.AppendJSON(b, d, document.Members{
		Revisions: true, EncodingInfo: true,
		Form: func(a *document.Attachment) document.Form {
			if a.Follows {
				return document.FormFollows
			}
			return document.FormStub
		},
	})
}
