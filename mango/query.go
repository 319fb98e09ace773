package mango

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/mangrove-db/mangrove/document"
)

// Query is a checked request to _find or _explain. It is immutable.
type Query struct {
	selector  *Selector
	useIndex  []string // a design document, or that and the name of an index
	bookmark  string   // "" for none
	limit     uint64
	skip      uint64
	sort      []column
	fields    *Fields // nil: whole documents
	partition string
	quorum    uint64 // r: documents are read as often in a cluster

	scanWarning int                            // as in Limits
	veil        func(*document.Document) error // see Veil

	conflicts, stale, update, stable, stats, fallback bool
}

// Limits are what a node's settings say about queries.
type Limits struct {
	// DefaultLimit is how many documents are answered if a query does not say.
	DefaultLimit uint64
	// MaxLimit is how many are answered whatever it says; 0 is no limit.
	MaxLimit uint64
	// ScanWarning is how many documents may be examined for each that is found
	// before the answer warns; 0 never warns.
	ScanWarning int
}

// ParseQuery reads the body of a request to _find or _explain, which has to be
// canonical JSON. partition is the one that the address names, or "". The errors
// are of type *Error or *document.Error; nothing of body is kept.
func ParseQuery(body []byte, partition string, limits Limits) (*Query, error) {
	body = slices.Clone(body)
	q := &Query{
		limit: limits.DefaultLimit, quorum: 1, update: true, fallback: true, partition: partition,
		scanWarning: limits.ScanWarning,
	}
	err := readOptions(body, []option{
		{name: "selector", required: true, read: func(v []byte) (err error) {
			q.selector, err = Compile(v)
			return err
		}},
		{name: "use_index", read: func(v []byte) (err error) {
			q.useIndex, err = parseUseIndex(v)
			return err
		}},
		{name: "bookmark", read: q.readBookmark},
		{name: "limit", read: countOption(&q.limit)},
		{name: "skip", read: countOption(&q.skip)},
		{name: "sort", read: func(v []byte) (err error) {
			q.sort, err = parseSort(v)
			return err
		}},
		{name: "fields", read: func(v []byte) (err error) {
			q.fields, err = ParseFields(v)
			return err
		}},
		{name: "partition", read: q.readPartition},
		{name: "r", read: positiveOption(&q.quorum)},
		{name: "conflicts", read: boolOption(&q.conflicts)},
		{name: "stale", read: q.readStale},
		{name: "update", read: boolOption(&q.update)},
		{name: "stable", read: boolOption(&q.stable)},
		{name: "execution_stats", read: boolOption(&q.stats)},
		{name: "allow_fallback", read: boolOption(&q.fallback)},
	})
	if err != nil {
		return nil, err
	}
	if limits.MaxLimit > 0 {
		q.limit = min(q.limit, limits.MaxLimit)
	}
	return q, nil
}

func (q *Query) readBookmark(v []byte) error {
	switch kindOf(v) {
	case kindNull:
		return nil
	case kindString:
		q.bookmark = string(unquote(nil, v))
		return nil
	}
	return unknownError("mango_opts", "{invalid_bookmark,"+erlangTerm(v)+"}")
}

func (q *Query) readStale(v []byte) error {
	switch string(v) {
	case `"ok"`:
		q.stale = true
		return nil
	case `"false"`, "false":
		return nil
	}
	return unknownError("mango_opts", "{invalid_ok_or_false_value,"+erlangTerm(v)+"}")
}

func (q *Query) readPartition(v []byte) error {
	if kindOf(v) != kindString {
		return errPartitionType
	}
	name := string(unquote(nil, v))
	switch {
	case name == "":
		return nil
	case q.partition != "" && name != q.partition:
		return errTwoPartitions
	}
	q.partition = name
	return document.ValidatePartition(name)
}

// parseUseIndex reads the name of a design document, or of one and an index.
func parseUseIndex(v []byte) ([]string, error) {
	switch kindOf(v) {
	case kindNull:
		return nil, nil
	case kindString:
		parts := strings.Split(string(unquote(nil, v)), "/")
		if len(parts) > 1 && parts[0] == "_design" {
			parts = parts[1:]
		}
		if len(parts) <= 2 {
			return parts, nil
		}
	case kindArray:
		parts := []string{}
		for element := range elements(v) {
			if kindOf(element) != kindString || len(parts) == 2 {
				parts = nil
				break
			}
			parts = append(parts, string(unquote(nil, element)))
		}
		if parts != nil {
			return parts, nil
		}
	}
	return nil, errorf("invalid_index_name", "Invalid index name: ", erlangTerm(v))
}

// indexName returns what use_index names as errors and warnings show it.
func (q *Query) indexName() string {
	name := DesignID(q.useIndex[0])
	if len(q.useIndex) == 2 {
		name += ", " + q.useIndex[1]
	}
	return clip(name)
}

const designPrefix = "_design/"

// DesignID returns the id of a design document, given that or its name.
func DesignID(name string) string {
	if strings.HasPrefix(name, designPrefix) {
		return name
	}
	return designPrefix + name
}

// option is a member that a request may have.
type option struct {
	name     string
	required bool
	read     func(value []byte) error
}

// readOptions reads the members of a request, in the order of the options, which
// decides which of several mistakes is told.
func readOptions(object []byte, options []option) error {
	if kindOf(object) != kindObject {
		return errNoObject
	}
	members := distinctMembers(object)
	for _, o := range options {
		value := find(members, o.name)
		if value == nil {
			if o.required {
				return errorf("missing_required_key", "Missing required key: ", o.name)
			}
			continue
		}
		if err := o.read(value); err != nil {
			return err
		}
	}
	for _, m := range members {
		if !slices.ContainsFunc(options, func(o option) bool { return o.name == m.name }) {
			return errorf("invalid_key", "Invalid key ", clip(m.name), " for this request.")
		}
	}
	return nil
}

func boolOption(to *bool) func([]byte) error {
	return func(v []byte) error {
		if kindOf(v) != kindBoolean {
			return errorf("invalid_boolean", "Invalid boolean value: ", erlangTerm(v))
		}
		*to = v[0] == 't'
		return nil
	}
}

func countOption(to *uint64) func([]byte) error {
	return func(v []byte) error {
		n, ok := readCount(v)
		if !ok {
			return errorf("invalid_non_neg_integer", erlangTerm(v), " is not an integer greater than or equal to zero")
		}
		*to = n
		return nil
	}
}

func positiveOption(to *uint64) func([]byte) error {
	return func(v []byte) error {
		n, ok := readCount(v)
		if !ok || n == 0 {
			return errorf("invalid_pos_integer", erlangTerm(v), " is not an integer greater than zero")
		}
		*to = n
		return nil
	}
}

// readCount reads an integer that is not negative. Larger ones than fit are as
// good as the largest that does.
func readCount(v []byte) (uint64, bool) {
	if !isInteger(v) || v[0] == '-' && string(v) != "-0" {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(string(v), "-"), 10, 64)
	if err != nil {
		n = math.MaxUint64
	}
	return n, true
}
