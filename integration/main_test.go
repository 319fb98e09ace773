// Package integration tests Mangrove end to end, through real sockets: a
// mangrove binary runs as a child process, and tests speak HTTP to it.
package integration

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/integration/harness"
)

func TestMain(m *testing.M) {
	if os.Getenv(memoryServer) != "" {
		serveMemory()
		return
	}
	code := m.Run()
	if err := harness.RemoveBinary(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// setting reads a number from the environment; without one, short is for
// -short and usual for other runs.
func setting(t *testing.T, name string, short, usual int) int {
	t.Helper()
	if text := os.Getenv(name); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	if testing.Short() {
		return short
	}
	return usual
}

func contextWithTimeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeoutCause(t.Context(), d, fmt.Errorf("not done within %v", d))
}
