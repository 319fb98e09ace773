package config

import (
	"testing"
	"time"
)

func TestReplicatorSettings(t *testing.T) {
	raw := sections(defaults).clone()
	s, errs := read(raw)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	r := s.Replicator
	if r.MaxJobs != 500 || r.MaxChurn != 20 || r.MaxHistory != 20 || r.Interval != time.Minute || r.HealthThreshold != 2*time.Minute ||
		r.StartupJitter != 5*time.Second || r.Workers != 20 || r.BatchSize != 500 || r.Connections != 20 || r.Retries != 5 ||
		r.ConnectionTimeout != 30*time.Second || r.CheckpointInterval != 30*time.Second || r.NoCheckpoints || r.NoBulkGet || r.InsecureTLS ||
		r.UpdateDocs || r.Shares != nil {
		t.Errorf("the defaults: %+v", r)
	}

	raw.set("replicator", "max_jobs", "7")
	raw.set("replicator", "interval", "1500")
	raw.set("replicator", "use_checkpoints", "false")
	raw.set("replicator", "verify_ssl_certificates", "false")
	raw.set("replicator", "update_docs", "true")
	raw.set("replicator", "max_churn", "none")
	raw.set("replicator.shares", "x/_replicator", "200")
	raw.set("replicator.shares", "_replicator", "0")
	s, errs = read(raw)
	r = s.Replicator
	if len(errs) != 2 {
		t.Errorf("complaints: %v", errs)
	}
	if r.MaxJobs != 7 || r.Interval != 1500*time.Millisecond || !r.NoCheckpoints || !r.InsecureTLS || !r.UpdateDocs || r.MaxChurn != 20 ||
		len(r.Shares) != 1 || r.Shares["x/_replicator"] != 200 {
		t.Errorf("%+v", r)
	}
}
