package document

import (
	"errors"
	"fmt"
	"io"
	"iter"
)

// DecodeStream reads one document, and nothing after it but white space, as
// Decode does. Data of inline attachments that is beyond 64 KiB goes through a
// spool: Close the document when it is done with.
//
// Errors are of type *Error, or those of r.
func DecodeStream(r io.Reader, l Limits) (*Document, error) {
	s := newScanner(r, l)
	defer s.free()
	d, err := s.document()
	var fault *Error
	if errors.As(err, &fault) && fault.Kind == TooLarge || err != nil && fault == nil {
		return nil, err
	}
	// That the whole is no JSON comes before any fault of the document.
	if err := s.atEnd(); err != nil {
		if d != nil {
			d.Close()
		}
		return nil, err
	}
	return d, err
}

// Type is the type of a JSON value.
type Type uint8

// The types of values.
const (
	Invalid Type = iota // begins like no value
	Null
	Bool
	Number
	String
	Array
	Object
)

// A Stream reads a request body that is a JSON object, member by member, or a
// JSON array, element by element, without holding all of it. Each value may
// have as many bytes of text as Limits.Document allows a document.
//
// Of members with equal names every one is read, while CouchDB sees the last.
//
// Errors are of type *Error, or those of the reader, and final: after one every
// call returns it.
type Stream struct {
	s     *scanner
	name  string
	state streamState
	fresh bool // no element or member of the value was read yet
	err   error
}

type streamState uint8

const (
	streamStart  streamState = iota
	streamValue              // a member's value is next
	streamArray              // within an array, before or after an element
	streamObject             // within an object that is a member's value
	streamMember             // after a member's value
	streamRoot               // within an array that is the whole body
	streamEnd
)

// NewStream returns a Stream that reads from r. It must be closed.
func NewStream(r io.Reader, l Limits) *Stream {
	return &Stream{s: newScanner(r, l)}
}

// Close gives the stream's buffers back. It does not close the reader.
func (s *Stream) Close() {
	if s.s != nil {
		s.s.free()
		s.s = nil
	}
	s.fail(io.ErrClosedPipe)
}

func (s *Stream) fail(err error) error {
	if s.err == nil {
		s.err = err
	}
	return s.err
}

// Next goes to the next member of the body and returns its name. What is left
// of the value before is read and checked. After the last member, and if
// nothing but white space follows, the error is io.EOF.
func (s *Stream) Next() (name string, err error) {
	if s.err != nil {
		return "", s.err
	}
	name, err = s.next()
	if err != nil {
		s.fail(err)
	}
	return name, err
}

func (s *Stream) next() (string, error) {
	first := s.state == streamStart
	if first {
		if err := s.open(); err != nil {
			return "", err
		}
	} else if err := s.drain(); err != nil {
		return "", err
	}
	c, err := s.s.peek()
	if err != nil {
		return "", cut(err)
	}
	switch {
	case c == '}':
		s.s.pos++
		s.state = streamEnd
		if err := s.s.atEnd(); err != nil {
			return "", err
		}
		return "", io.EOF
	case first:
	case c == ',':
		s.s.pos++
	default:
		return "", ErrInvalidJSON
	}
	s.name, err = s.key()
	s.state, s.fresh = streamValue, true
	return s.name, err
}

// open reads the brace that begins the body. Of other bodies it finds out
// whether they are JSON at all.
func (s *Stream) open() error {
	c, err := s.s.peek()
	if err != nil {
		return cut(err)
	}
	if c == '{' {
		s.s.pos++
		return nil
	}
	if _, err := s.s.canonical(); err != nil {
		return err
	}
	if err := s.s.atEnd(); err != nil {
		return err
	}
	return badRequest("Request body must be a JSON object")
}

func (s *Stream) key() (string, error) {
	c, err := s.s.peek()
	if err != nil {
		return "", cut(err)
	}
	if c != '"' {
		return "", ErrInvalidJSON
	}
	text, err := s.s.canonical()
	if err != nil {
		return "", err
	}
	return unquote(text), s.s.expect(':')
}

// drain reads what is left of the member's value.
func (s *Stream) drain() error {
	for {
		switch s.state {
		case streamValue:
			if _, err := s.s.canonical(); err != nil {
				return err
			}
			s.state = streamMember
		case streamArray:
			more, err := s.more(']')
			if err == nil && more {
				_, err = s.s.canonical()
			}
			if err != nil {
				return err
			}
		case streamObject:
			more, err := s.more('}')
			if err == nil && more {
				if _, err = s.key(); err == nil {
					_, err = s.s.canonical()
				}
			}
			if err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// more reads the comma before an element or member, or the end of its array or
// object.
func (s *Stream) more(end byte) (bool, error) {
	c, err := s.s.peek()
	if err != nil {
		return false, cut(err)
	}
	fresh := s.fresh
	s.fresh = false
	switch {
	case c == end:
		s.s.pos++
		if s.state == streamRoot {
			s.state = streamEnd
			return false, s.s.atEnd()
		}
		s.state = streamMember
		return false, nil
	case fresh:
		return true, nil
	case c == ',':
		s.s.pos++
		return true, nil
	}
	return false, ErrInvalidJSON
}

// Type returns the type of the current member's value, or before the first Next
// that of the whole body. It must come before the value is read.
func (s *Stream) Type() (Type, error) {
	if s.err != nil {
		return Invalid, s.err
	}
	c, err := s.s.peek()
	if err != nil {
		return Invalid, s.fail(cut(err))
	}
	switch {
	case c == '{':
		return Object, nil
	case c == '[':
		return Array, nil
	case c == '"':
		return String, nil
	case c == 't' || c == 'f':
		return Bool, nil
	case c == 'n':
		return Null, nil
	case c == '-' || c-'0' <= 9:
		return Number, nil
	}
	return Invalid, nil
}

// Value reads the current member's value and returns its canonical text, which
// is the caller's to keep.
func (s *Stream) Value() ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	if s.state != streamValue {
		return nil, s.fail(fmt.Errorf("document: value of %q was read already", s.name))
	}
	text, err := s.s.canonical()
	if err != nil {
		return nil, s.fail(err)
	}
	s.state = streamMember
	return text, nil
}

// Elements yields the canonical text of each element of the array that is the
// current member's value, or before the first Next of the array that is the
// body. The texts are the caller's to keep. An error ends the sequence.
func (s *Stream) Elements() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		each(s, yield, s.scanCanonical)
	}
}

// Documents is like Elements, but decodes each element as DecodeStream does.
// The documents are the caller's to close.
func (s *Stream) Documents() iter.Seq2[*Document, error] {
	return func(yield func(*Document, error) bool) {
		each(s, yield, s.scanDocument)
	}
}

func (s *Stream) scanCanonical() ([]byte, error)   { return s.s.canonical() }
func (s *Stream) scanDocument() (*Document, error) { return s.s.document() }

func each[T any](s *Stream, yield func(T, error) bool, read func() (T, error)) {
	var none T
	if err := s.enter(Array); err != nil {
		yield(none, err)
		return
	}
	for {
		more, err := s.more(']')
		if err == nil && !more {
			return
		}
		var v T
		if err == nil {
			v, err = read()
		}
		if err != nil {
			yield(none, s.fail(err))
			return
		}
		if !yield(v, nil) || s.err != nil {
			return
		}
	}
}

// enter reads the bracket or brace that begins a value of the given type.
func (s *Stream) enter(want Type) error {
	got, err := s.Type()
	if err != nil {
		return err
	}
	root := s.state == streamStart && want == Array
	if s.state != streamValue && !root {
		return s.fail(fmt.Errorf("document: value of %q was read already", s.name))
	}
	if got != want {
		return s.refuse(want, root)
	}
	s.s.pos++
	s.fresh = true
	switch {
	case root:
		s.state = streamRoot
	case want == Array:
		s.state = streamArray
	default:
		s.state = streamObject
	}
	return nil
}

// refuse returns the error for a value of a wrong type, unless the value is not
// even JSON.
func (s *Stream) refuse(want Type, root bool) error {
	if _, err := s.s.canonical(); err != nil {
		return s.fail(err)
	}
	what := "an array."
	if want == Object {
		what = "an object."
	}
	if root {
		return s.fail(badRequest("Request body must be " + what))
	}
	return s.fail(badRequest("`" + s.name + "` parameter must be " + what))
}

// Member is a member of an object.
type Member struct {
	Name  string
	Value []byte // canonical text
}

// Members yields the members of the object that is the current member's value.
// An error ends the sequence.
func (s *Stream) Members() iter.Seq2[Member, error] {
	return func(yield func(Member, error) bool) {
		if err := s.enter(Object); err != nil {
			yield(Member{}, err)
			return
		}
		for {
			more, err := s.more('}')
			if err == nil && !more {
				return
			}
			var m Member
			if err == nil {
				m.Name, err = s.key()
			}
			if err == nil {
				m.Value, err = s.s.canonical()
			}
			if err != nil {
				yield(Member{}, s.fail(err))
				return
			}
			if !yield(m, nil) || s.err != nil {
				return
			}
		}
	}
}
