package replicator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/internal/dbname"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// Local is a database of this node as a peer. It works on the store directly.
type Local struct {
	store   *storage.Store
	name    string
	designs *design.Cache // nil: no function of a design document is run
	subject design.Subject
	// accounts, if not nil, makes documents ready to be written into a database of accounts.
	accounts func(context.Context, *document.Document) error
}

var _ Peer = (*Local)(nil)

// NewLocal returns the database of that name as a peer. It need not exist yet. Its design documents are not asked what
// may be written, and cannot filter changes.
func NewLocal(store *storage.Store, name string) *Local { return &Local{store: store, name: name} }

// As returns the peer as a subject sees it whose documents are validated, and whose filters may be functions.
func (l *Local) As(s design.Subject, designs *design.Cache) *Local {
	return &Local{store: l.store, name: l.name, designs: designs, subject: s}
}

// Name returns the database's name.
func (l *Local) Name() string { return l.name }

func (l *Local) db() (*storage.DB, error) {
	db, err := l.store.DB(l.name)
	if err == nil {
		err = l.permit(db)
	}
	return db, l.wrap(err)
}

func (l *Local) snapshot() (*storage.DB, *storage.Snapshot, error) {
	db, snap, err := l.store.Snapshot(l.name)
	if err != nil {
		return nil, nil, l.wrap(err)
	}
	if err := l.permit(db); err != nil {
		snap.Close()
		return nil, nil, err
	}
	return db, snap, nil
}

func (l *Local) wrap(err error) error {
	if errors.Is(err, storage.ErrNoDatabase) {
		return fmt.Errorf("%w `%s`", ErrNoDatabase, l.name)
	}
	return err
}

func startTime(db *storage.DB) string { return strconv.FormatInt(db.Created().UnixMicro(), 10) }

// Info describes the database.
func (l *Local) Info(context.Context) (PeerInfo, error) {
	db, snap, err := l.snapshot()
	if err != nil {
		return PeerInfo{}, err
	}
	defer snap.Close()
	return PeerInfo{UpdateSeq: snap.FormatSeq(snap.Seq()), StartTime: startTime(db), Docs: int64(snap.Docs()), Empty: snap.Seq() == 0}, nil
}

// Create makes the database unless it is there. The caller has checked its name.
func (l *Local) Create(ctx context.Context, p CreateParams) error {
	if _, err := l.store.DB(l.name); err == nil {
		return nil
	}
	if !l.trusted() {
		return ErrUnauthorized
	}
	_, err := l.store.CreateDB(ctx, l.name, storage.DBOptions{Partitioned: p.Partitioned, Q: p.Q, N: p.N})
	if errors.Is(err, storage.ErrExists) {
		return nil
	}
	return err
}

// Changes yields changes from one snapshot after the other; between them nothing is held.
func (l *Local) Changes(ctx context.Context, r ChangesRequest) iter.Seq2[ChangeRow, error] {
	return func(yield func(ChangeRow, error) bool) {
		since := r.Since
		for {
			db, snap, err := l.snapshot()
			var last storage.Seq
			more := false
			if err == nil {
				last = snap.Seq()
				err = l.equip(db, &r)
			}
			if err == nil {
				more, err = changesRound(ctx, snap, r, &since, yield)
			}
			if snap != nil {
				snap.Close()
			}
			if err != nil {
				if ctx.Err() == nil {
					yield(ChangeRow{}, l.wrap(err))
				}
				return
			}
			if !more || !r.Continuous {
				return
			}
			if err := db.Wait(ctx, last); err != nil {
				if ctx.Err() == nil {
					yield(ChangeRow{}, l.wrap(err))
				}
				return
			}
		}
	}
}

// equip gives a filter what functions need.
func (l *Local) equip(db *storage.DB, r *ChangesRequest) error {
	f := &r.Filter
	if f.Designs = l.designs; l.designs == nil || f.Request != nil || f.Name == "" || f.Name[0] == '_' {
		return nil
	}
	security, err := l.designs.Security(db)
	if err != nil {
		return err
	}
	path := []string{l.name, "_changes"}
	sent := design.Request{
		Method: http.MethodGet, Path: path, RequestedPath: path, RawPath: "/" + url.PathEscape(l.name) + "/_changes",
		Body: "undefined", User: l.subject.AppendContext(nil, l.name), Security: security,
		Query: []design.Pair{{Name: "filter", Value: f.Name}},
	}
	for _, name := range slices.Sorted(maps.Keys(r.Query)) {
		sent.Query = append(sent.Query, design.Pair{Name: name, Value: r.Query[name]})
	}
	f.Request = sent.AppendJSON(nil)
	return nil
}

// changesRound yields what a snapshot has behind since, and moves since to the snapshot's end.
func changesRound(ctx context.Context, snap *storage.Snapshot, r ChangesRequest, since *string, yield func(ChangeRow, error) bool) (more bool, err error) {
	filter, err := NewFilter(snap, r.Filter)
	if err != nil {
		return false, err
	}
	from, err := snap.ParseSeq(*since)
	if err != nil {
		return false, err
	}
	for c, err := range filter.Changes(ctx, snap, storage.ChangesOptions{Since: from}) {
		passes := false
		if err == nil {
			passes, err = filter.Match(ctx, snap, &c)
		}
		if err != nil {
			return false, err
		}
		if !passes {
			continue
		}
		if !yield(ChangeRow{Seq: snap.FormatSeq(c.Seq), ID: c.ID, Revs: c.Revs}, nil) {
			return false, nil
		}
	}
	*since = snap.FormatSeq(snap.Seq())
	return yield(ChangeRow{Seq: *since}, nil), nil
}

// Pending counts the changes behind a sequence.
func (l *Local) Pending(_ context.Context, since string) (int64, error) {
	_, snap, err := l.snapshot()
	if err != nil {
		return 0, err
	}
	defer snap.Close()
	seq, err := snap.ParseSeq(since)
	if err != nil {
		return 0, err
	}
	n, err := snap.Pending(seq)
	return int64(n), err
}

// RevsDiff tells what is missing here.
func (l *Local) RevsDiff(ctx context.Context, asked []DocRevs) ([]DocRevs, error) {
	_, snap, err := l.snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	var missing []DocRevs
	for _, a := range asked {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := snap.RevsDiff(a.ID, a.Revs)
		if err != nil {
			return nil, err
		}
		if len(m.Revs) > 0 {
			missing = append(missing, DocRevs{ID: a.ID, Revs: m.Revs, Known: m.PossibleAncestors})
		}
	}
	return missing, nil
}

// Fetch reads revisions, all from one snapshot.
func (l *Local) Fetch(ctx context.Context, wanted []DocRevs, visit func(Revision) error) error {
	_, snap, err := l.snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	for _, w := range wanted {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fetchDoc(snap, w, visit); err != nil {
			return err
		}
	}
	return nil
}

func fetchDoc(snap *storage.Snapshot, w DocRevs, visit func(Revision) error) error {
	row, err := snap.Lookup(w.ID)
	if errors.Is(err, storage.ErrNotFound) {
		return visitMissing(w.ID, w.Revs, visit)
	}
	if err != nil {
		return err
	}
	tree, err := row.Tree()
	if err != nil {
		return err
	}
	done := map[revtree.ID]bool{}
	for _, rev := range w.Revs {
		// What has been superseded since it was announced goes as what has come of it.
		leaves := tree.Latest(rev)
		if len(leaves) == 0 {
			if err := visitMissing(w.ID, []revtree.ID{rev}, visit); err != nil {
				return err
			}
		}
		for _, leaf := range leaves {
			if done[leaf.ID] {
				continue
			}
			done[leaf.ID] = true
			i, _ := tree.Find(leaf.ID)
			d, err := row.Revision(tree, i)
			if errors.Is(err, storage.ErrNotFound) {
				err = visitMissing(w.ID, []revtree.ID{leaf.ID}, visit)
			} else if err == nil {
				err = visit(revisionOf(snap, d, w.Known))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func visitMissing(id string, revs []revtree.ID, visit func(Revision) error) error {
	for _, rev := range revs {
		if err := visit(Revision{Doc: &document.Document{ID: id, Rev: rev}, Err: storage.ErrNotFound}); err != nil {
			return err
		}
	}
	return nil
}

// revisionOf marks those attachments of d to follow that are newer than what the other side knows.
func revisionOf(snap *storage.Snapshot, d *document.Document, known []revtree.ID) Revision {
	r := Revision{Doc: d}
	since := knownGeneration(d.Revisions, known)
	for i := range d.Attachments {
		a := &d.Attachments[i]
		a.Follows, a.Stub = a.RevPos > since, a.RevPos <= since
		if !a.Follows || r.Content != nil {
			continue
		}
		r.Content = func(visit func(*document.Attachment, io.Reader) error) error {
			for i := range d.Attachments {
				if a := &d.Attachments[i]; a.Follows {
					if err := sendAttachment(snap, a, visit); err != nil {
						return err
					}
				}
			}
			return nil
		}
	}
	return r
}

func sendAttachment(snap *storage.Snapshot, a *document.Attachment, visit func(*document.Attachment, io.Reader) error) error {
	content, err := snap.OpenAttachment(a)
	if err != nil {
		return err
	}
	return errors.Join(visit(a, content), content.Close())
}

// knownGeneration returns the generation of the newest revision on path that is among known, or 0: attachments up to
// it are there on the other side.
func knownGeneration(path revtree.Path, known []revtree.ID) int {
	best := 0
	for _, k := range known {
		i := path.Start - k.Gen
		if i >= 0 && i < path.Len() && path.At(i) == k {
			best = max(best, k.Gen)
		}
	}
	return best
}

// Store writes revisions. Attachments are stored as they are read from the other side.
func (l *Local) Store(ctx context.Context, revs []Revision) ([]Refusal, error) {
	db, err := l.db()
	if err != nil {
		return nil, err
	}
	designer, err := l.designer(db)
	if err != nil {
		return nil, err
	}
	var refusals []Refusal
	docs := make([]*document.Document, 0, len(revs))
	for _, r := range revs {
		if dbname.IsReplicator(l.name) {
			if err := Guard(r.Doc, Writer{Admin: true, Server: true}, true); err != nil {
				refusals = append(refusals, Refusal{r.Doc.ID, r.Doc.Rev, forbidden, err.Error()})
				continue
			}
		}
		if dbname.IsUsers(l.name) && l.accounts != nil {
			if err := l.accounts(ctx, r.Doc); err != nil {
				refusals = append(refusals, Refusal{r.Doc.ID, r.Doc.Rev, forbidden, err.Error()})
				continue
			}
		}
		if document.IsDesign(r.Doc.ID) && !designer {
			refusals = append(refusals, Refusal{r.Doc.ID, r.Doc.Rev, forbidden, "You are not a db or server admin."})
			continue
		}
		docs = append(docs, r.Doc)
		if r.Content == nil {
			continue
		}
		if err := r.Content(func(a *document.Attachment, content io.Reader) error { return keep(ctx, db, a, content) }); err != nil {
			return nil, err
		}
	}
	w := storage.Write{Docs: docs, Mode: storage.Replicate}
	if l.designs != nil {
		w.Validator = l.designs.Validator(ctx, l.subject)
	}
	results, err := db.Apply(ctx, w)
	if err != nil {
		return nil, l.wrap(err)
	}
	for i, r := range results {
		var stub *storage.MissingStubError
		switch {
		case r.Err == nil:
		case errors.As(r.Err, &stub):
			refusals = append(refusals, Refusal{r.ID, docs[i].Rev, missingStub, stub.Error()})
		default:
			refusals = append(refusals, Refusal{r.ID, docs[i].Rev, forbidden, r.Err.Error()})
		}
	}
	return refusals, nil
}

// forbidden names the refusal of a revision that must not be written.
const forbidden = "forbidden"

// missingStub names the refusal of a revision whose attachments were left out because they should have been there.
const missingStub = "missing_stub"

// keep stores the content of an attachment and checks that it is what the other side said.
func keep(ctx context.Context, db *storage.DB, a *document.Attachment, content io.Reader) error {
	got, err := db.StoreAttachment(ctx, content, storage.Coding{Gzipped: a.Encoding == "gzip"})
	if err != nil {
		return err
	}
	if a.Digest != ([16]byte{}) && got.Digest != a.Digest {
		return fmt.Errorf("attachment %q arrived damaged: its digest is not the one announced", a.Name)
	}
	a.Digest, a.Length, a.EncodedLength, a.Address = got.Digest, got.Length, got.EncodedLength, got.Address
	a.Follows = false
	return nil
}

const localPrefix = "_local/"

// Checkpoint reads a local document.
func (l *Local) Checkpoint(_ context.Context, id string) (Checkpoint, error) {
	_, snap, err := l.snapshot()
	if err != nil {
		return Checkpoint{}, err
	}
	defer snap.Close()
	doc, err := snap.Local(localPrefix + id)
	if errors.Is(err, storage.ErrNotFound) {
		return Checkpoint{}, ErrNoCheckpoint
	}
	if err != nil {
		return Checkpoint{}, err
	}
	return Checkpoint{ID: id, Rev: "0-" + strconv.FormatUint(doc.Rev, 10), Body: doc.Body}, nil
}

// SaveCheckpoint writes a local document.
func (l *Local) SaveCheckpoint(ctx context.Context, c Checkpoint) (string, error) {
	db, err := l.db()
	if err != nil {
		return "", err
	}
	// Local documents of this node take any revision, so that a bad one only starts the count anew.
	n, _ := strconv.ParseUint(strings.TrimPrefix(c.Rev, "0-"), 10, 64)
	rev, err := db.PutLocal(ctx, storage.Local{ID: localPrefix + c.ID, Rev: n, Body: c.Body})
	return "0-" + strconv.FormatUint(rev, 10), l.wrap(err)
}

// Commit syncs the store.
func (l *Local) Commit(ctx context.Context) (string, error) {
	db, err := l.db()
	if err != nil {
		return "", err
	}
	return startTime(db), l.wrap(db.Commit(ctx))
}
