// Package uuid makes the identifiers that the server hands out, by the
// algorithms CouchDB's [uuids] configuration names.
package uuid

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"
)

// The algorithms.
const (
	// Random is 128 random bits.
	Random = "random"
	// Sequential is 26 random digits, kept for thousands of ids, and 6 digits
	// that count up in random steps: ids made one after the other are
	// neighbours in an index, yet not to be guessed from one another.
	Sequential = "sequential"
	// UTCRandom is the time in microseconds in 14 digits, and 18 random
	// digits.
	UTCRandom = "utc_random"
	// UTCID is the time as in UTCRandom and a fixed suffix, such as a node's
	// name.
	UTCID = "utc_id"
	// V7 is version 7 of RFC 9562 §5.7, without its dashes.
	V7 = "uuid_v7"
)

// ErrUnknownAlgorithm is returned for a name that is none of the algorithms.
var ErrUnknownAlgorithm = errors.New("unknown uuid algorithm")

const (
	// The sequential algorithm steps by 1 to maxStep, and takes a new prefix
	// once the counter has reached lastCount, before a step could overflow its
	// six digits.
	maxStep   = 0xffd
	lastCount = 0xfff000
)

// Generator makes identifiers. It is safe for concurrent use. Ids of the
// algorithms that contain the time are strictly ascending, even if the clock
// stands still or goes back.
type Generator struct {
	next   func(*Generator) string
	suffix string
	now    func() time.Time // replaced in tests

	mu     sync.Mutex // guards what follows
	last   uint64     // the last time stamp, in the algorithm's own unit
	prefix [13]byte
	count  uint32
}

// New returns a generator of the algorithm named. The suffix is that of UTCID
// and ignored by the others.
func New(algorithm, suffix string) (*Generator, error) {
	g := &Generator{suffix: suffix, now: time.Now}
	switch algorithm {
	case Random:
		g.next = (*Generator).random
	case Sequential:
		g.next = (*Generator).sequential
		g.restart()
	case UTCRandom:
		g.next = (*Generator).utcRandom
	case UTCID:
		g.next = (*Generator).utcID
	case V7:
		g.next = (*Generator).v7
	default:
		return nil, fmt.Errorf("%w: %q", ErrUnknownAlgorithm, algorithm)
	}
	return g, nil
}

// Next returns a new identifier: 32 lower-case hexadecimal digits, or 14 and
// the suffix with UTCID.
func (g *Generator) Next() string { return g.next(g) }

func (g *Generator) random() string {
	var id [16]byte
	rand.Read(id[:]) // never fails, here and below
	return encode(id)
}

func (g *Generator) sequential() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var id [16]byte
	copy(id[:], g.prefix[:])
	id[13], id[14], id[15] = byte(g.count>>16), byte(g.count>>8), byte(g.count)
	if g.count >= lastCount {
		g.restart()
	} else {
		g.count += step()
	}
	return encode(id)
}

// restart takes a new prefix and a new beginning for the counter.
func (g *Generator) restart() {
	rand.Read(g.prefix[:])
	g.count = step()
}

func step() uint32 {
	var b [4]byte
	rand.Read(b[:])
	return 1 + binary.BigEndian.Uint32(b[:])%maxStep
}

func (g *Generator) utcRandom() string {
	var id [16]byte
	rand.Read(id[7:])
	putMicros(id[:7], g.micros())
	return encode(id)
}

func (g *Generator) utcID() string {
	var stamp [7]byte
	putMicros(stamp[:], g.micros())
	return hex.EncodeToString(stamp[:]) + g.suffix
}

// micros returns the time in microseconds since 1970.
func (g *Generator) micros() uint64 { return g.advance(uint64(max(g.now().UnixMicro(), 0))) }

func putMicros(b []byte, micros uint64) {
	var stamp [8]byte
	binary.BigEndian.PutUint64(stamp[:], micros)
	copy(b, stamp[1:])
}

// v7 puts the time in milliseconds into the first 48 bits and, after the
// version, 1/4096ths of a millisecond into the next 12 (RFC 9562 §6.2, method
// 3), counting these up where ids are made faster than that.
func (g *Generator) v7() string {
	now := g.now()
	fraction := uint64(now.Nanosecond()%int(time.Millisecond)) << 12 / uint64(time.Millisecond)
	stamp := g.advance(uint64(max(now.UnixMilli(), 0))<<12 | fraction)
	var id [16]byte
	rand.Read(id[8:])
	binary.BigEndian.PutUint64(id[:8], stamp>>12<<16|7<<12|stamp&0xfff)
	id[8] = id[8]&0x3f | 0x80
	return encode(id)
}

// advance returns the time stamp given, or the one after the last if that is
// later.
func (g *Generator) advance(stamp uint64) uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = max(stamp, g.last+1)
	return g.last
}

func encode(id [16]byte) string {
	var text [32]byte
	hex.Encode(text[:], id[:])
	return string(text[:])
}
