package api

import (
	"context"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// id is what the client and the log call the request.
func (q *request) id() string {
	if id := q.w.Header()["X-Couch-Request-Id"]; len(id) > 0 {
		return id[0]
	}
	return ""
}

// log returns where messages about the request go; each has its id.
func (q *request) log() *slog.Logger {
	if q.logger == nil {
		q.logger = q.api.log.With("request", q.id())
	}
	return q.logger
}

// finished counts the request, and tells the log of it.
func (q *request) finished(began time.Time) {
	if q.sent != nil {
		q.sent.waitForRest()
	}
	q.w.hurry()
	d := time.Since(began)
	q.api.stats.observe(q, d)
	c := &q.config.Log
	level, message := c.Access, "request"
	slow := c.Slow > 0 && d >= c.Slow && !q.waits && q.class != classWaiting
	if slow {
		level, message = slog.LevelWarn, "slow request"
	}
	// The level that stands for none is above all others.
	if level > slog.LevelError || !q.api.log.Enabled(context.Background(), level) {
		return
	}
	attributes := []slog.Attr{
		slog.String("request", q.id()), slog.String("method", q.Request.Method), slog.String("path", logPath(q.RequestURI)),
		slog.Int("status", q.w.status), slog.Int64("bytes", q.w.bytes), slog.Duration("duration", d.Round(time.Microsecond)),
		slog.String("user", q.user.Name), slog.String("peer", q.peer()),
	}
	if slow && q.URL.RawQuery != "" {
		// What a query is about tells what is slow about it. Values can be anything, keys of somebody's data or secrets that
		// do not belong there, and so are not written down.
		attributes = append(attributes, slog.String("parameters", strings.Join(slices.Sorted(maps.Keys(q.URL.Query())), ",")))
	}
	q.api.log.LogAttrs(context.Background(), level, message, attributes...)
}

// credentials finds what looks like the credentials of an address within a path: clients put whole addresses there by
// mistake, plain or escaped.
var credentials = regexp.MustCompile(`(?i)((?::|%3a)(?:/|%2f)+)[^/@]*(@|%40)`)

// longestLogged is how much of a path is logged, in bytes.
const longestLogged = 1000

// logPath returns a path as it is logged: without a query, and without credentials.
func logPath(path string) string {
	path, _, _ = strings.Cut(path, "?")
	if strings.Contains(path, "@") || strings.Contains(path, "%40") {
		path = credentials.ReplaceAllString(path, "$1***$2")
	}
	if len(path) > longestLogged {
		path = strings.ToValidUTF8(path[:longestLogged], "") + "..."
	}
	return path
}

// describe names the request in messages about it.
func (q *request) describe() []any {
	return []any{"method", q.Request.Method, "path", logPath(q.RequestURI)}
}
