package document

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"
)

// MaxDepth is how deep arrays and objects may be nested.
const MaxDepth = 10_000

// maxText is the longest text that is read at once. Positions within the text
// and the term, which is at most thrice as long, fit 32 bits.
const maxText = 1 << 30

// A parser reads one JSON text and writes its canonical form and its external
// term. What a later duplicate replaces stays in both until the end, where all
// is copied but the dead ranges: removing it at once would let nested
// duplicates cost quadratic time.
type parser struct {
	in  []byte
	pos int

	text []byte
	term []byte

	frames  []frame  // the open arrays and objects, outermost first
	members []member // those of all open objects, and the root's to the end
	dead    []span
	table   []uint32 // hash table over one object's members
	limit   int      // of bytes of text

	// placeholders allows strings to hold a NUL byte, which the scanner of
	// streams puts where it took an attachment's data out.
	placeholders bool
}

type frame struct {
	term   uint32 // where its term begins
	count  uint32 // elements of an array
	first  uint32 // an object's first member in members
	object bool
	bytes  bool // all elements of the array are integers from 0 to 255
}

// A member of an object: where its key begins and ends in the text, quotes
// included, and where its pair begins in the term.
type member struct {
	text, keyEnd, term uint32
	dead               bool
}

// A span is a range of both text and term, from the start of one member to the
// start of the next.
type span struct {
	text, textEnd, term, termEnd uint32
}

// Scratch space beyond this many bytes is not kept for the next document.
const maxKept = 1 << 20

var parsers = sync.Pool{New: func() any { return new(parser) }}

func newParser(in []byte) *parser {
	p := parsers.Get().(*parser)
	p.in, p.pos = in, 0
	p.text, p.term = slices.Grow(p.text[:0], len(in)), slices.Grow(p.term[:0], len(in))
	p.frames, p.members, p.dead = p.frames[:0], p.members[:0], p.dead[:0]
	p.placeholders, p.limit = false, maxText
	return p
}

func (p *parser) free() {
	if cap(p.text)+cap(p.term)+16*cap(p.members)+4*cap(p.table)+16*cap(p.dead) > maxKept {
		return
	}
	p.in = nil
	parsers.Put(p)
}

// parse reads the whole input: one value and white space around it.
func (p *parser) parse() error {
	if len(p.in) > maxText {
		return errTooLarge
	}
	if err := p.value(); err != nil {
		return err
	}
	p.space()
	if p.pos != len(p.in) {
		return ErrInvalidJSON
	}
	return nil
}

func (p *parser) space() {
	for p.pos < len(p.in) {
		switch p.in[p.pos] {
		case ' ', '\n', '\r', '\t':
			p.pos++
		default:
			return
		}
	}
}

// peek skips white space and returns the byte after it, or 0 at the end.
func (p *parser) peek() byte {
	if p.pos < len(p.in) && p.in[p.pos] > ' ' {
		return p.in[p.pos]
	}
	p.space()
	if p.pos < len(p.in) {
		return p.in[p.pos]
	}
	return 0
}

func (p *parser) value() error {
	for {
		small := false // the value is an integer from 0 to 255
		ok := true
		switch c := p.peek(); c {
		case '{':
			if len(p.frames) == MaxDepth {
				return errTooDeep
			}
			p.pos++
			p.frames = append(p.frames, frame{term: uint32(len(p.term)), first: uint32(len(p.members)), object: true})
			p.term = append(p.term, termSmallTuple, 1, termList, 0, 0, 0, 0)
			p.text = append(p.text, '{')
			if p.peek() != '}' {
				if !p.key() {
					return ErrInvalidJSON
				}
				continue
			}
			p.pos++
			p.closeObject()
		case '[':
			if len(p.frames) == MaxDepth {
				return errTooDeep
			}
			p.pos++
			p.frames = append(p.frames, frame{term: uint32(len(p.term)), bytes: true})
			p.term = append(p.term, termList, 0, 0, 0, 0)
			p.text = append(p.text, '[')
			if p.peek() != ']' {
				continue
			}
			p.pos++
			p.closeArray()
		case '"':
			ok = p.str()
		case 't':
			if ok = p.literal("true"); ok {
				p.term = appendAtom(p.term, true)
			}
		case 'f':
			if ok = p.literal("false"); ok {
				p.term = appendAtom(p.term, false)
			}
		case 'n':
			if ok = p.literal("null"); ok {
				p.term = appendNull(p.term)
			}
		default:
			small, ok = p.number()
		}
		if !ok {
			return ErrInvalidJSON
		}
		if len(p.text) > p.limit {
			return errTooLarge
		}
		if done, ok := p.after(small); !ok {
			return ErrInvalidJSON
		} else if done {
			return nil
		}
	}
}

// after reads what follows a value: a comma, and in an object the next key, or
// the ends of arrays and objects. It reports done once none is open any more.
func (p *parser) after(small bool) (done, ok bool) {
	for len(p.frames) > 0 {
		f := &p.frames[len(p.frames)-1]
		c := p.peek()
		p.pos++
		if f.object {
			switch c {
			case ',':
				p.text = append(p.text, ',')
				return false, p.key()
			case '}':
				p.closeObject()
			default:
				return false, false
			}
		} else {
			f.count++
			f.bytes = f.bytes && small
			switch c {
			case ',':
				p.text = append(p.text, ',')
				return false, true
			case ']':
				p.closeArray()
			default:
				return false, false
			}
		}
		small = false
	}
	return true, true
}

// key reads a member's key and colon.
func (p *parser) key() bool {
	if p.peek() != '"' {
		return false
	}
	m := member{text: uint32(len(p.text)), term: uint32(len(p.term))}
	p.term = append(p.term, termSmallTuple, 2)
	if !p.str() {
		return false
	}
	m.keyEnd = uint32(len(p.text))
	p.members = append(p.members, m)
	if p.peek() != ':' {
		return false
	}
	p.pos++
	p.text = append(p.text, ':')
	return true
}

func (p *parser) literal(s string) bool {
	if len(p.in)-p.pos < len(s) || string(p.in[p.pos:p.pos+len(s)]) != s {
		return false
	}
	p.pos += len(s)
	p.text = append(p.text, s...)
	return true
}

func (p *parser) closeArray() {
	f := p.frames[len(p.frames)-1]
	p.frames = p.frames[:len(p.frames)-1]
	p.text = append(p.text, ']')
	switch {
	case f.count == 0:
		p.term = append(p.term[:f.term], termNil)
	case f.bytes && f.count <= maxTermString:
		// The elements are pairs of a tag and the byte itself.
		t := p.term[f.term:]
		t[0] = termString
		binary.BigEndian.PutUint16(t[1:], uint16(f.count))
		for i := range int(f.count) {
			t[3+i] = t[5+2*i+1]
		}
		p.term = p.term[:f.term+3+f.count]
	default:
		binary.BigEndian.PutUint32(p.term[f.term+1:], f.count)
		p.term = append(p.term, termNil)
	}
}

func (p *parser) closeObject() {
	f := p.frames[len(p.frames)-1]
	p.frames = p.frames[:len(p.frames)-1]
	live := p.deduplicate(p.members[f.first:])
	p.text = append(p.text, '}')
	if len(p.frames) > 0 {
		p.members = p.members[:f.first]
	}
	p.term = closePairs(p.term, int(f.term), live)
}

// closePairs ends the term of an object that begins at start.
func closePairs(term []byte, start, live int) []byte {
	if live == 0 {
		term = term[:start+2]
	} else {
		binary.BigEndian.PutUint32(term[start+3:], uint32(live))
	}
	return append(term, termNil)
}

// fewMembers is up to where comparing all pairs of keys beats a hash table.
const fewMembers = 12

// hashSeed keeps clients from choosing keys that collide.
var hashSeed = maphash.MakeSeed()

// deduplicate marks those members dead whose key occurs again later, and
// returns how many are left.
func (p *parser) deduplicate(ms []member) (live int) {
	live = len(ms)
	if live <= fewMembers {
		for i := 1; i < len(ms); i++ {
			n := ms[i].keyEnd - ms[i].text
			for j := range i {
				if ms[j].keyEnd-ms[j].text == n && !ms[j].dead && string(p.keyOf(ms[j])) == string(p.keyOf(ms[i])) {
					p.bury(ms, j)
					live--
					break
				}
			}
		}
		return live
	}
	size := 1 << bits.Len(uint(live)*2)
	p.table = slices.Grow(p.table[:0], size)[:size]
	clear(p.table)
	for i := range ms {
		k := p.keyOf(ms[i])
		for slot := maphash.Bytes(hashSeed, k) & uint64(size-1); ; slot = (slot + 1) & uint64(size-1) {
			j := p.table[slot]
			if j == 0 {
				p.table[slot] = uint32(i + 1)
				break
			}
			if string(p.keyOf(ms[j-1])) == string(k) {
				p.table[slot] = uint32(i + 1)
				p.bury(ms, int(j-1))
				live--
				break
			}
		}
	}
	return live
}

func (p *parser) keyOf(m member) []byte { return p.text[m.text:m.keyEnd] }

func (p *parser) bury(ms []member, i int) {
	ms[i].dead = true
	p.dead = append(p.dead, p.spanOf(ms, i))
}

// spanOf returns the range of a member of a closed or closing object, with the
// comma after it unless it is the last.
func (p *parser) spanOf(ms []member, i int) span {
	s := span{text: ms[i].text, textEnd: uint32(len(p.text)), term: ms[i].term, termEnd: uint32(len(p.term))}
	if i+1 < len(ms) {
		s.textEnd, s.termEnd = ms[i+1].text, ms[i+1].term
	}
	return s
}

// sortDead orders the dead ranges, and drops those within others.
func (p *parser) sortDead() {
	if len(p.dead) < 2 {
		return
	}
	slices.SortFunc(p.dead, func(a, b span) int { return int(a.text) - int(b.text) })
	kept := p.dead[:1]
	for _, s := range p.dead[1:] {
		if s.text >= kept[len(kept)-1].textEnd {
			kept = append(kept, s)
		}
	}
	p.dead = kept
}

// liveText returns a range of the text without the dead ranges in it. The
// result is either part of the parser's text or new. sortDead comes first.
func (p *parser) liveText(from, to uint32) []byte {
	i, _ := slices.BinarySearchFunc(p.dead, from, func(s span, at uint32) int { return int(s.text) - int(at) })
	if i == len(p.dead) || p.dead[i].text >= to {
		return p.text[from:to]
	}
	var b []byte
	for ; i < len(p.dead) && p.dead[i].text < to; i++ {
		b = append(b, p.text[from:p.dead[i].text]...)
		from = p.dead[i].textEnd
	}
	return append(b, p.text[from:to]...)
}

// finalText returns the text without the dead ranges: a copy, or if it is too
// large to be kept the text itself.
func (p *parser) finalText() []byte {
	n := len(p.text)
	if len(p.dead) == 0 && n > maxKept/4 && n > cap(p.text)/2 {
		b := p.text
		p.text = nil
		return b
	}
	for _, s := range p.dead {
		n -= int(s.textEnd - s.text)
	}
	b, from := make([]byte, 0, n), uint32(0)
	for _, s := range p.dead {
		b = append(b, p.text[from:s.text]...)
		from = s.textEnd
	}
	return append(b, p.text[from:]...)
}

// finalTerm returns a copy of the term without the dead ranges. root is the
// number of live members of the document, or negative for other values.
func (p *parser) finalTerm(root int) []byte {
	n := len(p.term)
	for _, s := range p.dead {
		n -= int(s.termEnd - s.term)
	}
	b, from := make([]byte, 0, n), uint32(0)
	for _, s := range p.dead {
		b = append(b, p.term[from:s.term]...)
		from = s.termEnd
	}
	b = append(b, p.term[from:]...)
	if root >= 0 {
		b = closePairs(b[:len(b)-1], 0, root)
	}
	return b
}

// Canonical returns text as CouchDB would print it: see the package comment.
// It is for JSON that is stored as it is but is no document.
func Canonical(text []byte) ([]byte, error) {
	p := newParser(text)
	defer p.free()
	if err := p.parse(); err != nil {
		return nil, err
	}
	p.sortDead()
	return p.finalText(), nil
}

// Term returns a JSON value in Erlang's external term format, as CouchDB's term_to_binary makes it of the value: what it
// hashes where it needs the same bytes for the same value.
func Term(text []byte) ([]byte, error) {
	term, err := bodyTerm(text)
	if err != nil {
		return nil, err
	}
	return append([]byte{termVersion}, term...), nil
}

// bodyTerm returns the external term of a body.
func bodyTerm(body []byte) ([]byte, error) {
	p := newParser(body)
	defer p.free()
	if err := p.parse(); err != nil {
		return nil, err
	}
	p.sortDead()
	return p.finalTerm(-1), nil
}
