package metamorphic

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/config"
	"github.com/mangrove-db/mangrove/integration/harness"
	"github.com/mangrove-db/mangrove/server"
)

const (
	nodesPerCluster = 2
	// requestTimeout bounds a request of the tests; replications have their own.
	requestTimeout = 30 * time.Second

	user, password = "admin", "secret"
)

// Cluster is the nodes that scenarios run on, one scenario at a time.
type Cluster struct {
	sites []*site
	plain Syncer // does what is asked of the plain replicator
	kills atomic.Int64
	used  int // scenarios so far, for the names of databases

	// How many replications were tried, how many failed, and how many were hit by a fault.
	syncs, failures, hits atomic.Int64
}

// site is a node and the proxy before it.
type site struct {
	proxy *Proxy
	// mu is held for reading by whoever talks to the node directly, so that none of its requests is under way when
	// the node is killed: the model knows only writes that were answered.
	mu     sync.RWMutex
	child  *harness.Node   // nil for a node of this process
	server harness.Server  // of a node of this process
	client *harness.Client // of a node of this process
}

// NewCluster starts nodes that end with the test: in this process, or children that can be killed.
func NewCluster(t testing.TB, children bool) *Cluster {
	t.Helper()
	plain := newPlainSyncer()
	t.Cleanup(plain.Close)
	c := &Cluster{plain: plain}
	for range nodesPerCluster {
		s := &site{}
		if children {
			s.child = harness.Start(t, harness.WithConfig("[chttpd_auth]\niterations = 1\n"))
		} else {
			s.server = startNode(t)
			s.client = harness.NewClient(s.server, requestTimeout)
			t.Cleanup(s.client.Close)
		}
		var err error
		if s.proxy, err = NewProxy(s.url); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.proxy.Close(); err != nil {
				t.Error(err)
			}
		})
		c.sites = append(c.sites, s)
	}
	return c
}

// kill ends a node at once and starts it again.
func (c *Cluster) kill(node int) {
	s := c.sites[node]
	if s.child == nil {
		return
	}
	c.kills.Add(1) // first: from here on requests fail
	s.mu.Lock()
	defer s.mu.Unlock()
	s.child.Kill()
	s.proxy.transport.CloseIdleConnections()
	s.child.Restart()
}

// url is the node's own address. A proxy asks for it, so it must not wait for s.mu: a node that is being killed has
// no address anyway.
func (s *site) url() string {
	if s.child == nil {
		return "http://" + s.server.Host
	}
	if !s.mu.TryRLock() {
		return "http://127.0.0.1:1"
	}
	defer s.mu.RUnlock()
	return s.child.URL()
}

// do sends a request to the node.
func (s *site) do(ctx context.Context, method, path string, body any, headers ...string) (*harness.Response, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.direct().Do(ctx, method, path, body, headers...)
}

// direct is a client of the node as it runs now.
func (s *site) direct() *harness.Client {
	if s.child != nil {
		return s.child.Client()
	}
	return s.client
}

// address is the database's URL through the proxy, with credentials.
func (s *site) address(database string) string {
	return fmt.Sprintf("http://%s:%s@%s/%s", user, password, s.proxy.Addr(), database)
}

// startNode runs a node in this process until the test ends.
func startNode(t testing.TB) harness.Server {
	t.Helper()
	cfg, err := config.Load(config.Options{Data: t.TempDir(), Listen: "127.0.0.1:0", Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.Set("chttpd_auth", "iterations", "1", false); err != nil {
		t.Fatal(err)
	}
	found := make(chan string, 1)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		done <- server.Run(ctx, server.Options{
			Config: cfg, Version: "test", Logger: slog.New(addresses{found: found}),
			Admin: &auth.Account{Name: user, Password: password},
		})
	}()
	t.Cleanup(cancel)
	select {
	case addr := <-found:
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return harness.Server{Host: addr, User: user, Password: password}
	case err := <-done:
		t.Fatalf("the node did not start: %v", err)
		return harness.Server{}
	}
}

// addresses is a log handler that passes on where a node listens.
type addresses struct{ found chan string }

func (a addresses) Enabled(context.Context, slog.Level) bool { return true }

func (a addresses) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "listening" {
		r.Attrs(func(at slog.Attr) bool {
			if at.Key == "addr" {
				a.found <- at.Value.String()
			}
			return true
		})
	}
	return nil
}

func (a addresses) WithAttrs([]slog.Attr) slog.Handler { return a }

func (a addresses) WithGroup(string) slog.Handler { return a }
