package script

import (
	"strconv"
	"strings"
)

// mimeTypes are the names that provides knows for media types.
type mimeTypes struct {
	byKey  map[string][]string
	byType map[string]string
}

// newMimeTypes returns the types that CouchDB knows from the start.
func newMimeTypes() *mimeTypes {
	t := &mimeTypes{byKey: map[string][]string{}, byType: map[string]string{}}
	for _, known := range [][]string{
		{"all", "*/*"},
		{"text", "text/plain; charset=utf-8", "txt"},
		{"html", "text/html; charset=utf-8"},
		{"xhtml", "application/xhtml+xml", "xhtml"},
		{"xml", "application/xml", "text/xml", "application/x-xml"},
		{"js", "text/javascript", "application/javascript", "application/x-javascript"},
		{"css", "text/css"},
		{"ics", "text/calendar"},
		{"csv", "text/csv"},
		{"rss", "application/rss+xml"},
		{"atom", "application/atom+xml"},
		{"yaml", "application/x-yaml", "text/yaml"},
		{"multipart_form", "multipart/form-data"},
		{"url_encoded_form", "application/x-www-form-urlencoded"},
		{"json", "application/json", "text/x-json"},
	} {
		t.register(known[0], known[1:]...)
	}
	return t
}

func (t *mimeTypes) register(key string, types ...string) {
	t.byKey[key] = types
	for _, name := range types {
		t.byType[name] = key
	}
}

// mediaRange is one of an Accept header.
type mediaRange struct {
	main, sub string
	params    map[string]string
	quality   float64
}

func parseRange(s string) mediaRange {
	parts := strings.Split(s, ";")
	r := mediaRange{params: map[string]string{}, quality: 1}
	name := strings.TrimSpace(parts[0])
	if name == "*" {
		name = "*/*"
	}
	r.main, r.sub, _ = strings.Cut(name, "/")
	for _, p := range parts[1:] {
		k, v, _ := strings.Cut(p, "=")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		if k != "q" {
			r.params[k] = v
			continue
		}
		if q, err := strconv.ParseFloat(v, 64); err == nil && q >= 0 && q <= 1 {
			r.quality = q
		}
	}
	return r
}

// bestMatch returns the supported type that an Accept header asks for most
// closely: the one that its most specific range names, then the one of the
// higher quality, then the last; "" if none fits.
func bestMatch(supported []string, accept string) string {
	var ranges []mediaRange
	for part := range strings.SplitSeq(accept, ",") {
		ranges = append(ranges, parseRange(part))
	}
	best, bestFitness, bestQuality := "", -1, 0.0
	for _, s := range supported {
		fitness, quality := fit(parseRange(s), ranges)
		if fitness > bestFitness || fitness == bestFitness && quality >= bestQuality {
			best, bestFitness, bestQuality = s, fitness, quality
		}
	}
	if bestQuality == 0 {
		return ""
	}
	return best
}

// fit tells how specific the range is that names a type best, and its quality.
func fit(target mediaRange, ranges []mediaRange) (fitness int, quality float64) {
	fitness = -1
	for _, r := range ranges {
		if r.main != target.main && r.main != "*" && target.main != "*" ||
			r.sub != target.sub && r.sub != "*" && target.sub != "*" {
			continue
		}
		n := 0
		if r.main == target.main {
			n += 100
		}
		if r.sub == target.sub {
			n += 10
		}
		for k, v := range target.params {
			if r.params[k] == v {
				n++
			}
		}
		if n > fitness {
			fitness, quality = n, r.quality
		}
	}
	return fitness, quality
}
