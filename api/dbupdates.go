package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

var (
	errUpdatesKind    = badRequest("Supported `feed` types: normal, continuous, longpoll, eventsource")
	errInvalidInteger = badRequest("invalid_integer")
)

// getDBUpdates answers with the feed of what happens to databases.
func getDBUpdates(q *request) error {
	in := q.feedParams()
	o, err := updatesOptions(in, q.config.ChangesTimeout)
	if err != nil {
		return err
	}
	store := q.api.store
	newest := store.UpdateSeq()
	s := &dbUpdates{store: store}
	if s.at, err = parseUpdateSeq(store, in["since"], newest); err != nil {
		return err
	}
	if o.kind == feedNormal && q.setETag(store.FormatUpdateSeq(newest)) {
		return q.notModified()
	}
	if q.Method == http.MethodHead {
		return q.head(o.kind)
	}
	return q.serveFeed(o, s)
}

func updatesOptions(in feedParams, most time.Duration) (o feedOptions, err error) {
	var ok bool
	if o.kind, ok = in.kind(); !ok {
		return o, errUpdatesKind
	}
	o.descending = in.flag("descending")
	if o.limit, ok = in.count("limit", -1); !ok {
		return o, errInvalidInteger
	}
	ms, ok := in.count("timeout", int(most/time.Millisecond))
	if !ok {
		return o, errInvalidInteger
	}
	o.timeout = patience(ms, most)
	switch in["heartbeat"] {
	case "true":
		o.heartbeat = most
	case "false":
	default:
		if ms, ok = in.count("heartbeat", 0); !ok {
			return o, errInvalidInteger
		}
		o.heartbeat = patience(ms, most)
	}
	return o, nil
}

// parseUpdateSeq reads the parameter since. A sequence of another node means the beginning.
func parseUpdateSeq(store *storage.Store, text string, newest uint64) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	if text == "now" {
		return newest, nil
	}
	number, _, opaque := strings.Cut(strings.Trim(text, `"`), "-")
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil {
		return 0, errSince
	}
	if opaque && store.FormatUpdateSeq(n) != strings.Trim(text, `"`) {
		return 0, nil
	}
	return min(n, newest), nil
}

// dbUpdates is the source of a feed of database updates.
type dbUpdates struct {
	store *storage.Store
	at    uint64 // the feed knows of everything up to here
}

func (s *dbUpdates) round(ctx context.Context, f *feed) (more bool, err error) {
	newest := s.at
	if f.descending {
		s.at = 0 // wherever the client has been, as for changes
	}
	for up, err := range s.store.Updates(s.at, f.descending) {
		if f.full() {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return false, err
		}
		f.openRow()
		b := append(f.out, `{"db_name":`...)
		b = document.AppendString(b, up.Name)
		b = append(b, `,"type":"`...)
		b = append(b, up.Kind...)
		b = append(b, `","seq":`...)
		from := len(b)
		b = document.AppendString(b, s.store.FormatUpdateSeq(up.Seq))
		to := len(b)
		f.out = append(b, '}')
		f.closeRow(f.out[from:to])
		newest = max(newest, up.Seq)
		if !f.descending {
			s.at = newest
		}
		if pause, err := f.pace(); pause || err != nil {
			return pause, err
		}
	}
	s.at = newest
	return false, nil
}

func (s *dbUpdates) wait(ctx context.Context) error { return s.store.WaitUpdate(ctx, s.at) }

func (s *dbUpdates) appendEnd(b []byte) []byte {
	b = append(b, `"last_seq":`...)
	return document.AppendString(b, s.store.FormatUpdateSeq(s.at))
}
