package storage

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
)

func sampleRecords(t testing.TB) map[byte][]byte {
	t.Helper()
	rev := revtree.ID{Gen: 3, Hash: "0123456789abcdef"}
	body := appendBody(nil, compressBody([]byte(`{"text":"`+strings.Repeat("mangrove", 40)+`"}`)), []document.Attachment{
		{Name: "x", ContentType: "text/plain", RevPos: 2, Length: 10, EncodedLength: 7, Encoding: "gzip", Digest: [16]byte{1}, Address: address{2}},
	})
	tree := revtree.New(revtree.Path{Start: 3, Hashes: []string{rev.Hash, "b", "a"}}, revtree.Node{Stored: true, Kept: true, Seq: 7, Size: 20})
	rec := record{seq: 7, winner: rev, inline: true, branching: true, attached: 7, body: body, tree: tree.AppendBinary(nil)}
	st := state{epoch: 1, seq: 1 << 40, docs: 3, external: 99, revsLimit: 5}
	rng := countedRange{count: 5, end: []byte("n"), greatest: []byte("m\xff")}
	return map[byte][]byte{
		0: rec.append(nil),
		1: appendChange(nil, "id", []revtree.Leaf{{ID: rev}, {ID: revtree.ID{Gen: 1, Hash: "x"}, Deleted: true}}),
		2: body,
		3: st.append(nil),
		4: rng.append(nil),
		5: appendPurge(nil, "id", []revtree.ID{rev}),
		6: attachmentRecord{blob: true, size: 9, staged: 8}.append(nil),
		7: appendEpochs(nil, []epoch{{1, 2}, {3, 4}}),
		8: reported{1, 2, 3}.append(nil),
	}
}

// FuzzRecord reads stored values of every kind: none may panic, and what is accepted must mean the same when it is
// written again.
func FuzzRecord(f *testing.F) {
	for kind, b := range sampleRecords(f) {
		f.Add(kind, b)
	}
	f.Add(byte(2), []byte{bodySnappy, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add(byte(2), []byte{bodyAttachments, 5, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		switch kind {
		case 0:
			again(t, b, parseRecord, func(r record) []byte { return r.append(nil) })
		case 1:
			again(t, b, func(b []byte) (Change, error) { return parseChange(1, b) }, func(c Change) []byte {
				leaves := make([]revtree.Leaf, len(c.Revs))
				for i, rev := range c.Revs {
					leaves[i].ID = rev
				}
				leaves[0].Deleted = c.Deleted
				return appendChange(nil, c.ID, leaves)
			})
		case 2:
			again(t, b, func(b []byte) (document.Document, error) {
				var d document.Document
				if len(b) > 1<<16 {
					return d, ErrCorrupt // a body that unpacks to gigabytes is no fault, but no test either
				}
				_, attachments, err := splitBody(b)
				if err == nil && b[0]&bodySnappy == 0 {
					err = parseBodyInto(&d, b)
				}
				d.Attachments = attachments
				return d, err
			}, func(d document.Document) []byte { return appendBody(nil, compressed{0, d.Body}, d.Attachments) })
		case 3:
			again(t, b, parseState, func(s state) []byte { return s.append(nil) })
		case 4:
			again(t, b, parseCountedRange, func(r countedRange) []byte { return r.append(nil) })
		case 5:
			again(t, b, func(b []byte) (Purge, error) { return parsePurge(1, b) }, func(p Purge) []byte { return appendPurge(nil, p.ID, p.Revs) })
		case 6:
			again(t, b, parseAttachmentRecord, func(r attachmentRecord) []byte { return r.append(nil) })
		case 7:
			again(t, b, func(b []byte) ([]epoch, error) {
				es, err := parseEpochs(b)
				return es[max(0, len(es)-maxEpochs):], err
			}, func(es []epoch) []byte { return appendEpochs(nil, es) })
		case 8:
			again(t, b, parseReported, func(r reported) []byte { return r.append(nil) })
		}
	})
}

func again[T any](t *testing.T, b []byte, parse func([]byte) (T, error), write func(T) []byte) {
	t.Helper()
	first, err := parse(b)
	if err != nil {
		return
	}
	second, err := parse(write(first))
	if err != nil || !bytes.Equal(write(first), write(second)) {
		t.Fatalf("%x is %+v, and written again %+v, %v", b, first, second, err)
	}
}

// TestTruncatedRecords cuts every kind of value at every place.
func TestTruncatedRecords(t *testing.T) {
	for kind, whole := range sampleRecords(t) {
		for n := range whole {
			b := whole[:n]
			switch kind {
			case 0:
				_, _ = parseRecord(b)
			case 1:
				_, _ = parseChange(1, b)
			case 2:
				if err := parseBodyInto(&document.Document{}, b); err == nil {
					t.Errorf("a body cut at %d of %d is accepted", n, len(whole))
				}
			case 3:
				if _, err := parseState(b); err == nil {
					t.Errorf("a state cut at %d of %d is accepted", n, len(whole))
				}
			}
		}
	}
}

// TestBodyMemory reads one document after the other into the same memory, while the engine writes over its own.
func TestBodyMemory(t *testing.T) {
	var d document.Document
	engine := make([]byte, 0, 4096)
	for i, text := range []string{`{"short":1}`, `{"long":"` + strings.Repeat("abc", 100) + `"}`, `{}`, `{"other":"` + strings.Repeat("xyz", 200) + `"}`, `{"last":true}`} {
		engine = appendBody(engine[:0], compressBody([]byte(text)), nil)
		if err := parseBodyInto(&d, engine); err != nil {
			t.Fatal(err)
		}
		clear(engine)
		if string(d.Body) != text {
			t.Errorf("body %d is %q, want %q", i, d.Body, text)
		}
	}
}
