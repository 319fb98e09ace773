package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	adminUser     = "admin"
	adminPassword = "secret"

	startTimeout   = 60 * time.Second
	stopTimeout    = 60 * time.Second
	requestTimeout = 60 * time.Second
)

// Node is a mangrove server running as a child process. Its methods are for
// one goroutine at a time, but for Server, Client and Logs, which may be
// called from any while the node is neither started nor stopped.
type Node struct {
	t      testing.TB
	dir    string
	listen string
	binary string
	args   []string
	env    []string

	cmd    *exec.Cmd
	exited chan struct{} // closed once cmd has been waited for
	logs   *logBuffer
	server Server
	client *Client
}

// Option changes how a node is started.
type Option func(*Node)

// WithData keeps the node's data in dir instead of a folder of the test's own.
func WithData(dir string) Option { return func(n *Node) { n.dir = dir } }

// WithListen sets the address to listen on; by default 127.0.0.1 and any free port.
func WithListen(addr string) Option { return func(n *Node) { n.listen = addr } }

// WithArgs adds command-line arguments.
func WithArgs(args ...string) Option { return func(n *Node) { n.args = append(n.args, args...) } }

// WithEnv adds environment variables, each as NAME=value.
func WithEnv(env ...string) Option { return func(n *Node) { n.env = append(n.env, env...) } }

// WithConfig writes text, in the INI form that the server reads, to a file of
// the test's own and starts the node with it.
func WithConfig(text string) Option {
	return func(n *Node) {
		file := filepath.Join(n.t.TempDir(), "local.ini")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			n.t.Fatal(err)
		}
		n.args = append(n.args, "--config", file)
	}
}

// WithBinary runs another program in place of the mangrove binary.
func WithBinary(path string) Option { return func(n *Node) { n.binary = path } }

// StartError tells that a node did not become ready.
type StartError struct {
	Hung bool // neither ready nor gone in time; it was killed
	Code int  // exit code, -1 if a signal ended it
	Logs string
}

func (e *StartError) Error() string {
	if e.Hung {
		return fmt.Sprintf("node not ready after %v; it wrote:\n%s", startTimeout, e.Logs)
	}
	return fmt.Sprintf("node ended with exit code %d; it wrote:\n%s", e.Code, e.Logs)
}

// Start starts a node and waits until it answers. The test fails at once if it
// does not. At the end of the test the node is stopped, and its log is shown if
// the test failed.
func Start(t testing.TB, options ...Option) *Node {
	t.Helper()
	n, err := TryStart(t, options...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TryStart is as [Start], but returns the error, a [*StartError] if the process
// ran but did not become ready.
func TryStart(t testing.TB, options ...Option) (*Node, error) {
	t.Helper()
	n := &Node{t: t, listen: "127.0.0.1:0"}
	for _, o := range options {
		o(n)
	}
	if n.dir == "" {
		n.dir = filepath.Join(t.TempDir(), "data")
	}
	if n.binary == "" {
		var err error
		if n.binary, err = Binary(); err != nil {
			return nil, err
		}
	}
	if err := n.launch(); err != nil {
		return nil, err
	}
	t.Cleanup(n.cleanUp)
	return n, nil
}

func (n *Node) cleanUp() {
	if n.running() {
		n.Stop()
	}
	if n.t.Failed() {
		n.t.Logf("log of the node on %s:\n%s", n.dir, n.Logs())
	}
}

func (n *Node) launch() error {
	n.logs = newLogBuffer()
	n.exited = make(chan struct{})
	n.cmd = exec.Command(n.binary, append([]string{"serve", "--data", n.dir, "--listen", n.listen}, n.args...)...)
	n.cmd.Env = append(append(environment(), n.env...), "COUCHDB_USER="+adminUser, "COUCHDB_PASSWORD="+adminPassword)
	n.cmd.Stdout, n.cmd.Stderr = n.logs, n.logs
	n.cmd.SysProcAttr = dieWithParent()
	started := make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan struct{}) {
		runtime.LockOSThread() // the thread that the child ends with must outlive it
		defer runtime.UnlockOSThread()
		defer close(exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the exit code is in cmd.ProcessState
		}
	}(n.cmd, n.exited)
	if err := <-started; err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	select {
	case addr := <-n.logs.listening:
		n.server = Server{Host: addr, User: adminUser, Password: adminPassword}
		n.client = NewClient(n.server, requestTimeout)
	case <-n.exited:
		return n.startError(false)
	case <-ctx.Done():
		return n.giveUp()
	}
	for {
		res, err := n.client.Do(ctx, "GET", "/_up", nil)
		// On a full disk a node serves, but reads alone.
		if err == nil && (res.Status == 200 || bytes.Contains(res.Body, []byte(`"disk_full"`))) {
			return nil
		}
		select {
		case <-n.exited:
			return n.startError(false)
		case <-ctx.Done():
			return n.giveUp()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// environment is that of the tests without the server's own settings, which
// are the test's to choose.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MANGROVE_") })
}

func (n *Node) giveUp() error {
	_ = n.cmd.Process.Signal(syscall.SIGQUIT) // a Go program then writes its stacks
	select {
	case <-n.exited:
	case <-time.After(time.Second):
		_ = n.cmd.Process.Kill()
		<-n.exited
	}
	return n.startError(true)
}

func (n *Node) startError(hung bool) error {
	return &StartError{Hung: hung, Code: n.cmd.ProcessState.ExitCode(), Logs: n.Logs()}
}

func (n *Node) running() bool {
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

// Stop asks the node to stop (SIGTERM) and waits for it. The test fails if its
// exit code is not 0.
func (n *Node) Stop() {
	n.t.Helper()
	n.client.Close()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		n.t.Errorf("stopping the node: %v", err)
	}
	select {
	case <-n.exited:
	case <-time.After(stopTimeout):
		n.t.Errorf("the node still ran %v after SIGTERM: %v", stopTimeout, n.giveUp())
		return
	}
	if code := n.cmd.ProcessState.ExitCode(); code != 0 {
		n.t.Errorf("the node ended with %v instead of exit code 0", n.cmd.ProcessState)
	}
}

// Kill ends the node at once (SIGKILL).
func (n *Node) Kill() {
	n.t.Helper()
	if err := n.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		n.t.Fatalf("killing the node: %v", err)
	}
	<-n.exited
	n.client.Close()
}

// Restart starts the node again after Stop or Kill, with the same data and
// options (so on another port, unless WithListen gave one). The test fails at
// once if the node does not become ready.
func (n *Node) Restart() {
	n.t.Helper()
	if n.running() {
		n.t.Fatal("restarting a node that still runs")
	}
	if err := n.launch(); err != nil {
		n.t.Fatal(err)
	}
}

// Running reports whether the process is there.
func (n *Node) Running() bool { return n.running() }

// Data is the folder of the node's data.
func (n *Node) Data() string { return n.dir }

// Server is the node's address and administrator. It changes with Restart.
func (n *Node) Server() Server { return n.server }

// URL is the node's base address, without a slash at the end.
func (n *Node) URL() string { return n.server.base() }

// Client is a client of the node. It changes with Restart.
func (n *Node) Client() *Client { return n.client }

// PID is the process id.
func (n *Node) PID() int { return n.cmd.Process.Pid }

// Logs returns what the process has written since it was last started, or the
// last of it if that is much.
func (n *Node) Logs() string { return n.logs.String() }

// logBuffer keeps the last of what a process writes and looks out for the line
// that tells the address it listens on.
type logBuffer struct {
	listening chan string // gets one address

	mu    sync.Mutex
	text  []byte
	start int // of the first line not looked at yet
	found bool
}

// maxLogs bounds the text kept; the older half goes when it is reached.
const maxLogs = 1 << 20

var listeningLine = regexp.MustCompile(`msg="?listening"?.* addr="?([^\s"]+)`)

func newLogBuffer() *logBuffer { return &logBuffer{listening: make(chan string, 1)} }

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	for !l.found {
		end := bytes.IndexByte(l.text[l.start:], '\n')
		if end < 0 {
			break
		}
		line := l.text[l.start : l.start+end]
		l.start += end + 1
		if m := listeningLine.FindSubmatch(line); m != nil {
			l.found = true
			l.listening <- string(m[1])
		}
	}
	if l.found && len(l.text) > maxLogs {
		l.text = slices.Clone(l.text[len(l.text)/2:])
	}
	return len(p), nil
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
