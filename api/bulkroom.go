package api

import (
	"context"
	"io"
	"runtime"

	"github.com/mangrove-db/mangrove/internal/spool"
)

const (
	// bulkBudget is the size in bytes up to which the documents of one request are kept in memory while the rest of
	// its body is checked. Beyond it they are read twice.
	bulkBudget = 16 << 20
	// bulkSpoolMemory is how much of a body that is read twice stays off the disk; and what has no room in memory is
	// read twice from there on.
	bulkSpoolMemory = 1 << 20
	// bulksInMemory is how many requests may have more than that in memory at once. Nobody waits for others, who may
	// be slow in sending: those that come later go by way of the disk.
	bulksInMemory = 16
)

// bulkRoom bounds what large bodies take up, of all requests together.
type bulkRoom struct {
	memory chan struct{}
	// loads are those that are being written after they were too large for memory. Each has two batches under way, and
	// more at a time are no faster.
	loads chan struct{}
}

func newBulkRoom() bulkRoom {
	return bulkRoom{memory: make(chan struct{}, bulksInMemory), loads: make(chan struct{}, max(4, 2*runtime.GOMAXPROCS(0)))}
}

// load waits until a large body may be written, which ends with the function that it returns.
func (r *bulkRoom) load(ctx context.Context) (end func(), err error) {
	select {
	case r.loads <- struct{}{}:
		return func() { <-r.loads }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// bulkBody is a body of many things, to be read from its Reader.
type bulkBody struct {
	io.Reader
	// copy is what is read, to be read again; nil if the body is so short that what is made of it can be kept instead.
	copy *spool.Spool
	// budget is how many bytes of what is made of it may be kept, if there is a copy.
	budget int64
	room   *bulkRoom // has a place for it; nil: it needs none
}

// newBulkBody returns the body to be read.
func (q *request) newBulkBody() *bulkBody {
	_, compressed := q.Body.(*inflater)
	known := !compressed && q.ContentLength >= 0
	if known && q.ContentLength <= bulkSpoolMemory {
		return &bulkBody{Reader: q.Body}
	}
	b := &bulkBody{budget: bulkSpoolMemory}
	select {
	case q.api.bulks.memory <- struct{}{}:
		b.budget, b.room = bulkBudget, &q.api.bulks
		if known && q.ContentLength <= bulkBudget {
			b.Reader = q.Body
			return b
		}
	default:
	}
	b.copy = spool.New(q.limits().SpoolDir, bulkSpoolMemory)
	b.Reader = io.TeeReader(q.Body, b.copy)
	return b
}

// full tells whether so many bytes are too many to be kept.
func (b *bulkBody) full(size int64) bool { return b.copy != nil && size > b.budget }

// again returns the body from its beginning.
func (b *bulkBody) again() io.Reader { return io.NewSectionReader(b.copy, 0, b.copy.Size()) }

func (b *bulkBody) close() {
	if b.copy != nil {
		_ = b.copy.Close()
	}
	if b.room != nil {
		<-b.room.memory
		b.room = nil
	}
}
