package api

import (
	"bytes"
	"encoding/json"
	"iter"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
)

// unescape undoes the escaping of a part of a path. An unescaped plus is a space, as CouchDB reads it.
func unescape(s string) (string, error) {
	if !strings.ContainsAny(s, "%+") {
		return s, nil
	}
	text, err := url.PathUnescape(strings.ReplaceAll(s, "+", " "))
	if err != nil {
		return "", badRequestf("The path has a malformed escape: %s", s)
	}
	return text, nil
}

// setPath takes over what the route has found in the path.
func (q *request) setPath(vars map[string]string) error {
	for name, value := range vars {
		var to *string
		switch name {
		case "db":
			to = &q.dbName
		case "doc":
			to = &q.docID
		case "att":
			to = &q.attName
		case "name":
			to = &q.name
		case "view":
			to = &q.viewName
		case "partition":
			to = &q.partName
		default:
			continue
		}
		var err error
		if *to, err = unescape(value); err != nil {
			return err
		}
	}
	return nil
}

// params returns the query's parameters.
func (q *request) params() url.Values {
	if q.query == nil {
		if q.URL.RawQuery == "" {
			q.query = url.Values{}
		} else {
			q.query = url.Values{}
			for name, value := range queryParams(q.URL.RawQuery) {
				q.query.Add(name, value)
			}
		}
	}
	return q.query
}

// queryParams yields the parameters of a query in their order. Nothing in it is an error: a parameter that was left out
// because it is malformed would make the request mean something else.
func queryParams(raw string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for pair := range strings.SplitSeq(raw, "&") {
			name, value, _ := strings.Cut(pair, "=")
			if name = queryText(name); name == "" {
				continue
			}
			if !yield(name, queryText(value)) {
				return
			}
		}
	}
}

// queryText undoes the escaping of a part of a query. A percent sign that escapes nothing stands for itself, as in
// CouchDB.
func queryText(s string) string {
	if text, err := url.QueryUnescape(s); err == nil {
		return text
	}
	var text []byte
	for len(s) > 0 {
		n := 1
		if s[0] == '%' {
			n = min(3, len(s))
		}
		if one, err := url.QueryUnescape(s[:n]); err == nil {
			text = append(text, one...)
		} else {
			n, text = 1, append(text, '%')
		}
		s = s[n:]
	}
	return string(text)
}

// param returns a parameter, or "" if it was not given.
func (q *request) param(name string) string {
	if q.URL.RawQuery == "" {
		return ""
	}
	return q.params().Get(name)
}

// flag tells whether a parameter is "true".
func (q *request) flag(name string) bool { return q.param(name) == "true" }

// revParam reads the parameter rev; it is zero if none was given.
func (q *request) revParam() (revtree.ID, error) {
	if q.URL.RawQuery == "" || !q.params().Has("rev") {
		return revtree.ID{}, nil
	}
	return parseRev(q.params().Get("rev"))
}

func parseRev(text string) (revtree.ID, error) {
	id, err := revtree.ParseID(text)
	if err != nil {
		return id, errInvalidRev
	}
	return id, nil
}

// ifMatch reads the revision in an If-Match header; it is zero if there is none.
func (q *request) ifMatch() (revtree.ID, error) {
	header := q.Header["If-Match"]
	if len(header) == 0 {
		return revtree.ID{}, nil
	}
	return parseRev(strings.Trim(strings.TrimPrefix(strings.TrimSpace(header[0]), "W/"), `"`))
}

// sentRev reads the revision that stands in the parameter rev, in If-Match, or in both if they agree; it is zero if
// it is in neither.
func (q *request) sentRev() (revtree.ID, error) {
	rev, err := q.revParam()
	if err != nil {
		return rev, err
	}
	match, err := q.ifMatch()
	switch {
	case err != nil || match.IsZero():
		return rev, err
	case !rev.IsZero() && rev != match:
		return rev, errRevAndETag
	}
	return match, nil
}

// parseRevs reads a JSON array of revisions.
func parseRevs(text string) ([]revtree.ID, error) {
	b, err := jsonText(text)
	if err != nil {
		return nil, err
	}
	var list []json.RawMessage
	if b[0] != '[' || json.Unmarshal(b, &list) != nil {
		return nil, badRequest("Invalid list of revisions")
	}
	revs := make([]revtree.ID, 0, len(list))
	for _, item := range list {
		rev, ok := jsonString(item)
		if !ok {
			return nil, errInvalidRev
		}
		id, err := parseRev(rev)
		if err != nil {
			return nil, err
		}
		revs = append(revs, id)
	}
	return revs, nil
}

// etagMatches tells whether tag is in a header's list of entity tags. The star does not count, as in CouchDB.
func etagMatches(header, tag string) bool {
	for header != "" {
		var one string
		one, header, _ = strings.Cut(header, ",")
		if strings.TrimPrefix(strings.TrimSpace(one), "W/") == tag {
			return true
		}
	}
	return false
}

// intValue reads a parameter that is a whole number.
func intValue(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, queryError(`Invalid value for integer: "` + text + `"`)
	}
	return n, nil
}

// countValue reads a parameter that is a whole number and not negative.
func countValue(text string) (int, error) {
	n, err := intValue(text)
	if err == nil && n < 0 {
		return 0, queryError(`Invalid value for positive integer: "` + text + `"`)
	}
	return n, err
}

// jsonText checks that a parameter is JSON.
func jsonText(text string) ([]byte, error) {
	b, err := document.Canonical([]byte(text))
	if err != nil {
		return nil, errInvalidJSON
	}
	return b, nil
}

// jsonString reads a JSON value that should be a string; others have no meaning for names and ids.
func jsonString(text []byte) (string, bool) {
	if len(text) < 2 || text[0] != '"' {
		return "", false
	}
	if inner := text[1 : len(text)-1]; bytes.IndexByte(text[1:], '"') == len(inner) && bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner), true
	}
	var s string
	if json.Unmarshal(text, &s) != nil {
		return "", false
	}
	return s, true
}
