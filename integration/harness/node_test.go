package harness

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// behaviour is the environment variable that turns the test binary into a
// stand-in for a server.
const behaviour = "MANGROVE_HARNESS_STANDIN"

func TestMain(m *testing.M) {
	if how := os.Getenv(behaviour); how != "" {
		os.Exit(standIn(how))
	}
	os.Exit(m.Run())
}

// standIn behaves at its edges as the mangrove binary does.
func standIn(how string) int {
	if how == "refuses" {
		fmt.Fprintln(os.Stderr, "cannot open the data")
		return 3
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if !slices.Equal(os.Args[1:3], []string{"serve", "--data"}) || os.Getenv("COUCHDB_USER") != "admin" {
		log.Error("unexpected", "args", os.Args)
		return 4
	}
	l, err := net.Listen("tcp", os.Args[slices.Index(os.Args, "--listen")+1])
	if err != nil {
		log.Error(err.Error())
		return 5
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	dir := os.Args[3]
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			_ = os.WriteFile(filepath.Join(dir, "kept"), []byte(r.URL.Path), 0o600)
		}
		_, _ = fmt.Fprintf(w, `{"path":%q}`, r.RequestURI)
	})}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 6
	}
	log.Info("some other line", "addr", "nowhere:1")
	log.Info("listening", "scheme", "http", "addr", l.Addr().String())
	go func() { _ = srv.Serve(l) }()
	<-stop
	return 0
}

func standInOptions(how string, more ...Option) []Option {
	return append(more, WithBinary(os.Args[0]), WithEnv(behaviour+"="+how))
}

func TestNode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	n := Start(t, standInOptions("works", WithData(dir), WithListen("localhost:0"), WithConfig("[couchdb]\n"), WithArgs("--memory", "64MiB"))...)
	if n.Data() != dir || !slices.Contains(n.cmd.Args, "--config") || !slices.Contains(n.cmd.Args, "--memory") {
		t.Errorf("started as %q", n.cmd.Args)
	}
	var answer struct{ Path string }
	if err := n.Client().Get(t.Context(), "/a%2Fb//c?x", &answer); err != nil || answer.Path != "/a%2Fb//c?x" {
		t.Errorf("%+v, %v", answer, err)
	}
	if !strings.HasPrefix(n.URL(), "http://127.0.0.1:") || n.PID() <= 0 {
		t.Errorf("URL %s, PID %d", n.URL(), n.PID())
	}
	if rss, ok := n.RSS(); ok && rss < 1<<20 {
		t.Errorf("RSS %d", rss)
	}
	if _, err := n.Client().Do(t.Context(), "PUT", "/x", []byte("y")); err != nil {
		t.Error(err)
	}
	n.Kill()
	if n.Running() {
		t.Error("killed, and still running")
	}
	n.Restart()
	if _, err := os.Stat(filepath.Join(n.Data(), "kept")); err != nil {
		t.Error(err)
	}
	if !strings.Contains(n.Logs(), "some other line") {
		t.Errorf("logs: %s", n.Logs())
	}
	n.Stop()
	if n.Running() {
		t.Error("stopped, and still running")
	}
}

func TestNodeThatDoesNotStart(t *testing.T) {
	_, err := TryStart(t, standInOptions("refuses")...)
	var failed *StartError
	if !errors.As(err, &failed) || failed.Code != 3 || failed.Hung || !strings.Contains(failed.Logs, "cannot open the data") {
		t.Errorf("%v", err)
	}
}
