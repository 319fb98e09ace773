package replicator

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// engine runs the replications of a node.
type engine struct {
	store    *storage.Store
	designs  *design.Cache
	settings func() Settings
	log      *slog.Logger
	agent    string // User-Agent
	accounts func(context.Context, *document.Document) error
	laters   laters
}

var _ Runner = (*engine)(nil)

// JobID returns the id of a Spec on this node.
func (e *engine) JobID(s *Spec) string { return s.JobID(e.store.UUID()) }

// peer returns an endpoint as a peer. The function drops its idle connections.
func (e *engine) peer(s *Spec, at Endpoint, proxy string, subject design.Subject) (Peer, func(), error) {
	if at.Local() {
		l := NewLocal(e.store, at.Name).As(subject, e.designs)
		l.accounts = e.accounts
		return l, func() {}, nil
	}
	defaults := e.settings().filled()
	o := RemoteOptions{
		URL: at.URL, Headers: at.Headers, Auth: at.Auth, Proxy: proxy, UserAgent: e.agent,
		ConnectionTimeout: orElse(s.ConnectionTimeout, defaults.ConnectionTimeout),
		Connections:       orElse(s.Connections, defaults.Connections),
		Retries:           defaults.Retries,
		UseBulkGet:        !defaults.NoBulkGet,
	}
	if s.Retries != nil {
		o.Retries = orElse(*s.Retries, -1)
	}
	if s.UseBulkGet != nil {
		o.UseBulkGet = *s.UseBulkGet
	}
	if defaults.InsecureTLS {
		o.TLS = &tls.Config{InsecureSkipVerify: true}
	}
	r, err := NewRemote(o)
	if err != nil {
		return nil, nil, err
	}
	return r, func() { _ = r.Close() }, nil
}

// Run replicates what the job's Spec says.
func (e *engine) Run(ctx context.Context, j Job, p *Progress) (Outcome, error) {
	s := j.Spec
	if err := e.laters.wait(ctx, j.ID); err != nil {
		return Outcome{}, err
	}
	subject := design.Subject{Name: j.User, Roles: j.Roles}
	src, closeSource, err := e.peer(s, s.Source, s.SourceProxy, subject)
	if err != nil {
		return Outcome{}, err
	}
	dst, closeTarget, err := e.peer(s, s.Target, s.TargetProxy, subject)
	if err != nil {
		closeSource()
		return Outcome{}, err
	}
	closePeers := func() { closeSource(); closeTarget() }
	o := e.options(j, p)
	var last func(context.Context) error
	o.Later = func(step func(context.Context) error) { last = step }
	outcome, err := Run(ctx, src, dst, o)
	if last == nil {
		closePeers()
		return outcome, err
	}
	e.laters.do(j.ID, func(ctx context.Context) {
		defer closePeers()
		if err := last(ctx); err != nil {
			e.log.Warn("a replication's source could not be told how far it came: the next run will look at more than it had to",
				"id", j.ID, "error", redacted(s, err))
		}
	})
	return outcome, err
}

func (e *engine) options(j Job, p *Progress) Options {
	s, defaults := j.Spec, e.settings().filled()
	o := Options{
		ID: checkpointID(j.ID), Since: s.Since, Continuous: s.Continuous, Query: s.Query,
		Filter:             FilterSpec{Name: s.Filter},
		WinningRevsOnly:    s.WinningRevsOnly,
		NoCheckpoints:      defaults.NoCheckpoints,
		CheckpointInterval: orElse(s.CheckpointInterval, defaults.CheckpointInterval),
		Workers:            orElse(s.Workers, defaults.Workers),
		BatchSize:          orElse(s.BatchSize, defaults.BatchSize),
		Progress:           p,
	}
	if s.UseCheckpoints != nil {
		o.NoCheckpoints = !*s.UseCheckpoints
	}
	switch {
	case s.ByDocIDs:
		o.Filter.Name, o.Filter.DocIDs = "_doc_ids", s.DocIDs
	case s.Selector != nil:
		o.Filter.Name, o.Filter.Selector = "_selector", s.Selector
	case s.Filter == "_view":
		o.Filter.View = s.Query["view"]
	}
	if s.CreateTarget {
		params := s.CreateParams
		o.Create = &params
	}
	return o
}

// Resolve reads the text of the filter function from the source, on behalf of reader.
func (e *engine) Resolve(ctx context.Context, s *Spec, reader design.Subject) (*Spec, error) {
	if !s.NeedsFilterText() {
		return s, nil
	}
	path, kind := s.Filter, "filters"
	if s.Filter == "_view" {
		path, kind = s.Query["view"], "views"
	}
	ddoc, name, _ := strings.Cut(path, "/")
	src, closeSource, err := e.peer(s, s.Source, s.SourceProxy, reader)
	if err != nil {
		return nil, err
	}
	defer closeSource()
	text, err := functionText(ctx, src, designPrefix+unescaped(ddoc), kind, unescaped(name))
	if err != nil {
		return nil, redacted(s, err)
	}
	resolved := *s
	resolved.FilterText = text
	return &resolved, nil
}

// unescaped undoes the escaping of a name, which may hold a slash.
func unescaped(name string) string {
	if plain, err := url.PathUnescape(name); err == nil {
		return plain
	}
	return name
}

// functionText reads a function of a design document at a peer.
func functionText(ctx context.Context, p Peer, id, kind, name string) (string, error) {
	if _, err := p.Info(ctx); err != nil {
		return "", err
	}
	fault := func(err error) error { return &FilterFetchError{id, p.Name(), err} }
	var text []byte
	for row, err := range p.Changes(ctx, ChangesRequest{Filter: FilterSpec{Name: "_doc_ids", DocIDs: []string{id}}}) {
		if err != nil {
			return "", fault(err)
		}
		if row.ID != id {
			continue
		}
		err := p.Fetch(ctx, []DocRevs{{ID: id, Revs: row.Revs}}, func(r Revision) error {
			if r.Err == nil && !r.Doc.Deleted {
				text = append([]byte(nil), r.Doc.Body...)
			}
			return nil
		})
		if err != nil {
			return "", fault(err)
		}
	}
	if text == nil {
		return "", fault(errors.New("not_found"))
	}
	for _, key := range []string{kind, name} {
		var object map[string]json.RawMessage
		if json.Unmarshal(text, &object) != nil || object[key] == nil {
			return "", fault(fmt.Errorf("it has no `%s` in `%s`", name, kind))
		}
		text = object[key]
	}
	return compact(text), nil
}
