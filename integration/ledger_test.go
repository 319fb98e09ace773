package integration

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
)

// ledger remembers what writers sent and what the server acknowledged. Each
// document belongs to one writer, so its history is a line.
type ledger struct {
	mu      sync.Mutex
	records map[string]*record
	groups  int // requests acknowledged so far
}

// record is a document as the ledger knows it.
type record struct {
	acked   []version // oldest first
	pending *version  // sent, and not answered yet
	dirty   bool      // changed since it was last read back whole
}

// version is one state of a document. All content follows from the id and the
// numbers in it.
type version struct {
	n       int    // of the body
	att     int    // of the attachment "f"; 0 for none
	deleted bool   // then n and att do not count
	rev     string // "" while it is not known
	group   int    // the acknowledged request that wrote it, counted from 1
	bulk    bool   // the group wrote several documents
}

func newLedger() *ledger { return &ledger{records: map[string]*record{}} }

// sending notes that a request with these versions is about to be sent.
func (l *ledger) sending(versions map[string]version) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, v := range versions {
		r := l.records[id]
		if r == nil {
			r = &record{}
			l.records[id] = r
		}
		r.pending = &v
		r.dirty = true
	}
}

// acknowledged notes that they were written, with these revisions.
func (l *ledger) acknowledged(revs map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.groups++
	for id, rev := range revs {
		r := l.records[id]
		r.pending.rev, r.pending.group, r.pending.bulk = rev, l.groups, len(revs) > 1
		r.acked = append(r.acked, *r.pending)
		r.pending = nil
	}
}

// refused notes that they were not written.
func (l *ledger) refused(ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		l.records[id].pending = nil
	}
}

// last is the newest acknowledged version of a document.
func (l *ledger) last(id string) (version, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.records[id]
	if r == nil || len(r.acked) == 0 {
		return version{}, false
	}
	return r.acked[len(r.acked)-1], true
}

func (l *ledger) ids() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.records))
}

// settle makes what was found after a crash the document's only version: what
// was in flight has either been written or never will be.
func (r *record) settle(found *version) {
	r.pending = nil
	r.acked = r.acked[:0]
	if found != nil {
		r.acked = append(r.acked, *found)
	}
}

// body is the content of a document.
type body struct {
	N   int    `json:"n"`
	Pad string `json:"pad"`
}

// source gives the random numbers that the content n of a document is made of.
func source(what, id string, n int) *rand.Rand {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, what, "/", id)
	return rand.New(rand.NewPCG(h.Sum64(), uint64(n)))
}

func random(rng *rand.Rand, size int) []byte {
	b := make([]byte, 0, size+8)
	for len(b) < size {
		b = binary.LittleEndian.AppendUint64(b, rng.Uint64())
	}
	return b[:size]
}

func bodyOf(id string, n int) body {
	rng := source("body", id, n)
	return body{N: n, Pad: hex.EncodeToString(random(rng, 20+rng.IntN(400)))}
}

// attachmentOf is mostly short; now and then it is long enough for several chunks.
func attachmentOf(id string, n int) []byte {
	rng := source("attachment", id, n)
	size := rng.IntN(20_000)
	if rng.IntN(20) == 0 {
		size = 250_000 + rng.IntN(100_000)
	}
	return random(rng, size)
}

// digestOf is the digest of content that is stored as it is.
func digestOf(content []byte) string {
	sum := md5.Sum(content)
	return "md5-" + base64.StdEncoding.EncodeToString(sum[:])
}
