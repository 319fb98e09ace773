package storage

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Seq is the number of an update of a database: 1 for the first, with gaps where documents were updated again.
type Seq uint64

// incarnation tells a database from others of its name that were before it.
type incarnation [8]byte

func (i incarnation) String() string { return hex.EncodeToString(i[:]) }

// An epoch is a stretch of a database's history without a crash of the node. A node that loses its power may lose
// updates that it had not acknowledged but that a reader of _changes has seen; their numbers are given out again.
// So the first update after an unclean stop starts an epoch, and a sequence of an older epoch counts only up to the
// next one's start.
type epoch struct {
	Number uint64 // of the store, counting unclean starts
	After  Seq    // the update sequence at its start
}

const maxEpochs = 64

func appendEpochs(b []byte, es []epoch) []byte {
	// A reader that stayed away for longer than maxEpochs crashes starts at the oldest one that is remembered.
	if len(es) > maxEpochs {
		es = es[len(es)-maxEpochs:]
	}
	for _, e := range es {
		b = binary.AppendUvarint(b, e.Number)
		b = binary.AppendUvarint(b, uint64(e.After))
	}
	return b
}

func parseEpochs(b []byte) ([]epoch, error) {
	c := cursor{b: b}
	var es []epoch
	for len(c.b) > 0 {
		es = append(es, epoch{c.uvarint(), Seq(c.uvarint())})
	}
	if c.bad {
		return nil, corrupt("epochs", nil)
	}
	return es, nil
}

// ErrBadSeq says that a text is not an update sequence.
var ErrBadSeq = errors.New("malformed sequence")

// FormatSeq writes a sequence for clients: "N-" and an opaque part that names the database's incarnation and the
// epoch of the snapshot.
func (s *Snapshot) FormatSeq(seq Seq) string { return string(s.AppendSeq(nil, seq)) }

// AppendSeq is FormatSeq onto b.
func (s *Snapshot) AppendSeq(b []byte, seq Seq) []byte {
	b = strconv.AppendUint(b, uint64(seq), 10)
	b = append(b, '-')
	b = hex.AppendEncode(b, s.db.incarnation[:])
	return strconv.AppendUint(b, s.state.epoch, 36)
}

// ParseSeq reads a sequence as clients send it back: a number, "N-opaque", either of these as a JSON string, or
// [N, "opaque"]. A sequence of another incarnation of the database means the beginning. One that runs ahead of what
// its epoch left behind is cut to that. ErrBadSeq is returned for anything else.
func (s *Snapshot) ParseSeq(text string) (Seq, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return 0, nil
	}
	if text[0] == '"' {
		if err := json.Unmarshal([]byte(text), &text); err != nil {
			return 0, fmt.Errorf("%w: %q", ErrBadSeq, text)
		}
	}
	number, opaque, _ := strings.Cut(text, "-")
	if strings.HasPrefix(text, "[") {
		var pair []json.RawMessage
		if err := json.Unmarshal([]byte(text), &pair); err != nil || len(pair) != 2 {
			return 0, fmt.Errorf("%w: %q", ErrBadSeq, text)
		}
		number, opaque = string(pair[0]), string(bytes.Trim(pair[1], `"`))
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%w: %q", ErrBadSeq, text)
	}
	seq := min(Seq(n), s.state.seq)
	if opaque == "" || n == 0 {
		return seq, nil
	}
	const id = 2 * len(incarnation{})
	if len(opaque) <= id || opaque[:id] != s.db.incarnation.String() {
		return 0, nil
	}
	in, err := strconv.ParseUint(opaque[id:], 36, 64)
	if err != nil || in > s.db.store.epoch {
		return 0, nil
	}
	return min(seq, s.endOf(in)), nil
}

// endOf returns the last sequence that survived the epoch.
func (s *Snapshot) endOf(number uint64) Seq {
	if number >= s.state.epoch {
		// This epoch, or a later one of which nothing has survived: then what there is now was there at its start.
		return s.state.seq
	}
	value, err := s.kv.Get(s.db.keys.meta(metaEpochs))
	if err != nil {
		return 0
	}
	es, err := parseEpochs(value)
	if err != nil || len(es) == maxEpochs && number < es[0].Number {
		return 0
	}
	for _, e := range es {
		if e.Number > number {
			return e.After
		}
	}
	return s.state.seq
}
