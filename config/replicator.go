package config

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Replicator are the settings of the section [replicator], by CouchDB's names.
type Replicator struct {
	// MaxJobs is how many replications run at once: max_jobs, 500.
	MaxJobs int
	// MaxChurn is how many are stopped at once for others: max_churn, 20.
	MaxChurn int
	// MaxHistory is how many events of a job are remembered: max_history, 20.
	MaxHistory int
	// Interval is how long jobs run before others take their turn: interval (milliseconds), one minute.
	Interval time.Duration
	// HealthThreshold is how long a job must run for its crashes to be
	// forgotten: health_threshold (seconds), two minutes.
	HealthThreshold time.Duration
	// StartupJitter bounds the wait of jobs that start together:
	// startup_jitter (milliseconds), five seconds.
	StartupJitter time.Duration

	// Workers is worker_processes, 20. CouchDB has 4.
	Workers int
	// BatchSize is worker_batch_size, 500.
	BatchSize int
	// Connections is http_connections, 20.
	Connections int
	// Retries is retries_per_request, 5.
	Retries int
	// ConnectionTimeout is connection_timeout (milliseconds), 30 s.
	ConnectionTimeout time.Duration
	// CheckpointInterval is checkpoint_interval (milliseconds), 30 s.
	CheckpointInterval time.Duration
	// NoCheckpoints is use_checkpoints, the other way round.
	NoCheckpoints bool
	// NoBulkGet is use_bulk_get, the other way round.
	NoBulkGet bool
	// InsecureTLS is verify_ssl_certificates, the other way round. CouchDB
	// does not verify unless told to.
	InsecureTLS bool
	// UpdateDocs writes states into documents that are not final: update_docs, false.
	UpdateDocs bool
	// Shares weigh replicator databases against each other: the section
	// [replicator.shares], where each has 100 unless it says otherwise.
	Shares map[string]int
}

// replicatorDefaults are the values of the section [replicator].
var replicatorDefaults = map[string]string{
	"checkpoint_interval":     "30000",
	"connection_timeout":      "30000",
	"health_threshold":        "120",
	"http_connections":        "20",
	"interval":                "60000",
	"max_churn":               "20",
	"max_history":             "20",
	"max_jobs":                "500",
	"retries_per_request":     "5",
	"startup_jitter":          "5000",
	"update_docs":             "false",
	"use_bulk_get":            "true",
	"use_checkpoints":         "true",
	"verify_ssl_certificates": "true",
	"worker_batch_size":       "500",
	"worker_processes":        "20",
}

// The bounds of weights.
const (
	leastShare = 1
	mostShare  = 1000
)

func (r *reader) replicator() Replicator {
	const section = "replicator"
	count := func(key string, least, most int64) int { return int(r.number(section, key, least, most)) }
	milliseconds := func(key string, least int64) time.Duration {
		return time.Duration(r.number(section, key, least, math.MaxInt32)) * time.Millisecond
	}
	s := Replicator{
		MaxJobs:            count("max_jobs", 1, math.MaxInt32),
		MaxChurn:           count("max_churn", 1, math.MaxInt32),
		MaxHistory:         count("max_history", 1, 1000),
		Interval:           milliseconds("interval", 1),
		HealthThreshold:    time.Duration(r.number(section, "health_threshold", 1, math.MaxInt32)) * time.Second,
		StartupJitter:      milliseconds("startup_jitter", 1),
		Workers:            count("worker_processes", 1, 100),
		BatchSize:          count("worker_batch_size", 1, 10_000),
		Connections:        count("http_connections", 1, 1000),
		Retries:            count("retries_per_request", 1, 100),
		ConnectionTimeout:  milliseconds("connection_timeout", 1),
		CheckpointInterval: milliseconds("checkpoint_interval", 1),
		NoCheckpoints:      !r.boolean(section, "use_checkpoints"),
		NoBulkGet:          !r.boolean(section, "use_bulk_get"),
		InsecureTLS:        !r.boolean(section, "verify_ssl_certificates"),
		UpdateDocs:         r.boolean(section, "update_docs"),
	}
	const shares = "replicator.shares"
	for database, value := range r.raw[shares] {
		n, err := strconv.Atoi(value)
		if err != nil || n < leastShare || n > mostShare {
			r.wrong(shares, database, value, fmt.Errorf("must lie between %d and %d", leastShare, mostShare))
			continue
		}
		if s.Shares == nil {
			s.Shares = map[string]int{}
		}
		s.Shares[database] = n
	}
	return s
}
