package integration

import (
	"fmt"
	"os"
	"strings"
)

// peakUntilNow returns the most memory in bytes that a process which runs has had; false where nobody tells.
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
