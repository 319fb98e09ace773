// Package clients tests Mangrove with the clients that applications use:
// PouchDB and nano from npm, and kivik for Go. Nothing here knows how a node
// works inside: what these libraries need is what must be there.
//
// The JavaScript tests are files of Node.js's own test runner. They find the
// node's address in MANGROVE_URL, and at MANGROVE_CONTROL a small server that
// stops and starts it.
package clients

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// scriptTimeout bounds the run of one file.
const scriptTimeout = 2 * time.Minute

func TestMain(m *testing.M) {
	code := m.Run()
	if err := harness.RemoveBinary(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func TestPouchDB(t *testing.T) { runScript(t, "pouchdb.test.js") }

func TestPouchDBLive(t *testing.T) { runScript(t, "pouchdb-live.test.js") }

func TestNano(t *testing.T) { runScript(t, "nano.test.js") }

// runScript runs a file of tests against a node of its own.
func runScript(t *testing.T, file string) {
	t.Parallel()
	js := javaScript(t)
	n := harness.Start(t, harness.WithListen(freeAddress(t)))
	c := newControl(t)

	ctx, cancel := context.WithTimeout(t.Context(), scriptTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, js.program, "--test-reporter=spec", file)
	s := n.Server()
	cmd.Env = append(
		os.Environ(),
		"NODE_PATH="+js.modules,
		fmt.Sprintf("MANGROVE_URL=http://%s:%s@%s", s.User, s.Password, s.Host),
		"MANGROVE_CONTROL="+c.url,
	)
	cmd.WaitDelay = 5 * time.Second

	type ending struct {
		output []byte
		err    error
	}
	ended := make(chan ending, 1)
	go func() {
		output, err := cmd.CombinedOutput()
		ended <- ending{output, err}
	}()
	for {
		select {
		case order := <-c.orders:
			order.carryOut(n)
		case e := <-ended:
			t.Logf("%s\n%s", cmd, e.output)
			if e.err != nil {
				t.Errorf("%s: %v", file, e.err)
			}
			return
		}
	}
}

// freeAddress is an address that nobody listens on, for a node that comes back
// where its clients look for it.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// control takes orders from a script to stop and start its node. They are
// carried out by the test's own goroutine, which alone may use the node.
type control struct {
	url    string
	orders chan order
}

type order struct {
	name string
	done chan struct{}
}

func newControl(t *testing.T) *control {
	t.Helper()
	c := &control{orders: make(chan order)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{order}", func(w http.ResponseWriter, r *http.Request) {
		o := order{r.PathValue("order"), make(chan struct{})}
		select {
		case c.orders <- o:
			<-o.done
		case <-r.Context().Done():
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func (o order) carryOut(n *harness.Node) {
	defer close(o.done)
	switch o.name {
	case "stop":
		n.Stop()
	case "kill":
		n.Kill()
	case "start":
		if !n.Running() {
			n.Restart()
		}
	}
}
