package server

import (
	"net"

	"golang.org/x/sys/unix"
)

// mostUnsent is how much the system takes of an answer before it has been sent,
// in bytes. What is on its way to the client does not count, so that fast and
// distant ones are not slowed down. Without it a client that takes nothing is
// given megabytes, which have to be read and kept for it.
const mostUnsent = 128 << 10

// boundUnsent tells the system so. If it does not know how, nothing is lost.
func boundUnsent(c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, mostUnsent)
	})
}
