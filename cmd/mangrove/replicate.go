package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mangrove-db/mangrove/replicator"
)

// replicateFlags are the flags of replicate as given.
type replicateFlags struct {
	node         string
	continuous   bool
	createTarget bool
	partitioned  bool
	docIDs       []string
	selector     string
	filter       string
	query        map[string]string
	headers      []string
	since        string
	winners      bool
	noCheckpoint bool
	workers      int
	batch        int
	connections  int
	proxy        string
	insecure     bool
	quiet        bool
}

func newReplicate() *cobra.Command {
	var f replicateFlags
	c := &cobra.Command{
		Use:   "replicate SOURCE TARGET",
		Short: "Copy what a database lacks from another",
		Long: `Replicate brings to TARGET all revisions of documents of SOURCE that it does
not have: conflicts, deletions and attachments as well. Run it the other way
round too and both are the same. Nothing is overwritten.

SOURCE and TARGET are URLs of databases of any server that speaks CouchDB's
protocol, or bare names of databases of one node (--node). This process does
the work and talks to both; a node's own replications, which go on without
it, are made with POST /_replicate or documents in _replicator.

Where it left off is noted on both sides, so that the next run with the same
arguments copies only what is new; a run that is interrupted loses nothing.

On a terminal a bar shows what goes on, elsewhere a line now and then.

Credentials stand in the URLs, or for all that have none in COUCHDB_USER and
COUCHDB_PASSWORD. They are never shown.

Exit codes: 0 when TARGET has everything (or after Ctrl-C with --continuous),
1 if it could not be done or some documents were refused, 2 if the command
line is wrong.`,
		Example: `  # to another node, making the database there
  mangrove replicate garden http://admin:secret@far.example:5984/garden --create-target

  # and back, for as long as it runs
  mangrove replicate http://admin:secret@far.example:5984/garden garden --continuous

  # some documents only
  mangrove replicate garden copy --selector '{"kind":"tree"}'
  mangrove replicate garden copy --doc-ids oak,elm`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := f.spec(args[0], args[1])
			if err != nil {
				return err
			}
			shown := newDisplay(cmd.ErrOrStderr(), spec, f.quiet)
			outcome, err := replicator.Replicate(cmd.Context(), spec, replicator.ReplicateOptions{
				UserAgent: "Mangrove-Replicator/" + version, Insecure: f.insecure,
			}, shown.progress)
			shown.end()
			if err != nil && !(f.continuous && cmd.Context().Err() != nil) {
				return failure{err}
			}
			fmt.Fprintln(cmd.OutOrStdout(), summary(outcome))
			if n := outcome.Stats.Failed; n > 0 {
				return failure{fmt.Errorf("%d revisions were refused by the target", n)}
			}
			return nil
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.continuous, "continuous", false, "go on with what comes later, until Ctrl-C")
	flags.BoolVar(&f.createTarget, "create-target", false, "make the target database if it is not there")
	flags.BoolVar(&f.partitioned, "partitioned", false, "make it partitioned")
	flags.StringSliceVar(&f.docIDs, "doc-ids", nil, "copy only these documents")
	flags.StringVar(&f.selector, "selector", "", "copy only documents that this Mango selector (JSON) matches")
	flags.StringVar(&f.filter, "filter", "", "copy only what a filter of the source passes, such as design/name")
	flags.StringToStringVar(&f.query, "query", nil, "parameters for the filter, name=value")
	flags.StringVar(&f.since, "since", "", "begin behind this sequence of the source if there is no checkpoint")
	flags.BoolVar(&f.winners, "winning-revs-only", false, "leave conflicts behind")
	flags.BoolVar(&f.noCheckpoint, "no-checkpoints", false, "neither use nor leave notes of how far it came")
	flags.IntVar(&f.workers, "workers", 0, "batches copied at the same time (default 20)")
	flags.IntVar(&f.batch, "batch-size", 0, "changes of a batch (default 500)")
	flags.IntVar(&f.connections, "connections", 0, "connections to each side (default 20)")
	flags.StringArrayVar(&f.headers, "header", nil, "header to send to both sides, as 'Name: value'")
	flags.StringVar(&f.proxy, "proxy", "", "proxy for both sides: http, https or socks5 URL")
	flags.BoolVar(&f.insecure, "insecure", false, "do not check certificates")
	flags.StringVar(&f.node, "node", "http://127.0.0.1:5984", "the node that bare names are databases of")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
	return c
}

// spec writes the flags as the body of POST /_replicate and has it checked like one.
func (f *replicateFlags) spec(source, target string) (*replicator.Spec, error) {
	headers := map[string]string{}
	for _, h := range f.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, fmt.Errorf("--header %q: it must have the form 'Name: value'", h)
		}
		headers[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	body := map[string]any{
		"continuous": f.continuous, "create_target": f.createTarget, "winning_revs_only": f.winners,
		"use_checkpoints": !f.noCheckpoint,
	}
	for member, side := range map[string]string{"source": source, "target": target} {
		address, err := f.address(side)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", member, err)
		}
		body[member] = map[string]any{"url": address, "headers": headers}
		if f.proxy != "" {
			body[member+"_proxy"] = f.proxy
		}
	}
	if f.partitioned {
		body["create_target_params"] = map[string]any{"partitioned": true}
	}
	if len(f.docIDs) > 0 {
		body["doc_ids"] = f.docIDs
	}
	if len(f.query) > 0 {
		body["query_params"] = f.query
	}
	if f.selector != "" {
		if !json.Valid([]byte(f.selector)) {
			return nil, fmt.Errorf("--selector is not JSON: %s", f.selector)
		}
		body["selector"] = json.RawMessage(f.selector)
	}
	for name, text := range map[string]string{"filter": f.filter, "since_seq": f.since} {
		if text != "" {
			body[name] = text
		}
	}
	for name, n := range map[string]int{"worker_processes": f.workers, "worker_batch_size": f.batch, "http_connections": f.connections} {
		if n != 0 {
			body[name] = n
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return replicator.ParseSpec(text)
}

// address turns a bare name into the URL of a database of the node, and adds the environment's credentials to a URL
// that has none.
func (f *replicateFlags) address(side string) (string, error) {
	if !strings.Contains(side, "://") {
		side = strings.TrimRight(f.node, "/") + "/" + url.PathEscape(side)
	}
	u, err := url.Parse(side)
	if err != nil {
		return "", fmt.Errorf("not the URL of a database")
	}
	if name := os.Getenv("COUCHDB_USER"); u.User == nil && name != "" {
		u.User = url.UserPassword(name, os.Getenv("COUCHDB_PASSWORD"))
	}
	return u.String(), nil
}

func summary(o replicator.Outcome) string {
	s := o.Stats
	if o.NoChanges {
		return "nothing new"
	}
	return fmt.Sprintf("%d revisions copied, %d were there already, %d refused", s.Written, s.Checked-s.Found, s.Failed)
}
