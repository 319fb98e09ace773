//go:build !linux

package server

import "net"

// boundUnsent does nothing: only Linux lets every write wait.
func boundUnsent(net.Conn) {}
