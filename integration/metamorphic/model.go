package metamorphic

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// revision is one that was written.
type revision struct {
	parent  string // empty: none
	known   bool   // it was written itself, not only named as an ancestor
	deleted bool
	body    string // JSON without the _ members, names in order
	files   map[string]file
}

// file is an attachment.
type file struct {
	sum    string // of the content, hexadecimal
	length int
	kind   string // content type
	revpos int
}

// model is all that was ever written, and what each database must have of it.
type model struct {
	revs   map[string]map[string]*revision // by document and revision
	must   []revSet                        // by database
	purged revSet                          // removed by some purge
	limit  int                             // the lowest that there was
}

// revSet is a set of revisions of documents, with the reason why each is in it.
type revSet map[revKey]string

type revKey struct{ doc, rev string }

func (s revSet) add(doc, rev, why string) { s[revKey{doc, rev}] = why }

func newModel(databases int) *model {
	m := &model{revs: map[string]map[string]*revision{}, purged: revSet{}, limit: defaultLimit}
	for range databases {
		m.must = append(m.must, revSet{})
	}
	return m
}

// defaultLimit is the revisions limit of a new database.
const defaultLimit = 1000

// name notes a revision that is known by name and parent alone. It is an error if it had another parent.
func (m *model) name(doc, rev, parent string) (*revision, error) {
	if m.revs[doc] == nil {
		m.revs[doc] = map[string]*revision{}
	}
	r := m.revs[doc][rev]
	if r == nil {
		r = &revision{parent: parent}
		m.revs[doc][rev] = r
	}
	if r.parent != parent {
		return nil, fmt.Errorf("%s %s has parent %q, and was written with parent %q before", doc, rev, parent, r.parent)
	}
	return r, nil
}

// wrote notes a revision that a database has acknowledged.
func (m *model) wrote(database int, doc, rev string, w revision) error {
	r, err := m.name(doc, rev, w.parent)
	if err != nil {
		return err
	}
	w.known = true
	if r.known && (r.deleted != w.deleted || r.body != w.body || !maps.Equal(r.files, w.files)) {
		return fmt.Errorf("%s %s was written as %+v and as %+v", doc, rev, *r, w)
	}
	*r = w
	for rev != "" { // as a path, all of it is there
		m.must[database].add(doc, rev, letter(database)+" has acknowledged it")
		rev = m.revs[doc][rev].parent
	}
	return nil
}

// safe tells which revisions of a document no database can have stemmed away: those without a descendant that is
// limit or more steps from them.
func (m *model) safe(doc string) map[string]bool {
	distance := map[string]int{}
	for rev := range m.revs[doc] {
		for d, at := 0, rev; at != ""; d, at = d+1, m.revs[doc][at].parent {
			distance[at] = max(distance[at], d)
		}
	}
	safe := map[string]bool{}
	for rev, d := range distance {
		safe[rev] = d < m.limit
	}
	return safe
}

// bodyOf makes the members of a document from a number.
func bodyOf(number int) map[string]any {
	body := map[string]any{"n": number, "größe": "\u2603 \u0001 \U0001f333", "list": []any{number, nil, true, 1.5}}
	if number%7 == 0 {
		body["pad"] = strings.Repeat(strconv.Itoa(number)+" ", 1500) // more than a database keeps beside the tree
	}
	return body
}

// canonical writes JSON with names in order.
func canonical(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error() // cannot happen with what JSON was decoded to
	}
	return string(text)
}

// contentOf makes the content of an attachment.
func contentOf(o *Op) (content []byte, f file) {
	rng := rand.New(rand.NewPCG(uint64(o.Number), uint64(o.Size)))
	content = make([]byte, 0, o.Size+8)
	f.kind = "application/octet-stream"
	if o.Kind == "text" {
		f.kind = "text/plain"
		for len(content) < o.Size {
			content = fmt.Appendf(content, "word%d ", rng.IntN(100))
		}
	}
	for len(content) < o.Size {
		content = append(content, byte(rng.Uint32()))
	}
	content = content[:o.Size]
	f.length, f.sum = o.Size, checksum(content)
	return content, f
}

func checksum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// forged makes up the hash of a revision from everything that it says.
func forged(parts ...any) string {
	return checksum([]byte(fmt.Sprint(parts...)))[:32]
}

// generation is the number before a revision's hyphen.
func generation(rev string) int {
	n, _ := strconv.Atoi(rev[:max(0, strings.IndexByte(rev, '-'))]) // 0 for the empty one
	return n
}

// winsOver orders leaves as CouchDB does: live before deleted, then by generation, then by hash.
func winsOver(a, b *leaf) int {
	switch ga, gb := generation(a.Rev), generation(b.Rev); {
	case a.Deleted != b.Deleted && a.Deleted:
		return 1
	case a.Deleted != b.Deleted:
		return -1
	case ga != gb:
		return gb - ga
	}
	return strings.Compare(b.Rev, a.Rev)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
