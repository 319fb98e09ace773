package api

import (
	"strconv"
	"strings"
)

// accepts tells whether the client takes answers of a type, such as "multipart/mixed". Without an Accept header it
// takes all of them.
func (q *request) accepts(mediaType string) bool {
	header := q.Header["Accept"]
	if len(header) == 0 {
		return true
	}
	main, _, _ := strings.Cut(mediaType, "/")
	accepted := false
	for name, weight := range preferences(header) {
		switch name {
		case mediaType, main + "/*":
			if weight == 0 {
				return false
			}
			accepted = true
		case "*/*":
			accepted = accepted || weight > 0
		}
	}
	return accepted
}

// acceptsGzip tells whether the client takes content in gzip encoding.
func (q *request) acceptsGzip() bool {
	accepted := false
	for name, weight := range preferences(q.Header["Accept-Encoding"]) {
		switch name {
		case gzipped:
			return weight > 0
		case "*":
			accepted = weight > 0
		}
	}
	return accepted
}

// preferences yields the names in a list of preferences (RFC 9110 §12.4.2) in lower case, with their weights. A
// weight that cannot be read counts as 0.
func preferences(headers []string) func(yield func(name string, weight float64) bool) {
	return func(yield func(string, float64) bool) {
		for _, header := range headers {
			for item := range strings.SplitSeq(header, ",") {
				name, params, _ := strings.Cut(item, ";")
				weight := 1.0
				for param := range strings.SplitSeq(params, ";") {
					if key, value, _ := strings.Cut(param, "="); strings.EqualFold(strings.TrimSpace(key), "q") {
						weight, _ = strconv.ParseFloat(strings.TrimSpace(value), 64)
					}
				}
				if !yield(strings.ToLower(strings.TrimSpace(name)), weight) {
					return
				}
			}
		}
	}
}
