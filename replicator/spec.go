package replicator

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/document"
)

// Spec says what is to be replicated, and how: the body of POST /_replicate or a document of a _replicator database.
// Fields that are zero were not given. A Spec is not changed once it has been made.
type Spec struct {
	Source, Target           Endpoint
	SourceProxy, TargetProxy string

	Continuous   bool
	CreateTarget bool
	CreateParams CreateParams

	// At most one of these narrows down what is copied.
	ByDocIDs bool
	DocIDs   []string // sorted, each once
	Selector []byte   // canonical JSON text of an object
	Filter   string   // "design/function", "_view" or "_design"
	// Query are the parameters of a filter function.
	Query map[string]string
	// FilterText is the text of the filter function at the source, for the id; see Spec.NeedsFilterText.
	FilterText string

	Since           string // since_seq
	WinningRevsOnly bool

	UseCheckpoints     *bool
	UseBulkGet         *bool
	CheckpointInterval time.Duration
	ConnectionTimeout  time.Duration
	Workers            int // worker_processes
	BatchSize          int // worker_batch_size
	Connections        int // http_connections
	Retries            *int

	// ByUser tells that user_ctx was given, and User and Roles are those in it. Documents without it are an
	// administrator's. Of a request, which speaks for nobody but who sends it, they are the sender's: see By.
	ByUser bool
	User   string
	Roles  []string

	// Cancel asks that the replication be ended; if CancelID is given, the one of that id.
	Cancel   bool
	CancelID string
}

// By returns the Spec as one of a user, whatever its user_ctx says.
func (s *Spec) By(user auth.Principal) *Spec {
	own := *s
	own.ByUser, own.User, own.Roles = true, user.Name, user.Roles
	return &own
}

// SpecError tells what is wrong with a Spec, in CouchDB's words. It never holds a credential.
type SpecError struct{ Reason string }

func (e *SpecError) Error() string { return e.Reason }

func badSpec(reason string) error { return &SpecError{reason} }

// The bounds of what a Spec may ask for: more would help nobody.
const (
	mostWorkers     = 100
	mostBatch       = 10_000
	mostConnections = 1000
	mostRetries     = 100
	longestTime     = 7 * 24 * time.Hour
)

// ParseSpec reads a Spec from a JSON object. Fields that it does not know are ignored. Errors are of type *SpecError.
func ParseSpec(text []byte) (*Spec, error) {
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil || members == nil {
		return nil, badSpec("Request body must be a JSON object")
	}
	p := specParser{members: members}
	s := p.parse()
	if p.err != nil {
		return nil, p.err
	}
	return s, nil
}

// specParser reads members of an object and keeps the first error.
type specParser struct {
	members map[string]json.RawMessage
	err     error
}

func (p *specParser) fail(reason string) {
	if p.err == nil {
		p.err = badSpec(reason)
	}
}

func (p *specParser) parse() *Spec {
	s := &Spec{
		Continuous:         p.flag("continuous"),
		CreateTarget:       p.flag("create_target"),
		WinningRevsOnly:    p.flag("winning_revs_only"),
		Cancel:             p.flag("cancel"),
		UseCheckpoints:     p.optionalFlag("use_checkpoints"),
		UseBulkGet:         p.optionalFlag("use_bulk_get"),
		Workers:            p.number("worker_processes", 1, mostWorkers),
		BatchSize:          p.number("worker_batch_size", 1, mostBatch),
		Connections:        p.number("http_connections", 1, mostConnections),
		ConnectionTimeout:  p.duration("connection_timeout"),
		CheckpointInterval: p.duration("checkpoint_interval"),
		Since:              p.since(),
		CreateParams:       p.createParams(),
	}
	p.user(s)
	if p.has("retries_per_request") {
		n := p.number("retries_per_request", 0, mostRetries)
		s.Retries = &n
	}
	for _, name := range []string{"id", "replication_id", "_local_id"} {
		if p.has(name) {
			s.CancelID = p.text(name, "parameter `"+name+"` must be a string")
		}
	}
	p.filter(s)
	p.proxies(s)
	if s.Cancel && s.CancelID != "" {
		return s // the endpoints do not matter
	}
	s.Source, s.Target = p.endpoint("source"), p.endpoint("target")
	return s
}

// has tells whether a member is there and not null.
func (p *specParser) has(name string) bool {
	v, ok := p.members[name]
	return ok && string(v) != "null"
}

func (p *specParser) optionalFlag(name string) *bool {
	v, ok := p.members[name]
	if !ok {
		return nil
	}
	b := string(v) == "true"
	if !b && string(v) != "false" {
		p.fail("parameter `" + name + "` must be a boolean")
	}
	return &b
}

func (p *specParser) flag(name string) bool {
	b := p.optionalFlag(name)
	return b != nil && *b
}

func (p *specParser) text(name, complaint string) string {
	var s *string
	if json.Unmarshal(p.members[name], &s) != nil || s == nil {
		p.fail(complaint)
		return ""
	}
	return *s
}

// number reads a whole number, which may be written as a string. What is beyond most counts as most.
func (p *specParser) number(name string, least, most int) int {
	if !p.has(name) {
		return 0
	}
	text := strings.Trim(string(p.members[name]), `"`)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < int64(least) {
		p.fail("parameter `" + name + "` must be an integer of at least " + strconv.Itoa(least))
		return 0
	}
	return int(min(n, int64(most)))
}

func (p *specParser) duration(name string) time.Duration {
	return time.Duration(p.number(name, 1, int(longestTime/time.Millisecond))) * time.Millisecond
}

// since reads since_seq: sequences of other servers may be numbers, strings or arrays.
func (p *specParser) since() string {
	if !p.has("since_seq") {
		return ""
	}
	raw := p.members["since_seq"]
	if raw[0] == '"' {
		return p.text("since_seq", "parameter `since_seq` must be a sequence")
	}
	return compact(raw)
}

// compact returns a JSON text in its canonical form.
func compact(raw []byte) string {
	text, err := document.Canonical(raw)
	if err != nil {
		return string(raw) // it has been decoded before
	}
	return string(text)
}

func (p *specParser) createParams() CreateParams {
	const complaint = "parameter `create_target_params` must be a JSON object"
	if !p.has("create_target_params") {
		return CreateParams{}
	}
	var params map[string]json.RawMessage
	if json.Unmarshal(p.members["create_target_params"], &params) != nil {
		p.fail(complaint)
		return CreateParams{}
	}
	// The values may be strings, because they end up in a query.
	inner := specParser{members: params}
	c := CreateParams{Q: inner.number("q", 1, 1<<16), N: inner.number("n", 1, 1<<16)}
	c.Partitioned = strings.Trim(string(params["partitioned"]), `"`) == "true"
	if inner.err != nil {
		p.fail(inner.err.Error())
	}
	return c
}

func (p *specParser) user(s *Spec) {
	if s.ByUser = p.has("user_ctx"); !s.ByUser {
		return
	}
	// Members count by their exact names: Guard has not looked at "Roles".
	var user map[string]json.RawMessage
	bad := json.Unmarshal(p.members["user_ctx"], &user) != nil
	for name, to := range map[string]any{"name": &s.User, "roles": &s.Roles} {
		if text, ok := user[name]; ok && json.Unmarshal(text, to) != nil {
			bad = true
		}
	}
	if bad {
		p.fail("parameter `user_ctx` must be a JSON object")
	}
}

// filter reads what narrows the replication down.
func (p *specParser) filter(s *Spec) {
	given := 0
	for _, name := range []string{"doc_ids", "selector", "filter"} {
		if p.has(name) {
			given++
		}
	}
	if given > 1 {
		p.fail("`doc_ids`,`filter`,`selector` are mutually exclusive")
		return
	}
	if p.has("doc_ids") {
		p.docIDs(s)
	}
	if p.has("selector") {
		raw := p.members["selector"]
		if raw[0] != '{' {
			p.fail("parameter `selector` must be a JSON object")
			return
		}
		s.Selector = []byte(compact(raw))
	}
	if p.has("query_params") {
		p.query(s)
	}
	if !p.has("filter") {
		return
	}
	s.Filter = p.text("filter", "parameter `filter` must be a string")
	design, function, ok := strings.Cut(s.Filter, "/")
	switch {
	case s.Filter == "_view":
		if design, view, ok := strings.Cut(s.Query["view"], "/"); !ok || design == "" || view == "" {
			p.fail("`view` must be of the form `designname/viewname`")
		}
	case s.Filter == "_design":
	case !ok || design == "" || function == "":
		p.fail("Invalid filter. Must match `ddocname/filtername`.")
	}
}

func (p *specParser) docIDs(s *Spec) {
	var ids []*string
	if json.Unmarshal(p.members["doc_ids"], &ids) != nil {
		p.fail("parameter `doc_ids` must be an array")
		return
	}
	s.ByDocIDs, s.DocIDs = true, make([]string, 0, len(ids))
	for _, id := range ids {
		if id == nil {
			p.fail("parameter `doc_ids` must be an array of strings")
			return
		}
		// Clients of old escaped them, because they were put into paths.
		plain, err := url.PathUnescape(*id)
		if err != nil {
			plain = *id
		}
		s.DocIDs = append(s.DocIDs, plain)
	}
	slices.Sort(s.DocIDs)
	s.DocIDs = slices.Compact(s.DocIDs)
}

func (p *specParser) query(s *Spec) {
	var params map[string]json.RawMessage
	if json.Unmarshal(p.members["query_params"], &params) != nil {
		p.fail("parameter `query_params` must be an object")
		return
	}
	s.Query = make(map[string]string, len(params))
	for name, raw := range params {
		if raw[0] != '"' {
			s.Query[name] = compact(raw)
			continue
		}
		var text string
		_ = json.Unmarshal(raw, &text) // a string
		s.Query[name] = text
	}
}

// BadQueryParam returns the name of a parameter for the filter that is not a string, and whether there is one; requests
// may have only strings.
func BadQueryParam(text []byte) (string, bool) {
	var body struct {
		Params map[string]json.RawMessage `json:"query_params"`
	}
	if json.Unmarshal(text, &body) != nil {
		return "", false
	}
	for _, name := range slices.Sorted(maps.Keys(body.Params)) {
		if body.Params[name][0] != '"' {
			return name, true
		}
	}
	return "", false
}
