package api

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/mangrove-db/mangrove/config"
	"github.com/mangrove-db/mangrove/mango"
	"github.com/mangrove-db/mangrove/storage"
)

// postFind answers with the documents that a selector finds, as they are found.
func postFind(q *request) error {
	db, query, err := q.readQuery()
	if err != nil {
		return err
	}
	began := time.Now()
	defer func() { q.api.stats.finds.Observe(uint64(time.Since(began).Microseconds())) }()
	out := q.newStream()
	err = q.api.finder.Find(q.Context(), db, query, func(text []byte) error {
		if _, err := out.Write(text); err != nil {
			_ = q.lost(err)
			return errGone
		}
		return nil
	})
	switch {
	case errors.Is(err, errGone):
		return nil
	case err != nil:
		return err
	}
	return q.lost(out.end())
}

// postExplain answers with how postFind would go about it.
func postExplain(q *request) error {
	db, query, err := q.readQuery()
	if err != nil {
		return err
	}
	text, err := q.api.finder.Explain(q.Context(), db, query)
	if err != nil {
		return err
	}
	return q.replyText(http.StatusOK, text)
}

// readQuery reads the request of postFind and postExplain.
func (q *request) readQuery() (*storage.DB, *mango.Query, error) {
	db, body, err := q.readMango()
	if err != nil {
		return nil, nil, err
	}
	partition := q.param("partition")
	if q.partName != "" {
		if err := q.partition(db); err != nil {
			return nil, nil, err
		}
		if partition != "" && partition != q.partName {
			return nil, nil, badRequest("Conflicting value for `partition` in query string")
		}
		partition = q.partName
	}
	query, err := mango.ParseQuery(body, partition, mangoLimits(q.config))
	if show := q.visible(); err == nil && show != nil {
		query.Veil(show)
	}
	return db, query, err
}

// readMango returns the database and the body of a request to Mango.
func (q *request) readMango() (*storage.DB, []byte, error) {
	db, err := q.db()
	if err != nil {
		return nil, nil, err
	}
	if err := q.requireJSON(); err != nil {
		return nil, nil, err
	}
	body, err := q.readJSON()
	return db, body, err
}

// The defaults of the section [mango].
const (
	defaultFindLimit   = 25
	defaultScanWarning = 10
)

// mangoLimits are the settings of queries. Values that are no numbers count as not set.
func mangoLimits(c *config.Snapshot) mango.Limits {
	number := func(section, key string, preset uint64) uint64 {
		text, _ := c.Get(section, key)
		if n, err := strconv.ParseUint(text, 10, 63); err == nil {
			return n
		}
		return preset
	}
	return mango.Limits{
		DefaultLimit: number("mango", "default_limit", defaultFindLimit),
		MaxLimit:     number("query_server_config", "query_limit", 0),
		ScanWarning:  int(number("mango", "index_scan_warning_threshold", defaultScanWarning)),
	}
}
