package backup

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
)

// scanner reads JSON text piece by piece, in any case no more of it than its buffer holds, and knows as much of JSON as
// it takes to tell where a value ends. Whether the value is good is for others to say.
type scanner struct {
	r        io.Reader
	buf      []byte // the first tailBytes are what came before the rest
	pos, end int
	base     int64 // offset of buf[tailBytes] in the text
	sum      hash.Hash
	summed   int  // everything before this place of buf is in sum
	lines    bool // line ends count
	line     int
	read     int64 // bytes of r
}

const (
	scanBuffer = 256 << 10
	tailBytes  = 64
	// maxDepth is how deep values may be nested, as in documents.
	maxDepth = 10_000
	// maxString bounds strings that have to be held: names of members, ids, revisions.
	maxString = 64 << 10
	// maxObject bounds lines that are objects.
	maxObject = 64 << 20
)

var (
	errLineEnd = errors.New("the line ends in the middle")
	errForm    = errors.New("what should be JSON is none")
)

func newScanner(r io.Reader) *scanner {
	return &scanner{r: r, buf: make([]byte, tailBytes+scanBuffer), pos: tailBytes, end: tailBytes, summed: tailBytes, sum: sha256.New(), line: 1}
}

// offset is where in the text the scanner is.
func (s *scanner) offset() int64 { return s.base + int64(s.pos-tailBytes) }

// digest returns the SHA-256 of everything up to here.
func (s *scanner) digest() []byte {
	s.sum.Write(s.buf[s.summed:s.pos])
	s.summed = s.pos
	return s.sum.Sum(nil)
}

// fill reads on. All of the buffer must have been used.
func (s *scanner) fill() error {
	s.sum.Write(s.buf[s.summed:s.end])
	s.base += int64(s.end - tailBytes)
	copy(s.buf[:tailBytes], s.buf[s.end-tailBytes:s.end])
	s.pos, s.end, s.summed = tailBytes, tailBytes, tailBytes
	for tries := 0; s.end == tailBytes; tries++ {
		n, err := s.r.Read(s.buf[tailBytes:])
		s.end += n
		s.read += int64(n)
		if n == 0 && err != nil {
			return err
		}
		if tries == 100 {
			return io.ErrNoProgress
		}
	}
	return nil
}

// peek returns the next byte that is not white space; a line end is none. The error at the end is io.EOF.
func (s *scanner) peek() (byte, error) {
	for {
		for ; s.pos < s.end; s.pos++ {
			switch c := s.buf[s.pos]; c {
			case ' ', '\t', '\r':
			case '\n':
				if s.lines {
					return c, nil
				}
			default:
				return c, nil
			}
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
}

// take passes over a byte that must be next.
func (s *scanner) take(want byte) error {
	switch c, err := s.peek(); {
	case err != nil:
		return cut(err)
	case c == want:
		s.pos++
		return nil
	case c == '\n':
		return errLineEnd
	}
	return errForm
}

// cut says that the text ends where it must not.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrCut
	}
	return err
}

// endLine passes over the end of a line, which at the end of the text need not be there.
func (s *scanner) endLine() error {
	switch c, err := s.peek(); {
	case err == io.EOF:
		return nil
	case err != nil:
		return cut(err)
	case c != '\n':
		return errForm
	}
	s.pos++
	s.line++
	return nil
}

// members calls each for every member of the object that is next; it has to pass over the value.
func (s *scanner) members(each func(name string) error) error {
	return s.list('{', '}', func() error {
		var text limited
		if err := s.value(&text, nil, nil); err != nil {
			return err
		}
		var name string
		if err := json.Unmarshal(text.b, &name); err != nil {
			return errForm
		}
		if err := s.take(':'); err != nil {
			return err
		}
		return each(name)
	})
}

// elements calls each for every element of the array that is next; it has to pass over it.
func (s *scanner) elements(each func() error) error { return s.list('[', ']', each) }

func (s *scanner) list(start, end byte, each func() error) error {
	if err := s.take(start); err != nil {
		return err
	}
	for first := true; ; first = false {
		c, err := s.peek()
		if err != nil {
			return cut(err)
		}
		if c == end {
			s.pos++
			return nil
		}
		if !first {
			if err := s.take(','); err != nil {
				return err
			}
		}
		if err := each(); err != nil {
			return err
		}
	}
}

// skipLine goes behind the end of the line, and returns the last bytes of the line before its end.
func (s *scanner) skipLine() ([]byte, error) {
	for {
		for ; s.pos < s.end; s.pos++ {
			if s.buf[s.pos] == '\n' {
				tail := append([]byte(nil), s.buf[s.pos-tailBytes:s.pos]...)
				s.pos++
				s.line++
				return tail, nil
			}
		}
		if err := s.fill(); err != nil {
			return nil, cut(err)
		}
	}
}

// value copies the value that is next. Of the members of an object, those that note asks for by returning true are
// handed to keep, if they are strings; both may be nil.
func (s *scanner) value(w io.Writer, note func(name string) bool, keep func(name, value string)) error {
	return s.copy(copying{w: w, note: note, keep: keep})
}

func (s *scanner) copy(c copying) error {
	if _, err := s.peek(); err != nil {
		return cut(err)
	}
	c.s, c.mark = s, s.pos
	err := c.run()
	if err == nil {
		err = c.flush()
	}
	return err
}

// copying is the state within a value.
type copying struct {
	s    *scanner
	w    io.Writer
	note func(string) bool
	keep func(name, value string)
	// mend gives the types of a document's attachments their name: couchbackup writes contentType.
	mend bool

	mark    int    // of what is still to be written
	stack   []byte // the ends of the arrays and objects that are open
	text    []byte // of a string that is held, with its quotes
	holding bool
	name    string // of the member of the outermost object
	wanted  bool   // its value
	isName  bool   // the next string at the outermost level is a name
	isProp  bool   // likewise in an attachment
	mute    bool   // nothing is written
}

func (c *copying) flush() error {
	if c.mark == c.s.pos || c.mute {
		c.mark = c.s.pos
		return nil
	}
	_, err := c.w.Write(c.s.buf[c.mark:c.s.pos])
	c.mark = c.s.pos
	return err
}

// more makes sure that there is a byte to read.
func (c *copying) more() error {
	if c.s.pos < c.s.end {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	err := c.s.fill()
	c.mark = c.s.pos
	return cut(err)
}

// run goes behind the value.
func (c *copying) run() error {
	for {
		if err := c.more(); err != nil {
			return err
		}
		b := c.s.buf[c.s.pos]
		if b == '\n' {
			if c.s.lines {
				return errLineEnd
			}
			// Left out: what is copied is to become a line.
			if err := c.flush(); err != nil {
				return err
			}
			c.s.pos++
			c.mark = c.s.pos
			continue
		}
		switch b {
		case '"':
			if err := c.str(); err != nil {
				return err
			}
			if len(c.stack) == 0 {
				return nil
			}
			continue
		case '{', '[':
			if len(c.stack) == maxDepth {
				return fmt.Errorf("%w: it is nested too deep", errForm)
			}
			c.stack = append(c.stack, b+2) // in ASCII the end follows the beginning but one
			c.isName = c.isName || b == '{' && len(c.stack) == 1
			c.isProp = b == '{' && len(c.stack) == 3
		case '}', ']':
			if len(c.stack) == 0 || c.stack[len(c.stack)-1] != b {
				return errForm
			}
			c.stack = c.stack[:len(c.stack)-1]
			if len(c.stack) == 0 {
				c.s.pos++
				return nil
			}
		case ',':
			if len(c.stack) == 0 {
				return nil
			}
			if len(c.stack) == 1 && c.stack[0] == '}' {
				c.isName, c.wanted = true, false
			}
			c.isProp = len(c.stack) == 3 && c.stack[2] == '}'
		case ':':
			if len(c.stack) == 1 {
				c.isName = false
			}
		}
		c.s.pos++
		if len(c.stack) == 0 && b != '}' && b != ']' {
			// A number or a word: it ends before what cannot be of it.
			if ended, err := c.scalarEnded(); ended || err != nil {
				return err
			}
		}
	}
}

// scalarEnded tells whether a number or word that is the whole value ends here.
func (c *copying) scalarEnded() (bool, error) {
	if err := c.more(); err != nil {
		if errors.Is(err, ErrCut) {
			err = nil
		}
		return true, err
	}
	switch c.s.buf[c.s.pos] {
	case ',', ']', '}', ' ', '\t', '\r', '\n', ':':
		return true, nil
	}
	return false, nil
}

// str goes behind a string, and looks at those of the outermost object.
func (c *copying) str() error {
	if c.mend && c.isProp && len(c.stack) == 3 && c.name == "_attachments" {
		return c.property()
	}
	outermost := len(c.stack) == 1 && c.stack[0] == '}' && c.note != nil
	c.holding = outermost && (c.isName || c.wanted)
	c.text = c.text[:0]
	if err := c.quoted(); err != nil {
		return err
	}
	if !c.holding {
		c.wanted = c.wanted && !outermost
		return nil
	}
	var text string
	if err := json.Unmarshal(c.text, &text); err != nil {
		return errForm
	}
	if c.isName {
		c.name, c.isName = text, false
		c.wanted = c.note(text)
		return nil
	}
	c.wanted = false
	c.keep(c.name, text)
	return nil
}

// property copies the name of a member of an attachment.
func (c *copying) property() error {
	c.isProp = false
	if err := c.flush(); err != nil {
		return err
	}
	c.holding, c.text, c.mute = true, c.text[:0], true
	if err := c.quoted(); err != nil {
		return err
	}
	c.mute, c.mark = false, c.s.pos
	text := c.text
	if string(text) == `"contentType"` {
		text = []byte(`"content_type"`)
	}
	_, err := c.w.Write(text)
	return err
}

func (c *copying) quoted() error {
	s := c.s
	escaped, from := false, s.pos
	hold := func() error {
		if !c.holding {
			return nil
		}
		if len(c.text)+s.pos-from > maxString {
			return fmt.Errorf("%w: a string is too long", errForm)
		}
		c.text = append(c.text, s.buf[from:s.pos]...)
		return nil
	}
	s.pos++ // the first quote
	for {
		for ; s.pos < s.end; s.pos++ {
			switch b := s.buf[s.pos]; {
			case b == '\n' && s.lines:
				return errLineEnd
			case b == '\n':
				return errForm
			case escaped:
				escaped = false
			case b == '\\':
				escaped = true
			case b == '"':
				s.pos++
				return hold()
			}
		}
		if err := hold(); err != nil {
			return err
		}
		if err := c.more(); err != nil {
			return err
		}
		from = s.pos
	}
}
