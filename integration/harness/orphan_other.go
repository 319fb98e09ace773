//go:build !linux

package harness

import "syscall"

// dieWithParent would make a child end with its parent, which only Linux does.
func dieWithParent() *syscall.SysProcAttr { return nil }
