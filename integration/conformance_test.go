package integration

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/integration/harness"
)

const corpus = "testdata/conformance"

// replayTimeout bounds one transcript.
const replayTimeout = 5 * time.Minute

// conformanceServer is the server that MANGROVE_CONFORMANCE_URL names
// (http://user:password@host:port), else a fresh node.
func conformanceServer(t *testing.T) harness.Server {
	t.Helper()
	if address := os.Getenv("MANGROVE_CONFORMANCE_URL"); address != "" {
		s, err := harness.ParseServer(address)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return harness.Start(t).Server()
}

func modules(t *testing.T) []harness.Module {
	t.Helper()
	m, err := harness.Modules(corpus)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestConformance replays the transcripts recorded from CouchDB. With
// MANGROVE_CONFORMANCE_ALL=1 those that are skipped otherwise are replayed too.
func TestConformance(t *testing.T) {
	server := conformanceServer(t)
	all := os.Getenv("MANGROVE_CONFORMANCE_ALL") == "1"
	for _, m := range modules(t) {
		t.Run(m.Name, func(t *testing.T) {
			if reason, ok := later[m.Name]; ok && !all {
				t.Skipf("not yet: %d transcripts wait for %s", len(m.Transcripts), reason)
			}
			for _, name := range m.Transcripts {
				t.Run(name, func(t *testing.T) {
					if reason, ok := skips[m.Name+"/"+name]; ok && !all {
						t.Skip(reason)
					}
					if !sequential[m.Name] {
						t.Parallel()
					}
					replayTranscript(t, server, m.Name, name)
				})
			}
		})
	}
}

func replayTranscript(t *testing.T, server harness.Server, module, name string) {
	tr, err := harness.Load(filepath.Join(corpus, module, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := contextWithTimeout(t, replayTimeout)
	defer cancel()
	found, err := harness.Replay(ctx, server, tr)
	if len(found) > 0 {
		t.Log(tr.About)
	}
	for _, m := range found {
		t.Error(m)
	}
	if err != nil {
		t.Error(err)
	}
}

// TestSkips checks the tables of what is not replayed: they name only what
// exists, give reasons, and the documentation tells users of each skip.
func TestSkips(t *testing.T) {
	known := map[string]bool{}
	for _, m := range modules(t) {
		known[m.Name] = true
		for _, name := range m.Transcripts {
			known[m.Name+"/"+name] = true
		}
	}
	doc, err := os.ReadFile("../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(skips)) {
		module, _, _ := strings.Cut(name, "/")
		switch {
		case !known[name]:
			t.Errorf("no transcript %q to skip", name)
		case skips[name] == "":
			t.Errorf("no reason for skipping %q", name)
		case later[module] != "":
			t.Errorf("%q is skipped already with its module", name)
		case !strings.Contains(string(doc), name):
			t.Errorf("docs/compatibility.md does not mention %q", name)
		}
	}
	for name, reason := range later {
		if !known[name] || reason == "" {
			t.Errorf("module %q: known %v, reason %q", name, known[name], reason)
		}
	}
	for name := range sequential {
		if !known[name] {
			t.Errorf("no module %q", name)
		}
	}
}
