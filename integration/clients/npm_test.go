package clients

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// oldestNode is the major version of Node.js that the clients need.
const oldestNode = 18

// nodeJS is what a script runs with.
type nodeJS struct {
	program string
	modules string // its folder of packages
}

// errAbsent tells that a program is not on this machine.
var errAbsent = errors.New("not installed")

// findNodeJS is one search, and at most one installation, for all tests.
var findNodeJS = sync.OnceValues(func() (nodeJS, error) {
	node, err := findNode()
	if err != nil {
		return nodeJS{}, err
	}
	modules, err := findModules()
	return nodeJS{node, modules}, err
})

// javaScript returns what scripts run with. Without Node.js the test is
// skipped, on a developer's machine; where CI is set it fails.
func javaScript(t *testing.T) nodeJS {
	t.Helper()
	js, err := findNodeJS()
	if ci, _ := strconv.ParseBool(os.Getenv("CI")); errors.Is(err, errAbsent) && !ci {
		t.Skipf("this test needs Node.js %d or newer with npm: %v", oldestNode, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func findNode() (string, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return "", fmt.Errorf("node: %w", errAbsent)
	}
	version, err := exec.Command(node, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("node --version: %w", err)
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(string(version), "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < oldestNode {
		return "", fmt.Errorf("node is %s: %w", strings.TrimSpace(string(version)), errAbsent)
	}
	return node, nil
}

// findModules returns the installed packages: the node_modules that stands
// here, else one in the user's cache, made when there is none for this lock
// file yet.
func findModules() (string, error) {
	here, err := filepath.Abs("node_modules")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(here); err == nil {
		return here, nil
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", fmt.Errorf("npm: %w", errAbsent)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "mangrove-tests")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}

	sum := sha256.New()
	texts := map[string][]byte{}
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc"} {
		if texts[name], err = os.ReadFile(name); err != nil {
			return "", err
		}
		sum.Write(texts[name])
	}
	final := filepath.Join(cache, fmt.Sprintf("clients-%x", sum.Sum(nil)[:8]))
	modules := filepath.Join(final, "node_modules")
	if _, err := os.Stat(modules); err == nil {
		return modules, nil
	}

	// Installed beside and then renamed, so that what is there is whole, also
	// when two test runs install at once.
	fresh, err := os.MkdirTemp(cache, "installing-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh)
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(fresh, name), text, 0o644); err != nil {
			return "", err
		}
	}
	cmd := exec.Command(npm, "ci", "--no-audit", "--no-fund")
	cmd.Dir = fresh
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, output)
	}
	if err := os.Rename(fresh, final); err != nil {
		if _, other := os.Stat(modules); other != nil {
			return "", err
		}
	}
	return modules, nil
}
