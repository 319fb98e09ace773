package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mangrove-db/mangrove/internal/spool"
)

const (
	// gatherPage is how many changes are asked for at once, gatherBatch how many documents.
	gatherPage  = 2000
	gatherBatch = 100
	// gatherWorkers is how many requests for documents are under way at the same time.
	gatherWorkers = 4
	// gatherMemory is how much of an answer is held in memory before it goes into a temporary file.
	gatherMemory = 4 << 20
)

// gathering is a backup that is made through the replication protocol.
type gathering struct {
	c  *Client
	db string

	mu      sync.Mutex
	out     *Writer
	missing uint64
}

// gather writes a backup of a database of any server. Changes are followed to their end, so that everything that was
// there when it began is in it.
func (c *Client) gather(ctx context.Context, db string, w io.Writer, o FetchOptions) (*Summary, error) {
	c.options.Progress.begin("asking", 0)
	origin, err := c.origin(ctx, db)
	if err != nil {
		return nil, err
	}
	c.options.Progress.begin("copying", int64(origin.Documents+origin.Deleted))
	g := &gathering{c: c, db: db}
	if g.out, err = NewWriter(w, c.options.Version, *origin); err != nil {
		return nil, err
	}
	last, err := g.changes(ctx)
	if err != nil {
		return nil, err
	}
	if !o.NoLocal {
		if err := g.locals(ctx); err != nil {
			return nil, err
		}
	}
	if err := g.out.Close(last, g.missing); err != nil {
		return nil, err
	}
	return &Summary{Origin: origin, Counts: g.out.Counts(), Ending: &Ending{Counts: g.out.Counts(), Missing: g.missing, UpdateSeq: last}, Bytes: g.out.written()}, nil
}

func (c *Client) origin(ctx context.Context, db string) (*Origin, error) {
	var info databaseInfo
	o := &Origin{Format: FormatVersion, Database: db, Started: time.Now().UTC()}
	path := databasePath(db)
	for _, part := range []struct {
		path   string
		answer any
	}{
		{path, &info},
		{path + "/_security", &o.Security},
		{path + "/_revs_limit", &o.RevsLimit},
		{path + "/_purged_infos_limit", &o.PurgedInfosLimit},
	} {
		if err := c.ask(ctx, http.MethodGet, part.path, nil, part.answer); err != nil {
			return nil, err
		}
	}
	o.UpdateSeq = sequence(info.UpdateSeq)
	o.Documents, o.Deleted, o.Bytes = info.Docs, info.Deleted, info.Sizes.External
	o.Partitioned, o.Q, o.N = info.Props.Partitioned, info.Cluster.Q, info.Cluster.N
	return o, nil
}

// sequence is a sequence as a parameter: CouchDB's are strings, or numbers before version 2.
func sequence(text json.RawMessage) string {
	var s string
	if json.Unmarshal(text, &s) == nil {
		return s
	}
	return string(text)
}

// leaf names a revision.
type leaf struct {
	ID  string `json:"id"`
	Rev string `json:"rev"`
}

// changes copies the leaves of all documents and returns the sequence that it came to.
func (g *gathering) changes(ctx context.Context) (last string, err error) {
	for last = "0"; ; {
		var page struct {
			Results []struct {
				ID      string
				Changes []struct{ Rev string }
			}
			Last json.RawMessage `json:"last_seq"`
		}
		path := fmt.Sprintf("%s/_changes?style=all_docs&limit=%d&since=%s", databasePath(g.db), gatherPage, url.QueryEscape(last))
		if err := g.c.ask(ctx, http.MethodGet, path, nil, &page); err != nil {
			return "", err
		}
		fetchers, ctx := errgroup.WithContext(ctx)
		fetchers.SetLimit(gatherWorkers)
		var batch []leaf
		documents := 0
		flush := func() {
			leaves, n := batch, documents
			batch, documents = nil, 0
			if n > 0 && ctx.Err() == nil {
				fetchers.Go(func() error { return g.fetch(ctx, leaves, n) })
			}
		}
		for _, row := range page.Results {
			for _, change := range row.Changes {
				batch = append(batch, leaf{row.ID, change.Rev})
			}
			if documents++; len(batch) >= gatherBatch {
				flush()
			}
		}
		flush()
		if err := fetchers.Wait(); err != nil {
			return "", err
		}
		last = sequence(page.Last)
		if len(page.Results) < gatherPage {
			return last, nil
		}
	}
}

// fetched is a revision in a spool.
type fetched struct {
	id         string
	start, end int64
}

// fetch copies revisions of documents.
func (g *gathering) fetch(ctx context.Context, leaves []leaf, documents int) error {
	body, err := json.Marshal(map[string]any{"docs": leaves})
	if err != nil {
		return err
	}
	return g.c.retry(ctx, func() error {
		res, err := g.c.open(ctx, request{
			method: http.MethodPost, path: databasePath(g.db) + "/_bulk_get?revs=true&attachments=true",
			body: bytes.NewReader(body), size: int64(len(body)),
		})
		if err != nil {
			return err
		}
		defer res.Body.Close()
		held := spool.New("", gatherMemory)
		defer held.Close()
		list, missing, err := readBulkGet(res.Body, held)
		if err != nil {
			return err
		}
		return g.write(held, list, missing, documents)
	})
}

// write appends revisions to the backup. If that fails the backup is spoiled, and the error one that lasts.
func (g *gathering) write(held *spool.Spool, list []fetched, missing uint64, documents int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range list {
		if err := g.out.Text(f.id, io.NewSectionReader(held, f.start, f.end-f.start)); err != nil {
			return &spoiled{err}
		}
	}
	g.missing += missing
	p := g.c.options.Progress
	p.Done.Add(int64(documents))
	p.Bytes.Store(g.out.written())
	return nil
}

// spoiled says that a backup could not be written to where it goes.
type spoiled struct{ error }

func (s *spoiled) Unwrap() error { return s.error }

// readBulkGet reads the answer to _bulk_get, and puts the documents into a spool.
func readBulkGet(r io.Reader, held *spool.Spool) (list []fetched, missing uint64, err error) {
	s := newScanner(r)
	skip := func() error { return s.value(io.Discard, nil, nil) }
	entry := func(name string) error {
		switch name {
		case "ok":
			f := fetched{start: held.Size()}
			err := s.value(held, isIDOrRev, func(name, value string) {
				if name == "_id" {
					f.id = value
				}
			})
			f.end = held.Size()
			list = append(list, f)
			return err
		case "error":
			var text limited
			if err := s.value(&text, nil, nil); err != nil {
				return err
			}
			var told struct{ ID, Error, Reason string }
			if err := json.Unmarshal(text.b, &told); err != nil || told.Error != "not_found" {
				return &Refusal{http.StatusForbidden, "reading document " + strconv.Quote(told.ID), told.Error, told.Reason}
			}
			// It was changed since it was listed, and will be listed again.
			missing++
			return nil
		}
		return skip()
	}
	err = s.members(func(name string) error {
		if name != "results" {
			return skip()
		}
		return s.elements(func() error {
			return s.members(func(name string) error {
				if name != "docs" {
					return skip()
				}
				return s.elements(func() error { return s.members(entry) })
			})
		})
	})
	return list, missing, err
}

// locals copies local documents that mean something in another place.
func (g *gathering) locals(ctx context.Context) error {
	const page = 200
	for start := ""; ; {
		var rows struct {
			Rows []struct {
				ID  string
				Doc json.RawMessage
			}
		}
		path := fmt.Sprintf("%s/_local_docs?include_docs=true&limit=%d", databasePath(g.db), page)
		if start != "" {
			path += "&startkey=" + url.QueryEscape(strconv.Quote(start))
		}
		err := g.c.ask(ctx, http.MethodGet, path, nil, &rows)
		switch status(err) {
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
			g.c.options.Warn("local documents are left out: " + err.Error())
			return nil
		}
		if err != nil {
			return err
		}
		for i, row := range rows.Rows {
			first := i == 0 && start != "" // the last of the page before
			inner := strings.HasPrefix(row.ID, "_local/purge-") || strings.HasPrefix(row.ID, "_local/shard-sync-")
			if first || inner || len(row.Doc) == 0 || isCheckpoint(row.Doc) {
				continue
			}
			if err := g.out.Text(row.ID, bytes.NewReader(row.Doc)); err != nil {
				return err
			}
		}
		if len(rows.Rows) < page {
			return nil
		}
		start = rows.Rows[len(rows.Rows)-1].ID
	}
}
