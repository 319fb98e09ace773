package document

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"sync"

	"github.com/mangrove-db/mangrove/internal/spool"
)

const (
	windowSize = 32 << 10
	// Attachment data beyond spoolText bytes of base64 is taken out of the
	// text; once the text has crowdedText bytes, that beyond crowdedSpoolText.
	spoolText        = 64 << 10
	crowdedText      = 1 << 20
	crowdedSpoolText = 1 << 10
)

// A scanner cuts values out of a stream of JSON. It looks no closer than needed
// to find their ends: the parser checks what it found.
type scanner struct {
	r        io.Reader
	window   []byte
	pos, end int // the unread part of window
	limits   Limits

	text  []byte  // the value being cut out
	taken []taken // attachment data taken out of it
	sink  *sink   // where the string's text goes, if not to text
}

var scanners = sync.Pool{New: func() any { return &scanner{window: make([]byte, windowSize)} }}

func newScanner(r io.Reader, l Limits) *scanner {
	s := scanners.Get().(*scanner)
	s.r, s.limits, s.pos, s.end = r, l, 0, 0
	return s
}

// free closes what no document has taken over. The scanner must not be used
// afterwards.
func (s *scanner) free() {
	s.dropTaken()
	s.r = nil
	if cap(s.text) > maxKept {
		s.text = nil
	}
	scanners.Put(s)
}

func (s *scanner) dropTaken() {
	if s.sink != nil {
		s.sink.spool.Close()
		s.sink = nil
	}
	for i := range s.taken {
		if s.taken[i].spool != nil {
			s.taken[i].spool.Close()
		}
	}
	clear(s.taken)
	s.taken = s.taken[:0]
}

// fill reads on; the window must be used up. At the end of the stream the
// error is io.EOF.
func (s *scanner) fill() error {
	s.pos, s.end = 0, 0
	n, err := s.read(s.window)
	s.end = n
	return err
}

// read reads at least one byte. An error that comes along with data is left to
// the next call.
func (s *scanner) read(b []byte) (int, error) {
	for range 100 {
		n, err := s.r.Read(b)
		switch {
		case n > 0:
			return n, nil
		case err != nil:
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}

// cut turns the end of the stream, where more must come, into ErrInvalidJSON.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return ErrInvalidJSON
	}
	return err
}

// peek skips white space and returns the byte after it. At the end of the
// stream the error is io.EOF.
func (s *scanner) peek() (byte, error) {
	for {
		for s.pos < s.end {
			switch c := s.window[s.pos]; c {
			case ' ', '\n', '\r', '\t':
				s.pos++
			default:
				return c, nil
			}
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
}

// expect reads one byte, after white space.
func (s *scanner) expect(c byte) error {
	got, err := s.peek()
	if err != nil {
		return cut(err)
	}
	if got != c {
		return ErrInvalidJSON
	}
	s.pos++
	return nil
}

// atEnd checks that nothing but white space follows.
func (s *scanner) atEnd() error {
	switch _, err := s.peek(); {
	case err == nil:
		return ErrInvalidJSON
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// document reads a value and decodes it as a document.
func (s *scanner) document() (*Document, error) {
	text, err := s.value(true)
	if err != nil {
		return nil, err
	}
	d, err := decode(text, s.taken, s.limits.canonical())
	if err == nil {
		err = s.limits.Check(d)
	}
	if err == nil {
		for i := range s.taken {
			if s.taken[i].used {
				s.taken[i].spool = nil // the document's from now on
			}
		}
	}
	s.dropTaken()
	if err != nil {
		return nil, err
	}
	return d, nil
}

// canonical reads a value and returns its canonical text.
func (s *scanner) canonical() ([]byte, error) {
	text, err := s.value(false)
	if err != nil {
		return nil, err
	}
	return Canonical(text)
}

// value reads a value and returns its text, which is valid until the next call
// and yet to be parsed. Of a document the data of attachments may have been
// taken out.
func (s *scanner) value(document bool) ([]byte, error) {
	s.text = s.text[:0]
	c, err := s.peek()
	if err != nil {
		return nil, cut(err)
	}
	if c == '{' || c == '[' || c == '"' {
		text, err := s.whole()
		if text != nil || err != nil {
			return text, cut(err)
		}
		err = s.composite(document)
		if err != nil {
			s.dropTaken()
			return nil, cut(err)
		}
		return s.text, nil
	}
	if err := s.bare(); err != nil {
		return nil, err
	}
	return s.text, nil
}

// whole returns the text of a string, array or object that fits the window,
// where it leaves it; or nil, without having read any of it.
func (s *scanner) whole() ([]byte, error) {
	var f finder
	for !f.find(s.window[s.pos:s.end]) {
		if s.pos > 0 {
			s.end = copy(s.window, s.window[s.pos:s.end])
			s.pos = 0
		}
		if s.end == len(s.window) {
			return nil, nil
		}
		n, err := s.read(s.window[s.end:])
		if err != nil {
			return nil, err
		}
		s.end += n
	}
	text := s.window[s.pos : s.pos+f.at]
	s.pos += f.at
	if len(text) > s.limits.text() {
		return nil, errTooLarge
	}
	return text, nil
}

// A finder looks for the end of a string, array or object in text that grows
// from call to call.
type finder struct {
	at       int // how far it has come
	depth    int
	inString bool
}

// find reports whether the value has ended; then at is where.
func (f *finder) find(b []byte) bool {
	i := f.at
	for i < len(b) {
		if f.inString {
			i = stringRun(b, i)
			if i == len(b) {
				break
			}
			if b[i] == '\\' {
				if i+1 == len(b) {
					break
				}
				i += 2
				continue
			}
			f.inString = b[i] != '"' // the parser refuses control characters
			i++
			if !f.inString && f.depth == 0 {
				f.at = i
				return true
			}
			continue
		}
		for i < len(b) && !structure[b[i]] {
			i++
		}
		if i == len(b) {
			break
		}
		switch b[i] {
		case '"':
			f.inString = true
		case '{', '[':
			f.depth++
		case '}', ']':
			if f.depth--; f.depth <= 0 {
				f.at = i + 1
				return true
			}
		}
		i++
	}
	f.at = i
	return false
}

// bare reads a number or literal. It may end with the stream.
func (s *scanner) bare() error {
	for {
		from := s.pos
		for s.pos < s.end {
			switch s.window[s.pos] {
			case ',', ']', '}', ' ', '\n', '\r', '\t':
				return s.emit(s.window[from:s.pos])
			}
			s.pos++
		}
		if err := s.emit(s.window[from:s.pos]); err != nil {
			return err
		}
		if err := s.fill(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// emit appends to the text, or to the sink.
func (s *scanner) emit(b []byte) error {
	if s.sink != nil {
		return s.sink.write(b)
	}
	if len(s.text)+len(b) > s.limits.text() {
		return errTooLarge
	}
	s.text = append(s.text, b...)
	return nil
}

// structure marks the bytes that matter outside strings.
var structure = func() (t [256]bool) {
	for _, c := range []byte(`"{}[]:,`) {
		t[c] = true
	}
	return t
}()

// A place is what the scanner knows of where in a document it is.
type place struct {
	depth       int
	attachments bool // below the root's member _attachments
	data        bool // the value of an attachment's member data comes next
	lastString  int  // where the last string begins in the text
	name        int  // the range of the attachment's name in the text
	nameEnd     int
}

// composite reads a string, an array or an object of any size.
func (s *scanner) composite(document bool) error {
	var at place
	from := s.pos // what was read and not yet emitted begins here
	for {
		for s.pos < s.end && !structure[s.window[s.pos]] {
			s.pos++
		}
		if s.pos == s.end {
			if err := s.emit(s.window[from:s.pos]); err != nil {
				return err
			}
			if err := s.fill(); err != nil {
				return err
			}
			from = s.pos
			continue
		}
		c := s.window[s.pos]
		if c == '"' {
			if end := stringEnd(s.window[:s.end], s.pos+1); end > 0 && !at.data {
				at.lastString = len(s.text) + s.pos - from
				s.pos = end
			} else {
				if err := s.emit(s.window[from:s.pos]); err != nil {
					return err
				}
				if err := s.str(&at); err != nil {
					return err
				}
				from = s.pos
			}
			at.data = false
			if at.depth == 0 {
				return s.emit(s.window[from:s.pos])
			}
			continue
		}
		s.pos++
		switch c {
		case '{', '[':
			at.depth++
			at.data = false
		case '}', ']':
			if at.depth--; at.depth <= 0 {
				return s.emit(s.window[from:s.pos])
			}
		case ',':
			at.data = false
		case ':':
			if document && at.depth <= 3 {
				if err := s.emit(s.window[from:s.pos]); err != nil {
					return err
				}
				from = s.pos
				s.keyRead(&at)
			}
		}
	}
}

// keyRead takes note of the key before the colon at the end of the text.
func (s *scanner) keyRead(at *place) {
	key := bytes.TrimRight(s.text[at.lastString:len(s.text)-1], " \n\r\t")
	switch at.depth {
	case 1:
		at.attachments = string(key) == `"_attachments"`
	case 2:
		at.name, at.nameEnd = at.lastString, at.lastString+len(key)
	case 3:
		at.data = at.attachments && string(key) == `"data"`
	}
}

// str reads a string whose opening quote is the next byte.
func (s *scanner) str(at *place) error {
	at.lastString = len(s.text)
	if err := s.emit(s.window[s.pos : s.pos+1]); err != nil {
		return err
	}
	s.pos++
	escaped := false // the next byte is part of an escape
	for {
		from, i := s.pos, s.pos
		if escaped && i < s.end {
			i++
			escaped = false
		}
		for i < s.end {
			i = stringRun(s.window[:s.end], i)
			if i == s.end || s.window[i] != '\\' {
				break
			}
			if i++; i == s.end {
				escaped = true
				break
			}
			i++
		}
		s.pos = i
		if err := s.emit(s.window[from:i]); err != nil {
			return err
		}
		if i < s.end {
			if s.window[i] != '"' { // a control character
				return ErrInvalidJSON
			}
			s.pos++
			return s.endString(at)
		}
		if at.data && s.sink == nil && len(s.text)-at.lastString > spoolText {
			if err := s.divert(at); err != nil {
				return err
			}
		}
		if err := s.fill(); err != nil {
			return err
		}
	}
}

func (s *scanner) endString(at *place) error {
	if at.data && s.sink == nil && len(s.text) > crowdedText && len(s.text)-at.lastString > crowdedSpoolText {
		if err := s.divert(at); err != nil {
			return err
		}
	}
	if s.sink == nil {
		return s.emit([]byte{'"'})
	}
	t := taken{spool: s.sink.finish()}
	s.sink = nil
	s.taken = append(s.taken, t)
	s.text = appendPlaceholder(s.text, len(s.taken)-1)
	return nil
}

// divert takes the string out of the text, whose last part it is, and lets the
// rest of it flow into a spool as well.
func (s *scanner) divert(at *place) error {
	memory := s.limits.SpoolMemory
	if memory <= 0 {
		memory = defaultSpoolMemory
	}
	s.sink = &sink{spool: spool.New(s.limits.SpoolDir, memory), limit: s.limits.Attachment}
	if at.nameEnd > at.name+1 {
		s.sink.name = string(s.text[at.name+1 : at.nameEnd-1])
	}
	start := s.text[at.lastString+1:]
	s.text = s.text[:at.lastString]
	return s.sink.write(start)
}

// stringRun returns the index of the first byte at or after i that is a quote,
// a backslash or a control character; len(b) if there is none.
func stringRun(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		q, e := w^ones*'"', w^ones*'\\'
		if m := ((w-ones*0x20)&^w | (q-ones)&^q | (e-ones)&^e) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 || c == '"' || c == '\\' {
			break
		}
	}
	return i
}

// stringEnd returns the index after the quote that ends the string whose text
// begins at i, or 0 if there is none before a control character.
func stringEnd(b []byte, i int) int {
	for {
		i = stringRun(b, i)
		if i >= len(b) {
			return 0
		}
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i += 2
			if i > len(b) {
				return 0
			}
		default:
			return 0
		}
	}
}
