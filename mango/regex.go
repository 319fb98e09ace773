package mango

import (
	"bytes"
	"regexp"
	"regexp/syntax"
	"unicode/utf8"
)

const (
	// maxPattern bounds a $regex, in bytes.
	maxPattern = 8192
	// maxInstructions bounds what all patterns of a selector compile to, so
	// that a short one such as "(a{999}){999}" cannot take a lot of memory.
	maxInstructions = 50_000
	// maxSteps bounds the length of a string times the size of the pattern it is
	// matched with, which is what a match takes at worst: some ten seconds.
	maxSteps = 1 << 30
)

// pattern is a compiled $regex. CouchDB compiles patterns without PCRE's UTF
// mode: both sides are bytes, of which those beyond ASCII are letters of Latin-1
// where case matters. So a pattern is compiled with a rune for each byte, and
// strings that are not ASCII are widened in the same way.
type pattern struct {
	prefix  []byte // of plain "^text": the text
	part    []byte // of plain "text": the text
	program *regexp.Regexp
	size    int // how many instructions the program has, estimated
}

func (c *compiler) compilePattern(arg []byte) (*pattern, error) {
	source := unquote(nil, arg)
	if len(source) > maxPattern {
		return nil, errLongPattern
	}
	parsed, err := syntax.Parse(string(widen(nil, source)), syntax.Perl)
	if err != nil {
		return nil, badPattern(arg, err)
	}
	size := weigh(parsed)
	if c.instructions += size; c.instructions > maxInstructions {
		return nil, errLargePattern
	}
	if p := plainPattern(parsed); p != nil {
		return p, nil
	}
	program, err := regexp.Compile(dollarsBeforeNewline(parsed).String())
	if err != nil {
		return nil, badPattern(arg, err)
	}
	return &pattern{program: program, size: size}, nil
}

// plainPattern recognises literal text, with or without ^ before it.
func plainPattern(re *syntax.Regexp) *pattern {
	anchored := false
	if re.Op == syntax.OpConcat && len(re.Sub) == 2 && re.Sub[0].Op == syntax.OpBeginText {
		anchored = true
		re = re.Sub[1]
	}
	if re.Op != syntax.OpLiteral || re.Flags&syntax.FoldCase != 0 {
		return nil
	}
	text := make([]byte, 0, len(re.Rune))
	for _, r := range re.Rune {
		if r > 0xFF { // from an escape: stands for no byte
			return nil
		}
		text = append(text, byte(r))
	}
	if anchored {
		return &pattern{prefix: text}
	}
	return &pattern{part: text}
}

func (p *pattern) match(m *machine, s []byte) bool {
	switch {
	case p.prefix != nil:
		return bytes.HasPrefix(s, p.prefix)
	case p.part != nil:
		return bytes.Contains(s, p.part)
	case len(s) > maxSteps/p.size:
		m.costly = true
		return false
	case isASCII(s):
		return p.program.Match(s)
	}
	m.bytes = widen(m.bytes[:0], s)
	return p.program.Match(m.bytes)
}

func isASCII(s []byte) bool {
	for _, c := range s {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// widen appends s with each byte as a rune.
func widen(dst, s []byte) []byte {
	for _, c := range s {
		dst = utf8.AppendRune(dst, rune(c))
	}
	return dst
}

// dollarsBeforeNewline gives $ its meaning in PCRE: the end of the string, or
// before a newline that ends it.
func dollarsBeforeNewline(re *syntax.Regexp) *syntax.Regexp {
	if re.Op == syntax.OpEndText && re.Flags&syntax.WasDollar != 0 {
		newline := &syntax.Regexp{Op: syntax.OpLiteral, Rune: []rune{'\n'}}
		return &syntax.Regexp{Op: syntax.OpConcat, Sub: []*syntax.Regexp{
			{Op: syntax.OpQuest, Sub: []*syntax.Regexp{newline}},
			{Op: syntax.OpEndText},
		}}
	}
	for i, sub := range re.Sub {
		re.Sub[i] = dollarsBeforeNewline(sub)
	}
	return re
}

// weigh estimates how many instructions an expression compiles to.
func weigh(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n += weigh(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, maxInstructions+1)
}
