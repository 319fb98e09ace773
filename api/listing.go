package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/view"
)

// listing is what a client asks of a list of documents or of a view. The parameters are the same, and what has no
// meaning for the one or the other is checked and ignored.
type listing struct {
	words *listingWords

	start, end     []byte // canonical JSON texts of keys; nil: open
	startID, endID string // among the rows of a view with the key start or end; "": all of them
	exclusiveEnd   bool
	keys           [][]byte // only these, in this order; canonical JSON texts
	room           *room    // for keys, shared by the queries of a request
	hasKeys        bool
	descending     bool
	skip           uint64
	limit          uint64
	partition      string

	includeDocs  bool
	conflicts    choice
	attachments  bool
	encodingInfo bool
	updateSeq    bool

	// What follows is for views.
	update     view.Update
	reduce     choice
	group      choice
	groupLevel uint64
	hasLevel   bool // group_level was given
}

// choice is a boolean parameter of which it matters whether it was given.
type choice uint8

const (
	unsaid choice = iota
	saidNo
	saidYes
)

// noLimit is the limit of listings that name none.
const noLimit = math.MaxUint64

// listingWords are the refusals in which lists of documents and views differ.
type listingWords struct {
	keysInQuery *Error // keys is no array
	body        bodyWords
}

// bodyWords are the refusals of a body, or of one query of several.
type bodyWords struct {
	keys    *Error // keys is no array
	queries *Error // there are queries, which belong elsewhere; nil: that does not matter
}

var documentWords = &listingWords{
	keysInQuery: badRequest("`keys` parameter must be an array."),
	body:        bodyWords{keys: badRequest("`keys` body member must be an array.")},
}

var viewWords = &listingWords{
	keysInQuery: errKeys,
	body: bodyWords{
		keys:    badRequest("`keys` member must be an array."),
		queries: badRequest("The `queries` parameter is no longer supported at this endpoint"),
	},
}

var (
	errKeys         = queryError("`keys` must be an array of strings.")
	errQueriesArray = badRequest("`queries` member must be an array.")
	errNoQueries    = badRequest("POST body must include `queries` parameter.")
)

// newListing returns a listing of everything.
func newListing(words *listingWords) *listing {
	return &listing{words: words, limit: noLimit, room: &room{left: keysRoom}}
}

// keysRoom is how much the keys and queries of one request may take up, in bytes, roughly: a million keys, or fewer if
// they are long. They are held until they were answered, and a compressed body can hold any number of them.
const keysRoom = 96 << 20

// What a key and a query take up beside their text, roughly.
const (
	keyWeight   = 64
	queryWeight = 512
)

// room is what is left for the parameters of a request.
type room struct{ left int }

// take takes some of it, or refuses the request.
func (r *room) take(bytes int) error {
	if r.left -= bytes; r.left < 0 {
		return errRequestTooLarge
	}
	return nil
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
		if name == "partition" && q.partName != "" && value != q.partName {
			return badRequest("Conflicting value for `partition` in query string")
		}
		if err := l.set(name, paramValue{text: value}); err != nil {
			return err
		}
	}
	if q.partName != "" {
		l.partition = q.partName
	}
	return nil
}

func (l *listing) readKeysParam(value string) error {
	text, err := jsonText(value)
	if err != nil {
		return err
	}
	if text[0] != '[' {
		return l.words.keysInQuery
	}
	s := document.NewStream(bytes.NewReader(text), document.Limits{})
	defer s.Close()
	return l.readKeys(s)
}

// readBody takes over the parameters in a body, or in one of several queries in a body.
func (l *listing) readBody(s *document.Stream, words bodyWords) error {
	for {
		name, err := s.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		kind, err := s.Type()
		if err != nil {
			return err
		}
		switch {
		case name == "keys" && kind == document.Array:
			if err := l.readKeys(s); err != nil {
				return err
			}
			continue
		case name == "queries" && kind == document.Array && words.queries != nil:
			return words.queries
		}
		text, err := s.Value()
		switch {
		case err != nil:
			return err
		case name == "keys":
			return words.keys
		case name == "queries" && words.queries != nil:
			return errQueriesArray
		}
		if err := l.set(name, paramValue{string(text), true}); err != nil {
			return err
		}
	}
}

// readKeys reads the array of keys that is next.
func (l *listing) readKeys(s *document.Stream) error {
	l.keys, l.hasKeys = nil, true
	for text, err := range s.Elements() {
		if err != nil {
			return err
		}
		if err := l.room.take(len(text) + keyWeight); err != nil {
			return err
		}
		l.keys = append(l.keys, text)
	}
	return nil
}

// set takes over one parameter.
func (l *listing) set(name string, v paramValue) (err error) {
	switch name {
	case "key":
		l.start, err = v.key()
		l.end = l.start
	case "startkey", "start_key":
		l.start, err = v.key()
	case "endkey", "end_key":
		l.end, err = v.key()
	case "startkey_docid", "start_key_doc_id":
		l.startID = v.word()
	case "endkey_docid", "end_key_doc_id":
		l.endID = v.word()
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
		l.conflicts, err = v.choice()
	case "attachments":
		l.attachments, err = v.boolean()
	case "att_encoding_info":
		l.encodingInfo, err = v.boolean()
	case "update_seq":
		l.updateSeq, err = v.boolean()
	case "sorted":
		_, err = v.boolean()
	case "reduce":
		l.reduce, err = v.choice()
	case "group":
		l.group, err = v.choice()
	case "group_level":
		l.groupLevel, err = v.count()
		l.hasLevel = true
	case "partition":
		l.partition = v.word()
		err = document.ValidatePartition(l.partition)
	case "stale":
		l.update, err = v.update(name, "", "ok", "update_after")
	case "stable":
		_, err = v.update(name, "true", "false", "")
	case "update":
		l.update, err = v.update(name, "true", "false", "lazy")
	}
	return err
}

// check refuses parameters that contradict each other, or that have no meaning where rows are reduced or where they are
// not. A single one of keys goes with everything, as in CouchDB.
func (l *listing) check(reduced bool) error {
	level, err := l.grouping()
	switch {
	case err != nil:
		return err
	case !reduced && l.reduce == saidYes:
		return queryError("Reduce is invalid for map-only views.")
	case reduced && level != view.GroupExact && len(l.keys) > 1:
		return queryError("Multi-key fetches for reduce views must use `group=true`")
	case len(l.keys) > 1 && (l.start != nil || l.end != nil):
		return queryError("`keys` is incompatible with `key`, `start_key` and `end_key`")
	case !reduced && level != view.GroupNone:
		return queryError("Invalid use of grouping on a map view.")
	case reduced && l.includeDocs:
		return queryError("`include_docs` is invalid for reduce")
	case reduced && l.conflicts != unsaid:
		return queryError("`conflicts` is invalid for reduce views.")
	}
	return nil
}

// grouping returns how rows are grouped for reducing.
func (l *listing) grouping() (int, error) {
	switch {
	case l.group == saidNo && l.groupLevel > 0:
		return 0, queryError("Can't specify group=false and group_level>0 at the same time")
	case l.group == saidYes && !l.hasLevel:
		return view.GroupExact, nil
	case l.groupLevel == 0:
		return view.GroupNone, nil
	}
	return int(min(l.groupLevel, maxGroupLevel)), nil
}

// maxGroupLevel is more than the elements that any key has.
const maxGroupLevel = math.MaxInt32

// word returns the value as text: that of a string, or else the JSON text.
func (v paramValue) word() string {
	if v.isJSON {
		if s, ok := jsonString([]byte(v.text)); ok {
			return s
		}
	}
	return v.text
}

// erlang writes the value as CouchDB's messages do, in Erlang's notation.
func (v paramValue) erlang() string {
	switch {
	case !v.isJSON:
		return erlangString(v.text)
	case strings.HasPrefix(v.text, `"`):
		return "<<" + v.text + ">>"
	}
	return v.text
}

// erlangString writes a list of bytes as Erlang does: as text, unless there is something that cannot be printed.
func erlangString(s string) string {
	if s == "" {
		return "[]"
	}
	b := []byte{'"'}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case ' ' <= c && c <= '~' || c >= 0xA0:
			b = append(b, c)
		default:
			return strings.ReplaceAll(fmt.Sprint([]byte(s)), " ", ",")
		}
	}
	return string(append(b, '"'))
}

// key returns the canonical JSON text of a key.
func (v paramValue) key() ([]byte, error) {
	if v.isJSON {
		return []byte(v.text), nil
	}
	return jsonText(v.text)
}

func (v paramValue) boolean() (bool, error) {
	switch word := v.word(); strings.ToLower(word) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	default:
		if !v.isJSON || strings.HasPrefix(v.text, `"`) {
			word = erlangString(word)
		}
		return false, queryError("Invalid boolean parameter: " + word)
	}
}

func (v paramValue) choice() (choice, error) {
	is, err := v.boolean()
	if is {
		return saidYes, err
	}
	return saidNo, err
}

// count returns a number that is not negative. A string in a body is none, even one of digits.
func (v paramValue) count() (uint64, error) {
	n, err := strconv.ParseInt(v.text, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange) && n > 0:
		return uint64(n), nil
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return 0, queryError("Invalid value for integer: " + v.erlang())
	case n < 0:
		return 0, queryError("Invalid value for positive integer: " + v.erlang())
	}
	return uint64(n), nil
}

// update returns what one of three words means for the index that is read. A word that is "" does not count.
func (v paramValue) update(name, always, never, later string) (view.Update, error) {
	switch word := v.word(); {
	case word == "":
	case word == always:
		return view.UpdateTrue, nil
	case word == never:
		return view.UpdateFalse, nil
	case word == later:
		return view.UpdateLazy, nil
	}
	return view.UpdateTrue, queryError("Invalid value for `" + name + "`.")
}
