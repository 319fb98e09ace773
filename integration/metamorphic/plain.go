package metamorphic

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// plainSyncer is the shortest replicator that is right: what has changed, what of it is missing, fetch it, write it.
// It keeps no checkpoint, retries nothing and does one thing after the other. It is what a node's replicator is
// compared with.
type plainSyncer struct {
	// spoil changes what is written, or has it left out; nil changes nothing. The oracle is tested with it.
	spoil func(doc map[string]any) (keep bool)

	mu      sync.Mutex
	clients map[string]*harness.Client // by host
}

func newPlainSyncer() *plainSyncer { return &plainSyncer{clients: map[string]*harness.Client{}} }

// Close closes idle connections.
func (p *plainSyncer) Close() {
	for _, c := range p.clients {
		c.Close()
	}
}

// peer is a database to talk to.
type peer struct {
	client *harness.Client
	path   string
}

func (p *plainSyncer) peer(address string) (peer, error) {
	u, err := url.Parse(address)
	if err != nil {
		return peer{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.clients[u.Host] == nil {
		secret, _ := u.User.Password()
		p.clients[u.Host] = harness.NewClient(harness.Server{Host: u.Host, User: u.User.Username(), Password: secret}, requestTimeout)
	}
	return peer{p.clients[u.Host], u.Path}, nil
}

// call sends a request with a JSON body, if any, and reads the JSON answer.
func (p peer) call(ctx context.Context, status int, method, path string, body, answer any) error {
	res, err := p.client.Do(ctx, method, p.path+path, body, "Accept", "application/json")
	if err == nil {
		err = res.Decode(status, answer)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// Sync implements Syncer. Both addresses must be URLs.
func (p *plainSyncer) Sync(ctx context.Context, source, target string, o Options) error {
	src, err := p.peer(source)
	if err != nil {
		return err
	}
	dst, err := p.peer(target)
	if err != nil {
		return err
	}
	rows, err := readChanges(ctx, src)
	if err != nil {
		return err
	}
	if o.Only > 0 {
		only := documents[(o.Only-1)%len(documents)]
		rows = slices.DeleteFunc(rows, func(r changeRow) bool { return r.ID != only })
	}
	size := o.Batch
	if size == 0 {
		size = 500
	}
	for batch := range slices.Chunk(rows, size) {
		if err := p.copy(ctx, src, dst, batch); err != nil {
			return err
		}
	}
	return nil
}

// copy brings the target what it lacks of some documents.
func (p *plainSyncer) copy(ctx context.Context, src, dst peer, batch []changeRow) error {
	asked := map[string][]string{}
	for _, row := range batch {
		asked[row.ID] = row.revs()
	}
	var lacks map[string]struct{ Missing []string }
	if err := dst.call(ctx, 200, "POST", "/_revs_diff", asked, &lacks); err != nil {
		return err
	}
	var found []map[string]any
	for id, l := range lacks {
		revs, err := json.Marshal(l.Missing)
		if err != nil {
			return err
		}
		var answers []struct{ OK map[string]any }
		path := "/" + escapeID(id) + "?revs=true&latest=true&attachments=true&open_revs=" + url.QueryEscape(string(revs))
		if err := src.call(ctx, 200, "GET", path, nil, &answers); err != nil {
			return err
		}
		for _, a := range answers {
			// A revision may have gone meanwhile.
			if a.OK != nil && (p.spoil == nil || p.spoil(a.OK)) {
				found = append(found, a.OK)
			}
		}
	}
	if len(found) == 0 {
		return nil
	}
	var refused []any
	if err := dst.call(ctx, 201, "POST", "/_bulk_docs", map[string]any{"new_edits": false, "docs": found}, &refused); err != nil {
		return err
	}
	if len(refused) > 0 {
		return fmt.Errorf("the target refused %v", refused)
	}
	return nil
}

// changeRow is a row of _changes.
type changeRow struct {
	ID      string
	Deleted bool
	Changes []struct{ Rev string }
}

func (r changeRow) revs() []string {
	revs := make([]string, len(r.Changes))
	for i, c := range r.Changes {
		revs[i] = c.Rev
	}
	return revs
}

func readChanges(ctx context.Context, p peer) ([]changeRow, error) {
	var feed struct{ Results []changeRow }
	err := p.call(ctx, 200, "GET", "/_changes?style=all_docs", nil, &feed)
	return feed.Results, err
}

// escapeID writes a document id for a path. CouchDB takes a plus sign in a path for a space.
func escapeID(id string) string {
	prefix := ""
	if rest, ok := strings.CutPrefix(id, "_design/"); ok {
		prefix, id = "_design/", rest
	}
	return prefix + strings.ReplaceAll(url.QueryEscape(id), "+", "%20")
}
