package harness

import "syscall"

// dieWithParent makes a child end with the thread that starts it, so that a
// test binary which is ended by force leaves no servers behind.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
