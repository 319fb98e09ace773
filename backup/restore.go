package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/internal/dbname"
)

const (
	// A batch of documents that is sent at once ends at the first of these. A document that is larger goes alone.
	batchDocuments = 500
	batchBytes     = 1 << 20
	// DefaultConnections is how many batches are sent at the same time.
	DefaultConnections = 8
	// refusedKept is how many refused documents are named.
	refusedKept = 20
)

// RestoreOptions say how a backup is restored.
type RestoreOptions struct {
	// Merge restores into a database that has documents. Nothing that is there is lost: revisions that it lacks join
	// those that it has, and local documents that it has stay. Settings stay as they are.
	Merge bool
	// NoSettings leaves the security object and the limits of a database as they are.
	NoSettings  bool
	Connections int // 0: DefaultConnections
}

// Restored is what became of a backup.
type Restored struct {
	Counts         // that the backup has
	Written uint64 // revisions and local documents that were sent, and taken
	Present uint64 // that were there already
	Refused uint64 // that the target did not take
	Reasons []string
	Ignored int // lines; see Reader.Ignored
}

// Restore writes a backup into a database, which is made if it is not there. A file is read twice: nothing is written
// before all of it was found to be good. A stream can be read once only: that it is no good is told when it ends,
// and what came before is in the database then.
func (c *Client) Restore(ctx context.Context, from io.Reader, db string, o RestoreOptions) (*Restored, error) {
	if o.Connections <= 0 {
		o.Connections = DefaultConnections
	}
	total := int64(0)
	if f, ok := from.(*os.File); ok && isFile(f) {
		in, err := openText(f)
		if err != nil {
			return nil, err
		}
		s, err := c.check(in)
		if err != nil {
			return nil, err
		}
		total = int64(s.Revisions + s.Local)
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
	}
	in, err := openText(from)
	if err != nil {
		return nil, err
	}
	c.options.Progress.begin("restoring", total)
	r := &restoring{c: c, db: db, o: o, in: NewReader(in.source()), text: in}
	return r.run(ctx)
}

func isFile(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// restoring is one restore.
type restoring struct {
	c    *Client
	db   string
	o    RestoreOptions
	in   *Reader
	text *text

	filled bool // the database had documents

	batches chan *batch
	designs []*Document // kept for the end
	locals  []*Document

	written, present, refused atomic.Uint64
	mu                        sync.Mutex
	reasons                   []string
}

// batch is documents that are sent together.
type batch struct {
	docs  []*Document
	size  int64
	fresh bool // without revisions
}

func (b *batch) close() {
	for _, d := range b.docs {
		_ = d.Close() // a temporary file that nobody needs any more
	}
}

func (r *restoring) run(ctx context.Context) (*Restored, error) {
	first, err := r.in.Next()
	if err != nil && err != io.EOF {
		return nil, err
	}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	defer func() {
		for _, d := range append(r.designs, r.locals...) {
			_ = d.Close()
		}
	}()
	if err == nil {
		if err := r.documents(ctx, first); err != nil {
			return nil, err
		}
	}
	if err := r.last(ctx); err != nil {
		return nil, err
	}
	if err := r.c.ask(ctx, http.MethodPost, databasePath(r.db)+"/_ensure_full_commit", struct{}{}, nil); err != nil {
		return nil, err
	}
	return &Restored{
		Counts: r.in.Counts(), Written: r.written.Load(), Present: r.present.Load(), Refused: r.refused.Load(),
		Reasons: r.reasons, Ignored: r.in.Ignored(),
	}, nil
}

// prepare makes sure that there is a database to restore into, with its settings.
func (r *restoring) prepare(ctx context.Context) error {
	origin := r.in.Origin()
	if origin == nil {
		origin = &Origin{}
	}
	path := databasePath(r.db)
	var info databaseInfo
	err := r.c.ask(ctx, http.MethodGet, path, nil, &info)
	switch {
	case status(err) == http.StatusNotFound:
		if err := r.create(ctx, origin); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		empty, err := r.empty(ctx, &info)
		if err != nil {
			return err
		}
		if !empty && !r.o.Merge {
			return fmt.Errorf("database %s at %s has documents already (%d, and %d deleted): restore into another one, or add --merge to bring in what it lacks",
				r.db, r.c, info.Docs, info.Deleted)
		}
		if origin.Partitioned != info.Props.Partitioned && r.in.Origin() != nil {
			return fmt.Errorf("database %s is not partitioned as that of the backup was, or the other way round", r.db)
		}
		r.filled = !empty
	}
	if r.filled || r.o.NoSettings {
		return nil
	}
	return r.settings(ctx, origin)
}

func (r *restoring) create(ctx context.Context, o *Origin) error {
	query := url.Values{}
	if o.Partitioned {
		query.Set("partitioned", "true")
	}
	path := databasePath(r.db)
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	err := r.c.ask(ctx, http.MethodPut, path, nil, nil)
	if status(err) == http.StatusPreconditionFailed {
		return nil // an earlier try had made it
	}
	return err
}

// empty tells whether a database has no documents but those that a node makes by itself.
func (r *restoring) empty(ctx context.Context, info *databaseInfo) (bool, error) {
	if info.Docs == 0 && info.Deleted == 0 {
		return true, nil
	}
	if info.Deleted > 0 || info.Docs > 1 || !dbname.IsUsers(r.db) && !dbname.IsReplicator(r.db) {
		return false, nil
	}
	var rows struct{ Rows []struct{ ID string } }
	if err := r.c.ask(ctx, http.MethodGet, databasePath(r.db)+"/_all_docs?limit=2", nil, &rows); err != nil {
		return false, err
	}
	return len(rows.Rows) == 1 && document.IsDesign(rows.Rows[0].ID), nil
}

// settings gives the database the settings that the backup's had. They come before the documents: more of their
// history would be forgotten otherwise, and nobody may read them who must not.
func (r *restoring) settings(ctx context.Context, o *Origin) error {
	path := databasePath(r.db)
	for _, s := range []struct {
		name  string
		limit int
	}{{"_revs_limit", o.RevsLimit}, {"_purged_infos_limit", o.PurgedInfosLimit}} {
		if s.limit == 0 {
			continue
		}
		var now int
		err := r.c.ask(ctx, http.MethodGet, path+"/"+s.name, nil, &now)
		if err == nil && now != s.limit {
			err = r.c.ask(ctx, http.MethodPut, path+"/"+s.name, s.limit, nil)
		}
		if err != nil {
			return err
		}
	}
	if len(o.Security) == 0 || string(o.Security) == "null" {
		return nil
	}
	var now json.RawMessage
	err := r.c.ask(ctx, http.MethodGet, path+"/_security", nil, &now)
	if err == nil && !sameJSON(now, o.Security) {
		err = r.c.ask(ctx, http.MethodPut, path+"/_security", o.Security, nil)
	}
	if status(err) == http.StatusForbidden && dbname.IsUsers(r.db) {
		r.c.options.Warn("the security object of " + r.db + " stays as it is: " + err.Error())
		return nil
	}
	return err
}

func sameJSON(a, b []byte) bool {
	x, err1 := document.Canonical(a)
	y, err2 := document.Canonical(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

// documents sends all documents but those that come last.
func (r *restoring) documents(ctx context.Context, first *Document) error {
	r.batches = make(chan *batch)
	group, ctx := errgroup.WithContext(ctx)
	for range r.o.Connections {
		group.Go(func() error {
			for b := range r.batches {
				err := r.send(ctx, b)
				b.close()
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(r.batches)
		return r.read(ctx, first)
	})
	return group.Wait()
}

// read makes batches of what the backup has.
func (r *restoring) read(ctx context.Context, d *Document) (err error) {
	b := &batch{}
	defer func() { b.close() }()
	flush := func() error {
		if len(b.docs) == 0 {
			return nil
		}
		select {
		case r.batches <- b:
			b = &batch{}
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for ; err == nil; d, err = r.in.Next() {
		r.c.options.Progress.Bytes.Store(r.text.offset())
		switch {
		case document.IsLocal(d.ID):
			r.locals = append(r.locals, d)
			continue
		case d.IsDesign():
			r.designs = append(r.designs, d)
			continue
		}
		fresh := d.Rev == ""
		if fresh != b.fresh || len(b.docs) == batchDocuments || b.size > 0 && b.size+d.Size > batchBytes {
			if err := flush(); err != nil {
				return errors.Join(err, d.Close())
			}
		}
		b.fresh = fresh
		b.docs = append(b.docs, d)
		b.size += d.Size
	}
	if err != io.EOF {
		return err
	}
	return flush()
}

// last sends what has a meaning for the rest: design documents, whose functions may refuse documents, and local ones.
func (r *restoring) last(ctx context.Context) error {
	for _, d := range r.designs {
		if err := r.send(ctx, &batch{docs: []*Document{d}, size: d.Size, fresh: d.Rev == ""}); err != nil {
			return err
		}
	}
	for _, d := range r.locals {
		err := error(nil)
		if r.filled {
			err = r.c.ask(ctx, http.MethodGet, databasePath(r.db)+"/_local/"+escape(d.ID[len("_local/"):]), nil, nil)
		}
		switch {
		case r.filled && err == nil:
			r.present.Add(1)
			r.c.options.Progress.Done.Add(1)
		case r.filled && status(err) != http.StatusNotFound:
			return err
		default:
			if err := r.post(ctx, &batch{docs: []*Document{d}, size: d.Size}); err != nil {
				return err
			}
		}
	}
	return nil
}

// send writes a batch, but for what the database has already.
func (r *restoring) send(ctx context.Context, b *batch) error {
	if r.filled && !b.fresh {
		lacking, err := r.lacking(ctx, b)
		if err != nil {
			return err
		}
		have := len(b.docs) - len(lacking.docs)
		r.present.Add(uint64(have))
		r.c.options.Progress.Done.Add(int64(have))
		if b = lacking; len(b.docs) == 0 {
			return nil
		}
	}
	return r.post(ctx, b)
}

// lacking returns what of a batch the database does not have. The documents stay those of the batch.
func (r *restoring) lacking(ctx context.Context, b *batch) (*batch, error) {
	ask := map[string][]string{}
	for _, d := range b.docs {
		ask[d.ID] = append(ask[d.ID], d.Rev)
	}
	var answer map[string]struct{ Missing []string }
	if err := r.c.ask(ctx, http.MethodPost, databasePath(r.db)+"/_revs_diff", ask, &answer); err != nil {
		return nil, err
	}
	rest := &batch{}
	for _, d := range b.docs {
		for _, rev := range answer[d.ID].Missing {
			if rev == d.Rev {
				rest.docs, rest.size = append(rest.docs, d), rest.size+d.Size
				break
			}
		}
	}
	return rest, nil
}

// indigestible tells whether a target refused a batch for what is in it: it is too large, or one of its documents is such
// that CouchDB refuses the whole request, which does not tell which.
func indigestible(err error) bool {
	switch status(err) {
	case http.StatusRequestEntityTooLarge, http.StatusBadRequest, http.StatusPreconditionFailed:
		return true
	}
	return false
}

// post writes a batch. One that the target does not take as a whole is divided, until it is known which document it is.
func (r *restoring) post(ctx context.Context, b *batch) error {
	rows, err := r.bulk(ctx, b)
	if indigestible(err) {
		if len(b.docs) == 1 {
			r.c.options.Progress.Done.Add(1)
			r.refuse(b.docs[0].ID, err.Error())
			return nil
		}
		for _, half := range [][]*Document{b.docs[:len(b.docs)/2], b.docs[len(b.docs)/2:]} {
			part := &batch{docs: half, fresh: b.fresh}
			for _, d := range half {
				part.size += d.Size
			}
			if err := r.post(ctx, part); err != nil {
				return err
			}
		}
		return nil
	}
	if err != nil {
		return err
	}
	refused := 0
	for _, row := range rows {
		switch {
		case row.Error == "":
		case b.fresh && row.Error == "conflict":
			// It was written before, perhaps by an earlier try of the same.
			r.present.Add(1)
			refused++
		default:
			r.refuse(row.ID, row.Error+": "+row.Reason)
			refused++
		}
	}
	r.written.Add(uint64(max(len(b.docs)-refused, 0)))
	r.c.options.Progress.Done.Add(int64(len(b.docs)))
	return nil
}

func (r *restoring) refuse(id, why string) {
	r.refused.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.reasons) < refusedKept {
		r.reasons = append(r.reasons, id+": "+why)
	}
}

// bulkRow is a row of the answer to _bulk_docs.
type bulkRow struct{ ID, Error, Reason string }

var (
	bulkStart      = []byte(`{"new_edits":false,"docs":[`)
	bulkStartFresh = []byte(`{"docs":[`)
	bulkEnd        = []byte(`]}`)
	comma          = []byte(`,`)
)

func (r *restoring) bulk(ctx context.Context, b *batch) (rows []bulkRow, err error) {
	err = r.c.retry(ctx, func() error {
		start := bulkStart
		if b.fresh {
			start = bulkStartFresh
		}
		parts := []io.Reader{bytes.NewReader(start)}
		size := int64(len(start) + len(bulkEnd) + len(b.docs) - 1)
		for i, d := range b.docs {
			if i > 0 {
				parts = append(parts, bytes.NewReader(comma))
			}
			parts = append(parts, d.Open())
			size += d.Size
		}
		rows = nil
		return r.c.once(ctx, request{
			method: http.MethodPost, path: databasePath(r.db) + "/_bulk_docs",
			body: io.MultiReader(append(parts, bytes.NewReader(bulkEnd))...), size: size,
		}, &rows)
	})
	return rows, err
}
