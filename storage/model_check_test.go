package storage

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage/kv"
)

func sameAttachments(a, b []document.Attachment) bool {
	key := func(a document.Attachment) string {
		return fmt.Sprint(a.Name, a.ContentType, a.RevPos, a.Digest, a.Length, a.EncodedLength, a.Encoding, a.Address)
	}
	return slices.EqualFunc(a, b, func(a, b document.Attachment) bool { return key(a) == key(b) })
}

// check compares all that a snapshot shows with the model.
func (m *model) check(t *rapid.T) {
	ctx := context.Background()
	s, err := m.db.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var want, got state
	want = state{seq: m.seq, purgeSeq: m.purgeSeq}
	var active uint64
	ids := m.ids()
	n := 0
	for row, err := range s.Documents(ctx, Range{WithDeleted: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if n >= len(ids) || row.ID != ids[n] {
			t.Fatalf("document %d is %q, want one of %q", n, row.ID, ids)
		}
		n++
		d := m.docs[row.ID]
		m.checkDocument(t, s, row, d)
		if d.deleted() {
			want.deleted++
		} else {
			want.docs++
		}
		for _, l := range d.tree.Leaves() {
			want.external += l.Size
		}
		active += uint64(row.size+len(row.ID)) + row.rec.attached
	}
	if n != len(ids) {
		t.Fatalf("%d documents, want %d", n, len(ids))
	}
	want.active = active
	got = s.state
	got.epoch, got.stale, got.revsLimit, got.purgedInfosLimit = 0, 0, 0, 0
	if got != want {
		t.Fatalf("state %+v, want %+v", got, want)
	}
	m.checkChanges(t, s)
	m.checkCounts(t, s)
	m.checkRange(t, s)
	m.checkBodies(t, s)
	i := 0
	locals := slices.SortedFunc(maps.Values(m.locals), func(a, b Local) int { return cmp.Compare(a.ID, b.ID) })
	for l, err := range s.Locals(ctx, Range{}) {
		if err != nil || i >= len(locals) || l.ID != locals[i].ID || l.Rev != locals[i].Rev || !bytes.Equal(l.Body, locals[i].Body) {
			t.Fatalf("local %d: %+v, %v, want %+v", i, l, err, locals)
		}
		i++
	}
	if i != len(locals) {
		t.Fatalf("%d local documents, want %d", i, len(locals))
	}
	if found := problems(t, m.db.store); len(found) > 0 {
		t.Fatalf("%v", found)
	}
}

func (m *model) checkDocument(t *rapid.T, s *Snapshot, row *Row, d *modelDoc) {
	w, _ := d.tree.Winner()
	if row.Rev != w.ID || row.Deleted != w.Deleted || row.Seq != d.seq || row.Branching() != (len(d.tree.Leaves()) > 1) {
		t.Fatalf("%q: %+v, want winner %v at %d", row.ID, row, w, d.seq)
	}
	tree, err := row.Tree()
	if err != nil || !tree.Equal(d.tree) {
		t.Fatalf("%q: tree %v, %v, want %v", row.ID, tree, err, d.tree)
	}
	doc, err := row.Document()
	if !w.Kept {
		if !errors.Is(err, ErrNotFound) {
			t.Fatalf("%q: winner without a body: %v", row.ID, err)
		}
	} else if err != nil || string(doc.Body) != d.revs[w.ID].body || !sameAttachments(doc.Attachments, d.revs[w.ID].attachments) {
		t.Fatalf("%q: winner %+v, %v, want %.100v", row.ID, doc, err, d.revs[w.ID])
	}
	var attached uint64
	for i := range tree.Len() {
		node := tree.Node(i)
		doc, err := row.Revision(tree, i)
		if !node.Kept {
			if !errors.Is(err, ErrNotFound) {
				t.Fatalf("%q %v: %v, want it missing", row.ID, node.ID, err)
			}
			continue
		}
		want := d.revs[node.ID]
		if err != nil || string(doc.Body) != want.body || !sameAttachments(doc.Attachments, want.attachments) || doc.Deleted != node.Deleted {
			t.Fatalf("%q %v: %+v, %v, want %+v", row.ID, node.ID, doc, err, want)
		}
		for i := range doc.Attachments {
			a := &doc.Attachments[i]
			if text, err := content(s, a); err != nil || text != m.stored[a.Address] {
				t.Fatalf("%q %v: attachment %q: %.20q, %v, want %.20q", row.ID, node.ID, a.Name, text, err, m.stored[a.Address])
			}
			if tree.IsLeaf(nodeIndex(tree, node.ID)) {
				attached += uint64(a.EncodedLength)
			}
		}
	}
	if row.rec.attached != attached {
		t.Fatalf("%q: %d bytes are attached, want %d, in %v", row.ID, row.rec.attached, attached, tree)
	}
}

func nodeIndex(t revtree.Tree, id revtree.ID) int {
	i, _ := t.Find(id)
	return i
}

func (m *model) checkChanges(t *rapid.T, s *Snapshot) {
	ids := m.ids()
	slices.SortFunc(ids, func(a, b string) int { return cmp.Compare(m.docs[a].seq, m.docs[b].seq) })
	since := Seq(rapid.Uint64Range(0, uint64(m.seq)+1).Draw(t, "since"))
	first := slices.IndexFunc(ids, func(id string) bool { return m.docs[id].seq > since })
	if first < 0 {
		first = len(ids)
	}
	want := ids[first:]
	if pending, err := s.Pending(since); err != nil || pending != uint64(len(want)) {
		t.Fatalf("%d are pending after %d, %v, want %d of %d", pending, since, err, len(want), len(ids))
	}
	descending := rapid.Bool().Draw(t, "descending")
	if descending {
		slices.Reverse(want)
	}
	i := 0
	for c, err := range s.Changes(context.Background(), ChangesOptions{Since: since, Descending: descending}) {
		if err != nil || i >= len(want) || c.ID != want[i] {
			t.Fatalf("change %d: %+v, %v, want one of %q", i, c, err, want)
		}
		d := m.docs[c.ID]
		if c.Seq != d.seq || c.Deleted != d.deleted() || !slices.Equal(c.Revs, m.leaves(c.ID, false)) {
			t.Fatalf("change %+v, want %d %v", c, d.seq, d.tree.Leaves())
		}
		i++
	}
	if i != len(want) {
		t.Fatalf("%d changes, want %d", i, len(want))
	}
}

func (m *model) checkCounts(t *rapid.T, s *Snapshot) {
	live := m.live()
	id := drawID(t)
	if rapid.IntRange(0, 9).Draw(t, "edge") == 0 {
		id = rapid.SampledFrom([]string{"", "\xff", "n", "n2"}).Draw(t, "bound")
	}
	before, found := slices.BinarySearch(live, id)
	if offset, err := s.Offset(id); err != nil || offset != uint64(before) {
		t.Fatalf("offset of %q: %d, %v, want %d in %q", id, offset, err, before, live)
	}
	n := rapid.IntRange(0, len(live)+1).Draw(t, "nth")
	hasStart, descending := rapid.Bool().Draw(t, "hasStart"), rapid.Bool().Draw(t, "descending")
	at := n
	switch {
	case hasStart && descending:
		if at = before - 1 - n; found {
			at++
		}
	case hasStart:
		at = before + n
	case descending:
		at = len(live) - 1 - n
	}
	want := ""
	if at >= 0 && at < len(live) {
		want = live[at]
	}
	got, ok, err := s.NthFrom(id, hasStart, descending, uint64(n))
	if err != nil || got != want || ok != (at >= 0 && at < len(live)) {
		t.Fatalf("%d from %q (%v), descending %v: %q %v %v, want %q of %q", n, id, hasStart, descending, got, ok, err, want, live)
	}
}

func (m *model) checkRange(t *rapid.T, s *Snapshot) {
	bound := rapid.SampledFrom([]string{"", "a", "b", "ba", "b\x00", "n", "n2", "n25", "\xff"})
	r := Range{
		Start: bound.Draw(t, "start"), End: bound.Draw(t, "end"), Prefix: bound.Draw(t, "prefix"),
		HasEnd: rapid.Bool().Draw(t, "hasEnd"), ExclusiveEnd: rapid.Bool().Draw(t, "exclusive"), Descending: rapid.Bool().Draw(t, "descending"),
	}
	var want, got []string
	for _, id := range m.live() {
		if r.contains(id) {
			want = append(want, id)
		}
	}
	if r.Descending {
		slices.Reverse(want)
	}
	for row, err := range s.Documents(context.Background(), r) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, row.ID)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%+v: %q, want %q", r, got, want)
	}
}

// contains tells by hand whether an id lies in a range.
func (r Range) contains(id string) bool {
	start := cmp.Compare(id, r.Start)
	end := cmp.Compare(id, r.End)
	if r.Descending {
		start, end = -start, -end
	}
	return strings.HasPrefix(id, r.Prefix) && (r.Start == "" || start >= 0) && (!r.HasEnd || end < 0 || end == 0 && !r.ExclusiveEnd)
}

// checkBodies looks for the bodies of revisions that are kept, and for those that should be gone; likewise for the
// references to attachments.
func (m *model) checkBodies(t *rapid.T, s *Snapshot) {
	bodies := map[string]bool{}
	for id, d := range m.docs {
		row, err := s.Lookup(id)
		if err != nil {
			t.Fatal(err)
		}
		for _, rev := range d.kept() {
			if !row.rec.inline || rev != row.Rev {
				bodies[string(m.db.keys.body(id, rev))] = true
			}
		}
	}
	m.compareKeys(t, spaceBody, bodies)
	references := map[string]bool{}
	for a, ids := range m.used() {
		for id := range ids {
			references[string(m.db.keys.reference(a, id))] = true
		}
	}
	m.compareKeys(t, spaceReference, references)
}

// checkAttachments looks, after sweeping, for the content that is used and for what should be gone.
func (m *model) checkAttachments(t *rapid.T, s *Snapshot) {
	records, contents, blobs := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for a := range m.used() {
		records[string(m.db.keys.attachment(a))] = true
		rec, err := readAttachmentRecord(s.kv, m.db.keys, a)
		if err != nil {
			t.Fatal(err)
		}
		if rec.blob {
			blobs[blobName(a)] = true
		} else {
			contents[string(m.db.keys.content(a))] = true
		}
	}
	m.compareKeys(t, spaceAttachment, records)
	m.compareKeys(t, spaceContent, contents)
	for info, err := range m.store.engine.Blobs().List(m.db.ID) {
		if err != nil || !blobs[info.Name] {
			t.Fatalf("blob %s, %v", info.Name, err)
		}
		delete(blobs, info.Name)
	}
	if len(blobs) > 0 {
		t.Fatalf("blobs %v are gone", blobs)
	}
}

func (m *model) checkPurges(t *rapid.T, s *Snapshot) {
	i := 0
	for p, err := range s.Purges(context.Background(), 0) {
		if err != nil || i >= len(m.purges) || p.Seq != m.purges[i].Seq || p.ID != m.purges[i].ID || !slices.Equal(p.Revs, m.purges[i].Revs) {
			t.Fatalf("purge %d: %+v, %v, want %+v", i, p, err, m.purges)
		}
		i++
	}
	if i != len(m.purges) {
		t.Fatalf("%d purges, want %d", i, len(m.purges))
	}
}

func (m *model) compareKeys(t *rapid.T, space byte, want map[string]bool) {
	keys, err := m.store.someKeys(kv.Range{Prefix: m.db.keys.space(space, 0)})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if !want[string(k)] {
			t.Fatalf("space %q has %q, which should be gone", space, k)
		}
		delete(want, string(k))
	}
	if len(want) > 0 {
		t.Fatalf("space %q lacks %q", space, slices.Collect(maps.Keys(want)))
	}
}
