package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/mangrove-db/mangrove/config"
)

// Pages of other origins may use a node as [cors] allows. The rules are CouchDB's, which differ from those of the
// libraries there are: an origin is always named and never answered by a "*"; a preflight that is refused is no preflight
// and is served, or refused, like any other request; and there are policies for each name that this node is called by.

// handleCORS sets the headers that let a page of another origin see the answer, and answers preflights, for which it
// returns true. It comes before authentication: preflights carry no credentials, and a page has to see why it is refused.
func (q *request) handleCORS() (answered bool) {
	if !q.config.CORS.Enabled {
		return false
	}
	h := q.w.Header()
	// Caches between must not give one origin's answer to another, nor that without an origin to any.
	h.Add("Vary", "Origin")
	origin := q.Header.Get("Origin")
	if origin == "" {
		return false
	}
	policy := q.config.CORS.For(q.host())
	if !policy.AnyOrigin && !slices.Contains(policy.Origins, origin) {
		return false
	}
	q.cors = policy
	h["Access-Control-Allow-Origin"] = []string{origin}
	if policy.Credentials {
		h["Access-Control-Allow-Credentials"] = yes
	}
	if q.Method == http.MethodOptions && q.preflight(policy) {
		return true
	}
	// The first two are what CouchDB's answers have beside those that are configured.
	h["Access-Control-Expose-Headers"] = []string{strings.Join(append([]string{"content-type", "cache-control"}, policy.Exposed...), ", ")}
	return false
}

var yes = []string{"true"}

// preflight answers the question whether a request with some method and some headers would be welcome, if it is.
func (q *request) preflight(policy *config.CORSPolicy) (answered bool) {
	method := q.Header.Get("Access-Control-Request-Method")
	if method == "" || !slices.Contains(policy.Methods, method) {
		return false
	}
	wanted := q.Header.Get("Access-Control-Request-Headers")
	for name := range strings.SplitSeq(wanted, ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(policy.Headers, strings.ToLower(name)) {
			return false
		}
	}
	h := q.w.Header()
	h["Access-Control-Allow-Methods"] = []string{strings.Join(policy.Methods, ", ")}
	h["Access-Control-Allow-Headers"] = []string{wanted}
	h["Access-Control-Max-Age"] = []string{strconv.Itoa(policy.MaxAge)}
	q.w.WriteHeader(http.StatusNoContent)
	return true
}

// crossOrigin tells whether the request comes from a page of another origin that may use the user's cookies.
func (q *request) crossOrigin() bool { return q.cors != nil && q.cors.Credentials }
