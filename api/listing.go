package api

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/mangrove-db/mangrove/document"
)

// listing is what a client asks of a list of documents. The parameters are those of views, and what has no meaning
// for documents is checked and ignored.
type listing struct {
	start, end   keyBound
	exclusiveEnd bool
	keys         []listKey // only these, in this order
	hasKeys      bool
	descending   bool
	skip         uint64
	limit        uint64
	partition    string

	includeDocs  bool
	conflicts    bool
	attachments  bool
	encodingInfo bool
	updateSeq    bool

	reduce, grouped bool // refused: a list of documents is not reduced
}

// noLimit is the limit of listings that name none.
const noLimit = 1<<64 - 1

// keyBound is an end of a range of keys. Documents' keys are strings, and every other JSON value lies before all
// strings here: CouchDB compares the keys of documents in Erlang's order of terms, not in that of views.
type keyBound struct {
	set    bool
	id     string
	before bool // lies before all ids
}

// listKey is one of the keys that were asked for.
type listKey struct {
	id   string
	text []byte // if it is no string: its JSON text
}

// paramValue is the value of a parameter: a string from the query, or JSON text from a body.
type paramValue struct {
	text   string
	isJSON bool
}

// readQuery takes over the parameters of a query, and the partition that the path names.
func (l *listing) readQuery(q *request) error {
	for name, value := range queryParams(q.URL.RawQuery) {
		if name == "keys" {
			if err := l.readKeysParam(value); err != nil {
				return err
			}
			continue
		}
		if name == "partition" && q.name != "" && value != q.name {
			return badRequest("Conflicting value for `partition` in query string")
		}
		if err := l.set(name, paramValue{text: value}); err != nil {
			return err
		}
	}
	if q.name != "" {
		l.partition = q.name
	}
	return nil
}

func (l *listing) readKeysParam(value string) error {
	text, err := jsonText(value)
	if err != nil {
		return err
	}
	if text[0] != '[' {
		return badRequest("`keys` parameter must be an array.")
	}
	s := document.NewStream(bytes.NewReader(text), document.Limits{})
	defer s.Close()
	return l.readKeys(s)
}

// readBody takes over the parameters in a body. What is no array for keys is refused with badKeys.
func (l *listing) readBody(s *document.Stream, badKeys *Error) error {
	for {
		name, err := s.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if name == "keys" {
			kind, err := s.Type()
			if err != nil {
				return err
			}
			if kind == document.Array {
				if err := l.readKeys(s); err != nil {
					return err
				}
				continue
			}
		}
		text, err := s.Value()
		if err != nil {
			return err
		}
		if name == "keys" {
			return badKeys
		}
		if err := l.set(name, paramValue{string(text), true}); err != nil {
			return err
		}
	}
}

// readKeys reads the array of keys that is next.
func (l *listing) readKeys(s *document.Stream) error {
	l.keys, l.hasKeys = l.keys[:0], true
	for text, err := range s.Elements() {
		if err != nil {
			return err
		}
		id, ok := jsonString(text)
		if ok {
			text = nil
		}
		l.keys = append(l.keys, listKey{id, text})
	}
	return nil
}

// set takes over one parameter.
func (l *listing) set(name string, v paramValue) (err error) {
	switch name {
	case "key":
		if l.start, err = v.bound(); err == nil {
			l.end = l.start
		}
	case "startkey", "start_key":
		l.start, err = v.bound()
	case "endkey", "end_key":
		l.end, err = v.bound()
	case "inclusive_end":
		l.exclusiveEnd, err = v.boolean()
		l.exclusiveEnd = !l.exclusiveEnd
	case "descending":
		l.descending, err = v.boolean()
	case "skip":
		l.skip, err = v.count()
	case "limit":
		l.limit, err = v.count()
	case "include_docs":
		l.includeDocs, err = v.boolean()
	case "conflicts":
		l.conflicts, err = v.boolean()
	case "attachments":
		l.attachments, err = v.boolean()
	case "att_encoding_info":
		l.encodingInfo, err = v.boolean()
	case "update_seq":
		l.updateSeq, err = v.boolean()
	case "sorted":
		_, err = v.boolean()
	case "reduce":
		l.reduce, err = v.boolean()
	case "group":
		l.grouped, err = v.boolean()
	case "group_level":
		var n uint64
		n, err = v.count()
		l.grouped = n > 0
	case "partition":
		l.partition = v.word()
		err = document.ValidatePartition(l.partition)
	case "stale":
		err = v.oneOf(name, "ok", "update_after")
	case "stable":
		err = v.oneOf(name, "true", "false")
	case "update":
		err = v.oneOf(name, "true", "false", "lazy")
	}
	return err
}

// check refuses what a list of documents has no use for.
func (l *listing) check() error {
	switch {
	case l.reduce:
		return queryError("Reduce is invalid for map-only views.")
	case l.grouped:
		return queryError("Invalid use of grouping on a map view.")
	}
	return nil
}

// word returns the value as text: that of a string, or else the JSON text.
func (v paramValue) word() string {
	if v.isJSON {
		if s, ok := jsonString([]byte(v.text)); ok {
			return s
		}
	}
	return v.text
}

// String writes the value as CouchDB's messages do, in Erlang's notation.
func (v paramValue) String() string {
	switch {
	case !v.isJSON:
		return `"` + v.text + `"`
	case strings.HasPrefix(v.text, `"`):
		return "<<" + v.text + ">>"
	}
	return v.text
}

func (v paramValue) bound() (keyBound, error) {
	text := []byte(v.text)
	if !v.isJSON {
		var err error
		if text, err = jsonText(v.text); err != nil {
			return keyBound{}, err
		}
	}
	id, ok := jsonString(text)
	return keyBound{set: true, id: id, before: !ok}, nil
}

func (v paramValue) boolean() (bool, error) {
	switch strings.ToLower(v.word()) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, queryError("Invalid boolean parameter: " + v.String())
}

// count returns a number that is not negative. A string in a body is none, even one of digits.
func (v paramValue) count() (uint64, error) {
	n, err := strconv.ParseInt(v.text, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange) && n > 0:
		return uint64(n), nil
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return 0, queryError("Invalid value for integer: " + v.String())
	case n < 0:
		return 0, queryError("Invalid value for positive integer: " + v.String())
	}
	return uint64(n), nil
}

func (v paramValue) oneOf(name string, words ...string) error {
	if slices.Contains(words, v.word()) {
		return nil
	}
	return queryError("Invalid value for `" + name + "`.")
}
