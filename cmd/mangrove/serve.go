package main

import (
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/config"
	"github.com/mangrove-db/mangrove/server"
)

func newServe() *cobra.Command {
	var o config.Options
	serve := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: `Serve runs a node until it is told to stop (Ctrl-C or SIGTERM); then it
finishes the requests under way and exits with code 0. A second signal ends it
at once; nothing that was acknowledged is lost by that.

The first start creates the data directory and an administrator "admin", and
prints that administrator's password once.

Settings come from these sources, and a later one overrules the earlier:

  1. defaults
  2. the profile, if one is chosen: settings for a purpose. "livesync" is for
     the Obsidian plug-in Self-hosted LiveSync: its origins may use the node
     with credentials (CORS), everybody has to sign in, and documents may be
     large. A file can choose it too: [mangrove] profile = livesync
  3. the configuration file: --config, or mangrove.ini in the data directory.
     It is an INI file with CouchDB's sections and keys; a CouchDB local.ini
     works as it is. "mangrove config check" says what is wrong with it.
  4. environment variables
  5. flags

Encrypted connections are served beside plain ones if the file says so, with
certificates that are read again when their files change:

  [ssl]
  enable = true
  cert_file = /etc/mangrove/cert.pem
  key_file = /etc/mangrove/key.pem

or with certificates that the node gets by itself (ACME, Let's Encrypt), if it
can be reached under their names on port 80 or 443:

  [ssl]
  enable = true
  port = 443
  bind_address = any
  [acme]
  enable = true
  domains = db.example.org
  accept_terms = true

Environment:
  MANGROVE_DATA, MANGROVE_LISTEN, MANGROVE_CONFIG, MANGROVE_MEMORY,
  MANGROVE_LOG_LEVEL, MANGROVE_LOG_FORMAT, MANGROVE_PROFILE
                     the same as the flags
  COUCHDB_USER, COUCHDB_PASSWORD
                     an administrator to create, or to give a new password

Exit codes: 0 after a stop, 1 if the node could not start or run, 2 if the
command line is wrong.`,
		Example: `  # a node for this machine alone, data in ./data
  mangrove serve

  # a node for the network, with a chosen administrator
  COUCHDB_USER=admin COUCHDB_PASSWORD=secret mangrove serve --data /var/lib/mangrove --listen 0.0.0.0:5984

  # with the configuration of an existing CouchDB
  mangrove serve --data /var/lib/mangrove --config /opt/couchdb/etc/local.ini

  # for Obsidian's Self-hosted LiveSync, with TLS at a proxy before it
  mangrove serve --profile livesync --data /var/lib/mangrove

  # on a big machine, with logs for a log collector
  mangrove serve --memory 4GiB --log-format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(o)
			if err != nil {
				return failure{err}
			}
			logger := newLogger(cmd.ErrOrStderr(), cfg)
			for _, d := range cfg.Snapshot().Doubts {
				logger.Warn("a setting makes no sense", "error", d)
			}
			err = server.Run(cmd.Context(), server.Options{
				Config:  cfg,
				Admin:   environmentAdmin(),
				Version: version,
				Logger:  logger,
				Notices: cmd.OutOrStdout(),
			})
			if err != nil {
				return failure{err}
			}
			return nil
		},
	}
	flags := serve.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.Data, "data", "", `data directory (default "data")`)
	flags.StringVar(&o.Listen, "listen", "", `address to listen on, as host:port, :port or host (default "127.0.0.1:5984")`)
	flags.StringVar(&o.File, "config", "", `configuration file, which must exist (default mangrove.ini in the data directory, which need not)`)
	flags.StringVar(&o.Profile, "profile", "", profileUsage)
	flags.StringVar(&o.Memory, "memory", "", "budget for caches and buffers, such as 256MiB (default 64MiB)")
	flags.StringVar(&o.LogLevel, "log-level", "", `debug, info, warn, error or none (default "info")`)
	flags.StringVar(&o.LogFormat, "log-format", "", `text or json, on standard error (default "text")`)
	return serve
}

// environmentAdmin is the administrator that the environment names, if it does.
func environmentAdmin() *auth.Account {
	name, named := os.LookupEnv("COUCHDB_USER")
	password, given := os.LookupEnv("COUCHDB_PASSWORD")
	if !named && !given {
		return nil
	}
	return &auth.Account{Name: name, Password: password}
}

func newLogger(w io.Writer, cfg *config.Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: level{cfg}}
	if cfg.Snapshot().LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// level is the log level in force, which may change while the node runs.
type level struct{ cfg *config.Config }

func (l level) Level() slog.Level { return l.cfg.Snapshot().LogLevel }
