package config

import (
	"errors"
	"log/slog"
	"math"
	"testing"
	"time"
)

func TestOperations(t *testing.T) {
	c, err := Load(Options{Data: t.TempDir(), Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	s := c.Snapshot()
	if s.Log != (Log{Access: slog.LevelDebug, Slow: 10 * time.Second}) {
		t.Errorf("log: %+v", s.Log)
	}
	if s.Prometheus != (Prometheus{Port: 17986, BindAddress: "127.0.0.1"}) {
		t.Errorf("prometheus: %+v", s.Prometheus)
	}
	if s.Limits != (Limits{Connections: 20000, BodyTimeout: time.Minute, WriteTimeout: time.Minute}) {
		t.Errorf("limits: %+v", s.Limits)
	}
	for _, set := range [][3]string{
		{"log", "access", "true"},
		{"log", "slow_request", "0"},
		{"prometheus", "additional_port", "true"},
		{"prometheus", "bind_address", "any"},
		{"prometheus", "port", "9100"},
		{"chttpd", "max_connections", "0"},
		{"mangrove", "memory_limit", "1GiB"},
		{"mangrove", "body_timeout", "500"},
		{"mangrove", "write_timeout", "250"},
	} {
		if _, err := c.Set(set[0], set[1], set[2], false); err != nil {
			t.Fatal(err)
		}
	}
	s = c.Snapshot()
	if s.Log != (Log{Access: slog.LevelInfo}) || s.Prometheus != (Prometheus{Enabled: true, Port: 9100}) {
		t.Errorf("%+v, %+v", s.Log, s.Prometheus)
	}
	if s.Limits != (Limits{BodyTimeout: 500 * time.Millisecond, WriteTimeout: 250 * time.Millisecond, Memory: 1 << 30}) {
		t.Errorf("limits: %+v", s.Limits)
	}
	if _, err := c.Set("log", "access", "false", false); err != nil || c.Snapshot().Log.Access < math.MaxInt32 {
		t.Errorf("%v, %v", c.Snapshot().Log.Access, err)
	}
	for _, set := range [][3]string{
		{"prometheus", "port", "65536"},
		{"mangrove", "memory_limit", "much"},
		{"mangrove", "body_timeout", "0"},
	} {
		var wrong *ValueError
		if _, err := c.Set(set[0], set[1], set[2], false); !errors.As(err, &wrong) {
			t.Errorf("%v: %v", set, err)
		}
	}
}
