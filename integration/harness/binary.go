package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// command is the package of the binary under test.
const command = "github.com/mangrove-db/mangrove/cmd/mangrove"

var built struct {
	sync.Mutex
	dir  string
	path string
	err  error
}

// Binary returns the path of the mangrove binary: the one that the environment
// variable MANGROVE_BINARY names, else one built on the first call in this
// process. [RemoveBinary] removes it again.
func Binary() (string, error) {
	if path := os.Getenv("MANGROVE_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	built.Lock()
	defer built.Unlock()
	if built.path == "" && built.err == nil {
		built.err = build()
	}
	return built.path, built.err
}

func build() error {
	dir, err := os.MkdirTemp("", "mangrove-binary-")
	if err != nil {
		return err
	}
	built.dir = dir
	path := filepath.Join(dir, "mangrove")
	cmd := exec.Command("go", "build", "-o", path, command)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	built.path = path
	return nil
}

// RemoveBinary removes what [Binary] built. Call it from TestMain, after the tests.
func RemoveBinary() error {
	built.Lock()
	defer built.Unlock()
	if built.dir == "" {
		return nil
	}
	defer func() { built.dir, built.path = "", "" }()
	return os.RemoveAll(built.dir)
}
