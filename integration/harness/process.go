package harness

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// RSS is the process's resident memory in bytes; false where /proc does not tell.
func (n *Node) RSS() (int64, bool) { return n.memory("VmRSS:") }

// OwnMemory is the part of RSS in bytes that is no page of a file: what the
// process has allocated.
func (n *Node) OwnMemory() (int64, bool) { return n.memory("RssAnon:") }

func (n *Node) memory(name string) (int64, bool) {
	for line := range strings.Lines(n.proc("status")) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err == nil
		}
	}
	return 0, false
}

// proc reads a file of the process in /proc; nothing where there is none.
func (n *Node) proc(name string) string {
	if runtime.GOOS != "linux" {
		return ""
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", n.PID(), name))
	if err != nil {
		return ""
	}
	return string(text)
}

// cpu is the processor time that the process has used, in ticks of a 100th of
// a second; false where /proc does not tell.
func (n *Node) cpu() (ticks int64, ok bool) {
	// The name of the program, in parentheses, may hold anything.
	_, rest, _ := strings.Cut(n.proc("stat"), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, false
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, false
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return user + system, err == nil
}

// Settle waits until the node has nothing more to do by itself, as merging
// what was written, at most a minute. Where /proc does not tell it returns at
// once.
func (n *Node) Settle(tb testing.TB) {
	tb.Helper()
	const interval, idle = 300 * time.Millisecond, 2 // ticks in an interval
	last, ok := n.cpu()
	for range int(time.Minute / interval) {
		if !ok {
			return
		}
		time.Sleep(interval)
		now, known := n.cpu()
		if known && now-last <= idle {
			return
		}
		last, ok = now, known
	}
	tb.Log("the node is still busy after a minute")
}
