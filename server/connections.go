package server

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mangrove-db/mangrove/api"
	"github.com/mangrove-db/mangrove/config"
)

// gate counts the connections of clients and bounds them: how many there are,
// and how long each may take none of what it is sent. A client that stands
// still must not keep for ever what its answer is read from.
type gate struct {
	limits  func() config.Limits
	open    atomic.Int64
	refused atomic.Uint64
	parting atomic.Int64 // refused ones that are being told
}

// mostParting is how many refused connections are told why at a time. Others
// are just closed.
const mostParting = 64

// partingTime is how long a refused client has to take that in.
const partingTime = time.Second

// connections is what the API tells of them.
func (g *gate) connections() api.Connections {
	return api.Connections{Open: g.open.Load(), Refused: g.refused.Load()}
}

// guard returns a listener whose connections pass the gate. Where they are
// encrypted nothing can be said to those that are refused.
func (g *gate) guard(l net.Listener, encrypted bool) net.Listener {
	return &gatedListener{Listener: l, gate: g, silent: encrypted}
}

type gatedListener struct {
	net.Listener
	gate   *gate
	silent bool
}

func (l *gatedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		limits := l.gate.limits()
		if n := l.gate.open.Add(1); limits.Connections == 0 || n <= int64(limits.Connections) {
			boundUnsent(c)
			return &connection{Conn: c, gate: l.gate, patience: limits.WriteTimeout}, nil
		}
		l.gate.open.Add(-1)
		l.gate.refuse(c, l.silent)
	}
}

// refuse closes a connection, after telling the client why if that can be done.
func (g *gate) refuse(c net.Conn, silent bool) {
	g.refused.Add(1)
	if silent || g.parting.Add(1) > mostParting {
		if !silent {
			g.parting.Add(-1)
		}
		c.Close()
		return
	}
	go func() {
		defer g.parting.Add(-1)
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(partingTime))
		_, err := c.Write(api.TooManyConnections)
		if half, ok := c.(interface{ CloseWrite() error }); ok && err == nil && half.CloseWrite() == nil {
			// What the client has sent meanwhile is taken in: otherwise its
			// system would drop our answer together with the connection.
			_, _ = io.Copy(io.Discard, io.LimitReader(c, 64<<10))
		}
	}()
}

// connection is a client's. Each write has its own deadline.
type connection struct {
	net.Conn
	gate     *gate
	patience time.Duration

	hurried atomic.Int64 // when the deadline of writes was set last, in Unix nanoseconds
	own     atomic.Bool  // somebody else has set one

	closing sync.Once
}

// hurry gives the next write its time. The deadline is not moved for each: at
// least three quarters of the time are left.
func (c *connection) hurry() {
	if c.own.Load() {
		return
	}
	now := time.Now()
	if last := c.hurried.Load(); now.UnixNano()-last < int64(c.patience/4) {
		return
	}
	c.hurried.Store(now.UnixNano())
	_ = c.Conn.SetWriteDeadline(now.Add(c.patience))
}

func (c *connection) Write(b []byte) (int, error) {
	c.hurry()
	return c.Conn.Write(b)
}

// SetWriteDeadline is for those who want another deadline than a write has by
// itself. The zero time gives that back.
func (c *connection) SetWriteDeadline(t time.Time) error {
	c.own.Store(!t.IsZero())
	c.hurried.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *connection) SetDeadline(t time.Time) error {
	return errors.Join(c.Conn.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// fileStride is how much of a file is given to the system at once. Each stride
// has its own deadline.
const fileStride = 1 << 20

// ReadFrom sends a file without reading it into the process, where the system
// can do that.
func (c *connection) ReadFrom(r io.Reader) (sent int64, err error) {
	tcp, ok := c.Conn.(io.ReaderFrom)
	if !ok {
		return io.Copy(writerOnly{c}, r)
	}
	limit := int64(-1)
	if bounded, ok := r.(*io.LimitedReader); ok {
		r, limit = bounded.R, bounded.N
		defer func() { bounded.N -= sent }()
	}
	if _, file := r.(*os.File); !file {
		// It may block, which is no fault of the client's; Write sees to
		// deadlines.
		if limit >= 0 {
			r = io.LimitReader(r, limit)
		}
		return io.Copy(writerOnly{c}, r)
	}
	for limit != 0 {
		step := int64(fileStride)
		if limit >= 0 {
			step = min(step, limit)
		}
		c.hurry()
		n, err := tcp.ReadFrom(&io.LimitedReader{R: r, N: step})
		sent += n
		if limit > 0 {
			limit -= n
		}
		if err != nil || n < step {
			return sent, err
		}
	}
	return sent, nil
}

// writerOnly hides that a connection can do more than be written to.
type writerOnly struct{ io.Writer }

// CloseWrite ends what is sent, as net/http does before it closes a connection
// whose request it has not read to the end.
func (c *connection) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c *connection) Close() error {
	c.closing.Do(func() { c.gate.open.Add(-1) })
	return c.Conn.Close()
}
