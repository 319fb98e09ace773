//go:build !linux

package integration

import "os"

// peakMemory returns the most memory in bytes that a process has had which has ended; false where nobody tells.
func peakMemory(*os.ProcessState) (int64, bool) { return 0, false }

// peakUntilNow is peakMemory of a process that runs.
func peakUntilNow(int) (int64, bool) { return 0, false }
