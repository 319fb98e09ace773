package harness

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Mismatch is a step whose answer was not the one expected.
type Mismatch struct {
	Step        int // counted from 1; 0 for the making of databases
	Note        string
	Request     string // method and path as sent
	Differences []Difference
}

// String gives the mismatch as a paragraph: the request, then a line for each
// difference.
func (m Mismatch) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "step %d: %s", m.Step, shorten(m.Request))
	if m.Note != "" {
		fmt.Fprintf(&b, " (%s)", m.Note)
	}
	for _, d := range m.Differences {
		fmt.Fprintf(&b, "\n    %s", d)
	}
	return b.String()
}

const (
	// stepTimeout bounds one request; feeds in transcripts end by themselves.
	stepTimeout = 60 * time.Second
	// retryPause lies between the repetitions of a step that asks for them.
	retryPause = 250 * time.Millisecond
)

// Replay makes the transcript's databases, sends its steps one after the
// other, and returns those whose answers differ. It goes on after a
// difference, and deletes the databases at the end. An error means that the
// replay could not be made at all; ctx ends it early.
func Replay(ctx context.Context, s Server, t *Transcript) ([]Mismatch, error) {
	r := &replay{server: s, transcript: t, names: newPlaceholders(s, t.Databases)}
	return r.run(ctx)
}

type replay struct {
	server     Server
	transcript *Transcript
	names      *placeholders
}

func (r *replay) run(ctx context.Context) (found []Mismatch, err error) {
	defer func() {
		// Even of a replay that was ended early.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
		defer cancel()
		for _, name := range r.transcript.Databases {
			_, derr := r.send(ctx, Message{Method: "DELETE", Path: "/{" + name + "}"})
			if err == nil && derr != nil {
				err = fmt.Errorf("deleting a database: %w", derr)
			}
		}
	}()
	for _, name := range r.transcript.Databases {
		if slices.Contains(r.transcript.Uncreated, name) || r.createsItself(name) {
			continue
		}
		put := Message{Method: "PUT", Path: "/{" + name + "}" + r.transcript.CreateQuery[name]}
		a, err := r.send(ctx, put)
		if err != nil {
			return nil, fmt.Errorf("making a database: %w", err)
		}
		if a.status != http.StatusCreated && a.status != http.StatusAccepted {
			found = append(found, Mismatch{Request: put.Method + " " + r.names.expand(put.Path), Differences: []Difference{
				{"status", "201", fmt.Sprintf("%d %s", a.status, a.body)},
			}})
		}
	}
	for i, step := range r.transcript.Steps {
		differences := r.step(ctx, step)
		if ctx.Err() != nil {
			return found, context.Cause(ctx)
		}
		if len(differences) > 0 {
			found = append(found, Mismatch{
				Step: i + 1, Note: step.Note, Differences: differences,
				Request: step.Request.Method + " " + r.names.expand(step.Request.Path),
			})
		}
	}
	return found, nil
}

// createsItself reports whether the first request to a database is the PUT
// that creates it.
func (r *replay) createsItself(name string) bool {
	own := "/{" + name + "}"
	for _, s := range r.transcript.Steps {
		rest, ok := strings.CutPrefix(s.Request.Path, own)
		if !ok {
			continue
		}
		path, _, _ := strings.Cut(rest, "?")
		if path == "" || path == "/" {
			return s.Request.Method == "PUT"
		}
		if path[0] == '/' {
			return false
		}
		// Otherwise another database, whose name begins with this one's.
	}
	return false
}

// step sends a step's request, again and again if it asks for that, and
// returns how the last answer differs.
func (r *replay) step(ctx context.Context, s Step) []Difference {
	var until time.Time
	if s.Retry != nil {
		seconds, _ := s.Retry.Float64() // checked on loading
		until = time.Now().Add(time.Duration(seconds * float64(time.Second)))
	}
	for {
		differences := r.attempt(ctx, s)
		if len(differences) == 0 || !time.Now().Before(until) {
			return differences
		}
		select {
		case <-ctx.Done():
			return differences
		case <-time.After(retryPause):
		}
	}
}

func (r *replay) attempt(ctx context.Context, s Step) []Difference {
	ctx, cancel := context.WithTimeoutCause(ctx, stepTimeout, fmt.Errorf("none within %v", stepTimeout))
	defer cancel()
	a, err := r.send(ctx, s.Request)
	if a == nil {
		return []Difference{{"answer", "one", err.Error()}}
	}
	differences := r.compare(s.Response, a)
	if err != nil {
		differences = append(differences, Difference{"answer", "whole", err.Error()})
	}
	return append(differences, r.bind(s.Bind, a)...)
}

// compare compares the status, the named headers and the body.
func (r *replay) compare(want Expectation, got *rawAnswer) (d []Difference) {
	if got.status != want.Status {
		d = append(d, Difference{"status", fmt.Sprint(want.Status), fmt.Sprint(got.status)})
	}
	for _, name := range sortedNames(want.Headers) {
		expected := r.names.expand(want.Headers[name])
		values, sent := got.header[http.CanonicalHeaderKey(name)]
		value := strings.Join(values, ", ")
		switch {
		case expected == absentMark && sent:
			d = append(d, Difference{"header " + name, "none", value})
		case expected == absentMark:
		case !sent:
			d = append(d, Difference{"header " + name, expected, "none"})
		case !matchHeader(expected, value):
			d = append(d, Difference{"header " + name, expected, value})
		}
	}
	return append(d, compareBody(want, r.names, got)...)
}

// bind takes values from an answer for later requests.
func (r *replay) bind(b bindings, got *rawAnswer) (d []Difference) {
	for _, name := range sortedNames(b) {
		if value, ok := valueAt(b[name], got); ok {
			r.names.bound[name] = value
		} else {
			d = append(d, Difference{"bind " + name, "a value at " + b[name], "none"})
		}
	}
	return d
}

func valueAt(place string, a *rawAnswer) (string, bool) {
	if name, ok := strings.CutPrefix(place, "header:"); ok {
		values, ok := a.header[http.CanonicalHeaderKey(name)]
		return strings.Join(values, ", "), ok
	}
	v, err := decodeJSON(a.body)
	if err != nil {
		return "", false
	}
	v, ok := pointer(v, place)
	if !ok {
		return "", false
	}
	if s, ok := v.(string); ok {
		return s, true
	}
	return show(v), true
}

// pointer follows a JSON pointer (RFC 6901).
func pointer(v any, p string) (any, bool) {
	if p == "" {
		return v, true
	}
	for _, token := range strings.Split(p, "/")[1:] {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch inside := v.(type) {
		case map[string]any:
			m, ok := inside[token]
			if !ok {
				return nil, false
			}
			v = m
		case []any:
			var i int
			if err := json.Unmarshal([]byte(token), &i); err != nil || i < 0 || i >= len(inside) {
				return nil, false
			}
			v = inside[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// send sends m with its placeholders replaced.
func (r *replay) send(ctx context.Context, m Message) (*rawAnswer, error) {
	raw := rawRequest{method: m.Method, target: r.names.expand(m.Path), header: map[string]string{}}
	for name, value := range m.Headers {
		raw.header[name] = r.names.expand(value)
	}
	switch {
	case m.JSON != nil:
		raw.body = r.names.expandJSON(onOneLine(m.JSON))
		if !raw.has("Content-Type") {
			raw.header["Content-Type"] = "application/json"
		}
	case m.Text != nil:
		raw.body = []byte(r.names.expand(*m.Text))
	case m.Base64 != nil:
		raw.body, _ = base64.StdEncoding.DecodeString(*m.Base64) // checked on loading
	}
	raw.chunk = raw.has("Transfer-Encoding")
	if !m.Anonymous && !raw.has("Authorization") && !raw.has("Cookie") {
		raw.header["Authorization"] = basicAuth(r.server.User, r.server.Password)
	}
	return r.server.exchange(ctx, raw)
}

// onOneLine writes a JSON text as it was sent when the answers were recorded:
// without line ends, and with one space behind each comma and colon. It shows
// where a body is an attachment, whose digest covers every byte.
func onOneLine(text []byte) []byte {
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return text
	}
	line := make([]byte, 0, compact.Len()+compact.Len()/4)
	quoted, escaped := false, false
	for _, c := range compact.Bytes() {
		line = append(line, c)
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == ':'):
			line = append(line, ' ')
		}
	}
	return line
}

func basicAuth(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func sortedNames(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
