package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"
)

func newHealth() *cobra.Command {
	var node string
	var insecure bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "health",
		Short: "Ask a node whether it is ready, for watchdogs",
		Long: `Health asks a node's /_up, and says nothing if it is ready. It is for containers
and watchdogs where there is no other program to ask with.

If the node lets nobody ask anonymously, it is asked in the name of COUCHDB_USER
and COUCHDB_PASSWORD; without them, its asking for a name is sign enough.

Exit codes: 0 if the node is ready, 1 if not, 2 if the command line is wrong.`,
		Example: `  mangrove health
  mangrove health --node https://db.example:6984 --timeout 2s`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			u, err := url.Parse(node)
			if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
				return errors.New("--node must be the URL of a node, such as http://127.0.0.1:5984")
			}
			if name := os.Getenv("COUCHDB_USER"); u.User == nil && name != "" {
				u.User = url.UserPassword(name, os.Getenv("COUCHDB_PASSWORD"))
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), timeout, fmt.Errorf("no answer within %v", timeout))
			defer cancel()
			if err := health(ctx, newNodeClient(u, insecure)); err != nil {
				return failure{err}
			}
			return nil
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringVar(&node, "node", "http://127.0.0.1:5984", "the node's URL")
	flags.DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait for the answer")
	flags.BoolVar(&insecure, "insecure", false, "do not check the node's certificate")
	return c
}

// health asks without a name first: most nodes tell everybody, and a password that is no longer right would, asked with
// again and again, lock its owner out.
func health(ctx context.Context, n *nodeClient) error {
	nobody := *n.base
	nobody.User = nil
	err := (&nodeClient{&nobody, n.http}).do(ctx, http.MethodGet, "/_up", nil, nil)
	var refused *refusal
	if errors.As(err, &refused) && refused.status == http.StatusUnauthorized {
		if n.base.User == nil {
			return nil
		}
		err = n.do(ctx, http.MethodGet, "/_up", nil, nil)
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
