package integration

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// peakMemory returns the most memory in bytes that a process has had which has ended; false where nobody tells.
func peakMemory(p *os.ProcessState) (int64, bool) {
	usage, ok := p.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, false
	}
	return usage.Maxrss << 10, true
}

// peakUntilNow is peakMemory of a process that runs.
func peakUntilNow(pid int) (int64, bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	_, err = fmt.Sscan(rest, &kib)
	return kib << 10, err == nil
}
