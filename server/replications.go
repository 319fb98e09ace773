package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/internal/dbname"
	"github.com/mangrove-db/mangrove/replicator"
	"github.com/mangrove-db/mangrove/storage"
)

// createSystemDatabases makes the databases that every node has, as CouchDB's
// single node does. On a full disk the node does without those that are not
// there, so that it can be read.
func createSystemDatabases(ctx context.Context, store *storage.Store, logger *slog.Logger) error {
	for _, name := range []string{dbname.Users, dbname.Replicator} {
		_, err := store.DB(name)
		if errors.Is(err, storage.ErrNoDatabase) {
			_, err = store.CreateDB(ctx, name, storage.DBOptions{})
		}
		if errors.Is(err, storage.ErrNoSpace) {
			logger.Warn("a system database could not be created", "db", name, "error", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("creating the database %s: %w", name, err)
		}
	}
	if err := auth.PrepareUsers(ctx, store); errors.Is(err, storage.ErrNoSpace) || errors.Is(err, storage.ErrNoDatabase) {
		logger.Warn("the rules of the database of accounts could not be written", "error", err)
	} else if err != nil {
		return err
	}
	return nil
}

func newReplications(o Options, store *storage.Store, designs *design.Cache, accounts *auth.Authenticator) *replicator.Service {
	return replicator.NewService(replicator.ServiceOptions{
		Store: store, Designs: designs, Logger: o.Logger, UserAgent: "Mangrove-Replicator/" + o.Version,
		Accounts: func(ctx context.Context, d *document.Document) error {
			return accounts.PrepareUser(ctx, d, auth.Principal{}, true)
		},
		Settings: func() replicator.Settings {
			c := o.Config.Snapshot().Replicator
			return replicator.Settings{
				MaxJobs: c.MaxJobs, MaxChurn: c.MaxChurn, MaxHistory: c.MaxHistory,
				Interval: c.Interval, HealthThreshold: c.HealthThreshold, StartupJitter: c.StartupJitter, Shares: c.Shares,
				Workers: c.Workers, BatchSize: c.BatchSize, Connections: c.Connections, Retries: c.Retries,
				ConnectionTimeout: c.ConnectionTimeout, CheckpointInterval: c.CheckpointInterval,
				NoCheckpoints: c.NoCheckpoints, NoBulkGet: c.NoBulkGet, InsecureTLS: c.InsecureTLS, UpdateDocs: c.UpdateDocs,
			}
		},
	})
}
