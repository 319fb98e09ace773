package api

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// feedParams are the parameters of a feed, under their names in lower case, as CouchDB compares them.
type feedParams map[string]string

func (q *request) feedParams() feedParams {
	p := make(feedParams, len(q.params()))
	for name, values := range q.params() {
		p[strings.ToLower(name)] = values[len(values)-1]
	}
	return p
}

func (p feedParams) flag(name string) bool { return p[name] == "true" }

// kind reads the parameter feed. It returns false if there is no such feed.
func (p feedParams) kind() (feedKind, bool) {
	switch p["feed"] {
	case "", "normal":
		return feedNormal, true
	case "longpoll":
		return feedLongpoll, true
	case "continuous":
		return feedContinuous, true
	case "eventsource":
		return feedEventSource, true
	}
	return feedNormal, false
}

// whole reads a parameter that is a whole number, and returns fallback if it was not given. Numbers that are too large
// are as good as the largest one.
func (p feedParams) whole(name string, fallback int) (n int, ok bool) {
	text, given := p[name]
	if !given {
		return fallback, true
	}
	n, err := strconv.Atoi(text)
	return n, err == nil || errors.Is(err, strconv.ErrRange)
}

// count is whole for numbers that must not be negative.
func (p feedParams) count(name string, fallback int) (n int, ok bool) {
	if _, given := p[name]; !given {
		return fallback, true
	}
	n, ok = p.whole(name, fallback)
	return n, ok && n >= 0
}

// patience turns a number of milliseconds into a duration that is not longer than most.
func patience(ms int, most time.Duration) time.Duration {
	if ms > math.MaxInt/int(time.Millisecond) {
		return most
	}
	return min(max(0, time.Duration(ms)*time.Millisecond), most)
}
