package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/mangrove-db/mangrove/mango"
	"github.com/mangrove-db/mangrove/replicator"
	"github.com/mangrove-db/mangrove/storage"
)

// changesParams are what a request for a feed of changes asks for.
type changesParams struct {
	feedOptions
	since        string
	includeDocs  bool
	conflicts    bool
	attachments  bool
	encodingInfo bool
	seqInterval  int // every how many rows there is a sequence
	inlineRevs   int // bytes that the revisions of a row may have to be sent along with it; 0: none are
	spec         replicator.FilterSpec
	fields       *mango.Fields // of documents; nil: all
}

// Faults in what a request for a feed of changes asks for.
var (
	errFeedKind         = badRequest("Supported `feed` types: normal, continuous, live, longpoll, eventsource")
	errHeartbeat        = badRequest("Invalid heartbeat value. Expecting a positive integer value (in milliseconds).")
	errHeartbeatRange   = badRequest("The heartbeat value should be a positive integer (in milliseconds).")
	errTimeout          = badRequest("Invalid timeout value. Expecting an integer value (in milliseconds).")
	errLimit            = badRequest("Invalid limit value. Expecting an integer value.")
	errStyle            = badRequest("Supported `style` values: main_only, all_docs")
	errInlineRevs       = badRequest("Invalid inline_revs value. Expecting a positive integer value (in bytes).")
	errSeqInterval      = badRequest("invalid_seq_interval")
	errSince            = badRequest("Malformed sequence supplied in 'since' parameter.")
	errChangesBody      = badRequest("Request body must be a JSON object")
	errDocIDs           = badRequest("`doc_ids` filter parameter is not a list of doc ids.")
	errSelectorNoPost   = badRequest("Selector must be specified in POST payload")
	errSelectorNoFields = badRequest("Selector error: fields must be JSON array")
)

// changesBody is the body of a POST. Members of no meaning for the filter are not looked at.
type changesBody struct {
	DocIDs   json.RawMessage `json:"doc_ids"`
	Selector json.RawMessage `json:"selector"`
	Fields   json.RawMessage `json:"fields"`

	text []byte // canonical
}

// changesBody reads the body of a POST, which may be empty. For other methods it returns nil.
func (q *request) changesBody() (*changesBody, error) {
	if q.Method != http.MethodPost {
		return nil, nil
	}
	if err := q.requireJSON(); err != nil {
		return nil, err
	}
	body := &changesBody{}
	if q.ContentLength == 0 {
		return body, nil
	}
	text, err := q.readJSON()
	if err != nil {
		return nil, err
	}
	if text[0] != '{' || json.Unmarshal(text, body) != nil {
		return nil, errChangesBody
	}
	body.text = text
	return body, nil
}

// changesParams reads what is asked for from the query, and of the filter from the body if there can be one.
func (q *request) changesParams(body *changesBody) (*changesParams, error) {
	in := q.feedParams()
	p := &changesParams{
		since:        in["since"],
		includeDocs:  in.flag("include_docs"),
		conflicts:    in.flag("conflicts"),
		attachments:  in.flag("attachments"),
		encodingInfo: in.flag("att_encoding_info"),
	}
	p.descending = in.flag("descending")
	if in["feed"] == "live" {
		in["feed"] = "continuous"
	}
	if err := p.readTimes(in, q.config.ChangesTimeout); err != nil {
		return nil, err
	}
	var ok bool
	if p.kind, ok = in.kind(); !ok {
		return nil, errFeedKind
	}
	if p.limit, ok = in.whole("limit", -1); !ok {
		return nil, errLimit
	}
	if p.seqInterval, ok = in.whole("seq_interval", 1); !ok || p.seqInterval < 1 {
		return nil, errSeqInterval
	}
	if p.inlineRevs, ok = in.whole("inline_revs", 0); !ok || p.inlineRevs < 0 {
		return nil, errInlineRevs
	}
	p.inlineRevs = min(p.inlineRevs, maxInlineRevs)
	switch in["style"] {
	case "", "main_only":
	case "all_docs":
		p.spec.AllLeaves = true
	default:
		return nil, errStyle
	}
	if id, given := in["last-event-id"]; given {
		p.since = id
	}
	// A browser that connects again sends this header, and the address that it was given at first.
	if id := q.Header.Get("Last-Event-ID"); id != "" && in["feed"] == "eventsource" {
		p.since = id
	}
	return p, p.readFilter(in, body)
}

func (p *changesParams) readTimes(in feedParams, most time.Duration) error {
	ms, ok := in.whole("timeout", int(most/time.Millisecond))
	if !ok {
		return errTimeout
	}
	p.timeout = patience(ms, most)
	if in.flag("heartbeat") {
		p.heartbeat = most
		return nil
	}
	if _, given := in["heartbeat"]; !given {
		return nil
	}
	if ms, ok = in.whole("heartbeat", 0); !ok {
		return errHeartbeat
	}
	if ms <= 0 {
		return errHeartbeatRange
	}
	p.heartbeat = patience(ms, most)
	return nil
}

// readFilter reads what the filter is made of. Of a POST it is in the body, else in the query.
func (p *changesParams) readFilter(in feedParams, body *changesBody) error {
	p.spec.Name, p.spec.View = in["filter"], in["view"]
	switch p.spec.Name {
	case "_doc_ids":
		var list []byte
		if body != nil {
			list = body.DocIDs
		} else if text, given := in["doc_ids"]; given {
			var err error
			if list, err = jsonText(text); err != nil {
				return err
			}
		}
		var ok bool
		if p.spec.DocIDs, ok = stringList(list); !ok {
			return errDocIDs
		}
	case "_selector":
		if body == nil {
			return errSelectorNoPost
		}
		p.spec.Selector = body.Selector
		if len(body.Fields) > 0 {
			if body.Fields[0] != '[' {
				return errSelectorNoFields
			}
			var (
				err     error
				refused *mango.Error
			)
			if p.fields, err = mango.ParseFields(body.Fields); errors.As(err, &refused) {
				return badRequest(refused.Reason)
			}
		}
	}
	return nil
}

// stringList reads a JSON list of strings. Anything else, also within it, is refused.
func stringList(text []byte) ([]string, bool) {
	var list []*string
	if len(text) == 0 || text[0] != '[' || json.Unmarshal(text, &list) != nil {
		return nil, false
	}
	out := make([]string, len(list))
	for i, s := range list {
		if s == nil {
			return nil, false
		}
		out[i] = *s
	}
	return out, true
}

// start finds the sequence after which the feed begins.
func (p *changesParams) start(s *storage.Snapshot) (storage.Seq, error) {
	switch {
	case p.descending:
		// From the newest to the oldest, wherever the client has been, as in CouchDB.
		return 0, nil
	case p.since == "now":
		return s.Seq(), nil
	}
	seq, err := s.ParseSeq(p.since)
	if errors.Is(err, storage.ErrBadSeq) {
		return 0, errSince
	}
	return seq, err
}

// filterError finds the words and the status for a filter that there is not.
func filterError(err error) error {
	var e *replicator.FilterError
	if !errors.As(err, &e) {
		return err
	}
	if e.Fault == replicator.FaultMissing {
		return notFound(e.Reason)
	}
	return badRequest(e.Reason)
}
