package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/mangrove-db/mangrove/integration/harness"
)

const (
	crashDB = "crash"

	// maxOwned bounds a writer's documents; after that it changes those it has.
	maxOwned = 1500
	// bulkSize is the number of documents in one bulk.
	bulkSize = 50
	// localDocs is the number of a writer's _local documents.
	localDocs = 5
)

// writer writes documents of its own, one request after the other.
type writer struct {
	name   string
	client *harness.Client
	ledger *ledger
	rng    *rand.Rand
	bulks  bool // writes bulks alone; otherwise single documents (and bulks now and then if mixed)
	mixed  bool

	owned []string // documents made, deleted ones too
	made  int
	next  int // number of the next content
}

// errRefused is an answer that is not the one a write should get.
var errRefused = errors.New("write refused")

// run writes until an error: that of the connection when the server is killed,
// errRefused if it answers with one. Ending the context makes it return nil
// between two requests.
func (w *writer) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := w.step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) step(ctx context.Context) error {
	// A request under way is not given up: that would leave it in doubt.
	ctx = context.WithoutCancel(ctx)
	dice := w.rng.IntN(100)
	if w.bulks || w.mixed && dice < 10 {
		return w.bulk(ctx)
	}
	switch {
	case dice < 20:
		return w.local(ctx)
	case dice < 60 && len(w.owned) < maxOwned:
		return w.put(ctx, w.newID(), version{})
	case dice < 80:
		id, v := w.pick()
		return w.put(ctx, id, v)
	case dice < 92:
		id, v := w.pick()
		return w.attach(ctx, id, v)
	}
	id, v := w.pick()
	if v.rev == "" || v.deleted {
		return w.put(ctx, id, v)
	}
	return w.remove(ctx, id, v)
}

func (w *writer) newID() string {
	w.made++
	id := fmt.Sprintf("%s-%06d", w.name, w.made)
	w.owned = append(w.owned, id)
	return id
}

// pick chooses one of the writer's documents, maybe one that a crash undid or
// that is deleted: then it is to be made again.
func (w *writer) pick() (string, version) {
	if len(w.owned) == 0 {
		return w.newID(), version{}
	}
	id := w.owned[w.rng.IntN(len(w.owned))]
	v, _ := w.ledger.last(id)
	return id, v
}

// document is the JSON of the next version of a document whose last one is v,
// and that version. The attachment stays.
func (w *writer) document(id string, v version) (map[string]any, version) {
	w.next++
	b := bodyOf(id, w.next)
	doc := map[string]any{"_id": id, "n": b.N, "pad": b.Pad}
	next := version{n: w.next}
	if v.rev != "" && !v.deleted {
		doc["_rev"] = v.rev
		if v.att > 0 {
			doc["_attachments"] = map[string]any{"f": map[string]any{"stub": true}}
			next.att = v.att
		}
	}
	return doc, next
}

// write sends a request that writes one document.
func (w *writer) write(ctx context.Context, id string, next version, method, path string, content any, headers ...string) error {
	w.ledger.sending(map[string]version{id: next})
	res, err := w.client.Do(ctx, method, "/"+crashDB+"/"+path, content, headers...)
	if err != nil {
		return err
	}
	var answer struct {
		OK  bool
		Rev string
	}
	if res.Status != http.StatusCreated && res.Status != http.StatusOK {
		w.ledger.refused([]string{id})
		return fmt.Errorf("%w: %s %s: status %d: %s", errRefused, method, path, res.Status, res.Body)
	}
	if err := json.Unmarshal(res.Body, &answer); err != nil || !answer.OK || answer.Rev == "" {
		return fmt.Errorf("%w: %s %s: answer %q", errRefused, method, path, res.Body)
	}
	w.ledger.acknowledged(map[string]string{id: answer.Rev})
	return nil
}

func (w *writer) put(ctx context.Context, id string, v version) error {
	doc, next := w.document(id, v)
	return w.write(ctx, id, next, http.MethodPut, id, doc)
}

func (w *writer) remove(ctx context.Context, id string, v version) error {
	return w.write(ctx, id, version{deleted: true}, http.MethodDelete, id+"?rev="+v.rev, nil)
}

// attach writes the attachment of an existing document, or of a new one if it
// is not there.
func (w *writer) attach(ctx context.Context, id string, v version) error {
	if v.rev == "" || v.deleted {
		return w.put(ctx, id, v)
	}
	w.next++
	next := version{n: v.n, att: w.next}
	return w.write(ctx, id, next, http.MethodPut, id+"/f?rev="+v.rev, attachmentOf(id, next.att), "Content-Type", "application/octet-stream")
}

func (w *writer) local(ctx context.Context) error {
	id := fmt.Sprintf("_local/%s-%d", w.name, w.rng.IntN(localDocs))
	v, _ := w.ledger.last(id)
	doc, next := w.document(id, v)
	return w.write(ctx, id, next, http.MethodPut, id, doc)
}

func (w *writer) bulk(ctx context.Context) error {
	docs := make([]any, 0, bulkSize)
	versions := make(map[string]version, bulkSize)
	for len(docs) < bulkSize {
		id, v := "", version{}
		if len(w.owned) < maxOwned && w.rng.IntN(2) == 0 {
			id = w.newID()
		} else if id, v = w.pick(); versions[id] != (version{}) {
			if len(versions) == len(w.owned) {
				break
			}
			continue
		}
		doc, next := w.document(id, v)
		if v.rev != "" && !v.deleted && w.rng.IntN(10) == 0 {
			doc, next = map[string]any{"_id": id, "_rev": v.rev, "_deleted": true}, version{deleted: true}
		}
		docs = append(docs, doc)
		versions[id] = next
	}
	w.ledger.sending(versions)
	res, err := w.client.Do(ctx, http.MethodPost, "/"+crashDB+"/_bulk_docs", map[string]any{"docs": docs})
	if err != nil {
		return err
	}
	var rows []struct {
		OK      bool
		ID, Rev string
	}
	if err := res.Decode(http.StatusCreated, &rows); err != nil {
		return fmt.Errorf("%w: _bulk_docs: %w", errRefused, err)
	}
	revs := make(map[string]string, len(rows))
	for _, r := range rows {
		if !r.OK {
			return fmt.Errorf("%w: _bulk_docs: %s", errRefused, res.Body)
		}
		revs[r.ID] = r.Rev
	}
	if len(revs) != len(versions) {
		return fmt.Errorf("%w: _bulk_docs of %d documents answered with %d", errRefused, len(versions), len(revs))
	}
	w.ledger.acknowledged(revs)
	return nil
}

func isLocal(id string) bool { return strings.HasPrefix(id, "_local/") }
