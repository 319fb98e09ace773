package config

import (
	"fmt"
	"log/slog"
	"math"
	"time"
)

// Log says what of the requests is logged.
type Log struct {
	// Access is the level at which each request is logged, above every other
	// if none is: [log] access, debug. "true" stands for info, "false" for
	// none.
	Access slog.Level
	// Slow is how long a request may take before it is logged as a slow one,
	// 0 for any time: [log] slow_request (milliseconds), ten seconds. Feeds
	// are spared.
	Slow time.Duration
}

// Prometheus is where metrics can be read without signing in.
type Prometheus struct {
	// Enabled is [prometheus] additional_port, false.
	Enabled bool
	// Port is [prometheus] port, 17986.
	Port int
	// BindAddress is [prometheus] bind_address, 127.0.0.1.
	BindAddress string
}

// Limits bound what clients can take up.
type Limits struct {
	// Connections is how many may be open at once, 0 for any number; later
	// ones are answered 503: [chttpd] max_connections, 20000.
	Connections int
	// BodyTimeout is how long a client that sends a body may send nothing, or
	// next to nothing: [mangrove] body_timeout (milliseconds), one minute.
	BodyTimeout time.Duration
	// WriteTimeout is how long a client may take none of what it is sent:
	// [mangrove] write_timeout (milliseconds), one minute.
	WriteTimeout time.Duration
	// Memory is the size of the process's memory beyond which it rather
	// collects garbage than grow: [mangrove] memory_limit, a size such as
	// 1GiB. 0, or "auto", is nine tenths of what the control group of the
	// process allows it; where that sets no bound there is none.
	Memory int64
}

var (
	prometheusDefaults = map[string]string{
		"additional_port": "false",
		"bind_address":    "127.0.0.1",
		"port":            "17986",
	}
	logDefaults = map[string]string{
		"access":       "debug",
		"format":       "text",
		"level":        "info",
		"slow_request": "10000",
	}
	limitDefaults = map[string]string{
		"body_timeout":  "60000",
		"memory_limit":  "auto",
		"write_timeout": "60000",
	}
)

func (r *reader) log() Log {
	return Log{
		Access: parsed(r, "log", "access", parseAccess),
		Slow:   time.Duration(r.number("log", "slow_request", 0, math.MaxInt32)) * time.Millisecond,
	}
}

func parseAccess(s string) (slog.Level, error) {
	switch s {
	case "true":
		s = "info"
	case "false":
		s = "none"
	}
	level, err := parseLevel(s)
	if err != nil {
		return 0, fmt.Errorf("must be true, false, debug, info, warn or none")
	}
	return level, nil
}

func (r *reader) prometheus() Prometheus {
	p := Prometheus{
		Enabled:     r.boolean("prometheus", "additional_port"),
		Port:        int(r.number("prometheus", "port", 0, 65535)),
		BindAddress: r.optional("prometheus", "bind_address"),
	}
	if p.BindAddress == "any" {
		p.BindAddress = ""
	}
	return p
}

func (r *reader) limits() Limits {
	return Limits{
		Connections:  int(r.number("chttpd", "max_connections", 0, math.MaxInt32)),
		BodyTimeout:  r.wait("body_timeout"),
		WriteTimeout: r.wait("write_timeout"),
		Memory: parsed(r, "mangrove", "memory_limit", func(s string) (int64, error) {
			if s == "auto" {
				return 0, nil
			}
			return parseSize(s)
		}),
	}
}

// wait is how long, in milliseconds, a connection may stand still.
func (r *reader) wait(key string) time.Duration {
	return time.Duration(r.number("mangrove", key, 1, math.MaxInt32)) * time.Millisecond
}
