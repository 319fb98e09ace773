package server

import (
	"strconv"

	"github.com/mangrove-db/mangrove/mango"
	"github.com/mangrove-db/mangrove/script"
	"github.com/mangrove-db/mangrove/storage"
	"github.com/mangrove-db/mangrove/view"
)

// newViews returns what builds and reads the indexes of design documents.
func newViews(o Options, store *storage.Store, scripts *script.Engine) *view.Indexer {
	return view.New(view.Options{
		Store: store, Engine: scripts, Languages: map[string]view.Language{"query": mango.Language{}}, Logger: o.Logger,
		ReduceLimit: func() view.ReduceLimit { return reduceLimit(o.Config.Snapshot().Get) },
	})
}

// reduceLimit reads how far reductions must shrink. What cannot be read counts as not set.
func reduceLimit(setting func(section, key string) (string, bool)) view.ReduceLimit {
	const section = "query_server_config"
	limit := view.DefaultReduceLimit
	switch word, _ := setting(section, "reduce_limit"); word {
	case "false":
		limit.Mode = view.LimitOff
	case "log":
		limit.Mode = view.LimitLog
	}
	if text, ok := setting(section, "reduce_limit_threshold"); ok {
		if n, err := strconv.Atoi(text); err == nil && n >= 0 {
			limit.Threshold = n
		}
	}
	if text, ok := setting(section, "reduce_limit_ratio"); ok {
		if r, err := strconv.ParseFloat(text, 64); err == nil && r > 0 {
			limit.Ratio = r
		}
	}
	return limit
}
