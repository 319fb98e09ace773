package replicator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// statusError is an answer that says no.
type statusError struct {
	method, url  string // without credentials and query
	status       int
	name, reason string // CouchDB's "error" and "reason"; empty if the answer is none of CouchDB's
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("%s %s: %d", e.method, e.url, e.status)
	switch {
	case e.name != "":
		return text + " " + e.name + ": " + e.reason
	case e.reason != "":
		return text + " " + e.reason
	}
	return text + " " + http.StatusText(e.status)
}

// Unwrap tells what the status means for the database.
func (e *statusError) Unwrap() error {
	switch {
	case e.status == http.StatusUnauthorized, e.status == http.StatusForbidden:
		return ErrUnauthorized
	case e.status == http.StatusNotFound && (e.reason == "no_db_file" || strings.EqualFold(strings.TrimSuffix(e.reason, "."), "database does not exist")):
		return ErrNoDatabase
	}
	return nil
}

// maxReason is how much is shown of what a server gives as a reason.
const maxReason = 500

// failure reads what the answer says went wrong.
func (a *answer) failure() error {
	if a.failed != nil {
		return a.failed
	}
	e := &statusError{method: a.method, url: a.url, status: a.status}
	text, err := a.text(64 << 10)
	if err == nil || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errMalformed) {
		for key, value := range rawMembers(text) {
			switch string(key) {
			case "error":
				e.name = seqText(value)
			case "reason":
				e.reason = seqText(value)
			}
		}
	}
	e.name, e.reason = a.client.shown(e.name), a.client.shown(e.reason)
	a.failed = e
	return e
}

// shown makes text of a server fit to be shown: short, on one line, and without credentials it may repeat.
func (c *client) shown(text string) string {
	for _, secret := range c.secrets {
		// What is shorter than this would be found in any text.
		if len(secret) >= 4 {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}

// errSilent ends requests at which nothing moves.
var errSilent = errors.New("nothing came for too long")

// fatalError marks errors that do not pass by trying again.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

// passing tells whether a status may be gone when the request is made again.
func passing(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return status >= http.StatusInternalServerError
}

// hopeless tells whether an error of a request will come again, however often it is made.
func hopeless(err error) bool {
	var (
		fatal       fatalError
		certificate *tls.CertificateVerificationError
	)
	return errors.As(err, &fatal) || errors.As(err, &certificate)
}

// broken tells whether reading an answer failed because the line did, rather than because of what was sent. The error
// must come from reading the answer.
func (a *answer) broken(err error) bool {
	return a.body.err != nil || errors.Is(err, io.ErrUnexpectedEOF)
}

// reasonOfEnd prefers the reason why a context was ended to the bare fact.
func reasonOfEnd(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
	}
	return err
}
