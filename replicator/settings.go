package replicator

import "time"

// Settings say how a node replicates. What is zero has its default. CouchDB has them in the section [replicator] of its
// configuration.
type Settings struct {
	// MaxJobs is how many replications run at the same time at most: 500.
	MaxJobs int
	// MaxChurn is how many of them are stopped at once so that others have their turn: 20.
	MaxChurn int
	// MaxHistory is how many events of a job are remembered: 20.
	MaxHistory int
	// Interval is how long a job runs at least before it may be stopped for others: one minute.
	Interval time.Duration
	// HealthThreshold is how long a job must have run for its earlier crashes to be forgotten: two minutes.
	HealthThreshold time.Duration
	// StartupJitter is the longest that a job waits at random when many start at once: five seconds.
	StartupJitter time.Duration
	// Shares weigh the replicator databases against each other where jobs have to wait; one that is not named has 100.
	Shares map[string]int

	// Defaults for what a Spec leaves open.

	Workers            int           // 20
	BatchSize          int           // 500
	Connections        int           // 20
	Retries            int           // 5
	ConnectionTimeout  time.Duration // 30 s
	CheckpointInterval time.Duration // 30 s
	NoCheckpoints      bool
	NoBulkGet          bool

	// InsecureTLS accepts any certificate of a peer.
	InsecureTLS bool
	// UpdateDocs writes also those states into documents that are not the last ones.
	UpdateDocs bool
}

func orElse[T comparable](v, standard T) T {
	var zero T
	if v == zero {
		return standard
	}
	return v
}

// filled returns the settings with the defaults in place of what is zero.
func (s Settings) filled() Settings {
	s.MaxJobs = orElse(s.MaxJobs, 500)
	s.MaxChurn = orElse(s.MaxChurn, 20)
	s.MaxHistory = orElse(s.MaxHistory, 20)
	s.Interval = orElse(s.Interval, time.Minute)
	s.HealthThreshold = orElse(s.HealthThreshold, 2*time.Minute)
	s.StartupJitter = orElse(s.StartupJitter, 5*time.Second)
	s.Workers = orElse(s.Workers, defaultWorkers)
	s.BatchSize = orElse(s.BatchSize, defaultBatchSize)
	s.Connections = orElse(s.Connections, 20)
	s.Retries = orElse(s.Retries, 5)
	s.ConnectionTimeout = orElse(s.ConnectionTimeout, 30*time.Second)
	s.CheckpointInterval = orElse(s.CheckpointInterval, defaultCheckpointInterval)
	return s
}

// defaultShare is the weight of a replicator database that has no other.
const defaultShare = 100

func (s *Settings) share(database string) int {
	if n := s.Shares[database]; n > 0 {
		return n
	}
	return defaultShare
}
