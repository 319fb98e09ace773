package harness

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The recorded answers, played back by a server that knows only the
// transcript, must satisfy it; and with one thing changed in each answer, they
// must not.

const corpus = "../testdata/conformance"

// damage is what a player does to each answer.
type damage int

const (
	faithful damage = iota
	otherStatus
	otherHeader
	otherBody
)

// player answers a replay's requests in the transcript's order.
type player struct {
	t      *testing.T
	replay *replay
	damage damage
	rng    *rand.Rand

	mu      sync.Mutex
	setup   int // requests still to come before the first step
	next    int
	damaged map[int]bool // steps, counted from 1
}

func (p *player) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		p.t.Errorf("request body: %v", err)
	}
	if p.setup > 0 || p.next == len(p.replay.transcript.Steps) {
		p.setup--
		w.WriteHeader(http.StatusCreated)
		return
	}
	step := p.replay.transcript.Steps[p.next]
	p.next++
	p.checkRequest(step.Request, r, body)
	p.answer(w, step, p.next)
}

func (p *player) checkRequest(want Message, got *http.Request, body []byte) {
	names := p.replay.names
	if got.Method != want.Method || got.RequestURI != names.expand(want.Path) {
		p.t.Errorf("step %d: request %s %q, want %s %q", p.next, got.Method, got.RequestURI, want.Method, names.expand(want.Path))
	}
	var content []byte
	switch {
	case want.JSON != nil:
		content = names.expandJSON(onOneLine(want.JSON))
	case want.Text != nil:
		content = []byte(names.expand(*want.Text))
	case want.Base64 != nil:
		content, _ = base64.StdEncoding.DecodeString(*want.Base64)
	}
	if !bytes.Equal(content, body) {
		p.t.Errorf("step %d: request body %.100q, want %.100q", p.next, body, content)
	}
	for name, value := range want.Headers {
		if name == "Transfer-Encoding" {
			if !slices.Equal(got.TransferEncoding, []string{value}) {
				p.t.Errorf("step %d: transfer encoding %q", p.next, got.TransferEncoding)
			}
		} else if v := got.Header.Get(name); v != names.expand(value) {
			p.t.Errorf("step %d: header %s: %q, want %q", p.next, name, v, value)
		}
	}
	if _, given := want.Headers["Content-Type"]; !given && want.JSON == nil && got.Header.Get("Content-Type") != "" {
		p.t.Errorf("step %d: unasked Content-Type %q", p.next, got.Header.Get("Content-Type"))
	}
	_, ownAuth := want.Headers["Authorization"]
	_, ownCookie := want.Headers["Cookie"]
	_, _, authorized := got.BasicAuth()
	if !ownAuth && authorized == (want.Anonymous || ownCookie) {
		p.t.Errorf("step %d: authorized %v", p.next, authorized)
	}
}

// answer sends what the expectation allows, damaged if the player does that.
func (p *player) answer(w http.ResponseWriter, s Step, step int) {
	names, e := p.replay.names, s.Response
	header := w.Header()
	header["Content-Type"] = nil // or net/http guesses one
	changed := false
	for _, name := range sortedNames(e.Headers) {
		want := names.expand(e.Headers[name])
		switch {
		case want == absentMark:
			if header[name] = nil; p.damage == otherHeader && name != "Content-Length" {
				header.Set(name, "there")
				changed = true
			}
		case name == "Content-Length" && strings.HasPrefix(want, "<<"): // net/http sets it
		default:
			header.Set(name, example(want))
			if p.damage == otherHeader && want != "<<any>>" && name != "Content-Length" {
				header.Set(name, "\x01")
				changed = true
			}
		}
	}
	body := p.body(e, &changed)
	if len(s.Bind) > 0 && e.None {
		body = []byte(`{"_rev":"1-0","last_seq":1}`)
	}
	status := e.Status
	if p.damage == otherStatus {
		// Another of the same kind, so that a body is allowed or not as before.
		if status++; e.Status == http.StatusNotModified {
			status = 303
		}
		changed = true
	}
	if changed {
		p.damaged[step] = true
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func (p *player) body(e Expectation, changed *bool) []byte {
	names := p.replay.names
	value := func(want any) any {
		want = names.expandValue(want)
		got := materialize(want)
		if p.damage == otherBody {
			got, *changed = damageValue(p.rng, want, got)
		}
		return got
	}
	var body []byte
	switch {
	case e.JSON.Set:
		body = append(marshal(p.t, value(e.JSON.V)), '\n')
	case e.Lines.Set:
		for _, line := range value(e.Lines.V).([]any) {
			body = append(append(body, "\n"...), marshal(p.t, line)...)
		}
		body = append(body, '\n')
	case e.Events.Set:
		body = []byte(": comment\n\nevent: heartbeat\ndata: \n\n")
		for _, ev := range value(e.Events.V).([]any) {
			event, ok := ev.(map[string]any)
			if !ok { // one too many
				event = map[string]any{"data": ev}
			}
			for _, k := range slices.Sorted(maps.Keys(event)) {
				switch v := event[k]; k {
				case "data":
					body = fmt.Appendf(body, "data: %s\n", marshal(p.t, v))
				case "id", "event":
					body = fmt.Appendf(body, "%s: %s\n", k, v)
				default: // a member too many, which the format has no field for
					body = fmt.Appendf(body, "event: %s\n", k)
				}
			}
			body = append(body, '\n')
		}
	case e.Multipart.Set:
		v, _ := materialize(names.expandValue(e.Multipart.V)).(map[string]any)
		if p.damage == otherBody {
			damageMultipart(p.rng, v)
			*changed = true
		}
		body = writeMultipart(p.t, v, "x")
	case e.Text != nil:
		body = p.damageBytes([]byte(names.expand(*e.Text)), changed)
	case e.Base64 != nil:
		b, _ := base64.StdEncoding.DecodeString(*e.Base64)
		body = p.damageBytes(b, changed)
	}
	return body
}

func (p *player) damageBytes(b []byte, changed *bool) []byte {
	if p.damage == otherBody && len(b) > 0 {
		b = slices.Clone(b)
		b[p.rng.IntN(len(b))] ^= 1
		*changed = true
	}
	return b
}

func marshal(t *testing.T, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		t.Error(err)
	}
	return b
}

func writeMultipart(t *testing.T, v map[string]any, boundary string) []byte {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if err := w.SetBoundary(boundary); err != nil {
		t.Error(err)
	}
	parts, _ := v["parts"].([]any)
	for _, e := range parts {
		part, _ := e.(map[string]any)
		header := textproto.MIMEHeader{}
		headers, _ := part["headers"].(map[string]any)
		for k, val := range headers {
			header[k] = []string{strings.Replace(fmt.Sprint(val), "boundary=x", "boundary=x-inner", 1)}
		}
		pw, err := w.CreatePart(header)
		if err != nil {
			t.Error(err)
		}
		if val, ok := part["json"]; ok {
			_, _ = pw.Write(marshal(t, val))
		}
		if val, ok := part["text"].(string); ok {
			_, _ = io.WriteString(pw, val)
		}
		if val, ok := part["base64"].(string); ok {
			raw, _ := base64.StdEncoding.DecodeString(val)
			_, _ = pw.Write(raw)
		}
		if val, ok := part["multipart"].(map[string]any); ok {
			_, _ = pw.Write(writeMultipart(t, val, "x-inner"))
		}
	}
	w.Close()
	return b.Bytes()
}

var examples = map[string]string{
	"any": "x", "string": "s", "number": "7", "bool": "true", "seq": "12-abc",
	"uuid": "0123456789abcdef0123456789abcdef", "rev": "1-0123456789abcdef0123456789abcdef", "date": "on 01:02:03",
}

// example replaces the wildcards in text.
func example(s string) string {
	return anyWildcard.ReplaceAllStringFunc(s, func(w string) string { return examples[w[2:len(w)-2]] })
}

// materialize makes a value that want allows: objects with one member more
// where that is allowed, arrays the other way round.
func materialize(want any) any {
	switch w := want.(type) {
	case string:
		switch w {
		case "<<number>>":
			return json.Number("7.5")
		case "<<bool>>":
			return true
		}
		return example(w)
	case []any:
		out := make([]any, len(w))
		for i := range w {
			out[i] = materialize(w[i])
		}
		return out
	case map[string]any:
		if inner, ok := marked(w, supersetMark); ok {
			out := materialize(inner).(map[string]any)
			out["x-one-more"] = "s"
			return out
		}
		if inner, ok := marked(w, unorderedMark); ok {
			out := materialize(inner).([]any)
			slices.Reverse(out)
			return out
		}
		out := make(map[string]any, len(w))
		for k := range w {
			out[k] = materialize(w[k])
		}
		return out
	}
	return want
}

// damageValue changes one thing in got that want does not leave open, and
// reports whether there was one.
func damageValue(rng *rand.Rand, want, got any) (any, bool) {
	switch w := want.(type) {
	case string:
		if w == "<<any>>" {
			return got, false
		}
	case []any:
		return damageArray(rng, w, got.([]any), false)
	case map[string]any:
		if inner, ok := marked(w, supersetMark); ok {
			return damageObject(rng, inner.(map[string]any), got.(map[string]any), true)
		}
		if inner, ok := marked(w, unorderedMark); ok {
			return damageArray(rng, inner.([]any), got.([]any), true)
		}
		return damageObject(rng, w, got.(map[string]any), false)
	}
	return map[string]any{"damaged": want}, true
}

// damageMultipart changes one thing in the content of one part, or drops one.
func damageMultipart(rng *rand.Rand, v map[string]any) {
	parts := v["parts"].([]any)
	i := rng.IntN(len(parts))
	part := parts[i].(map[string]any)
	if rng.IntN(4) == 0 {
		v["parts"] = slices.Delete(parts, i, i+1)
	} else if inner, ok := part["multipart"].(map[string]any); ok {
		damageMultipart(rng, inner)
	} else if object, ok := part["json"].(map[string]any); ok {
		object["x-one-too-many"] = "s"
	} else {
		delete(part, "base64")
		part["text"] = fmt.Sprint(part["text"], "!")
	}
}

func damageArray(rng *rand.Rand, want, got []any, reversed bool) (any, bool) {
	got = slices.Clone(got)
	if len(got) == 0 || rng.IntN(8) == 0 {
		return append(got, "one too many"), true
	}
	for _, i := range rng.Perm(len(want)) {
		at := i
		if reversed {
			at = len(got) - 1 - i
		}
		if v, ok := damageValue(rng, want[i], got[at]); ok {
			got[at] = v
			return got, true
		}
	}
	return got[1:], true
}

func damageObject(rng *rand.Rand, want, got map[string]any, open bool) (any, bool) {
	got = maps.Clone(got)
	if !open && rng.IntN(8) == 0 {
		got["x-one-too-many"] = "s"
		return got, true
	}
	keys := slices.Sorted(maps.Keys(want))
	for _, i := range rng.Perm(len(keys)) {
		k := keys[i]
		if rng.IntN(8) == 0 {
			delete(got, k)
			return got, true
		}
		if v, ok := damageValue(rng, want[k], got[k]); ok {
			got[k] = v
			return got, true
		}
	}
	if len(keys) == 0 {
		return got, false
	}
	delete(got, keys[0])
	return got, true
}

// play replays the transcript against a player.
func play(t *testing.T, tr *Transcript, d damage, seed uint64) (found []Mismatch, damaged map[int]bool) {
	t.Helper()
	// One attempt at each step: a damaged answer does not get better.
	tr.Steps = slices.Clone(tr.Steps)
	for i := range tr.Steps {
		tr.Steps[i].Retry = nil
	}
	p := &player{t: t, damage: d, rng: rand.New(rand.NewPCG(seed, 0)), damaged: map[int]bool{}}
	srv := httptest.NewServer(p)
	defer srv.Close()
	s := Server{Host: srv.Listener.Addr().String(), User: "a", Password: "b"}
	p.replay = &replay{server: s, transcript: tr, names: newPlaceholders(s, tr.Databases)}
	for _, name := range tr.Databases {
		if !slices.Contains(tr.Uncreated, name) && !p.replay.createsItself(name) {
			p.setup++
		}
	}
	found, err := p.replay.run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if p.next != len(tr.Steps) {
		t.Errorf("%d of %d steps sent", p.next, len(tr.Steps))
	}
	return found, p.damaged
}

func TestPlayback(t *testing.T) {
	modules, err := Modules(corpus)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range modules {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			points := 0
			for _, name := range m.Transcripts {
				tr, err := Load(filepath.Join(corpus, m.Name, name+".json"))
				if err != nil {
					t.Fatal(err)
				}
				found, _ := play(t, tr, faithful, 1)
				for _, f := range found {
					t.Errorf("%s: %v", name, f)
				}
				for d := otherStatus; d <= otherBody; d++ {
					found, damaged := play(t, tr, d, 2)
					points += len(damaged)
					for _, f := range found {
						delete(damaged, f.Step)
					}
					for _, step := range slices.Sorted(maps.Keys(damaged)) {
						t.Errorf("%s: step %d: damage of kind %d went unnoticed", name, step, d)
					}
				}
			}
			if points == 0 {
				t.Error("nothing was damaged")
			}
		})
	}
}
