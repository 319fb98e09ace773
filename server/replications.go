package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/mangrove-db/mangrove/internal/dbname"
	"github.com/mangrove-db/mangrove/replicator"
	"github.com/mangrove-db/mangrove/storage"
)

// createSystemDatabases makes the databases that every node has, as CouchDB's
// single node does.
func createSystemDatabases(ctx context.Context, store *storage.Store) error {
	for _, name := range []string{dbname.Users, dbname.Replicator} {
		_, err := store.CreateDB(ctx, name, storage.DBOptions{})
		if err != nil && !errors.Is(err, storage.ErrExists) {
			return fmt.Errorf("creating the database %s: %w", name, err)
		}
	}
	return nil
}

func newReplications(o Options, store *storage.Store) *replicator.Service {
	return replicator.NewService(replicator.ServiceOptions{
		Store: store, Logger: o.Logger, UserAgent: "Mangrove-Replicator/" + o.Version,
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
