package server

import (
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// limitMemory tells the runtime from which size on it should rather collect
// garbage than grow. It is no hard limit: what is needed is had. A GOMEMLIMIT
// in the environment is left in force.
func limitMemory(configured int64, logger *slog.Logger) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	limit := configured
	if limit == 0 {
		allowed, ok := groupMemory(func(name string) ([]byte, error) { return os.ReadFile("/" + name) })
		if !ok {
			return
		}
		limit = allowed / 10 * 9 // the rest is for what is not the runtime's
	}
	debug.SetMemoryLimit(limit)
	logger.Info("memory is limited", "mib", limit>>20)
}

// groupMemory is how many bytes the process's control group allows it, if it
// has a bound. It reads the files of Linux, of both versions; elsewhere there
// are none. Names are without the slash at the beginning.
func groupMemory(read func(name string) ([]byte, error)) (bytes int64, ok bool) {
	text, err := read("proc/self/cgroup")
	if err != nil {
		return 0, false
	}
	bytes = math.MaxInt64
	look := func(name string) {
		value, err := read(name)
		if err != nil {
			return
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(value)), 10, 64); err == nil && n > 0 {
			bytes = min(bytes, n)
		}
	}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		root, file := "", ""
		switch {
		case parts[0] == "0" && parts[1] == "":
			root, file = "sys/fs/cgroup", "memory.max"
		case strings.Contains(","+parts[1]+",", ",memory,"):
			root, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		// Each group within another is bound by both. In a container the path may
		// be that of the host, and the group is the root.
		for dir := filepath.ToSlash(filepath.Clean("/" + parts[2])); ; dir = filepath.ToSlash(filepath.Dir(dir)) {
			look(root + strings.TrimSuffix(dir, "/") + "/" + file)
			if dir == "/" || dir == "." {
				break
			}
		}
	}
	const unbounded = 1 << 60 // how the older version writes it, about
	return bytes, bytes < unbounded
}
