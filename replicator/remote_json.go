package replicator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/mangrove-db/mangrove/document"
)

// errMalformed marks answers that are not what the protocol says.
var errMalformed = errors.New("malformed answer")

func malformedAnswer(format string, a ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errMalformed}, a...)...)
}

// A jsonReader cuts values out of a stream of JSON, and holds no more than one of them. It looks no closer than needed
// to find where they end: who uses a value checks it. White space, as servers send it for a heartbeat, is skipped as
// it comes. Errors are final; where the stream ends too early they wrap io.ErrUnexpectedEOF.
type jsonReader struct {
	src   io.Reader
	buf   []byte
	r, w  int // buf[r:w] is read and not used
	limit int // of one value, in bytes
	err   error
}

// jsonBuffer is what a jsonReader begins with.
const jsonBuffer = 4 << 10

func newJSONReader(src io.Reader, limit int) *jsonReader {
	return &jsonReader{src: src, buf: make([]byte, jsonBuffer), limit: limit}
}

func (j *jsonReader) fail(err error) error {
	if j.err == nil {
		j.err = err
	}
	return j.err
}

// fill reads on. It makes room by moving what is not used, which value allows for.
func (j *jsonReader) fill() error {
	if j.err != nil {
		return j.err
	}
	if j.r > 0 {
		j.w = copy(j.buf, j.buf[j.r:j.w])
		j.r = 0
	}
	if j.w == len(j.buf) {
		if j.w >= j.limit {
			return j.fail(malformedAnswer("a value has more than %d bytes", j.limit))
		}
		grown := make([]byte, 2*len(j.buf))
		copy(grown, j.buf)
		j.buf = grown
	}
	for range 100 {
		n, err := j.src.Read(j.buf[j.w:])
		j.w += n
		switch {
		case n > 0:
			return nil
		case err == io.EOF:
			return j.fail(io.ErrUnexpectedEOF)
		case err != nil:
			return j.fail(err)
		}
	}
	return j.fail(io.ErrNoProgress)
}

// peek returns the next byte that is no white space, without using it.
func (j *jsonReader) peek() (byte, error) {
	for {
		for ; j.r < j.w; j.r++ {
			switch c := j.buf[j.r]; c {
			case ' ', '\n', '\r', '\t':
			default:
				return c, nil
			}
		}
		if err := j.fill(); err != nil {
			return 0, err
		}
	}
}

// more is peek where the stream may end; it then reports false.
func (j *jsonReader) more() (bool, error) {
	_, err := j.peek()
	if err == io.ErrUnexpectedEOF && j.r == j.w {
		return false, nil
	}
	return err == nil, err
}

func (j *jsonReader) expect(want byte) error {
	c, err := j.peek()
	if err != nil {
		return err
	}
	if c != want {
		return j.fail(malformedAnswer("%q in the place of %q", c, want))
	}
	j.r++
	return nil
}

// value returns the text of the next value, which is valid until the next call of any method.
func (j *jsonReader) value() ([]byte, error) {
	if _, err := j.peek(); err != nil {
		return nil, err
	}
	var s valueScanner
	at := 0
	for {
		n, done := s.scan(j.buf[j.r+at : j.w])
		if at += n; done {
			break
		}
		if s.bad {
			return nil, j.fail(malformedAnswer("no JSON value"))
		}
		if err := j.fill(); err != nil {
			return nil, err
		}
	}
	if s.bad || at == 0 {
		return nil, j.fail(malformedAnswer("no JSON value"))
	}
	if at > j.limit {
		return nil, j.fail(malformedAnswer("a value has more than %d bytes", j.limit))
	}
	text := j.buf[j.r : j.r+at]
	j.r += at
	return text, nil
}

// list reads the commas and the end of an object or array whose begin is read; it reports false at the end.
func (j *jsonReader) list(first *bool, end byte) (bool, error) {
	c, err := j.peek()
	switch {
	case err != nil:
		return false, err
	case c == end:
		j.r++
		return false, nil
	case *first:
		*first = false
		return true, nil
	}
	return true, j.expect(',')
}

// members reads an object and yields its keys. The loop must read the value of each, and all of it.
func (j *jsonReader) members() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		err := j.expect('{')
		for first := true; err == nil; {
			var more bool
			if more, err = j.list(&first, '}'); err != nil || !more {
				break
			}
			var text []byte
			if text, err = j.value(); err != nil {
				break
			}
			key, ok := rawString(text)
			if !ok {
				err = j.fail(malformedAnswer("a member's name is no string"))
				break
			}
			if err = j.expect(':'); err == nil && !yield(key, nil) {
				return
			}
		}
		if err != nil {
			yield("", err)
		}
	}
}

// elements reads an array and yields its elements; each is valid until the next.
func (j *jsonReader) elements() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		err := j.expect('[')
		for first := true; err == nil; {
			var more bool
			if more, err = j.list(&first, ']'); err != nil || !more {
				break
			}
			var text []byte
			if text, err = j.value(); err == nil && !yield(text, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// A valueScanner finds the end of a JSON value that comes in pieces.
type valueScanner struct {
	depth   int
	kind    byte // of the outermost value: '{' for objects and arrays, '"', or 'n' for all else; 0 at the start
	quoted  bool // within a string
	escaped bool // after a backslash
	bad     bool
}

// scan looks at the next piece. It returns how many of its bytes belong to the value, and whether that is complete.
func (s *valueScanner) scan(b []byte) (n int, done bool) {
	for i := 0; i < len(b); i++ {
		if s.quoted {
			if s.escaped {
				s.escaped = false
				continue
			}
			end := bytes.IndexByte(b[i:], '"')
			stop := b[i:]
			if end >= 0 {
				stop = b[i : i+end]
			}
			if slash := bytes.IndexByte(stop, '\\'); slash >= 0 {
				i += slash
				s.escaped = true
				continue
			}
			if end < 0 {
				return len(b), false
			}
			i += end
			s.quoted = false
			if s.depth == 0 {
				return i + 1, true
			}
			continue
		}
		c := b[i]
		if s.kind == 0 {
			switch c {
			case '{', '[':
				s.kind = '{'
			case '"':
				s.kind = '"'
			case '}', ']', ',', ':':
				s.bad = true
				return i, false
			default:
				s.kind = 'n'
			}
		}
		if s.kind == 'n' {
			switch c {
			case ',', ']', '}', ':', ' ', '\n', '\r', '\t':
				return i, true
			}
			continue
		}
		switch c {
		case '"':
			s.quoted = true
		case '{', '[':
			s.depth++
		case '}', ']':
			if s.depth--; s.depth == 0 {
				return i + 1, true
			}
		}
	}
	return len(b), false
}

// rawValue cuts the first value off text, which begins with it or with white space.
func rawValue(text []byte) (value, rest []byte, ok bool) {
	text = bytes.TrimLeft(text, " \n\r\t")
	var s valueScanner
	n, done := s.scan(text)
	// A number or word may end with the text.
	if !done && s.kind != 'n' || n == 0 || s.bad {
		return nil, nil, false
	}
	return text[:n], bytes.TrimLeft(text[n:], " \n\r\t"), true
}

// rawMembers yields the members of an object, as far as it is well-formed.
func rawMembers(text []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		rest, ok := bytes.CutPrefix(bytes.TrimLeft(text, " \n\r\t"), []byte("{"))
		for ok {
			var name, value []byte
			if name, rest, ok = rawValue(rest); !ok || len(name) < 2 || name[0] != '"' {
				return
			}
			if rest, ok = bytes.CutPrefix(rest, []byte(":")); !ok {
				return
			}
			if value, rest, ok = rawValue(rest); !ok {
				return
			}
			plain := name[1 : len(name)-1]
			if bytes.IndexByte(plain, '\\') >= 0 {
				s, isString := rawString(name)
				if !isString {
					return
				}
				plain = []byte(s)
			}
			if !yield(plain, value) {
				return
			}
			rest, ok = bytes.CutPrefix(rest, []byte(","))
		}
	}
}

// rawElements yields the elements of an array, as far as it is well-formed.
func rawElements(text []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		rest, ok := bytes.CutPrefix(bytes.TrimLeft(text, " \n\r\t"), []byte("["))
		for ok {
			var value []byte
			if value, rest, ok = rawValue(rest); !ok || !yield(value) {
				return
			}
			rest, ok = bytes.CutPrefix(rest, []byte(","))
		}
	}
}

// rawString reads a JSON string.
func rawString(text []byte) (string, bool) {
	if len(text) < 2 || text[0] != '"' {
		return "", false
	}
	inner := text[1 : len(text)-1]
	plain := true
	for _, c := range inner {
		if c == '\\' || c < ' ' || c >= 0x80 {
			plain = false
			break
		}
	}
	if plain {
		return string(inner), true
	}
	var s string
	if json.Unmarshal(text, &s) != nil {
		return "", false
	}
	return s, true
}

// seqText is the text of a sequence: the content of a string, or the JSON of anything else.
func seqText(value []byte) string {
	if s, ok := rawString(value); ok {
		return s
	}
	return string(value)
}

// appendStrings appends an array of strings.
func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = document.AppendString(b, s)
	}
	return append(b, ']')
}
