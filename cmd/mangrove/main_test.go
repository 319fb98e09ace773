package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/mangrove-db/mangrove/config"
)

// TestMain lets the test binary stand in for the command: with this variable
// set it is mangrove.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_AS_MANGROVE") != "" {
		main()
	}
	os.Exit(m.Run())
}

// command is mangrove with these arguments and variables, and no others of its own.
func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Dir = t.TempDir()
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MANGROVE_") && !strings.HasPrefix(v, "COUCHDB_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(append(cmd.Env, "TEST_AS_MANGROVE=1"), env...)
	return cmd
}

// output runs a command to its end.
func output(t *testing.T, cmd *exec.Cmd) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func TestCommandLine(t *testing.T) {
	tests := []struct {
		name   string
		env    []string
		args   []string
		code   int
		stdout string // a part of it
		stderr string
	}{
		{"version", nil, []string{"version"}, 0, "mangrove dev go", ""},
		{"version flag", nil, []string{"--version"}, 0, "mangrove version dev", ""},
		{"help", nil, []string{"serve", "--help"}, 0, "MANGROVE_LISTEN", ""},
		{"completion", nil, []string{"completion", "bash"}, 0, "complete", ""},
		{"no command", nil, nil, exitUsage, "", "a command is needed"},
		{"unknown command", nil, []string{"fly"}, exitUsage, "", `unknown command "fly"`},
		{"unknown flag", nil, []string{"serve", "--fly"}, exitUsage, "", "unknown flag: --fly\nRun \"mangrove serve --help\""},
		{"argument", nil, []string{"serve", "x"}, exitUsage, "", "unknown command \"x\""},
		{"bad listen", nil, []string{"serve", "--listen", "a:b:c"}, exitFailure, "", "must be host:port"},
		{"bad variable", []string{"MANGROVE_LOG_LEVEL=loud"}, []string{"serve"}, exitFailure, "", "[log] level = loud: must be one of"},
		{"missing file", nil, []string{"serve", "--config", "none.ini"}, exitFailure, "", "none.ini"},
		{"half an administrator", []string{"COUCHDB_USER=me"}, []string{"serve", "--listen", "0"}, exitFailure, "", "needs a name and a password"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := output(t, command(t, tt.env, tt.args...))
			if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) {
				t.Errorf("code %d, want %d\nstdout: %s\nstderr: %s", code, tt.code, stdout, stderr)
			}
			if tt.code == exitFailure && strings.Count(stderr[strings.Index(stderr, "mangrove: "):], "\n") != 1 {
				t.Errorf("more than one line: %s", stderr)
			}
		})
	}
}

func TestServeAndStop(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be signalled")
	}
	data := t.TempDir()
	quick := []byte("[chttpd_auth]\niterations = 10\n")
	if err := os.WriteFile(filepath.Join(data, "mangrove.ini"), quick, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		cmd := command(t, nil, "serve", "--data", data, "--listen", "127.0.0.1:0")
		var stdout bytes.Buffer
		cmd.Stdout = &stdout
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			log.WriteString(lines.Text() + "\n")
			if strings.Contains(lines.Text(), "msg=listening addr=127.0.0.1:") {
				if err := cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err != nil || !strings.Contains(log.String(), "msg=stopped") {
			t.Errorf("%v: %v\n%s", signal, err, log.String())
		}
		if first := signal == os.Interrupt; strings.Contains(stdout.String(), "password:") != first {
			t.Errorf("%v: the password is shown at the first start alone: %s", signal, stdout.String())
		}
	}
}

func TestLogLevelChanges(t *testing.T) {
	cfg, err := config.Load(config.Options{Data: t.TempDir(), LogLevel: "error", Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	log := newLogger(&out, cfg)
	log.Info("before")
	if _, err := cfg.Set("log", "level", "info", false); err != nil {
		t.Fatal(err)
	}
	log.Info("after")
	if s := out.String(); strings.Contains(s, "before") || !strings.Contains(s, "after") {
		t.Error(s)
	}
}
