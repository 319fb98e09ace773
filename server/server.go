// Package server is where everything meets: it opens the store, builds the
// API on it, listens, and takes all of it down again in order.
//
// The order of stopping is what makes a stop graceful: replications leave their
// checkpoints and end, while the node still answers, because it may be the other
// side of its own; feeds are told to end, so that the connections become idle; the
// listener closes and requests under way finish; the store flushes and closes
// last. Indexes stay where they have got to, and go on from there.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/mangrove-db/mangrove/api"
	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/config"
	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/storage"
)

const (
	// headerTimeout is how long a client may take to send a request's head.
	// Bodies and answers have no limit of time, as an upload may be slow and a
	// feed never ends; but something must come, or be taken: see config.Limits.
	headerTimeout = 30 * time.Second
	// requestTimeout is how long a request may take to come where the API does
	// not bound that itself: those that net/http refuses, and the ports that
	// are not for the node's clients.
	requestTimeout = time.Minute
	// idleTimeout is how long a connection may wait for its next request.
	idleTimeout = 3 * time.Minute
	// headerBytes is what a request's head may have beside the longest URL:
	// long enough for the largest tokens.
	headerBytes = 64 << 10
	// stopTimeout is how long requests under way may take to finish.
	stopTimeout = 10 * time.Second
)

// Options are what Run needs to know.
type Options struct {
	Config *config.Config
	// Admin becomes an administrator, or gets a new password; nil for none.
	Admin *auth.Account
	// Version is Mangrove's own, as GET / tells it.
	Version string
	// Logger receives what happens; nil discards it.
	Logger *slog.Logger
	// Notices receives, once in a node's life, the first administrator's
	// password; nil discards it. It is not logged.
	Notices io.Writer
}

// Run serves a node until ctx is done and then stops it, finishing what is
// under way. It returns nil after such a stop, and an error if the node could
// not start, stopped by itself, or could not be closed cleanly.
//
// When the node accepts connections a line "listening" with the attribute
// "addr" is logged.
func Run(ctx context.Context, o Options) (err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Notices == nil {
		o.Notices = io.Discard
	}
	settings := o.Config.Snapshot()
	limitMemory(settings.Limits.Memory, o.Logger)
	store, err := storage.Open(storage.Options{Path: settings.DataDir, Memory: settings.Memory, Logger: o.Logger})
	if errors.Is(err, storage.ErrLocked) {
		return fmt.Errorf("%w; is another node running? Stop it, or choose another directory with --data", err)
	}
	if err != nil {
		return fmt.Errorf("data directory %s: %w", settings.DataDir, err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	// Only now, with the data directory ours: a second process must not make
	// an administrator of its own and then fail to start.
	if err := prepareAdmins(o); err != nil {
		return err
	}
	if err := createSystemDatabases(ctx, store, o.Logger); err != nil {
		return err
	}
	scripts := newScripts(o)
	designs := design.NewCache(scripts, func() []byte { return []byte(auth.ClosedSecurity) })
	views := newViews(o, store, scripts)
	accounts := auth.New(auth.Options{Config: o.Config, Store: store, Logger: o.Logger})
	defer accounts.Close()
	replications := newReplications(o, store, designs, accounts)
	gate := &gate{limits: func() config.Limits { return o.Config.Snapshot().Limits }}
	node := api.New(api.Options{
		Store: store, Config: o.Config, Auth: accounts, Logger: o.Logger, Version: o.Version,
		Replications: replications, Designs: designs, Scripts: scripts, Views: views,
		Connections: gate.connections,
	})
	defer node.Close()
	endpoints, err := listen(ctx, &settings.Settings, node, node.Metrics(), o.Logger)
	if err != nil {
		return err
	}
	o.Logger.Info("listening", "addr", endpoints[0].Addr().String(), "data", settings.DataDir, "version", o.Version)
	for _, e := range endpoints[1:] {
		o.Logger.Info("also listening", "addr", e.Addr().String(), "tls", e.tls != nil)
	}
	_, stopPerUser := background(ctx, (&perUser{config: o.Config, store: store, log: o.Logger}).serve)
	defer stopPerUser()
	_, stopIndexing := background(ctx, views.Serve)
	defer stopIndexing()
	working, stop := background(ctx, replications.Serve)
	defer stop()
	return serve(ctx, endpoints, node, gate, working, settings.MaxURILength, o.Logger)
}

// background runs a function until ctx is done or stop is called, which waits
// for its end. The channel is closed when it has ended.
func background(ctx context.Context, run func(context.Context)) (ended <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	return done, func() { cancel(); <-done }
}

// handler is what serve needs of the API: Close ends its feeds, and those
// that start later end at once.
type handler interface {
	http.Handler
	Close()
}

// prepareAdmins makes sure there is an administrator, and tells of it.
func prepareAdmins(o Options) error {
	prepared, err := auth.PrepareAdmins(o.Config, o.Admin)
	if err != nil {
		return err
	}
	if err := auth.PrepareSecret(o.Config); err != nil {
		return fmt.Errorf("the secret of cookies: %w", err)
	}
	for name, err := range prepared.Unwritten {
		o.Logger.Warn("administrator's hashed password could not be written", "name", name, "error", err)
	}
	for _, name := range prepared.Malformed {
		o.Logger.Warn("administrator cannot sign in: the password hash is malformed", "name", name)
	}
	if a := prepared.Created; a != nil {
		o.Logger.Info("first administrator created", "name", a.Name, "file", o.Config.Path())
		fmt.Fprintf(o.Notices, firstStart, a.Name, a.Password, o.Config.Path())
	}
	return nil
}

const firstStart = `
This is the node's first start, so an administrator was created.

    name:      %s
    password:  %s

Note it now: it is shown this once, and only its hash is stored, in
%s.
To choose another, write "name = password" under [admins] there and restart.

`
