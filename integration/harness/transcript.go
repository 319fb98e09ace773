// Package harness runs a Mangrove server as a child process and replays
// recorded HTTP transcripts against it, or against any other server that
// speaks CouchDB's HTTP API.
//
// The transcripts' format is described in testdata/conformance/FORMAT.md of
// the integration package. A transcript is loaded by [Load], replayed by
// [Replay], and what differs comes back as a list of [Mismatch]es. [Start]
// gives a [Node] of one's own to replay against.
package harness

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Transcript is one recorded conversation with a server.
type Transcript struct {
	Name  string `json:"name"`
	About string `json:"about"`
	// Databases are the placeholder names ("db", "db2", …) for which a replay
	// chooses fresh database names.
	Databases []string `json:"databases"`
	// Uncreated are those of Databases that a replay must not create.
	Uncreated []string `json:"uncreated"`
	// CreateQuery maps a placeholder name to the query, with its question
	// mark, of the request that creates the database.
	CreateQuery map[string]string `json:"create_query"`
	Steps       []Step            `json:"steps"`
}

// Step is one request and the answer that it got when it was recorded.
type Step struct {
	Note     string       `json:"note"`
	Request  Message      `json:"request"`
	Response Expectation  `json:"response"`
	Bind     bindings     `json:"bind"`
	Retry    *json.Number `json:"retry"`
}

// bindings maps a name to the place in an answer its value is taken from: a
// JSON pointer, or "header:Name".
type bindings map[string]string

// Message is a request as recorded, placeholders and all.
type Message struct {
	Method    string            `json:"method"`
	Path      string            `json:"path"`
	Headers   map[string]string `json:"headers"`
	Anonymous bool              `json:"anonymous"`
	JSON      json.RawMessage   `json:"json"`
	Text      *string           `json:"text"`
	Base64    *string           `json:"base64"`
}

// Expectation is a recorded answer. At most one of the body fields is set.
type Expectation struct {
	Status    int               `json:"status"`
	Headers   map[string]string `json:"headers"`
	JSON      Value             `json:"json"`
	Lines     Value             `json:"lines"`
	Events    Value             `json:"events"`
	Multipart Value             `json:"multipart"`
	Text      *string           `json:"text"`
	Base64    *string           `json:"base64"`
	None      bool              `json:"none"`
}

// Value is a JSON value decoded with its numbers kept as text. Set tells an
// expected null from no expectation.
type Value struct {
	V   any
	Set bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *Value) UnmarshalJSON(b []byte) (err error) {
	v.V, err = decodeJSON(b)
	v.Set = err == nil
	return err
}

// decodeJSON decodes exactly one JSON value; numbers become json.Number.
func decodeJSON(b []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more after the JSON value")
	}
	return v, nil
}

// Load reads the transcript in file. A member that the format does not know
// is an error: a transcript must not be replayed by half.
func Load(file string) (*Transcript, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var t Transcript
	if err := dec.Decode(&t); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for i, s := range t.Steps {
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("%s: step %d: %w", file, i+1, err)
		}
	}
	return &t, nil
}

// check refuses a step that cannot be replayed or whose answer says nothing
// about a body.
func (s Step) check() error {
	r := s.Request
	if r.Method == "" || !strings.HasPrefix(r.Path, "/") {
		return fmt.Errorf("request %q %q", r.Method, r.Path)
	}
	if n := count(r.JSON != nil, r.Text != nil, r.Base64 != nil); n > 1 {
		return fmt.Errorf("request has %d bodies", n)
	}
	if r.Base64 != nil {
		if _, err := base64.StdEncoding.DecodeString(*r.Base64); err != nil {
			return err
		}
	}
	e := s.Response
	if n := count(e.JSON.Set, e.Lines.Set, e.Events.Set, e.Multipart.Set, e.Text != nil, e.Base64 != nil, e.None); n != 1 {
		return fmt.Errorf("response has %d bodies", n)
	}
	if e.Base64 != nil {
		if _, err := base64.StdEncoding.DecodeString(*e.Base64); err != nil {
			return err
		}
	}
	if s.Retry != nil {
		if _, err := s.Retry.Float64(); err != nil {
			return fmt.Errorf("retry: %w", err)
		}
	}
	return nil
}

func count(conds ...bool) (n int) {
	for _, c := range conds {
		if c {
			n++
		}
	}
	return n
}

// Modules lists the folders of transcripts under dir, in alphabetical order,
// each with its transcripts' names (without ".json"). The folder of vectors
// holds no transcripts and is left out.
func Modules(dir string) (modules []Module, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.json"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		folder := filepath.Dir(f)
		name := filepath.Base(folder)
		if name == "vectors" {
			continue
		}
		if n := len(modules); n == 0 || modules[n-1].Name != name {
			modules = append(modules, Module{Name: name})
		}
		m := &modules[len(modules)-1]
		m.Transcripts = append(m.Transcripts, strings.TrimSuffix(filepath.Base(f), ".json"))
	}
	if len(modules) == 0 {
		return nil, fmt.Errorf("no transcripts under %s", dir)
	}
	return modules, nil
}

// Module is a folder of transcripts about one part of the API.
type Module struct {
	Name        string
	Transcripts []string
}
