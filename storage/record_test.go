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
		9: (&header{
			signature: "s", design: "_design/d", reached: reached{1, 2, 3}, torn: []string{"x"}, commits: 8, nextNode: 9, oldNodes: 4,
			spaces: []treeHeader{{1, 2, 3, 1, 2}}, notes: treeHeader{rows: 5},
			build: &buildHeader{reached: reached{4, 5, 6}, pass: 2, runs: []runHeader{{1, 1, 0, []uint64{7, 8}}, {2, 2, 1, []uint64{0, 9}}}},
		}).append(nil),
		10: (&treeNode{1, []treeEntry{{nil, 3, 4, [][]byte{nil}}, {[]byte("abc"), 5, 6, [][]byte{{}}}, {[]byte("abd"), 7, 8, [][]byte{{1}}}}}).append(nil),
		11: packRows(sampleRows()),
		12: newNote(true, []source{{1, []byte("key\x01id\x00\x01"), 4, 0, 5}, {1, []byte("kez\x01id\x00\x01\x00\x00\x02"), 4, 2, 6}}).append(nil),
		13: sampleRun(sampleRows()),
	}
}

func sampleRows() []storedRow {
	return []storedRow{
		{[]byte("key\x01id\x00\x01"), 4, []byte("value")}, {[]byte("key\x01ie\x00\x01"), 4, []byte("values")}, {[]byte("l\x00\x01"), 0, nil},
	}
}

func packRows(rows []storedRow) []byte {
	var p rowPacker
	for i := range rows {
		p.add(&rows[i])
	}
	return p.b
}

func sampleRun(rows []storedRow) []byte {
	var out bytes.Buffer
	w := runWriter{w: &out}
	for i := range rows {
		w.add(&rows[i])
		w.flush()
	}
	return out.Bytes()
}

// unpacked returns rows that were packed, in memory of their own.
func unpacked(b []byte) (rows []storedRow, err error) {
	var p packedRows
	if err := p.unpack(b); err != nil {
		return nil, err
	}
	for i := range p.list {
		rows = append(rows, p.row(i))
	}
	return rows, nil
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
		case 9:
			again(t, b, func(b []byte) (*header, error) {
				h, err := parseHeader(b)
				if err == nil && h.outdated {
					err = ErrCorrupt // it is never written again
				}
				return h, err
			}, func(h *header) []byte { return h.append(nil) })
		case 10:
			again(t, b, func(b []byte) (*treeNode, error) { return parseNode(b, 1, 1) }, func(n *treeNode) []byte { return n.append(nil) })
		case 11:
			again(t, b, unpacked, packRows)
		case 12:
			again(t, b, func(b []byte) (*note, error) { return parseNote(b, "id", 2) }, func(n *note) []byte { return n.append(nil) })
		case 13:
			again(t, b, func(b []byte) (rows []storedRow, err error) {
				r := newRunReader(t.Context(), b)
				for r.next() {
					row := r.stored()
					rows = append(rows, storedRow{bytes.Clone(row.position), row.key, bytes.Clone(row.value)})
				}
				return rows, r.failure()
			}, sampleRun)
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
			case 9:
				if _, err := parseHeader(b); err == nil {
					t.Errorf("an index header cut at %d of %d is accepted", n, len(whole))
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
