package server

import (
	"strconv"
	"time"

	"github.com/mangrove-db/mangrove/script"
)

// newScripts returns what runs the functions of design documents.
func newScripts(o Options) *script.Engine {
	limits := script.Options{Log: func(message string) { o.Logger.Info("a function logs", "message", message) }}
	if text, ok := o.Config.Snapshot().Get("couchdb", "os_process_timeout"); ok {
		if ms, err := strconv.Atoi(text); err == nil && ms > 0 {
			limits.Time = time.Duration(ms) * time.Millisecond
		}
	}
	return script.New(limits)
}
