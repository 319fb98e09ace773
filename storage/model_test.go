package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
)

// The model of a database: maps, and revision trees from package revtree.
type model struct {
	docs        map[string]*modelDoc
	seq         Seq
	limit       int
	purgeSeq    uint64
	purges      []Purge
	purgesLimit int
	locals      map[string]Local
	stored      map[address]string // content by address, until it is swept
	dir         string
	store       *Store
	db          *DB
	bodies      int // drawn, so that no two are the same
}

type modelDoc struct {
	tree revtree.Tree
	revs map[revtree.ID]modelRev
	seq  Seq
}

type modelRev struct {
	body        string
	attachments []document.Attachment
}

func newModel() *model {
	m := &model{}
	m.reset()
	return m
}

func (m *model) reset() {
	m.docs, m.seq, m.limit, m.purgeSeq, m.purges, m.purgesLimit = map[string]*modelDoc{}, 0, DefaultRevsLimit, 0, nil, DefaultPurgedInfosLimit
	m.locals, m.stored = map[string]Local{}, map[address]string{}
}

// add is one write: it returns whether it changed anything.
func (m *model) add(id string, path revtree.Path, deleted bool, rev modelRev) bool {
	d := m.docs[id]
	if d == nil {
		d = &modelDoc{revs: map[revtree.ID]modelRev{}}
	}
	if i, ok := d.tree.Find(path.Leaf()); ok && d.tree.Node(i).Stored {
		return m.lengthen(d, i, path)
	}
	size := uint64(len(rev.body))
	for _, a := range rev.attachments {
		size += uint64(a.Length)
	}
	tree, _ := d.tree.Add(path, revtree.Node{Deleted: deleted, Stored: true, Kept: true, Seq: uint64(m.seq) + 1, Size: size}, m.limit)
	if _, ok := tree.Find(path.Leaf()); !ok {
		return false
	}
	m.seq++
	d.tree, d.seq = tree, m.seq
	d.revs[path.Leaf()] = rev
	m.docs[id] = d
	return true
}

// lengthen is a write of a revision that is there: only its history can tell something new.
func (m *model) lengthen(d *modelDoc, i int, path revtree.Path) bool {
	known := d.tree.Path(i).Len()
	if path.Len() <= known || known >= m.limit {
		return false
	}
	tree, _ := d.tree.Add(path, d.tree.Node(i), m.limit)
	if tree.Equal(d.tree) {
		return false
	}
	m.seq++
	d.tree, d.seq = tree, m.seq
	return true
}

func (m *model) leaves(id string, live bool) (ids []revtree.ID) {
	if d := m.docs[id]; d != nil {
		for _, l := range d.tree.Leaves() {
			if !live || !l.Deleted {
				ids = append(ids, l.ID)
			}
		}
	}
	return ids
}

// kept are the revisions whose bodies are on disk.
func (d *modelDoc) kept() (ids []revtree.ID) {
	for i := range d.tree.Len() {
		if n := d.tree.Node(i); n.Kept {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

func (m *model) compact() {
	for _, d := range m.docs {
		bases := d.tree.MergeBases()
		tree := d.tree
		for i := range d.tree.Len() {
			if n := d.tree.Node(i); n.Kept && !d.tree.IsLeaf(i) && !slices.Contains(bases, i) {
				n.Kept = false
				tree = tree.With(i, n)
			}
		}
		d.tree = tree
	}
	used := m.used()
	maps.DeleteFunc(m.stored, func(a address, _ string) bool { return len(used[a]) == 0 })
	if n := len(m.purges) - m.purgesLimit; n > 0 {
		m.purges = m.purges[n:]
	}
}

// used are the documents of which a kept revision has an attachment, by address.
func (m *model) used() map[address]map[string]bool {
	used := map[address]map[string]bool{}
	for id, d := range m.docs {
		for _, rev := range d.kept() {
			for _, a := range d.revs[rev].attachments {
				if used[a.Address] == nil {
					used[a.Address] = map[string]bool{}
				}
				used[a.Address][id] = true
			}
		}
	}
	return used
}

func (m *model) ids() []string { return slices.Sorted(maps.Keys(m.docs)) }

func (d *modelDoc) deleted() bool {
	w, _ := d.tree.Winner()
	return w.Deleted
}

func (m *model) live() (ids []string) {
	for _, id := range m.ids() {
		if !m.docs[id].deleted() {
			ids = append(ids, id)
		}
	}
	return ids
}

var hotIDs = []string{"a", "b", "b\x00", "ba", "\u00e4", "_design/x", strings.Repeat("long", 200)}

func drawID(t *rapid.T) string {
	if rapid.Bool().Draw(t, "hot") {
		return rapid.SampledFrom(hotIDs).Draw(t, "id")
	}
	return fmt.Sprintf("n%02d", rapid.IntRange(0, 60).Draw(t, "n"))
}

func (m *model) drawBody(t *rapid.T) string {
	m.bodies++
	switch rapid.IntRange(0, 5).Draw(t, "body") {
	case 0:
		return "{}"
	case 1: // compressed
		return fmt.Sprintf(`{"n":%d,"text":"%s"}`, m.bodies, strings.Repeat("mangrove", 50))
	case 2: // too large to be inline
		r := rand.New(rand.NewPCG(1, uint64(m.bodies)))
		text := make([]byte, 9000)
		for i := range text {
			text[i] = byte('a' + r.IntN(26))
		}
		return fmt.Sprintf(`{"text":"%s"}`, text)
	}
	return fmt.Sprintf(`{"n":%d}`, m.bodies)
}

func (m *model) drawContent(t *rapid.T, name string) document.Attachment {
	text := fmt.Sprintf("content %d", rapid.IntRange(0, 5).Draw(t, "content"))
	if rapid.IntRange(0, 3).Draw(t, "large") == 0 {
		text = strings.Repeat(text, smallContent/len(text)+1)
	}
	var c Coding
	if rapid.Bool().Draw(t, "gzip") {
		c.Gzip = 6
	}
	a, err := m.db.StoreAttachment(context.Background(), strings.NewReader(text), c)
	if err != nil {
		t.Fatal(err)
	}
	a.Name, a.ContentType = name, "text/plain"
	m.stored[a.Address] = text
	return a
}

// drawAttachments makes attachments as sent and as they should be stored; missing tells that a stub has no ancestor.
func (m *model) drawAttachments(t *rapid.T, known []document.Attachment, gen int) (sent, want []document.Attachment, missing bool) {
	for _, name := range []string{"x", "y"} {
		switch rapid.IntRange(0, 7).Draw(t, "attachment") {
		case 0:
			a := m.drawContent(t, name)
			sent = append(sent, a)
			a.RevPos = gen
			want = append(want, a)
		case 1, 2, 3:
			i := slices.IndexFunc(known, func(a document.Attachment) bool { return a.Name == name })
			if i < 0 && rapid.IntRange(0, 3).Draw(t, "bogus") > 0 {
				continue
			}
			stub := document.Attachment{Name: name, Stub: true, Length: -1, EncodedLength: -1}
			if i < 0 {
				missing = true
			} else {
				if rapid.Bool().Draw(t, "revpos") {
					stub.RevPos = known[i].RevPos
				}
				want = append(want, known[i])
			}
			sent = append(sent, stub)
		}
	}
	return sent, want, missing
}

// edit draws an edit and applies it to the model when the store's answer has come.
type pendingWrite struct {
	doc    *document.Document
	mode   Mode
	settle func(t *rapid.T, r Result)
}

func (m *model) drawEdit(t *rapid.T, id string) pendingWrite {
	d := m.docs[id]
	doc := &document.Document{ID: id, Body: []byte(m.drawBody(t)), Deleted: rapid.IntRange(0, 4).Draw(t, "deleted") == 0}
	switch live := m.leaves(id, true); {
	case len(live) > 0 && rapid.IntRange(0, 5).Draw(t, "honest") > 0:
		doc.Rev = rapid.SampledFrom(live).Draw(t, "parent")
	case d != nil && rapid.Bool().Draw(t, "some"):
		doc.Rev = d.tree.Node(rapid.IntRange(0, d.tree.Len()-1).Draw(t, "node")).ID
	case rapid.IntRange(0, 9).Draw(t, "bogus") == 0:
		doc.Rev = revtree.ID{Gen: 3, Hash: "nosuch"}
	}
	// What the store should find as the parent.
	parent, refused := doc.Rev, false
	switch {
	case d == nil:
		refused = !doc.Rev.IsZero()
	case doc.Rev.IsZero():
		if refused = !d.deleted() || doc.Deleted; !refused {
			w, _ := d.tree.Winner()
			parent = w.ID
		}
	default:
		// A tombstone beside a live leaf can be gone on from; that of a deleted document cannot be named.
		refused = !slices.Contains(m.leaves(id, d.deleted()), doc.Rev)
	}
	var known []document.Attachment
	if d != nil && !refused {
		if i, ok := d.tree.Find(parent); ok && d.tree.Node(i).Kept {
			known = d.revs[parent].attachments
		}
	}
	sent, want, missing := m.drawAttachments(t, known, parent.Gen+1)
	doc.Attachments = sent
	return pendingWrite{doc, Edit, func(t *rapid.T, r Result) {
		var stub *MissingStubError
		switch {
		case refused:
			if !errors.Is(r.Err, ErrConflict) {
				t.Fatalf("edit of %q: %v, want a conflict", id, r.Err)
			}
		case missing:
			if !errors.As(r.Err, &stub) {
				t.Fatalf("edit of %q: %v, want a missing stub", id, r.Err)
			}
		default:
			if r.Err != nil || r.Rev.Gen != parent.Gen+1 || r.ID != id {
				t.Fatalf("edit of %q on %v: %+v", id, parent, r)
			}
			path := revtree.Path{Start: r.Rev.Gen, Hashes: []string{r.Rev.Hash}}
			if !parent.IsZero() {
				path.Hashes = append(path.Hashes, parent.Hash)
			}
			m.add(id, path, doc.Deleted, modelRev{string(doc.Body), want})
		}
	}}
}

func (m *model) drawReplicated(t *rapid.T, id string) pendingWrite {
	d := m.docs[id]
	var path revtree.Path
	if d != nil && rapid.IntRange(0, 4).Draw(t, "grafted") > 0 {
		path = d.tree.Path(rapid.IntRange(0, d.tree.Len()-1).Draw(t, "base"))
	}
	for range rapid.IntRange(0, 4).Draw(t, "new") {
		path.Start++
		hash := fmt.Sprintf("h%d", rapid.IntRange(0, 4).Draw(t, "hash"))
		path.Hashes = append([]string{hash}, path.Hashes...)
	}
	if path.Len() == 0 {
		path = revtree.Path{Start: 1, Hashes: []string{"h0"}}
	}
	if rapid.IntRange(0, 4).Draw(t, "truncated") == 0 {
		path = path.Newest(rapid.IntRange(1, path.Len()).Draw(t, "length"))
	}
	doc := &document.Document{
		ID: id, Body: []byte(m.drawBody(t)), Rev: path.Leaf(), Revisions: path,
		Deleted: rapid.IntRange(0, 4).Draw(t, "deleted") == 0,
	}
	if path.Len() == 1 && rapid.Bool().Draw(t, "bare") {
		doc.Revisions = revtree.Path{}
	}
	// Attachments are inline only: with others in the same bulk, what stubs find is not known yet. Stubs of
	// replicated documents have a test of their own.
	sent, _, _ := m.drawAttachments(t, nil, path.Start)
	sent = slices.DeleteFunc(sent, func(a document.Attachment) bool { return a.Stub })
	for i := range sent {
		sent[i].RevPos = path.Start
	}
	doc.Attachments = sent
	return pendingWrite{doc, Replicate, func(t *rapid.T, r Result) {
		if r.Err != nil || r.Rev != path.Leaf() {
			t.Fatalf("replicated %q %v: %+v", id, path.Leaf(), r)
		}
		m.add(id, path, doc.Deleted, modelRev{string(doc.Body), sent})
	}}
}

func (m *model) apply(t *rapid.T, writes ...pendingWrite) {
	w := Write{Mode: writes[0].mode}
	for _, p := range writes {
		w.Docs = append(w.Docs, p.doc)
	}
	results, err := m.db.Apply(context.Background(), w)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range writes {
		p.settle(t, results[i])
	}
}

func (m *model) bulk(t *rapid.T) {
	mode := rapid.SampledFrom([]Mode{Edit, Replicate}).Draw(t, "mode")
	ids := rapid.SliceOfNDistinct(rapid.Custom(drawID), 1, 30, rapid.ID).Draw(t, "ids")
	var writes []pendingWrite
	for _, id := range ids {
		if mode == Edit {
			writes = append(writes, m.drawEdit(t, id))
		} else {
			writes = append(writes, m.drawReplicated(t, id))
		}
	}
	m.apply(t, writes...)
}

func (m *model) purge(t *rapid.T) {
	var ps []Purge
	for _, id := range rapid.SliceOfNDistinct(rapid.Custom(drawID), 1, 3, rapid.ID).Draw(t, "ids") {
		p := Purge{ID: id, Revs: []revtree.ID{{Gen: 1, Hash: "nosuch"}}}
		if d := m.docs[id]; d != nil {
			for i := range d.tree.Len() {
				if rapid.IntRange(0, 2).Draw(t, "chosen") == 0 {
					p.Revs = append(p.Revs, d.tree.Node(i).ID)
				}
			}
		}
		ps = append(ps, p)
	}
	got, err := m.db.Purge(context.Background(), ps)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range ps {
		var want []revtree.ID
		if d := m.docs[p.ID]; d != nil {
			leaves := m.leaves(p.ID, false)
			for _, rev := range p.Revs {
				if slices.Contains(leaves, rev) {
					want = append(want, rev)
				}
			}
			if len(want) > 0 {
				m.seq++
				d.seq = m.seq
				if d.tree, _ = d.tree.Remove(want); d.tree.Len() == 0 {
					delete(m.docs, p.ID)
				}
			}
		}
		if !slices.Equal(got[i], want) {
			t.Fatalf("purge of %q: %v, want %v", p.ID, got[i], want)
		}
		m.purgeSeq++
		m.purges = append(m.purges, Purge{m.purgeSeq, p.ID, p.Revs})
	}
}

func (m *model) reopen(t *rapid.T) {
	epoch := m.store.epoch
	stop := m.store.Close
	if !rapid.Bool().Draw(t, "clean") {
		stop = func() error { return crash(m.store) }
		epoch++
	}
	err := stop()
	if err != nil {
		t.Fatal(err)
	}
	if m.store, err = Open(testOptions(m.dir)); err != nil {
		t.Fatal(err)
	}
	if m.store.epoch != epoch {
		t.Fatalf("epoch %d, want %d", m.store.epoch, epoch)
	}
	if m.db, err = m.store.DB(m.db.Name()); err != nil {
		t.Fatal(err)
	}
}

func (m *model) create(t *rapid.T) {
	var err error
	if m.db, err = m.store.CreateDB(context.Background(), "model", DBOptions{}); err != nil {
		t.Fatal(err)
	}
	m.reset()
}

func (m *model) drop(t *rapid.T) {
	if err := m.store.DeleteDB(context.Background(), "model"); err != nil {
		t.Fatal(err)
	}
}

func (m *model) limits(t *rapid.T) {
	m.limit = rapid.IntRange(1, 6).Draw(t, "limit")
	m.purgesLimit = rapid.IntRange(1, 3).Draw(t, "purges")
	ctx := context.Background()
	if err := errors.Join(m.db.SetRevsLimit(ctx, m.limit), m.db.SetPurgedInfosLimit(ctx, m.purgesLimit)); err != nil {
		t.Fatal(err)
	}
}

func (m *model) local(t *rapid.T) {
	id := "_local/" + rapid.SampledFrom([]string{"a", "b", "b\x00", "c"}).Draw(t, "id")
	ctx := context.Background()
	if rapid.IntRange(0, 2).Draw(t, "delete") == 0 {
		err := m.db.DeleteLocal(ctx, id)
		if _, ok := m.locals[id]; ok && err != nil || !ok && !errors.Is(err, ErrNotFound) {
			t.Fatalf("delete %q: %v", id, err)
		}
		delete(m.locals, id)
		return
	}
	l := Local{ID: id, Rev: m.locals[id].Rev, Body: []byte(m.drawBody(t))}
	rev, err := m.db.PutLocal(ctx, l)
	if err != nil || rev != l.Rev+1 {
		t.Fatalf("put %q: %d, %v", id, rev, err)
	}
	l.Rev = rev
	m.locals[id] = l
}

func (m *model) compactStore(t *rapid.T) {
	ctx := context.Background()
	if err := m.db.compact(ctx); err != nil {
		t.Fatal(err)
	}
	if err := m.db.sweepAttachments(ctx, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	m.compact()
	s, err := m.db.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.state.stale != 0 {
		t.Fatalf("%d bytes are stale after compaction", s.state.stale)
	}
	m.checkAttachments(t, s)
	m.checkPurges(t, s)
}

func TestModel(t *testing.T) {
	m := newModel()
	m.dir = t.TempDir()
	m.store = openStore(t, m.dir)
	defer func() {
		if err := m.store.Close(); err != nil {
			t.Error(err)
		}
	}()
	rapid.Check(t, func(t *rapid.T) {
		m.bodies = 0
		m.create(t)
		defer m.drop(t)
		t.Repeat(map[string]func(*rapid.T){
			"edit":      func(t *rapid.T) { m.apply(t, m.drawEdit(t, drawID(t))) },
			"editAgain": func(t *rapid.T) { m.apply(t, m.drawEdit(t, rapid.SampledFrom(hotIDs[:2]).Draw(t, "id"))) },
			"replicate": func(t *rapid.T) { m.apply(t, m.drawReplicated(t, drawID(t))) },
			"conflict":  func(t *rapid.T) { m.apply(t, m.drawReplicated(t, rapid.SampledFrom(hotIDs[:2]).Draw(t, "id"))) },
			"bulk":      m.bulk,
			"bulkAgain": m.bulk,
			"purge":     m.purge,
			"compact":   m.compactStore,
			"local":     m.local,
			"limits":    m.limits,
			"reopen": func(t *rapid.T) {
				if rapid.IntRange(0, 3).Draw(t, "really") == 0 {
					m.reopen(t)
				}
			},
			"recreate": func(t *rapid.T) {
				if rapid.IntRange(0, 7).Draw(t, "really") == 0 {
					m.drop(t)
					m.create(t)
				}
			},
			"": m.check,
		})
	})
}
